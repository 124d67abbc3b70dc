//! One field's value: how it is stored (a few bytes behind a tag), ordered, and written as JSON.
//!
//! A record is one run of bytes with a cell per slot, so that 200,000 records of 30 fields stay
//! small. Numbers keep the text they came with: `0.10` stays `0.10`. Cells missing at the end are
//! null, which is how a field added later costs nothing in older records.

use super::id::Id;
use std::cmp::Ordering;

/// A value, borrowed from its record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Val<'a> {
    /// No value; the vendor knows no empty string.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number as JSON text.
    Num(&'a str),
    /// Any text.
    Text(&'a str),
    /// Days since 1970-01-01.
    Date(i64),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// A record id.
    Id(Id),
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get_varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut n = 0_u64;
    let mut shift = 0;
    while let Some(byte) = bytes.get(*at) {
        *at += 1;
        n |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 63 {
            break;
        }
    }
    n
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// Appends the cell of one value.
pub fn put(out: &mut Vec<u8>, value: Val<'_>) {
    match value {
        Val::Null => out.push(0),
        Val::Bool(b) => out.push(1 + u8::from(b)),
        Val::Int(n) => {
            out.push(3);
            put_varint(out, zigzag(n));
        }
        Val::Num(text) => {
            out.push(4);
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Val::Text(text) => {
            out.push(5);
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Val::Date(days) => {
            out.push(6);
            put_varint(out, zigzag(days));
        }
        Val::Time(ms) => {
            out.push(7);
            put_varint(out, zigzag(ms));
        }
        Val::Id(id) => {
            out.push(8);
            out.extend_from_slice(&id.0);
        }
    }
}

/// Steps over the cell at `at`.
fn skip(bytes: &[u8], at: &mut usize) {
    let tag = bytes.get(*at).copied().unwrap_or(0);
    *at += 1;
    match tag {
        3 | 6 | 7 => {
            get_varint(bytes, at);
        }
        4 | 5 => {
            let len = get_varint(bytes, at);
            *at = at.saturating_add(len as usize);
        }
        8 => *at += 15,
        _ => {}
    }
}

/// Reads the cell at `at`; past the end it is null.
pub fn read(bytes: &[u8], mut at: usize) -> Val<'_> {
    let Some(tag) = bytes.get(at) else { return Val::Null };
    at += 1;
    match tag {
        1 => Val::Bool(false),
        2 => Val::Bool(true),
        3 => Val::Int(unzigzag(get_varint(bytes, &mut at))),
        4 | 5 => {
            let len = get_varint(bytes, &mut at) as usize;
            let text =
                bytes.get(at..at.saturating_add(len)).and_then(|b| std::str::from_utf8(b).ok());
            match text {
                None => Val::Null,
                Some(text) if *tag == 4 => Val::Num(text),
                Some(text) => Val::Text(text),
            }
        }
        6 => Val::Date(unzigzag(get_varint(bytes, &mut at))),
        7 => Val::Time(unzigzag(get_varint(bytes, &mut at))),
        8 => bytes
            .get(at..at + 15)
            .and_then(|b| b.try_into().ok())
            .map_or(Val::Null, |b| Val::Id(Id(b))),
        _ => Val::Null,
    }
}

/// The value in `slot`.
pub fn cell(bytes: &[u8], slot: usize) -> Val<'_> {
    let mut at = 0;
    for _ in 0..slot {
        if at >= bytes.len() {
            return Val::Null;
        }
        skip(bytes, &mut at);
    }
    read(bytes, at)
}

/// Where each cell begins; for records of which many fields are read.
pub fn offsets(bytes: &[u8], out: &mut Vec<usize>) {
    out.clear();
    let mut at = 0;
    while at < bytes.len() {
        out.push(at);
        skip(bytes, &mut at);
    }
}

/// Writes JSON as the REST API does: datetimes in UTC with `+0000`, numbers with their own text.
pub fn write_json(out: &mut Vec<u8>, value: Val<'_>) {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Val::Num(text) => out.extend_from_slice(text.as_bytes()),
        Val::Text(text) => write_string(out, text),
        Val::Date(days) => {
            out.push(b'"');
            write_date(out, days);
            out.push(b'"');
        }
        Val::Time(ms) => {
            out.push(b'"');
            write_datetime(out, ms);
            out.push(b'"');
        }
        Val::Id(id) => {
            out.push(b'"');
            out.extend_from_slice(&id.long());
            out.push(b'"');
        }
    }
}

/// Writes a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let escape: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'\t' => Some(b"\\t"),
            0..0x20 => None,
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..i).unwrap_or_default());
        match escape {
            Some(escape) => out.extend_from_slice(escape),
            None => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        from = i + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.push(b'"');
}

fn two(out: &mut Vec<u8>, n: i64) {
    out.push(b'0' + (n / 10 % 10) as u8);
    out.push(b'0' + (n % 10) as u8);
}

/// `2026-01-02`. Days to a civil date by Howard Hinnant's `civil_from_days`.
fn write_date(out: &mut Vec<u8>, days: i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let year = year.clamp(0, 9999);
    two(out, year / 100);
    two(out, year % 100);
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
}

/// `2026-01-02T17:38:59.000`, in UTC; what says so follows.
pub fn write_moment(out: &mut Vec<u8>, ms: i64) {
    write_date(out, ms.div_euclid(86_400_000));
    let rest = ms.rem_euclid(86_400_000);
    out.push(b'T');
    two(out, rest / 3_600_000);
    out.push(b':');
    two(out, rest / 60_000 % 60);
    out.push(b':');
    two(out, rest / 1000 % 60);
    out.push(b'.');
    out.push(b'0' + (rest % 1000 / 100) as u8);
    two(out, rest % 100);
}

