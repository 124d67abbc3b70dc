//! The first part of a job: its next task, and what becomes of it when it is lost, unreadable or
//! too much.
//!
//! Knows nothing of the object's other slots. Invariant: every way ends; losses, attempts and
//! halvings are counted.

use super::{Job, JobStage, later};
use crate::domain::{JobRead, JobStep, Task, TaskKind, Time};
use crate::sync::Slot;
use jiff::SignedDuration;

/// The first look at a job; the wait doubles from there to [`LONGEST_WAIT`].
const FIRST_LOOK: SignedDuration = SignedDuration::from_millis(300);
/// See [`FIRST_LOOK`].
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// So many lost jobs, or answers that refuse or cannot be read, of the same part are borne.
pub(super) const PATIENCE: u8 = 3;
/// So many steps cut off in a row count as one unreadable answer.
pub(super) const CUTS: u8 = 5;
/// A part that is no longer than twice this is not halved.
const NARROWEST: SignedDuration = SignedDuration::from_hours(24);
/// No more parts than this come of halving: a source that fails whatever it is asked.
const HALVINGS: u8 = 24;
/// Where halving takes an open lower bound to lie (2000-01-01): nothing at the sources is older,
/// and if it were it would be in the first part all the same.
pub(in crate::sync) const DAWN: i64 = 946_684_800;

impl Job {
    pub(super) fn new(slot: Slot, fields: Vec<String>, started: Time) -> Self {
        Self {
            slot,
            fields,
            parts: vec![JobRead::default()],
            started,
            stage: JobStage::Ask,
            pages: 0,
            rows: 0,
            tries: 0,
            cuts: 0,
            lost: 0,
            halved: 0,
        }
    }

    /// Whether the source holds something for us.
    pub(in crate::sync) fn under_way(&self) -> bool {
        self.handle().is_some()
    }

    /// Whether older values than those of increments may be in: a page is as of when its job was
    /// asked for, whenever it comes.
    pub(in crate::sync) fn fills(&self) -> bool {
        self.slot == Slot::Fill && self.pages > 0
    }

    /// The source is to drop it.
    pub(super) fn call_off(&mut self, narrow: bool) {
        if let Some(job) = self.handle().cloned() {
            self.restart(JobStage::Abort { job, narrow });
        }
    }

    pub(super) fn handle(&self) -> Option<&String> {
        match &self.stage {
            JobStage::Wait { job, .. }
            | JobStage::Pages { job, .. }
            | JobStage::Abort { job, .. } => Some(job),
            JobStage::Ask | JobStage::Stuck { .. } | JobStage::Queries { .. } | JobStage::Read => {
                None
            }
        }
    }

    /// Whether rows of it are in, or may be.
    pub(super) fn begun(&self) -> bool {
        self.pages > 0
            || self.halved > 0
            || matches!(self.stage, JobStage::Queries { .. } | JobStage::Read)
    }

    /// The bounds of the first part for a reading by queries. What is as new as the whole read
    /// comes with the next increment.
    fn window(&self) -> (Time, Time) {
        let part = self.parts.first().cloned().unwrap_or_default();
        let from = part.from.unwrap_or(Time::UNIX_EPOCH);
        (from, part.to.unwrap_or(self.started).max(from))
    }

    /// The next task; none: wait, or [`ObjectState::begin_due`] and [`ObjectState::ripe`] go on.
    /// `turn` says whether one more job may be asked for.
    pub(in crate::sync) fn next(
        &self,
        object: &str,
        now: Time,
        turn: bool,
    ) -> Option<(Slot, Task)> {
        let step = match &self.stage {
            JobStage::Ask => turn.then_some(JobStep::Start)?,
            JobStage::Wait { job, next, .. } => {
                (*next <= now).then(|| JobStep::Look { job: job.clone() })?
            }
            JobStage::Pages { job, locator, .. } => {
                JobStep::Page { job: job.clone(), locator: locator.clone(), tries: self.tries }
            }
            JobStage::Abort { job, .. } => JobStep::Abort { job: job.clone() },
            JobStage::Queries { after } => {
                let ((from, to), after) = (self.window(), after.clone());
                let kind = TaskKind::Window { from, to, after };
                return Some((Slot::Part, self.task(object, kind)));
            }
            JobStage::Stuck { .. } | JobStage::Read => return None,
        };
        let read = self.parts.first().cloned().unwrap_or_default();
        Some((self.slot, self.task(object, TaskKind::Job { read, step })))
    }

    fn task(&self, object: &str, kind: TaskKind) -> Task {
        Task { object: object.to_owned(), fields: self.fields.clone(), kind }
    }

    pub(super) fn wait(&mut self, job: String, asked: Time, looks: u32, now: Time, says: String) {
        let wait = (FIRST_LOOK * 2_i32.pow(looks.min(10))).min(LONGEST_WAIT);
        let next = later(now, wait);
        self.stage = JobStage::Wait { job, asked, looks, next, says };
    }

    /// The first part is begun anew, in whatever way.
    pub(super) fn restart(&mut self, stage: JobStage) {
        self.stage = stage;
        (self.tries, self.cuts) = (0, 0);
    }

    pub(super) fn was_lost(&mut self, why: &str, too_much: bool) {
        self.lost = self.lost.saturating_add(1);
        if too_much || self.lost >= PATIENCE {
            self.restart(JobStage::Stuck { narrow: true, why: why.to_owned() });
        } else {
            self.restart(JobStage::Ask);
        }
    }

    /// An answer could not be read.
    pub(super) fn unreadable(&mut self, why: &str, now: Time) {
        self.tries = self.tries.saturating_add(1);
        self.cuts = 0;
        if self.tries >= PATIENCE {
            self.restart(JobStage::Stuck { narrow: false, why: why.to_owned() });
        } else if let JobStage::Wait { job, asked, looks, says, .. } = &self.stage {
            let (job, asked, looks, says) = (job.clone(), *asked, looks + 1, says.clone());
            self.wait(job, asked, looks, now, says);
        }
    }

    /// Cuts the first part in two; false: it is narrow enough as it is. The last part stays open
    /// above: what changes meanwhile moves into it.
    pub(super) fn halve(&mut self) -> bool {
        let Some(part) = self.parts.first().cloned() else { return false };
        let from = part.from.map_or(DAWN, Time::as_second);
        let to = part.to.unwrap_or(self.started).as_second();
        if self.halved >= HALVINGS || to - from < 2 * NARROWEST.as_secs() {
            return false;
        }
        let Ok(middle) = Time::from_second(from + (to - from) / 2) else { return false };
        self.halved += 1;
        self.lost = 0;
        self.parts.splice(
            ..1,
            [
                JobRead { from: part.from, to: Some(middle) },
                JobRead { from: Some(middle), to: part.to },
            ],
        );
        self.restart(JobStage::Ask);
        true
    }
}
