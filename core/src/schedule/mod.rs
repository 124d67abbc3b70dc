//! Due times: `every` with a stable offset per connection, cron in a time zone, and what was
//! missed while the daemon was down.
//!
//! Hides croner and the calendar. Invariants: a due time is later than `after`; the same
//! arguments give the same answer on every node; in a zone with summer time a fixed hour runs
//! once a day: one that is skipped in spring runs right after the gap, one that comes twice in
//! autumn runs at its first coming.

use crate::domain::{Schedule, ScheduleError, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use std::str::FromStr;

/// What was missed runs within this time of the start.
pub const CATCH_UP: SignedDuration = SignedDuration::from_mins(5);

/// A stable number of a name (FNV-1a, finished by an avalanche so that near names lie far apart).
pub fn seed(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let h = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 33)
}

/// The first due time after `after`. `every`: whole steps since the epoch plus the connection's
/// own offset within the step; cron: in its zone, without offset (an hour was named).
/// Error: only for a schedule that `Schedule::parse` would refuse, or one that never comes
/// (30 February).
pub fn next_due(schedule: &Schedule, offset_seed: u64, after: Time) -> Result<Time, ScheduleError> {
    match schedule {
        Schedule::Every(step) => {
            let step = step.as_millis().max(1);
            let offset = spread(offset_seed, step);
            let from = i128::from(after.as_millisecond());
            let next = ((from - offset).div_euclid(step) + 1) * step + offset;
            let next = i64::try_from(next).unwrap_or(i64::MAX);
            Ok(Time::from_millisecond(next).unwrap_or(Time::MAX))
        }
        Schedule::Cron { line, zone } => next_cron(line, zone, after),
    }
}

/// When a run that was due at `due` is started by a daemon that started at `start`: at `due` if
/// that is still to come; else once, within five minutes of the start, by its offset.
pub fn catch_up(due: Time, start: Time, offset_seed: u64) -> Time {
    if due >= start {
        return due;
    }
    let wait = i64::try_from(spread(offset_seed, CATCH_UP.as_millis())).unwrap_or(0);
    start.checked_add(SignedDuration::from_millis(wait)).unwrap_or(Time::MAX)
}

/// About how far two runs lie apart, for the alarm: the step, or the wider of the next two
/// distances of a cron line.
pub fn interval(schedule: &Schedule, now: Time) -> SignedDuration {
    match schedule {
        Schedule::Every(step) => *step,
        Schedule::Cron { .. } => {
            let mut at = now;
            let mut widest = SignedDuration::ZERO;
            // A week's worth of turns for the common `1-5` lines, without running for long.
            for turn in 0..8 {
                let Ok(next) = next_due(schedule, 0, at) else { break };
                if turn > 0 {
                    widest = widest.max(next.duration_since(at));
                }
                at = next;
            }
            if widest.is_zero() { SignedDuration::from_hours(24) } else { widest }
        }
    }
}

/// A number of milliseconds in `0..width`, by the seed.
fn spread(seed: u64, width: i128) -> i128 {
    i128::from(seed) % width.max(1)
}

fn next_cron(line: &str, zone: &str, after: Time) -> Result<Time, ScheduleError> {
    let refuse = |why: String| ScheduleError::Cron { line: line.to_owned(), why };
    let tz = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
    let cron = croner::Cron::from_str(line).map_err(|e| refuse(e.to_string()))?;
    let mut from: Zoned = after.to_zoned(tz);
    // The library may answer with an instant that is not later (hour that comes twice): go on
    // from there, a bounded number of times.
    for _ in 0..200 {
        let next = cron.find_next_occurrence(&from, false).map_err(|e| refuse(e.to_string()))?;
        if next.timestamp() > after {
            return Ok(next.timestamp());
        }
        from = next.checked_add(SignedDuration::from_mins(1)).map_err(|e| refuse(e.to_string()))?;
    }
    Err(refuse("no time later than the last one was found".to_owned()))
}

#[cfg(test)]
mod tests;
