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
//! [`naming`], [`layout`] and [`value`] decide, without SQL.

pub mod error;
pub mod layout;
pub mod naming;
pub mod types;
pub mod value;

pub use error::ReplicaError;
pub use types::{
    Absent, Applied, Change, Counts, Deletes, Guard, LayoutChange, Mode, Owner, SweepPlan,
};
