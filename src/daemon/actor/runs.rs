//! Runs of a connection: when they are due, started, stopped, and what comes of them.

use super::effects::{Extra, due_row};
use super::{Actor, Message, Running};
use crate::control::protocol::{Event as Told, RunLine};
use crate::daemon::env::Env;
use crate::daemon::toll::Purpose;
use crate::daemon::work::{End, Live, Report, Wishes, Work};
use crate::provider::Toll;
use crate::replica::ReplicaError;
use crate::store::{Change, RunRow, StoreError};
use crmsync_core::connection::{self, Activity, Event, Phase, RunResult, StopWhy};
use crmsync_core::domain::{Concern, Fault, Time};
use crmsync_core::quota::Exempt;
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
        // A run that only looks at jobs polls nobody: the bell rings again when it is over.
        self.rang = self.running.as_ref().is_some_and(|run| run.looks_only);
        let change = Change { due: due_row(&self.id, at), ..Change::default() };
        self.take(&[Event::Due], change);
    }

    /// When a job of the provider is looked at next, by our clock: the due time stands beside the
    /// cursor, in the replica, and is the server's. None while nothing may be sent, so that it
    /// keeps nobody awake; at once where the server's clock is not known yet.
    pub(super) fn look_at(&self, now: Time) -> Option<Time> {
        // An object that fails on its own is left alone until the next run that is due.
        let sound = self.summary.iter().filter(|o| !self.state.objects.contains_key(&o.name));
        let next = sync::next_look(sound.map(|o| &o.state))?;
        let ours = self.clock.and_then(|clock| clock.ours(next)).unwrap_or(now);
        connection::ready(&self.state, now).then_some(ours)
    }

    pub(super) fn new_run_id(&self) -> String {
        format!("{:016x}", self.shared.env.random())
    }

    pub(super) fn start_run(&mut self, despite_quota: bool) {
        let looks_only = std::mem::take(&mut self.looks_only);
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
        let live = Live::default();
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
            clock: self.clock,
            stop: stop.clone(),
            cut: cut.clone(),
            interval: schedule::interval(&self.settings.schedule, now),
            erase_before: self.erase_before(now),
            known: self.summary.clone(),
            looks_only,
            pages: Arc::clone(&self.shared.pages),
            live: Arc::clone(&live),
            progress: Arc::new(move |p| {
                alive(&own, &pulse, clock);
                let _ = events.send(Told::Progress {
                    connection: name.clone(),
                    run: run.clone(),
                    object: p.object,
                    rows: p.rows,
                    expected: p.expected,
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
            looks_only,
            live,
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
        self.frozen_fields(&report, &mut extra);
        self.proofs(&report, &mut extra, &mut events);
        self.clock = report.clock.or(self.clock);
        if let Some(off) = report.clock.and_then(|c| c.difference()) {
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
                    | ReplicaError::Object { .. }
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
        if std::mem::take(&mut self.rang) {
            self.cause = "schedule";
            self.take(&[Event::Due], Change::default());
        }
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
