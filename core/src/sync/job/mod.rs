//! Reading by bulk jobs: asked for, looked at when due, fetched page by page.
//!
//! Hides what becomes of a job that is slow, lost, too much for the source or refused. Invariants:
//! the state moves on with the page that was committed, never before; a job that waits takes
//! nothing from other slots; every wait has a deadline; whatever fails ends in reading by queries.

mod part;
mod steps;

pub(super) use part::DAWN;

use super::{ObjectState, Phase, Rules, Slot};
use crate::domain::{JobRead, TaskKind, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// A full read by bulk jobs, under way. Normally one job without bounds; after one that was too
/// much for the source several, one after the other, each with bounds of the modification stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it serves: `Load`, `Fill` or `Sweep`.
    pub slot: Slot,
    /// Columns of its pages, the key first; the same for all parts.
    pub fields: Vec<String>,
    /// Parts still to be read, oldest first; the first one is the one that `stage` tells of.
    pub parts: Vec<JobRead>,
    /// Server time before the first job was asked for.
    pub started: Time,
    /// How far the first part is.
    pub stage: JobStage,
    /// Pages committed so far, of all parts.
    pub pages: u64,
    /// Rows committed so far, of all parts.
    pub rows: u64,
    /// Attempts at the current step that were refused or brought something unreadable.
    #[serde(default)]
    pub tries: u8,
    /// Attempts at the current step that were cut off, in a row.
    #[serde(default)]
    pub cuts: u8,
    /// Jobs of the first part that were lost.
    #[serde(default)]
    pub lost: u8,
    /// How often a part was halved.
    #[serde(default)]
    pub halved: u8,
}

/// How far the first part of a [`Job`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum JobStage {
    /// It is to be asked for, when its turn comes.
    Ask,
    /// The source works on it.
    Wait {
        /// Handle.
        job: String,
        /// When it was asked for.
        asked: Time,
        /// How often it was looked at.
        looks: u32,
        /// When it is looked at next.
        next: Time,
        /// The provider's word for where it is.
        says: String,
    },
    /// Its result is being fetched.
    Pages {
        /// Handle.
        job: String,
        /// Where the next page begins; none: the first one.
        locator: Option<String>,
        /// Rows of the result, where the provider told.
        expected: Option<u64>,
    },
    /// It is to be called off.
    Abort {
        /// Handle.
        job: String,
        /// It took too long: narrow it. Otherwise all is forgotten, and begun anew where it is
        /// still wanted.
        narrow: bool,
    },
    /// It does not go on like this; [`ObjectState::begin_due`] finds another way.
    Stuck {
        /// Narrower jobs may do; otherwise queries.
        narrow: bool,
        /// What was wrong.
        why: String,
    },
    /// The part is read by queries.
    Queries {
        /// Position.
        after: Option<String>,
    },
    /// All parts were read; see [`ObjectState::ripe`].
    Read,
}

/// The provider does not read this object by jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoJob {
    /// Its words.
    pub why: String,
    /// When jobs are tried again; a changed list of fields also lets them be tried.
    pub until: Time,
}

/// How the rows of a task are to be put into the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Puts {
    /// Appended to a table whose key is built at the end ([`Consequence::Key`]).
    FirstLoad,
    /// Inserted or updated.
    Upsert,
    /// These columns of rows that are there.
    Fill,
    /// Keys of a sweep.
    Keys,
}

/// Facts about a job that is waited for, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it serves.
    pub slot: Slot,
    /// Asked for at; none: its turn has not come, or it is being asked for anew.
    pub since: Option<Time>,
    /// The provider's word for where it is.
    pub says: String,
    /// When it is looked at next.
    pub next: Option<Time>,
    /// When it is given up.
    pub gives_up: Option<Time>,
    /// Rows in so far.
    pub rows: u64,
    /// Rows of the whole result, where known.
    pub expected: Option<u64>,
}

impl ObjectState {
    /// How the rows of a task of this slot are put into the replica.
    pub fn puts(&self, slot: Slot, kind: &TaskKind) -> Puts {
        let filling = matches!(&self.job, Some(Job { slot: Slot::Fill, .. }));
        match slot {
            Slot::Load if matches!(kind, TaskKind::Job { .. }) => match self.phase {
                Phase::Load { .. } => Puts::FirstLoad,
                Phase::Follow { .. } | Phase::Reread { .. } => Puts::Upsert,
            },
            Slot::Part if filling => Puts::Fill,
            Slot::Fill => Puts::Fill,
            Slot::Sweep => Puts::Keys,
            Slot::Load
            | Slot::Part
            | Slot::Window
            | Slot::Deleted
            | Slot::Proof
            | Slot::Mend
            | Slot::Fetch => Puts::Upsert,
        }
    }

    /// Everything of this slot was read by jobs, and its end is to be applied in a transaction of
    /// its own: call [`ObjectState::stepped`] with [`Step::Done`] and carry out what it says. Ask
    /// before planning; a crash in between only makes it be asked again.
    pub fn ripe(&self) -> Option<Slot> {
        self.job.as_ref().filter(|j| j.stage == JobStage::Read).map(|j| j.slot)
    }

    /// What is waited for, for `status`; none: nothing.
    pub fn waits(&self, rules: &Rules) -> Option<Waiting> {
        let fresh = matches!(self.phase, Phase::Load { after: None, .. });
        let mut out = Waiting {
            slot: Slot::Load,
            since: None,
            says: "waits for its turn".to_owned(),
            next: None,
            gives_up: None,
            rows: 0,
            expected: None,
        };
        let Some(job) = &self.job else { return (fresh && !self.gone).then_some(out) };
        (out.slot, out.rows) = (job.slot, job.rows);
        match &job.stage {
            JobStage::Ask => {}
            JobStage::Wait { asked, next, says, .. } => {
                (out.since, out.next) = (Some(*asked), Some(*next));
                out.gives_up = Some(later(*asked, rules.job_patience));
                says.clone_into(&mut out.says);
            }
            JobStage::Pages { expected, .. } => {
                out.expected = *expected;
                "its result is being fetched".clone_into(&mut out.says);
            }
            JobStage::Abort { .. } => "is being called off".clone_into(&mut out.says),
            JobStage::Stuck { why, .. } => why.clone_into(&mut out.says),
            JobStage::Queries { .. } | JobStage::Read => return None,
        }
        Some(out)
    }
}

pub(super) fn later(time: Time, by: SignedDuration) -> Time {
    time.checked_add(by).unwrap_or(Time::MAX)
}
