//! Calls: planned tasks are packed, sent, and what comes back is committed.

use super::prelude::{Again, json};
use super::{Progress, Run, Stop, patiently};
use crate::provider::{Ctx, Failure};
use crate::replica::{Absent, Applied, Change, Deletes, Guard, Mode, Window};
use crmsync_core::config::settings;
use crmsync_core::domain::{Call, Delivered, Fault, JobStep, Schema, Step, Task, TaskKind, Time};
use crmsync_core::sync::{
    self, Consequence, GUARD_PERCENT, GUARD_ROWS, Object, ObjectState, Planned, Puts, Slot, Stage,
    Sweep,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

impl Run {
    /// What is to be read next.
    pub(super) async fn plan(&mut self, target: Time, now: Time) -> Result<Vec<Planned>, Stop> {
        let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let names: Vec<String> = self
            .states
            .keys()
            .filter(|o| self.schemas.contains_key(*o) && !self.failing.contains_key(*o))
            .cloned()
            .collect();
        for object in &names {
            let (Some(state), Some(schema)) =
                (self.states.get_mut(object), self.schemas.get(object))
            else {
                continue;
            };
            if state.begin_due(schema, &self.rules, now) {
                self.begin_sweep(object).await?;
            }
            while let Some(slot) = self.states.get(object).and_then(ObjectState::ripe) {
                self.ripen(object, slot, now).await?;
            }
            let fetching = match self.states.get(object).and_then(|s| s.sweep.clone()) {
                Some(Sweep { stage: Stage::Fetch { after }, .. }) => Some(after),
                Some(_) | None => None,
            };
            if let Some(after) = fetching {
                let (name, page) = (object.clone(), self.rules.page);
                let keys = self
                    .work
                    .copy
                    .with(move |r| r.take_new_keys(&name, after.as_deref(), page))
                    .await?;
                if keys.is_empty() {
                    if let Some(state) = self.states.get_mut(object) {
                        state.fetched(None, true);
                    }
                    self.store_state(object).await?;
                }
                missing.insert(object.clone(), keys);
            }
        }
        let jobs = self.jobs_that_pay(&names).await?;
        let none = Vec::new();
        let objects: Vec<Object<'_>> = names
            .iter()
            .filter_map(|o| {
                Some(Object {
                    state: self.states.get(o)?,
                    schema: self.schemas.get(o)?,
                    missing: missing.get(o).unwrap_or(&none),
                    job: jobs.contains(o),
                })
            })
            .collect();
        let failing = self.failing.keys().filter_map(|o| self.states.get(o));
        let elsewhere = sync::jobs_under_way(failing);
        Ok(sync::plan(&objects, elsewhere, &self.rules, target, now))
    }

    /// Packs and sends the tasks, one call after the other.
    pub(super) async fn do_calls(&mut self, planned: &[Planned], now: Time) -> Result<(), Stop> {
        let schema = Arc::new(Schema { objects: self.schemas.clone() });
        let tasks: Vec<Task> = planned.iter().map(|p| p.task.clone()).collect();
        let calls = self.work.provider.calls(&tasks, &schema, &self.work.domain, usize::MAX);
        for call in calls {
            self.go_on()?;
            let slots: Vec<Slot> = call
                .tasks
                .iter()
                .map(|t| planned.iter().find(|p| p.task == *t).map_or(part_of(t), |p| p.slot))
                .collect();
            let moved = self.do_call(&call, &slots, &schema, now).await?;
            if moved {
                // The source's schema changed under us: what was planned may name lost fields.
                self.describe(Again::Moved).await?;
                self.lay_out(now).await?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// One call. Returns whether the schema moved.
    async fn do_call(
        &mut self,
        call: &Call,
        slots: &[Slot],
        schema: &Arc<Schema>,
        now: Time,
    ) -> Result<bool, Stop> {
        let provider = Arc::clone(&self.work.provider);
        let toll = Arc::clone(&self.toll);
        let mut session = self.work.holder.session().await?;
        for attempt in 0..2 {
            let ctx = Ctx { session: &session, toll: toll.as_ref() };
            let outcome = if is_page(call) {
                self.job_page(ctx, call, slots, schema, now).await?
            } else {
                // Two pages may wait while one is written.
                let (sink, batches) = mpsc::channel(2);
                let sent = provider.send(ctx, call, schema, sink);
                let cut = self.work.cut.clone();
                let both = async { tokio::join!(sent, self.write_batches(call, slots, batches)) };
                let (outcome, written) = patiently(&cut, both).await?;
                written?;
                outcome
            };
            match outcome {
                Ok(outcome) => {
                    self.clock.tell(outcome.server_time);
                    return self.finish(call, slots, outcome.steps, now).await;
                }
                Err(Failure::Held) => return Err(Stop::Quota),
                // These bear their own trouble: a source that cannot do them in time is asked for
                // less, and the run goes on.
                Err(Failure::Fault(fault @ Fault::Passing { .. }))
                    if slots.iter().all(|s| matches!(s, Slot::Proof | Slot::Mend | Slot::Part)) =>
                {
                    let steps = vec![Step::Failed(fault); call.tasks.len()];
                    return self.finish(call, slots, steps, now).await;
                }
                Err(Failure::Fault(fault)) => {
                    return Err(Stop::Fault(fault));
                }
                Err(Failure::SessionDead(text)) if attempt == 0 => {
                    session = self.work.holder.renew(&session, &text).await?;
                }
                Err(Failure::SessionDead(text)) => {
                    return Err(Stop::Fault(Fault::passing(format!(
                        "a session that was just made is refused: {text}"
                    ))));
                }
            }
        }
        Ok(false)
    }

    /// Commits batches as they come, each with the position that covers it.
    async fn write_batches(
        &mut self,
        call: &Call,
        slots: &[Slot],
        mut batches: mpsc::Receiver<Delivered>,
    ) -> Result<(), Stop> {
        while let Some(Delivered { task: index, batch, position }) = batches.recv().await {
            let (Some(task), Some(slot)) = (call.tasks.get(index), slots.get(index)) else {
                continue;
            };
            let Some(state) = self.states.get_mut(&task.object) else { continue };
            let rows = batch.rows() as u64;
            state.delivered(*slot, bounds(task), position);
            let loading = state.loading();
            let puts = state.puts(*slot, &task.kind);
            let (object, fields, state) = (task.object.clone(), task.fields.clone(), json(state));
            let at = self.work.env.now();
            let applied = self
                .work
                .copy
                .with(move |replica| {
                    let (object, fields, batch) = (object.as_str(), fields.as_slice(), &batch);
                    let rows = match puts {
                        Puts::Keys => Change::SweepKeys { object, batch },
                        Puts::Fill => Change::Rows { object, fields, batch, mode: Mode::Fill, at },
                        Puts::Upsert | Puts::FirstLoad => {
                            Change::Rows { object, fields, batch, mode: Mode::Upsert, at }
                        }
                    };
                    replica.write(&[rows, Change::State { object, state: &state }])
                })
                .await?;
            self.count_rows(&task.object, puts, rows, applied.first());
            (self.work.progress)(Progress {
                object: task.object.clone(),
                rows: self.rows.get(&task.object).copied().unwrap_or(0),
                expected: self.sizes.get(&task.object).copied(),
                calls: self.toll.paid.load(Ordering::Relaxed),
                loading,
            });
        }
        Ok(())
    }

    /// Keys that are noted for a comparison are no rows.
    pub(super) fn count_rows(
        &mut self,
        object: &str,
        puts: Puts,
        rows: u64,
        applied: Option<&Applied>,
    ) {
        if puts == Puts::Keys {
            return;
        }
        self.account.read += rows;
        *self.rows.entry(object.to_owned()).or_default() += rows;
        self.touched.insert(object.to_owned());
        self.count(applied);
    }

    fn count<'a>(&mut self, applied: impl IntoIterator<Item = &'a Applied>) {
        for a in applied {
            self.account.changed += a.changed;
            self.account.deleted += a.deleted;
        }
    }

    /// Takes the steps of a finished call. Returns whether the schema moved.
    async fn finish(
        &mut self,
        call: &Call,
        slots: &[Slot],
        steps: Vec<Step>,
        now: Time,
    ) -> Result<bool, Stop> {
        let mut moved = false;
        let mut first_fault = None;
        // Where nothing follows but the state itself, one transaction does for all of the call.
        let mut quiet = BTreeSet::new();
        let mut counted: BTreeMap<&str, Vec<(Window, u64)>> = BTreeMap::new();
        for ((task, slot), step) in call.tasks.iter().zip(slots).zip(steps) {
            if !self.states.contains_key(&task.object) {
                continue;
            }
            if let Step::Failed(fault) = step {
                match self.object_failed(task, *slot, &fault, now).await? {
                    Failed::SchemaMoved => moved = true,
                    Failed::Handled => {}
                    Failed::Run => {
                        first_fault.get_or_insert(fault);
                    }
                }
                continue;
            }
            if let (TaskKind::Count { from, to }, Step::Counted(there)) = (&task.kind, &step) {
                counted.entry(&task.object).or_default().push(((*from, *to), *there));
                continue;
            }
            if matches!(step, Step::Page { .. }) {
                continue; // it was committed with the state that it leads to
            }
            let step = self.believed(task, step).await?;
            let Some(state) = self.states.get_mut(&task.object) else { continue };
            let was_loading = state.loading();
            let mut consequences = state.stepped(*slot, bounds(task), &step, now);
            if *slot == Slot::Fetch
                && let TaskKind::Ids { ids } = &task.kind
            {
                state.fetched(ids.last().cloned(), false);
            }
            let settled = was_loading && !state.loading();
            if consequences.is_empty() && step == Step::More {
                continue; // the last batch was committed with its position
            }
            if consequences.is_empty() {
                quiet.insert(task.object.clone());
            } else {
                self.apply(&task.object, &mut consequences).await?;
            }
            if settled {
                let rows = self.rows.get(&task.object).copied().unwrap_or(0);
                self.say(format!("{}: first load is in, {rows} rows", task.object));
            }
        }
        self.store_states(quiet).await?;
        for (object, windows) in counted {
            self.counted(object, windows).await?;
        }
        match first_fault {
            Some(fault) => Err(Stop::Fault(fault)),
            None => Ok(moved),
        }
    }

    /// Commits an object's state with what follows from the step that made it.
    pub(super) async fn apply(
        &mut self,
        object: &str,
        todo: &mut Vec<Consequence>,
    ) -> Result<(), Stop> {
        let Some(state) = self.states.get(object) else { return Ok(()) };
        let policy = self.work.settings.deletes;
        let ending = todo.iter().find_map(|c| match c {
            Consequence::EndSweep { hide, approved } => Some((*hide, *approved)),
            Consequence::BeginSweep | Consequence::Delete(_) | Consequence::Key => None,
        });
        if !todo.is_empty() {
            self.touched.insert(object.to_owned());
        }
        let (name, state_text) = (object.to_owned(), json(state));
        let (at, todo) = (self.work.env.now(), std::mem::take(todo));
        // Rows change by these; that the state is stored is no change of the copy.
        let of_rows: Vec<bool> =
            todo.iter().map(|c| !matches!(c, Consequence::BeginSweep | Consequence::Key)).collect();
        let applied = self
            .work
            .copy
            .with(move |replica| {
                let object = name.as_str();
                let mut changes = Vec::new();
                for consequence in &todo {
                    changes.push(match consequence {
                        Consequence::BeginSweep => Change::SweepBegin { object },
                        Consequence::Key => Change::Key { object },
                        Consequence::EndSweep { hide, approved } => Change::SweepEnd {
                            object,
                            as_: match (hide, policy) {
                                (true, _) => Absent::Hide,
                                (false, settings::Deletes::Mark) => Absent::Mark,
                                (false, settings::Deletes::Remove) => Absent::Remove,
                            },
                            guard: (!hide && !approved).then_some(Guard {
                                max_percent: GUARD_PERCENT,
                                max_rows: GUARD_ROWS,
                            }),
                            at,
                        },
                        Consequence::Delete(ids) => Change::Deleted {
                            object,
                            ids,
                            policy: match policy {
                                settings::Deletes::Mark => Deletes::Mark,
                                settings::Deletes::Remove => Deletes::Remove,
                            },
                            at,
                        },
                    });
                }
                changes.push(Change::State { object, state: &state_text });
                replica.write(&changes)
            })
            .await?;
        self.count(applied.iter().zip(of_rows).filter(|(_, rows)| *rows).map(|(one, _)| one));
        if let Some((hide, _)) = ending {
            let held: u64 = applied.iter().map(|a| a.held).sum();
            let missing: u64 = applied.iter().map(|a| a.missing).sum();
            let gone: u64 = applied.iter().map(|a| a.deleted).sum();
            let verb = if hide { "hidden" } else { "deleted" };
            self.say(format!(
                "{object}: keys compared: {gone} {verb}, {missing} to fetch, {held} held"
            ));
            self.note_held(object, held).await?;
        }
        Ok(())
    }

    async fn note_held(&mut self, object: &str, held: u64) -> Result<(), Stop> {
        let Some(state) = self.states.get_mut(object) else { return Ok(()) };
        let before = state.held;
        state.held = (held > 0).then_some(held);
        if before.is_some() || held > 0 {
            self.held.insert(object.to_owned(), held);
            self.store_state(object).await?;
        }
        Ok(())
    }

    async fn object_failed(
        &mut self,
        task: &Task,
        slot: Slot,
        fault: &Fault,
        now: Time,
    ) -> Result<Failed, Stop> {
        let object = task.object.as_str();
        let Some(state) = self.states.get_mut(object) else { return Ok(Failed::Handled) };
        if let Fault::SchemaMoved { field: Some(field), .. } = fault
            && !state.fields.iter().any(|f| f.eq_ignore_ascii_case(field))
        {
            // Not one of ours: dropping it would change nothing, and asking again neither.
            state.failed(slot, &task.kind, &Fault::contract(fault.to_string()), now);
            self.failing.insert(object.to_owned(), fault.clone());
            self.store_state(object).await?;
            return Ok(Failed::Handled);
        }
        let again = match fault {
            Fault::SchemaMoved { field: None, .. } => !self.said_gone.insert(object.to_owned()),
            Fault::CursorLost { .. } => !self.said_lost.insert((object.to_owned(), slot)),
            Fault::SchemaMoved { field: Some(_), .. }
            | Fault::Passing { .. }
            | Fault::QuotaReached { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::Denied { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. }
            | Fault::Misconfigured { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. }
            | Fault::Contract { .. } => false,
        };
        if again {
            // It was described, or begun, anew since: the source contradicts itself.
            let why = Fault::contract(format!("the source contradicts itself: {fault}"));
            state.failed(slot, &task.kind, &why, now);
            self.say(format!("{object}: {fault} (again)"));
            self.failing.insert(object.to_owned(), why);
            self.store_state(object).await?;
            return Ok(Failed::Handled);
        }
        if let Some(mut consequences) = state.failed(slot, &task.kind, fault, now) {
            self.say(format!("{object}: {fault}"));
            let moved = matches!(fault, Fault::SchemaMoved { .. });
            if let Fault::SchemaMoved { field, .. } = fault {
                if let Some(field) = field {
                    self.refused.insert((object.to_owned(), field.to_ascii_lowercase()));
                }
                self.gone.insert((object.to_owned(), field.clone()));
            }
            self.apply(object, &mut consequences).await?;
            return Ok(if moved { Failed::SchemaMoved } else { Failed::Handled });
        }
        // Attempts are counted in it.
        self.store_state(object).await?;
        match fault {
            Fault::Denied { .. }
            | Fault::Contract { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. } => {
                self.say(format!("{object}: {fault}"));
                self.failing.insert(object.to_owned(), fault.clone());
                Ok(Failed::Handled)
            }
            Fault::QuotaReached { .. } => Err(Stop::Fault(fault.clone())),
            Fault::Passing { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::SchemaMoved { .. }
            | Fault::CursorLost { .. }
            | Fault::Misconfigured { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. } => Ok(Failed::Run),
        }
    }
}

enum Failed {
    /// The schema moved: describe and plan afresh.
    SchemaMoved,
    /// This object's own matter.
    Handled,
    /// The run's matter.
    Run,
}

/// The slot of a task that the provider cut into pieces: only lists of ids are.
fn part_of(task: &Task) -> Slot {
    match &task.kind {
        TaskKind::Ids { .. } => Slot::Fetch,
        TaskKind::Window { .. }
        | TaskKind::Deleted { .. }
        | TaskKind::Scan { .. }
        | TaskKind::Delta { .. }
        | TaskKind::Keys { .. }
        | TaskKind::Count { .. }
        | TaskKind::Job { .. } => Slot::Window,
    }
}

/// Whether the call brings a page of a job's result.
fn is_page(call: &Call) -> bool {
    matches!(
        call.tasks.first().map(|t| &t.kind),
        Some(TaskKind::Job { step: JobStep::Page { .. }, .. })
    )
}

pub(super) fn bounds(task: &Task) -> Option<(Time, Time)> {
    match &task.kind {
        TaskKind::Window { from, to, .. } | TaskKind::Deleted { from, to } => Some((*from, *to)),
        TaskKind::Scan { .. }
        | TaskKind::Delta { .. }
        | TaskKind::Keys { .. }
        | TaskKind::Ids { .. }
        | TaskKind::Count { .. }
        | TaskKind::Job { .. } => None,
    }
}
