//! Steps of a job, and what they make of the object's state.
//!
//! The other half of [`ObjectState::stepped`](crate::sync::ObjectState::stepped) and `failed`.

use super::part::{CUTS, PATIENCE};
use super::{Job, JobStage, NoJob, later};
use crate::domain::{Fault, JobStep, ObjectSchema, Step, TaskKind, Time};
use crate::sync::{Consequence, ObjectState, Phase, Rules, Slot, Stage, Sweep, whole};
use jiff::SignedDuration;

/// A refusal is believed for so long.
const REFUSED_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

impl ObjectState {
    /// Whether this slot, none of which was read yet, is left to jobs.
    pub(in crate::sync) fn takes_jobs(&self, now: Time) -> bool {
        self.no_job.as_ref().is_none_or(|n| n.until <= now)
    }

    /// Whether a job (or the queries that took over a part of it) serves this slot.
    pub(in crate::sync) fn by_job(&self, slot: Slot) -> bool {
        self.job.as_ref().is_some_and(|j| j.slot == slot)
    }

    /// Whether rows of a first load are in.
    pub(in crate::sync) fn load_begun(&self) -> bool {
        !matches!(self.phase, Phase::Load { after: None, .. })
            || self.job.as_ref().is_some_and(Job::begun)
    }

    /// What is read by a job is no longer wanted as it is: it is called off, and whatever is
    /// wanted is begun anew.
    pub(in crate::sync) fn abandon(&mut self, slot: Slot) {
        if !self.by_job(slot) {
            return;
        }
        match &mut self.job {
            Some(job) if job.under_way() => job.call_off(false),
            Some(_) | None => self.drop_job(),
        }
    }

    /// Forgets the job. Pages of a fill are as of when it was asked for, and may have overwritten
    /// what increments brought since: those are read again.
    fn drop_job(&mut self) {
        let Some(job) = self.job.take() else { return };
        if job.fills() {
            self.read_again_since(job.started);
        }
    }

    fn read_again_since(&mut self, since: Time) {
        match &mut self.phase {
            Phase::Follow { covered, window, .. } => {
                *covered = since.min(*covered);
                *window = None;
            }
            Phase::Reread { covered, started, .. } => {
                *covered = since.min(*covered);
                *started = since.min(*started);
            }
            Phase::Load { .. } => {}
        }
    }

    /// By the clock: gives up a job that takes too long, finds another way where it is stuck.
    pub(in crate::sync) fn unstick(&mut self, schema: &ObjectSchema, rules: &Rules, now: Time) {
        let Some(job) = &mut self.job else { return };
        if let JobStage::Wait { asked, .. } = &job.stage
            && later(*asked, rules.job_patience) <= now
        {
            job.call_off(true);
        }
        let JobStage::Stuck { narrow, why } = &job.stage else { return };
        let (narrow, why) = (*narrow, why.clone());
        if schema.stamp.is_none() {
            self.refuse_jobs(why, now);
        } else if narrow && job.halve() {
        } else if job.slot == Slot::Sweep {
            // A window also tells of deleted rows: it is no list of living keys.
            self.refuse_jobs(why, now);
        } else {
            job.restart(JobStage::Queries { after: None });
        }
    }

    /// The slot goes on by queries, from its beginning.
    fn refuse_jobs(&mut self, why: String, now: Time) {
        self.no_job = Some(NoJob { why, until: later(now, REFUSED_FOR) });
        self.drop_job();
    }

