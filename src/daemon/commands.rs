//! The commands of the control socket, carried out on supervisor and connections.

use super::actor::view::{quota_status, run_line};
use super::actor::{Handle, Message};
use super::configuration;
use super::env;
use super::outbox::{DAEMON, SMTP_PASSWORD};
use super::supervisor::{ReloadError, Supervisor};
use super::systemd;
use super::testing;
use super::vault::VaultSlot;
use crate::control::protocol::{
    AuditLine, Caller, Commands, ConnectionDetail, ConnectionStatus, DaemonStatus, Event,
    ForgetRequest, GrantReply, KeyStatus, MailLine, NoticeLine, PauseRequest, QuotaStatus,
    ReauthorizeReply, ReauthorizeRequest, Refusal, RefusalCode, ReloadReply, RenameRequest, Reply,
    RequestLine, RunLine, SCHEMA_VERSION, SourceObject, StatusReply, SyncRequest, TestReply,
};
use crate::mail;
use crate::store::vault::KeyPlace;
use crate::store::{AuditLine as StoredAudit, Change, StoreError};
use crmsync_core::domain::ConnectionName;
use crmsync_core::notice::Notices;
use crmsync_core::reauth::Request;
use jiff::SignedDuration;
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;

/// The daemon's side of the socket.
pub struct Desk {
    supervisor: Arc<Supervisor>,
    config_dir: PathBuf,
}

fn store(what: &str, error: &StoreError) -> Refusal {
    Refusal::new(RefusalCode::Unavailable, format!("{what}: {error}"))
}

impl Desk {
    /// Over the supervisor; reloads read `config_dir`.
    pub fn new(supervisor: Arc<Supervisor>, config_dir: PathBuf) -> Self {
        Self { supervisor, config_dir }
    }

