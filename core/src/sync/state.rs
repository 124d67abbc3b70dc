use super::{Job, NoJob, Proof, Proved, Rules, Slot, whole};
use crate::domain::{ObjectSchema, Time};
use serde::{Deserialize, Serialize};

/// How far an object has been read. Kept as JSON in the replica, beside the rows it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Fields that are read, in column order, the key first.
    pub fields: Vec<String>,
    /// Loading or following.
    pub phase: Phase,
    /// The source's delete log (or the last finished sweep) was read up to here.
    #[serde(default)]
    pub deletes_covered: Option<Time>,
    /// The delete log was asked up to here in this run; it may vouch for less, and asking again
    /// at once would bring the same. Not kept.
    #[serde(skip)]
    pub deletes_asked: Option<Time>,
    /// A comparison of keys under way.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// New fields being filled.
    #[serde(default)]
    pub fill: Option<Fill>,
    /// Deletes held for approval: how many rows.
    #[serde(default)]
    pub held: Option<u64>,
    /// The object is no longer at the source (or not visible): its rows stay, nothing is read.
    #[serde(default)]
    pub gone: bool,
    /// A bulk job under way, for one of its slots.
    #[serde(default)]
    pub job: Option<Job>,
    /// The provider refused to read it by jobs.
    #[serde(default)]
    pub no_job: Option<NoJob>,
    /// A proof under way.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// What the last proof brought.
    #[serde(default)]
    pub proved: Option<Proved>,
    /// Calculated fields are as of this time; none: there are none (or it is not known).
    #[serde(default)]
    pub calculated_covered: Option<Time>,
    /// The last increment of this run ended here: counts may follow at once. Not kept.
    #[serde(skip)]
    pub fresh: Option<Time>,
}

/// Loading or following.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// First load, key by key. `started` is the server's clock before the first query.
    Load {
        /// Server time.
        started: Time,
        /// Position.
        after: Option<String>,
    },
    /// Changes are followed; `covered` is the end of the last finished window.
    Follow {
        /// Everything before is here, but for transactions open longer than the overlap.
        covered: Time,
        /// False until the first increment after a load is in.
        settled: bool,
        /// A window that was begun.
        window: Option<Window>,
    },
    /// Whole re-read of an object without a stamp.
    Reread {
        /// Server time at its beginning.
        started: Time,
        /// Position.
        after: Option<String>,
        /// What the last finished read covers.
        covered: Time,
    },
}

/// A window that was begun: its bounds stay while its pages are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Inclusive.
    pub from: Time,
    /// Exclusive.
    pub to: Time,
    /// Position.
    pub after: Option<String>,
}

/// A comparison of keys: first all keys of the source are noted, then rows not seen are deleted
/// (or hidden), then keys not here are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Server time at its beginning; deletes before it are covered once it ends.
    pub started: Time,
    /// Why; decides what becomes of rows that are not seen.
    pub reason: SweepReason,
    /// How far.
    pub stage: Stage,
    /// An admin released the guard for this one.
    #[serde(default)]
    pub approved: bool,
}

/// Why keys are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SweepReason {
    /// The source has no log of deletes.
    Schedule,
    /// The source's log does not reach back far enough.
    LogGap,
    /// Account, profile, role or permission changed: rows not seen are hidden, never deleted.
    Sight,
    /// Counts say that there are rows here which the source has not.
    Proof,
}

/// How far a sweep has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Keys are being noted.
    Keys {
        /// Position.
        after: Option<String>,
    },
    /// Rows that the source has and we have not are being fetched; `after` is the last key tried.
    Fetch {
        /// Keys up to here were asked for.
        after: Option<String>,
    },
}

/// New fields being read for rows that are here already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The fields.
    pub fields: Vec<String>,
    /// Position.
    pub after: Option<String>,
    /// Calculated fields among them are read as of this time.
    #[serde(default)]
    pub calculated: Option<Time>,
}

/// What the replica has to do together with storing the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// Forget what an earlier sweep noted.
    BeginSweep,
    /// Delete or hide rows that the finished sweep did not see, behind the guard unless released.
    /// Rows written since the sweep began are left alone: it may have passed their place.
    EndSweep {
        /// Hide instead of delete.
        hide: bool,
        /// The guard is off.
        approved: bool,
    },
    /// These are gone for good.
    Delete(Vec<(String, Time)>),
    /// The first load is in: the table gets its key. Harmless where it has one.
    Key,
}