    /// A step of a job; the state it makes is committed together with the page.
    pub(in crate::sync) fn job_stepped(
        &mut self,
        slot: Slot,
        step: &Step,
        now: Time,
    ) -> Vec<Consequence> {
        if let Step::Started { job } = step {
            self.started(slot, job.clone(), now);
            return Vec::new();
        }
        if let Step::NoJob { why } = step {
            self.refuse_jobs(why.clone(), now);
            return Vec::new();
        }
        if self.job.is_none() && matches!(step, Step::JobLost { .. }) {
            self.job = Some(Job::new(slot, self.fields_of(slot), now));
        }
        let Some(job) = self.job.as_mut().filter(|j| j.slot == slot) else { return Vec::new() };
        if let JobStage::Abort { narrow, .. } = job.stage {
            self.aborted(narrow);
            return Vec::new();
        }
        match step {
            Step::Running { says } => {
                if let JobStage::Wait { job: handle, asked, looks, .. } = &job.stage {
                    let (handle, asked, looks) = (handle.clone(), *asked, looks + 1);
                    (job.tries, job.cuts) = (0, 0);
                    job.wait(handle, asked, looks, now, says.clone());
                }
            }
            Step::Ready { rows } => {
                if let JobStage::Wait { job: handle, .. } = &job.stage {
                    let (job_, expected) = (handle.clone(), *rows);
                    job.restart(JobStage::Pages { job: job_, locator: None, expected });
                }
            }
            Step::Page { rows, next } => {
                job.pages += 1;
                job.rows += rows;
                (job.tries, job.cuts) = (0, 0);
                match (&mut job.stage, next) {
                    (JobStage::Pages { locator, .. }, Some(next)) => *locator = Some(next.clone()),
                    _ => return self.part_done(),
                }
            }
            Step::JobLost { why, too_much } => job.was_lost(why, *too_much),
            Step::Started { .. }
            | Step::NoJob { .. }
            | Step::More
            | Step::Done
            | Step::Deleted { .. }
            | Step::Counted(_)
            | Step::Token(_)
            | Step::Failed(_) => {}
        }
        Vec::new()
    }

    fn started(&mut self, slot: Slot, handle: String, now: Time) {
        let fields = self.fields_of(slot);
        let mut job = match self.job.take() {
            Some(job) if job.slot == slot => job,
            Some(_) | None => Job::new(slot, fields, now),
        };
        if !job.begun() {
            // Nothing is in yet: all of it will be as of now or later.
            job.started = whole(now);
            if slot == Slot::Load
                && let Phase::Load { started, .. } | Phase::Reread { started, .. } = &mut self.phase
            {
                *started = whole(now).max(*started);
            }
        }
        (job.tries, job.cuts) = (0, 0);
        job.wait(handle, now, 0, now, "asked for".to_owned());
        self.job = Some(job);
    }

    /// Columns of a reading of this slot by jobs.
    pub(in crate::sync) fn fields_of(&self, slot: Slot) -> Vec<String> {
        let key = self.fields.iter().take(1).cloned();
        match (slot, &self.fill) {
            (Slot::Sweep, _) => key.collect(),
            (Slot::Fill, Some(fill)) => key.chain(fill.fields.iter().cloned()).collect(),
            (
                Slot::Load
                | Slot::Part
                | Slot::Fill
                | Slot::Window
                | Slot::Deleted
                | Slot::Proof
                | Slot::Mend
                | Slot::Fetch,
                _,
            ) => self.fields.clone(),
        }
    }

    fn aborted(&mut self, narrow: bool) {
        match &mut self.job {
            Some(job) if narrow => {
                job.restart(JobStage::Stuck { narrow, why: "the job took too long".to_owned() });
            }
            Some(_) | None => self.drop_job(),
        }
    }

    /// Ends a call that called a job off, whatever the source said. True if there was one.
    pub(in crate::sync) fn call_off_ended(&mut self, slot: Slot) -> bool {
        let Some(job) = self.job.as_ref().filter(|j| j.slot == slot) else { return false };
        let JobStage::Abort { narrow, .. } = job.stage else { return false };
        self.aborted(narrow);
        true
    }

    pub(in crate::sync) fn part_delivered(&mut self, position: Option<String>) {
        if let Some(Job { stage: JobStage::Queries { after }, cuts, .. }) = &mut self.job {
            (*after, *cuts) = (position, 0);
        }
    }

    /// The first part is in: on to the next, or the slot is done.
    pub(in crate::sync) fn part_done(&mut self) -> Vec<Consequence> {
        let Some(job) = &mut self.job else { return Vec::new() };
        if !job.parts.is_empty() {
            job.parts.remove(0);
        }
        job.lost = 0;
        job.restart(JobStage::Ask);
        if !job.parts.is_empty() {
            return Vec::new();
        }
        if job.slot == Slot::Sweep {
            // What a sweep ends in is a transaction of its own.
            job.stage = JobStage::Read;
            return Vec::new();
        }
        let slot = job.slot;
        self.drop_job();
        self.done(slot, None)
    }