    fn handle(&self, name: &str) -> Result<(ConnectionName, Handle), Refusal> {
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

    fn retired(&self) -> Result<Vec<ConnectionStatus>, StoreError> {
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

    fn warnings(&self) -> Vec<String> {
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

    async fn lines(&self, all: bool) -> Result<Vec<ConnectionStatus>, Refusal> {
        let handles = self.supervisor.handles();
        let asked = handles.iter().map(|(_, handle)| handle.status());
        let mut lines: Vec<_> =
            futures_util::future::join_all(asked).await.into_iter().flatten().collect();
        if all {
            lines.extend(self.retired().map_err(|e| store("reading status", &e))?);
        }
        Ok(lines)
    }

    /// The connection whose open request has this id.
    fn by_request(&self, id: &str) -> Result<Handle, Refusal> {
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

    fn audit(&self, by: &Caller, name: Option<&str>, what: &str) {
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

    async fn reload_now(&self) -> Result<ReloadReply, Refusal> {
        systemd::reloading();
        let result = self.try_reload().await;
        let status = summary(&self.lines(false).await.unwrap_or_default());
        systemd::ready(&status);
        if let Err(refusal) = &result {
            tracing::error!("{}", refusal.message);
        }
        result
    }

    async fn try_reload(&self) -> Result<ReloadReply, Refusal> {
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
    pub async fn summary(&self) -> String {
        summary(&self.lines(false).await.unwrap_or_default())
    }

    fn do_forget(&self, name: &str, with_data: bool) -> Result<(), Refusal> {
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
        let replica = shared.replica_dir.join(format!("{name}.db"));
        let used = replica.exists();
        if used && !with_data {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format!("{what}: a sync has used it: its data is in {}", replica.display()),
            )
            .hint(format!("crmsync forget {name} --with-data removes that too")));
        }
        shared.store.forget(&row.id).map_err(|e| store(&what, &e))?;
        if used {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let path = PathBuf::from(format!("{}{suffix}", replica.display()));
                match std::fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => {
                        let text = format!("{what}: removing {}: {e}", path.display());
                        return Err(Refusal::new(RefusalCode::Failed, text));
                    }
                }
            }
        }
        Ok(())
    }

    async fn do_rename(&self, old: &str, new: &str) -> Result<(), Refusal> {
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
        let path = |n: &ConnectionName| shared.replica_dir.join(format!("{n}.db"));
        if path(&to).exists() {
            let text = format!("{what}: {} is there already", path(&to).display());
            return Err(Refusal::new(RefusalCode::Conflict, text));
        }
        // All that can be refused is refused before the connection is stopped.
        let rows = shared.store.connections().map_err(|e| store(&what, &e))?;
        if !rows.iter().any(|c| c.name == old) {
            let text = format!("{what}: there is no such connection");
            return Err(Refusal::new(RefusalCode::NotFound, text).hint("crmsync connections"));
        }
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
        shared.store.rename(old, new).map_err(|e| {
            // It goes on under its old name, with the next reload.
            self.supervisor.not_running(&from);
            if matches!(e, StoreError::UnknownConnection(_)) {
                return Refusal::new(RefusalCode::NotFound, e.to_string())
                    .hint("crmsync connections");
            }
            store(&what, &e)
        })?;
        // The name is the link between store and file: whoever dies here finds the file under its
        // old name at the next start, see `Supervisor::apply`.
        // A reader that holds the file may have kept it in WAL mode: its parts go together.
        for part in ["-wal", "-shm"] {
            let part = |n: &ConnectionName| PathBuf::from(format!("{}{part}", path(n).display()));
            if let Err(error) = std::fs::rename(part(&from), part(&to))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(connection = %from, %error, "moving a part of the replica");
            }
        }
        if path(&from).exists()
            && let Err(e) = std::fs::rename(path(&from), path(&to))
        {
            self.supervisor.not_running(&from);
            let text = format!("{what}: the replica could not be moved: {e}");
            return Err(Refusal::new(RefusalCode::Failed, text).hint(format!(
                "move {} to {} by hand",
                path(&from).display(),
                path(&to).display()
            )));
        }
        self.supervisor.renamed(&from, &to).map_err(|e| store(&what, &e))?;
        Ok(())
    }

    fn do_key_status(&self) -> Result<KeyStatus, Refusal> {
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

    async fn do_notify_test(&self, by: &Caller, to: Option<String>) -> Result<MailLine, Refusal> {
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

    fn smtp_password(&self, value: &SecretString) -> Result<(), Refusal> {
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
fn summary(lines: &[ConnectionStatus]) -> String {
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

impl Commands for Desk {
    fn status(&self, name: Option<String>, all: bool) -> Reply<'_, StatusReply> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let every = self.lines(false).await?;
            let connections = match name {
                Some(name) => {
                    let (_, handle) = self.handle(&name)?;
                    handle.status().await.into_iter().collect()
                }
                None => self.lines(all).await?,
            };
            Ok(StatusReply {
                schema: SCHEMA_VERSION,
                daemon: DaemonStatus {
                    version: env!("CARGO_PKG_VERSION").into(),
                    pid: std::process::id(),
                    started: shared.started,
                    summary: summary(&every),
                    warnings: self.warnings(),
                    generation: shared.generation(),
                },
                connections,
            })
        })
    }

    fn detail(&self, name: String) -> Reply<'_, ConnectionDetail> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Detail(Box::new(answer))).await
        })
    }

