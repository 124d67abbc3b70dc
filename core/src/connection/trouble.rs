use super::backoff;
use super::event::{Effect, StopWhy};
use super::state::{
    Activity, Alarm, Configured, Grant, HostTrouble, ObjectTrouble, Pause, QuotaHold, Trouble,
};
use super::step::{Stepper, after};
use crate::domain::{Concern, Fault, Problem, Time};
use std::collections::BTreeMap;

/// What of the host may be in trouble.
#[derive(Clone, Copy)]
pub(super) enum Host {
    Replica,
    Disk,
    Key,
}

/// What stands in the way besides the grant, and the alarm.
impl Stepper<'_> {
    pub(super) fn host_bad(&mut self, host: Host, text: &str) {
        let (now, rules) = (self.now, self.rules);
        let slot = self.host(host);
        let (since, attempts) =
            slot.as_ref().map_or((now, 1), |h| (h.since, h.attempts.saturating_add(1)));
        let next = after(now, backoff(attempts, None, rules));
        *slot = Some(HostTrouble { text: text.to_owned(), since, attempts, next });
        if let Some(text) = self.problem_text() {
            self.raise(Concern::Problem, text);
        }
        self.stop(StopWhy::Host);
    }

    pub(super) fn host_back(&mut self, host: Host) {
        if self.host(host).take().is_some() {
            self.clear_problem();
            self.ring();
        }
    }

    fn host(&mut self, host: Host) -> &mut Option<HostTrouble> {
        match host {
            Host::Replica => &mut self.c.replica,
            Host::Disk => &mut self.c.disk,
            Host::Key => &mut self.c.key,
        }
    }

    pub(super) fn objects(&mut self, failing: &BTreeMap<String, Fault>) {
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
    pub(super) fn fault(&mut self, fault: &Fault) {
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
    pub(super) fn passing(&mut self, what: &str, retry_after: Option<jiff::SignedDuration>) {
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

    pub(super) fn hold(&mut self, limit: &str, used: u64, max: u64, next_probe: Option<Time>) {
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

    pub(super) fn raise_deletes(&mut self) {
        let held = &self.c.deletes_held;
        let list: Vec<String> = held.iter().map(|(o, n)| format!("{o}: {n} rows")).collect();
        self.raise(Concern::DeletesHeld, format!("deletes held for approval: {}", list.join(", ")));
    }

    /// The waits of before are void: what they waited for may have been cured.
    pub(super) fn try_now(&mut self) {
        match &mut self.c.trouble {
            Trouble::None => {}
            Trouble::Retrying { next, .. } | Trouble::Problem { next, .. } => *next = self.now,
        }
    }

    /// What stands behind `Concern::Problem`, the most pressing first.
    pub(super) fn problem_text(&self) -> Option<String> {
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

    pub(super) fn clear_problem(&mut self) {
        if self.problem_text().is_none() {
            self.fx.push(Effect::Clear(Concern::Problem));
        }
    }

    /// The alarm that trusts no classification: it counts whenever success is possible and
    /// nobody has been told of a cause.
    pub(super) fn watch(&mut self) {
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
                if self.now < after(from, self.rules.alarm_time()) {
                    return;
                }
                if let Trouble::Retrying { what, since, attempts, next } = self.c.trouble.clone() {
                    // Its cause is known, so it is that matter's notice: one, not two.
                    let problem = Problem::ProviderFailing { since, what: what.clone() };
                    self.raise(Concern::Problem, format!("{problem}: {what}"));
                    self.c.trouble = Trouble::Problem { problem, since, attempts, next };
                    self.c.alarm = Alarm::Off;
                } else {
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
