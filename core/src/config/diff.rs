//! What a reload would do: two checked configurations, side by side.
//!
//! Invariant: a connection is `untouched` exactly when its effective settings and the bytes of
//! the files it names are the same; global defaults count only where they reach it.

use super::Checked;
use super::settings::{Connection, Daemon, Database, Settings};
use crate::domain::ConnectionName;
use serde::Serialize;
use std::collections::BTreeMap;

/// The difference between the configuration in force and a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// New connections.
    pub added: Vec<ConnectionName>,
    /// Connections that are gone.
    pub removed: Vec<ConnectionName>,
    /// Connections with what changed: keys within the connection, e.g. `schedule`,
    /// `objects.Account`, `quota.pause_at`, `client_secret (content of /etc/crmsync/sf.secret)`.
    pub changed: BTreeMap<ConnectionName, Vec<String>>,
    /// Connections that must not notice.
    pub untouched: Vec<ConnectionName>,
    /// Whether anything of `[notify]` changed.
    pub notify_changed: bool,
    /// Whether anything of `[retention]` changed.
    pub retention_changed: bool,
    /// Dotted keys that only a restart can change. Unless empty the plan is refused by name.
    pub needs_restart: Vec<String>,
}

impl Plan {
    /// Whether nothing at all would change.
    pub fn is_empty(&self) -> bool {
        let untouched = self.untouched.clone();
        *self == Self { untouched, ..Self::default() }
    }
}

/// Compares two configurations.
pub fn diff(old: &Checked, new: &Checked) -> Plan {
    let mut plan = Plan {
        needs_restart: fixed(&old.settings, &new.settings),
        retention_changed: old.settings.retention != new.settings.retention,
        notify_changed: old.settings.notify != new.settings.notify
            || files_of_notify(old).ne(files_of_notify(new)),
        ..Plan::default()
    };
    for (name, key) in &new.credentials {
        if !old.credentials.contains_key(name) {
            plan.needs_restart.push(format!("{key} (credential `{name}`)"));
        }
    }
    for (name, connection) in &new.settings.connections {
        let Some(before) = old.settings.connections.get(name) else {
            plan.added.push(name.clone());
            continue;
        };
        let mut what = changes(before, connection);
        let none = BTreeMap::new();
        let files = |c: &Checked| c.files.get(name).cloned().unwrap_or_else(|| none.clone());
        let (files_before, files_now) = (files(old), files(new));
        for (key, hash) in &files_now {
            if files_before.get(key).is_some_and(|h| h != hash) {
                what.push(format!("{key} (content of the file)"));
            }
        }
        if what.is_empty() && old.fingerprints.get(name) == new.fingerprints.get(name) {
            plan.untouched.push(name.clone());
        } else {
            plan.changed.insert(name.clone(), what);
        }
    }
    let gone = |name: &&ConnectionName| !new.settings.connections.contains_key(*name);
    plan.removed = old.settings.connections.keys().filter(gone).cloned().collect();
    plan
}

fn files_of_notify(checked: &Checked) -> impl Iterator<Item = (&String, &String)> {
    checked.shared_files.iter().filter(|(key, _)| key.starts_with("notify."))
}

/// Keys that only a restart changes.
fn fixed(old: &Settings, new: &Settings) -> Vec<String> {
    let Daemon { state_dir, replica_dir, socket, workers } = &old.daemon;
    let now = &new.daemon;
    let url = |d: &Database| (d.host.clone(), d.port, d.database.clone(), d.user.clone(), d.tls);
    let (a, b) = (old.replica.as_ref(), new.replica.as_ref());
    let checks = [
        ("daemon.state_dir", *state_dir == now.state_dir),
        ("daemon.replica_dir", *replica_dir == now.replica_dir),
        ("daemon.socket", *socket == now.socket),
        ("daemon.workers", *workers == now.workers),
        ("replica.url", a.map(url) == b.map(url)),
        (
            "replica.password",
            a.and_then(|d| d.password.as_ref()) == b.and_then(|d| d.password.as_ref()),
        ),
        (
            "replica.readers",
            a.and_then(|d| d.readers.as_ref()) == b.and_then(|d| d.readers.as_ref()),
        ),
        (
            "replica.ca_file",
            a.and_then(|d| d.ca_file.as_ref()) == b.and_then(|d| d.ca_file.as_ref()),
        ),
    ];
    checks.iter().filter(|(_, same)| !same).map(|(key, _)| (*key).to_owned()).collect()
}

/// Keys of a connection that differ, tables by their single keys.
fn changes(old: &Connection, new: &Connection) -> Vec<String> {
    let flat = |c: &Connection| {
        let mut out = BTreeMap::new();
        let json = serde_json::to_value(c).unwrap_or_default();
        for (key, value) in json.as_object().into_iter().flatten() {
            match value.as_object() {
                // The schedule is one value, and `keys` and `secrets` are no tables to the user.
                Some(inner) if key != "schedule" => {
                    let prefix = if key == "keys" || key == "secrets" { "" } else { key };
                    let dot = if prefix.is_empty() { "" } else { "." };
                    for (name, value) in inner {
                        out.insert(format!("{prefix}{dot}{name}"), value.clone());
                    }
                }
                _ => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
        out
    };
    let (before, after) = (flat(old), flat(new));
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| before.get(key) != after.get(key));
    keys
}
