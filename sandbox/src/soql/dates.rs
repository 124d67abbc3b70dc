//! Dates in queries and from outside: literals, and periods such as `LAST_N_DAYS:30`.
//!
//! Everything is UTC: the calling user's zone is UTC here, so that a day begins at midnight UTC.
//! Days count from 1970-01-01, moments are milliseconds from then.

use jiff::civil::Date;
use jiff::{Span, Timestamp};

const DAY_MS: i64 = 86_400_000;
/// 1700-01-01 and 4000-12-31, the vendor's bounds.
const BOUNDS: (i64, i64) = (-98_615, 741_807);

/// `2026-01-31`, within 1700 to 4000.
pub fn date(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() != 10 || b.get(4) != Some(&b'-') || b.get(7) != Some(&b'-') {
        return None;
    }
    let part = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i16>().ok())?
    };
    let date =
        Date::new(part(0, 4)?, i8::try_from(part(5, 7)?).ok()?, i8::try_from(part(8, 10)?).ok()?)
            .ok()?;
    let days = days(date);
    (BOUNDS.0 <= days && days <= BOUNDS.1).then_some(days)
}

/// `2026-01-31T10:00:00[.123](Z|+01:00|+0100)`.
pub fn datetime(text: &str) -> Option<i64> {
    let day = date(text.get(..10)?)?;
    let rest = text.get(10..)?.strip_prefix(['T', 't'])?;
    let (clock, zone) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest.get(..at)?, rest.get(at..)?),
        None => return None,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let mut next = |max: i64| {
        let part = parts.next()?;
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())?
            .filter(|n| *n <= max)
    };
    let (hour, minute, second) = (next(23)?, next(59)?, next(59)?);
    if parts.next().is_some() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let offset = if zone.eq_ignore_ascii_case("z") {
        0
    } else {
        let sign = if zone.starts_with('-') { -1 } else { 1 };
        let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let n = digits.parse::<i64>().ok()?;
        if n / 100 > 14 || n % 100 > 59 {
            return None;
        }
        sign * (n / 100 * 60 + n % 100) * 60_000
    };
    Some(day * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + ms - offset)
}

fn days(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    (date - epoch).get_days().into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A date literal, before it is known what day it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    unit: Unit,
    /// First unit, counted from the present one.
    from: i64,
    /// Behind the last unit.
    to: i64,
}

/// Farthest count that is accepted.
const MAX_COUNT: u32 = 36_500;

impl Period {
    /// `TODAY`, `LAST_MONTH`, `THIS_FISCAL_YEAR` (fiscal years are calendar years here).
    pub fn named(word: &str) -> Option<Self> {
        let word = word.to_uppercase();
        let (unit, from, to) = match word.as_str() {
            "YESTERDAY" => (Unit::Day, -1, 0),
            "TODAY" => (Unit::Day, 0, 1),
            "TOMORROW" => (Unit::Day, 1, 2),
            "LAST_90_DAYS" => (Unit::Day, -90, 1),
            "NEXT_90_DAYS" => (Unit::Day, 1, 91),
            _ => {
                let (when, unit) = word.split_once('_')?;
                let from = match when {
                    "LAST" => -1,
                    "THIS" => 0,
                    "NEXT" => 1,
                    _ => return None,
                };
                let unit = match unit {
                    "WEEK" => Unit::Week,
                    "MONTH" => Unit::Month,
                    "QUARTER" | "FISCAL_QUARTER" => Unit::Quarter,
                    "YEAR" | "FISCAL_YEAR" => Unit::Year,
                    _ => return None,
                };
                (unit, from, from + 1)
            }
        };
        Some(Self { unit, from, to })
    }

    /// `LAST_N_DAYS:n`, `NEXT_N_WEEKS:n`, `N_MONTHS_AGO:n`.
    pub fn counted(word: &str, n: u32) -> Option<Self> {
        if n > MAX_COUNT {
            return None;
        }
        let n = i64::from(n);
        let word = word.to_uppercase();
        let unit = |text: &str| match text {
            "DAYS" => Some(Unit::Day),
            "WEEKS" => Some(Unit::Week),
            "MONTHS" => Some(Unit::Month),
            "QUARTERS" | "FISCAL_QUARTERS" => Some(Unit::Quarter),
            "YEARS" | "FISCAL_YEARS" => Some(Unit::Year),
            _ => None,
        };
        if let Some(rest) = word.strip_prefix("LAST_N_") {
            let unit = unit(rest)?;
            // Days run up to and with today, greater units end before the present one.
            return Some(Self { unit, from: -n, to: i64::from(unit == Unit::Day) });
        }
        if let Some(rest) = word.strip_prefix("NEXT_N_") {
            return Some(Self { unit: unit(rest)?, from: 1, to: n + 1 });
        }
        let rest = word.strip_prefix("N_")?.strip_suffix("_AGO")?;
        Some(Self { unit: unit(rest)?, from: -n, to: 1 - n })
    }

    /// The days that it covers at `now` (seconds): from, and behind the last.
    pub fn days(self, now: i64) -> (i64, i64) {
        let bound = |n: i64| self.begin(now, n).unwrap_or(if n < 0 { BOUNDS.0 } else { BOUNDS.1 });
        (bound(self.from), bound(self.to))
    }

    fn begin(self, now: i64, n: i64) -> Option<i64> {
        let today = Timestamp::from_second(now).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let span = |span: Span| today.first_of_month().checked_add(span).ok();
        let date = match self.unit {
            Unit::Day => today.checked_add(Span::new().try_days(n).ok()?).ok()?,
            Unit::Week => {
                let back = i64::from(today.weekday().to_sunday_zero_offset());
                today.checked_add(Span::new().try_days(n * 7 - back).ok()?).ok()?
            }
            Unit::Month => span(Span::new().try_months(n).ok()?)?,
            Unit::Quarter => {
                let back = i64::from((today.month() - 1) % 3);
                span(Span::new().try_months(n * 3 - back).ok()?)?
            }
            Unit::Year => {
                let back = i64::from(today.month() - 1);
                span(Span::new().try_months(n.checked_mul(12)? - back).ok()?)?
            }
        };
        Some(days(date))
    }
}
