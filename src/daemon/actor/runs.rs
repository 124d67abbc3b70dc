//! Runs of a connection: when they are due, started, stopped, and what comes of them.

use super::effects::{Extra, due_row, refused};
use super::{Actor, Answer, Message, Running};
use crate::control::protocol::{
    Caller, ConnectionStatus, Event as Told, PauseRequest, Refusal, RefusalCode, RunLine,
    SyncRequest,
};
use crate::daemon::env::Env;
use crate::daemon::grant::{SessionError, SessionOrHeld};
use crate::daemon::toll::Purpose;
use crate::daemon::work::{End, Report, Wishes, Work};
use crate::provider::{Ctx, Failure, Toll};
use crate::replica::ReplicaError;
use crate::store::{Change, RunRow, StoreError};
use crmsync_core::connection::{self, Activity, Event, Phase, RunResult, StopWhy};
use crmsync_core::domain::{Concern, CredentialKind, Fault, Time};
use crmsync_core::quota::{self, Exempt};
use crmsync_core::{schedule, sync};
use jiff::SignedDuration;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// When a store that failed a run is tried again.
const STORE_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Clocks further apart raise a notice.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

impl Actor {
    /// At the start: what was due while nobody ran is due within five minutes; the rest as stored.
    pub(super) fn schedule_first(&mut self) {
        let seed = schedule::seed(self.name.as_str());
        let stored = self
            .shared
            .store
            .due_all()
            .ok()
            .and_then(|all| all.into_iter().find(|(id, _)| *id == self.id));
        match stored {
            Some((_, due)) => {
                // A schedule that became closer (or a clock set back) while the daemon was down
                // counts from now on.
                let now = self.shared.env.now();
                let next = schedule::next_due(&self.settings.schedule, seed, now).unwrap_or(due);
                let at = schedule::catch_up(due.min(next), self.shared.started, seed);
                self.next_due = Some(at);
                if at != due {
                    self.take(
                        &[],
                        Change { due: due_row(&self.id, Some(at)), ..Change::default() },
                    );
                }
            }
            None => self.reschedule(Change::default()),
        }
    }

    /// Stores the next due time by the schedule, with what else is to be true.
    pub(super) fn reschedule(&mut self, mut change: Change) {
        let seed = schedule::seed(self.name.as_str());
        let now = self.shared.env.now();
        let at = schedule::next_due(&self.settings.schedule, seed, now).ok();
        self.next_due = at;
        change.due = due_row(&self.id, at);
        self.take(&[], change);
    }

    /// The bell found it due.
    pub(super) fn due(&mut self, _due: Time) {
        let seed = schedule::seed(self.name.as_str());
        let now = self.shared.env.now();
        let at = schedule::next_due(&self.settings.schedule, seed, now).ok();
        self.next_due = at;
        self.cause = "schedule";
        let change = Change { due: due_row(&self.id, at), ..Change::default() };
        self.take(&[Event::Due], change);
    }

    fn new_run_id(&self) -> String {
        format!("{:016x}", self.shared.env.random())
    }

