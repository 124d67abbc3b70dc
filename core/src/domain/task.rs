use super::{Batch, Fault, QuotaDomain, Time, Usage};
use serde::{Deserialize, Serialize};

/// What is to be read, in no vendor's language. Tasks become calls in the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// API name of the object.
    pub object: String,
    /// Fields to read, in column order of the batch; the key field first. For `Deleted`,
    /// `Keys`, `Count` it is not used.
    pub fields: Vec<String>,
    /// What to read of it.
    pub kind: TaskKind,
}

/// The shapes that reading takes. `after` is the provider's own opaque position within the task:
/// absent at its beginning, else what `Delivered::position` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum TaskKind {
    /// All live records in key order; resumable at any key.
    Scan {
        /// Position.
        after: Option<String>,
    },
    /// Records whose stamp lies in `from <= stamp < to`, soft-deleted ones included.
    Window {
        /// Inclusive.
        from: Time,
        /// Exclusive.
        to: Time,
        /// Position.
        after: Option<String>,
    },
    /// Changes since an opaque delta token (none: everything, and a first token).
    Delta {
        /// Token of the last answer.
        token: Option<String>,
    },
    /// Ids deleted for good in the window, from the source's delete log.
    Deleted {
        /// Inclusive.
        from: Time,
        /// Exclusive.
        to: Time,
    },
    /// Keys of all live records in key order, for a key sweep.
    Keys {
        /// Position.
        after: Option<String>,
    },
    /// These records, by key.
    Ids {
        /// At most the provider's page.
        ids: Vec<String>,
    },
    /// How many live records the source has now whose stamp lies in `from <= stamp < to`.
    Count {
        /// Inclusive; none: from the beginning.
        from: Option<Time>,
        /// Exclusive; none: to the end.
        to: Option<Time>,
    },
    /// A step of a bulk job: the provider reads on its own and keeps the result for us. The rows
    /// are in no promised order.
    Job {
        /// What it reads; the same at each of its steps.
        read: JobRead,
        /// Which step.
        step: JobStep,
    },
}

/// What a bulk job reads: the task's fields of all live records, or of those within bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRead {
    /// Lower bound of the modification stamp, inclusive; none: open.
    pub from: Option<Time>,
    /// Upper bound, exclusive; none: open.
    pub to: Option<Time>,
}

/// A step of a bulk job. `job` is the provider's own opaque handle (it holds all that later steps
/// need, the version of its interface included), as told by [`Step::Started`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum JobStep {
    /// Ask for it.
    Start,
    /// Is it ready?
    Look {
        /// Handle.
        job: String,
    },
    /// One page of its result.
    Page {
        /// Handle.
        job: String,
        /// Where the page begins; none: the first one.
        locator: Option<String>,
        /// How many attempts at this page went wrong before: the provider may ask for less.
        tries: u8,
    },
    /// It is no longer wanted.
    Abort {
        /// Handle.
        job: String,
    },
}

/// One call: tasks that travel together, and its price. Made by the provider's pure `calls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tasks in it.
    pub tasks: Vec<Task>,
    /// Its cost, exact, in calls of the domain's limit.
    pub cost: u32,
    /// Where it is paid.
    pub domain: QuotaDomain,
}

/// A batch on its way to the replica, with the position that covers it.
#[derive(Debug)]
pub struct Delivered {
    /// Index of the task within the call.
    pub task: usize,
    /// The rows; columns are the task's fields.
    pub batch: Batch,
    /// Position after the last row of the batch: a task with `after` set to it goes on there.
    pub position: Option<String>,
}

/// How one task of a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is more: go on with the position of the last delivered batch.
    More,
    /// Nothing is left of it.
    Done,
    /// `Deleted`: these ids are gone for good.
    Deleted {
        /// Ids with the time of deletion.
        ids: Vec<(String, Time)>,
        /// The source's log reaches back to here; an earlier `from` means deletes were lost.
        earliest: Option<Time>,
        /// The next `from`: the source vouches for everything before it.
        covered: Time,
    },
    /// `Count`: so many records.
    Counted(u64),
    /// `Job`: it was accepted.
    Started {
        /// Handle for the later steps.
        job: String,
    },
    /// `Job`: not ready yet.
    Running {
        /// The provider's word for where it is, for people.
        says: String,
    },
    /// `Job`: its result can be fetched.
    Ready {
        /// Rows of the result, where the provider tells.
        rows: Option<u64>,
    },
    /// `Job`: one page was delivered, whole and checked against what the provider said of it.
    /// Without this step nothing of what was delivered counts.
    Page {
        /// Rows of the page.
        rows: u64,
        /// Where the next one begins; none: that was the last.
        next: Option<String>,
    },
    /// `Job`: the provider does not read this object, or these fields, by jobs: read it otherwise.
    NoJob {
        /// The provider's words.
        why: String,
    },
    /// `Job`: the provider gave up on it, or its result is no longer kept.
    JobLost {
        /// The provider's words.
        why: String,
        /// It tried and failed: the same job would fail again, a narrower one may not.
        too_much: bool,
    },
    /// `Delta`: done, and the token for next time.
    Token(String),
    /// This task failed; the others of the call stand on their own.
    Failed(Fault),
}

/// What came of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One step per task of the call, in order.
    pub steps: Vec<Step>,
    /// What the answer's headers told of the quota.
    pub usage: Vec<Usage>,
    /// The server's clock as told by the answer (`Date`), whole seconds.
    pub server_time: Option<Time>,
}