    fn sync(&self, by: Caller, name: String, request: SyncRequest) -> Reply<'_, RunLine> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Sync(by, request, answer)).await
        })
    }

    fn pause(
        &self,
        by: Caller,
        name: String,
        request: PauseRequest,
    ) -> Reply<'_, ConnectionStatus> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Pause(by, request, answer)).await
        })
    }

    fn resume(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Resume(by, answer)).await
        })
    }

    fn test(&self, by: Caller, name: String) -> Reply<'_, TestReply> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            self.audit(&by, Some(&name), "test");
            let subject = handle.ask(Message::Subject).await?;
            let generation = subject.generation;
            let (reply, learned) = testing::test(subject).await;
            if let Some(result) = learned.proved {
                handle.send(Message::Probed(generation, result));
            }
            if learned.sight_changed {
                handle.send(Message::SightChanged);
            }
            Ok(reply)
        })
    }

    fn reauthorize(
        &self,
        by: Caller,
        name: String,
        request: ReauthorizeRequest,
    ) -> Reply<'_, ReauthorizeReply> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Reauthorize(by, request, answer)).await
        })
    }

    fn callback(
        &self,
        by: Caller,
        request: String,
        redirected: SecretString,
    ) -> Reply<'_, GrantReply> {
        Box::pin(async move {
            let handle = self.by_request(&request)?;
            handle.ask(|answer| Message::Callback(by, redirected, answer)).await
        })
    }

    fn password(
        &self,
        by: Caller,
        request: String,
        password: SecretString,
    ) -> Reply<'_, GrantReply> {
        Box::pin(async move {
            let handle = self.by_request(&request)?;
            handle.ask(|answer| Message::Password(by, password, answer)).await
        })
    }

    fn confirm(&self, by: Caller, request: String) -> Reply<'_, GrantReply> {
        Box::pin(async move {
            let handle = self.by_request(&request)?;
            handle.ask(|answer| Message::Confirm(by, answer)).await
        })
    }

    fn reject(&self, by: Caller, request: String) -> Reply<'_, RequestLine> {
        Box::pin(async move {
            let handle = self.by_request(&request)?;
            handle.ask(|answer| Message::Reject(by, answer)).await
        })
    }

    fn set_secret(
        &self,
        by: Caller,
        name: String,
        key: String,
        value: SecretString,
    ) -> Reply<'_, ()> {
        Box::pin(async move {
            // The mail server's password belongs to no connection: `secret set daemon smtp_password`.
            if name == DAEMON && key == SMTP_PASSWORD {
                self.audit(&by, None, "secret set smtp_password");
                return self.smtp_password(&value);
            }
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::SetSecret(by, key, value, answer)).await
        })
    }

    fn disconnect(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Disconnect(by, answer)).await
        })
    }

    fn approve(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            handle.ask(|answer| Message::Approve(by, answer)).await
        })
    }

    fn forget(&self, by: Caller, name: String, request: ForgetRequest) -> Reply<'_, ()> {
        Box::pin(async move {
            self.do_forget(&name, request.with_data)?;
            self.audit(
                &by,
                Some(&name),
                if request.with_data { "forget --with-data" } else { "forget" },
            );
            Ok(())
        })
    }

    fn rename(&self, by: Caller, name: String, request: RenameRequest) -> Reply<'_, ()> {
        Box::pin(async move {
            self.do_rename(&name, &request.to).await?;
            self.audit(&by, Some(&name), &format!("rename to {}", request.to));
            Ok(())
        })
    }

    fn fields(&self, name: String, search: Option<String>) -> Reply<'_, Vec<SourceObject>> {
        Box::pin(async move {
            let (_, handle) = self.handle(&name)?;
            let subject = handle.ask(Message::Subject).await?;
            testing::fields(subject, search.as_deref()).await
        })
    }

    fn runs(&self, name: Option<String>, limit: usize) -> Reply<'_, Vec<RunLine>> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let limit = u32::try_from(limit.min(1000)).unwrap_or(1000);
            let mut lines = Vec::new();
            for c in shared.store.connections().map_err(|e| store("reading the log", &e))? {
                if name.as_ref().is_none_or(|n| *n == c.name) {
                    let runs = shared
                        .store
                        .runs(&c.id, limit)
                        .map_err(|e| store("reading the log", &e))?;
                    lines.extend(runs.iter().map(|r| run_line(&c.name, r)));
                }
            }
            if let Some(name) = &name
                && lines.is_empty()
            {
                self.handle(name)?;
            }
            lines.sort_by_key(|l| std::cmp::Reverse(l.ended));
            lines.truncate(limit as usize);
            Ok(lines)
        })
    }

    fn run(&self, id: String) -> Reply<'_, RunLine> {
        Box::pin(async move {
            let none = || {
                Refusal::new(RefusalCode::NotFound, format!("there is no run `{id}`"))
                    .hint("crmsync log NAME lists them")
            };
            let shared = self.supervisor.shared();
            let reading = |e| store("reading the log", &e);
            let mut stored = match id.parse::<i64>() {
                Ok(number) => shared.store.run(number).map_err(reading)?,
                Err(_) => None,
            };
            if stored.is_none() {
                stored = shared.store.run_named(&id).map_err(reading)?;
            }
            let stored = stored.ok_or_else(none)?;
            let names = shared.store.connections().map_err(|e| store("reading the log", &e))?;
            let name = names.into_iter().find(|c| c.id == stored.run.connection);
            Ok(run_line(&name.map(|c| c.name).unwrap_or_default(), &stored))
        })
    }

    fn notices(&self, name: Option<String>, all: bool) -> Reply<'_, Vec<NoticeLine>> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let docs = shared.store.docs("notices").map_err(|e| store("reading notices", &e))?;
            let names = shared.store.connections().map_err(|e| store("reading notices", &e))?;
            let mut lines = Vec::new();
            for (id, _, json) in docs {
                let Some(row) = names.iter().find(|c| c.id == id) else { continue };
                if name.as_ref().is_some_and(|n| *n != row.name) {
                    continue;
                }
                let Ok(notices) = serde_json::from_str::<Notices>(&json) else { continue };
                let Ok(connection) = ConnectionName::parse(&row.name) else { continue };
                let line = |c| super::actor::view::notice_line(&connection, c);
                if all {
                    lines.extend(notices.list().map(line));
                } else {
                    lines.extend(notices.open().map(line));
                }
            }
            lines.sort_by_key(|l| std::cmp::Reverse(l.opened));
            Ok(lines)
        })
    }

    fn mails(&self, limit: usize) -> Reply<'_, Vec<MailLine>> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let limit = u32::try_from(limit.min(1000)).unwrap_or(1000);
            let rows = shared.store.mails(limit).map_err(|e| store("reading mails", &e))?;
            Ok(rows
                .into_iter()
                .map(|m| MailLine {
                    message_id: m.message_id,
                    to: vec![m.to],
                    subject: m.subject,
                    created: m.created,
                    state: match m.error {
                        Some(error) if m.ended.is_none() => format!("retrying: {error}"),
                        Some(error) if m.state == crate::store::MailState::Failed => {
                            format!("failed: {error}")
                        }
                        Some(_) | None => m.state.word().to_owned(),
                    },
                })
                .collect())
        })
    }

    fn audit(&self, limit: usize) -> Reply<'_, Vec<AuditLine>> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let limit = u32::try_from(limit.min(10_000)).unwrap_or(10_000);
            let rows =
                shared.store.audit(None, limit).map_err(|e| store("reading the audit log", &e))?;
            Ok(rows
                .into_iter()
                .map(|r| AuditLine {
                    at: r.line.at,
                    uid: r.line.uid,
                    user: r.line.actor,
                    connection: r.line.connection,
                    what: r.line.what,
                })
                .collect())
        })
    }

    fn quota(&self, name: Option<String>) -> Reply<'_, Vec<QuotaStatus>> {
        Box::pin(async move {
            let wanted = match &name {
                Some(name) => Some(self.handle(name)?.1.id),
                None => None,
            };
            let shared = self.supervisor.shared();
            let handles = self.supervisor.handles();
            let mut lines = Vec::new();
            for gate in shared.meters.all() {
                let members = gate.members();
                if members.is_empty() || wanted.as_ref().is_some_and(|id| !members.contains(id)) {
                    continue;
                }
                let names: Vec<String> = handles
                    .iter()
                    .filter(|(_, h)| members.contains(&h.id))
                    .map(|(n, _)| n.to_string())
                    .collect();
                lines.push(quota_status(&gate, &shared.store, &names));
            }
            Ok(lines)
        })
    }

    fn config(&self, origin: bool) -> Reply<'_, String> {
        Box::pin(async move {
            let checked = self.supervisor.checked().ok_or_else(|| {
                Refusal::new(RefusalCode::Unavailable, "no configuration is in force yet")
            })?;
            Ok(crmsync_core::config::show(&checked, origin))
        })
    }

    fn reload(&self, by: Caller) -> Reply<'_, ReloadReply> {
        Box::pin(async move {
            let result = self.reload_now().await;
            self.audit(&by, None, if result.is_ok() { "reload" } else { "reload (refused)" });
            result
        })
    }

    fn notify_test(&self, by: Caller, to: Option<String>) -> Reply<'_, MailLine> {
        Box::pin(async move {
            self.audit(&by, None, "notify test");
            self.do_notify_test(&by, to).await
        })
    }

    fn key_status(&self) -> Reply<'_, KeyStatus> {
        Box::pin(async move { self.do_key_status() })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.supervisor.shared().events.subscribe()
    }
}
