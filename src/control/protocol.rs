//! What travels over the control socket, used by both ends: shapes, refusals, and the handle
//! [`Commands`] that the daemon fills.
//!
//! HTTP/1.1 + JSON, versioned path `/v1`. Times are RFC 3339 in UTC; durations are seconds.
//! Invariants: no secret is in any reply; a refusal says what was refused, why, and what to type.

use crmsync_core::domain::{Check, Time};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::broadcast;
use utoipa::ToSchema;

mod line;
pub use line::Line;

/// Version of the JSON shapes, stated in every `--json` output.
pub const SCHEMA_VERSION: u32 = 1;

/// Who asks, as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Log-in name, or the number where there is none.
    pub user: String,
    /// What this caller may do.
    pub rights: Rights,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing: 403.
    None,
    /// Look.
    View,
    /// Change.
    Admin,
}

/// A refusal: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind.
    pub code: RefusalCode,
    /// What was being done to what, and the cause.
    pub message: String,
    /// What to type next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Kinds of refusals; each has an HTTP status and an exit code of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// 403: this caller may not.
    Forbidden,
    /// 404: no such connection, request, run.
    NotFound,
    /// 409: not in this state (running, paused, named in the configuration, …).
    Conflict,
    /// 409: needs authorization first. Exit code 4.
    NeedsAuthorization,
    /// 409: held by the quota; `--despite-quota` goes past it.
    QuotaHeld,
    /// 422: understood and wrong: what, where, what is allowed.
    Invalid,
    /// 422: bad configuration. Exit code 78.
    BadConfig,
    /// 503: sealed secrets without their key, full disk, shutting down.
    Unavailable,
    /// 500: something failed here; the journal has it too.
    Failed,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with what to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionStatus {
    /// Name.
    pub name: String,
    /// Provider's id.
    pub provider: String,
    /// `Active`, `Not syncing` or `Error`.
    pub status: String,
    /// Words of the manual's table.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Time,
    /// The cause in detail, e.g. the provider's text; may be empty.
    pub detail: String,
    /// What to do next; may be empty.
    pub hint: String,
    /// Whether only a new authorization helps.
    pub needs_authorization: bool,
    /// Everything before is in the replica; none while loading.
    #[schema(value_type = Option<String>)]
    pub caught_up_to: Option<Time>,
    /// Deletes before are in the replica, where they have a time of their own.
    #[schema(value_type = Option<String>)]
    pub deletes_to: Option<Time>,
    /// Live rows in the replica.
    pub rows: u64,
    /// Next run by the schedule.
    #[schema(value_type = Option<String>)]
    pub next_run: Option<Time>,
    /// True when it is no longer in the configuration.
    pub retired: bool,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusReply {
    /// Version of this shape.
    pub schema: u32,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Connections by name.
    pub connections: Vec<Line>,
}

/// How the daemon itself fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    /// Program version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since when it runs.
    #[schema(value_type = String)]
    pub started: Time,
    /// One line, as systemd shows it.
    pub summary: String,
    /// What an admin should know of the daemon: key beside the data, mail undeliverable, …
    pub warnings: Vec<String>,
    /// Counter of configurations taken over; grows with each reload that was applied.
    pub generation: u64,
}

/// `GET /v1/connections/{name}`: everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionDetail {
    /// Version of this shape.
    pub schema: u32,
    /// The line of the table.
    pub status: ConnectionStatus,
    /// Org: id and name.
    pub org: Option<String>,
    /// Log-in name of the account.
    pub account: Option<String>,
    /// Address of data calls.
    pub address: Option<String>,
    /// When it was created, changed, and by whom.
    #[schema(value_type = String)]
    pub created: Time,
    /// Last change of its configuration or grant.
    #[schema(value_type = String)]
    pub modified: Time,
    /// Who changed it.
    pub modified_by: String,
    /// Schedule in words.
    pub schedule: String,
    /// Receivers of its mails.
    pub admins: Vec<String>,
    /// Where the replica is.
    pub replica: String,
    /// Objects.
    pub objects: Vec<ObjectStatus>,
    /// Quota of its domain, once known.
    pub quota: Option<QuotaStatus>,
    /// Last runs, newest first.
    pub runs: Vec<RunLine>,
    /// Open reauthorization request.
    pub request: Option<RequestLine>,
    /// Open notices.
    pub notices: Vec<NoticeLine>,
}

