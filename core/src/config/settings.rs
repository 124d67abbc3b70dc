//! The settings in force: checked, defaults filled in, no text positions. Made only by `check`.
//!
//! Shapes and units are the manual's. No secret stands here: only where one is kept.

use crate::domain::{ConnectionName, CredentialKind, Schedule, SchemaPolicy};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything the daemon works by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// `[daemon]`: what only a restart can change.
    pub daemon: Daemon,
    /// `[replica]`: the database of the replicas; none: `SQLite` files in `replica_dir`.
    pub replica: Option<Database>,
    /// `[notify]`: who is told, and how.
    pub notify: Notify,
    /// `[network]`: defaults for all connections.
    pub network: Network,
    /// `[retention]`: how long what is kept.
    pub retention: Retention,
    /// `[connections.NAME]`.
    pub connections: BTreeMap<ConnectionName, Connection>,
}

/// `[daemon]`. Command-line flags win over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Daemon {
    /// `state_dir`, default `/var/lib/crmsync`.
    pub state_dir: PathBuf,
    /// `replica_dir`, default `/var/lib/crmsync-replica`.
    pub replica_dir: PathBuf,
    /// `socket`, default `/run/crmsync/control.sock`.
    pub socket: PathBuf,
    /// `workers`: runs at the same time, default 8.
    pub workers: u32,
}

/// `[replica]`: what only a restart can change, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Of `url`: host name, address, or the folder of a Unix socket.
    pub host: String,
    /// Of `url`; default 5432.
    pub port: u16,
    /// Of `url`: the database.
    pub database: String,
    /// Of `url`: the role; none: the name of the daemon's user.
    pub user: Option<String>,
    /// Of `url`, `sslmode`: TLS is demanded of a server of this machine, too.
    pub tls: bool,
    /// Where the password is (`password`); read at each connection.
    pub password: Option<SecretRef>,
    /// `readers`: a role that may read every replica.
    pub readers: Option<String>,
    /// `ca_file`: PEM file with further CAs.
    pub ca_file: Option<PathBuf>,
}

/// `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// Default receivers of mails.
    pub admins: Vec<String>,
    /// `gather`: how long conditions are gathered into one mail, default 2m.
    pub gather: SignedDuration,
    /// `remind`: intervals between reminders, default 1d, 3d, 7d (the last repeats).
    pub remind: Vec<SignedDuration>,
    /// `quiet_hours = "22:00-06:00"` in `time_zone`: nothing but needs-authorization is mailed.
    pub quiet_hours: Option<QuietHours>,
    /// `digest_above`: more new conditions than this in one window make one digest, default 5.
    pub digest_above: u32,
    /// `[notify.smtp]`; without it mails cannot leave, and `status` says so.
    pub smtp: Option<Smtp>,
}

/// Local wall-clock times, minutes of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// First quiet minute of the day.
    pub from: u16,
    /// First minute that is not quiet.
    pub to: u16,
    /// IANA zone.
    pub zone: String,
}

/// `[notify.smtp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Smtp {
    /// Host name, checked against the certificate.
    pub host: String,
    /// Default 587 for STARTTLS, 465 for TLS, 25 for none.
    pub port: u16,
    /// `tls`.
    pub tls: SmtpTls,
    /// Log-in name; none: no authentication.
    pub username: Option<String>,
    /// Where the password is (`password`).
    pub password: Option<SecretRef>,
    /// `from`, e.g. `crmsync <crmsync@example.org>`.
    pub from: String,
    /// PEM file with further CAs.
    pub ca_file: Option<PathBuf>,
}

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpTls {
    /// STARTTLS, required.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Clear text: only to loopback.
    None,
}

/// `[network]`, also per connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// `proxy = "http://host:port"`.
    pub proxy: Option<String>,
    /// Hosts and suffixes that bypass it.
    pub no_proxy: Vec<String>,
    /// PEM file with further CAs.
    pub ca_file: Option<PathBuf>,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// Default 90d, and at least the last 100 of a connection.
    pub runs: SignedDuration,
    /// Default 730d.
    pub audit: SignedDuration,
    /// Default 90d.
    pub mails: SignedDuration,
}

/// `[connections.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Id of the provider's spec.
    pub provider: String,
    /// `enabled = false`: status `Not syncing: disabled`.
    pub enabled: bool,
    /// `auth`.
    pub auth: CredentialKind,
    /// The provider's own keys, defaults filled in, as text.
    pub keys: BTreeMap<String, String>,
    /// Secrets named in the configuration: `client_secret = { file = "…" }`. Others are in the
    /// vault.
    pub secrets: BTreeMap<String, SecretRef>,
    /// `org_id`: pinned by hand; else pinned at the first authorization.
    pub org_id: Option<String>,
    /// `callback_url`: else the spec's fixed loopback address.
    pub callback_url: Option<String>,
    /// `schedule` with `time_zone`.
    pub schedule: Schedule,
    /// Receivers of this connection's mails.
    pub admins: Vec<String>,
    /// `[connections.NAME.quota]`.
    pub quota: Quota,
    /// `[connections.NAME.network]` over `[network]`.
    pub network: Network,
    /// `[connections.NAME.objects]`.
    pub objects: BTreeMap<String, Selection>,
    /// `deletes`: default mark.
    pub deletes: Deletes,
    /// `erase_after`: default 30d.
    pub erase_after: SignedDuration,
    /// `late_commit_window`: overlap of incremental reads, default 10m.
    pub late_commit_window: SignedDuration,
    /// `sweep`: how often keys are compared where the source reports no deletes, default 1d.
    pub sweep: SignedDuration,
    /// `calculated`: how often calculated fields are read again, default 1d.
    pub calculated: SignedDuration,
    /// `prove`: how often the copy is proved by counts, default 1d.
    pub prove: SignedDuration,
    /// `schema`: default follow.
    pub schema: SchemaPolicy,
    /// `alarm_after`: intervals without success that raise a notice, default 3 (at least 1 h).
    pub alarm_after: u32,
}

/// `[connections.NAME.quota]`. Percents are of the provider's limit, whole numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Default 80.
    pub pause_at: u8,
    /// Default 75.
    pub resume_below: u8,
    /// The most that crmsync itself may use.
    pub own_share: Option<u8>,
    /// `limit`: calls a day, where the provider tells none; lowers what it tells.
    pub limit: Option<u64>,
}

/// Which fields of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Every field that can be read.
    All,
    /// These, and the system fields.
    Fields(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

/// What becomes of a row that was deleted at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deletes {
    /// `_deleted_at` is set.
    Mark,
    /// The row is removed.
    Remove,
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretRef {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A systemd credential that exists before the daemon starts.
    Credential(String),
}
