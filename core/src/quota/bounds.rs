use super::Line;
use super::meter::{LimitState, Meter};
use crate::domain::Time;

/// A reached limit: name, use, maximum.
pub(super) struct Reached(pub(super) String, pub(super) u64, pub(super) u64);

/// Where the meter stands against the line.
impl Meter {
    /// No answer has told of the main limit yet.
    pub(super) fn unknown(&self, line: &Line) -> bool {
        line.main_name().is_some_and(|name| !self.limits.contains_key(name))
    }

    /// The first limit whose known use plus `more` has reached the line.
    pub(super) fn reached(&self, line: &Line, now: Time, more: u64) -> Option<Reached> {
        self.over(line, now, more, Line::stop, Line::own_stop)
    }

    /// The first limit that keeps a hold on. The own share resumes an as much smaller part below.
    pub(super) fn above_resume(&self, line: &Line, now: Time, more: u64) -> Option<Reached> {
        self.over(line, now, more, Line::resume, |line, max| {
            let stop = u128::from(line.own_stop(max)?);
            let part = stop * u128::from(line.resume_below) / u128::from(line.pause_at.max(1));
            Some(u64::try_from(part).unwrap_or(u64::MAX))
        })
    }

    fn over(
        &self,
        line: &Line,
        now: Time,
        more: u64,
        bound: impl Fn(&Line, u64) -> u64,
        own_bound: impl Fn(&Line, u64) -> Option<u64>,
    ) -> Option<Reached> {
        // A maximum of 0 is a feature that the org does not have, not a limit that is used up.
        for (name, state) in self.limits.iter().filter(|(_, s)| s.max > 0) {
            let max = state.most(name, line);
            let known = state.known();
            if known.saturating_add(more) >= bound(line, max) {
                return Some(Reached(name.clone(), known, max));
            }
            if line.main_name() == Some(name)
                && let Some(own_bound) = own_bound(line, max)
            {
                // Own open calls are in the own count already.
                let own = self.own_day(now);
                let more = more.saturating_sub(self.open_cost());
                if own.saturating_add(more) >= own_bound {
                    return Some(Reached(format!("own share of {name}"), own, max));
                }
            }
        }
        None
    }

    /// Within 5 % of the main limit, at least 50 calls, of the line: there one call at a time, so
    /// that each answer is read before the next call leaves.
    pub(super) fn near(&self, line: &Line, now: Time, more: u64) -> bool {
        let band = |max: u64| (max / 20).max(50);
        let main = line.main_name();
        let charged =
            |(name, s): &(&String, &LimitState)| s.max > 0 && main.is_none_or(|m| m == *name);
        self.limits.iter().filter(charged).any(|(name, state)| {
            let max = state.most(name, line);
            let own = line.own_stop(max).is_some_and(|stop| {
                self.own_day(now).saturating_add(more).saturating_add(band(max)) >= stop
            });
            own || state.known().saturating_add(more).saturating_add(band(max)) >= line.stop(max)
        })
    }
}

impl LimitState {
    /// The maximum in force: a configured one only lowers what is told.
    pub(super) fn most(&self, name: &str, line: &Line) -> u64 {
        match line.limit {
            Some(limit) if line.main_name() == Some(name) => self.max.min(limit),
            _ => self.max,
        }
    }

    /// Use as far as known: told, plus own calls that ended without telling.
    pub fn known(&self) -> u64 {
        self.unseen.iter().fold(self.used, |sum, (_, n)| sum.saturating_add(*n))
    }
}
