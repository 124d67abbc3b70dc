//! Mails to admins: facts in, one complete text mail out; and the sending of stored ones.
//!
//! Hides templates, header rules and SMTP. Invariants: [`compose()`] is pure, the same letter gives
//! the same bytes; one receiver per mail; no text of a provider or a setting can add a header or
//! a line that is not marked as quoted; no secret is ever asked for or shown.

mod compose;
mod letter;
mod send;
mod text;
mod vendor;
mod why;
mod words;

#[cfg(test)]
mod postfix_tests;
#[cfg(test)]
mod send_tests;
#[cfg(test)]
mod tests;

pub use compose::{ComposeError, compose};
pub use letter::{Condition, Entry, Facts, Kind, Letter, QuotaFacts};
pub use send::{SendError, send};
