//! Proof that the copy is complete: rows are counted in windows of the modification stamp, there
//! and here, right after an increment to the same bound.
//!
//! Hides how windows are cut, when a difference is believed, how it is repaired. Invariants: what
//! is counted once proves no difference (rows move while we count); the work of a round is
//! bounded; a repair reads, and whatever it deletes passes the guard of a sweep.
//!
//! A row that is missing here lowers one window. A row whose last change was missed counts in the
//! window of its old stamp here and of its new one there, so it shows unless both stamps lie in
//! the same window: windows are cut by age, finely where stamps are young.

mod round;

use round::AT_ONCE;

use super::job::later;
use super::{Consequence, ObjectState, Phase, Rules, Slot, SweepReason};
use crate::domain::{Fault, ObjectSchema, TaskKind, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// From so many rows on windows are cut finely.
const MANY: u64 = 10_000;
/// A window with at most so many rows is read again whole: one page.
const LEAF: u64 = 2_000;
/// Counts of one round; a window that differs after them is read again as it is.
const MOST: u32 = 40;
/// Rows leave a window while we count it. After a repair it has to differ this often, with an
/// increment before each count, before keys are compared or the copy is said to differ.
const SURE: u8 = 4;
/// An increment this much past a count holds what changed while we counted: clocks tell whole
/// seconds.
const PAST: SignedDuration = SignedDuration::from_secs(2);

/// A round of counting, under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// It counts what has a stamp before this: the end of the increment it began after.
    pub upper: Time,
    /// What is still to be counted or mended.
    pub spans: Vec<Span>,
    /// Whether windows are cut finely.
    pub fine: bool,
    /// Windows that it was cut into.
    pub windows: u32,
    /// Counts made so far.
    pub counts: u32,
    /// Rows counted so far in windows that are equal.
    pub rows: u64,
    /// What was found to differ.
    pub found: Off,
    /// What still differs after repair.
    pub left: Off,
}

/// By how much windows differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    /// Rows there and not here, or with an older stamp here.
    pub lacks: u64,
    /// Rows here and not there, after the others were read again.
    pub extra: u64,
}

impl Off {
    fn rows(self) -> u64 {
        self.lacks + self.extra
    }
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
    /// How much is known of it.
    pub doubt: Doubt,
    /// How often it differed since that is known.
    pub seen: u8,
}

/// What is to be done with a [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum SpanStage {
    /// Count it.
    Count,
    /// It differed: count it again once changes (and deletes) are known past this time.
    Again {
        /// Server time after the count.
        past: Time,
        /// Deletes may explain it.
        deletes: bool,
    },
    /// Read its rows again.
    Mend {
        /// Position.
        after: Option<String>,
    },
}

/// How much is known of a [`Span`]: each is a step further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// Nothing.
    None,
    /// It, or what it was cut from, differed.
    Differed,
    /// Its rows were read again.
    Mended,
    /// Keys were compared as well.
    Swept,
}

/// What a proof brought, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// When it ended.
    pub at: Time,
    /// It counted everything with a stamp before this.
    pub upper: Time,
    /// Rows in windows that are equal.
    pub rows: u64,
    /// Windows that it was cut into.
    pub windows: u32,
    /// Rows that differed and were repaired.
    pub repaired: u64,
    /// Rows that still differ: the copy differs from the source.
    pub differs: u64,
    /// The source does not count: nothing is proved, for this reason.
    #[serde(default)]
    pub unproved: Option<String>,
}

impl ObjectState {
    /// A window of the proof was counted: at the source, and right after it in the replica, by
    /// the bounds of the [`TaskKind::Count`]. `now` is the server's clock, not before the count
    /// was answered. Store the state with what it says.
    pub fn counted(
        &mut self,
        window: (Option<Time>, Option<Time>),
        there: u64,
        here: u64,
        now: Time,
    ) -> Vec<Consequence> {
        let Some(proof) = &mut self.proof else { return Vec::new() };
        let Some(index) = proof.find(window) else { return Vec::new() };
        proof.counts += 1;
        let spare = proof.counts < MOST;
        if there == here {
            proof.spans.swap_remove(index);
            proof.rows += here;
            self.end_proof(now);
            return Vec::new();
        }
        let mut out = Vec::new();
        let (lacks, extra) = (there.saturating_sub(here), here.saturating_sub(there));
        let span = &mut proof.spans[index];
        span.seen = span.seen.saturating_add(1);
        let sure = span.seen >= SURE;
        let again = |deletes| SpanStage::Again { past: later(now, PAST), deletes };
        match span.doubt {
            Doubt::None => {
                (span.doubt, span.stage) = (Doubt::Differed, again(extra > 0));
            }
            Doubt::Differed => match span.halves().filter(|_| spare && there > LEAF) {
                Some(halves) => {
                    proof.spans.splice(index..=index, halves);
                }
                None => {
                    span.stage = SpanStage::Mend { after: None };
                    proof.found.lacks += lacks;
                }
            },
            Doubt::Mended | Doubt::Swept if !sure => span.stage = again(false),
            Doubt::Mended if self.held.is_none() => {
                (span.doubt, span.stage, span.seen) = (Doubt::Swept, again(false), 0);
                proof.found.extra += extra;
                if self.sweep.is_none() {
                    self.begin_sweep(SweepReason::Proof, now);
                    out.push(Consequence::BeginSweep);
                }
            }
            Doubt::Mended | Doubt::Swept => {
                proof.spans.swap_remove(index);
                proof.left.lacks += lacks;
                proof.left.extra += extra;
            }
        }
        self.end_proof(now);
        out
    }

