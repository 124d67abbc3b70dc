use crate::domain::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use serde::{Deserialize, Serialize};

/// Local wall-clock times, minutes of the day; may span midnight. `from == to`: never quiet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// First quiet minute of the day.
    pub from: u16,
    /// First minute that is not quiet.
    pub to: u16,
    /// IANA zone; an unknown one counts as UTC (`check` refuses it earlier).
    pub zone: String,
}

impl QuietHours {
    /// The end of the quiet time that `at` lies in; `None` when it is not quiet.
    pub fn end(&self, at: Time) -> Option<Time> {
        if self.from == self.to {
            return None;
        }
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        let local: Zoned = at.to_zoned(zone);
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let quiet = if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        };
        if !quiet {
            return None;
        }
        let day = if minute < self.to { Ok(local.date()) } else { local.date().tomorrow() };
        let hour = i8::try_from(self.to / 60 % 24).unwrap_or(0);
        let left = i8::try_from(self.to % 60).unwrap_or(0);
        // A gap of the clock moves it to the gap's end, an hour that comes twice to its first.
        let end = day
            .map(|d| d.at(hour, left, 0, 0))
            .and_then(|d| d.to_zoned(local.time_zone().clone()))
            .map(|z| z.timestamp());
        match end {
            Ok(end) if end > at => Some(end),
            // At the clock's seams rather late by an hour than never.
            _ => at.checked_add(SignedDuration::from_hours(1)).ok(),
        }
    }
}