impl ObjectState {
    /// A new object: everything is to be loaded. `now` is the server's clock.
    pub fn new(fields: Vec<String>, now: Time) -> Self {
        Self {
            fields,
            phase: Phase::Load { started: now, after: None },
            deletes_covered: Some(now),
            deletes_asked: None,
            sweep: None,
            fill: None,
            held: None,
            gone: false,
            job: None,
            no_job: None,
            proof: None,
            proved: None,
            calculated_covered: None,
            fresh: None,
        }
    }

    /// Whether the first load and its first increment are still under way.
    pub fn loading(&self) -> bool {
        matches!(self.phase, Phase::Load { .. } | Phase::Follow { settled: false, .. })
    }

    /// The time this object is caught up to; see the manual for what that promises.
    pub fn caught_up(&self) -> Option<Time> {
        if matches!(self.sweep, Some(Sweep { reason: SweepReason::Sight, .. })) {
            return None;
        }
        match &self.phase {
            Phase::Load { .. } | Phase::Follow { settled: false, .. } => None,
            Phase::Follow { covered, .. } | Phase::Reread { covered, .. } => {
                let filling = self.job.as_ref().filter(|j| j.fills());
                Some(filling.map_or(*covered, |job| job.started.min(*covered)))
            }
        }
    }

    /// The time up to which deletes are known; none while keys are compared because the source's
    /// log does not reach back far enough, or because our sight changed.
    pub fn deletes_known(&self) -> Option<Time> {
        let open = matches!(
            &self.sweep,
            Some(Sweep {
                reason: SweepReason::LogGap | SweepReason::Sight,
                stage: Stage::Keys { .. },
                ..
            })
        );
        self.deletes_covered.filter(|_| !open)
    }

    /// The end of the next window, if one is due.
    pub(super) fn next_window(&self, target: Time, now: Time) -> Option<Time> {
        let Phase::Follow { covered, settled, .. } = &self.phase else { return None };
        if !settled || self.doubts_since().is_some_and(|t| *covered < t && t <= now) {
            return Some(now.max(*covered));
        }
        (*covered < target).then_some(target)
    }

    /// Begins what is due by the clock before planning: a scheduled sweep, a proof, the re-read of
    /// calculated fields or of an object without a stamp; gives up a job that takes too long.
    /// Returns whether the notes of an earlier sweep are to be forgotten.
    pub fn begin_due(&mut self, schema: &ObjectSchema, rules: &Rules, now: Time) -> bool {
        if self.gone {
            return false;
        }
        self.drop_idle_job();
        self.unstick(schema, rules, now);
        let now = whole(now);
        self.begin_calculated(schema, rules, now);
        self.begin_proof(schema, rules, now);
        let every = |t: Time| t.checked_add(rules.sweep_every).unwrap_or(Time::MAX);
        if schema.stamp.is_none()
            && let Phase::Follow { covered, settled, .. } = &mut self.phase
        {
            *settled = true; // no increment will come
            if every(*covered) <= now {
                self.phase = Phase::Reread { started: now, after: None, covered: *covered };
            }
        }
        let due = self.deletes_covered.is_none_or(|t| every(t) <= now);
        if self.sweep.is_none() && !self.loading() && !schema.delete_log && due {
            self.begin_sweep(SweepReason::Schedule, now);
            return true;
        }
        false
    }

    /// Begins a sweep. One that hides is never weakened to one that deletes, and a new reason
    /// starts over; nothing is compared while a first load is under way, but after a change of
    /// sight in its midst what was passed by then is compared once it is in. The caller forgets the
    /// notes of an earlier sweep ([`Consequence::BeginSweep`]).
    pub fn begin_sweep(&mut self, reason: SweepReason, now: Time) {
        // After a refused job rows may be in although nothing says so.
        let begun = self.load_begun() || self.job.is_some() || self.no_job.is_some();
        if matches!(self.phase, Phase::Load { .. }) && (!begun || reason != SweepReason::Sight) {
            return;
        }
        self.abandon(Slot::Sweep);
        let sight = matches!(self.sweep, Some(Sweep { reason: SweepReason::Sight, .. }));
        let reason = if sight { SweepReason::Sight } else { reason };
        let stage = Stage::Keys { after: None };
        self.sweep = Some(Sweep { started: now, reason, stage, approved: false });
    }

    /// An admin approved the held deletes: compare afresh, without the guard.
    pub fn approve(&mut self, now: Time) -> bool {
        if self.held.is_none() {
            return false;
        }
        self.begin_sweep(SweepReason::Schedule, now);
        if let Some(sweep) = &mut self.sweep {
            sweep.approved = sweep.reason != SweepReason::Sight;
        }
        true
    }
}
