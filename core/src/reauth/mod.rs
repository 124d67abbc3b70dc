//! The reauthorization request: from the moment a grant is known dead until a new one is proved
//! (or the old one works again), and whose grant is accepted.
//!
//! Hides nothing of OAuth: attempts are opaque facts. Invariants: one open request per connection;
//! its key is connection and generation, so opening twice opens once; a wrong org or a failed
//! attempt leaves it open; only one attempt at a time is alive, a newer one makes the older void;
//! a closed request never opens again.

mod identity;
mod request;

pub use identity::{Verdict, judge};
pub use request::{ATTEMPT_LIFE, Attempt, Door, How, Request, RequestError, State, open};

#[cfg(test)]
mod tests;
