//! Numbers: exact grammar, and the question whether a double keeps a decimal.

use super::Cell;
use std::io::Write;

const NOT_A_NUMBER: &str = "not a number";
const NOT_WHOLE: &str = "not a whole number";
const TOO_LARGE: &str = "beyond 64 bits";

/// A decimal text taken apart: value = 0.d1d2d3… x 10^point, digits without outer zeros.
struct Parts<'a> {
    negative: bool,
    /// Digits with at most one dot in between, from the first to the last digit that is not 0.
    digits: &'a [u8],
    /// Number of digits in `digits`.
    count: usize,
    point: i64,
}

impl Parts<'_> {
    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.digits.iter().copied().filter(u8::is_ascii_digit)
    }
}

/// `[+-] digits [. digits] [e [+-] digits]`, at least one digit.
fn parts(text: &str) -> Option<Parts<'_>> {
    let bytes = text.as_bytes();
    let (negative, bytes) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        b'+' => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(e) => (&bytes[..e], exponent(&bytes[e + 1..])?),
        None => (bytes, 0),
    };
    let dot = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let valid = mantissa.iter().enumerate().all(|(i, b)| b.is_ascii_digit() || i == dot);
    if !valid || !mantissa.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let significant = |b: &u8| matches!(b, b'1'..=b'9');
    let Some(first) = mantissa.iter().position(significant) else {
        return Some(Parts { negative, digits: &[], count: 0, point: 0 });
    };
    let last = mantissa.iter().rposition(significant).unwrap_or(first);
    let digits = &mantissa[first..=last];
    let count = digits.iter().filter(|b| b.is_ascii_digit()).count();
    // Digits before the dot, counted from the first significant one; negative behind the dot.
    let before = i64::try_from(dot).ok()? - i64::try_from(first).ok()?;
    let point = if first < dot { before } else { before + 1 };
    Some(Parts { negative, digits, count, point: point.checked_add(exponent)? })
}

fn exponent(bytes: &[u8]) -> Option<i64> {
    let (sign, digits) = match bytes.first()? {
        b'-' => (-1, &bytes[1..]),
        b'+' => (1, &bytes[1..]),
        _ => (1, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More than any double or 64-bit number has; saturating keeps hostile exponents harmless.
    let value = digits
        .iter()
        .fold(0_i64, |n, d| n.saturating_mul(10).saturating_add(i64::from(d - b'0')))
        .min(1_000_000_000);
    Some(sign * value)
}

/// Whole numbers also come as `5.0` and `1.0E7`.
pub(super) fn integer(text: &str) -> Result<i64, &'static str> {
    if let Ok(n) = text.parse::<i64>() {
        return Ok(n);
    }
    let parts = parts(text).ok_or(NOT_A_NUMBER)?;
    if parts.count == 0 {
        return Ok(0);
    }
    if parts.point > 19 {
        return Err(TOO_LARGE);
    }
    let zeros = usize::try_from(parts.point)
        .ok()
        .and_then(|point| point.checked_sub(parts.count))
        .ok_or(NOT_WHOLE)?;
    let value = parts
        .digits()
        .chain(std::iter::repeat_n(b'0', zeros))
        .fold(0_i128, |n, d| n * 10 + i128::from(d - b'0'));
    i64::try_from(if parts.negative { -value } else { value }).map_err(|_| TOO_LARGE)
}

/// Up to 15 digits with a dot at most: what most decimals are. Whole number and power of ten are
/// exact as doubles, so that their quotient is the nearest double (W. Clinger, "How to read
/// floating point numbers accurately").
fn short(bytes: &[u8]) -> Option<f64> {
    const TENS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (mut whole, mut digits, mut dot) = (0_u64, 0_usize, None);
    for b in bytes {
        match b {
            b'0'..=b'9' if digits < 15 => {
                whole = whole * 10 + u64::from(b - b'0');
                digits += 1;
            }
            b'.' if dot.is_none() => dot = Some(digits),
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "less than 2^53")]
    let double = whole as f64 / TENS[digits - dot.unwrap_or(digits)];
    // Zero has no sign here.
    Some(if negative && whole > 0 { -double } else { double })
}

/// A double where it keeps the number exactly as written (not its trailing zeros), else the text.
pub(super) fn decimal(text: &str) -> Result<Cell<'_>, &'static str> {
    if let Some(double) = short(text.as_bytes()) {
        return Ok(Cell::Real(double));
    }
    let parts = parts(text).ok_or(NOT_A_NUMBER)?;
    if parts.count == 0 {
        return Ok(Cell::Real(0.0));
    }
    let Ok(double) = text.parse::<f64>() else { return Ok(Cell::Text(text)) };
    // Every decimal of up to 15 digits in the normal range comes back from a double (DBL_DIG);
    // none of more than 17 does; in between the shortest form of the double must be the same.
    let survives = match parts.count {
        ..=15 if (-300..=300).contains(&parts.point) => true,
        ..=17 => double.is_finite() && same(&parts, double),
        _ => false,
    };
    Ok(if survives { Cell::Real(double) } else { Cell::Text(text) })
}

fn same(wanted: &Parts<'_>, double: f64) -> bool {
    let mut buffer = [0_u8; 40];
    let mut rest = &mut buffer[..];
    if write!(rest, "{double:e}").is_err() {
        return false;
    }
    let left = rest.len();
    let written = buffer.len() - left;
    let Some(found) = std::str::from_utf8(&buffer[..written]).ok().and_then(parts) else {
        return false;
    };
    wanted.negative == found.negative
        && wanted.count == found.count
        && wanted.point == found.point
        && wanted.digits().eq(found.digits())
}