    pub(super) fn start_run(&mut self, despite_quota: bool) {
        let run_id = self.next_run.take().unwrap_or_else(|| self.new_run_id());
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let now = self.shared.env.now();
        let phase = if self.summary.is_empty() || self.summary.iter().any(|o| o.state.loading()) {
            Phase::Loading
        } else if self.behind(now) {
            Phase::CatchingUp
        } else {
            Phase::Syncing
        };
        let toll = match self.toll(despite_quota.then_some(Exempt::DespiteQuota)) {
            Ok(toll) => toll,
            Err(error) => {
                self.take(
                    &[Event::RunFinished {
                        id: String::new(),
                        result: RunResult::Failed(Fault::passing(error.to_string())),
                    }],
                    Change::default(),
                );
                return;
            }
        };
        let domain =
            self.gate.as_ref().map_or_else(|| self.no_domain(), |gate| gate.domain().clone());
        let (events, name, run) =
            (self.shared.events.clone(), self.name.to_string(), run_id.clone());
        let (own, clock, pulse) = (self.own.clone(), self.shared.env, Mutex::new(now));
        let work = Work {
            name: self.name.to_string(),
            id: self.id.clone(),
            settings: Arc::clone(&self.settings),
            provider: Arc::clone(&self.provider),
            holder: Arc::clone(&self.holder),
            toll,
            domain,
            copy: self.copy.clone(),
            store: self.shared.store.clone(),
            env: self.shared.env,
            stop: stop.clone(),
            cut: cut.clone(),
            interval: schedule::interval(&self.settings.schedule, now),
            erase_before: self.erase_before(now),
            progress: Box::new(move |p| {
                alive(&own, &pulse, clock);
                let _ = events.send(Told::Progress {
                    connection: name.clone(),
                    run: run.clone(),
                    object: p.object,
                    rows: p.rows,
                    expected: None,
                    calls: p.calls,
                });
            }),
        };
        self.running = Some(Running {
            id: run_id.clone(),
            stop: stop.clone(),
            cut,
            generation: self.state.generation,
            why: None,
            started: now,
            cause: self.cause,
        });
        let (own, workers, id) =
            (self.own.clone(), Arc::clone(&self.shared.workers), run_id.clone());
        tokio::spawn(async move {
            let permit = tokio::select! {
                permit = workers.acquire_owned() => permit.ok(),
                () = stop.cancelled() => None,
            };
            // Cancelled while it waited: the work itself looks at `stop` first.
            let report = tokio::spawn(work.run()).await;
            drop(permit);
            let report = report.unwrap_or_else(|e| Report::died(&e.to_string()));
            let _ = own.send(Message::RunOver(id, Box::new(report)));
        });
        self.shared
            .tell(Told::RunStarted { connection: self.name.to_string(), run: run_id.clone() });
        self.take(&[Event::RunStarted { id: run_id, phase }], Change::default());
    }

    /// Once a day, what was deleted longer ago than `erase_after` leaves the replica.
    fn erase_before(&mut self, now: Time) -> Option<Time> {
        let day = SignedDuration::from_hours(24);
        if self.erased.is_some_and(|at| now.duration_since(at) < day) {
            return None;
        }
        self.erased = Some(now);
        now.checked_sub(self.settings.erase_after).ok()
    }

    /// What is due by the calendar while nothing else happens: an idle grant is kept alive (by one
    /// refresh a week, for providers let it die unused), a former one is dropped after an hour.
    pub(super) fn tend_grant(&mut self) {
        let now = self.shared.env.now();
        let Ok((facts, _)) = self.holder.facts() else { return };
        let older = |at: Option<Time>, than| at.is_some_and(|at| now.duration_since(at) > than);
        if older(facts.granted, SignedDuration::from_hours(1)) {
            let mut extra = Extra::default();
            self.holder_worked(&mut extra);
            if !extra.change.secrets.is_empty()
                && let Err(error) = self.apply(&[], extra)
            {
                self.not_stored(&error);
            }
        }
        let idle = self.running.is_none() && !self.probing && !self.state.latched();
        let code = self.provider.credential() == CredentialKind::Code;
        let last = facts.used.max(facts.granted);
        if idle && code && older(last, SignedDuration::from_hours(24 * 7)) {
            self.probe();
        }
    }

    /// Whether the copy is older than a few intervals.
    fn behind(&self, now: Time) -> bool {
        let interval = schedule::interval(&self.settings.schedule, now);
        self.state.caught_up_to.is_some_and(|t| now.duration_since(t) > interval.saturating_mul(3))
    }

    /// The toll for a purpose. Before the org is known there is no meter: a gate of its own.
    pub(super) fn toll(
        &self,
        exempt: Option<Exempt>,
    ) -> Result<Arc<dyn Toll>, crate::store::StoreError> {
        let gate = match &self.gate {
            Some(gate) => Arc::clone(gate),
            None => self.shared.meters.gate(&self.no_domain())?,
        };
        Ok(Arc::new(match exempt {
            Some(why) => Purpose::exempt(gate, why),
            None => Purpose::scheduled(gate),
        }))
    }

    /// Asks the run to stop at its next checkpoint.
    pub(super) fn cancel_run(&mut self, why: StopWhy) {
        if let Some(run) = &mut self.running {
            run.why.get_or_insert(why);
            run.stop.cancel();
        }
    }

    /// Waits until the run has stopped, and no longer than a call on its way may take to give up.
    pub(super) async fn end_run(&mut self) {
        if let Some(run) = &self.running {
            run.cut.cancel();
        }
        while self.running.is_some() {
            match self.mailbox.recv().await {
                Some(Message::RunOver(id, report)) => self.run_over(&id, *report),
                Some(_) => {} // whoever waits for an answer sees that we are gone
                None => return,
            }
        }
    }

