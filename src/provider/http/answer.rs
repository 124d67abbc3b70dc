//! Answers: their heads, and their bodies as they come or whole.
//!
//! Hides reading and the meaning of headers that every server may send. Invariants: a whole body is
//! bounded; a refusal never repeats the token it was asked with; a streamed answer is settled only
//! at the end of its body.

use super::{SendError, Ticket, Toll, network_fault, silent};
use bytes::Bytes;
use crmsync_core::domain::{Fault, Time};
use jiff::SignedDuration;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::time::Duration;

/// No server's wish to wait is believed beyond a day.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// A whole answer, of any status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Unpacked body.
    pub body: Vec<u8>,
    /// `host` or `host:port`, for texts.
    pub host: String,
}

/// The beginning of an answer.
#[derive(Debug)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// `host` or `host:port`, for texts.
    pub host: String,
}

/// A paid answer whose body is still coming.
pub struct Stream<'t> {
    /// What came before the body.
    pub head: Head,
    pub(super) response: reqwest::Response,
    pub(super) bearer: Option<SecretString>,
    pub(super) toll: &'t dyn Toll,
    pub(super) ticket: Option<Ticket>,
    pub(super) patience: Duration,
}

pub(super) async fn read(
    (host, mut response): (String, reqwest::Response),
    limit: usize,
    patience: Duration,
) -> Result<Answer, SendError> {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let body = body(&mut response, &host, limit, patience).await?;
    Ok(Answer { status, headers, body, host })
}

async fn body(
    response: &mut reqwest::Response,
    host: &str,
    limit: usize,
    patience: Duration,
) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(response, host, patience).await? {
        if body.len() + chunk.len() > limit {
            return Err(SendError::TooLarge(Fault::passing(format!(
                "{host} answered with more than {limit} bytes"
            ))));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The clock runs only while we wait for the server: how long the reader took for what came before
/// is not the server's silence.
async fn chunk(
    response: &mut reqwest::Response,
    host: &str,
    patience: Duration,
) -> Result<Option<Bytes>, SendError> {
    let Ok(chunk) = tokio::time::timeout(patience, response.chunk()).await else {
        return Err(SendError::Unanswered(silent(host, patience)));
    };
    chunk.map_err(|error| SendError::Unanswered(network_fault(host, error)))
}

impl Head {
    /// The server's clock, from `Date`.
    pub fn server_time(&self) -> Option<Time> {
        server_time(&self.headers)
    }
}

impl Stream<'_> {
    /// The next bytes of the unpacked body; `None` at its end, which settles the call.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        let chunk = chunk(&mut self.response, &self.head.host, self.patience).await?;
        if chunk.is_none() {
            self.settle();
        }
        Ok(chunk)
    }

    /// The rest of the body, at most `limit` bytes.
    pub async fn whole(mut self, limit: usize) -> Result<Answer, SendError> {
        let body = body(&mut self.response, &self.head.host, limit, self.patience).await;
        // The answer has told what it had to tell, however its body went.
        self.settle();
        let Head { status, headers, host } = self.head;
        Ok(Answer { status, headers, body: body?, host }.without(self.bearer.as_ref()))
    }

    fn settle(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.toll.settle(ticket);
        }
    }
}

impl Answer {
    /// A refusal that repeats the token it was asked with is not shown so to anybody.
    pub(super) fn without(mut self, token: Option<&SecretString>) -> Self {
        if let Some(token) = token.map(ExposeSecret::expose_secret)
            && self.status >= 400
            && let Ok(text) = std::str::from_utf8(&self.body)
            && text.contains(token)
        {
            self.body = text.replace(token, "[secret]").into_bytes();
        }
        self
    }

    /// The server's clock, from `Date`.
    pub fn server_time(&self) -> Option<Time> {
        server_time(&self.headers)
    }

    /// What `Retry-After` asks for, seconds or a date.
    pub fn retry_after(&self) -> Option<SignedDuration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match text.parse::<i64>() {
            Ok(secs) => SignedDuration::from_secs(secs),
            Err(_) => http_date(text)?.duration_since(self.server_time()?),
        };
        (wait >= SignedDuration::ZERO).then(|| wait.min(LONGEST_WAIT))
    }

    /// The body as text, broken UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Whether it is a page for people.
    pub fn is_html(&self) -> bool {
        let by_header = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.trim_start().to_ascii_lowercase().starts_with("text/html"));
        by_header || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What will pass by itself whoever sends it: 5xx, 408, 420, 429, and HTML where JSON was due.
    pub fn passing(&self) -> Option<Fault> {
        let html = self.is_html();
        if !(html || self.status >= 500 || matches!(self.status, 408 | 420 | 429)) {
            return None;
        }
        let page = if html { " with an HTML page" } else { "" };
        Some(Fault::Passing {
            what: format!("{} answered {}{page}", self.host, self.status),
            retry_after: self.retry_after(),
        })
    }
}

/// The server's clock, from `Date`.
fn server_time(headers: &HeaderMap) -> Option<Time> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Time> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}
