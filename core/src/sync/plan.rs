//! From states to tasks.
//!
//! Pure, and without memory: planned twice, the same comes out. Invariants: what is waited for
//! holds nothing else back; jobs under way are counted over all objects of a connection.

use super::job::JobStage;
use super::{Job, ObjectState, Phase, Rules, Slot, Stage, Sweep, whole};
use crate::domain::{JobRead, JobStep, ObjectSchema, Task, TaskKind, Time};
use jiff::SignedDuration;

/// A task and the slot it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What it is for.
    pub slot: Slot,
    /// What to read.
    pub task: Task,
}

/// The shortest window that a delete log answers (Salesforce: one minute).
const SHORTEST_DELETE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// A window is read past the time that it will cover, to the end for all that matters: a record
/// that changed before that time and once more before its page is read has moved on, and would be
/// here in neither state.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// An object as planning sees it.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Its state.
    pub state: &'a ObjectState,
    /// Its schema.
    pub schema: &'a ObjectSchema,
    /// Keys known to the source but not here, for a sweep in its `Fetch` stage; in key order.
    pub missing: &'a [String],
    /// The provider says that a bulk job pays for a full read of it.
    pub job: bool,
}

/// The next tasks, most urgent first: changes and deletes of all objects, then what makes the
/// source's jobs go on, loads, and only then proofs.
///
/// `target` is the time this run wants to be caught up to, `now` the server's clock; both are
/// times before which nothing was sent yet. A `target` of [`Time::MIN`] asks for no changes and
/// deletes but those without which something else cannot go on: the first increment after a load,
/// and one that a count waits for. Empty when there is nothing to do before [`next_look`].
///
/// `elsewhere` counts [`jobs_under_way`] of objects of the connection that are not given. Where
/// jobs have to take turns, objects come first that stand first.
pub fn plan(
    objects: &[Object<'_>],
    elsewhere: usize,
    rules: &Rules,
    target: Time,
    now: Time,
) -> Vec<Planned> {
    let taken = elsewhere + jobs_under_way(objects.iter().map(|o| o.state));
    let mut turns = rules.jobs.max(1).saturating_sub(taken);
    let mut tasks = Vec::new();
    for object in objects.iter().filter(|o| !o.state.gone) {
        let mut of = Planner { object, rules, target, now, turns: &mut turns, out: Vec::new() };
        of.plan();
        tasks.append(&mut of.out);
    }
    // Stable: objects keep their order within a slot. `Window` and `Deleted` of one object stay
    // in separate groups; the provider pairs them when it packs.
    tasks.sort_by_key(urgency);
    tasks
}

fn urgency(planned: &Planned) -> (u8, Slot) {
    let class = match (&planned.task.kind, planned.slot) {
        (_, Slot::Window | Slot::Deleted) => 0,
        (TaskKind::Job { step: JobStep::Page { .. }, .. }, _) => 2,
        (TaskKind::Job { .. }, _) => 1,
        (_, Slot::Proof | Slot::Mend) => 3,
        (_, Slot::Fetch | Slot::Load | Slot::Part | Slot::Fill | Slot::Sweep) => 2,
    };
    (class, planned.slot)
}

/// How many of these have a job at the source.
pub fn jobs_under_way<'a>(states: impl IntoIterator<Item = &'a ObjectState>) -> usize {
    let under_way = |s: &&ObjectState| !s.gone && s.job.as_ref().is_some_and(Job::under_way);
    states.into_iter().filter(under_way).count()
}

/// When to plan again though nothing is to be done now: a job is to be looked at, or a window of
/// a proof to be confirmed by one more increment. None: nothing is waited for.
pub fn next_look<'a>(states: impl IntoIterator<Item = &'a ObjectState>) -> Option<Time> {
    states.into_iter().filter(|s| !s.gone).filter_map(ObjectState::due).min()
}

impl ObjectState {
    fn due(&self) -> Option<Time> {
        let look = self.job.as_ref().and_then(|job| match &job.stage {
            JobStage::Wait { next, .. } => Some(*next),
            JobStage::Ask
            | JobStage::Pages { .. }
            | JobStage::Abort { .. }
            | JobStage::Stuck { .. }
            | JobStage::Queries { .. }
            | JobStage::Read => None,
        });
        let unread = |t: &Time| matches!(&self.phase, Phase::Follow { covered, settled: true, .. } if covered < t);
        let count = self.doubts_since().filter(unread);
        look.into_iter().chain(count).min()
    }
}

