//! Values from outside (JSON of a write, text of a recording) into values of a field.
//!
//! Refusals carry the vendor's code and wording; nothing is written before all fields have passed.

use super::error::ApiError;
use super::id::Id;
use super::schema::{Field, Kind};
use super::value::Val;
use crate::soql::dates;
use serde_json::Value;
use std::borrow::Cow;

/// A value that owns its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Owned {
    /// As the borrowed one; text lies in [`Owned::Text`] and [`Owned::Num`].
    Plain(Val<'static>),
    /// Text.
    Text(String),
    /// A number's text.
    Num(String),
}

impl Owned {
    /// Borrows it.
    pub fn val(&self) -> Val<'_> {
        match self {
            Self::Plain(value) => *value,
            Self::Text(text) => Val::Text(text),
            Self::Num(text) => Val::Num(text),
        }
    }
}

fn cannot(field: &Field, value: &Value, ty: &str) -> ApiError {
    let kind = match value {
        Value::String(_) => "VALUE_STRING",
        Value::Number(_) => "VALUE_NUMBER_FLOAT",
        Value::Bool(true) => "VALUE_TRUE",
        Value::Bool(false) => "VALUE_FALSE",
        Value::Null => "VALUE_NULL",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    let text = value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed);
    let text: String = text.chars().take(80).collect();
    ApiError::field(
        "JSON_PARSER_ERROR",
        format!(
            "Cannot deserialize instance of {ty} from {kind} value {text} or request may be missing a required field at [{}]",
            field.name
        ),
        &field.name,
    )
}

/// A number's text, if it is one as JSON writes it; a leading `+` and a bare point are dropped.
pub fn number_text(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('+');
    let fixed = text.strip_prefix('.').map_or_else(|| text.to_owned(), |rest| format!("0.{rest}"));
    let fixed = fixed.trim_end_matches('.').to_owned();
    (fixed.len() <= 40 && serde_json::from_str::<serde_json::Number>(&fixed).is_ok())
        .then_some(fixed)
}

/// Reads a value for a field and checks it by the field's rules (length, form, picklist).
pub fn read(field: &Field, value: &Value) -> Result<Owned, ApiError> {
    let value = read_unchecked(field, value)?;
    if let Owned::Text(text) = &value {
        check_text(field, text)?;
    }
    Ok(value)
}

/// Reads a value for a field. Empty text is null, as at the vendor.
pub fn read_unchecked(field: &Field, value: &Value) -> Result<Owned, ApiError> {
    const NULL: Owned = Owned::Plain(Val::Null);
    if value.is_null() || value.as_str() == Some("") {
        return Ok(if field.kind == Kind::Boolean { Owned::Plain(Val::Bool(false)) } else { NULL });
    }
    match field.kind {
        Kind::Text | Kind::Multi | Kind::Opaque => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(cannot(field, value, "string"));
                }
            };
            Ok(Owned::Text(text))
        }
        Kind::Boolean => match value.as_bool().or(match value.as_str() {
            Some(t) if t.eq_ignore_ascii_case("true") || t == "1" => Some(true),
            Some(t) if t.eq_ignore_ascii_case("false") || t == "0" => Some(false),
            Some(_) | None => None,
        }) {
            Some(b) => Ok(Owned::Plain(Val::Bool(b))),
            None => Err(cannot(field, value, "boolean")),
        },
        Kind::Int => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match text.trim().parse::<i64>() {
                Ok(n) => Ok(Owned::Plain(Val::Int(n))),
                Err(_) => {
                    number_text(&text).map(Owned::Num).ok_or_else(|| cannot(field, value, "int"))
                }
            }
        }
        Kind::Decimal => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            number_text(&text).map(Owned::Num).ok_or_else(|| cannot(field, value, &field.ty))
        }
        Kind::Date => {
            let days = value.as_str().and_then(|t| dates::date(t.get(..10).unwrap_or(t)));
            days.map(|d| Owned::Plain(Val::Date(d))).ok_or_else(|| cannot(field, value, "date"))
        }
        Kind::DateTime => {
            let text = value.as_str().unwrap_or_default();
            let ms = dates::datetime(text).or_else(|| dates::date(text).map(|d| d * 86_400_000));
            ms.map(|ms| Owned::Plain(Val::Time(ms))).ok_or_else(|| cannot(field, value, "datetime"))
        }
        Kind::Id | Kind::Reference => {
            value.as_str().and_then(Id::parse).map(|id| Owned::Plain(Val::Id(id))).ok_or_else(
                || {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    ApiError::field(
                        "MALFORMED_ID",
                        format!("{}: id value of incorrect type: {text}", field.label()),
                        &field.name,
                    )
                },
            )
        }
        Kind::Compound => Err(not_writable(&field.name)),
    }
}

/// The refusal of a field that this call may not set.
pub fn not_writable(name: &str) -> ApiError {
    ApiError::field(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        format!(
            "Unable to create/update fields: {name}. Please check the security settings of this field and verify that it is read/write for your profile or permission set."
        ),
        name,
    )
}

fn check_text(field: &Field, text: &str) -> Result<(), ApiError> {
    if let Some(max) = field.length()
        && field.kind != Kind::Multi
        && text.chars().count() > max
    {
        let shown: String = text.chars().take(255).collect();
        return Err(ApiError::field(
            "STRING_TOO_LONG",
            format!("{}: data value too large: {shown} (max length={max})", field.label()),
            &field.name,
        ));
    }
    if field.ty == "email" {
        let good = text.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty()
                && host.contains('.')
                && !host.starts_with('.')
                && !host.ends_with('.')
        });
        if !good || text.contains(char::is_whitespace) {
            return Err(ApiError::field(
                "INVALID_EMAIL_ADDRESS",
                format!("{}: invalid email address: {text}", field.label()),
                &field.name,
            ));
        }
    }
    if field.restricted() {
        let mut parts =
            if field.kind == Kind::Multi { text.split(';').collect() } else { vec![text] };
        parts.retain(|part| !field.picklist().any(|known| known == *part));
        if let Some(bad) = parts.first() {
            return Err(ApiError::field(
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                format!("{}: bad value for restricted picklist field: {bad}", field.label()),
                &field.name,
            ));
        }
    }
    Ok(())
}
