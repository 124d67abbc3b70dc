//! Dates and times: ISO 8601 in, one fixed form out.
//!
//! Out: `YYYY-MM-DDTHH:MM:SS.sssZ` in UTC, years 0001 to 9999, so that text order is time order.
//! Digits behind the milliseconds are cut off.

use super::{Cell, Short};

const NOT_A_DATE: &str = "not a date YYYY-MM-DD";
const NOT_A_TIME: &str = "not a time of day";
const NOT_A_MOMENT: &str = "not a date and time with offset";
const OUT_OF_RANGE: &str = "outside the years 0001 to 9999";
const DAY: i64 = 86_400;

fn two(b: &[u8]) -> Option<i64> {
    match b {
        [a, b] if a.is_ascii_digit() && b.is_ascii_digit() => {
            Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
        }
        _ => None,
    }
}

/// A real day of the proleptic Gregorian calendar.
fn ymd(b: &[u8]) -> Option<(i64, i64, i64)> {
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let (y, m, d) = (two(&b[..2])? * 100 + two(&b[2..4])?, two(&b[5..7])?, two(&b[8..])?);
    let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let days = match m {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days).contains(&d).then_some((y, m, d))
}

/// `HH:MM[:SS[.fraction]]` at the start: seconds, milliseconds, and what is left.
fn clock(b: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (hour, minute) = (two(b.get(..2)?)?, two(b.get(3..5)?)?);
    if b[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let (mut second, mut millis, mut rest) = (0, 0, &b[5..]);
    if rest.first() == Some(&b':') {
        second = two(rest.get(1..3)?)?;
        rest = &rest[3..];
        if matches!(rest.first(), Some(b'.' | b',')) {
            let digits = rest[1..].iter().take_while(|d| d.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            for i in 0..3 {
                let digit = if i < digits { rest[1 + i] - b'0' } else { 0 };
                millis = millis * 10 + i64::from(digit);
            }
            rest = &rest[1 + digits..];
        }
    }
    (second <= 59).then_some((hour * 3600 + minute * 60 + second, millis, rest))
}

/// `Z`, `+HH`, `+HHMM`, `+HH:MM` (or `-`): seconds east of UTC.
fn offset(b: &[u8]) -> Option<i64> {
    let sign = match b.first()? {
        b'Z' | b'z' => return (b.len() == 1).then_some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match b.len() {
        3 => (two(&b[1..])?, 0),
        5 => (two(&b[1..3])?, two(&b[3..])?),
        6 if b[3] == b':' => (two(&b[1..3])?, two(&b[4..])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

pub(super) fn date(text: &str) -> Result<(), &'static str> {
    match ymd(text.as_bytes()) {
        Some((1.., _, _)) => Ok(()),
        Some(_) => Err(OUT_OF_RANGE),
        None => Err(NOT_A_DATE),
    }
}

pub(super) fn time_of_day(text: &str) -> Result<Cell<'_>, &'static str> {
    let (seconds, millis, rest) = clock(text.as_bytes()).ok_or(NOT_A_TIME)?;
    if !matches!(rest, [] | [b'Z' | b'z']) {
        return Err(NOT_A_TIME);
    }
    if text.len() == 12 && rest.is_empty() && text.as_bytes()[8] == b'.' {
        return Ok(Cell::Text(text));
    }
    let mut out = [b'0'; 12];
    put_clock(&mut out, seconds, millis);
    Ok(Cell::Short(Short::new(&out)))
}

pub(super) fn date_time(text: &str) -> Result<Cell<'_>, &'static str> {
    let b = text.as_bytes();
    let (Some(day), Some(b'T' | b't' | b' ')) = (b.get(..10).and_then(ymd), b.get(10)) else {
        return Err(NOT_A_MOMENT);
    };
    let (seconds, millis, rest) = clock(&b[11..]).ok_or(NOT_A_MOMENT)?;
    let offset = offset(rest).ok_or(NOT_A_MOMENT)?;
    let mut out = *b"0000-00-00T00:00:00.000Z";
    if offset == 0 {
        if day.0 < 1 {
            return Err(OUT_OF_RANGE);
        }
        if b.len() == 24 && b[10] == b'T' && b[19] == b'.' && b[23] == b'Z' {
            return Ok(Cell::Text(text));
        }
        out[..10].copy_from_slice(&b[..10]);
        put_clock(&mut out[11..23], seconds, millis);
        return Ok(Cell::Short(Short::new(&out)));
    }
    let moment = days_from_civil(day) * DAY + seconds - offset;
    let (y, m, d) = civil_from_days(moment.div_euclid(DAY));
    if !(1..=9999).contains(&y) {
        return Err(OUT_OF_RANGE);
    }
    put(&mut out[..2], y / 100);
    put(&mut out[2..4], y % 100);
    put(&mut out[5..7], m);
    put(&mut out[8..10], d);
    put_clock(&mut out[11..23], moment.rem_euclid(DAY), millis);
    Ok(Cell::Short(Short::new(&out)))
}

/// Two digits.
fn put(out: &mut [u8], value: i64) {
    let value = u8::try_from(value).unwrap_or(0);
    out[0] = b'0' + value / 10 % 10;
    out[1] = b'0' + value % 10;
}

/// `HH:MM:SS.sss` into 12 bytes.
fn put_clock(out: &mut [u8], seconds: i64, millis: i64) {
    put(&mut out[..2], seconds / 3600);
    out[2] = b':';
    put(&mut out[3..5], seconds / 60 % 60);
    out[5] = b':';
    put(&mut out[6..8], seconds % 60);
    out[8] = b'.';
    put(&mut out[9..11], millis / 10);
    out[11] = b'0' + u8::try_from(millis % 10).unwrap_or(0);
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil((y, m, d): (i64, i64, i64)) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let year = y.rem_euclid(400);
    let day = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let d = of_year - (153 * month + 2) / 5 + 1;
    let m = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(m <= 2), m, d)
}
