//! What a value of the source must look like in a replica: the column rules, written a second time
//! and without the product's code, so that a mistake is not made twice.
//!
//! SQLite: timestamps are TEXT `YYYY-MM-DDTHH:MM:SS.sssZ`, dates TEXT `YYYY-MM-DD`, booleans INTEGER 0/1,
//! whole numbers INTEGER, other numbers REAL where their decimal text survives a double and TEXT
//! otherwise, all else TEXT. PostgreSQL: `timestamp with time zone`, `date`, `boolean`, `bigint`,
//! `numeric` with every digit, all else `text`.

use serde_json::Value;
use std::collections::BTreeMap;

/// The two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite
    Sqlite,
    /// PostgreSQL
    Postgres,
}

/// A row: cells by column name.
pub type Row = BTreeMap<String, Cell>;

/// A value with its storage class (SQLite) or its type (PostgreSQL).
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL
    Null,
    /// INTEGER, `bigint`
    Int(i64),
    /// REAL, `double precision`
    Real(f64),
    /// TEXT, `text`
    Text(String),
    /// BLOB
    Blob(Vec<u8>),
    /// `boolean`
    Bool(bool),
    /// `numeric`, its digits
    Numeric(String),
    /// `timestamp with time zone`, as SQLite's text
    Timestamp(String),
    /// `date`, as SQLite's text
    Date(String),
    /// Any other type of PostgreSQL: its name and its text.
    Other(String, String),
}

/// The kind of a field, as far as the column rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TEXT as it is.
    Text,
    /// INTEGER.
    Int,
    /// INTEGER 0 or 1.
    Bool,
    /// REAL or TEXT, by the value.
    Decimal,
    /// TEXT in UTC with milliseconds.
    Timestamp,
    /// TEXT `YYYY-MM-DD`.
    Date,
}

impl Kind {
    /// The kind of a Salesforce field type; compounds (address, location) and blobs have none.
    pub fn of_salesforce(kind: &str) -> Option<Self> {
        Some(match kind {
            "boolean" => Self::Bool,
            "int" | "long" => Self::Int,
            "double" | "currency" | "percent" => Self::Decimal,
            "datetime" => Self::Timestamp,
            "date" => Self::Date,
            "address" | "location" | "base64" | "complexvalue" | "json" => return None,
            _ => Self::Text,
        })
    }

    /// The kind of a Tryton field type; lists of records, dictionaries and files have none.
    pub fn of_tryton(kind: &str) -> Option<Self> {
        Some(match kind {
            "boolean" => Self::Bool,
            "integer" | "biginteger" | "many2one" | "one2one" => Self::Int,
            "float" | "numeric" => Self::Decimal,
            "datetime" | "timestamp" => Self::Timestamp,
            "date" => Self::Date,
            "one2many" | "many2many" | "binary" | "dict" | "multiselection" | "time"
            | "timedelta" => return None,
            _ => Self::Text,
        })
    }

    /// The cell that a value of the source must have become in this database.
    pub fn cell_in(self, engine: Engine, value: &Value) -> Cell {
        match (engine, self, self.cell(value)) {
            (Engine::Sqlite, _, cell) | (Engine::Postgres, _, cell @ Cell::Null) => cell,
            (Engine::Postgres, Self::Bool, Cell::Int(n)) => Cell::Bool(n != 0),
            (Engine::Postgres, Self::Decimal, _) => Cell::Numeric(plain(value)),
            (Engine::Postgres, Self::Timestamp, Cell::Text(text)) => Cell::Timestamp(text),
            (Engine::Postgres, Self::Date, Cell::Text(text)) => Cell::Date(text),
            (Engine::Postgres, _, cell) => cell,
        }
    }

    /// The cell that a value of the source must have become in SQLite.
    pub fn cell(self, value: &Value) -> Cell {
        if value.is_null() {
            return Cell::Null;
        }
        match self {
            Self::Text => Cell::Text(plain(value)),
            Self::Bool => match value {
                Value::Bool(yes) => Cell::Int(i64::from(*yes)),
                // Tryton on SQLite writes 1 and 0
                other => Cell::Int(i64::from(["true", "1"].contains(&plain(other).as_str()))),
            },
            Self::Int => whole(&plain(value)).map_or_else(|| number(&plain(value)), Cell::Int),
            Self::Decimal => number(&plain(value)),
            Self::Timestamp => timestamp(value).map_or(Cell::Null, Cell::Text),
            Self::Date => date(value).map_or(Cell::Null, Cell::Text),
        }
    }
}

