//! The replica: the users' database of one connection, rows and cursors in it.
//!
//! Hides the SQL dialect, the names of tables and columns, how values become columns, and how a
//! change is told from a re-read. Blocking: the daemon gives each open replica a thread.
//!
//! Invariants:
//! - all changes of one [`Replica::write`] are one transaction: after a kill, all or nothing;
//! - every write transaction first checks org and epoch in `_crmsync_meta`;
//! - what changes nothing writes nothing: `_synced_at` and `_crmsync_seq` stay;
//! - data is never dropped by a change of schema; a value that does not fit is null in its column
//!   and kept raw in `_crmsync_odd`.
//!
//! [`naming`], [`layout`], `book` and [`value`] decide, without SQL; `sqlite` and `postgres` speak it.

mod book;
pub mod error;
pub mod layout;
pub mod naming;
mod place;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;

pub use error::ReplicaError;
pub use place::{Home, Place, Server, exists, remove, rename};
pub use types::{
    Absent, Applied, Change, Counts, Deletes, Fed, Guard, Into, LayoutChange, Mode, Owner,
    SweepPlan, Window,
};

use crmsync_core::domain::{ObjectSchema, Time};
use std::collections::BTreeMap;

/// Opens the replica at a place, makes it if there is none, adopts it if there is one. `name` is
/// the connection's name, written into it for people.
///
/// # Errors
/// [`ReplicaError::Newer`] for a newer layout, [`ReplicaError::NotOurs`] for another program's
/// database; neither is touched.
pub fn open(place: &Place, name: &str) -> Result<Box<dyn Replica>, ReplicaError> {
    match place {
        Place::File(path) => Ok(Box::new(sqlite::Sqlite::open(path, name)?)),
        Place::Schema { server, schema } => {
            Ok(Box::new(postgres::Postgres::open(server, schema, name)?))
        }
    }
}

/// An open replica. Blocking; give it a thread. Close it with [`Replica::close`].
pub trait Replica: Send {
    /// Who it says owns it; `None` for a new one.
    fn owner(&mut self) -> Result<Option<Owner>, ReplicaError>;

    /// Takes it for `owner`; nothing can be written before. The first claim pins provider and org.
    /// Claiming again with the same or a greater epoch is harmless.
    ///
    /// # Errors
    /// [`ReplicaError::NotOurs`]: another provider or org, a lower epoch, or the same epoch of
    /// another connection. Whoever adopts one on purpose claims with its epoch plus one.
    fn claim(&mut self, owner: &Owner) -> Result<(), ReplicaError>;

    /// Makes or alters the object's table for the selected `fields` (names of the schema; others
    /// are ignored). One transaction; nothing is written if nothing is to be changed.
    fn lay_out(
        &mut self,
        object: &ObjectSchema,
        fields: &[String],
        now: Time,
    ) -> Result<LayoutChange, ReplicaError>;

    /// Carries out all changes in one transaction, in order.
    fn write(&mut self, changes: &[Change<'_>]) -> Result<Vec<Applied>, ReplicaError>;

    /// Takes a page of any length from `feed`, batch by batch, in one transaction that ends with
    /// [`Fed::Commit`] or [`Fed::Abort`] (then `None`, and nothing of it stays). `feed` may block;
    /// after an error it is not called again. `fields` are the columns of every batch, the key
    /// first; `at` becomes `_synced_at` of the rows that change.
    fn stream(
        &mut self,
        object: &str,
        fields: &[String],
        into: Into,
        at: Time,
        feed: &mut dyn FnMut() -> Fed,
    ) -> Result<Option<Applied>, ReplicaError>;

    /// Each object's sync state, as [`Change::State`] left it.
    fn states(&mut self) -> Result<BTreeMap<String, String>, ReplicaError>;

    /// Objects that have a table, by API name.
    fn objects(&self) -> Vec<String>;

    /// The table of an object, for people; `None` if it has none.
    fn table_name(&self, object: &str) -> Option<String>;

    /// Rows of an object by what is known of them.
    fn counts(&mut self, object: &str) -> Result<Counts, ReplicaError>;

    /// Live rows of an object whose modification stamp lies in `from <= stamp < to`, for each of
    /// these windows, in one pass over the table. Where the stamp is null the field `unset` stands
    /// in, if one is given and read.
    fn count_windows(
        &mut self,
        object: &str,
        unset: Option<&str>,
        windows: &[Window],
    ) -> Result<Vec<u64>, ReplicaError>;

    /// How many values of an object are kept raw in `_crmsync_odd`.
    fn odd_count(&mut self, object: &str) -> Result<u64, ReplicaError>;

    /// What the object's open sweep would find if it ended now; `None` if none is open.
    fn sweep_plan(&mut self, object: &str) -> Result<Option<SweepPlan>, ReplicaError>;

    /// Keys that the current or last sweep saw at the source and that have no live row here, in
    /// key order, at most `limit` of them behind `after`. Whole-number keys are ordered as numbers.
    fn take_new_keys(
        &mut self,
        object: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ReplicaError>;

    /// Puts it away. A file goes back to a rollback journal; while readers hold it, it stays in WAL
    /// mode until the next close.
    fn close(self: Box<Self>) -> Result<(), ReplicaError>;
}
