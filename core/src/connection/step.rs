use super::event::{Closed, Effect, Event, Refusal, RunResult, StopWhy};
use super::state::{
    Activity, Again, Alarm, Configured, Connection, Grant, Pause, QuotaHold, Rules, Trouble,
};
use super::trouble::{Host, quota_text};
use crate::domain::{Concern, Fault, Time};
use std::collections::BTreeMap;

/// What an event makes of a connection, and what is to be done about it. Total: an event that
/// does not fit the state leaves it as it is.
pub fn step(c: &Connection, event: &Event, now: Time, rules: &Rules) -> (Connection, Vec<Effect>) {
    let mut s = Stepper { c: c.clone(), fx: Vec::new(), now, rules };
    s.c.born.get_or_insert(now);
    s.take(event);
    s.watch();
    if let Some(at) = next_wake(&s.c, now, rules) {
        s.fx.push(Effect::WakeAt(at));
    }
    (s.c, s.fx)
}

/// When the connection wants to be looked at by itself (end of a pause, next try, alarm), besides
/// its schedule. Never before `now`.
pub fn next_wake(c: &Connection, now: Time, rules: &Rules) -> Option<Time> {
    let mut at: Vec<Time> = Vec::new();
    if let Pause::Paused { until: Some(until), .. } = &c.pause {
        at.push(*until);
    }
    if !c.busy() && obstacle(c, now, false).is_none() {
        at.extend(not_before(c));
    }
    if let Alarm::Watching { from } = &c.alarm {
        at.push(after(*from, rules.alarm_time()));
    }
    at.into_iter().min().map(|t| t.max(now))
}

/// Whether a bell would start a run now.
pub fn ready(c: &Connection, now: Time) -> bool {
    !c.busy() && obstacle(c, now, false).is_none() && not_before(c).is_none_or(|t| t <= now)
}

/// The latest of the waits that are on, if one is.
fn not_before(c: &Connection) -> Option<Time> {
    let trouble = match &c.trouble {
        Trouble::None => None,
        Trouble::Retrying { next, .. } | Trouble::Problem { next, .. } => Some(*next),
    };
    let host = [&c.replica, &c.disk].into_iter().flatten().map(|h| h.next);
    trouble.into_iter().chain(host).max()
}

/// What forbids a run that somebody wants now.
fn obstacle(c: &Connection, now: Time, despite_quota: bool) -> Option<Refusal> {
    if !matches!(c.configured, Configured::Enabled) {
        return Some(Refusal::Disabled);
    }
    if let Pause::Paused { by, until, .. } = &c.pause
        && until.is_none_or(|until| until > now)
    {
        return Some(Refusal::Paused { by: by.clone() });
    }
    if c.key.is_some() {
        return Some(Refusal::KeyMissing);
    }
    if let Some((reason, ..)) = c.authorization() {
        return Some(Refusal::NeedsAuthorization(reason));
    }
    if let QuotaHold::Held { limit, used, max, .. } = &c.hold
        && !despite_quota
    {
        return Some(Refusal::QuotaHeld { limit: limit.clone(), used: *used, max: *max });
    }
    None
}

pub(super) fn after(t: Time, d: jiff::SignedDuration) -> Time {
    t.checked_add(d).unwrap_or(Time::MAX)
}

/// A step in the making.
pub(super) struct Stepper<'a> {
    pub(super) c: Connection,
    pub(super) fx: Vec<Effect>,
    pub(super) now: Time,
    pub(super) rules: &'a Rules,
}