struct Planner<'a, 'b> {
    object: &'a Object<'b>,
    rules: &'a Rules,
    target: Time,
    now: Time,
    turns: &'a mut usize,
    out: Vec<Planned>,
}

impl Planner<'_, '_> {
    fn push(&mut self, slot: Slot, fields: Vec<String>, kind: TaskKind) {
        let object = self.object.schema.name.clone();
        self.out.push(Planned { slot, task: Task { object, fields, kind } });
    }

    fn plan(&mut self) {
        let state = self.object.state;
        self.job();
        match &state.phase {
            Phase::Load { after, .. } => {
                // Nothing else makes sense before the rows are here.
                return self.read(Slot::Load, after.as_ref());
            }
            Phase::Reread { after, .. } => self.read(Slot::Load, after.as_ref()),
            Phase::Follow { .. } => {}
        }
        let window = self.window();
        let deleted = self.deleted();
        for (slot, kind) in state.proof_tasks(!window && !deleted) {
            let fields = if slot == Slot::Mend { state.fields.clone() } else { Vec::new() };
            self.push(slot, fields, kind);
        }
        if let Some(fill) = &state.fill {
            self.read(Slot::Fill, fill.after.as_ref());
        }
        match &state.sweep {
            Some(Sweep { stage: Stage::Keys { after }, .. }) => {
                self.read(Slot::Sweep, after.as_ref());
            }
            Some(Sweep { stage: Stage::Fetch { .. }, .. }) if !self.object.missing.is_empty() => {
                let page = self.rules.page.max(1);
                let ids = self.object.missing.iter().take(page).cloned().collect();
                self.push(Slot::Fetch, state.fields.clone(), TaskKind::Ids { ids });
            }
            Some(_) | None => {}
        }
    }

    /// The next step of the job under way, whatever it serves.
    fn job(&mut self) {
        let Some(job) = &self.object.state.job else { return };
        let turn = *self.turns > 0;
        let Some((slot, task)) = job.next(&self.object.schema.name, self.now, turn) else { return };
        if matches!(task.kind, TaskKind::Job { step: JobStep::Start, .. }) {
            *self.turns -= 1;
        }
        self.out.push(Planned { slot, task });
    }

    /// A full read: by a job where that pays and nothing was read yet, else by pages of queries.
    fn read(&mut self, slot: Slot, after: Option<&String>) {
        let state = self.object.state;
        if state.by_job(slot) {
            return;
        }
        let fields = state.fields_of(slot);
        if self.object.job && after.is_none() && state.takes_jobs(self.now) {
            // One job of an object at a time.
            if state.job.is_none() && *self.turns > 0 && !self.starts() {
                *self.turns -= 1;
                let (read, step) = (JobRead::default(), JobStep::Start);
                self.push(slot, fields, TaskKind::Job { read, step });
            }
            return;
        }
        let after = after.cloned();
        let kind =
            if slot == Slot::Sweep { TaskKind::Keys { after } } else { TaskKind::Scan { after } };
        self.push(slot, fields, kind);
    }

    fn starts(&self) -> bool {
        self.out.iter().any(|p| matches!(p.task.kind, TaskKind::Job { .. }))
    }

    /// Changes; whether there is something to be asked.
    fn window(&mut self) -> bool {
        let Object { state, schema, .. } = *self.object;
        let Phase::Follow { covered, window, .. } = &state.phase else { return false };
        let Some(to) = state.next_window(self.target, whole(self.now)) else { return false };
        let kind = if let Some(w) = window {
            TaskKind::Window { from: w.from, to: w.to, after: w.after.clone() }
        } else if schema.stamp.is_some() {
            let to = to.checked_add(AHEAD).unwrap_or(Time::MAX);
            TaskKind::Window { from: back(*covered, self.rules.overlap), to, after: None }
        } else {
            return false;
        };
        self.push(Slot::Window, state.fields.clone(), kind);
        true
    }

    /// The log of deletes; whether there is something to be asked.
    fn deleted(&mut self) -> bool {
        let (Object { state, schema, .. }, target) = (*self.object, self.target);
        let covered = state.deletes_covered.unwrap_or(self.now);
        let asked = state.deletes_asked.is_some_and(|asked| asked >= target);
        if !schema.delete_log || covered >= target || asked {
            return false;
        }
        let from = covered.min(back(target, SHORTEST_DELETE_WINDOW));
        self.push(Slot::Deleted, Vec::new(), TaskKind::Deleted { from, to: target });
        true
    }
}

fn back(time: Time, by: SignedDuration) -> Time {
    time.checked_sub(by).unwrap_or(Time::MIN)
}