    pub(super) async fn shut_down(&mut self) {
        self.take(&[Event::Shutdown], Change::default());
        self.cancel_run(StopWhy::Shutdown);
        self.end_run().await;
        // Others than the run may have asked: `test`, a probe.
        self.holder.close().await;
        if let Err(error) = self.copy.close().await {
            tracing::warn!(connection = %self.name, %error, "closing the replica");
        }
    }

    pub(super) fn run_over(&mut self, id: &str, report: Report) {
        let Some(run) = self.running.take_if(|r| r.id == id) else { return };
        let now = self.shared.env.now();
        let mut extra = Extra::default();
        let mut events = Vec::new();
        for (object, held) in &report.held {
            let object = object.clone();
            events.push(match held {
                0 => Event::DeletesGone { object },
                count => Event::DeletesHeld { object, count: *count },
            });
        }
        self.gone_fields(&report, &mut extra);
        if let Some(off) = report.clock_off {
            if off.abs() > CLOCK_TOLERANCE {
                let text = format!("our clock differs from the provider's by {} s", off.as_secs());
                extra.raise.push((Concern::ClockOff, text));
            } else {
                extra.clear.push(Concern::ClockOff);
            }
        }
        let summary = report.objects.clone().unwrap_or_else(|| self.summary.clone());
        let caught_up_to = sync::caught_up(summary.iter().map(|o| &o.state));
        let loading =
            summary.is_empty() || summary.iter().any(|o| !o.state.gone && o.state.loading());
        if report.objects.is_some() && summary != self.summary {
            extra.summary = Some(summary);
        }
        let of_store =
            matches!(&report.end, End::Store(e) if !matches!(e, StoreError::Stale { .. }));
        let (result, outcome, text) = match report.end {
            End::Done => {
                if self.state.replica.is_some() {
                    events.push(Event::ReplicaBack);
                }
                if self.state.disk.is_some() {
                    events.push(Event::DiskBack);
                }
                let objects = report.failing.clone();
                let result = RunResult::Done { caught_up_to, loading, objects };
                (result, "done".to_owned(), String::new())
            }
            End::Stopped(why) => {
                let why = match why {
                    StopWhy::Quota => StopWhy::Quota,
                    StopWhy::Pause
                    | StopWhy::Configuration
                    | StopWhy::Authorization
                    | StopWhy::Host
                    | StopWhy::Shutdown => run.why.unwrap_or(why),
                };
                (RunResult::Stopped(why), format!("stopped: {}", word(why)), String::new())
            }
            End::Failed(Fault::QuotaReached { which, resets }) => {
                if let Some(gate) = &self.gate {
                    gate.exhausted(&which, resets);
                }
                let text = format!("the provider says that {which} is used up");
                (RunResult::Stopped(StopWhy::Quota), "stopped: quota".to_owned(), text)
            }
            // Refused was the grant of before: somebody has given another one since.
            End::Failed(Fault::NeedsAuthorization { text, .. })
                if run.generation != self.state.generation =>
            {
                let why = StopWhy::Authorization;
                (RunResult::Stopped(why), format!("stopped: {}", word(why)), text)
            }
            // It failed while it gave way: with settings that no longer hold, or in the middle of
            // an answer that was given up. That says nothing of the next run.
            End::Failed(Fault::Passing { what, .. }) if run.why.is_some() => {
                let why = run.why.unwrap_or(StopWhy::Configuration);
                (RunResult::Stopped(why), format!("stopped: {}", word(why)), what)
            }
            End::Failed(fault) => {
                let text = fault.to_string();
                (RunResult::Failed(fault), "failed".to_owned(), text)
            }
            End::Replica(error) => {
                let text = error.to_string();
                events.push(match error {
                    ReplicaError::DiskFull { .. } => Event::DiskFull { text: text.clone() },
                    ReplicaError::Unavailable { .. }
                    | ReplicaError::NotOurs { .. }
                    | ReplicaError::Newer { .. }
                    | ReplicaError::Bug { .. } => Event::ReplicaFailed { text: text.clone() },
                });
                (RunResult::Stopped(StopWhy::Host), "failed".to_owned(), text)
            }
            End::Store(error) => {
                let text = error.to_string();
                let result = match error {
                    StoreError::DiskFull { .. } | StoreError::ReadOnly { .. } => {
                        events.push(Event::DiskFull { text: text.clone() });
                        RunResult::Stopped(StopWhy::Host)
                    }
                    // Somebody else wrote the same document, or the disk hesitated.
                    StoreError::Stale { .. }
                    | StoreError::Locked { .. }
                    | StoreError::Failed { .. } => RunResult::Failed(Fault::passing(text.clone())),
                    StoreError::Newer { .. }
                    | StoreError::NetworkFs { .. }
                    | StoreError::Corrupt { .. }
                    | StoreError::UnknownConnection(_)
                    | StoreError::NameTaken(_) => RunResult::Failed(Fault::contract(text.clone())),
                };
                (result, "failed".to_owned(), text)
            }
        };
        let line = RunLine {
            id: id.to_owned(),
            connection: self.name.to_string(),
            started: run.started,
            ended: Some(now),
            outcome: if text.is_empty() { outcome.clone() } else { format!("{outcome}: {text}") },
            calls: report.account.calls,
            read: report.account.read,
            changed: report.account.changed,
            deleted: report.account.deleted,
            repeated: 1,
            lines: report.account.lines.clone(),
        };
        let done = matches!(result, RunResult::Done { .. });
        extra.change.runs.push(RunRow {
            connection: self.id.clone(),
            started: run.started,
            ended: now,
            cause: run.cause.to_owned(),
            outcome,
            text,
            rows: report.account.changed,
            calls: report.account.calls,
            changed: report.account.changed > 0 || !done,
            json: serde_json::to_string(&line).unwrap_or_default(),
        });
        // What the run changed in the host comes first: the end of the run decides on it.
        events.push(Event::RunFinished { id: id.to_owned(), result });
        if done {
            self.holder_worked(&mut extra);
        }
        if self.gate.is_none()
            && let Ok(Some(identity)) = self.holder.identity()
            && let Err(error) = self.join(&identity)
        {
            tracing::warn!(connection = %self.name, %error, "joining the quota domain");
        }
        if let Err(error) = self.apply(&events, extra) {
            // The run is over whether that can be stored or not.
            self.state.activity = Activity::Idle;
            self.not_stored(&error);
        } else if of_store {
            // It has taken the end of the run; soon it may take a run again.
            self.store_retry = now.checked_add(STORE_AGAIN).ok();
        }
        self.look_at_quota();
        self.shared.tell(Told::RunEnded(line));
    }

