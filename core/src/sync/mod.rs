//! What to read next, and what a reading means for the cursor.
//!
//! Per object one [`ObjectState`], stored in the replica in the same transaction as the rows it
//! covers. [`plan`] turns states into tasks; [`ObjectState::delivered`] and
//! [`ObjectState::stepped`] move a state on. Invariants: a state never claims more than what was
//! committed with it; `covered` only grows by a finished window; the first load is no snapshot, so
//! an object counts as loading until its first increment is in; deletes found by absence pass the
//! guard or wait for approval.
//!
//! How the caller goes about it, in a loop: for each object [`ObjectState::begin_due`], then
//! [`ObjectState::ripe`] (what it names is ended by `stepped(slot, None, &Step::Done, now)` and
//! what that says is carried out); then [`plan`]. A page of a job is streamed into one transaction
//! that ends with the state that `stepped(.., &Step::Page { .. }, ..)` made of a clone; its key is
//! built there too when that says [`Consequence::Key`]. A [`Step::Counted`] goes, with the
//! replica's own count, to [`ObjectState::counted`]. When nothing is left to plan, [`next_look`]
//! says when to come back.

mod advance;
mod fields;
mod job;
mod plan;
mod proof;
mod state;

pub use fields::{Reading, fields_to_read};
pub use job::{Job, JobStage, NoJob, Puts, Waiting};
pub use plan::{Object, Planned, jobs_under_way, next_look, plan};
pub use proof::{Doubt, Off, Proof, Proved, Span, SpanStage};
pub use state::{Consequence, Fill, ObjectState, Phase, Stage, Sweep, SweepReason, Window};

use crate::domain::Time;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Which part of an object's work a task serves. `Load`, `Fill` and `Sweep` go by pages of queries
/// or by a bulk job ([`TaskKind::Job`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Changes since the cursor.
    Window,
    /// The source's log of hard deletes.
    Deleted,
    /// Counts that prove the copy: [`TaskKind::Count`].
    Proof,
    /// Rows of a window that was proved to differ, read again: [`TaskKind::Window`].
    Mend,
    /// Rows that a sweep found to be missing here.
    Fetch,
    /// First load (or a whole re-read of an object without a stamp).
    Load,
    /// A part of what a job was to read, read by queries instead: [`TaskKind::Window`].
    Part,
    /// New fields of rows that are here already.
    Fill,
    /// Keys of a sweep.
    Sweep,
}

/// Settings that planning depends on.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Overlap of incremental reads: how long a transaction may stay open unseen.
    pub overlap: SignedDuration,
    /// How often keys are compared where the source has no log of deletes.
    pub sweep_every: SignedDuration,
    /// Records asked for by key at a time.
    pub page: usize,
    /// Jobs of a connection under way at the source at the same time.
    pub jobs: usize,
    /// A job without a result after this time is given up.
    pub job_patience: SignedDuration,
    /// How often the copy is proved by counts.
    pub prove_every: SignedDuration,
    /// How often calculated fields are read again.
    pub calculated_every: SignedDuration,
}

/// The most that one sweep may delete without approval: percent of the object, and rows.
pub const GUARD_PERCENT: u8 = 10;
/// See [`GUARD_PERCENT`].
pub const GUARD_ROWS: u64 = 1000;
/// The time a connection is caught up to: the oldest of its objects'; none while one is loading
/// or is being compared after a change of sight.
pub fn caught_up<'a>(states: impl IntoIterator<Item = &'a ObjectState>) -> Option<Time> {
    let mut oldest = None;
    for state in states {
        if state.gone {
            continue;
        }
        let t = state.caught_up()?;
        oldest = Some(oldest.map_or(t, |o: Time| o.min(t)));
    }
    oldest
}

/// A moment cut to the whole second in which stamps and claims are told. The times of looks at jobs
/// are finer: whatever is claimed, what `now` says below the second is for them alone.
fn whole(now: Time) -> Time {
    Time::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
