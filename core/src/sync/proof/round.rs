//! The windows of a round: how they are cut and halved, and which are counted next.

use super::{Doubt, Off, Proof, Span, SpanStage};
use crate::domain::Time;
use crate::sync::job::DAWN;

const DAY: i64 = 86_400;
/// Ages (seconds before the upper bound) at which windows are cut: one composite call.
const COARSE: [i64; 4] = [DAY, 7 * DAY, 60 * DAY, 365 * DAY];
/// The same for an object with many rows: two calls.
const FINE: [i64; 9] =
    [3600, DAY, 3 * DAY, 7 * DAY, 30 * DAY, 60 * DAY, 180 * DAY, 365 * DAY, 3 * 365 * DAY];
/// Counts of an object that are asked for together: what one composite call takes.
pub(super) const AT_ONCE: usize = 5;

impl Proof {
    pub(super) fn new(covered: Time, fine: bool, reread: bool) -> Option<Self> {
        let upper = Time::from_second(covered.as_second()).ok()?;
        let mut proof = Self {
            upper,
            spans: Vec::new(),
            fine,
            reread,
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
    pub(super) fn cut(&mut self) {
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
                last: None,
                troubles: 0,
            });
            to = from.unwrap_or(to);
        }
        self.windows = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
    }

    pub(super) fn find(&mut self, window: (Option<Time>, Option<Time>)) -> Option<usize> {
        self.spans
            .iter()
            .position(|s| s.stage == SpanStage::Count && (s.from, Some(s.to)) == window)
    }

    pub(super) fn mending(&self, bounds: Option<(Time, Time)>) -> Option<usize> {
        let is = |s: &Span| matches!(s.stage, SpanStage::Mend { .. });
        self.spans.iter().position(|s| is(s) && Some(s.bounds()) == bounds)
    }

    /// Keys are compared because of this window; that serves each in which rows are left over.
    pub(super) fn swept(&mut self, because: usize) {
        for (i, span) in self.spans.iter_mut().enumerate() {
            let (there, here) = span.last.unwrap_or_default();
            if i == because || (span.doubt == Doubt::Mended && here > there) {
                (span.doubt, span.seen) = (Doubt::Swept, 0);
                self.found.extra += here.saturating_sub(there);
            }
        }
    }

    /// What can be counted now: mended windows wait for one another, because a stale row shows in
    /// two of them.
    pub(super) fn countable(&self) -> impl Iterator<Item = &Span> {
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
    pub(super) fn bounds(&self) -> (Time, Time) {
        (self.from.unwrap_or(Time::UNIX_EPOCH), self.to)
    }

    /// Whether what was counted last is what rows leave behind that moved on meanwhile: rows only
    /// ever leave a window, so those there were no more than before, and no fewer than are `here`
    /// after an increment.
    pub(super) fn explained(&self, here: u64) -> bool {
        self.last.is_some_and(|(there, before)| here <= there && there <= before)
    }

    /// Both halves, to be done as it was; none: it is no wider than `least` seconds.
    pub(super) fn halves(&self, least: i64) -> Option<[Self; 2]> {
        let from = self.from.map_or(DAWN, Time::as_second);
        let to = self.to.as_second();
        if to - from <= least {
            return None;
        }
        let middle = Time::from_second(from + (to - from) / 2).ok()?;
        let half = |from, to| Self { from, to, seen: 0, last: None, ..self.clone() };
        Some([half(self.from, middle), half(Some(middle), self.to)])
    }
}
