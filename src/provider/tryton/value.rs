//! Values between Tryton's JSON and ours.
//!
//! Hides `{"__class__": …}`. Invariants: a value that is not understood keeps its JSON; decimals
//! keep their text.

use crate::provider::rows::{text_of, whole};
use crmsync_core::domain::{FieldType, Time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::borrow::Cow;

/// A time for a domain or a record, UTC.
pub fn datetime(t: Time) -> Value {
    let z = t.to_zoned(TimeZone::UTC);
    json!({"__class__": "datetime", "year": z.year(), "month": z.month(), "day": z.day(),
        "hour": z.hour(), "minute": z.minute(), "second": z.second(),
        "microsecond": z.subsec_nanosecond() / 1000})
}

/// The text of a cell.
pub fn cell(raw: &str, kind: FieldType) -> Option<Cow<'_, str>> {
    if raw == "null" {
        return None;
    }
    if raw.starts_with('{')
        && let Some(text) = object(raw)
    {
        return Some(Cow::Owned(text));
    }
    match kind {
        FieldType::Json => Some(Cow::Borrowed(raw)),
        // SQLite-backed servers say 1 and 0.
        FieldType::Boolean => match raw {
            "1" => Some("true".into()),
            "0" => Some("false".into()),
            other => text_of(other),
        },
        FieldType::Integer => text_of(raw).map(whole),
        FieldType::Text
        | FieldType::Decimal
        | FieldType::Date
        | FieldType::TimeOfDay
        | FieldType::DateTime => text_of(raw),
    }
}

fn object(raw: &str) -> Option<String> {
    let v: Value = serde_json::from_str(raw).ok()?;
    let n = |name: &str| v.get(name).map_or(Some(0), Value::as_u64);
    match v.get("__class__")?.as_str()? {
        "Decimal" => v.get("decimal")?.as_str().map(str::to_owned),
        "date" => Some(format!("{:04}-{:02}-{:02}", n("year")?, n("month")?, n("day")?)),
        "time" => Some(time(n("hour")?, n("minute")?, n("second")?, n("microsecond")?)),
        "datetime" => Some(format!(
            "{:04}-{:02}-{:02}T{}Z",
            n("year")?,
            n("month")?,
            n("day")?,
            time(n("hour")?, n("minute")?, n("second")?, n("microsecond")?)
        )),
        _ => None,
    }
}

fn time(hour: u64, minute: u64, second: u64, micro: u64) -> String {
    format!("{hour:02}:{minute:02}:{second:02}.{micro:06}")
}

/// A name that may stand in a method's path.
pub fn is_model(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_text() {
        let is =
            |raw, kind, text: Option<&str>| assert_eq!(cell(raw, kind).as_deref(), text, "{raw}");
        is("null", FieldType::Text, None);
        is(r#""a\"b""#, FieldType::Text, Some("a\"b"));
        is("1", FieldType::Boolean, Some("true"));
        is("false", FieldType::Boolean, Some("false"));
        is("17", FieldType::Integer, Some("17"));
        is(r#"{"__class__":"Decimal","decimal":"1000.10"}"#, FieldType::Decimal, Some("1000.10"));
        is(
            r#"{"__class__":"date","year":2026,"month":1,"day":2}"#,
            FieldType::Date,
            Some("2026-01-02"),
        );
        is(
            r#"{"__class__":"datetime","year":2026,"month":11,"day":21,"hour":21,"minute":6,"second":7,"microsecond":468097}"#,
            FieldType::DateTime,
            Some("2026-11-21T21:06:07.468097Z"),
        );
        is(
            r#"{"__class__":"timedelta","seconds":5}"#,
            FieldType::Json,
            Some(r#"{"__class__":"timedelta","seconds":5}"#),
        );
        is(r#"{"a":1}"#, FieldType::Json, Some(r#"{"a":1}"#));
    }

    #[test]
    fn times_round_trip() {
        let t: Time = "2026-11-21T21:06:07.468097Z".parse().unwrap();
        let text = cell(&datetime(t).to_string(), FieldType::DateTime).unwrap().into_owned();
        assert_eq!(text.parse::<Time>().unwrap(), t);
    }
}
