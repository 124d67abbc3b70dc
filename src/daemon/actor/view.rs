//! What people are shown of a connection.

use super::Actor;
use crate::control::protocol::{
    ConnectionDetail, ConnectionStatus, JobStatus, NoticeLine, ObjectStatus, ProofStatus,
    QuotaStatus, Refusal, RequestLine, RunLine, SCHEMA_VERSION,
};
use crate::daemon::actor::effects::refused;
use crate::daemon::toll::Gate;
use crate::daemon::work::{ObjectSummary, rules};
use crate::store::{Store, StoredRun};
use crmsync_core::connection::{self, Configured};
use crmsync_core::domain::ConnectionName;
use crmsync_core::notice::Condition;
use crmsync_core::quota;
use crmsync_core::reauth::{Request, State};
use crmsync_core::sync::{self, Phase, Slot, Waiting};
use std::sync::PoisonError;

impl Actor {
    pub(super) fn status(&self) -> ConnectionStatus {
        let now = self.shared.env.now();
        let s = connection::status(&self.state, self.name.as_str(), now);
        let deletes: Vec<_> = self
            .summary
            .iter()
            .filter(|o| !o.state.gone)
            .map(|o| o.state.deletes_known().filter(|_| o.state.caught_up().is_some()))
            .collect();
        let states = || self.summary.iter().map(|o| &o.state);
        ConnectionStatus {
            name: self.name.to_string(),
            provider: self.settings.provider.clone(),
            status: s.word.to_string(),
            reason: s.reason,
            since: s.since,
            detail: s.detail,
            hint: s.hint,
            needs_authorization: s.needs_authorization,
            caught_up_to: sync::caught_up(states()),
            deletes_to: deletes
                .into_iter()
                .collect::<Option<Vec<_>>>()
                .and_then(|d| d.into_iter().min()),
            rows: self.summary.iter().map(|o| o.live).sum(),
            next_run: self.next_due,
            retired: matches!(self.state.configured, Configured::Retired { .. }),
        }
    }

    pub(super) fn detail(&self) -> Result<ConnectionDetail, Refusal> {
        let what = "reading a connection";
        let identity = self.holder.identity().map_err(|e| refused(what, &e))?;
        let runs = self.shared.store.runs(&self.id, 10).map_err(|e| refused(what, &e))?;
        let quota = self.gate.as_ref().map(|g| quota_status(g, &self.shared.store, &[]));
        Ok(ConnectionDetail {
            schema: SCHEMA_VERSION,
            status: self.status(),
            org: identity.as_ref().map(|i| match &i.org_name {
                Some(name) => format!("{} ({name})", i.org_id),
                None => i.org_id.clone(),
            }),
            account: identity.as_ref().map(|i| i.username.clone()),
            address: identity.as_ref().map(|i| i.address.clone()),
            created: self.created,
            modified: self.modified,
            modified_by: self.modified_by.clone(),
            schedule: self.settings.schedule.to_string(),
            admins: self.settings.admins.clone(),
            replica: self.copy.place().to_string(),
            objects: self.summary.iter().map(|o| self.object(o)).collect(),
            quota,
            runs: runs.iter().map(|r| run_line(self.name.as_str(), r)).collect(),
            request: self
                .request
                .as_ref()
                .filter(|r| r.is_open())
                .map(|r| request_line(&self.name, r)),
            notices: self.notices.open().map(|c| notice_line(&self.name, c)).collect(),
        })
    }

    /// What a job is waited for, as the run under way knows it.
    fn waits(&self, o: &ObjectSummary) -> Option<Waiting> {
        let live = self.running.as_ref().and_then(|run| {
            run.live.lock().unwrap_or_else(PoisonError::into_inner).get(&o.name).cloned()
        });
        live.as_ref().unwrap_or(&o.state).waits(&rules(&self.settings))
    }

