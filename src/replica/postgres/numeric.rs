//! Decimal text to the digits of a `numeric`, exactly.
//!
//! Hides the wire format (`numeric_recv` of `PostgreSQL`: groups of four decimal digits, weight,
//! sign, display scale). Invariants: the same grammar as [`value`](super::super::value); equal
//! numbers give equal bytes, whatever zeros they were written with; nothing is rounded.

const NOT_A_NUMBER: &str = "not a number";
const TOO_LONG: &str = "more digits than a numeric holds";

/// Digits before the point that a `numeric` holds (manual, "Numeric Types").
const BEFORE: i64 = 131_072;
/// Digits behind it.
const BEHIND: i64 = 16_383;
const NEGATIVE: u16 = 0x4000;

/// Appends length and value; nothing is appended where the text does not fit.
pub(super) fn put(out: &mut Vec<u8>, text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    let (negative, bytes) = match bytes.first() {
        Some(b'-') => (true, &bytes[1..]),
        Some(b'+') => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let (mut dot, mut mark, mut first, mut last) = (None, bytes.len(), None, 0);
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'0' => {}
            b'1'..=b'9' => {
                first.get_or_insert(i);
                last = i;
            }
            b'.' if dot.is_none() => dot = Some(i),
            b'e' | b'E' => {
                mark = i;
                break;
            }
            _ => return Err(NOT_A_NUMBER),
        }
    }
    let exponent = if mark < bytes.len() { exponent(&bytes[mark + 1..])? } else { 0 };
    if mark == usize::from(dot.is_some()) {
        return Err(NOT_A_NUMBER); // no digit at all
    }
    let Some(first) = first else {
        header(out, 0, 0, false, 0);
        return Ok(());
    };
    let dot = dot.unwrap_or(mark);
    let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let digits = &bytes[first..=last];
    let count = signed(digits.len()) - i64::from(first < dot && dot < last);
    // value = 0.d1d2d3… x 10^point
    let point = signed(dot) - signed(first) + i64::from(first > dot) + exponent;
    let scale = (count - point).max(0);
    if point > BEFORE || scale > BEHIND {
        return Err(TOO_LONG);
    }
    groups(out, digits, (count, point, scale), negative).ok_or(TOO_LONG)
}

fn groups(
    out: &mut Vec<u8>,
    digits: &[u8],
    (count, point, scale): (i64, i64, i64),
    negative: bool,
) -> Option<()> {
    let in_first = (point - 1).rem_euclid(4) + 1;
    let weight = (point - 1).div_euclid(4);
    let groups = 1 + ((count - in_first).max(0) + 3) / 4;
    let (weight, scale) = (i16::try_from(weight).ok()?, u16::try_from(scale).ok()?);
    header(out, u16::try_from(groups).ok()?, weight, negative, scale);
    let (mut group, mut left) = (0_u16, in_first);
    for digit in digits.iter().filter(|b| **b != b'.') {
        group = group * 10 + u16::from(digit - b'0');
        left -= 1;
        if left == 0 {
            out.extend_from_slice(&group.to_be_bytes());
            (group, left) = (0, 4);
        }
    }
    if left < 4 || count < in_first {
        for _ in 0..left {
            group *= 10;
        }
        out.extend_from_slice(&group.to_be_bytes());
    }
    Some(())
}

