//! Events in, one transaction out, then the effects.

use super::{Actor, Answer};
use crate::control::protocol::{
    Caller, ConnectionStatus, Event as Told, Line, Refusal, RefusalCode,
};
use crate::store::{AuditLine, Change, Doc, StoreError};
use crmsync_core::connection::{self, Closed, Effect, Event};
use crmsync_core::domain::{Concern, Time};
use crmsync_core::notice::Notices;
use crmsync_core::reauth::{self, How, Request};
use jiff::SignedDuration;
use serde::Serialize;
use std::sync::PoisonError;

/// What is told beside the events: concerns that only the shell sees.
#[derive(Default)]
pub(super) struct Extra {
    /// Stored in the same transaction.
    pub change: Change,
    /// Concerns that hold.
    pub raise: Vec<(Concern, String)>,
    /// Concerns that hold no longer.
    pub clear: Vec<Concern>,
    /// A request that was moved on by its own transitions.
    pub request: Option<Request>,
    /// Fresh summary of the replica.
    pub summary: Option<Vec<super::ObjectSummary>>,
}

impl Actor {
    /// Takes events; what cannot be stored is told in `status` and tried again.
    pub(super) fn take(&mut self, events: &[Event], change: Change) {
        let extra = Extra { change, ..Extra::default() };
        if let Err(error) = self.apply(events, extra) {
            self.not_stored(&error);
        }
    }

    /// The store refused: nothing has changed. Looked at again soon.
    pub(super) fn not_stored(&mut self, error: &StoreError) {
        tracing::error!(connection = %self.name, %error, "the state could not be stored");
        let now = self.shared.env.now();
        self.store_retry = now.checked_add(SignedDuration::from_secs(5)).ok();
        // In memory only, so that `status` tells; the next event that is stored keeps it.
        let text = error.to_string();
        if !matches!(error, StoreError::DiskFull { .. } | StoreError::ReadOnly { .. }) {
            return;
        }
        let event = Event::DiskFull { text };
        let (state, _) = connection::step(&self.state, &event, now, &self.rules());
        self.state.disk = state.disk;
        self.publish();
    }