/// `2026-01-02T17:38:59.000+0000`.
fn write_datetime(out: &mut Vec<u8>, ms: i64) {
    write_moment(out, ms);
    out.extend_from_slice(b"+0000");
}

/// A moment in the vendor's form, `2026-01-02T17:38:59.000+0000`.
pub fn datetime_text(ms: i64) -> String {
    let mut out = Vec::with_capacity(28);
    write_datetime(&mut out, ms);
    String::from_utf8(out).unwrap_or_default()
}

/// Compares two JSON numbers exactly, whatever their exponents.
pub fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (x, y) = (a.parse::<f64>().unwrap_or(0.0), b.parse::<f64>().unwrap_or(0.0));
    match x.partial_cmp(&y) {
        Some(Ordering::Equal) | None => {
            let ((negative, dx, ex), (_, dy, ey)) = (digits(a), digits(b));
            let order = if dx.is_empty() || dy.is_empty() {
                (!dx.is_empty()).cmp(&!dy.is_empty())
            } else {
                ex.cmp(&ey).then_with(|| dx.cmp(&dy))
            };
            if negative { order.reverse() } else { order }
        }
        Some(order) => order,
    }
}

/// Sign, digits without leading and trailing zeros, and the exponent of the first digit.
fn digits(text: &str) -> (bool, Vec<u8>, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let point = mantissa.find('.').unwrap_or(mantissa.len());
    let mut all: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let zeros = all.iter().take_while(|d| **d == b'0').count();
    all.drain(..zeros);
    while all.last() == Some(&b'0') {
        all.pop();
    }
    let shift = exponent.parse::<i64>().unwrap_or(0);
    (negative, all, shift.saturating_add(point as i64).saturating_sub(zeros as i64))
}

/// Orders text as the vendor does, without regard to case.
pub fn compare_text(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a
            .bytes()
            .map(|c| c.to_ascii_lowercase())
            .cmp(b.bytes().map(|c| c.to_ascii_lowercase()));
    }
    a.chars().flat_map(char::to_lowercase).cmp(b.chars().flat_map(char::to_lowercase))
}

/// Orders two values of one field; null before everything.
pub fn compare(a: Val<'_>, b: Val<'_>) -> Ordering {
    match (a, b) {
        (Val::Null, Val::Null) => Ordering::Equal,
        (Val::Null, _) => Ordering::Less,
        (_, Val::Null) => Ordering::Greater,
        (Val::Bool(a), Val::Bool(b)) => a.cmp(&b),
        (Val::Int(a), Val::Int(b))
        | (Val::Date(a), Val::Date(b))
        | (Val::Time(a), Val::Time(b)) => a.cmp(&b),
        (Val::Id(a), Val::Id(b)) => a.cmp(&b),
        (Val::Text(a), Val::Text(b)) => compare_text(a, b),
        (Val::Num(a), Val::Num(b)) => compare_numbers(a, b),
        (Val::Int(a), Val::Num(b)) => compare_numbers(&a.to_string(), b),
        (Val::Num(a), Val::Int(b)) => compare_numbers(a, &b.to_string()),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Values of different kinds meet only after a type change or in a polymorphic lookup.
fn rank(value: Val<'_>) -> u8 {
    match value {
        Val::Null => 0,
        Val::Bool(_) => 1,
        Val::Int(_) | Val::Num(_) => 2,
        Val::Date(_) => 3,
        Val::Time(_) => 4,
        Val::Id(_) => 5,
        Val::Text(_) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_as_the_vendor_writes_them() {
        assert_eq!(datetime_text(1_767_375_539_000), "2026-01-02T17:38:59.000+0000");
        assert_eq!(datetime_text(-1), "1969-12-31T23:59:59.999+0000");
        let mut out = Vec::new();
        write_json(&mut out, Val::Date(-98_615));
        assert_eq!(out, b"\"1700-01-01\"");
    }

    #[test]
    fn numbers_compare_exactly() {
        for (a, b, order) in [
            ("0.10", "0.1", Ordering::Equal),
            ("1.0E7", "10000000", Ordering::Equal),
            ("12345678901234567.1", "12345678901234567.2", Ordering::Less),
            ("-12345678901234567.1", "-12345678901234567.2", Ordering::Greater),
            ("-0", "0.000", Ordering::Equal),
            ("-5", "3", Ordering::Less),
        ] {
            assert_eq!(compare_numbers(a, b), order, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn cells_read_back(ints in prop::collection::vec(any::<i64>(), 0..6), texts in prop::collection::vec(".*", 0..6)) {
            let mut bytes = Vec::new();
            for (n, text) in ints.iter().zip(&texts) {
                for value in [Val::Int(*n), Val::Text(text), Val::Null, Val::Date(*n), Val::Id(Id::from_serial("001", 7)), Val::Bool(true)] {
                    put(&mut bytes, value);
                }
            }
            for (i, (n, text)) in ints.iter().zip(&texts).enumerate() {
                prop_assert_eq!(cell(&bytes, i * 6), Val::Int(*n));
                prop_assert_eq!(cell(&bytes, i * 6 + 1), Val::Text(text));
                prop_assert_eq!(cell(&bytes, i * 6 + 3), Val::Date(*n));
            }
            prop_assert_eq!(cell(&bytes, 1000), Val::Null);
        }

        #[test]
        fn any_bytes_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), slot in 0_usize..20) {
            let _ = cell(&bytes, slot);
        }

        #[test]
        fn strings_are_json(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
