//! Every key of the configuration: where it stands, what it takes, its default, what it is for.
//!
//! The one home of that knowledge: checking, `config show`, the environment and the test of
//! `config/crmsync.toml` read these tables. Defaults are written as in a file.

use super::settings::{Deletes, SmtpTls};
use crate::domain::{KeyKind, ProviderSpec, SchemaPolicy};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text but an empty one.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// `"15m"`, within these bounds in seconds.
    Duration(i64, i64),
    /// A list of durations.
    Durations(i64, i64),
    /// `"80%"`, 1 to 100.
    Percent,
    /// A list of mail addresses, not empty.
    Mails,
    /// `Name <mail address>` or a mail address.
    Sender,
    /// A list of texts.
    Texts,
    /// `https://…`, or `http://…` to loopback.
    Url,
    /// `http://host:port`.
    Proxy,
    /// An absolute path, made when missing.
    Path,
    /// An absolute path of a file that can be read.
    File,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `every 15m` or five cron fields.
    Schedule,
    /// Name of a time zone.
    Zone,
    /// `"22:00-06:00"`.
    QuietHours,
    /// `{ file = … }` or `{ credential = … }`.
    Secret,
    /// `postgresql://user@host/database`, without a password.
    Database,
    /// Id of a provider.
    Provider,
    /// A way to authorize that the provider offers.
    Auth,
}

/// A key with a value of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As TOML text; `None`: no default.
    pub default: Option<&'static str>,
}

/// The tables of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Root,
    Daemon,
    Replica,
    Notify,
    Smtp,
    Network,
    Retention,
    Connections,
    Connection,
    Quota,
    Objects,
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key { name, kind, default }
}

const DAY: i64 = 86_400;

const DAEMON: &[Key] = &[
    key("state_dir", Kind::Path, Some("\"/var/lib/crmsync\"")),
    key("replica_dir", Kind::Path, Some("\"/var/lib/crmsync-replica\"")),
    key("socket", Kind::Path, Some("\"/run/crmsync/control.sock\"")),
    key("workers", Kind::Number(1, 256), Some("8")),
];

const REPLICA: &[Key] = &[
    key("url", Kind::Database, None),
    key("password", Kind::Secret, None),
    key("readers", Kind::Text, None),
    key("ca_file", Kind::File, None),
];

const NOTIFY: &[Key] = &[
    key("admins", Kind::Mails, None),
    key("gather", Kind::Duration(1, DAY), Some("\"2m\"")),
    key("remind", Kind::Durations(60, 365 * DAY), Some("[\"1d\", \"3d\", \"7d\"]")),
    key("quiet_hours", Kind::QuietHours, None),
    key("time_zone", Kind::Zone, Some("\"UTC\"")),
    key("digest_above", Kind::Number(1, 10_000), Some("5")),
];

const SMTP: &[Key] = &[
    key("host", Kind::Text, None),
    key("port", Kind::Number(1, 65_535), None),
    key("tls", Kind::OneOf(&["starttls", "tls", "none"]), Some("\"starttls\"")),
    key("username", Kind::Text, None),
    key("password", Kind::Secret, None),
    key("from", Kind::Sender, None),
    key("ca_file", Kind::File, None),
];

const NETWORK: &[Key] = &[
    key("proxy", Kind::Proxy, None),
    key("no_proxy", Kind::Texts, None),
    key("ca_file", Kind::File, None),
];

const RETENTION: &[Key] = &[
    key("runs", Kind::Duration(DAY, 3650 * DAY), Some("\"90d\"")),
    key("audit", Kind::Duration(DAY, 3650 * DAY), Some("\"730d\"")),
    key("mails", Kind::Duration(DAY, 3650 * DAY), Some("\"90d\"")),
];

const CONNECTION: &[Key] = &[
    key("provider", Kind::Provider, None),
    key("enabled", Kind::Flag, Some("true")),
    key("auth", Kind::Auth, None),
    key("org_id", Kind::Text, None),
    key("callback_url", Kind::Url, None),
    key("schedule", Kind::Schedule, Some("\"every 15m\"")),
    key("time_zone", Kind::Zone, Some("\"UTC\"")),
    key("admins", Kind::Mails, None),
    key("deletes", Kind::OneOf(&["mark", "remove"]), Some("\"mark\"")),
    key("erase_after", Kind::Duration(1, 3650 * DAY), Some("\"30d\"")),
    key("late_commit_window", Kind::Duration(1, 7 * DAY), Some("\"10m\"")),
    key("sweep", Kind::Duration(60, 365 * DAY), Some("\"1d\"")),
    key("calculated", Kind::Duration(60, 3650 * DAY), Some("\"1d\"")),
    key("prove", Kind::Duration(60, 3650 * DAY), Some("\"1d\"")),
    key("schema", Kind::OneOf(&["follow", "freeze"]), Some("\"follow\"")),
    key("alarm_after", Kind::Number(1, 10_000), Some("3")),
];

