//! Proof that the copy is complete: rows are counted in windows of the modification stamp, there
//! and here, right after an increment to the same bound.
//!
//! Hides how windows are cut, when a difference is believed, how it is repaired. Invariants: what
//! is counted once proves no difference (rows move while we count); the work of a round is
//! bounded; a repair reads, and whatever it deletes passes the guard of a sweep.

use super::{Consequence, ObjectState};
use crate::domain::Time;
use serde::{Deserialize, Serialize};

/// A round of counting, under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The upper bound that it counts to: the end of the increment it began after.
    pub upper: Time,
    /// What is still to be counted or mended.
    pub spans: Vec<Span>,
    /// Counts asked for so far.
    pub counts: u32,
    /// Rows counted so far in windows that are equal.
    pub rows: u64,
    /// Rows by which windows differed, as far as that was confirmed.
    pub found: u64,
    /// Its sweep was begun: there is no second one.
    #[serde(default)]
    pub swept: bool,
}

/// A window of the modification stamp within a [`Proof`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Inclusive; none: from the beginning.
    pub from: Option<Time>,
    /// Exclusive.
    pub to: Time,
    /// How far.
    pub stage: SpanStage,
}

/// What is to be done with a [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum SpanStage {
    /// Count it.
    Count,
    /// It differed: count it again once changes and deletes are known up to this time.
    Again {
        /// Server time after the first count.
        past: Time,
    },
    /// Read its rows again.
    Mend {
        /// Position.
        after: Option<String>,
    },
}

/// What a proof brought, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// When it ended.
    pub at: Time,
    /// It counted everything with a stamp before this.
    pub upper: Time,
    /// Rows that it counted.
    pub rows: u64,
    /// Windows that it counted.
    pub windows: u32,
    /// Rows that differed and were repaired.
    pub repaired: u64,
    /// Rows that still differ; the copy differs from the source.
    pub differs: u64,
    /// The source does not count: nothing is proved, for this reason.
    #[serde(default)]
    pub unproved: Option<String>,
}

impl ObjectState {
    /// A window of the proof was counted: at the source, and right after it in the replica, by
    /// the bounds of the [`TaskKind::Count`](crate::domain::TaskKind::Count). `now` is the
    /// server's clock, not before the count was answered. Store the state with what it says.
    pub fn counted(
        &mut self,
        window: (Option<Time>, Option<Time>),
        there: u64,
        here: u64,
        now: Time,
    ) -> Vec<Consequence> {
        let _ = (window, there, here, now);
        Vec::new()
    }

    pub(super) fn mend_delivered(
        &mut self,
        bounds: Option<(Time, Time)>,
        position: Option<String>,
    ) {
        let _ = (bounds, position);
    }

    pub(super) fn mend_done(&mut self, bounds: Option<(Time, Time)>) {
        let _ = bounds;
    }

    /// By how many rows the copy differs from the source, as far as the last proof could not
    /// repair it; none: it does not, or was not proved yet.
    pub fn differs(&self) -> Option<u64> {
        self.proved.as_ref().map(|p| p.differs).filter(|n| *n > 0)
    }
}
