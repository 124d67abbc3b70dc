//! What full reads by jobs and proofs by counting need beside the calls themselves.

use super::calls::bounds;
use super::{Run, Stop};
use crate::provider::{Ctx, Failure};
use crate::replica::{Into, Mode, Window};
use crmsync_core::domain::{Call, Fault, JobRead, Outcome, Schema, Step, Task, TaskKind, Time};
use crmsync_core::sync::{Consequence, Phase, Puts, Slot, Stage, Sweep};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Run {
    /// Objects that cost less when they are read in whole by a job. The source is asked for sizes
    /// at most once in a run, and only if something is to be loaded.
    pub(super) async fn jobs_that_pay(
        &mut self,
        names: &[String],
    ) -> Result<BTreeSet<String>, Stop> {
        let mut unknown = Vec::new();
        for object in names {
            let Some(state) = self.states.get(object) else { continue };
            if self.sizes.contains_key(object) || state.job.is_some() {
                continue;
            }
            let filling = state.fill.is_some()
                || matches!(state.sweep, Some(Sweep { stage: Stage::Keys { .. }, .. }))
                || matches!(state.phase, Phase::Reread { .. });
            if matches!(state.phase, Phase::Load { after: None, .. }) && state.no_job.is_none() {
                unknown.push(object.clone());
            } else if filling {
                let name = object.clone();
                let rows = self.work.copy.with(move |r| Ok(r.counts(&name)?.live)).await?;
                self.sizes.insert(object.clone(), rows);
            }
        }
        if !unknown.is_empty() && !self.sizes_asked {
            self.sizes_asked = true;
            let (provider, asked) = (Arc::clone(&self.work.provider), Arc::new(unknown));
            let told = self
                .ask(move |ctx| {
                    let (provider, asked) = (Arc::clone(&provider), Arc::clone(&asked));
                    Box::pin(async move { provider.sizes(ctx, &asked).await })
                })
                .await;
            match told {
                Ok(told) => {
                    self.clock.tell(told.server_time);
                    self.sizes.extend(told.value);
                }
                // Without it loads go by queries: dearer, but nobody waits for a guess.
                Err(Stop::Fault(Fault::Passing { what, .. })) => {
                    self.say(format!("sizes are not known: {what}"));
                }
                Err(stop) => return Err(stop),
            }
        }
        let pays = |object: &&String| {
            let (Some(schema), Some(state), Some(rows)) =
                (self.schemas.get(*object), self.states.get(*object), self.sizes.get(*object))
            else {
                return false;
            };
            self.work.provider.job_pays(schema, &state.fields, *rows)
        };
        Ok(names.iter().filter(pays).cloned().collect())
    }

    /// One page of a job: its rows and the state after it are one transaction.
    pub(super) async fn job_page(
        &mut self,
        ctx: Ctx<'_>,
        call: &Call,
        slots: &[Slot],
        schema: &Arc<Schema>,
        now: Time,
    ) -> Result<Result<Outcome, Failure>, Stop> {
        let (Some(task), Some(slot)) = (call.tasks.first(), slots.first()) else {
            return Ok(Ok(Outcome::default()));
        };
        let Some(state) = self.states.get(&task.object).cloned() else {
            return Ok(Ok(Outcome::default()));
        };
        // As it is before the step: the last page of a first load is one of a first load.
        let puts = state.puts(*slot, &task.kind);
        let into = match puts {
            Puts::FirstLoad => Into::FirstLoad,
            Puts::Upsert => Into::Rows(Mode::Upsert),
            Puts::Fill => Into::Rows(Mode::Fill),
            Puts::Keys => Into::SweepKeys,
        };
        let mut next = None;
        let paged = self
            .page(ctx, call, into, schema, |outcome| {
                let step = outcome.as_ref().ok()?.steps.first()?;
                let Step::Page { .. } = step else { return None };
                let mut state = state;
                let key = state.stepped(*slot, bounds(task), step, now).contains(&Consequence::Key);
                next = Some(state.clone());
                Some((state, key))
            })
            .await?;
        if let (Some(applied), Some(state)) = (paged.applied, next) {
            self.count_rows(&task.object, puts, applied.rows, Some(&applied));
            let loading = self.states.get(&task.object).is_some_and(|s| s.phase != state.phase);
            if loading && matches!(state.phase, Phase::Follow { .. }) {
                let rows = self.rows.get(&task.object).copied().unwrap_or(0);
                self.say(format!("{}: all pages of the job are in, {rows} rows", task.object));
            }
            self.states.insert(task.object.clone(), state);
        }
        Ok(paged.outcome)
    }

    /// Everything of a slot was read by jobs: what follows is one transaction.
    pub(super) async fn ripen(&mut self, object: &str, slot: Slot, now: Time) -> Result<(), Stop> {
        if slot == Slot::Sweep && !self.sight_holds(now).await? {
            return Ok(()); // it has begun anew, and hides instead
        }
        let Some(state) = self.states.get_mut(object) else { return Ok(()) };
        let mut consequences = state.stepped(slot, None, &Step::Done, now);
        self.apply(object, &mut consequences).await
    }

    /// A result without any row is believed only where the source counts none either: it may be
    /// building its index anew (Salesforce says `JobComplete` then, with 0 records).
    pub(super) async fn believed(&mut self, task: &Task, step: Step) -> Result<Step, Stop> {
        let whole = matches!(&task.kind, TaskKind::Job { read, .. } if *read == JobRead::default());
        if !whole || step != (Step::Ready { rows: Some(0) }) {
            return Ok(step);
        }
        let object = task.object.as_str();
        let (provider, asked) =
            (Arc::clone(&self.work.provider), Arc::new(vec![object.to_owned()]));
        let told = self
            .ask(move |ctx| {
                let (provider, asked) = (Arc::clone(&provider), Arc::clone(&asked));
                Box::pin(async move { provider.sizes(ctx, &asked).await })
            })
            .await?;
        Ok(match told.value.get(object) {
            Some(some) if *some > 0 => {
                let why = format!("it brought no record, and the source has about {some}");
                self.say(format!("{object}: a job is not believed: {why}"));
                Step::JobLost { why, too_much: false }
            }
            Some(_) | None => step,
        })
    }

    /// Windows were counted at the source: the same ones are counted here at once.
    pub(super) async fn counted(
        &mut self,
        object: &str,
        windows: Vec<(Window, u64)>,
    ) -> Result<(), Stop> {
        let (name, now) = (object.to_owned(), self.server_now().await?);
        let unset = self.work.provider.stamp_of_new();
        if let (Some(field), Some(state)) = (unset, self.states.get_mut(object))
            && !state.fields.iter().any(|f| f == field)
        {
            let what = format!("rows are not counted by time where {field} is not read");
            for ((from, to), _) in windows {
                let (kind, what) = (TaskKind::Count { from, to }, what.clone());
                state.failed(Slot::Proof, &kind, &Fault::Misconfigured { what }, now);
            }
            return self.store_state(object).await;
        }
        let bounds: Vec<Window> = windows.iter().map(|(window, _)| *window).collect();
        let here = self.work.copy.with(move |r| r.count_windows(&name, unset, &bounds)).await?;
        for ((window, there), here) in windows.into_iter().zip(here) {
            self.compared(object, window, there, here, now).await?;
        }
        Ok(())
    }

    async fn compared(
        &mut self,
        object: &str,
        (from, to): Window,
        there: u64,
        here: u64,
        now: Time,
    ) -> Result<(), Stop> {
        let Some(state) = self.states.get_mut(object) else { return Ok(()) };
        let before = state.proved.clone();
        let mut consequences = state.counted((from, to), there, here, now);
        let proved = state.proved.clone().filter(|p| Some(p) != before.as_ref());
        self.apply(object, &mut consequences).await?;
        if here != there {
            let text =
                |t: Option<Time>| t.map_or("the beginning".to_owned(), |t| format!("{t:.0}"));
            let (from, to) = (text(from), text(to));
            self.say(format!("{object}: {here} rows here, {there} there, from {from} to {to}"));
        }
        if let Some(p) = proved {
            self.say(match (&p.unproved, p.differs, p.repaired) {
                (Some(why), ..) => format!("{object}: not proved: {why}"),
                (None, 0, 0) => format!("{object}: proved, {} rows as at the source", p.rows),
                (None, 0, n) => {
                    format!("{object}: {n} rows differed from the source and were repaired")
                }
                (None, d, _) => format!("{object}: {d} rows still differ from the source"),
            });
        }
        Ok(())
    }
}