impl Stepper<'_> {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Configured { enabled: true } => self.enable(),
            Event::Configured { enabled: false } => {
                if !matches!(self.c.configured, Configured::Disabled { .. }) {
                    self.c.configured = Configured::Disabled { since: self.now };
                    self.put_away(Closed::Disabled);
                }
            }
            Event::SettingsChanged => {
                self.try_now();
                if self.c.busy() && self.c.again == Again::No {
                    self.c.again = Again::Yes;
                } else {
                    self.ring();
                }
            }
            Event::Retired => {
                if !matches!(self.c.configured, Configured::Retired { .. }) {
                    self.c.configured = Configured::Retired { since: self.now };
                    self.put_away(Closed::Retired);
                }
            }
            Event::Started => self.started(),
            Event::Shutdown => {
                self.c.again = Again::No;
                self.stop(StopWhy::Shutdown);
            }
            Event::Due | Event::PauseOver => self.ring(),
            Event::SyncRequested { by, despite_quota } => self.asked(by, *despite_quota),
            Event::RunStarted { id, phase } => self.run_started(id, *phase),
            Event::Phase(now) => {
                if let Activity::Running { phase, .. } = &mut self.c.activity {
                    *phase = *now;
                }
            }
            Event::Progress => {
                if let (true, Alarm::Watching { from }) = (self.c.busy(), &mut self.c.alarm) {
                    *from = self.now;
                }
            }
            Event::RunFinished { id, result } => self.run_finished(id, result),
            Event::Paused { by, until, note } => {
                self.c.pause = Pause::Paused {
                    by: by.clone(),
                    since: self.now,
                    until: *until,
                    note: note.clone(),
                };
                self.audit(by, "paused");
                self.stop(StopWhy::Pause);
            }
            Event::Resumed { by } => {
                if !matches!(self.c.pause, Pause::No) {
                    self.c.pause = Pause::No;
                    self.audit(by, "resumed");
                    self.ring();
                }
            }
            Event::QuotaHeld { limit, used, max, next_probe } => {
                self.hold(limit, *used, *max, *next_probe);
            }
            Event::QuotaFree => {
                if !matches!(self.c.hold, QuotaHold::Free) {
                    self.c.hold = QuotaHold::Free;
                    self.fx.push(Effect::Clear(Concern::QuotaHeld));
                    self.ring();
                }
            }
            Event::Granted { by } => self.granted(by),
            Event::GrantUnconfirmed { expected, found } => self.unconfirmed(expected, found),
            Event::UnconfirmedRejected { by } => self.unconfirmed_rejected(by),
            Event::Rejected { reason, text } => self.refused(reason, text),
            Event::Disconnected { by } => self.disconnected(by),
            Event::ProbeResult(Ok(())) => self.proved(),
            Event::ProbeResult(Err(fault)) => self.probe_failed(fault),
            Event::RefreshLost { text } => self.refresh_lost(text),
            Event::ReplicaFailed { text } => self.host_bad(Host::Replica, text),
            Event::ReplicaBack => self.host_back(Host::Replica),
            Event::DiskFull { text } => self.host_bad(Host::Disk, text),
            Event::DiskBack => self.host_back(Host::Disk),
            Event::KeyMissing { text } => self.host_bad(Host::Key, text),
            Event::KeyBack => self.host_back(Host::Key),
            Event::DeletesHeld { object, count } => {
                self.c.deletes_held.insert(object.clone(), *count);
                self.raise_deletes();
            }
            Event::DeletesApproved { by } => {
                if !self.c.deletes_held.is_empty() {
                    self.audit(by, "approved held deletes");
                    self.c.deletes_held.clear();
                    self.fx.push(Effect::Clear(Concern::DeletesHeld));
                    self.ring();
                }
            }
            Event::DeletesGone { object } => {
                if self.c.deletes_held.remove(object).is_some() && self.c.deletes_held.is_empty() {
                    self.fx.push(Effect::Clear(Concern::DeletesHeld));
                }
            }
            Event::Differs { object, text } => {
                self.c.differs.insert(object.clone(), text.clone());
            }
            Event::Agrees { object } => {
                self.c.differs.remove(object);
            }
        }
    }

    fn enable(&mut self) {
        let was_away = !matches!(self.c.configured, Configured::Enabled);
        self.c.configured = Configured::Enabled;
        // Both effects do nothing where it is told already.
        if self.c.latched() && !matches!(self.c.grant, Grant::Suspect { .. }) {
            self.tell_authorization();
        }
        if was_away {
            self.probe_if_suspect();
            if let Some(text) = self.problem_text() {
                self.raise(Concern::Problem, text);
            }
            if !self.c.deletes_held.is_empty() {
                self.raise_deletes();
            }
            if let QuotaHold::Held { limit, used, max, .. } = self.c.hold.clone() {
                self.raise(Concern::QuotaHeld, quota_text(&limit, used, max));
            }
            self.ring();
        }
    }

    /// Disabled or gone: it stops, its request closes, and nobody is told that it recovered.
    fn put_away(&mut self, how: Closed) {
        self.stop(StopWhy::Configuration);
        self.c.again = Again::No;
        self.c.trouble = Trouble::None;
        self.c.replica = None;
        self.c.disk = None;
        self.c.objects.clear();
        self.c.alarm = Alarm::Off;
        self.fx.push(Effect::CloseRequest(how));
        self.fx.push(Effect::WithdrawAll);
    }

    fn started(&mut self) {
        self.c.activity = Activity::Idle;
        self.c.again = Again::No;
        self.end_pause();
        self.probe_if_suspect();
    }

    fn end_pause(&mut self) {
        if let Pause::Paused { until: Some(until), .. } = self.c.pause
            && until <= self.now
        {
            self.c.pause = Pause::No;
            self.audit("crmsync", "resumed: the pause is over");
        }
    }

    /// Starts a run if nothing is in its way.
    pub(super) fn ring(&mut self) {
        self.end_pause();
        if ready(&self.c, self.now) {
            self.start(false);
        }
    }

    fn start(&mut self, despite_quota: bool) {
        self.c.again = Again::No;
        self.c.activity = Activity::Starting { since: self.now, despite_quota };
        self.fx.push(Effect::StartRun { despite_quota });
    }

    fn asked(&mut self, by: &str, despite_quota: bool) {
        self.end_pause();
        let held = matches!(self.c.hold, QuotaHold::Held { .. });
        if let Some(refusal) = obstacle(&self.c, self.now, despite_quota) {
            self.fx.push(Effect::Refuse(refusal));
            return;
        }
        self.audit(by, if despite_quota { "sync despite the quota" } else { "sync" });
        if self.c.busy() {
            self.c.again = if despite_quota { Again::DespiteQuota } else { Again::Yes };
        } else {
            self.start(despite_quota && held);
        }
    }

    fn run_started(&mut self, id: &str, phase: super::Phase) {
        let despite_quota = match self.c.activity {
            Activity::Starting { despite_quota, .. } => despite_quota,
            Activity::Idle => false,
            // One at a time: a second one is none of ours.
            Activity::Running { .. } => return,
        };
        self.c.activity =
            Activity::Running { id: id.to_owned(), since: self.now, phase, despite_quota };
        // What came between the wish and the start.
        if let Some(refusal) = obstacle(&self.c, self.now, despite_quota) {
            self.stop(match refusal {
                Refusal::Disabled => StopWhy::Configuration,
                Refusal::Paused { .. } => StopWhy::Pause,
                Refusal::NeedsAuthorization(_) => StopWhy::Authorization,
                Refusal::QuotaHeld { .. } => StopWhy::Quota,
                Refusal::KeyMissing => StopWhy::Host,
            });
        }
    }

    fn run_finished(&mut self, id: &str, result: &RunResult) {
        match &self.c.activity {
            Activity::Idle => return,
            Activity::Running { id: ours, .. } if ours != id => return,
            Activity::Running { .. } | Activity::Starting { .. } => {}
        }
        self.c.activity = Activity::Idle;
        let again = std::mem::take(&mut self.c.again);
        match result {
            RunResult::Done { caught_up_to, loading, objects } => {
                self.done(*caught_up_to, *loading, objects);
            }
            RunResult::Stopped(StopWhy::Shutdown) => return,
            RunResult::Stopped(_) => {}
            RunResult::Failed(fault) => self.fault(fault),
        }
        match again {
            Again::No => {
                // What stopped it may be over already (resumed, authorized), and new settings want a
                // run of their own: nothing is waited
                // for that stands in nobody's way. At the line the meter says when.
                if let RunResult::Stopped(
                    StopWhy::Pause
                    | StopWhy::Configuration
                    | StopWhy::Authorization
                    | StopWhy::Host,
                ) = result
                {
                    self.ring();
                }
            }
            // Somebody wished for it: no wait after a fault stands in the way of that.
            Again::Yes => {
                self.end_pause();
                if obstacle(&self.c, self.now, false).is_none() {
                    self.start(false);
                }
            }
            Again::DespiteQuota => {
                self.end_pause();
                if obstacle(&self.c, self.now, true).is_none() {
                    self.start(matches!(self.c.hold, QuotaHold::Held { .. }));
                }
            }
        }
    }

    fn done(
        &mut self,
        caught_up_to: Option<Time>,
        loading: bool,
        objects: &BTreeMap<String, Fault>,
    ) {
        let had_problem = self.problem_text().is_some();
        let c = &mut self.c;
        c.trouble = Trouble::None;
        c.replica = None;
        c.disk = None;
        c.failures = 0;
        c.last_success = Some(self.now);
        c.caught_up_to = caught_up_to.or(c.caught_up_to);
        c.loading = loading;
        if let Alarm::Raised { .. } = c.alarm {
            self.fx.push(Effect::Clear(Concern::NoSuccess));
        }
        self.c.alarm = Alarm::Off;
        if had_problem {
            self.clear_problem();
        }
        self.objects(objects);
    }

    pub(super) fn stop(&mut self, why: StopWhy) {
        if self.c.busy() {
            self.fx.push(Effect::StopRun(why));
        }
    }

    pub(super) fn raise(&mut self, concern: Concern, text: String) {
        // A connection put away tells nobody anything.
        if matches!(self.c.configured, Configured::Enabled) {
            self.fx.push(Effect::Raise { concern, text });
        }
    }

    pub(super) fn audit(&mut self, by: &str, text: &str) {
        self.fx.push(Effect::Audit { by: by.to_owned(), text: text.to_owned() });
    }
}
