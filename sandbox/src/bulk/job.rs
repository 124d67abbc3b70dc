//! One query job: its way from `UploadComplete` to an end, and how the vendor shows it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::results::Results;
use super::switches::Switches;
use crate::clock::rest_datetime;

/// Days that an ended job is kept.
const KEPT_SECONDS: i64 = 7 * 86_400;
/// Jobs with ORDER BY or LIMIT are not cut into chunks and take that many times as long.
const UNCHUNKED: i32 = 4;
/// Tries that the server gives a job before it fails.
const RETRIES: u32 = 15;

/// As the vendor names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::UploadComplete => "UploadComplete",
            State::InProgress => "InProgress",
            State::JobComplete => "JobComplete",
            State::Failed => "Failed",
            State::Aborted => "Aborted",
        }
    }

    /// Whether nothing more will happen.
    pub(crate) fn ended(self) -> bool {
        match self {
            State::UploadComplete | State::InProgress => false,
            State::JobComplete | State::Failed | State::Aborted => true,
        }
    }
}

/// What the job was asked to do, by whom.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Id of the user.
    pub(crate) user: String,
    pub(crate) operation: &'static str,
    pub(crate) object: String,
    /// API version of the call that made it.
    pub(crate) version: u32,
    pub(crate) delimiter: &'static str,
    pub(crate) line_ending: &'static str,
    pub(crate) results: Arc<Results>,
}

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    /// 18 characters.
    pub(crate) id: String,
    pub(crate) spec: Spec,
    state: State,
    /// Why it will fail.
    fate: Option<String>,
    chunked: bool,
    created: Timestamp,
    starts: Timestamp,
    due: Timestamp,
    ended: Option<Timestamp>,
}

impl Job {
    pub(super) fn new(
        id: String,
        spec: Spec,
        fate: Option<String>,
        switches: &Switches,
        ordered: bool,
        now: Timestamp,
    ) -> Job {
        let latency = SignedDuration::from_millis(i64::from(switches.latency_ms))
            * if ordered { UNCHUNKED } else { 1 };
        let after = |span: SignedDuration| now.checked_add(span).unwrap_or(now);
        Job {
            id,
            spec,
            state: State::UploadComplete,
            fate,
            chunked: !ordered,
            created: now,
            starts: after(latency / 4),
            due: after(latency),
            ended: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(super) fn age(&mut self, now: Timestamp, stuck: bool) {
        if self.state.ended() || now < self.starts {
            return;
        }
        self.state = State::InProgress;
        if stuck || now < self.due || !self.spec.results.ready() {
            return;
        }
        self.state = if self.fate.is_some() { State::Failed } else { State::JobComplete };
        self.ended = Some(self.due);
    }

    /// It does not end before this moment.
    pub(super) fn postpone(&mut self, now: Timestamp) {
        self.due = self.due.max(now);
    }

    /// Ends it without a result; false where it has ended already.
    pub(crate) fn abort(&mut self, now: Timestamp) -> bool {
        if self.state.ended() {
            return false;
        }
        self.state = State::Aborted;
        self.ended = Some(now);
        true
    }

    /// Whether its time is over.
    pub(super) fn expired(&self, now: Timestamp) -> bool {
        self.ended.is_some_and(|ended| now.as_second() - ended.as_second() >= KEPT_SECONDS)
    }

    /// As the answer to its creation and to an abort: without what only the end tells.
    pub(crate) fn head(&self) -> Value {
        let spec = &self.spec;
        json!({
            "id": self.id,
            "operation": spec.operation,
            "object": spec.object,
            "createdById": spec.user,
            "createdDate": rest_datetime(self.created),
            "systemModstamp": rest_datetime(self.ended.unwrap_or(self.created)),
            "state": self.state.name(),
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": f64::from(spec.version),
            "lineEnding": spec.line_ending,
            "columnDelimiter": spec.delimiter,
        })
    }

    /// As a look at it shows it.
    pub(crate) fn whole(&self) -> Value {
        let mut shown = self.head();
        shown["jobType"] = json!("V2Query");
        let failed = self.state == State::Failed;
        let rows = if self.state == State::JobComplete { self.spec.results.len() } else { 0 };
        if self.state.ended() {
            let took =
                self.ended.map_or(0, |end| end.as_millisecond() - self.created.as_millisecond());
            shown["numberRecordsProcessed"] = json!(rows);
            shown["retries"] = json!(if failed { RETRIES } else { 0 });
            shown["totalProcessingTime"] = json!(took.max(1));
        }
        if let (true, Some(why)) = (failed, &self.fate) {
            shown["errorMessage"] = json!(why);
        }
        shown["isPkChunkingSupported"] = json!(self.chunked);
        shown
    }

    /// Whether the list that asks for this much shows it.
    pub(crate) fn chunked(&self) -> bool {
        self.chunked
    }
}
