//! Text of the source to the binary `COPY` format, column kind by column kind.
//!
//! Hides the wire forms of the types. Invariants: no allocation for a value; a value that does not
//! fit is null with a reason; nothing that is written here can be refused by the server, because
//! one refused value would cost the whole page. The grammars are those of
//! [`value`](super::super::value), for both databases alike.

use super::super::value::{self, Cell};
use super::numeric;
use crmsync_core::domain::{FieldType, Time};

/// What every binary `COPY` begins with: signature, flags, no header extension.
pub(super) const BEGIN: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// And ends with.
pub(super) const END: &[u8] = &(-1_i16).to_be_bytes();

/// Deeper nesting could exceed the server's stack.
const DEEPEST: usize = 500;
const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, where the server's calendar begins.
const EPOCH: i64 = 10_957;

/// A moment as the server counts: microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub i64);

impl Moment {
    /// The same moment that a column of the other database would show, to the millisecond.
    pub(super) fn of(at: Time) -> Self {
        Self(moment(value::stamp(at).as_str().as_bytes()).unwrap_or(0))
    }
}

/// Appends one value with its length; the reason, where it does not fit.
pub(super) fn value(out: &mut Vec<u8>, kind: FieldType, text: &str) -> Option<&'static str> {
    match kind {
        FieldType::Text => {
            if text.as_bytes().contains(&0) {
                bytes(out, text.replace('\0', "").as_bytes());
                return Some("NUL characters were left out");
            }
            bytes(out, text.as_bytes());
            return None;
        }
        FieldType::Decimal => match numeric::put(out, text) {
            Ok(()) => return None,
            Err(reason) => {
                null(out);
                return Some(reason);
            }
        },
        FieldType::Json if too_deep(text) => {
            null(out);
            return Some("JSON nested too deep");
        }
        FieldType::Boolean
        | FieldType::Integer
        | FieldType::Date
        | FieldType::TimeOfDay
        | FieldType::DateTime
        | FieldType::Json => {}
    }
    let (cell, reason) = value::convert(kind, text);
    cell_of(out, kind, &cell);
    reason
}

fn cell_of(out: &mut Vec<u8>, kind: FieldType, cell: &Cell<'_>) {
    let text = cell.text().unwrap_or_default().as_bytes();
    let done = match (kind, cell) {
        (FieldType::Boolean, Cell::Int(n)) => {
            bytes(out, &[u8::from(*n != 0)]);
            Some(())
        }
        (FieldType::Integer, Cell::Int(n)) => {
            long(out, *n);
            Some(())
        }
        (_, Cell::Null) => None,
        (FieldType::Date, _) => day(text).and_then(|d| i32::try_from(d).ok()).map(|d| {
            bytes(out, &d.to_be_bytes());
        }),
        (FieldType::TimeOfDay, _) => clock(text).map(|t| long(out, t)),
        (FieldType::DateTime, _) => moment(text).map(|t| long(out, t)),
        (FieldType::Text | FieldType::Json, _) => {
            bytes(out, text);
            Some(())
        }
        (FieldType::Boolean | FieldType::Integer | FieldType::Decimal, _) => None,
    };
    if done.is_none() {
        null(out);
    }
}

pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    // No page is near 2 GiB.
    let len = i32::try_from(value.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
}

/// `bigint`, `time` and `timestamptz`.
pub(super) fn long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn moment_or_null(out: &mut Vec<u8>, at: Option<Moment>) {
    match at {
        Some(at) => long(out, at.0),
        None => null(out),
    }
}

/// A number of fixed width.
fn number(b: &[u8]) -> Option<i64> {
    b.iter().try_fold(0_i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

/// Days since 2000-01-01 of `YYYY-MM-DD` (H. Hinnant, "chrono-compatible low-level date
/// algorithms").
fn day(b: &[u8]) -> Option<i64> {
    let (y, m, d) = (number(b.get(..4)?)?, number(b.get(5..7)?)?, number(b.get(8..10)?)?);
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some(era * 146_097 + of_era - 719_468 - EPOCH)
}

/// Microseconds of the day of `HH:MM:SS.sss`.
fn clock(b: &[u8]) -> Option<i64> {
    let part = |from: usize, to: usize| number(b.get(from..to)?);
    let seconds = part(0, 2)? * 3600 + part(3, 5)? * 60 + part(6, 8)?;
    Some((seconds * 1000 + part(9, 12)?) * 1000)
}

fn moment(b: &[u8]) -> Option<i64> {
    Some(day(b)? * DAY + clock(b.get(11..)?)?)
}

fn too_deep(text: &str) -> bool {
    if text.bytes().filter(|b| matches!(b, b'[' | b'{')).count() <= DEEPEST {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: FieldType, text: &str) -> (Vec<u8>, Option<&'static str>) {
        let mut out = Vec::new();
        let reason = value(&mut out, kind, text);
        (out, reason)
    }

    #[test]
    fn moments_before_and_after_the_servers_epoch() {
        for (text, micros) in [
            ("2000-01-01T00:00:00.000Z", 0_i64),
            ("1999-12-31T23:59:59.999Z", -1_000),
            ("1970-01-01T00:00:00Z", -946_684_800_000_000),
            ("2024-02-29T23:59:59.999+0000", 762_566_399_999_000),
            ("0001-01-01T00:00:00Z", -63_082_281_600_000_000),
            ("9999-12-31T23:59:59.999Z", 252_455_615_999_999_000),
        ] {
            let (out, reason) = wire(FieldType::DateTime, text);
            assert_eq!((&out[4..], reason), (&micros.to_be_bytes()[..], None), "{text}");
        }
        assert_eq!(wire(FieldType::Date, "1999-12-31").0[4..], (-1_i32).to_be_bytes());
        assert_eq!(wire(FieldType::TimeOfDay, "01:00").0[4..], 3_600_000_000_i64.to_be_bytes());
    }

    #[test]
    fn what_does_not_fit_is_null_with_a_reason() {
        for (kind, text) in [
            (FieldType::Boolean, "maybe"),
            (FieldType::Integer, "1.5"),
            (FieldType::Decimal, "N/A"),
            (FieldType::Date, "2023-02-30"),
            (FieldType::DateTime, "10000-01-01T00:00:00Z"),
            (FieldType::Json, "{"),
        ] {
            let (out, reason) = wire(kind, text);
            assert!(out == (-1_i32).to_be_bytes() && reason.is_some(), "{kind:?} {text}");
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(wire(FieldType::Json, &deep(501)).1.is_some());
        assert!(wire(FieldType::Json, &deep(100)).1.is_none());
        let flat = format!("[{}[]]", "[],".repeat(1000));
        assert!(wire(FieldType::Json, &flat).1.is_none());
        assert!(wire(FieldType::Json, &format!("[\"{}\"]", "[".repeat(1000))).1.is_none());
        assert_eq!(wire(FieldType::Text, "a\0b").0[4..], *b"ab");
    }
}
