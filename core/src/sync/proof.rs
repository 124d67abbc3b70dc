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

use super::job::{DAWN, later};
use super::{Consequence, ObjectState, Phase, Rules, Slot, SweepReason};
use crate::domain::{Fault, ObjectSchema, TaskKind, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

const DAY: i64 = 86_400;
/// Ages (seconds before the upper bound) at which windows are cut: one composite call.
const COARSE: [i64; 4] = [DAY, 7 * DAY, 60 * DAY, 365 * DAY];
/// The same for an object with many rows: two calls.
const FINE: [i64; 9] =
    [3600, DAY, 3 * DAY, 7 * DAY, 30 * DAY, 60 * DAY, 180 * DAY, 365 * DAY, 3 * 365 * DAY];
/// From so many rows on windows are cut finely.
const MANY: u64 = 10_000;
/// A window with at most so many rows is read again whole: one page.
const LEAF: u64 = 2_000;
/// Counts of an object that are asked for together: what one composite call takes.
const AT_ONCE: usize = 5;
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

impl Proof {
    fn new(covered: Time, fine: bool) -> Option<Self> {
        let upper = Time::from_second(covered.as_second()).ok()?;
        let mut proof = Self {
            upper,
            spans: Vec::new(),
            fine,
            windows: 0,
            counts: 0,
            rows: 0,
            found: Off::default(),
            left: Off::default(),
        };
        proof.cut();
        Some(proof)
    }

    /// Cuts everything below the upper bound by age, youngest first.
    fn cut(&mut self) {
        let ages: &[i64] = if self.fine { &FINE } else { &COARSE };
        let mut to = self.upper;
        let bounds = ages.iter().filter_map(|a| Time::from_second(self.upper.as_second() - a).ok());
        for from in bounds.map(Some).chain([None]) {
            self.spans.push(Span {
                from,
                to,
                stage: SpanStage::Count,
                doubt: Doubt::None,
                seen: 0,
            });
            to = from.unwrap_or(to);
        }
        self.windows = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
    }

    fn find(&mut self, window: (Option<Time>, Option<Time>)) -> Option<usize> {
        self.spans
            .iter()
            .position(|s| s.stage == SpanStage::Count && (s.from, Some(s.to)) == window)
    }

    fn mending(&mut self, bounds: Option<(Time, Time)>) -> Option<&mut Span> {
        let is = |s: &Span| matches!(s.stage, SpanStage::Mend { .. });
        self.spans.iter_mut().find(|s| is(s) && Some(s.bounds()) == bounds)
    }

    /// What can be counted now: mended windows wait for one another, because a stale row shows in
    /// two of them.
    fn countable(&self) -> impl Iterator<Item = &Span> {
        let early =
            |s: &&Span| s.doubt < Doubt::Mended && !matches!(s.stage, SpanStage::Again { .. });
        let any = self.spans.iter().any(|s| early(&s));
        self.spans
            .iter()
            .filter(move |s| s.stage == SpanStage::Count && (!any || early(s)))
            .take(AT_ONCE)
    }
}

impl Span {
    fn bounds(&self) -> (Time, Time) {
        (self.from.unwrap_or(Time::UNIX_EPOCH), self.to)
    }

    /// Both halves; none: it is one second wide.
    fn halves(&self) -> Option<[Self; 2]> {
        let from = self.from.map_or(DAWN, Time::as_second);
        let to = self.to.as_second();
        if to - from <= 1 {
            return None;
        }
        let middle = Time::from_second(from + (to - from) / 2).ok()?;
        let (stage, doubt, seen) = (SpanStage::Count, Doubt::Differed, 0);
        let half = |from, to| Self { from, to, stage: stage.clone(), doubt, seen };
        Some([half(self.from, middle), half(Some(middle), self.to)])
    }
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