/// Strings as they are, Tryton's decimals by their text, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => match object.get("decimal").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// `5`, `5.0` and `5E0` as 5; anything with a fraction is no whole number.
fn whole(text: &str) -> Option<i64> {
    let (negative, digits, exponent) = parts(text)?;
    let zeros = usize::try_from(exponent).ok().filter(|e| *e < 19)?;
    let text = format!("{}{digits}{}", if negative { "-" } else { "" }, "0".repeat(zeros));
    text.parse().ok()
}

/// REAL when the shortest text of the double says the same number as `text`, else TEXT.
fn number(text: &str) -> Cell {
    let survives = text
        .parse::<f64>()
        .ok()
        .filter(|double| double.is_finite() && parts(&format!("{double:e}")) == parts(text));
    survives.map_or_else(|| Cell::Text(text.to_owned()), Cell::Real)
}

/// Whether two texts of numbers say the same number, to the last digit.
pub fn same_number(a: &str, b: &str) -> bool {
    parts(a).is_some_and(|number| parts(b) == Some(number))
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit.
fn parts(text: &str) -> Option<(bool, String, i64)> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{after}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let exponent = exponent - i64::try_from(after.len()).ok()? + dropped;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return Some((false, "0".to_owned(), 0));
    }
    Some((negative, kept.to_owned(), exponent))
}

fn timestamp(value: &Value) -> Option<String> {
    let stamp = if let Value::Object(o) = value {
        let part = |name: &str| o.get(name).and_then(Value::as_i64).unwrap_or(0);
        // Tryton's timestamps are UTC; below the millisecond they are cut, not rounded
        return Some(format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            part("year"),
            part("month"),
            part("day"),
            part("hour"),
            part("minute"),
            part("second"),
            part("microsecond") / 1000
        ));
    } else {
        let text = value.as_str()?;
        text.parse::<jiff::Timestamp>()
            .or_else(|_| jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text))
            .ok()?
    };
    Some(stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

fn date(value: &Value) -> Option<String> {
    if let Value::Object(o) = value {
        let part = |name: &str| o.get(name).and_then(Value::as_i64);
        return Some(format!("{:04}-{:02}-{:02}", part("year")?, part("month")?, part("day")?));
    }
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_is_real_only_while_its_text_survives() {
        let raw = |text: &str| Kind::Decimal.cell(&json!(text));
        assert_eq!(raw("0.10"), Cell::Real(0.1));
        assert_eq!(raw("1.0E7"), Cell::Real(1e7));
        assert_eq!(raw("-0.0"), Cell::Real(-0.0));
        assert_eq!(raw("1234567890123.45"), Cell::Real(1_234_567_890_123.45));
        assert_eq!(raw("12345678901234567.89"), Cell::Text("12345678901234567.89".into()));
        assert_eq!(raw("1e+400"), Cell::Text("1e+400".into()));
        assert_eq!(
            Kind::Decimal.cell(&json!({"__class__": "Decimal", "decimal": "1000"})),
            Cell::Real(1000.0)
        );
    }

    #[test]
    fn times_of_both_systems_look_the_same() {
        let expected = Cell::Text("2026-01-02T17:38:59.000Z".into());
        assert_eq!(Kind::Timestamp.cell(&json!("2026-01-02T17:38:59.000+0000")), expected);
        assert_eq!(Kind::Timestamp.cell(&json!("2026-01-02T19:38:59+02:00")), expected);
        let tryton = json!({"__class__": "datetime", "year": 2026, "month": 1, "day": 2,
                            "hour": 17, "minute": 38, "second": 59, "microsecond": 999});
        assert_eq!(Kind::Timestamp.cell(&tryton), expected);
        assert_eq!(Kind::Date.cell(&json!("1700-01-01")), Cell::Text("1700-01-01".into()));
    }

    #[test]
    fn whole_numbers_and_booleans_are_integers() {
        assert_eq!(Kind::Int.cell(&json!(42)), Cell::Int(42));
        assert_eq!(Kind::Int.cell(&serde_json::from_str("5.0").unwrap()), Cell::Int(5));
        assert_eq!(Kind::Bool.cell(&json!(true)), Cell::Int(1));
        assert_eq!(Kind::Text.cell(&json!("N/A")), Cell::Text("N/A".into()));
        assert_eq!(Kind::Text.cell(&Value::Null), Cell::Null);
    }
}
