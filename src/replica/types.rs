//! The words of the replica's interface: who owns it, what can be changed, what came of it.
//!
//! Plain values, the same for every database behind the interface.

use crmsync_core::domain::{Batch, Time};

/// Whose data a replica holds, and who may write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Provider id, e.g. `salesforce`. Pinned by the first claim.
    pub provider: String,
    /// Org, tenant or database at the source. Pinned by the first claim.
    pub org_id: String,
    /// The connection's internal id.
    pub connection: String,
    /// Fence: a later owner has a greater one. Whoever adopts a file after a lost store claims
    /// with the file's epoch plus one.
    pub epoch: u64,
}

/// What [`lay_out`](super::Replica::lay_out) did. Names are the source's field names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayoutChange {
    /// The table is new (and empty); the other lists are empty then.
    pub created: bool,
    /// Fields that have a column and no current values yet: new ones, and ones that came back
    /// (at the source or into the selection). To be filled.
    pub added: Vec<String>,
    /// Fields whose column took a wider type in place; old values were converted without loss.
    pub widened: Vec<String>,
    /// Fields whose type does not fit the old column: from now on they live in another column
    /// beside it. To be filled.
    pub beside: Vec<String>,
    /// Fields that have just vanished at the source; their columns stay. Told once.
    pub gone: Vec<String>,
}

/// How the rows of a batch are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Insert or update. A row that is here is there: `_hidden_at` is cleared, and `_deleted_at`
    /// too unless the object's deletion flag is true in the batch (then it is set to the row's
    /// stamp, else to the time of writing).
    Upsert,
    /// Update rows that exist, only these columns; `_deleted_at` and `_hidden_at` stay.
    Fill,
}

/// What becomes of a row that was deleted at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// Stays, with `_deleted_at`.
    Mark,
    /// Leaves the replica.
    Remove,
}

/// What becomes of rows that a key sweep did not find at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Deleted: `_deleted_at` is set.
    Mark,
    /// Deleted: the row leaves the replica.
    Remove,
    /// No longer visible to our account: `_hidden_at` is set.
    Hide,
}

/// Above either of these a sweep changes nothing and says how many it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Percent of the object's live rows.
    pub max_percent: u8,
    /// Number of rows.
    pub max_rows: u64,
}

/// One change; a list of them is one transaction.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Rows of an object.
    Rows {
        /// API name.
        object: &'a str,
        /// Field names, one per column of the batch; the key first.
        fields: &'a [String],
        /// The rows; column 0 is the key.
        batch: &'a Batch,
        /// How they are merged.
        mode: Mode,
        /// Becomes `_synced_at` of the rows that change.
        at: Time,
    },
    /// The object's sync state, an opaque text of the core.
    State {
        /// API name.
        object: &'a str,
        /// Replaces the former one.
        state: &'a str,
    },
    /// Records that the source's delete log names, with the time of deletion. A live row whose
    /// modification stamp is later than that was undeleted since and stays.
    Deleted {
        /// API name.
        object: &'a str,
        /// Key and time of deletion.
        ids: &'a [(String, Time)],
        /// What becomes of the rows.
        policy: Deletes,
        /// Becomes `_synced_at` of the rows that change.
        at: Time,
    },
    /// A key sweep begins; what an earlier one collected is dropped.
    SweepBegin {
        /// API name.
        object: &'a str,
    },
    /// Keys that live at the source (column 0). They survive a restart.
    SweepKeys {
        /// API name.
        object: &'a str,
        /// Only column 0 is read.
        batch: &'a Batch,
    },
    /// All keys were told: live rows that were not among them, and that nothing has touched since
    /// the sweep began, are absent. Held by the guard, the sweep stays open and can be ended again
    /// without it. Keys that have no live row here stay listed for
    /// [`take_new_keys`](super::Replica::take_new_keys) until the next sweep.
    SweepEnd {
        /// API name.
        object: &'a str,
        /// What becomes of absent rows.
        as_: Absent,
        /// How many at most.
        guard: Option<Guard>,
        /// Becomes `_deleted_at` or `_hidden_at`, and `_synced_at`.
        at: Time,
    },
    /// Ends a first load: builds the table's key and indexes, if [`Into::FirstLoad`] left them for
    /// the end; of rows with equal keys the last one stays.
    Key {
        /// API name.
        object: &'a str,
    },
    /// Drops all that the replica has of an object: table, layout, state, odd values.
    Forget {
        /// API name.
        object: &'a str,
    },
    /// Rows (of all objects) whose `_deleted_at` lies before this leave the replica for good.
    Erase {
        /// Exclusive.
        before: Time,
    },
}

