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
    /// How many records the source has now.
    Count,
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
