//! The vendor's error answer: one code, one text, the fields it concerns.
//!
//! Texts follow recorded answers where there is one, else the wording that public clients quote.

use serde_json::{Value, json};

/// A refusal in the vendor's shape. `status` is the HTTP status of a call that fails as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// For example `INVALID_FIELD`.
    pub code: &'static str,
    /// Text for people; may hold line breaks (query errors point at a column).
    pub message: String,
    /// API names of the fields at fault; often empty.
    pub fields: Vec<String>,
}

impl ApiError {
    /// A 400 without fields.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into(), fields: Vec::new() }
    }

    /// A 400 that names the field at fault.
    pub fn field(code: &'static str, message: impl Into<String>, field: &str) -> Self {
        Self { status: 400, code, message: message.into(), fields: vec![field.to_owned()] }
    }

    /// The 404 for an object, record or address that is not there (or not for this user).
    pub fn not_found() -> Self {
        Self {
            status: 404,
            code: "NOT_FOUND",
            message: "The requested resource does not exist".to_owned(),
            fields: Vec::new(),
        }
    }

    /// The 404 for a record in the recycle bin.
    pub fn deleted() -> Self {
        Self {
            status: 404,
            code: "ENTITY_IS_DELETED",
            message: "entity is deleted".to_owned(),
            fields: Vec::new(),
        }
    }

    /// One entry of `errors` inside a collection's result (`statusCode` instead of `errorCode`).
    pub fn collection_entry(&self) -> Value {
        json!({ "statusCode": self.code, "message": self.message, "fields": self.fields })
    }
}