const QUOTA: &[Key] = &[
    key("pause_at", Kind::Percent, Some("\"80%\"")),
    key("resume_below", Kind::Percent, Some("\"75%\"")),
    key("own_share", Kind::Percent, None),
    key("limit", Kind::Number(1, i64::MAX), None),
];

/// What a name in a section stands for.
pub(super) enum Entry {
    /// A value.
    Leaf(Key),
    /// A further table.
    Table(Section),
}

impl Section {
    /// The section's own keys, the provider's left aside.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Self::Root | Self::Connections | Self::Objects => &[],
            Self::Daemon => DAEMON,
            Self::Replica => REPLICA,
            Self::Notify => NOTIFY,
            Self::Smtp => SMTP,
            Self::Network => NETWORK,
            Self::Retention => RETENTION,
            Self::Connection => CONNECTION,
            Self::Quota => QUOTA,
        }
    }

    /// The tables within.
    pub fn tables(self) -> &'static [(&'static str, Section)] {
        match self {
            Self::Root => &[
                ("daemon", Self::Daemon),
                ("replica", Self::Replica),
                ("notify", Self::Notify),
                ("network", Self::Network),
                ("retention", Self::Retention),
                ("connections", Self::Connections),
            ],
            Self::Notify => &[("smtp", Self::Smtp)],
            Self::Connection => {
                &[("quota", Self::Quota), ("network", Self::Network), ("objects", Self::Objects)]
            }
            Self::Daemon
            | Self::Replica
            | Self::Smtp
            | Self::Network
            | Self::Retention
            | Self::Connections
            | Self::Quota
            | Self::Objects => &[],
        }
    }

    /// What `name` stands for here.
    pub fn entry(self, name: &str, spec: Option<&ProviderSpec>) -> Option<Entry> {
        if let Some((_, section)) = self.tables().iter().find(|(n, _)| *n == name) {
            return Some(Entry::Table(*section));
        }
        if let Some(key) = self.keys().iter().find(|k| k.name == name) {
            return Some(Entry::Leaf(*key));
        }
        let spec = spec.filter(|_| self == Self::Connection)?;
        if let Some(k) = spec.keys.iter().find(|k| k.name == name) {
            return Some(Entry::Leaf(Key { name: k.name, kind: of(k.kind), default: None }));
        }
        let (name, _) = spec.secrets.iter().find(|(n, _)| *n == name)?;
        Some(Entry::Leaf(key(name, Kind::Secret, None)))
    }

    /// Every name that may stand here.
    pub fn names(self, spec: Option<&'static ProviderSpec>) -> Vec<&'static str> {
        let own = self.keys().iter().map(|k| k.name).chain(self.tables().iter().map(|(n, _)| *n));
        let spec = spec.filter(|_| self == Self::Connection).into_iter();
        let theirs = spec.flat_map(|s| {
            s.keys.iter().map(|k| k.name).chain(s.secrets.iter().map(|(name, _)| *name))
        });
        own.chain(theirs).collect()
    }
}

/// How a provider's kind of key is checked.
pub(super) fn of(kind: KeyKind) -> Kind {
    match kind {
        KeyKind::Text => Kind::Text,
        KeyKind::Url => Kind::Url,
        KeyKind::Number => Kind::Number(0, i64::MAX),
        KeyKind::Flag => Kind::Flag,
        KeyKind::OneOf(words) => Kind::OneOf(words),
    }
}

/// The word as a setting.
pub(super) fn deletes(word: &str) -> Deletes {
    if word == "remove" { Deletes::Remove } else { Deletes::Mark }
}

/// The word as a setting.
pub(super) fn schema(word: &str) -> SchemaPolicy {
    if word == "freeze" { SchemaPolicy::Freeze } else { SchemaPolicy::Follow }
}

/// The word as a setting.
pub(super) fn smtp_tls(word: &str) -> SmtpTls {
    match word {
        "tls" => SmtpTls::Tls,
        "none" => SmtpTls::None,
        _ => SmtpTls::Starttls,
    }
}