/// What the batches of one page become, see [`Replica::stream`](super::Replica::stream).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// Rows of an object that is loaded for the first time: appended as they come, to a table
    /// whose key is built at the end by [`Change::Key`].
    FirstLoad,
    /// Rows merged as by [`Change::Rows`].
    Rows(Mode),
    /// Keys of a sweep, as by [`Change::SweepKeys`].
    SweepKeys,
}

/// What [`Replica::stream`](super::Replica::stream) is fed with.
#[derive(Debug)]
pub enum Fed {
    /// The next rows.
    Batch(Batch),
    /// That was all, and it was whole: commit it together with the object's state. `key` also
    /// ends the first load, as [`Change::Key`] does.
    Commit {
        /// Replaces the object's state.
        state: String,
        /// Whether the table gets its key.
        key: bool,
    },
    /// It was not whole: nothing of it stays.
    Abort,
}

/// What came of one change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows, ids or keys given.
    pub rows: u64,
    /// Rows inserted or updated, marked, hidden or removed. For `State` 1 if it differed.
    pub changed: u64,
    /// Of these, new ones.
    pub inserted: u64,
    /// Of these, ones that became deleted (or, by a sweep, hidden), or were removed. For `Rows`
    /// those that the deletion flag says are deleted.
    pub deleted: u64,
    /// `SweepEnd`: absent rows that the guard holds; nothing was changed then.
    pub held: u64,
    /// Values (or whole rows without a usable key) that went to `_crmsync_odd`.
    pub odd: u64,
    /// `SweepEnd`: keys at the source without a live row here.
    pub missing: u64,
}

impl Applied {
    /// Adds what came of another part.
    pub fn add(&mut self, other: &Self) {
        let Self { rows, changed, inserted, deleted, held, odd, missing } = other;
        self.rows += rows;
        self.changed += changed;
        self.inserted += inserted;
        self.deleted += deleted;
        self.held += held;
        self.odd += odd;
        self.missing += missing;
    }
}

/// Rows of one object by what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Neither deleted nor hidden.
    pub live: u64,
    /// `_deleted_at` is set.
    pub deleted: u64,
    /// `_hidden_at` is set, not deleted.
    pub hidden: u64,
}

/// What an open sweep would find if it ended now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepPlan {
    /// Keys at the source without a live row here.
    pub missing_here: u64,
    /// Live rows here that the source did not tell, untouched since the sweep began.
    pub missing_there: u64,
    /// Live rows here.
    pub live: u64,
}

/// A span of modification stamps, `from <= stamp < to`; an end that is not given lies open.
pub type Window = (Option<Time>, Option<Time>);

impl Change<'_> {
    /// What is being done, for errors.
    pub(super) fn doing(&self) -> String {
        match self {
            Self::Rows { object, .. } => format!("writing rows of {object}"),
            Self::State { object, .. } => format!("writing the state of {object}"),
            Self::Deleted { object, .. } => format!("marking deleted rows of {object}"),
            Self::SweepBegin { object }
            | Self::SweepKeys { object, .. }
            | Self::SweepEnd { object, .. } => format!("sweeping the keys of {object}"),
            Self::Key { object } => format!("building the key of {object}"),
            Self::Forget { object } => format!("forgetting {object}"),
            Self::Erase { .. } => "erasing deleted rows".to_owned(),
        }
    }
}
