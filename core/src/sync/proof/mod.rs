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
/// Counts of one round; if a window that is no leaf differs after them, the object is read again
/// in whole.
const MOST: u32 = 40;
/// Rows leave a window while we count it. After a repair it has to differ this often, with an
/// increment before each count, before keys are compared or the copy is said to differ.
const SURE: u8 = 4;
/// So often a count, or a page of a repair at the same position, may be cut off.
const TROUBLES: u8 = 3;
/// A repair that is cut off is not halved below this many seconds.
const NARROW: i64 = 2 * 86_400;
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
    /// The object was just read again in whole: this round tells what that brought.
    #[serde(default)]
    pub reread: bool,
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
    /// What was last counted: rows there, rows here.
    #[serde(default)]
    pub last: Option<(u64, u64)>,
    /// How often, in a row, its count or the page at its position was cut off.
    #[serde(default)]
    pub troubles: u8,
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
    /// Too much differed: the object is read again in whole, and proved once more after that.
    #[serde(default)]
    pub reread: bool,
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
        let span = &mut proof.spans[index];
        span.troubles = 0;
        if there == here || span.explained(here) {
            proof.spans.swap_remove(index);
            proof.rows += here;
            self.end_proof(now);
            return Vec::new();
        }
        span.last = Some((there, here));
        let mut out = Vec::new();
        let (lacks, extra) = (there.saturating_sub(here), here.saturating_sub(there));
        span.seen = span.seen.saturating_add(1);
        let sure = span.seen >= SURE;
        let again = |deletes| SpanStage::Again { past: later(now, PAST), deletes };
        match span.doubt {
            Doubt::None => {
                (span.doubt, span.stage) = (Doubt::Differed, again(extra > 0));
            }
            Doubt::Differed if !spare && there > LEAF => {
                if !proof.reread {
                    return self.read_whole(now);
                }
                proof.spans.swap_remove(index);
                proof.left.lacks += lacks;
                proof.left.extra += extra;
            }
            Doubt::Differed => match span.halves(1).filter(|_| there > LEAF) {
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
                span.stage = again(false);
                proof.swept(index);
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
            reread: false,
        });
        self.proof = None;
    }

    /// The round ends without a result.
    fn unproved(&mut self, why: String, reread: bool, now: Time) {
        let Some(proof) = self.proof.take() else { return };
        self.proved = Some(Proved {
            at: now,
            upper: proof.upper,
            rows: 0,
            windows: 0,
            repaired: 0,
            differs: 0,
            unproved: Some(why),
            reread,
        });
    }

    /// Too much differs to be repaired window by window: all rows are read again (by a job where
    /// that pays), keys are compared, and what that brought is proved at once.
    fn read_whole(&mut self, now: Time) -> Vec<Consequence> {
        let Phase::Follow { covered, .. } = self.phase else { return Vec::new() };
        let why = "too many windows differ: the object is read again in whole";
        self.unproved(why.to_owned(), true, now);
        self.phase = Phase::Reread { started: now, after: None, covered };
        if self.held.is_some() || self.sweep.is_some() {
            return Vec::new();
        }
        self.begin_sweep(SweepReason::Proof, now);
        vec![Consequence::BeginSweep]
    }

    /// Begins a proof when it is due, right after an increment; lets windows be counted again.
    pub(super) fn begin_proof(&mut self, schema: &ObjectSchema, rules: &Rules, now: Time) {
        if schema.stamp.is_none() {
            self.proof = None; // nothing is left to count by
        }
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
        let due = self.proved.as_ref().is_none_or(|p| p.reread || next(p) <= now);
        let quiet = self.sweep.is_none() && self.job.is_none();
        if due && quiet && schema.stamp.is_some() && self.fresh == Some(covered) {
            let many = self.proved.as_ref().is_some_and(|p| p.rows > MANY);
            let reread = self.proved.as_ref().is_some_and(|p| p.reread);
            self.proof = Proof::new(covered, many || reread, reread);
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
        if let Some(proof) = &mut self.proof
            && let Some(index) = proof.mending(bounds)
        {
            let span = &mut proof.spans[index];
            (span.stage, span.troubles) = (SpanStage::Mend { after: position }, 0);
        }
    }

    pub(super) fn mend_done(&mut self, bounds: Option<(Time, Time)>, now: Time) {
        if let Some(proof) = &mut self.proof
            && let Some(index) = proof.mending(bounds)
        {
            let span = &mut proof.spans[index];
            (span.doubt, span.seen, span.last, span.troubles) = (Doubt::Mended, 0, None, 0);
            span.stage = SpanStage::Again { past: later(now, PAST), deletes: false };
        }
    }

    /// A count or a repair failed, or what a count has to follow: where the source will not do it,
    /// the proof ends without a result, or with what could not be repaired. None: not the proof's
    /// own matter.
    pub(super) fn proof_failed(
        &mut self,
        slot: Slot,
        kind: &TaskKind,
        fault: &Fault,
        now: Time,
    ) -> Option<()> {
        let passing = match fault {
            Fault::Passing { .. } => true,
            Fault::Denied { .. }
            | Fault::Contract { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. } => false,
            Fault::CursorLost { .. } | Fault::Misconfigured { .. } => {
                (!matches!(slot, Slot::Window | Slot::Deleted)).then_some(false)?
            }
            Fault::QuotaReached { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::SchemaMoved { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. } => return None,
        };
        match slot {
            Slot::Proof if passing => self.count_cut_off(kind, fault, now),
            Slot::Proof => self.unproved(fault.to_string(), false, now),
            Slot::Mend if passing => return self.mend_cut_off(kind, now),
            Slot::Mend => self.not_mended(now)?,
            Slot::Window | Slot::Deleted => {
                if !passing {
                    // Nothing can be counted again before this works.
                    self.unproved(fault.to_string(), false, now);
                }
                return None;
            }
            Slot::Fetch | Slot::Load | Slot::Part | Slot::Fill | Slot::Sweep => return None,
        }
        Some(())
    }

    /// A count was cut off: it may be too much for the source, and is tried by halves, after the
    /// next increment.
    fn count_cut_off(&mut self, kind: &TaskKind, fault: &Fault, now: Time) {
        self.fresh = None;
        let TaskKind::Count { from, to } = kind else { return };
        let Some(proof) = &mut self.proof else { return };
        let Some(index) = proof.find((*from, *to)) else { return };
        let span = &mut proof.spans[index];
        span.troubles += 1;
        if span.troubles >= TROUBLES {
            self.unproved(fault.to_string(), false, now);
        } else if let Some(halves) = span.halves(1) {
            proof.spans.splice(index..=index, halves);
            proof.windows += 1;
        }
    }

    /// A page of a repair was cut off; what breaks off at the same place again and again is
    /// halved, and if that cannot be it is left.
    fn mend_cut_off(&mut self, kind: &TaskKind, now: Time) -> Option<()> {
        let TaskKind::Window { from, to, .. } = kind else { return None };
        let proof = self.proof.as_mut()?;
        let index = proof.mending(Some((*from, *to)))?;
        let span = &mut proof.spans[index];
        span.troubles += 1;
        if span.troubles < TROUBLES {
            return None;
        }
        (span.troubles, span.stage) = (0, SpanStage::Mend { after: None });
        if let Some(halves) = span.halves(NARROW) {
            proof.spans.splice(index..=index, halves);
        } else {
            proof.spans.swap_remove(index);
            proof.left.lacks += 1; // at least; how many is known no better
            self.end_proof(now);
        }
        Some(())
    }

    /// Repairs are refused.
    fn not_mended(&mut self, now: Time) -> Option<()> {
        let proof = self.proof.as_mut()?;
        let spans = proof.spans.len();
        proof.spans.retain(|s| !matches!(s.stage, SpanStage::Mend { .. }));
        // At least a row each; how many is known no better.
        proof.left.lacks += (spans - proof.spans.len()) as u64;
        self.end_proof(now);
        Some(())
    }
}
