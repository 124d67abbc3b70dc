//! What people ask of a connection: sync, pause, approve.

use super::effects::{Extra, refused};
use super::{Actor, Answer};
use crate::control::protocol::{
    Caller, ConnectionStatus, PauseRequest, Refusal, RefusalCode, RunLine, SyncRequest,
};
use crmsync_core::connection::{self, Activity, Event, Phase};
use jiff::SignedDuration;

impl Actor {
    pub(super) fn sync(&mut self, by: &Caller, request: SyncRequest, answer: Answer<RunLine>) {
        let _ = answer.send(self.try_sync(by, request));
    }

    fn try_sync(&mut self, by: &Caller, request: SyncRequest) -> Result<RunLine, Refusal> {
        let name = self.name.to_string();
        for object in &request.objects {
            if !self.settings.objects.contains_key(object) {
                let known: Vec<&str> = self.settings.objects.keys().map(String::as_str).collect();
                return Err(Refusal::new(
                    RefusalCode::Invalid,
                    format!("syncing {name}: object `{object}` is not selected for it"),
                )
                .hint(format!("selected are {}", known.join(", "))));
            }
        }
        let despite_quota = request.despite_quota;
        let asked = Event::SyncRequested { by: by.user.clone(), despite_quota };
        let now = self.shared.env.now();
        let (_, effects) = connection::step(&self.state, &asked, now, &self.rules());
        for effect in &effects {
            if let connection::Effect::Refuse(refusal) = effect {
                let code = match refusal {
                    connection::Refusal::NeedsAuthorization(_) => RefusalCode::NeedsAuthorization,
                    connection::Refusal::QuotaHeld { .. } => RefusalCode::QuotaHeld,
                    connection::Refusal::KeyMissing => RefusalCode::Unavailable,
                    connection::Refusal::Disabled | connection::Refusal::Paused { .. } => {
                        RefusalCode::Conflict
                    }
                };
                return Err(Refusal::new(code, format!("syncing {name}: {refusal}"))
                    .hint(refusal.hint(&name)));
            }
        }
        self.try_wish(|w| {
            // A person who asks wants to see what is there now.
            w.describe = true;
            if request.full {
                let all = self.settings.objects.keys().cloned();
                let wanted: Vec<String> = if request.objects.is_empty() {
                    all.collect()
                } else {
                    request.objects.clone()
                };
                w.full.extend(wanted);
            }
        })
        .map_err(|e| refused("syncing", &e))?;
        let before = self.running.as_ref().map(|r| r.id.clone());
        let loading =
            matches!(self.state.activity, Activity::Running { phase: Phase::Loading, .. });
        self.cause = "command";
        self.apply_for(by, &[asked], Extra::default()).map_err(|e| refused("syncing", &e))?;
        // A run that was on already began before the wish; only a load is worth following, for it
        // goes on for long, and to its own end.
        let joined = self
            .running
            .as_ref()
            .filter(|r| Some(&r.id) != before.as_ref() || (loading && !request.full));
        let (id, started, outcome) = match joined {
            Some(run) => (run.id.clone(), Some(run.started), "running"),
            None => {
                let next = self.next_run.take().unwrap_or_else(|| self.new_run_id());
                self.next_run = Some(next.clone());
                (next, None, "waiting")
            }
        };
        Ok(RunLine {
            id,
            connection: name,
            started: started.unwrap_or(now),
            ended: None,
            outcome: outcome.into(),
            calls: 0,
            read: 0,
            changed: 0,
            deleted: 0,
            repeated: 1,
            lines: Vec::new(),
        })
    }

    pub(super) fn pause(
        &mut self,
        by: &Caller,
        request: PauseRequest,
        answer: Answer<ConnectionStatus>,
    ) {
        let now = self.shared.env.now();
        let until = match request.for_seconds {
            None => None,
            Some(seconds) => {
                let at = i64::try_from(seconds)
                    .ok()
                    .and_then(|s| now.checked_add(SignedDuration::from_secs(s)).ok());
                if at.is_none() || seconds == 0 {
                    let text = format!("pausing {}: {seconds} seconds is no span", self.name);
                    let _ = answer.send(Err(Refusal::new(RefusalCode::Invalid, text)
                        .hint("e.g. `--for 2d`, or without it until resumed")));
                    return;
                }
                at
            }
        };
        let event = Event::Paused { by: by.user.clone(), until, note: request.note };
        self.command(by, "pause", event, answer);
    }

    pub(super) fn approve(&mut self, by: &Caller, answer: Answer<ConnectionStatus>) {
        if self.state.deletes_held.is_empty() {
            let text = format!("approving deletes of {}: none are held", self.name);
            let _ = answer.send(Err(Refusal::new(RefusalCode::Conflict, text)));
            return;
        }
        if let Err(error) = self.try_wish(|w| w.approve = true) {
            let _ = answer.send(Err(refused("approving deletes", &error)));
            return;
        }
        self.cause = "command";
        self.command(by, "approve", Event::DeletesApproved { by: by.user.clone() }, answer);
    }
}