    fn object(&self, o: &ObjectSummary) -> ObjectStatus {
        let trouble = self.state.objects.get(&o.name);
        let phase = match (&o.state.phase, &o.state.sweep, &o.state.fill) {
            _ if o.state.gone => "gone",
            _ if trouble.is_some() => "refused",
            (Phase::Load { .. }, ..) => "loading",
            (_, Some(_), _) => "comparing keys",
            (_, _, Some(_)) => "filling fields",
            (Phase::Reread { .. }, ..) => "reading again",
            (Phase::Follow { settled: false, .. }, ..) => "loading",
            (Phase::Follow { .. }, ..) => "following",
        };
        ObjectStatus {
            name: o.name.clone(),
            table: o.table.clone(),
            phase: phase.to_owned(),
            rows: o.live,
            deleted: o.deleted,
            hidden: o.hidden,
            odd: o.odd,
            caught_up_to: o.state.caught_up(),
            deletes_to: o.state.deletes_known(),
            held: o.state.held,
            trouble: trouble.map(|t| t.text.clone()),
            job: self.waits(o).map(|w| JobStatus {
                reads: match w.slot {
                    Slot::Fill => "new fields",
                    Slot::Sweep => "keys",
                    Slot::Load
                    | Slot::Part
                    | Slot::Window
                    | Slot::Deleted
                    | Slot::Proof
                    | Slot::Mend
                    | Slot::Fetch => "rows",
                }
                .to_owned(),
                since: w.since,
                says: w.says,
                next_look: w.next,
                gives_up: w.gives_up,
                rows: w.rows,
                expected: w.expected,
            }),
            proof: o.state.proved.as_ref().map(|p| ProofStatus {
                at: p.at,
                upper: p.upper,
                rows: p.rows,
                repaired: p.repaired,
                differs: p.differs,
                unproved: p.unproved.clone(),
            }),
            calculated_to: o.state.calculated_covered,
            fields: o.state.fields.len(),
        }
    }
}

/// A stored run as the log shows it.
pub fn run_line(connection: &str, stored: &StoredRun) -> RunLine {
    let mut line: RunLine = serde_json::from_str(&stored.run.json).unwrap_or(RunLine {
        id: String::new(),
        connection: String::new(),
        started: stored.run.started,
        ended: Some(stored.run.ended),
        outcome: stored.run.outcome.clone(),
        calls: 0,
        read: 0,
        changed: 0,
        deleted: 0,
        repeated: 1,
        lines: Vec::new(),
    });
    line.id = stored.id.to_string();
    connection.clone_into(&mut line.connection);
    line.started = stored.run.started;
    line.ended = Some(stored.run.ended);
    line.calls = stored.run.calls;
    line.repeated = stored.count;
    line
}

/// A request for people.
pub fn request_line(connection: &ConnectionName, r: &Request) -> RequestLine {
    let (state, detail) = match &r.state {
        State::Open => ("open", r.last_failure.clone().unwrap_or_default()),
        State::Attempting { attempt } => ("started", format!("by {}", attempt.by)),
        State::AwaitingConfirmation { candidate, expected, .. } => {
            ("awaiting confirmation", format!("expected {expected}, came {}", candidate.username))
        }
        State::Closed { .. } => ("closed", String::new()),
    };
    RequestLine {
        id: r.id.clone(),
        connection: connection.to_string(),
        reason: r.reason.to_string(),
        opened: r.opened,
        state: state.to_owned(),
        detail,
    }
}

/// A notice for people.
pub fn notice_line(connection: &ConnectionName, c: &Condition) -> NoticeLine {
    NoticeLine {
        connection: Some(connection.to_string()),
        kind: c.concern.word().to_owned(),
        text: c.text.clone(),
        opened: c.opened,
        closed: c.stage.ended(),
        mailed: c.stage.told(),
    }
}

/// A quota domain for people; its nearest limit in front.
pub fn quota_status(gate: &Gate, store: &Store, connections: &[String]) -> QuotaStatus {
    let report = gate.report();
    let nearest = report.limits.iter().max_by_key(|l| l.percent);
    let (held_since, next_probe) = match &report.hold {
        quota::Hold::Held { since, next_probe, .. } => (Some(*since), Some(*next_probe)),
        quota::Hold::Free => (None, None),
    };
    let points = nearest
        .map(|l| l.learned)
        .and_then(|now| {
            let from = now.checked_sub(jiff::SignedDuration::from_hours(24)).ok()?;
            let to = now.checked_add(jiff::SignedDuration::from_hours(1)).ok()?;
            store.plot(&gate.domain().0, from, to).ok()
        })
        .unwrap_or_default();
    QuotaStatus {
        domain: gate.domain().0.clone(),
        connections: connections.to_vec(),
        limit: nearest.map(|l| l.limit.clone()).unwrap_or_default(),
        used: nearest.map_or(0, |l| l.used),
        max: nearest.map_or(0, |l| l.max),
        percent: nearest.map_or(0, |l| l.percent),
        own: report.own_day,
        line: nearest.map_or(0, |l| l.line),
        held_since,
        next_probe,
        exempt: report
            .above_line
            .iter()
            .map(|(why, n)| {
                let word = serde_json::to_value(why).ok();
                let word = word.and_then(|w| w.as_str().map(str::to_owned)).unwrap_or_default();
                (word, *n)
            })
            .collect(),
        points: points.into_iter().filter_map(|p| Some((p.at, p.used?))).collect(),
    }
}
