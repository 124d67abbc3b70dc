//! A value's way from the source's text into a column.
//!
//! Hides the grammars of numbers and times. Invariants: no allocation for a value that fits
//! (times are rewritten in a small buffer on the stack); nothing panics on any text; a value that
//! does not fit is null with a reason, and the caller keeps the raw text.

mod number;
mod time;

use crmsync_core::domain::{FieldType, Time};

/// A value ready to be bound.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// Booleans (0, 1) and whole numbers.
    Int(i64),
    /// A decimal that survives a double.
    Real(f64),
    /// Text as the source gave it.
    Text(&'a str),
    /// A rewritten time.
    Short(Short),
    /// Text that had to be changed (NUL taken out).
    Owned(String),
}

/// Up to 24 bytes of ASCII, e.g. `2024-02-29T23:59:59.999Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; 24],
    len: u8,
}

impl Short {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [b'0'; 24];
        let len = text.len().min(24);
        bytes[..len].copy_from_slice(&text[..len]);
        Self { bytes, len: u8::try_from(len).unwrap_or(24) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Cell<'_> {
    /// The text of a textual cell.
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(t) => Some(t),
            Cell::Short(s) => Some(s.as_str()),
            Cell::Owned(t) => Some(t),
            Cell::Null | Cell::Int(_) | Cell::Real(_) => None,
        }
    }
}

/// Converts `text` for a column of that kind. The reason, where there is one, says why the raw
/// text must be kept beside.
pub fn convert(kind: FieldType, text: &str) -> (Cell<'_>, Option<&'static str>) {
    let fits = match kind {
        FieldType::Text => return plain_text(text),
        FieldType::Boolean => boolean(text),
        FieldType::Integer => number::integer(text).map(Cell::Int),
        FieldType::Decimal => number::decimal(text),
        FieldType::Date => time::date(text).map(|()| Cell::Text(text)),
        FieldType::TimeOfDay => time::time_of_day(text),
        FieldType::DateTime => time::date_time(text),
        FieldType::Json => json(text),
    };
    match fits {
        Ok(cell) => (cell, None),
        Err(reason) => (Cell::Null, Some(reason)),
    }
}

/// A time of ours in the form of the columns, `YYYY-MM-DDTHH:MM:SS.sssZ`. Years before 0001 (no
/// clock tells one) become its first moment, so that text order stays time order.
pub fn stamp(at: Time) -> Short {
    let millis = at.as_nanosecond().div_euclid(1_000_000);
    i64::try_from(millis.div_euclid(1000))
        .ok()
        .zip(i64::try_from(millis.rem_euclid(1000)).ok())
        .and_then(|(seconds, millis)| time::utc(seconds, millis))
        .unwrap_or_else(|| Short::new(b"0001-01-01T00:00:00.000Z"))
}

/// Why a text that is kept in its column is kept raw as well.
pub const NUL_LEFT_OUT: &str = "NUL characters were left out";

/// NUL ends a text for many readers of `SQLite` and is refused by `PostgreSQL`.
fn plain_text(text: &str) -> (Cell<'_>, Option<&'static str>) {
    if text.as_bytes().contains(&0) {
        (Cell::Owned(text.replace('\0', "")), Some(NUL_LEFT_OUT))
    } else {
        (Cell::Text(text), None)
    }
}

fn boolean(text: &str) -> Result<Cell<'static>, &'static str> {
    if text.eq_ignore_ascii_case("true") || text == "1" {
        Ok(Cell::Int(1))
    } else if text.eq_ignore_ascii_case("false") || text == "0" {
        Ok(Cell::Int(0))
    } else {
        Err("neither true nor false")
    }
}

fn json(text: &str) -> Result<Cell<'_>, &'static str> {
    // Nesting is bounded by serde_json; NUL cannot occur unescaped in well-formed JSON.
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(Cell::Text(text)),
        Err(_) => Err("not well-formed JSON"),
    }
}

#[cfg(test)]
#[path = "tests/values.rs"]
mod tests;