/// An object of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectStatus {
    /// API name.
    pub name: String,
    /// Table in the replica.
    pub table: String,
    /// `loading`, `following`, `comparing keys`, `filling fields`, `gone`, `refused`.
    pub phase: String,
    /// Live rows.
    pub rows: u64,
    /// Rows marked as deleted.
    pub deleted: u64,
    /// Rows we can no longer see.
    pub hidden: u64,
    /// Values kept raw because they did not fit.
    pub odd: u64,
    /// Caught up to.
    #[schema(value_type = Option<String>)]
    pub caught_up_to: Option<Time>,
    /// Deletes to.
    #[schema(value_type = Option<String>)]
    pub deletes_to: Option<Time>,
    /// Deletes held for approval.
    pub held: Option<u64>,
    /// What is wrong with this object alone, e.g. access denied.
    pub trouble: Option<String>,
    /// A bulk job of the provider that is under way.
    pub job: Option<JobStatus>,
    /// What the last comparison of counts with the source brought.
    pub proof: Option<ProofStatus>,
    /// Calculated fields are as of then.
    #[schema(value_type = Option<String>)]
    pub calculated_to: Option<Time>,
    /// Number of fields read.
    pub fields: usize,
}

/// A bulk job that reads an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// What it reads: `rows`, `new fields`, `keys`.
    pub reads: String,
    /// Asked for at; none: it waits for its turn.
    #[schema(value_type = Option<String>)]
    pub since: Option<Time>,
    /// Where it is, in the provider's word.
    pub says: String,
    /// When it is looked at next.
    #[schema(value_type = Option<String>)]
    pub next_look: Option<Time>,
    /// When it is given up and read another way.
    #[schema(value_type = Option<String>)]
    pub gives_up: Option<Time>,
    /// Rows fetched so far.
    pub rows: u64,
    /// Rows of the whole result, where known.
    pub expected: Option<u64>,
}

/// Counts of an object compared with the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofStatus {
    /// When.
    #[schema(value_type = String)]
    pub at: Time,
    /// Everything that was modified before this was counted.
    #[schema(value_type = String)]
    pub upper: Time,
    /// Rows counted.
    pub rows: u64,
    /// Rows that were missing or stale here and were read again.
    pub repaired: u64,
    /// Rows that still differ.
    pub differs: u64,
    /// Why nothing could be proved, if so.
    pub unproved: Option<String>,
}

/// `GET /v1/quota`, one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaStatus {
    /// Domain, e.g. `salesforce:00D…`.
    pub domain: String,
    /// Connections that share it.
    pub connections: Vec<String>,
    /// Name of the limit nearest to its line.
    pub limit: String,
    /// Used by everybody, as last told.
    pub used: u64,
    /// The limit; 0 when not known yet.
    pub max: u64,
    /// `used` of `max`, whole percent.
    pub percent: u64,
    /// Own calls in the last 24 hours.
    pub own: u64,
    /// Calls where scheduled work stops.
    pub line: u64,
    /// Since when it is held.
    #[schema(value_type = Option<String>)]
    pub held_since: Option<Time>,
    /// When it is looked at again.
    #[schema(value_type = Option<String>)]
    pub next_probe: Option<Time>,
    /// Calls that the line does not stop, by what they were for.
    pub exempt: BTreeMap<String, u64>,
    /// Used by everybody over the day, `(time, used)`, oldest first.
    #[schema(value_type = Vec<Vec<String>>)]
    pub points: Vec<(Time, u64)>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunLine {
    /// Id.
    pub id: String,
    /// Connection.
    pub connection: String,
    /// Begin.
    #[schema(value_type = String)]
    pub started: Time,
    /// End; none while it runs.
    #[schema(value_type = Option<String>)]
    pub ended: Option<Time>,
    /// `done`, `stopped: …`, `failed: …`, `running`, `waiting` (for the run before to end).
    pub outcome: String,
    /// API calls paid.
    pub calls: u64,
    /// Rows read.
    pub read: u64,
    /// Rows changed in the replica.
    pub changed: u64,
    /// Rows deleted or hidden.
    pub deleted: u64,
    /// Runs without any change that this line stands for, itself included.
    pub repeated: u64,
    /// Lines of its story, for `log --run`.
    #[serde(default)]
    pub lines: Vec<String>,
}

