//! The commands of the control socket, carried out on supervisor and connections.

use super::actor::Message;
use super::actor::view::{quota_status, run_line};
use super::desk::{Desk, store, summary};
use super::outbox::{DAEMON, SMTP_PASSWORD};
use super::testing;
use crate::control::protocol::{
    AuditLine, Caller, Commands, ConnectionDetail, ConnectionStatus, DaemonStatus, Event,
    ForgetRequest, GrantReply, KeyStatus, Line, MailLine, NoticeLine, PauseRequest, QuotaStatus,
    ReauthorizeReply, ReauthorizeRequest, Refusal, RefusalCode, ReloadReply, RenameRequest, Reply,
    RequestLine, RunLine, SCHEMA_VERSION, SourceObject, StatusReply, SyncRequest, TestReply,
};
use crmsync_core::domain::ConnectionName;
use crmsync_core::notice::Notices;
use secrecy::SecretString;
use tokio::sync::broadcast;

impl Commands for Desk {
    fn status(&self, name: Option<String>, all: bool) -> Reply<'_, StatusReply> {
        Box::pin(async move {
            let shared = self.supervisor.shared();
            let mut every = self.lines();
            let summary = summary(&every);
            let connections = match name {
                Some(name) => {
                    let (_, handle) = self.handle(&name)?;
                    handle.status().await.map(Line::from).into_iter().collect()
                }
                None => {
                    if all {
                        let retired = self.retired().map_err(|e| store("reading status", &e))?;
                        every.extend(retired.into_iter().map(Line::from));
                    }
                    every
                }
            };
            Ok(StatusReply {
                schema: SCHEMA_VERSION,
                daemon: DaemonStatus {
                    version: env!("CARGO_PKG_VERSION").into(),
                    pid: std::process::id(),
                    started: shared.started,
                    summary,
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
            self.do_forget(&name, request.with_data).await?;
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
