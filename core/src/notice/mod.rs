//! What admins are told of a connection, and when: conditions open, are gathered into one
//! letter, may remind, and close with at most one letter of recovery.
//!
//! Hides windows, reminders and quiet hours. A letter is data: who writes it and who reads it is
//! the shell's. Letters are marked as told by `due` itself, in the state that the shell stores
//! together with them; after a crash the same state gives the same letters with the same ids.
//! Invariants: one problem letter per opening of a concern; a recovery only for openings whose
//! problem letter went; what ends within the gathering window is never told, and what comes back
//! within it is the same opening.

mod quiet;
mod state;
#[cfg(test)]
mod tests;

pub use quiet::QuietHours;
pub use state::{Condition, Letter, LetterKind, Notices, Rules, Stage, Told};