    fn gone_fields(&self, report: &Report, extra: &mut Extra) {
        for (object, field) in &report.gone {
            let text = match field {
                Some(field) => format!(
                    "{object}.{field} is no longer at the source, or our account may not see it; its column stays"
                ),
                None => format!(
                    "{object} is no longer at the source, or our account may not see it; its rows stay"
                ),
            };
            let concern = Concern::FieldRemoved { object: object.clone(), field: field.clone() };
            extra.raise.push((concern, text));
        }
        let Some(objects) = &report.objects else { return };
        for condition in self.notices.open() {
            if let Concern::FieldRemoved { object, field } = &condition.concern {
                let back = objects.iter().any(|o| {
                    o.name == *object
                        && !o.state.gone
                        && field.as_ref().is_none_or(|f| o.state.fields.contains(f))
                });
                if back {
                    extra.clear.push(condition.concern.clone());
                }
            }
        }
    }

    /// The meter of the domain changed, or may have by the clock.
    pub(super) fn quota(&mut self, change: quota::Change) {
        let event = match change {
            quota::Change::Held { limit, used, max, next_probe } => {
                Event::QuotaHeld { limit, used, max, next_probe: Some(next_probe) }
            }
            quota::Change::Freed => Event::QuotaFree,
        };
        // A run that may go above the line is not stopped: the step tells which.
        self.cause = "quota";
        self.take(&[event], Change::default());
    }

    /// Agrees with the meter, and sends the resume probe when one is due.
    pub(super) fn look_at_quota(&mut self) {
        let Some(gate) = self.gate.clone() else { return };
        let probe = gate.probe_due();
        match (gate.held(), &self.state.hold) {
            (None, connection::QuotaHold::Held { .. }) => self.quota(quota::Change::Freed),
            (Some(change), connection::QuotaHold::Free) => self.quota(change),
            _ => {}
        }
        let now = self.shared.env.now();
        let idle = self.running.is_none() && !self.probing;
        let rested = self.resume_again().is_none_or(|again| again <= now);
        if probe && idle && rested && self.may_probe_hold() {
            self.resume_tried = Some(now);
            self.resume_probe();
        }
    }

