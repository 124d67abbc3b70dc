//! An answer before it becomes HTTP: status, headers, bytes. Error bodies of the data calls are
//! made here and nowhere else: an array of `{message, errorCode, fields}`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::data::ApiError;

/// The rest of a body that is too large to be made in one piece.
pub(crate) trait Pieces: std::fmt::Debug + Send + Sync {
    /// The nth piece, the same each time; none behind the last.
    fn piece(&self, n: usize) -> Option<Bytes>;
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// What follows the body.
    pub(crate) rest: Option<Arc<dyn Pieces>>,
}

impl Reply {
    pub(crate) fn bytes(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: body.into(),
            rest: None,
        }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Reply {
        Reply::bytes(status, "application/json;charset=UTF-8", value.to_string())
    }

    pub(crate) fn raw_json(body: Vec<u8>) -> Reply {
        Reply::bytes(200, "application/json;charset=UTF-8", body)
    }

    pub(crate) fn text(status: u16, text: &str) -> Reply {
        Reply::bytes(status, "text/plain;charset=UTF-8", text)
    }

    pub(crate) fn html(status: u16, page: String) -> Reply {
        Reply::bytes(status, "text/html;charset=UTF-8", page)
    }

    /// An answer without a body: 204, 304.
    pub(crate) fn empty(status: u16) -> Reply {
        Reply::bytes(status, "", Vec::new())
    }

    pub(crate) fn redirect(to: String) -> Reply {
        Reply::empty(302).with("location", to)
    }

    /// The error array of the data calls.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::json(status, &json!([{"message": message, "errorCode": code}]))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Reply {
        let mut entry = json!({"message": error.message, "errorCode": error.code});
        if !error.fields.is_empty() {
            entry["fields"] = json!(error.fields);
        }
        Reply::json(error.status, &json!([entry]))
    }
}

/// The page a browser and every client gets while the org is being maintained.
pub(crate) const MAINTENANCE: &str = "<!DOCTYPE html>\n<html><head><title>We are down for maintenance</title></head>\n<body><h1>We are down for maintenance.</h1><p>Sorry for the inconvenience. We'll be back shortly.</p></body></html>\n";
