//! The daemon's own memory: state, effects, due times, audit, runs, meter, sealed secrets.
//!
//! Hides `SQLite`, its file, its lock and its migrations. Everything blocks: async callers go
//! through `spawn_blocking`. Invariants: one daemon per folder; every change is one transaction
//! that is on the disk when [`Store::apply`] returns; documents are compared and set; an effect
//! is stored with the state that asked for it; nothing here reads a clock. Random bytes (ids,
//! keys, nonces) come from the kernel only, on purpose not injected.

mod audit;
mod change;
mod epoch;
mod error;
mod folder;
mod meter;
mod migrations;
mod open;
mod outbox;
mod read;
mod registry;
mod runs;
pub mod vault;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;

pub use audit::AuditRow;
pub use change::{AuditLine, Change, Doc, RefreshInFlight};
pub use error::StoreError;
pub use meter::MeterPoint;
pub use outbox::{MailRow, MailState, OutMail, QueuedMail};
pub use registry::ConnectionRow;
pub use runs::{RunRow, StoredRun};

use crmsync_core::domain::Time;
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the open store; clones share it. The folder's lock is held until the last is gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Mutex<Db>,
    /// For what people ask: reads that wait for no commit's disk.
    reader: Mutex<Connection>,
    dir: PathBuf,
    path: PathBuf,
    instance: [u8; 16],
    _lock: File,
}

struct Db {
    conn: Connection,
    epoch: epoch::Epoch,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Random id of this installation, made with the store.
    pub fn instance_id(&self) -> [u8; 16] {
        self.inner.instance
    }

    /// The same as 32 hex digits: the right-hand side of our Message-IDs.
    pub fn instance_hex(&self) -> String {
        hex(&self.inner.instance)
    }

    fn lock(&self) -> MutexGuard<'_, Db> {
        // A panic elsewhere cannot leave half a change: SQLite rolls back what was not committed.
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sql(&self, what: &'static str, e: &rusqlite::Error) -> StoreError {
        StoreError::sql(what, &self.inner.path, e)
    }

    /// Runs one read (or one small write of its own) on the connection.
    fn with<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.lock().conn).map_err(|e| self.sql(what, &e))
    }

    /// Runs one read for people: of what is committed, beside whoever is committing now.
    fn look<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let reader = self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read(&reader).map_err(|e| self.sql(what, &e))
    }
}

fn micros(at: Time) -> i64 {
    at.as_microsecond()
}

/// Out of range can only be a damaged row: clamped, not refused.
fn time(micros: i64) -> Time {
    Time::from_microsecond(micros).unwrap_or(if micros < 0 { Time::MIN } else { Time::MAX })
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}