    /// Whether this connection's credential may be used to look whether the hold is over.
    pub(super) fn may_probe_hold(&self) -> bool {
        let paused = !matches!(self.state.pause, connection::Pause::No);
        self.settings.enabled && !paused && !self.state.latched()
    }

    /// Not before then is a resume probe tried again. The meter counts calls that left; a provider
    /// without a usage call, or a token endpoint that refuses, never gets that far.
    pub(super) fn resume_again(&self) -> Option<Time> {
        self.resume_tried.and_then(|at| at.checked_add(quota::PROBE_EVERY).ok())
    }

    fn resume_probe(&mut self) {
        let Ok(toll) = self.toll(Some(Exempt::ResumeProbe)) else { return };
        self.probing = true;
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        tokio::spawn(async move {
            let refused = |fault: &Fault| matches!(fault, Fault::NeedsAuthorization { .. });
            let fault = match holder.session().await {
                Ok(session) => {
                    let ctx = Ctx { session: &session, toll: toll.as_ref() };
                    // Whatever it answers, the meter has heard it.
                    match holder.provider().usage(ctx).await {
                        Ok(_) | Err(Failure::Held) => None,
                        Err(Failure::Fault(fault)) => Some(fault),
                        Err(Failure::SessionDead(text)) => {
                            // Not repeated: one call at most. The next probe has a new session.
                            holder.renew(&session, &text).await.err().and_then(session_fault)
                        }
                    }
                }
                Err(e) => session_fault(e),
            };
            tracing::debug!(?fault, "the resume probe has ended");
            let _ = own.send(Message::ResumeProbed(fault.filter(refused)));
        });
    }

    /// Tries a suspect credential once more: a new session, and who answers.
    pub(super) fn probe(&mut self) {
        let Ok(toll) = self.toll(Some(Exempt::Reauthorization)) else { return };
        self.probing = true;
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        let generation = self.state.generation;
        tokio::spawn(async move {
            if holder.provider().credential() != CredentialKind::Password {
                holder.drop_session().await;
            }
            let result = holder.prove(toll.as_ref()).await.map_err(SessionOrHeld::fault);
            let _ = own.send(Message::Probed(generation, result));
        });
    }

    pub(super) fn wish(&self, change: impl Fn(&mut Wishes)) {
        if let Err(error) = self.try_wish(change) {
            tracing::warn!(connection = %self.name, %error, "a wish was not stored");
        }
    }

    pub(super) fn try_wish(&self, change: impl Fn(&mut Wishes)) -> Result<(), StoreError> {
        // A run takes wishes over at any moment: read again, wish again.
        let mut tries = 0;
        loop {
            let (version, mut wishes) =
                super::parsed::<Wishes>(self.shared.store.doc("wishes", &self.id)?);
            change(&mut wishes);
            let doc = self.doc("wishes", version, &wishes);
            match self.shared.store.apply(Change { docs: vec![doc], ..Change::default() }) {
                Err(StoreError::Stale { .. }) if tries < 5 => tries += 1,
                done => return done,
            }
        }
    }

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

fn session_fault(error: SessionError) -> Option<Fault> {
    match error {
        SessionError::Fault(fault) => Some(fault),
        SessionError::Store(_) => None,
    }
}

/// A long load commits again and again: once a minute the connection hears that it lives.
fn alive(own: &mpsc::UnboundedSender<Message>, pulse: &Mutex<Time>, clock: Env) {
    let now = clock.now();
    let mut last = pulse.lock().unwrap_or_else(PoisonError::into_inner);
    if now.duration_since(*last) >= SignedDuration::from_secs(60) {
        *last = now;
        let _ = own.send(Message::Event(Event::Progress));
    }
}

fn word(why: StopWhy) -> &'static str {
    match why {
        StopWhy::Quota => "quota",
        StopWhy::Pause => "paused",
        StopWhy::Configuration => "configuration changed",
        StopWhy::Authorization => "needs authorization",
        StopWhy::Host => "host",
        StopWhy::Shutdown => "daemon stops",
    }
}
