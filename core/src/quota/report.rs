use super::{Exempt, Hold, Line, Meter};
use crate::domain::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `crmsync quota` tells of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By limit.
    pub limits: Vec<LimitReport>,
    /// Cost of calls on their way.
    pub in_flight: u64,
    /// Own cost in the last 24 hours.
    pub own_day: u64,
    /// Calls above the line since the hold began, by name.
    pub above_line: BTreeMap<Exempt, u64>,
    /// Whether everybody waits, since when, next probe.
    pub hold: Hold,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReport {
    /// The provider's name.
    pub limit: String,
    /// Known use by everybody.
    pub used: u64,
    /// The limit in force (told, or lower by configuration).
    pub max: u64,
    /// `used` in percent of `max`, rounded down; 100 and more when it is used up.
    pub percent: u64,
    /// No scheduled call from here on.
    pub line: u64,
    /// Resumes below.
    pub resume_below: u64,
    /// Own part of `used` (the last 24 hours, at most `used`); only for the main limit.
    pub own: Option<u64>,
    /// The rest: what others used.
    pub others: Option<u64>,
    /// When it resets, where told.
    pub resets: Option<Time>,
    /// When the use was last told.
    pub learned: Time,
    /// False: nobody told, we count ourselves.
    pub told: bool,
}

impl Meter {
    /// What is known, for people.
    pub fn report(&self, line: &Line, now: Time) -> Report {
        let own_day = self.own_day(now);
        let limits = self.limits.iter().map(|(name, state)| {
            let main = line.main_name() == Some(name);
            let max = state.most(name, line);
            let used = state.known();
            let own = main.then(|| own_day.min(used));
            let percent = u128::from(used) * 100 / u128::from(max.max(1));
            LimitReport {
                limit: name.clone(),
                used,
                max,
                percent: u64::try_from(percent).unwrap_or(u64::MAX),
                line: line.stop(max),
                resume_below: line.resume(max),
                own,
                others: own.map(|own| used - own),
                resets: state.resets,
                learned: state.learned,
                told: state.told,
            }
        });
        Report {
            limits: limits.collect(),
            in_flight: self.open_cost(),
            own_day,
            above_line: self.exempt_calls().clone(),
            hold: self.hold().clone(),
        }
    }
}
