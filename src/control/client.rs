//! The client's end of the control socket.
//!
//! Hides reqwest and the wire. Invariants: an answer is either understood whole, or a refusal as
//! the daemon wrote it, or an error that says what came instead; memory is bounded; secrets are
//! put on the socket and nowhere else.

use super::protocol::{Event, Refusal, RefusalCode, SCHEMA_VERSION};
use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the daemon listens unless told.
pub const DEFAULT_SOCKET: &str = "/run/crmsync/control.sock";
/// Largest answer that is taken.
const LARGEST: usize = 64 * 1024 * 1024;
/// Longest line of the event stream.
const LONGEST_EVENT: usize = 1024 * 1024;
/// The slowest command (test of a connection with many objects) stays far below.
const PATIENCE: Duration = Duration::from_mins(10);
/// The daemon sends at least a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// Why a command brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket. Exit code 3.
    #[error("asking the daemon on {}: not reachable: {cause}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer makes no sense: another version, or no daemon of ours.
    #[error("asking the daemon on {}: its answer was not understood: {cause}", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What came.
        cause: String,
    },
}

/// An answer: as it came, and as it is meant.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The JSON, for `--json`.
    pub json: Value,
    /// The same, read.
    pub value: T,
}

/// A way to the daemon. No connection is kept before the first call.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    http: reqwest::Client,
}

impl Client {
    /// For the socket at `path`.
    pub fn new(path: &Path) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(path.to_owned())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build();
        let http = http.map_err(|e| ClientError::Unreachable {
            path: path.to_owned(),
            cause: innermost(&e),
        })?;
        Ok(Self { path: path.to_owned(), http })
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &Url) -> Result<Answer<T>, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// `POST` with a JSON body.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &Url,
        body: &impl Serialize,
    ) -> Result<Answer<T>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.confused(e))?;
        self.call(Method::POST, path, Some(body)).await
    }

    /// `POST` or `PUT` of one text that must not be logged.
    pub async fn hand_in<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &Url,
        secret: &SecretString,
    ) -> Result<Answer<T>, ClientError> {
        let body = serde_json::json!({ "value": secret.expose_secret() });
        let body = serde_json::to_vec(&body).map_err(|e| self.confused(e))?;
        self.call(method, path, Some(body)).await
    }

    /// The event stream, from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let request = self.http.get(Url::new(&["v1", "events"]).text());
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = response.bytes_stream().map(|part| part.map(|b| b.to_vec()));
        Ok(Events { path: self.path.clone(), body: body.boxed(), buffer: Vec::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &Url,
        body: Option<Vec<u8>>,
    ) -> Result<Answer<T>, ClientError> {
        let mut request = self.http.request(method, path.text()).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let bytes = self.whole(response).await?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|e| self.confused(e))?;
        let schema = json.get("schema").and_then(Value::as_u64);
        if schema != Some(SCHEMA_VERSION.into()) {
            let came = schema.map_or("none".to_owned(), |v| v.to_string());
            return Err(self
                .confused(format!("schema version {came}, this program knows {SCHEMA_VERSION}")));
        }
        let value = serde_json::from_slice(&bytes).map_err(|e| self.confused(e))?;
        Ok(Answer { json, value })
    }

    async fn whole(&self, response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        let mut parts = response.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| self.unreachable(&e))?;
            if bytes.len() + part.len() > LARGEST {
                return Err(self.confused("larger than 64 MiB"));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let bytes = match self.whole(response).await {
            Ok(bytes) => bytes,
            Err(e) => return e,
        };
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) if status == StatusCode::FORBIDDEN => ClientError::Refused(Refusal::new(
                RefusalCode::Forbidden,
                "using the control socket: this user may not",
            )),
            Err(_) => self.confused(format!("HTTP status {status} without a reason")),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let cause =
            if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        ClientError::Unreachable { path: self.path.clone(), cause }
    }

    fn confused(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::NotUnderstood { path: self.path.clone(), cause: cause.to_string() }
    }
}

/// Events as they come.
pub struct Events {
    path: PathBuf,
    body: futures_util::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Events {
    /// The next one; none when the daemon has ended the stream (it stops).
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let event = serde_json::from_slice(data).map_err(|e| self.confused(e))?;
                return Ok(Some(event));
            }
            if self.buffer.len() > LONGEST_EVENT {
                return Err(self.confused("an event larger than 1 MiB"));
            }
            match tokio::time::timeout(SILENCE, self.body.next()).await {
                Ok(Some(Ok(part))) => self.buffer.extend_from_slice(&part),
                // Cut off or ended: the caller asks for the state again either way.
                Ok(Some(Err(_)) | None) => return Ok(None),
                Err(_) => return Err(self.confused("the event stream fell silent")),
            }
        }
    }

    fn confused(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::NotUnderstood { path: self.path.clone(), cause: cause.to_string() }
    }
}

/// A path of the interface, percent-encoded part by part.
#[derive(Debug, Clone)]
pub struct Url(url::Url);

impl Url {
    /// From path segments, e.g. `["v1", "connections", name]`.
    pub fn new(segments: &[&str]) -> Self {
        // The host is never looked up: every call goes to the socket.
        let mut url = BASE.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear();
            for segment in segments {
                // `.` and `..` would be taken for steps; nothing of ours is called that.
                path.push(if matches!(*segment, "." | "..") { "-" } else { segment });
            }
        }
        Self(url)
    }

    /// Adds `key=value` where there is a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<impl AsRef<str>>) -> Self {
        if let Some(value) = value {
            self.0.query_pairs_mut().append_pair(key, value.as_ref());
        }
        self
    }

    /// Adds `key=true` where it is so.
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.with(key, value.then_some("true"))
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

static BASE: std::sync::LazyLock<url::Url> = std::sync::LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "a constant that a test reads")]
    url::Url::parse("http://crmsync/").expect("a constant")
});

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encoded() {
        let url = Url::new(&["v1", "connections", "a/b?c", ".."]).with("search", Some("x&y z"));
        assert_eq!(url.text(), "http://crmsync/v1/connections/a%2Fb%3Fc/-?search=x%26y+z");
        assert_eq!(
            Url::new(&["v1", "status"]).flag("all", false).text(),
            "http://crmsync/v1/status"
        );
    }
}
