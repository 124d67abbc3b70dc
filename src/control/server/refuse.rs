//! From requests to arguments and from refusals to answers.
//!
//! Hides HTTP statuses and serde's words. Invariants: every answer that is not a success is a
//! JSON [`Refusal`] with a clear text; nothing that a caller sent as a secret is repeated.

use crate::control::envelope::Versioned;
use crate::control::protocol::{Caller, Refusal, RefusalCode, SecretBody};
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use crmsync_core::domain::ConnectionName;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A refusal with its HTTP status.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

/// What a handler gives back.
pub type Answer = Result<Response, Refused>;

impl Refused {
    /// Of a request that was not understood.
    pub fn new(status: StatusCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::FORBIDDEN => RefusalCode::Forbidden,
            StatusCode::NOT_FOUND => RefusalCode::NotFound,
            _ => RefusalCode::Invalid,
        };
        Self { status, refusal: Refusal::new(code, message).hint(hint) }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::Forbidden => StatusCode::FORBIDDEN,
            RefusalCode::NotFound => StatusCode::NOT_FOUND,
            RefusalCode::Conflict | RefusalCode::NeedsAuthorization | RefusalCode::QuotaHeld => {
                StatusCode::CONFLICT
            }
            RefusalCode::Invalid | RefusalCode::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, refusal }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.refusal)).into_response()
    }
}

/// A success whose shape states its version itself.
pub fn plain<T: Serialize>(value: &T) -> Answer {
    let text = serde_json::to_vec(value).map_err(|e| {
        Refused::from(Refusal::new(RefusalCode::Failed, format!("writing the answer: {e}")))
    })?;
    let mut answer = text.into_response();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(answer)
}

/// A success with the version put beside its keys.
pub fn versioned<T: Serialize + ToSchema>(body: T) -> Answer {
    plain(&Versioned::new(body))
}

/// A request whose body is in memory and within its limit.
pub struct Ask {
    /// Who asks.
    pub caller: Caller,
    path: BTreeMap<String, String>,
    query: String,
    body: Bytes,
    json: bool,
}

impl<S: Send + Sync> FromRequest<S> for Ask {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let path = axum::RequestPartsExt::extract::<Path<BTreeMap<String, String>>>(&mut parts);
        let path = path.await.map(|Path(map)| map).map_err(|_| {
            let hint = "percent-encode names as UTF-8";
            Refused::new(StatusCode::BAD_REQUEST, "reading the path: not UTF-8", hint)
        })?;
        // The gate has put it there; without it nobody is let in.
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(stranger)?;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let essence = kind.and_then(|v| v.split(';').next()).map(str::trim);
        let json = essence.is_some_and(|e| e.eq_ignore_ascii_case("application/json"));
        let body = Bytes::from_request(Request::from_parts(parts, body), state).await;
        let body = body.map_err(|_| bad("reading the body: it was cut off"))?;
        Ok(Self { caller, path, query, body, json })
    }
}

/// Who may do nothing learns nothing.
pub fn stranger() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "using the control socket: this user may not",
        "ask root to add you to the group crmsync-view (look) or crmsync-admin (change)",
    )
}

fn bad(message: impl Into<String>) -> Refused {
    let hint = "GET /v1/openapi.json describes every request";
    Refused::new(StatusCode::BAD_REQUEST, message, hint)
}

fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, message, hint)
}

impl Ask {
    /// The connection's name in the path.
    pub fn name(&self) -> Result<String, Refused> {
        connection(self.path.get("name").map_or("", String::as_str))
    }

    /// An id in the path: of a run or a request.
    pub fn id(&self) -> Result<String, Refused> {
        let id = self.path.get("id").map_or("", String::as_str);
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(fits) {
            let text = format!("`{}` is not an id", excerpt(id));
            return Err(invalid(text, "ids are shown by `crmsync status NAME` and `crmsync log`"));
        }
        Ok(id.to_owned())
    }

    /// The name of a secret in the path.
    pub fn key(&self) -> Result<String, Refused> {
        let key = self.path.get("key").map_or("", String::as_str);
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if key.is_empty() || key.len() > 64 || !key.bytes().all(fits) {
            let text = format!("`{}` is not the name of a secret", excerpt(key));
            return Err(invalid(text, "e.g. client_secret or password"));
        }
        Ok(key.to_owned())
    }

    /// What stands behind the question mark; unknown words are refused.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        let uri = axum::http::Uri::builder().path_and_query(format!("/?{}", self.query)).build();
        let uri = uri.map_err(|_| bad("reading the query: not an address"))?;
        let query = axum::extract::Query::<T>::try_from_uri(&uri);
        query.map(|axum::extract::Query(query)| query).map_err(|e| {
            let text = axum::Error::new(e);
            bad(format!("reading the query: {}", excerpt(&innermost(&text))))
        })
    }

    /// The JSON body; an empty one stands for `{}`.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        if self.body.is_empty() {
            return parse(b"{}");
        }
        self.must_be_json()?;
        parse(&self.body)
    }

    /// Refuses a body where none is expected.
    pub fn no_body(&self) -> Result<(), Refused> {
        if self.body.is_empty() || self.body.as_ref() == b"{}" {
            return Ok(());
        }
        Err(bad("reading the body: this request takes none"))
    }

    /// The text of a `{"value": "…"}`, never repeated in a refusal.
    pub fn secret(&self) -> Result<SecretString, Refused> {
        self.must_be_json()?;
        let body = Some(&self.body).filter(|body| is_object(body));
        let body: Option<SecretBody> = body.and_then(|b| serde_json::from_slice(b).ok());
        let body = body.ok_or_else(|| {
            let text = "reading the body: expected one key, value, with a text";
            invalid(text, r#"send {"value": "TEXT"}"#)
        })?;
        Ok(body.value)
    }

    fn must_be_json(&self) -> Result<(), Refused> {
        if self.json {
            return Ok(());
        }
        Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "reading the body: its content type is not application/json",
            "add the header `content-type: application/json`",
        ))
    }
}

/// Checks a connection's name.
pub fn connection(text: &str) -> Result<String, Refused> {
    let parsed = ConnectionName::parse(text);
    let name = parsed.map_err(|e| invalid(e.to_string(), "`crmsync status` lists the names"))?;
    Ok(name.into())
}

/// Serde would take a list for a structure, key by key in order; nobody means that.
fn is_object(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    if !is_object(body) {
        let hint = "GET /v1/openapi.json describes every request";
        return Err(invalid("reading the body: expected a JSON object", hint));
    }
    serde_json::from_slice(body).map_err(|e| {
        let text = format!("reading the body: {}", excerpt(&e.to_string()));
        if e.is_data() {
            invalid(text, "GET /v1/openapi.json describes every request")
        } else {
            bad(text)
        }
    })
}

/// The cause itself, without the layers that say "failed to deserialize".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The first 200 characters, without control characters: foreign text in an answer of ours.
fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
