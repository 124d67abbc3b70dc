use super::state::{Activity, Configured, Connection, Grant, Pause, Phase, QuotaHold, Trouble};
use crate::domain::{Problem, Reason, Time};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Works, or will by itself.
    Active,
    /// Kept from working by somebody's wish.
    NotSyncing,
    /// Somebody must act.
    Error,
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Active => "Active",
            Self::NotSyncing => "Not syncing",
            Self::Error => "Error",
        })
    }
}

/// What `status` tells of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// One of three.
    pub word: Word,
    /// One of the manual's reasons; `permissions missing: …` and `provider failing since …`
    /// carry their facts.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// By whom, which limit, the provider's text: a sentence; may be empty.
    pub detail: String,
    /// What to type or do next; never empty with `Error`.
    pub hint: String,
    /// No usable grant (exit code 4), also while paused; not for a connection put away.
    pub needs_authorization: bool,
}

/// What to tell people. One order, the first that applies: retired, disabled (nothing else
/// matters then); paused (an admin's own wish); key missing (without it nobody can authorize);
/// needs authorization; disk full; replica unavailable; the provider's problems; quota; deletes
/// held; the run in progress; retrying; copy differs; loading; idle.
pub fn status(c: &Connection, name: &str, now: Time) -> Status {
    let born = c.born.unwrap_or(now);
    let away = !matches!(c.configured, Configured::Enabled);
    let needs_authorization = c.latched() && !away;
    let tell = |word, reason: &str, since, detail: String, hint: String| Status {
        word,
        reason: reason.to_owned(),
        since,
        detail,
        hint,
        needs_authorization,
    };
    match &c.configured {
        Configured::Enabled => {}
        Configured::Disabled { since } => {
            let hint =
                format!("set `enabled = true` in [connections.{name}], then `crmsync reload`");
            return tell(Word::NotSyncing, "disabled", *since, String::new(), hint);
        }
        Configured::Retired { since } => {
            let detail = "no longer in the configuration".to_owned();
            let hint = format!("crmsync disconnect {name}, or crmsync forget {name}");
            return tell(Word::NotSyncing, "retired", *since, detail, hint);
        }
    }
    if let Pause::Paused { by, since, until, note } = &c.pause {
        let mut detail = format!("by {by}");
        if let Some(until) = until {
            let _ = write!(detail, " until {until:.0}");
        }
        if let Some(note) = note {
            let _ = write!(detail, ": {note}");
        }
        if let Some((reason, ..)) = c.authorization() {
            let _ = write!(detail, "; needs authorization too: {reason}");
        }
        return tell(Word::NotSyncing, "paused", *since, detail, format!("crmsync resume {name}"));
    }
    if let Some(key) = &c.key {
        let hint = "crmsync key status".to_owned();
        return tell(Word::Error, "key missing", key.since, key.text.clone(), hint);
    }
    if let Some((reason, text, since)) = c.authorization() {
        let mut detail = explain(&reason, text);
        if let Grant::Suspect { probe_at, .. } = &c.grant {
            let _ = write!(detail, "; tried once more at {probe_at:.0}");
        }
        let hint = authorization_hint(&reason, name);
        return tell(Word::Error, &reason.to_string(), since.unwrap_or(born), detail, hint);
    }
    if let Some(disk) = &c.disk {
        let hint = format!("make room; the next try is at {:.0}", disk.next);
        return tell(Word::Error, "disk full", disk.since, disk.text.clone(), hint);
    }
    if let Some(replica) = &c.replica {
        let hint = format!("crmsync log {name}; the next try is at {:.0}", replica.next);
        return tell(Word::Error, "replica unavailable", replica.since, replica.text.clone(), hint);
    }
    if let Trouble::Problem { problem, since, next, .. } = &c.trouble {
        let (detail, hint) = problem_words(problem, name, *next);
        return tell(Word::Error, &problem.to_string(), *since, detail, hint);
    }
    if let QuotaHold::Held { limit, used, max, since, next_probe } = &c.hold {
        let mut detail = super::trouble::quota_text(limit, *used, *max);
        if let Some(next) = next_probe {
            let _ = write!(detail, "; looks again at {next:.0}");
        }
        let hint = format!("crmsync quota {name}, or crmsync sync {name} --despite-quota");
        return tell(Word::NotSyncing, "quota", *since, detail, hint);
    }
    if !c.deletes_held.is_empty() {
        let list: Vec<String> = c.deletes_held.iter().map(|(o, n)| format!("{o}: {n}")).collect();
        let hint = format!("crmsync approve {name}");
        let since = c.last_success.unwrap_or(born);
        return tell(Word::Active, "deletes held for approval", since, list.join(", "), hint);
    }
    let (reason, since) = match &c.activity {
        Activity::Running { phase, since, .. } => (
            match phase {
                Phase::Syncing => "syncing",
                Phase::Loading => "loading",
                Phase::CatchingUp => "catching up",
            },
            *since,
        ),
        Activity::Starting { since, .. } => (if c.loading { "loading" } else { "syncing" }, *since),
        Activity::Idle => {
            if let Trouble::Retrying { what, since, next, attempts } = &c.trouble {
                let detail = format!("tries again at {next:.0} ({attempts} so far): {what}");
                return tell(Word::Active, "retrying", *since, detail, String::new());
            }
            let since = c.last_success.unwrap_or(born);
            if !c.differs.is_empty() {
                let list: Vec<String> =
                    c.differs.iter().map(|(o, text)| format!("{o}: {text}")).collect();
                let reason = "copy differs from the source";
                let hint = format!("crmsync sync {name} --full");
                return tell(Word::Active, reason, since, list.join(", "), hint);
            }
            (if c.loading { "loading" } else { "idle" }, since)
        }
    };
    let list: Vec<String> = c.objects.iter().map(|(o, t)| format!("{o}: {}", t.text)).collect();
    let hint = if list.is_empty() { String::new() } else { format!("crmsync test {name}") };
    tell(Word::Active, reason, since, list.join("; "), hint)
}