/// An open or past reauthorization request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestLine {
    /// Id for `reauthorize confirm|reject`.
    pub id: String,
    /// Connection.
    pub connection: String,
    /// Why.
    pub reason: String,
    /// Since.
    #[schema(value_type = String)]
    pub opened: Time,
    /// `open`, `started`, `awaiting confirmation`, `closed`.
    pub state: String,
    /// E.g. who is expected and who came.
    pub detail: String,
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeLine {
    /// Connection; none: the daemon itself.
    pub connection: Option<String>,
    /// Kind, e.g. `needs-authorization`.
    pub kind: String,
    /// Text for people.
    pub text: String,
    /// Since.
    #[schema(value_type = String)]
    pub opened: Time,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub closed: Option<Time>,
    /// When the first mail went.
    #[schema(value_type = Option<String>)]
    pub mailed: Option<Time>,
}

/// A mail of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailLine {
    /// Message-ID.
    pub message_id: String,
    /// Receivers.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// When it was written.
    #[schema(value_type = String)]
    pub created: Time,
    /// `waiting`, `sent`, `retrying: …`.
    pub state: String,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    /// When.
    #[schema(value_type = String)]
    pub at: Time,
    /// Uid; none: the daemon itself.
    pub uid: Option<u32>,
    /// User.
    pub user: String,
    /// Connection.
    pub connection: Option<String>,
    /// Command or event.
    pub what: String,
}

/// An object of the source with its fields, for `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceObject {
    /// API name.
    pub name: String,
    /// Label.
    pub label: String,
    /// Whether the configuration selects it.
    pub selected: bool,
    /// Fields; filled for selected objects and for those a search names.
    pub fields: Vec<SourceField>,
}

/// A field of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceField {
    /// API name.
    pub name: String,
    /// Label.
    pub label: String,
    /// The source's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is read.
    pub selected: bool,
}

/// `POST …/sync`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// Only these; empty: all.
    #[serde(default)]
    pub objects: Vec<String>,
    /// Read everything again, in place.
    #[serde(default)]
    pub full: bool,
    /// Go past the quota line; counted and shown by name.
    #[serde(default)]
    pub despite_quota: bool,
}

/// `POST …/pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Seconds; none: until resumed.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    /// Shown in `status`.
    #[serde(default)]
    pub note: Option<String>,
}

/// `POST …/reauthorize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReauthorizeRequest {
    /// Another account of the same org is wanted.
    #[serde(default)]
    pub as_other_account: bool,
}

/// What the admin has to do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "door", rename_all = "kebab-case")]
pub enum ReauthorizeReply {
    /// Open the address, then hand in where the browser was sent.
    Browser {
        /// Id of the request.
        request: String,
        /// Address to open.
        url: String,
        /// Where the browser will be sent; the client listens there if it is loopback.
        redirect_uri: String,
    },
    /// Hand in a password.
    Password {
        /// Id of the request.
        request: String,
        /// For which account.
        username: String,
    },
    /// Nothing to hand in (client credentials): it was tried at once.
    Done(GrantReply),
}

/// `POST /v1/requests/{id}/callback` (browser) or `/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum GrantReply {
    /// Proved and stored; catching up.
    Authorized {
        /// Log-in name.
        account: String,
        /// Org.
        org: String,
    },
    /// Another account: `reauthorize confirm ID` or `reject ID`.
    AwaitingConfirmation {
        /// Id of the request.
        request: String,
        /// Account pinned so far.
        expected: String,
        /// Account that came.
        found: String,
    },
}

/// A body with one text that must not be logged.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// The text.
    #[schema(value_type = String)]
    pub value: SecretString,
}

/// `POST …/forget`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// Remove the replica too.
    #[serde(default)]
    pub with_data: bool,
}

/// `POST …/rename`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// New name.
    pub to: String,
}

/// `POST …/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestReply {
    /// Version of this shape.
    pub schema: u32,
    /// Whether all required checks passed.
    pub passed: bool,
    /// The checks, in order.
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<Check>,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReply {
    /// Connections by what became of them.
    pub added: Vec<String>,
    /// Gone from the configuration: retired.
    pub removed: Vec<String>,
    /// With what changed.
    pub changed: BTreeMap<String, Vec<String>>,
    /// Not touched.
    pub untouched: usize,
    /// Warnings of the check, rendered.
    pub warnings: Vec<String>,
}

