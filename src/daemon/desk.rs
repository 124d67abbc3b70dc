//! The daemon's side of the socket: what commands need beyond one connection (lookups, reload,
//! rename, forget, the key, a test mail).

use super::actor::{Handle, Message};
use super::configuration;
use super::copy::aside;
use super::env;
use super::outbox::{DAEMON, SMTP_PASSWORD};
use super::supervisor::{ReloadError, Supervisor};
use super::systemd;
use super::vault::VaultSlot;
use crate::control::protocol::{
    Caller, ConnectionStatus, KeyStatus, Line, MailLine, Refusal, RefusalCode, ReloadReply,
};
use crate::mail;
use crate::replica::{self, ReplicaError};
use crate::store::vault::KeyPlace;
use crate::store::{AuditLine as StoredAudit, Change, StoreError};
use crmsync_core::domain::ConnectionName;
use crmsync_core::reauth::Request;
use jiff::SignedDuration;
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;

/// The daemon's side of the socket.
pub struct Desk {
    pub(super) supervisor: Arc<Supervisor>,
    config_dir: PathBuf,
}

pub(super) fn store(what: &str, error: &StoreError) -> Refusal {
    Refusal::new(RefusalCode::Unavailable, format!("{what}: {error}"))
}

impl Desk {
    /// Over the supervisor; reloads read `config_dir`.
    pub fn new(supervisor: Arc<Supervisor>, config_dir: PathBuf) -> Self {
        Self { supervisor, config_dir }
    }

    pub(super) fn handle(&self, name: &str) -> Result<(ConnectionName, Handle), Refusal> {
        let parsed = ConnectionName::parse(name)
            .map_err(|e| Refusal::new(RefusalCode::Invalid, e.to_string()))?;
        match self.supervisor.handle(&parsed) {
            Some(handle) => Ok((parsed, handle)),
            None => Err(Refusal::new(
                RefusalCode::NotFound,
                format!("there is no connection `{name}` in the configuration"),
            )
            .hint("crmsync connections")),
        }
    }

    pub(super) fn retired(&self) -> Result<Vec<ConnectionStatus>, StoreError> {
        let shared = self.supervisor.shared();
        let all = shared.store.connections()?;
        Ok(all
            .into_iter()
            .filter_map(|c| {
                let since = c.retired?;
                Some(ConnectionStatus {
                    hint: format!("crmsync forget {}", c.name),
                    name: c.name,
                    provider: String::new(),
                    status: "Not syncing".into(),
                    reason: "retired".into(),
                    since,
                    detail: "no longer in the configuration; its grant stays sealed and unused"
                        .into(),
                    needs_authorization: false,
                    caught_up_to: None,
                    deletes_to: None,
                    rows: 0,
                    next_run: None,
                    retired: true,
                })
            })
            .collect())
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let shared = self.supervisor.shared();
        let mut warnings = Vec::new();
        match shared.vault.open() {
            Ok(vault) => {
                if matches!(vault.key_place(), KeyPlace::StateFile(_)) {
                    warnings.push(
                        "the master key lies beside the data (`crmsync key init` moves it)".into(),
                    );
                }
            }
            Err(error) => warnings.push(error.to_string()),
        }
        let notify = shared.notify();
        if notify.smtp.is_none() {
            warnings.push("no mail can leave: [notify.smtp] is not configured".into());
        }
        let week = SignedDuration::from_hours(24 * 7);
        let since = shared.env.now().checked_sub(week).unwrap_or(shared.started);
        if let Ok((waiting, given_up)) = shared.store.mails_in_trouble(since) {
            if waiting > 0 {
                warnings
                    .push(format!("{waiting} mails could not be sent yet (`crmsync mail log`)"));
            }
            if given_up > 0 {
                warnings
                    .push(format!("{given_up} mails were refused for good (`crmsync mail log`)"));
            }
        }
        warnings
    }

