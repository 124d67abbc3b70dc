//! The org's daily API quota: a rolling window of 24 hours, shared by every client, as the
//! dossier's section 4 has it.
//!
//! It hides the window (a bucket for each minute) and the foreign load (`ctl others-spend`), which
//! is worked out when somebody looks, so that no timer runs. Usage never goes down but by the
//! window, by `set`, or by moving the clock.

use std::collections::VecDeque;

use jiff::Timestamp;

const WINDOW_MINUTES: i64 = 24 * 60;

#[derive(Debug)]
struct Foreign {
    left: u64,
    per_second: u64,
    since_ms: i64,
}

/// The meter of one org.
#[derive(Debug)]
pub(crate) struct Meter {
    max: u64,
    minutes: VecDeque<(i64, u64)>,
    foreign: Option<Foreign>,
}

impl Meter {
    /// A fresh window with this maximum.
    pub(crate) fn new(max: u64) -> Meter {
        Meter { max, minutes: VecDeque::new(), foreign: None }
    }

    /// Used and maximum, as the `Sforce-Limit-Info` header names them.
    pub(crate) fn usage(&mut self, now: Timestamp) -> (u64, u64) {
        self.spend_foreign(now);
        let oldest = minute(now) - WINDOW_MINUTES;
        while self.minutes.front().is_some_and(|(at, _)| *at <= oldest) {
            self.minutes.pop_front();
        }
        let used = self.minutes.iter().fold(0, |used: u64, (_, n)| used.saturating_add(*n));
        (used, self.max)
    }

    /// Charges a call of this cost, or refuses it and charges nothing when the maximum is reached.
    /// Only a meter that already stands at its maximum refuses: the call that crosses it passes.
    pub(crate) fn charge(&mut self, now: Timestamp, cost: u64) -> bool {
        let (used, max) = self.usage(now);
        if cost > 0 && used >= max {
            return false;
        }
        self.add(minute(now), cost);
        true
    }

    /// Sets what has been used so far, and the maximum.
    pub(crate) fn set(&mut self, now: Timestamp, used: Option<u64>, max: Option<u64>) {
        if let Some(used) = used {
            self.minutes.clear();
            self.foreign = None;
            self.add(minute(now), used);
        }
        if let Some(max) = max {
            self.max = max;
        }
    }

    /// Lets others spend `calls`: at once, or so many a second from now on.
    pub(crate) fn others_spend(&mut self, now: Timestamp, calls: u64, per_second: Option<u64>) {
        self.spend_foreign(now);
        match per_second {
            None | Some(0) => self.add(minute(now), calls),
            Some(per_second) => {
                self.foreign =
                    Some(Foreign { left: calls, per_second, since_ms: now.as_millisecond() });
            }
        }
    }

    fn spend_foreign(&mut self, now: Timestamp) {
        let Some(foreign) = &mut self.foreign else {
            return;
        };
        let elapsed = u64::try_from(now.as_millisecond() - foreign.since_ms).unwrap_or(0);
        let due = (elapsed.saturating_mul(foreign.per_second) / 1000).min(foreign.left);
        if due == 0 {
            return;
        }
        foreign.left -= due;
        // Only the time that was paid for is taken off, so that slow rates lose nothing.
        let paid = i64::try_from(due.saturating_mul(1000) / foreign.per_second).unwrap_or(0);
        foreign.since_ms = foreign.since_ms.saturating_add(paid);
        if foreign.left == 0 {
            self.foreign = None;
        }
        self.add(minute(now), due);
    }

    fn add(&mut self, minute: i64, calls: u64) {
        if calls == 0 {
            return;
        }
        match self.minutes.back_mut() {
            Some((at, n)) if *at == minute => *n = n.saturating_add(calls),
            _ => self.minutes.push_back((minute, calls)),
        }
    }
}

fn minute(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn the_call_at_the_maximum_is_refused_and_costs_nothing() {
        let mut meter = Meter::new(3);
        assert!(meter.charge(at(0), 2));
        assert!(meter.charge(at(0), 2), "a soft overrun is tolerated once");
        assert!(!meter.charge(at(0), 1));
        assert!(meter.charge(at(0), 0), "what is free stays free");
        assert_eq!(meter.usage(at(0)), (4, 3));
    }

    #[test]
    fn usage_rolls_out_of_the_window_after_a_day() {
        let mut meter = Meter::new(100);
        meter.charge(at(0), 5);
        meter.charge(at(3600), 7);
        assert_eq!(meter.usage(at(86_400 - 61)).0, 12);
        assert_eq!(meter.usage(at(86_460)).0, 7);
        assert_eq!(meter.usage(at(86_400 + 3660)).0, 0);
    }

    #[test]
    fn others_spend_at_their_rate_and_stop() {
        let mut meter = Meter::new(100);
        meter.others_spend(at(0), 10, Some(2));
        assert_eq!(meter.usage(at(0)).0, 0);
        assert_eq!(meter.usage(at(3)).0, 6);
        assert_eq!(meter.usage(at(60)).0, 10);
        meter.others_spend(at(61), 4, None);
        assert_eq!(meter.usage(at(61)).0, 14);
        meter.set(at(62), Some(80), Some(50));
        assert_eq!(meter.usage(at(62)), (80, 50));
    }
}
