//! What to read next, and what a reading means for the cursor.
//!
//! Per object one [`ObjectState`], stored in the replica in the same transaction as the rows it
//! covers. [`plan`] turns states into tasks; [`ObjectState::delivered`] and
//! [`ObjectState::stepped`] move a state on. Invariants: a state never claims more than what was
//! committed with it; `covered` only grows by a finished window; the first load is no snapshot, so
//! an object counts as loading until its first increment is in; deletes found by absence pass the
//! guard or wait for approval.
//!
//! How the caller goes about it, in a loop: for each object [`ObjectState::begin_due`], then
//! [`ObjectState::ripe`] (what it names is ended by `stepped(slot, None, &Step::Done, now)` and
//! what that says is carried out); then [`plan`]. A page of a job is streamed into one transaction
//! that ends with the state that `stepped(.., &Step::Page { .. }, ..)` made of a clone; its key is
//! built there too when that says [`Consequence::Key`]. A [`Step::Counted`] goes, with the
//! replica's own count, to [`ObjectState::counted`]. When nothing is left to plan, [`next_look`]
//! says when to come back.

mod job;
mod policy;
mod proof;
mod state;

pub use job::{Job, JobStage, NoJob, Puts, Waiting, next_look};
pub use policy::{Reading, fields_to_read};
pub use proof::{Proof, Proved, Span, SpanStage};
pub use state::{Consequence, Fill, ObjectState, Phase, Stage, Sweep, SweepReason, Window};

use crate::domain::{ObjectSchema, Task, TaskKind, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Which part of an object's work a task serves. `Load`, `Fill` and `Sweep` go by pages of queries
/// or by a bulk job ([`TaskKind::Job`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Changes since the cursor.
    Window,
    /// The source's log of hard deletes.
    Deleted,
    /// Counts that prove the copy: [`TaskKind::Count`].
    Proof,
    /// Rows of a window that was proved to differ, read again: [`TaskKind::Window`].
    Mend,
    /// Rows that a sweep found to be missing here.
    Fetch,
    /// First load (or a whole re-read of an object without a stamp).
    Load,
    /// A part of what a job was to read, read by queries instead: [`TaskKind::Window`].
    Part,
    /// New fields of rows that are here already.
    Fill,
    /// Keys of a sweep.
    Sweep,
}

/// A task and the slot it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What it is for.
    pub slot: Slot,
    /// What to read.
    pub task: Task,
}

/// Settings that planning depends on.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Overlap of incremental reads: how long a transaction may stay open unseen.
    pub overlap: SignedDuration,
    /// How often keys are compared where the source has no log of deletes.
    pub sweep_every: SignedDuration,
    /// Records asked for by key at a time.
    pub page: usize,
    /// Jobs of a connection under way at the source at the same time.
    pub jobs: usize,
    /// A job without a result after this time is given up.
    pub job_patience: SignedDuration,
    /// How often the copy is proved by counts.
    pub prove_every: SignedDuration,
    /// How often calculated fields are read again.
    pub calculated_every: SignedDuration,
}

/// The most that one sweep may delete without approval: percent of the object, and rows.
pub const GUARD_PERCENT: u8 = 10;
/// See [`GUARD_PERCENT`].
pub const GUARD_ROWS: u64 = 1000;
/// The shortest window that a delete log answers (Salesforce: one minute).
const SHORTEST_DELETE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

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

/// The next tasks, most urgent first: changes and deletes of all objects before any load goes on.
///
/// `target` is the time this run wants to be caught up to, `now` the server's clock; both are
/// times before which nothing was sent yet. Empty when there is nothing left to do.
pub fn plan(objects: &[Object<'_>], rules: &Rules, target: Time, now: Time) -> Vec<Planned> {
    let mut tasks = Vec::new();
    for object in objects {
        tasks.extend(plan_object(object, rules, target, now));
    }
    // Stable: objects keep their order within a slot. `Window` and `Deleted` of one object stay
    // in separate groups; the provider pairs them when it packs.
    tasks.sort_by_key(|p| p.slot);
    tasks
}

fn plan_object(object: &Object<'_>, rules: &Rules, target: Time, now: Time) -> Vec<Planned> {
    let Object { state, schema, missing, job: _ } = *object;
    let mut out = Vec::new();
    let mut push = |slot, fields: Vec<String>, kind| {
        out.push(Planned { slot, task: Task { object: schema.name.clone(), fields, kind } });
    };
    if state.gone {
        return out;
    }
    match &state.phase {
        Phase::Load { after, .. } => {
            push(Slot::Load, state.fields.clone(), TaskKind::Scan { after: after.clone() });
            return out; // nothing else makes sense before the rows are here
        }
        Phase::Follow { covered, window, .. } => {
            if let Some(w) = window {
                let kind = TaskKind::Window { from: w.from, to: w.to, after: w.after.clone() };
                push(Slot::Window, state.fields.clone(), kind);
            } else if schema.stamp.is_some()
                && let Some(to) = state.next_window(target, now)
            {
                let from = back(*covered, rules.overlap);
                push(
                    Slot::Window,
                    state.fields.clone(),
                    TaskKind::Window { from, to, after: None },
                );
            }
        }
        Phase::Reread { after, .. } => {
            push(Slot::Load, state.fields.clone(), TaskKind::Scan { after: after.clone() });
        }
    }
    if schema.delete_log {
        let covered = state.deletes_covered.unwrap_or(now);
        if covered < target && state.deletes_asked.is_none_or(|asked| asked < target) {
            let from = covered.min(back(target, SHORTEST_DELETE_WINDOW));
            push(Slot::Deleted, Vec::new(), TaskKind::Deleted { from, to: target });
        }
    }
    if let Some(fill) = &state.fill {
        let mut fields = vec![schema.key.clone()];
        fields.extend(fill.fields.iter().cloned());
        push(Slot::Fill, fields, TaskKind::Scan { after: fill.after.clone() });
    }
    match &state.sweep {
        Some(Sweep { stage: Stage::Keys { after }, .. }) => {
            push(Slot::Sweep, vec![schema.key.clone()], TaskKind::Keys { after: after.clone() });
        }
        Some(Sweep { stage: Stage::Fetch { .. }, .. }) if !missing.is_empty() => {
            let ids = missing.iter().take(rules.page.max(1)).cloned().collect();
            push(Slot::Fetch, state.fields.clone(), TaskKind::Ids { ids });
        }
        Some(_) | None => {}
    }
    out
}

fn back(time: Time, by: SignedDuration) -> Time {
    time.checked_sub(by).unwrap_or(Time::MIN)
}

/// The time a connection is caught up to: the oldest of its objects'; none while one is loading
/// or is being compared after a change of sight.
pub fn caught_up<'a>(states: impl IntoIterator<Item = &'a ObjectState>) -> Option<Time> {
    let mut oldest = None;
    for state in states {
        if state.gone {
            continue;
        }
        let t = state.caught_up()?;
        oldest = Some(oldest.map_or(t, |o: Time| o.min(t)));
    }
    oldest
}

#[cfg(test)]
mod tests;
