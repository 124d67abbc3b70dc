//! The replica in one `SQLite` file.
//!
//! Hides SQL, the pragmas, and the file's life: WAL while open (readers never wait), a rollback
//! journal when closed, so that a reader without write permission can open it. Invariant: every
//! write goes through [`Sqlite::transact`], which checks whose file it is before and keeps the
//! change counter after.

mod book;
mod fail;
mod load;
mod odd;
mod open;
mod read;
mod rows;
mod schema;
mod sweep;
mod tables;

use super::{
    Applied, Change, Counts, Fed, Into, LayoutChange, Mode, Owner, Replica, ReplicaError,
    SweepPlan, Window,
};
use book::Book;
use crmsync_core::domain::{Batch, ObjectSchema, Time};
use fail::Fail;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for another writer's lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long closing waits for readers before it leaves the file in WAL mode.
const CLOSING: Duration = Duration::from_secs(2);

/// An open file. Dropped without being closed it loses nothing, but stays in WAL mode until the
/// next close.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// Device and inode: a file moved away while open must not swallow writes.
    identity: (u64, u64),
    /// The connection's name, for people who look into the file.
    name: String,
    /// As whom we write.
    owner: Option<Owner>,
    book: Book,
    ways: rows::Ways,
}

/// A write transaction in which the file is known to be ours.
struct Work<'a> {
    db: &'a Connection,
    book: &'a Book,
    ways: &'a mut rows::Ways,
    /// Last used number of `_crmsync_seq`.
    seq: i64,
}

