use super::backoff;
use super::event::{Closed, Effect, Event, Refusal, RunResult, StopWhy};
use super::state::{
    Activity, Alarm, Configured, Connection, Grant, HostTrouble, ObjectTrouble, Pause, QuotaHold,
    Rules, Trouble,
};
use super::status::explain;
use crate::domain::{Concern, Fault, Problem, Reason, Time};
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

/// Reasons that we know by ourselves: nothing is gained by asking the provider once more.
fn certain(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NeverAuthorized
            | Reason::GrantLostWhileRotating
            | Reason::WrongOrg { .. }
            | Reason::WrongAccount { .. }
            | Reason::DisconnectedByAdmin
    )
}

fn after(t: Time, d: jiff::SignedDuration) -> Time {
    t.checked_add(d).unwrap_or(Time::MAX)
}

struct Stepper<'a> {
    c: Connection,
    fx: Vec<Effect>,
    now: Time,
    rules: &'a Rules,
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
            Event::Retired => {
                if !matches!(self.c.configured, Configured::Retired { .. }) {
                    self.c.configured = Configured::Retired { since: self.now };
                    self.put_away(Closed::Retired);
                }
            }
            Event::Started => self.started(),
            Event::Shutdown => {
                self.c.again = false;
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
            Event::Granted { .. }
            | Event::GrantUnconfirmed { .. }
            | Event::UnconfirmedRejected { .. }
            | Event::Rejected { .. }
            | Event::Disconnected { .. }
            | Event::ProbeResult(_)
            | Event::RefreshLost { .. } => self.grant_event(event),
            Event::ReplicaFailed { .. }
            | Event::ReplicaBack
            | Event::DiskFull { .. }
            | Event::DiskBack
            | Event::KeyMissing { .. }
            | Event::KeyBack => self.host_event(event),
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

    fn grant_event(&mut self, event: &Event) {
        match event {
            Event::Granted { by } => {
                self.c.grant = Grant::Good { since: self.now };
                self.c.generation += 1;
                self.fx.push(Effect::Clear(Concern::NeedsAuthorization));
                self.fx.push(Effect::CloseRequest(Closed::Granted));
                self.audit(by, "authorized");
                self.try_now();
                self.ring();
            }
            Event::GrantUnconfirmed { expected, found } => self.unconfirmed(expected, found),
            Event::UnconfirmedRejected { by } => {
                if let Grant::Unconfirmed { since, before, before_text, .. } = self.c.grant.clone()
                {
                    self.c.grant = if before == Reason::NeverAuthorized {
                        Grant::Never
                    } else {
                        Grant::Dead { reason: before, text: before_text, since }
                    };
                    self.audit(by, "rejected another account");
                    self.tell_authorization();
                }
            }
            Event::Rejected { reason, text } => self.refused(reason, text),
            Event::Disconnected { by } => {
                self.audit(by, "disconnected");
                self.c.generation +=
                    u64::from(matches!(self.c.grant, Grant::Suspect { .. } | Grant::Good { .. }));
                if !matches!(self.c.grant, Grant::Never) {
                    self.dead(Reason::DisconnectedByAdmin, format!("disconnected by {by}"));
                }
            }
            Event::ProbeResult(Ok(())) => match self.c.grant {
                Grant::Suspect { .. } | Grant::Dead { .. } => {
                    if matches!(self.c.grant, Grant::Dead { .. }) {
                        self.fx.push(Effect::Clear(Concern::NeedsAuthorization));
                        self.fx.push(Effect::CloseRequest(Closed::WorksAgain));
                    }
                    self.c.grant = Grant::Good { since: self.now };
                    self.try_now();
                    self.ring();
                }
                Grant::Good { .. } | Grant::Never | Grant::Unconfirmed { .. } => {}
            },
            Event::ProbeResult(Err(Fault::NeedsAuthorization { reason, text })) => {
                if matches!(self.c.grant, Grant::Suspect { .. }) {
                    self.dead(reason.clone(), text.clone());
                } else {
                    self.refused(reason, text);
                }
            }
            Event::ProbeResult(Err(fault)) => {
                if let Grant::Suspect { since, probe_at, .. } = &mut self.c.grant {
                    // As long again as it has been suspect: doubling without a counter.
                    let most = self.rules.backoff_most.max(self.rules.probe_after);
                    let wait = self.now.duration_since(*since).clamp(self.rules.probe_after, most);
                    *probe_at = after(self.now, wait);
                    self.fx.push(Effect::ProbeGrantAt(*probe_at));
                    self.fault(fault);
                }
            }
            Event::RefreshLost { text } => {
                if !matches!(self.c.grant, Grant::Never | Grant::Dead { .. }) {
                    self.dead(Reason::GrantLostWhileRotating, text.clone());
                }
            }
            _ => {}
        }
    }

    fn host_event(&mut self, event: &Event) {
        let (now, rules) = (self.now, self.rules);
        let enter = |slot: &mut Option<HostTrouble>, text: &str| {
            let (since, attempts) =
                slot.as_ref().map_or((now, 1), |h| (h.since, h.attempts.saturating_add(1)));
            let next = after(now, backoff(attempts, None, rules));
            *slot = Some(HostTrouble { text: text.to_owned(), since, attempts, next });
        };
        let entered = match event {
            Event::ReplicaFailed { text } => {
                enter(&mut self.c.replica, text);
                Some(format!("replica unavailable: {text}"))
            }
            Event::DiskFull { text } => {
                enter(&mut self.c.disk, text);
                Some(format!("disk full: {text}"))
            }
            Event::KeyMissing { text } => {
                enter(&mut self.c.key, text);
                Some(format!("key missing: {text}"))
            }
            Event::ReplicaBack => {
                self.c.replica = None;
                None
            }
            Event::DiskBack => {
                self.c.disk = None;
                None
            }
            Event::KeyBack => {
                self.c.key = None;
                None
            }
            _ => return,
        };
        if let Some(text) = entered {
            self.raise(Concern::Problem, text);
            self.stop(StopWhy::Host);
        } else {
            self.clear_problem();
            self.ring();
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
        self.c.again = false;
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
        self.c.again = false;
        self.end_pause();
        self.probe_if_suspect();
    }

    fn probe_if_suspect(&mut self) {
        if let Grant::Suspect { probe_at, .. } = self.c.grant {
            self.fx.push(Effect::ProbeGrantAt(probe_at.max(self.now)));
        }
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
    fn ring(&mut self) {
        self.end_pause();
        if !self.c.busy()
            && obstacle(&self.c, self.now, false).is_none()
            && not_before(&self.c).is_none_or(|t| t <= self.now)
        {
            self.start(false);
        }
    }

    fn start(&mut self, despite_quota: bool) {
        self.c.again = false;
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
            self.c.again = true;
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
        if again {
            self.ring();
        }
    }

    fn done(
        &mut self,
        caught_up_to: Option<Time>,
        loading: bool,
        objects: &BTreeMap<String, Fault>,
    ) {
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
        self.clear_problem();
        self.objects(objects);
    }

    fn objects(&mut self, failing: &BTreeMap<String, Fault>) {
        let old = std::mem::take(&mut self.c.objects);
        for (object, fault) in failing {
            let text = fault.to_string();
            let since = old.get(object).map_or(self.now, |o| o.since);
            let concern = match fault {
                // Nothing was lost that the next run does not bring.
                Fault::Passing { .. } | Fault::CursorLost { .. } => continue,
                Fault::SchemaMoved { object, field } => {
                    // Raised once for each loss; a removed field never "recovers" by itself.
                    Concern::FieldRemoved { object: object.clone(), field: field.clone() }
                }
                Fault::QuotaReached { .. }
                | Fault::NeedsAuthorization { .. }
                | Fault::Denied { .. }
                | Fault::Conflict { .. }
                | Fault::RecordRefused { .. }
                | Fault::Misconfigured { .. }
                | Fault::AddressNotAllowed { .. }
                | Fault::Suspended { .. }
                | Fault::Contract { .. } => Concern::ObjectFailing { object: object.clone() },
            };
            if old.get(object).is_none_or(|o| o.text != text) {
                self.raise(concern, text.clone());
            }
            self.c.objects.insert(object.clone(), ObjectTrouble { text, since });
        }
        for object in old.keys().filter(|o| !self.c.objects.contains_key(*o)) {
            self.fx.push(Effect::Clear(Concern::ObjectFailing { object: object.clone() }));
        }
    }

    /// A failed run or an inconclusive probe.
    fn fault(&mut self, fault: &Fault) {
        let problem = match fault {
            Fault::Passing { what, retry_after } => return self.passing(what, *retry_after),
            Fault::QuotaReached { which, .. } => return self.hold(which, 0, 0, None),
            Fault::NeedsAuthorization { reason, text } => return self.refused(reason, text),
            Fault::Misconfigured { what } => Problem::Misconfigured { what: what.clone() },
            Fault::AddressNotAllowed { what } => Problem::AddressNotAllowed { what: what.clone() },
            Fault::Suspended { what } => Problem::OrgSuspended { what: what.clone() },
            Fault::Contract { what } => Problem::NeedsAttention { what: what.clone() },
            // These belong to one object or record; as the end of a whole run nobody foresaw them.
            Fault::Denied { .. }
            | Fault::SchemaMoved { .. }
            | Fault::CursorLost { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. } => Problem::NeedsAttention { what: fault.to_string() },
        };
        self.c.failures = self.c.failures.saturating_add(1);
        let (since, attempts) = match &self.c.trouble {
            Trouble::Problem { problem: old, since, attempts, .. }
                if std::mem::discriminant(old) == std::mem::discriminant(&problem) =>
            {
                (*since, attempts.saturating_add(1))
            }
            Trouble::None | Trouble::Retrying { .. } | Trouble::Problem { .. } => (self.now, 1),
        };
        self.raise(Concern::Problem, format!("{problem}: {fault}"));
        let next = after(self.now, self.rules.slow_retry);
        self.c.trouble = Trouble::Problem { problem, since, attempts, next };
    }

    /// Backs off; after long enough somebody is told. Never touches the grant.
    fn passing(&mut self, what: &str, retry_after: Option<jiff::SignedDuration>) {
        self.c.failures = self.c.failures.saturating_add(1);
        let (first, tries) = match &self.c.trouble {
            Trouble::None => (self.now, 1),
            Trouble::Retrying { since, attempts, .. }
            | Trouble::Problem { since, attempts, .. } => (*since, attempts.saturating_add(1)),
        };
        let next = after(self.now, backoff(tries, retry_after, self.rules));
        let what = what.to_owned();
        let long = self.now.duration_since(first) >= self.rules.alarm_time();
        self.c.trouble = match std::mem::take(&mut self.c.trouble) {
            // Only a run that works ends a problem.
            Trouble::Problem {
                problem: Problem::ProviderFailing { since: from, .. },
                since,
                ..
            } => {
                let problem = Problem::ProviderFailing { since: from, what };
                Trouble::Problem { problem, since, attempts: tries, next }
            }
            Trouble::Problem { problem, since, .. } => {
                Trouble::Problem { problem, since, attempts: tries, next }
            }
            Trouble::None | Trouble::Retrying { .. } if long => {
                let problem = Problem::ProviderFailing { since: first, what: what.clone() };
                self.raise(Concern::Problem, format!("{problem}: {what}"));
                Trouble::Problem { problem, since: first, attempts: tries, next }
            }
            Trouble::None | Trouble::Retrying { .. } => {
                Trouble::Retrying { what, since: first, attempts: tries, next }
            }
        };
    }

    fn refused(&mut self, reason: &Reason, text: &str) {
        match self.c.grant {
            // The first refusal stands.
            Grant::Suspect { .. } | Grant::Dead { .. } | Grant::Unconfirmed { .. } => {}
            Grant::Never => self.dead(reason.clone(), text.to_owned()),
            Grant::Good { .. } if self.rules.rotates || certain(reason) => {
                self.dead(reason.clone(), text.to_owned());
            }
            Grant::Good { .. } => {
                let probe_at = after(self.now, self.rules.probe_after);
                let (reason, text) = (reason.clone(), text.to_owned());
                self.c.grant = Grant::Suspect { reason, text, since: self.now, probe_at };
                self.fx.push(Effect::ProbeGrantAt(probe_at));
                self.stop(StopWhy::Authorization);
            }
        }
    }

    fn dead(&mut self, reason: Reason, text: String) {
        let since = self.c.authorization().and_then(|a| a.2).unwrap_or(self.now);
        self.c.grant = Grant::Dead { reason, text, since };
        self.tell_authorization();
        self.stop(StopWhy::Authorization);
    }

    fn unconfirmed(&mut self, expected: &str, found: &str) {
        let (before, before_text, since) = match (&self.c.grant, self.c.authorization()) {
            // The old grant goes on; only the request waits.
            (Grant::Good { .. }, _) | (_, None) => return,
            (Grant::Unconfirmed { before, before_text, since, .. }, _) => {
                (before.clone(), before_text.clone(), *since)
            }
            (
                Grant::Never | Grant::Suspect { .. } | Grant::Dead { .. },
                Some((reason, text, since)),
            ) => (reason, text.to_owned(), since.unwrap_or(self.now)),
        };
        let (expected, found) = (expected.to_owned(), found.to_owned());
        self.c.grant = Grant::Unconfirmed { expected, found, since, before, before_text };
        self.tell_authorization();
    }

    fn tell_authorization(&mut self) {
        if !matches!(self.c.configured, Configured::Enabled) {
            return;
        }
        if let Some((reason, text, _)) = self.c.authorization() {
            let text = text.to_owned();
            let told = explain(&reason, &text);
            let generation = self.c.generation;
            self.fx.push(Effect::OpenRequest { generation, reason, text });
            self.raise(Concern::NeedsAuthorization, told);
        }
    }

    fn hold(&mut self, limit: &str, used: u64, max: u64, next_probe: Option<Time>) {
        let since = match self.c.hold {
            QuotaHold::Held { since, .. } => since,
            QuotaHold::Free => self.now,
        };
        self.c.hold = QuotaHold::Held { limit: limit.to_owned(), used, max, since, next_probe };
        self.raise(Concern::QuotaHeld, quota_text(limit, used, max));
        if let Activity::Starting { despite_quota: false, .. }
        | Activity::Running { despite_quota: false, .. } = self.c.activity
        {
            self.stop(StopWhy::Quota);
        }
    }

    fn raise_deletes(&mut self) {
        let held = &self.c.deletes_held;
        let list: Vec<String> = held.iter().map(|(o, n)| format!("{o}: {n} rows")).collect();
        self.raise(Concern::DeletesHeld, format!("deletes held for approval: {}", list.join(", ")));
    }

    /// The waits of before are void: what they waited for may have been cured.
    fn try_now(&mut self) {
        match &mut self.c.trouble {
            Trouble::None => {}
            Trouble::Retrying { next, .. } | Trouble::Problem { next, .. } => *next = self.now,
        }
    }

    fn stop(&mut self, why: StopWhy) {
        if self.c.busy() {
            self.fx.push(Effect::StopRun(why));
        }
    }

    fn raise(&mut self, concern: Concern, text: String) {
        // A connection put away tells nobody anything.
        if matches!(self.c.configured, Configured::Enabled) {
            self.fx.push(Effect::Raise { concern, text });
        }
    }

    /// What stands behind `Concern::Problem`, the most pressing first.
    fn problem_text(&self) -> Option<String> {
        let c = &self.c;
        let host =
            [("key missing", &c.key), ("disk full", &c.disk), ("replica unavailable", &c.replica)];
        for (word, trouble) in host {
            if let Some(trouble) = trouble {
                return Some(format!("{word}: {}", trouble.text));
            }
        }
        match &c.trouble {
            Trouble::Problem { problem, .. } => Some(problem.to_string()),
            Trouble::None | Trouble::Retrying { .. } => None,
        }
    }

    fn clear_problem(&mut self) {
        if self.problem_text().is_none() {
            self.fx.push(Effect::Clear(Concern::Problem));
        }
    }

    fn audit(&mut self, by: &str, text: &str) {
        self.fx.push(Effect::Audit { by: by.to_owned(), text: text.to_owned() });
    }

    /// The alarm that trusts no classification: it counts whenever success is possible and
    /// nobody has been told of a cause.
    fn watch(&mut self) {
        let c = &self.c;
        let possible = matches!(c.configured, Configured::Enabled)
            && matches!(c.pause, Pause::No)
            && matches!(c.grant, Grant::Good { .. } | Grant::Suspect { .. })
            && matches!(c.hold, QuotaHold::Free)
            && !matches!(c.trouble, Trouble::Problem { .. })
            && c.key.is_none()
            && c.disk.is_none()
            && c.replica.is_none();
        match (&c.alarm, possible) {
            (Alarm::Raised { .. }, _) | (Alarm::Off, false) => {}
            (Alarm::Watching { .. }, false) => self.c.alarm = Alarm::Off,
            (Alarm::Off, true) => self.c.alarm = Alarm::Watching { from: self.now },
            (Alarm::Watching { from }, true) => {
                let from = *from;
                if self.now >= after(from, self.rules.alarm_time()) {
                    self.c.alarm = Alarm::Raised { since: self.now, from };
                    let text = format!("no successful run since {from:.0}");
                    self.raise(Concern::NoSuccess, text);
                }
            }
        }
    }
}

pub(super) fn quota_text(limit: &str, used: u64, max: u64) -> String {
    if max == 0 {
        return format!("the provider says that {limit} is used up");
    }
    let percent = u128::from(used) * 100 / u128::from(max);
    format!("{limit} {used}/{max} ({percent} %)")
}