fn header(out: &mut Vec<u8>, groups: u16, weight: i16, negative: bool, scale: u16) {
    out.extend_from_slice(&(8 + 2 * i32::from(groups)).to_be_bytes());
    out.extend_from_slice(&groups.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&(if negative { NEGATIVE } else { 0 }).to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

fn exponent(bytes: &[u8]) -> Result<i64, &'static str> {
    let (sign, digits) = match bytes.first() {
        Some(b'-') => (-1, &bytes[1..]),
        Some(b'+') => (1, &bytes[1..]),
        _ => (1, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NOT_A_NUMBER);
    }
    let add = |n: i64, d: &u8| n.saturating_mul(10).saturating_add(i64::from(d - b'0'));
    Ok(sign * digits.iter().fold(0, add).min(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::value::{Cell, convert};
    use crmsync_core::domain::FieldType;
    use proptest::prelude::*;
    use std::fmt::Write;

    /// The plain digits that the bytes stand for.
    fn read(text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        put(&mut out, text)?;
        let word = |i: usize| u16::from_be_bytes([out[i], out[i + 1]]);
        assert_eq!(
            i32::from_be_bytes(out[..4].try_into().unwrap()),
            i32::try_from(out.len() - 4).unwrap()
        );
        let (groups, weight, scale) =
            (usize::from(word(4)), word(6).cast_signed(), usize::from(word(10)));
        assert_eq!(out.len(), 12 + 2 * groups);
        let group = |at: i32| match usize::try_from(at).ok().filter(|at| *at < groups) {
            Some(at) => word(12 + 2 * at),
            None => 0,
        };
        let mut whole = String::new();
        for at in 0..=i32::from(weight) {
            let _ = write!(whole, "{:04}", group(at));
        }
        let mut behind = String::new();
        let mut at = i32::from(weight) + 1;
        if weight < -1 {
            behind = "0000".repeat(usize::try_from(-1 - weight).unwrap());
            at = 0;
        }
        while behind.len() < scale {
            let _ = write!(behind, "{:04}", group(at));
            at += 1;
        }
        assert!(at >= i32::try_from(groups).unwrap(), "digits are left");
        assert!(behind[scale..].bytes().all(|b| b == b'0'));
        behind.truncate(scale);
        let whole = whole.trim_start_matches('0');
        let sign = if word(8) == NEGATIVE { "-" } else { "" };
        let dot = if behind.is_empty() { "" } else { "." };
        Ok(format!("{sign}{}{dot}{behind}", if whole.is_empty() { "0" } else { whole }))
    }

    #[test]
    fn numbers_in_any_dress() {
        for (text, plain) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("0e9", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("+7", "7"),
            ("007", "7"),
            ("5.00", "5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("10000", "10000"),
            ("12345.6789", "12345.6789"),
            ("0.0001", "0.0001"),
            ("0.00001", "0.00001"),
            ("1e-9", "0.000000001"),
            ("-12.5E+3", "-12500"),
            ("1e4", "10000"),
            ("120e-1", "12"),
            ("99999999999999999999.99", "99999999999999999999.99"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("1.10", "1.1"),
            ("100000000", "100000000"),
            ("3e-8", "0.00000003"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(plain), "{text}");
        }
        for text in
            ["", ".", "-", "e5", ".e5", "1e", "1e+", "1.2.3", "N/A", "1,5", "0x1", " 1", "NaN"]
        {
            assert_eq!(read(text), Err(NOT_A_NUMBER), "{text}");
        }
        for text in ["1e131072", "1e-16384", "1e999999999999999999999"] {
            assert_eq!(read(text), Err(TOO_LONG), "{text}");
        }
        assert_eq!(read("1e131071").unwrap().len(), 131_072);
        assert_eq!(read("1e-16383").unwrap().len(), 16_385);
    }

    proptest! {
        #[test]
        fn the_grammar_is_that_of_the_other_database(text in "[-+]?[0-9.eE+-]{0,12}") {
            let there = !matches!(convert(FieldType::Decimal, &text), (Cell::Null, _));
            prop_assert_eq!(put(&mut Vec::new(), &text) != Err(NOT_A_NUMBER), there);
        }

        #[test]
        fn written_digits_come_back(whole in "[1-9][0-9]{0,30}", behind in "[0-9]{0,30}[1-9]") {
            let text = format!("{whole}.{behind}");
            prop_assert_eq!(read(&text).unwrap(), text);
        }
    }
}