/// A reason in plain words: what happened and who must do what.
pub(super) fn explain(reason: &Reason, text: &str) -> String {
    let words = match reason {
        Reason::NeverAuthorized => "nobody has authorized this connection yet".to_owned(),
        Reason::GrantRevoked => {
            "the provider says that the grant was revoked or is no longer valid; another approval \
             of this app by the same user may have displaced it"
                .to_owned()
        }
        Reason::GrantExpired => "the provider says that the grant has run out".to_owned(),
        Reason::GrantLostWhileRotating => {
            "the daemon was cut off while the grant was being renewed, and the old one no longer \
             works"
                .to_owned()
        }
        Reason::CredentialsChanged => "the stored password no longer opens the account".to_owned(),
        Reason::UserDeactivated => {
            "the connected user was deactivated; reactivate it or authorize as another".to_owned()
        }
        Reason::PermissionsMissing { missing } => {
            format!("the connected user lacks: {}", missing.join(", "))
        }
        Reason::AppBlocked => {
            "the app is blocked or not installed; an admin of the org must allow it".to_owned()
        }
        Reason::WrongOrg { expected, found, refreshed_sandbox } => format!(
            "the credential opens org {found}, pinned is {expected}{}",
            if *refreshed_sandbox { "; the sandbox seems to have been refreshed" } else { "" }
        ),
        Reason::WrongAccount { expected, found } => {
            format!("authorized as {found}, so far it was {expected}; confirm or reject")
        }
        Reason::DisconnectedByAdmin => "an admin disconnected it".to_owned(),
        Reason::ClientSecretExpired => {
            "the provider refuses the app's client secret; a new one is needed".to_owned()
        }
    };
    if text.is_empty() { words } else { format!("{words} ({text})") }
}

fn authorization_hint(reason: &Reason, name: &str) -> String {
    match reason {
        Reason::WrongAccount { .. } => {
            format!(
                "crmsync status {name} shows the ID, then crmsync reauthorize confirm ID or reject ID"
            )
        }
        Reason::ClientSecretExpired => {
            format!("crmsync secret set {name} client_secret, then crmsync test {name}")
        }
        Reason::PermissionsMissing { .. } | Reason::UserDeactivated | Reason::AppBlocked => {
            format!(
                "mend it at the provider, then crmsync test {name}; or crmsync reauthorize {name}"
            )
        }
        Reason::WrongOrg { .. } => format!(
            "check the log-in address and org_id of {name}, then crmsync reauthorize {name}"
        ),
        Reason::NeverAuthorized
        | Reason::GrantRevoked
        | Reason::GrantExpired
        | Reason::GrantLostWhileRotating
        | Reason::CredentialsChanged
        | Reason::DisconnectedByAdmin => format!("crmsync reauthorize {name}"),
    }
}

fn problem_words(problem: &Problem, name: &str, next: Time) -> (String, String) {
    let again = format!("the next try is at {next:.0}");
    match problem {
        Problem::Misconfigured { what } => {
            (what.clone(), format!("mend [connections.{name}], then `crmsync reload`; {again}"))
        }
        Problem::AddressNotAllowed { what } => (
            what.clone(),
            format!("allow this host's address at the provider, then crmsync sync {name}; {again}"),
        ),
        Problem::OrgSuspended { what } => {
            (what.clone(), format!("ask the provider; then crmsync sync {name}; {again}"))
        }
        Problem::ProviderFailing { what, .. } => {
            (what.clone(), format!("crmsync test {name}; {again}"))
        }
        Problem::ReplicaUnavailable { what }
        | Problem::DiskFull { what }
        | Problem::NeedsAttention { what } => {
            (what.clone(), format!("crmsync log {name}; then crmsync sync {name}; {again}"))
        }
        Problem::KeyMissing => (String::new(), "crmsync key status".to_owned()),
    }
}