    /// By how many rows the copy differs from the source, as far as the last proof could not
    /// repair it; none: it does not, or was not proved yet.
    pub fn differs(&self) -> Option<u64> {
        self.proved.as_ref().map(|p| p.differs).filter(|n| *n > 0)
    }

    /// Ends a round in which nothing is left to be done; many rows are counted once more, in finer
    /// windows.
    fn end_proof(&mut self, now: Time) {
        let Some(proof) = self.proof.as_mut().filter(|p| p.spans.is_empty()) else { return };
        if !proof.fine && proof.rows > MANY && proof.found == Off::default() {
            (proof.fine, proof.rows) = (true, 0);
            proof.cut();
            return;
        }
        let differs = proof.left.rows();
        self.proved = Some(Proved {
            at: now,
            upper: proof.upper,
            rows: proof.rows,
            windows: proof.windows,
            repaired: proof.found.rows().saturating_sub(differs),
            differs,
            unproved: None,
        });
        self.proof = None;
    }

    /// Begins a proof when it is due, right after an increment; lets windows be counted again.
    pub(super) fn begin_proof(&mut self, schema: &ObjectSchema, rules: &Rules, now: Time) {
        let Phase::Follow { covered, settled: true, window: None } = self.phase else { return };
        if let Some(proof) = &mut self.proof {
            let deleted = self.deletes_covered;
            for span in &mut proof.spans {
                if let SpanStage::Again { past, deletes } = span.stage
                    && covered >= past
                    && (!deletes || !schema.delete_log || deleted.is_some_and(|d| d >= past))
                {
                    span.stage = SpanStage::Count;
                }
            }
            return;
        }
        let next = |p: &Proved| later(p.at, rules.prove_every);
        let due = self.proved.as_ref().is_none_or(|p| next(p) <= now);
        let quiet = self.sweep.is_none() && self.job.is_none();
        if due && quiet && schema.stamp.is_some() && self.fresh == Some(covered) {
            let many = self.proved.as_ref().is_some_and(|p| p.rows > MANY);
            self.proof = Proof::new(covered, many);
        }
    }

    /// What a proof asks for. `quiet`: changes and deletes are read as far as they can be in this
    /// run, so that counts tell something.
    pub(super) fn proof_tasks(&self, quiet: bool) -> Vec<(Slot, TaskKind)> {
        let (Some(proof), Phase::Follow { covered, .. }) = (&self.proof, &self.phase) else {
            return Vec::new();
        };
        let mends = proof.spans.iter().filter_map(|span| {
            let SpanStage::Mend { after } = &span.stage else { return None };
            let ((from, to), after) = (span.bounds(), after.clone());
            Some((Slot::Mend, TaskKind::Window { from, to, after }))
        });
        let mut out: Vec<_> = mends.take(AT_ONCE).collect();
        if quiet && self.sweep.is_none() && self.fresh == Some(*covered) {
            let count = |s: &Span| TaskKind::Count { from: s.from, to: Some(s.to) };
            out.extend(proof.countable().map(|s| (Slot::Proof, count(s))));
        }
        out
    }

    /// Windows differed: an increment past this time is wanted before they are counted again.
    pub(super) fn doubts_since(&self) -> Option<Time> {
        let again = |s: &Span| match s.stage {
            SpanStage::Again { past, .. } => Some(past),
            SpanStage::Count | SpanStage::Mend { .. } => None,
        };
        self.proof.as_ref()?.spans.iter().filter_map(again).max()
    }

    pub(super) fn mend_delivered(
        &mut self,
        bounds: Option<(Time, Time)>,
        position: Option<String>,
    ) {
        if let Some(span) = self.proof.as_mut().and_then(|p| p.mending(bounds)) {
            span.stage = SpanStage::Mend { after: position };
        }
    }

    pub(super) fn mend_done(&mut self, bounds: Option<(Time, Time)>, now: Time) {
        if let Some(span) = self.proof.as_mut().and_then(|p| p.mending(bounds)) {
            (span.doubt, span.seen) = (Doubt::Mended, 0);
            span.stage = SpanStage::Again { past: later(now, PAST), deletes: false };
        }
    }

    /// A count or a repair failed: where the source will not do it, the proof ends without a
    /// result, or with what could not be repaired. None: not the proof's own matter.
    pub(super) fn proof_failed(&mut self, slot: Slot, fault: &Fault, now: Time) -> Option<()> {
        match fault {
            Fault::Denied { .. }
            | Fault::Contract { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. }
            | Fault::CursorLost { .. }
            | Fault::Misconfigured { .. } => {}
            Fault::Passing { .. }
            | Fault::QuotaReached { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::SchemaMoved { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. } => return None,
        }
        let proof = self.proof.as_mut()?;
        if slot == Slot::Mend {
            let spans = proof.spans.len();
            proof.spans.retain(|s| !matches!(s.stage, SpanStage::Mend { .. }));
            // At least a row each; how many is known no better.
            proof.left.lacks += (spans - proof.spans.len()) as u64;
            self.end_proof(now);
            return Some(());
        }
        if slot != Slot::Proof {
            return None;
        }
        self.proved = Some(Proved {
            at: now,
            upper: proof.upper,
            rows: 0,
            windows: 0,
            repaired: 0,
            differs: 0,
            unproved: Some(fault.to_string()),
        });
        self.proof = None;
        Some(())
    }
}
