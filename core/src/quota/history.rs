use super::Meter;
use crate::domain::Time;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const MINUTES: usize = 24 * 60;
const HOURS: usize = 90 * 24;

/// Use over time, for plots: by the minute for a day, by the hour for 90 days. A document of its
/// own, stored seldom: the meter itself is stored often and stays small.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    minutes: VecDeque<Point>,
    hours: VecDeque<Point>,
}

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Begin of the minute or hour.
    pub at: Time,
    /// Highest known use of the main limit in it.
    pub used: u64,
    /// The limit.
    pub max: u64,
    /// Own calls ever made, up to its end: the difference of two points is what we spent.
    pub own: u64,
}

impl History {
    /// Notes the main limit's use now.
    pub fn note(&mut self, meter: &Meter, main: &str, now: Time) {
        let Some(state) = meter.limits.get(main) else { return };
        let (used, max, own) = (state.known(), state.max, meter.own_total());
        for (list, seconds, cap) in
            [(&mut self.minutes, 60, MINUTES), (&mut self.hours, 3600, HOURS)]
        {
            let begin = now.as_second().div_euclid(seconds) * seconds;
            let at = Time::from_second(begin).unwrap_or(now);
            match list.back_mut() {
                Some(last) if last.at >= at => {
                    last.used = last.used.max(used);
                    last.max = max;
                    last.own = own;
                }
                _ => list.push_back(Point { at, used, max, own }),
            }
            while list.len() > cap {
                list.pop_front();
            }
        }
    }

    /// By the minute, oldest first, a day at most.
    pub fn minutes(&self) -> impl Iterator<Item = &Point> {
        self.minutes.iter()
    }

    /// By the hour, oldest first, 90 days at most.
    pub fn hours(&self) -> impl Iterator<Item = &Point> {
        self.hours.iter()
    }
}