impl Sqlite {
    /// Opens the file, makes it (0640) if there is none, adopts it if there is one. `name` is the
    /// connection's name, written into the file for people.
    ///
    /// # Errors
    /// [`ReplicaError::Newer`] for a newer layout, [`ReplicaError::NotOurs`] for another program's
    /// database; neither file is touched.
    pub fn open(path: &Path, name: &str) -> Result<Self, ReplicaError> {
        let connection = open::open(path)?;
        let book = Book::load(&connection).map_err(|e| e.at(path, "reading the layout"))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self {
            connection,
            path: path.to_owned(),
            identity: open::identity(path)?,
            name: name.to_owned(),
            owner: None,
            book,
            ways: rows::Ways::default(),
        })
    }

    /// Checkpoints, goes back to a rollback journal and closes.
    pub fn close(self) -> Result<(), ReplicaError> {
        let path = self.path;
        open::close(self.connection).map_err(|e| e.at(&path, "closing the replica"))
    }

    /// For tests that narrow limits no file system would narrow on demand.
    #[cfg(test)]
    pub(in crate::replica) fn raw(&self) -> &Connection {
        &self.connection
    }

    /// Runs `f` between the owner's check and the commit. `None` takes everything back.
    fn transact<T>(
        &mut self,
        f: impl FnOnce(&mut Work<'_>) -> Result<Option<T>, Fail>,
    ) -> Result<Option<T>, Fail> {
        let Some(owner) = &self.owner else {
            return Err(Fail::Bug("nothing may be written before the replica is claimed".into()));
        };
        if open::identity(&self.path).map_err(Fail::Said)? != self.identity {
            return Err(Fail::Said(open::moved(&self.path)));
        }
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        open::check(&tx, &self.path, owner)?;
        let before: i64 = tx
            .prepare_cached(
                r#"SELECT CAST("value" AS INTEGER) FROM "_crmsync_meta" WHERE "key" = 'seq'"#,
            )?
            .query_row([], |r| r.get(0))
            .optional()?
            .unwrap_or(0);
        let mut work = Work { db: &tx, book: &self.book, ways: &mut self.ways, seq: before };
        let Some(value) = f(&mut work)? else {
            tx.rollback()?;
            return Ok(None);
        };
        let after = work.seq;
        if after != before {
            tx.prepare_cached(r#"INSERT OR REPLACE INTO "_crmsync_meta" VALUES ('seq', ?1)"#)?
                .execute([after.to_string()])?;
        }
        tx.commit()?;
        Ok(Some(value))
    }

    /// After tables have changed (or might have).
    fn reload(&mut self) -> Result<(), ReplicaError> {
        self.ways = rows::Ways::default();
        self.book =
            Book::load(&self.connection).map_err(|e| e.at(&self.path, "reading the layout"))?;
        Ok(())
    }
}

impl Replica for Sqlite {
    fn owner(&mut self) -> Result<Option<Owner>, ReplicaError> {
        open::owner(&self.connection).map_err(|e| e.at(&self.path, "reading the owner"))
    }

    fn claim(&mut self, owner: &Owner) -> Result<(), ReplicaError> {
        let (path, name) = (&self.path, &self.name);
        let claim = |connection: &mut Connection| -> Result<(), Fail> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            open::claim(&tx, path, name, owner)?;
            Ok(tx.commit()?)
        };
        claim(&mut self.connection).map_err(|e| e.at(&self.path, "claiming the replica"))?;
        self.owner = Some(owner.clone());
        Ok(())
    }

    fn lay_out(
        &mut self,
        object: &ObjectSchema,
        fields: &[String],
        now: Time,
    ) -> Result<LayoutChange, ReplicaError> {
        if self.owner.is_some() && self.book.is_laid_out(object, fields) {
            return Ok(LayoutChange::default());
        }
        let done = self.transact(|work| tables::lay_out(work, object, fields, now).map(Some));
        let loaded = self.reload();
        let change = done
            .map_err(|e| e.at(&self.path, &format!("laying out the table of {}", object.name)))?;
        loaded.map(|()| change.unwrap_or_default())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Result<Vec<Applied>, ReplicaError> {
        let mut doing = String::from("beginning a write");
        let done = self.transact(|work| {
            let mut applied = Vec::with_capacity(changes.len());
            for change in changes {
                applied.push(one(work, change).inspect_err(|_| doing = change.doing())?);
            }
            Ok(Some(applied))
        });
        let applied = done.map_err(|e| e.at(&self.path, &doing))?;
        if changes.iter().any(|c| matches!(c, Change::Forget { .. })) {
            self.reload()?;
        }
        Ok(applied.unwrap_or_default())
    }

    fn stream(
        &mut self,
        object: &str,
        fields: &[String],
        into: Into,
        at: Time,
        feed: &mut dyn FnMut() -> Fed,
    ) -> Result<Option<Applied>, ReplicaError> {
        let done = self.transact(|work| {
            let mut total = Applied::default();
            let mut sink = Sink::new(work, object, fields, into, at)?;
            loop {
                match feed() {
                    Fed::Batch(batch) => total.add(&sink.take(work, object, fields, &batch, at)?),
                    Fed::Commit { state, key } => {
                        drop(sink);
                        if key {
                            load::key(work, object)?;
                        }
                        tables::state(work, object, &state)?;
                        return Ok(Some(total));
                    }
                    Fed::Abort => return Ok(None),
                }
            }
        });
        // Many replicas stand open while their loads wait for a turn: none keeps its cache.
        if let Err(error) = self.connection.execute_batch("PRAGMA shrink_memory") {
            tracing::debug!(path = %self.path.display(), %error, "giving the page cache back");
        }
        done.map_err(|e| e.at(&self.path, &format!("writing rows of {object}")))
    }

    fn states(&mut self) -> Result<BTreeMap<String, String>, ReplicaError> {
        self.read_states()
    }

    fn objects(&self) -> Vec<String> {
        self.book.tables.keys().cloned().collect()
    }

    fn table_name(&self, object: &str) -> Option<String> {
        self.book.tables.get(object).map(|t| t.name.clone())
    }

    fn counts(&mut self, object: &str) -> Result<Counts, ReplicaError> {
        self.count_rows(object)
    }

    fn count_windows(
        &mut self,
        object: &str,
        unset: Option<&str>,
        windows: &[Window],
    ) -> Result<Vec<u64>, ReplicaError> {
        self.count_stamps(object, unset, windows)
    }

    fn odd_count(&mut self, object: &str) -> Result<u64, ReplicaError> {
        self.count_odd(object)
    }

    fn sweep_plan(&mut self, object: &str) -> Result<Option<SweepPlan>, ReplicaError> {
        self.plan_sweep(object)
    }

    fn take_new_keys(
        &mut self,
        object: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ReplicaError> {
        self.new_keys(object, after, limit)
    }

    fn close(self: Box<Self>) -> Result<(), ReplicaError> {
        (*self).close()
    }
}

/// Where the batches of one page go.
enum Sink<'a> {
    Append(Box<load::Appender<'a>>),
    Merge(Mode),
    Keys,
}

impl<'a> Sink<'a> {
    fn new(
        work: &mut Work<'a>,
        object: &str,
        fields: &[String],
        into: Into,
        at: Time,
    ) -> Result<Self, Fail> {
        Ok(match into {
            Into::FirstLoad => match load::Appender::new(work, object, fields, at)? {
                Some(appender) => Self::Append(Box::new(appender)),
                None => Self::Merge(Mode::Upsert),
            },
            Into::Rows(mode) => {
                load::key(work, object)?;
                Self::Merge(mode)
            }
            Into::SweepKeys => Self::Keys,
        })
    }

    fn take(
        &mut self,
        work: &mut Work<'_>,
        object: &str,
        fields: &[String],
        batch: &Batch,
        at: Time,
    ) -> Result<Applied, Fail> {
        match self {
            Self::Append(appender) => appender.append(work, batch),
            Self::Merge(mode) => rows::merge(work, object, fields, batch, *mode, at),
            Self::Keys => sweep::keys(work, object, batch),
        }
    }
}

fn one(work: &mut Work<'_>, change: &Change<'_>) -> Result<Applied, Fail> {
    match *change {
        Change::Rows { object, fields, batch, mode, at } => {
            load::key(work, object)?;
            rows::merge(work, object, fields, batch, mode, at)
        }
        Change::State { object, state } => tables::state(work, object, state),
        Change::Deleted { object, ids, policy, at } => {
            load::key(work, object)?;
            sweep::deleted(work, object, ids, policy, at)
        }
        Change::SweepBegin { object } => sweep::begin(work, object),
        Change::SweepKeys { object, batch } => sweep::keys(work, object, batch),
        Change::SweepEnd { object, as_, guard, at } => {
            load::key(work, object)?;
            sweep::end(work, object, as_, guard, at)
        }
        Change::Key { object } => load::key(work, object),
        Change::Forget { object } => tables::forget(work, object),
        Change::Erase { before } => sweep::erase(work, before),
    }
}

/// A name as an identifier of SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
