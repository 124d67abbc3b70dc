use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// When a connection is due: `every 15m`, or a five-field cron line in a time zone.
/// Due times are computed by `crate::schedule`; this is only the checked value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Aligned steps since the epoch, plus the connection's own offset.
    Every(SignedDuration),
    /// Cron with the name of an IANA zone.
    Cron {
        /// Five fields.
        line: String,
        /// E.g. `Europe/Berlin`, `UTC`.
        zone: String,
    },
}

/// Why a schedule or duration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither form.
    #[error("`{0}` is neither `every 15m` (s, m, h, d) nor a five-field cron line")]
    Form(String),
    /// Too short or long.
    #[error("`{0}` is outside 1s to 31d")]
    Range(String),
    /// The cron library's text.
    #[error("cron line `{line}`: {why}")]
    Cron {
        /// The line.
        line: String,
        /// The library's text.
        why: String,
    },
    /// Not in the zone database.
    #[error("time zone `{0}` is not known (expected a name like Europe/Berlin)")]
    Zone(String),
}

impl Schedule {
    /// Reads the `schedule` and `time_zone` keys.
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("every ") {
            let step = parse_duration(rest)?;
            let day = SignedDuration::from_hours(24);
            if step < SignedDuration::from_secs(1) || step > day * 31 {
                return Err(ScheduleError::Range(text.to_owned()));
            }
            return Ok(Self::Every(step));
        }
        if text.split_whitespace().count() != 5 {
            return Err(ScheduleError::Form(text.to_owned()));
        }
        croner::Cron::from_str(text)
            .map_err(|e| ScheduleError::Cron { line: text.to_owned(), why: e.to_string() })?;
        Ok(Self::Cron { line: text.to_owned(), zone: zone.to_owned() })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(step) => write!(f, "every {}", format_duration(*step)),
            Self::Cron { line, zone } => write!(f, "{line} ({zone})"),
        }
    }
}

/// Reads `90s`, `15m`, `2h`, `30d`, or sums such as `1h30m`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, ScheduleError> {
    let form = || ScheduleError::Form(text.to_owned());
    let mut total = SignedDuration::ZERO;
    let mut digits = String::new();
    for c in text.trim().chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(form()),
        };
        let n: i64 = digits.parse().map_err(|_| form())?;
        let secs = n.checked_mul(unit).ok_or_else(form)?;
        total = total.checked_add(SignedDuration::from_secs(secs)).ok_or_else(form)?;
        digits.clear();
    }
    if digits.is_empty() && total > SignedDuration::ZERO { Ok(total) } else { Err(form()) }
}

/// The inverse of [`parse_duration`]; sub-second parts are dropped.
pub fn format_duration(d: SignedDuration) -> String {
    let mut secs = d.as_secs();
    let mut out = String::new();
    for (unit, name) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if secs >= unit {
            out += &(secs / unit).to_string();
            out.push(name);
            secs %= unit;
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for t in ["15m", "1h30m", "2d", "90s"] {
            let d = parse_duration(t).unwrap();
            assert_eq!(parse_duration(&format_duration(d)).unwrap(), d);
        }
        for bad in ["", "5", "m", "5x", "-5m", "99999999999999999999d", "0s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schedules_are_checked() {
        assert!(Schedule::parse("every 15m", "UTC").is_ok());
        assert!(Schedule::parse("30 2 * * 1-5", "Europe/Berlin").is_ok());
        assert!(matches!(Schedule::parse("hourly", "UTC"), Err(ScheduleError::Form(_))));
        assert!(matches!(Schedule::parse("61 2 * * *", "UTC"), Err(ScheduleError::Cron { .. })));
        assert!(matches!(Schedule::parse("every 15m", "Mars/Base"), Err(ScheduleError::Zone(_))));
        assert!(matches!(Schedule::parse("every 90d", "UTC"), Err(ScheduleError::Range(_))));
    }
}