/// What `GET /v1/events` sends, one JSON object an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A status changed.
    Status(Box<ConnectionStatus>),
    /// A run began.
    RunStarted {
        /// Connection.
        connection: String,
        /// Run id.
        run: String,
    },
    /// Rows were committed.
    Progress {
        /// Connection.
        connection: String,
        /// Run id.
        run: String,
        /// Object.
        object: String,
        /// Rows of this object committed in this run.
        rows: u64,
        /// Rows expected, where known.
        expected: Option<u64>,
        /// Calls paid by this run.
        calls: u64,
    },
    /// A run ended.
    RunEnded(RunLine),
    /// A notice opened or closed.
    Notice(NoticeLine),
    /// A configuration was taken over.
    Reloaded {
        /// Its generation.
        generation: u64,
    },
    /// The listener was too slow: so many events were left out.
    Missed {
        /// How many.
        count: u64,
    },
}

/// An asynchronous reply.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// What the daemon does on request. The server checks rights, the daemon writes the audit log.
#[allow(missing_docs, reason = "one method per command of the manual, named like it")]
pub trait Commands: Send + Sync + 'static {
    fn status(&self, name: Option<String>, all: bool) -> Reply<'_, StatusReply>;
    fn detail(&self, name: String) -> Reply<'_, ConnectionDetail>;
    fn sync(&self, by: Caller, name: String, request: SyncRequest) -> Reply<'_, RunLine>;
    fn pause(&self, by: Caller, name: String, request: PauseRequest)
    -> Reply<'_, ConnectionStatus>;
    fn resume(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus>;
    fn test(&self, by: Caller, name: String) -> Reply<'_, TestReply>;
    fn reauthorize(
        &self,
        by: Caller,
        name: String,
        request: ReauthorizeRequest,
    ) -> Reply<'_, ReauthorizeReply>;
    fn callback(
        &self,
        by: Caller,
        request: String,
        redirected: SecretString,
    ) -> Reply<'_, GrantReply>;
    fn password(
        &self,
        by: Caller,
        request: String,
        password: SecretString,
    ) -> Reply<'_, GrantReply>;
    fn confirm(&self, by: Caller, request: String) -> Reply<'_, GrantReply>;
    fn reject(&self, by: Caller, request: String) -> Reply<'_, RequestLine>;
    fn set_secret(
        &self,
        by: Caller,
        name: String,
        key: String,
        value: SecretString,
    ) -> Reply<'_, ()>;
    fn disconnect(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus>;
    fn approve(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus>;
    fn forget(&self, by: Caller, name: String, request: ForgetRequest) -> Reply<'_, ()>;
    fn rename(&self, by: Caller, name: String, request: RenameRequest) -> Reply<'_, ()>;
    fn fields(&self, name: String, search: Option<String>) -> Reply<'_, Vec<SourceObject>>;
    fn runs(&self, name: Option<String>, limit: usize) -> Reply<'_, Vec<RunLine>>;
    fn run(&self, id: String) -> Reply<'_, RunLine>;
    fn notices(&self, name: Option<String>, all: bool) -> Reply<'_, Vec<NoticeLine>>;
    fn mails(&self, limit: usize) -> Reply<'_, Vec<MailLine>>;
    fn audit(&self, limit: usize) -> Reply<'_, Vec<AuditLine>>;
    fn quota(&self, name: Option<String>) -> Reply<'_, Vec<QuotaStatus>>;
    fn config(&self, origin: bool) -> Reply<'_, String>;
    fn reload(&self, by: Caller) -> Reply<'_, ReloadReply>;
    fn notify_test(&self, by: Caller, to: Option<String>) -> Reply<'_, MailLine>;
    fn key_status(&self) -> Reply<'_, KeyStatus>;
    fn events(&self) -> broadcast::Receiver<Event>;
}

/// `GET /v1/key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyStatus {
    /// `credential`, `state folder`, `missing`, `wrong`.
    pub source: String,
    /// First 8 hex digits that name the key; empty when missing.
    pub id: String,
    /// Where it lies.
    pub path: String,
    /// How many secrets are sealed with it.
    pub sealed: u64,
    /// What is weak about it; may be empty.
    pub warning: String,
}
