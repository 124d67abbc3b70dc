//! The life of one connection: state, event, `step`, and what people are told of it.
//!
//! `step` is the only way the state changes; it is pure and total: any event in any state gives
//! a state and effects, which the shell stores in one transaction and then carries out at least
//! once. Orthogonal parts (configuration, pause, grant, trouble, host, quota, activity) are enums
//! that carry their own data.
//! `step` begins in `step`, goes on in `grant` (the latch) and `trouble` (everything else).
//! Invariants: at most one run; no run while disabled, paused, latched (no good grant), without
//! the key, or held by quota unless somebody said so; only a new grant or an authenticated probe
//! unlatches; a passing fault never touches the grant.

mod backoff;
mod event;
mod grant;
mod state;
mod status;
mod step;
mod trouble;

pub use backoff::backoff;
pub use event::{Closed, Effect, Event, Refusal, RunResult, StopWhy};
pub use state::{
    Activity, Again, Alarm, Configured, Connection, Grant, HostTrouble, ObjectTrouble, Pause,
    Phase, QuotaHold, Rules, Trouble,
};
pub use status::{Status, Word, status};
pub use step::{next_wake, ready, step};

#[cfg(test)]
mod tests;