    /// A line for each connection that is not being put away.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.supervisor.lines()
    }

    /// The connection whose open request has this id.
    pub(super) fn by_request(&self, id: &str) -> Result<Handle, Refusal> {
        let shared = self.supervisor.shared();
        let docs = shared.store.docs("request").map_err(|e| store("looking up a request", &e))?;
        let found = docs.into_iter().find_map(|(connection, _, json)| {
            let request: Request = serde_json::from_str::<Option<Request>>(&json).ok()??;
            (request.id == id && request.is_open()).then_some(connection)
        });
        let handle = found.and_then(|connection| {
            self.supervisor.handles().into_iter().find(|(_, h)| h.id == connection)
        });
        handle.map(|(_, h)| h).ok_or_else(|| {
            Refusal::new(RefusalCode::NotFound, format!("no open request has the id `{id}`"))
                .hint("crmsync status NAME shows the open one")
        })
    }

    pub(super) fn audit(&self, by: &Caller, name: Option<&str>, what: &str) {
        let shared = self.supervisor.shared();
        let line = StoredAudit {
            at: shared.env.now(),
            actor: by.user.clone(),
            uid: Some(by.uid),
            connection: name.map(str::to_owned),
            what: what.to_owned(),
            detail: String::new(),
        };
        let change = Change { audit: vec![line], ..Change::default() };
        if let Err(error) = shared.store.apply(change) {
            tracing::error!(%error, what, "the audit line was not stored");
        }
    }

    pub(super) async fn reload_now(&self) -> Result<ReloadReply, Refusal> {
        systemd::reloading();
        let result = self.try_reload().await;
        let status = summary(&self.lines());
        systemd::ready(&status);
        if let Err(refusal) = &result {
            tracing::error!("{}", refusal.message);
        }
        result
    }

    pub(super) async fn try_reload(&self) -> Result<ReloadReply, Refusal> {
        let env = env::config_variables();
        let loaded = configuration::load(&self.config_dir, &env)
            .map_err(|e| Refusal::new(RefusalCode::BadConfig, e.to_string()))?;
        let checked = loaded.result.map_err(|report| {
            let text = report.render(false);
            Refusal::new(
                RefusalCode::BadConfig,
                format!("{text}\nthe configuration was not changed: the old one goes on"),
            )
            .hint("mend the files, then `crmsync check` and `systemctl reload crmsyncd`")
        })?;
        self.supervisor.apply(checked).await.map_err(|e| match e {
            ReloadError::NeedsRestart(_) | ReloadError::Connection { .. } => {
                Refusal::new(RefusalCode::BadConfig, e.to_string())
            }
            ReloadError::Store(_) => Refusal::new(RefusalCode::Unavailable, e.to_string()),
        })
    }

    /// Reload by SIGHUP: the answer is the journal.
    pub async fn hangup(&self) {
        match self.reload_now().await {
            Ok(reply) => tracing::info!(
                added = reply.added.len(),
                removed = reply.removed.len(),
                changed = reply.changed.len(),
                "configuration reloaded"
            ),
            Err(refusal) => tracing::error!("reload refused: {}", refusal.message),
        }
    }

    /// The line that systemd shows.
    pub fn summary(&self) -> String {
        summary(&self.lines())
    }

    pub(super) async fn do_forget(&self, name: &str, with_data: bool) -> Result<(), Refusal> {
        let what = format!("forgetting {name}");
        let parsed = ConnectionName::parse(name)
            .map_err(|e| Refusal::new(RefusalCode::Invalid, e.to_string()))?;
        if self.supervisor.handle(&parsed).is_some() {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format!("{what}: the configuration names it"),
            )
            .hint("take it out of the configuration and reload first"));
        }
        let shared = self.supervisor.shared();
        let rows = shared.store.connections().map_err(|e| store(&what, &e))?;
        let Some(row) = rows.into_iter().find(|c| c.name == name) else {
            return Err(Refusal::new(RefusalCode::NotFound, format!("{what}: there is none"))
                .hint("crmsync status --all"));
        };
        let place = shared.replicas.place(name);
        let unusable =
            |e: ReplicaError| Refusal::new(RefusalCode::Unavailable, format!("{what}: {e}"));
        let there = place.clone();
        let used = aside(&place, move || replica::exists(&there)).await.map_err(unusable)?;
        if used && !with_data {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format!("{what}: a sync has used it: its data is in {place}"),
            )
            .hint(format!("crmsync forget {name} --with-data removes that too")));
        }
        // Data first: whoever dies in between, or is refused, can ask for the same again.
        if used {
            let there = place.clone();
            aside(&place, move || replica::remove(&there))
                .await
                .map_err(|e| Refusal::new(RefusalCode::Failed, format!("{what}: {e}")))?;
        }
        shared.store.forget(&row.id).map_err(|e| store(&what, &e))
    }

    pub(super) async fn do_rename(&self, old: &str, new: &str) -> Result<(), Refusal> {
        let what = format!("renaming {old}");
        let invalid =
            |e: crmsync_core::domain::NameError| Refusal::new(RefusalCode::Invalid, e.to_string());
        let from = ConnectionName::parse(old).map_err(invalid)?;
        let to = ConnectionName::parse(new).map_err(invalid)?;
        let shared = self.supervisor.shared();
        if self.supervisor.handle(&to).is_some() {
            let text = format!("{what}: the configuration has a connection `{new}` already");
            return Err(Refusal::new(RefusalCode::Conflict, text)
                .hint("rename before the edit, then edit and reload"));
        }
        let place = |n: &ConnectionName| shared.replicas.place(n.as_str());
        let there = place(&to);
        let taken = aside(&place(&to), move || replica::exists(&there))
            .await
            .map_err(|e| Refusal::new(RefusalCode::Unavailable, format!("{what}: {e}")))?;
        if taken {
            let text = format!("{what}: {} is there already", place(&to));
            return Err(Refusal::new(RefusalCode::Conflict, text));
        }
        // All that can be refused is refused before the connection is stopped.
        let rows = shared.store.connections().map_err(|e| store(&what, &e))?;
        let Some(row) = rows.iter().find(|c| c.name == old) else {
            let text = format!("{what}: there is no such connection");
            return Err(Refusal::new(RefusalCode::NotFound, text).hint("crmsync connections"));
        };
        if rows.iter().any(|c| c.name == new) {
            let text = format!("{what}: a retired connection has the name `{new}`");
            return Err(
                Refusal::new(RefusalCode::Conflict, text).hint(format!("crmsync forget {new}"))
            );
        }
        // Stopped under the old name; the next reload starts it under the new one.
        if let Some(handle) = self.supervisor.forget_handle(&from) {
            let (done, stopped) = tokio::sync::oneshot::channel();
            handle.send(Message::Shutdown(done));
            let _ = stopped.await;
            // It joins again under its new name; until then it speaks for nobody.
            shared.meters.all().iter().for_each(|gate| gate.leave(&handle.id));
        }
        // Whoever dies between here and the end finds the file under its old name:
        // `Supervisor::apply` brings it after, by this note.
        self.supervisor.note_move(&row.id, Some(&from)).map_err(|e| store(&what, &e))?;
        shared.store.rename(old, new).map_err(|e| {
            // It goes on under its old name, with the next reload.
            self.supervisor.not_running(&from);
            if matches!(e, StoreError::UnknownConnection(_)) {
                return Refusal::new(RefusalCode::NotFound, e.to_string())
                    .hint("crmsync connections");
            }
            store(&what, &e)
        })?;
        if let Err(e) = self.supervisor.finish_move(&row.id, &to).await {
            self.supervisor.not_running(&from);
            let text = format!("{what}: the replica could not be moved: {e}");
            return Err(Refusal::new(RefusalCode::Failed, text).hint(format!(
                "move {} to {} by hand",
                place(&from),
                place(&to)
            )));
        }
        self.supervisor.renamed(&from, &to).map_err(|e| store(&what, &e))?;
        Ok(())
    }

    pub(super) fn do_key_status(&self) -> Result<KeyStatus, Refusal> {
        let shared = self.supervisor.shared();
        let credential = VaultSlot::credential();
        let status = crate::store::vault::key_status(&shared.store, credential.as_deref())
            .map_err(|e| Refusal::new(RefusalCode::Failed, e.to_string()))?;
        let (source, path) = match &status.place {
            Some(place) if status.problem.is_none() => (
                if status.beside_data { "state folder" } else { "credential" },
                place.path().display().to_string(),
            ),
            Some(place) => ("wrong", place.path().display().to_string()),
            None => ("missing", String::new()),
        };
        let warning = match (&status.problem, status.beside_data) {
            (Some(problem), _) => problem.clone(),
            (None, true) => {
                "the key lies beside the data: whoever copies the folder has both".into()
            }
            (None, false) => String::new(),
        };
        Ok(KeyStatus {
            source: source.into(),
            id: status.key_id.unwrap_or_default(),
            path,
            sealed: status.sealed,
            warning,
        })
    }

    pub(super) async fn do_notify_test(
        &self,
        by: &Caller,
        to: Option<String>,
    ) -> Result<MailLine, Refusal> {
        let what = "sending a test mail";
        let shared = self.supervisor.shared();
        let notify = shared.notify();
        let smtp = notify.smtp.as_ref().ok_or_else(|| {
            Refusal::new(RefusalCode::Conflict, format!("{what}: no mail server is configured"))
                .hint("see [notify.smtp] in config/crmsync.toml")
        })?;
        let to = to.or_else(|| notify.admins.first().cloned()).ok_or_else(|| {
            Refusal::new(RefusalCode::Invalid, format!("{what}: nobody to send it to"))
                .hint("crmsync notify test --to ada@example.org")
        })?;
        let letter = mail::Letter {
            id: format!("test.{:016x}", shared.env.random()),
            instance: shared.store.instance_hex(),
            at: shared.env.now(),
            from: smtp.from.clone(),
            to,
            host: shared.host.clone(),
            thread: None,
            kind: mail::Kind::Test { by: by.user.clone() },
        };
        let mail = mail::compose(&letter)
            .map_err(|e| Refusal::new(RefusalCode::Invalid, format!("{what}: {e}")))?;
        let password = super::outbox::password(shared, smtp)
            .map_err(|e| Refusal::new(RefusalCode::Failed, format!("{what}: {e}")))?;
        // Not by the outbox: who tests wants to know at once, and by whose fault.
        mail::send(smtp, password.as_ref(), &mail)
            .await
            .map_err(|e| Refusal::new(RefusalCode::Failed, e.to_string()))?;
        Ok(MailLine {
            message_id: mail.message_id,
            to: vec![mail.to],
            subject: mail.subject,
            created: mail.created,
            state: "sent".into(),
        })
    }

    pub(super) fn smtp_password(&self, value: &SecretString) -> Result<(), Refusal> {
        let what = "setting the mail password";
        let shared = self.supervisor.shared();
        let vault = shared.vault.open().map_err(|e| {
            Refusal::new(RefusalCode::Unavailable, e.to_string()).hint("crmsync key status")
        })?;
        let sealed = vault
            .put(DAEMON, SMTP_PASSWORD, value)
            .map_err(|e| Refusal::new(RefusalCode::Failed, format!("{what}: {e}")))?;
        shared
            .store
            .apply(Change { secrets: vec![sealed], ..Change::default() })
            .map_err(|e| store(what, &e))?;
        shared.outbox.notify_one();
        Ok(())
    }
}

/// `3 connections: 2 active, 1 error`.
pub(super) fn summary(lines: &[Line]) -> String {
    let count = |word: &str| lines.iter().filter(|l| l.status == word).count();
    let mut parts = Vec::new();
    for (word, label) in [("Error", "error"), ("Not syncing", "not syncing"), ("Active", "active")]
    {
        let n = count(word);
        if n > 0 {
            parts.push(format!("{n} {label}"));
        }
    }
    match lines.len() {
        0 => "no connections are configured".into(),
        1 => format!("1 connection: {}", parts.join(", ")),
        n => format!("{n} connections: {}", parts.join(", ")),
    }
}