    /// A fault of a job's step; none: the run has to decide. Whatever concerns this object alone
    /// is counted, so that no step is asked for in vain for ever.
    pub(in crate::sync) fn job_failed(
        &mut self,
        slot: Slot,
        kind: &TaskKind,
        fault: &Fault,
        now: Time,
    ) -> Option<()> {
        if slot == Slot::Part {
            return self.part_failed(fault);
        }
        match fault {
            Fault::Passing { .. } => {
                self.cut_off(slot, now);
                None
            }
            Fault::Contract { .. }
            | Fault::Denied { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. } => self.refused(slot, kind, &fault.to_string(), now),
            Fault::CursorLost { .. } => {
                let job = self.job.as_mut().filter(|j| j.slot == slot)?;
                job.was_lost(&fault.to_string(), false);
                Some(())
            }
            Fault::SchemaMoved { field: Some(_), .. } => {
                // What was asked for cannot be had any more; it is asked for without.
                let job = self.job.as_mut().filter(|j| j.slot == slot && j.under_way())?;
                job.was_lost(&fault.to_string(), false);
                None
            }
            Fault::SchemaMoved { field: None, .. }
            | Fault::QuotaReached { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::Misconfigured { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. } => None,
        }
    }

    /// A step was cut off by something that passes; too often in a row is no accident.
    fn cut_off(&mut self, slot: Slot, now: Time) {
        let Some(job) = self.job.as_mut().filter(|j| j.slot == slot) else { return };
        job.cuts = job.cuts.saturating_add(1);
        if job.cuts < CUTS {
            return;
        }
        if let JobStage::Abort { narrow, .. } = job.stage {
            self.aborted(narrow);
        } else {
            job.unreadable("it breaks off again and again", now);
        }
    }

    /// A step was refused, or its answer could not be read. One that asks for the first job ends
    /// in queries from the beginning.
    fn refused(&mut self, slot: Slot, kind: &TaskKind, why: &str, now: Time) -> Option<()> {
        if self.job.is_none() && matches!(kind, TaskKind::Job { step: JobStep::Start, .. }) {
            self.job = Some(Job::new(slot, self.fields_of(slot), whole(now)));
        }
        let job = self.job.as_mut().filter(|j| j.slot == slot)?;
        let asking = job.stage == JobStage::Ask && !job.begun();
        job.unreadable(why, now);
        if asking && matches!(job.stage, JobStage::Stuck { .. }) {
            self.refuse_jobs(why.to_owned(), now);
        }
        Some(())
    }

    /// A part that breaks off at the same place again and again is halved.
    fn part_failed(&mut self, fault: &Fault) -> Option<()> {
        let Fault::Passing { .. } = fault else { return None };
        let job = self.job.as_mut().filter(|j| matches!(j.stage, JobStage::Queries { .. }))?;
        job.cuts = job.cuts.saturating_add(1);
        if job.cuts < PATIENCE || !job.halve() {
            return None;
        }
        job.restart(JobStage::Queries { after: None });
        Some(())
    }

    /// A field is no longer there: what is still to be asked for does without.
    pub(in crate::sync) fn job_without(&mut self, field: &str) {
        if self.fill.is_none() {
            self.abandon(Slot::Fill);
        }
        if let Some(job) = &mut self.job
            && !job.under_way()
        {
            job.fields.retain(|f| !f.eq_ignore_ascii_case(field));
        }
    }

    /// Drops a job whose purpose is gone.
    pub(in crate::sync) fn drop_idle_job(&mut self) {
        let wanted = match &self.job {
            Some(Job { slot: Slot::Load, .. }) => !matches!(self.phase, Phase::Follow { .. }),
            Some(Job { slot: Slot::Fill, fields, .. }) => {
                self.fill.as_ref().is_some_and(|f| fields.get(1..) == Some(&f.fields[..]))
            }
            Some(Job { slot: Slot::Sweep, .. }) => {
                matches!(&self.sweep, Some(Sweep { stage: Stage::Keys { .. }, .. }))
            }
            Some(_) => false,
            None => return,
        };
        if let (false, Some(job)) = (wanted, &self.job)
            && !matches!(job.stage, JobStage::Abort { .. })
        {
            let slot = job.slot;
            self.abandon(slot);
        }
    }
}