    /// Takes events: the state they lead to, its notices, mails, requests and audit lines become
    /// true together, or nothing does. Then the effects are carried out.
    pub(super) fn apply(&mut self, events: &[Event], extra: Extra) -> Result<(), StoreError> {
        let now = self.shared.env.now();
        let rules = self.rules();
        let mut state = self.state.clone();
        let mut effects = Vec::new();
        if state.disk.is_some() && self.store_retry.is_some() {
            // The store was full: whoever gets as far as storing has a disk again. A full disk of
            // the replica is ended by a run alone.
            let (next, more) = connection::step(&state, &Event::DiskBack, now, &rules);
            state = next;
            effects.extend(more);
        }
        for event in events {
            let (next, more) = connection::step(&state, event, now, &rules);
            state = next;
            effects.extend(more);
        }
        let mut change = extra.change;
        let mut notices = self.notices.clone();
        let mut request = extra.request.or_else(|| self.request.clone());
        let notice_rules = self.shared.notice_rules();
        for (concern, text) in &extra.raise {
            notices.raise(concern, text, now, &notice_rules);
        }
        for concern in &extra.clear {
            notices.clear(concern, now);
        }
        let mut todo = Vec::new();
        for effect in effects {
            match effect {
                Effect::OpenRequest { generation, reason, text } => {
                    let id = self.new_request_id();
                    let (new, _superseded) = reauth::open(
                        request.as_ref(),
                        &id,
                        &self.id,
                        generation,
                        &reason,
                        &text,
                        now,
                    );
                    request = Some(new);
                }
                Effect::CloseRequest(how) => {
                    if let Some(open) = request.as_ref().filter(|r| r.is_open()) {
                        request = Some(open.close(closed(how), now));
                    }
                }
                Effect::Raise { concern, text } => {
                    notices.raise(&concern, &text, now, &notice_rules);
                }
                Effect::Clear(concern) => notices.clear(&concern, now),
                Effect::WithdrawAll => notices.withdraw_all(now),
                Effect::Audit { by, text } => {
                    let uid = self.caller.as_ref().filter(|c| c.user == by).map(|c| c.uid);
                    change.audit.push(self.audit_line(uid, &by, &text));
                }
                Effect::StartRun { .. }
                | Effect::StopRun(_)
                | Effect::ProbeGrantAt(_)
                | Effect::WakeAt(_)
                | Effect::Refuse(_) => todo.push(effect),
            }
        }
        let letters = notices.due(now, &notice_rules);
        let mails = self.mails(&letters, &state, &notices, now);
        let any_mail = !mails.is_empty();
        change.mails.extend(mails);
        let changed = |old: &dyn erased::Json, new: &dyn erased::Json| old.json() != new.json();
        let new_state = changed(&self.state, &state) || self.version == 0;
        if new_state {
            change.docs.push(self.doc("connection", self.version, &state));
        }
        let new_notices = changed(&self.notices, &notices);
        if new_notices {
            change.docs.push(self.doc("notices", self.notices_version, &notices));
        }
        let new_request = changed(&self.request, &request);
        if new_request {
            change.docs.push(self.doc("request", self.request_version, &request));
        }
        if let Some(summary) = &extra.summary {
            let version = self.shared.store.doc("summary", &self.id)?.map_or(0, |d| d.0);
            change.docs.push(self.doc("summary", version, summary));
        }
        let nothing = change.docs.is_empty()
            && change.mails.is_empty()
            && change.audit.is_empty()
            && change.runs.is_empty()
            && change.due.is_empty()
            && change.secrets.is_empty()
            && change.drop_docs.is_empty()
            && change.refresh.is_empty();
        if !nothing {
            tokio::task::block_in_place(|| self.shared.store.apply(change))?;
            self.version += u64::from(new_state);
            self.notices_version += u64::from(new_notices);
            self.request_version += u64::from(new_request);
        }
        self.store_retry = None;
        self.state = state;
        if new_notices {
            self.tell_notices(&notices);
        }
        self.notices = notices;
        self.request = request;
        if let Some(summary) = extra.summary {
            self.summary = summary;
        }
        if any_mail {
            self.shared.outbox.notify_one();
        }
        for effect in todo {
            self.carry_out(effect);
        }
        self.publish();
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::StartRun { despite_quota } => self.start_run(despite_quota),
            Effect::StopRun(why) => self.cancel_run(why),
            Effect::ProbeGrantAt(at) => self.probe_at = Some(at),
            // The task looks at its own clock after every event.
            Effect::WakeAt(_) => {}
            // Told to the asker by `sync`, which reads it from the state.
            Effect::Refuse(_)
            | Effect::OpenRequest { .. }
            | Effect::CloseRequest(_)
            | Effect::Raise { .. }
            | Effect::Clear(_)
            | Effect::WithdrawAll
            | Effect::Audit { .. } => {}
        }
    }

    fn new_request_id(&self) -> String {
        // Short enough to type; unique among the few that are ever open.
        format!("r{:010x}", self.shared.env.random() & 0xff_ffff_ffff)
    }

    pub(super) fn doc<T: Serialize>(&self, kind: &'static str, version: u64, value: &T) -> Doc {
        let json = serde_json::to_string(value).unwrap_or_default();
        Doc { kind, key: self.id.clone(), version, json }
    }

    pub(super) fn audit_line(&self, uid: Option<u32>, by: &str, what: &str) -> AuditLine {
        AuditLine {
            at: self.shared.env.now(),
            actor: by.to_owned(),
            uid,
            connection: Some(self.name.to_string()),
            what: what.to_owned(),
            detail: String::new(),
        }
    }

    /// A command that is one event, which writes its own audit line; answered with the status.
    pub(super) fn command(
        &mut self,
        by: &Caller,
        what: &str,
        event: Event,
        answer: Answer<ConnectionStatus>,
    ) {
        let done = self.apply_for(by, &[event], Extra::default());
        let _ = answer.send(match done {
            Ok(()) => Ok(self.status()),
            Err(error) => {
                self.not_stored(&error);
                Err(refused(what, &error))
            }
        });
    }

    /// Takes events that somebody asked for: the audit lines they write get the asker's uid.
    pub(super) fn apply_for(
        &mut self,
        by: &Caller,
        events: &[Event],
        extra: Extra,
    ) -> Result<(), StoreError> {
        self.caller = Some(by.clone());
        let done = self.apply(events, extra);
        self.caller = None;
        done
    }

    /// Tells a changed status to listeners, journal and systemd.
    pub(super) fn publish(&mut self) {
        let status = Line::from(self.status());
        let differs = self.last_status.as_ref().is_none_or(|old| {
            (&old.status, &old.reason, old.caught_up_to, old.rows)
                != (&status.status, &status.reason, status.caught_up_to, status.rows)
        });
        if !differs {
            return;
        }
        let words_changed = self
            .last_status
            .as_ref()
            .is_none_or(|old| old.status != status.status || old.reason != status.reason);
        if words_changed {
            let (connection, provider) = (self.name.as_str(), self.settings.provider.as_str());
            let (word, reason, detail) = (&status.status, &status.reason, &status.detail);
            if status.status == "Error" {
                tracing::warn!(connection, provider, status = %word, reason = %reason, detail = %detail, hint = %status.hint, "{connection}: {word}: {reason}");
            } else {
                tracing::info!(connection, provider, status = %word, reason = %reason, "{connection}: {word}: {reason}");
            }
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
        self.shared.tell(Told::Status(Box::new(ConnectionStatus::clone(&status))));
        self.last_status = Some(status);
    }

    fn tell_notices(&self, notices: &Notices) {
        let old: Vec<String> = self.notices.list().map(line).collect();
        for condition in notices.list() {
            if !old.contains(&line(condition)) {
                self.shared.tell(Told::Notice(super::view::notice_line(&self.name, condition)));
            }
        }
    }
}

fn line(condition: &crmsync_core::notice::Condition) -> String {
    serde_json::to_string(condition).unwrap_or_default()
}

/// Comparing documents by what would be stored.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }
    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap_or_default()
        }
    }
}

fn closed(how: Closed) -> How {
    match how {
        Closed::Granted => How::Granted { by: "crmsync".into() },
        Closed::WorksAgain => How::WorksAgain,
        Closed::Disabled | Closed::Retired => How::PutAway,
    }
}

/// A command that could not be stored.
pub(super) fn refused(what: &str, error: &StoreError) -> Refusal {
    Refusal::new(RefusalCode::Unavailable, format!("{what}: {error}"))
}

/// When a schedule rings next, for the store.
pub(super) fn due_row(id: &str, at: Option<Time>) -> Vec<(String, Option<Time>)> {
    vec![(id.to_owned(), at)]
}
