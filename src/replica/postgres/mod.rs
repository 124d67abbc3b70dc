//! The replica in a schema of a `PostgreSQL` database.
//!
//! Hides SQL, the wire format of rows, and the connection: one that was lost is made again at the
//! next use, and what was open in it is undone as a whole. Invariants: every write goes through
//! [`Postgres::transact`], which checks whose schema it is before and keeps the change counter
//! after; readers are never locked out by a load.

mod book;
mod change;
mod encode;
mod fail;
mod link;
mod load;
mod make;
mod merge;
mod numeric;
mod odd;
mod open;
mod params;
mod places;
mod plan;
mod read;
mod schema;
mod server;
mod sweep;
mod tables;

pub(in crate::replica) use places::{exists, remove, rename};
pub use server::Server;

use super::{
    Applied, Change, Counts, Fed, Into, LayoutChange, Owner, Replica, ReplicaError, SweepPlan,
    Window,
};
use book::{Book, Made};
use change::{one, streamed, whose_table};
use crmsync_core::domain::{ObjectSchema, Time};
use fail::Fail;
use link::{Db, Limits};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// Waits in ms between attempts to get a lock for a change of a table, shared by all tables between
/// two claims; with the lock's own time-out of 1 s some 5 s in all.
const AGAIN: [u64; 3] = [500, 250, 100];

/// The schema of a connection's replica. Names with a meaning of their own get a `_` before.
pub fn schema_name(connection: &str) -> String {
    let name = super::naming::plain(connection);
    let taken = name.starts_with("pg_") || name == "public" || name == "information_schema";
    if taken { format!("_{name}") } else { name }
}

/// An open replica. Dropped without being closed it loses nothing.
pub struct Postgres {
    server: Server,
    schema: String,
    /// Server and schema, for people.
    path: String,
    /// The connection's name, for people who look into the schema.
    name: String,
    /// As whom we write.
    owner: Option<Owner>,
    /// `None` after the connection was lost.
    link: Option<Db>,
    /// A transaction is open; still so when a new one begins, somebody panicked within it.
    busy: bool,
    limits: Limits,
    /// How many of [`AGAIN`] are left, the last first.
    patience: usize,
    book: Book,
    plans: merge::Plans,
}

/// A write transaction in which the schema is known to be ours.
struct Work<'a> {
    db: &'a mut Db,
    book: &'a mut Book,
    plans: &'a mut merge::Plans,
    schema: &'a str,
    path: &'a str,
    /// Temporary tables that this transaction has filled.
    staged: BTreeSet<String>,
    /// Last used number of `_crmsync_seq`.
    seq: i64,
}

impl Postgres {
    /// Connects, makes the schema if there is none, adopts it if there is one.
    pub(super) fn open(server: &Server, schema: &str, name: &str) -> Result<Self, ReplicaError> {
        let mut replica = Self {
            path: places::words(server, schema),
            server: server.clone(),
            schema: schema.to_owned(),
            name: name.to_owned(),
            owner: None,
            link: None,
            busy: false,
            limits: Limits::default(),
            patience: AGAIN.len(),
            book: Book::default(),
            plans: merge::Plans::default(),
        };
        replica.connected().map_err(|e| e.at(&replica.path, "opening the replica"))?;
        Ok(replica)
    }

    /// For tests that do not wait as long as the daemon: `quiet` until a sign of life is asked
    /// for, `within` for any statement.
    #[cfg(test)]
    pub(in crate::replica) fn hurry(&mut self, quiet: Duration, within: Duration) {
        let (statement, long) = (within, within);
        let grace = Duration::from_secs(1);
        self.limits = Limits { quiet, statement, long, grace, ..Limits::default() };
        self.link = None;
    }

    /// The session, made if there is none.
    fn connected(&mut self) -> Result<(), Fail> {
        if self.link.is_some() && !self.busy {
            return Ok(());
        }
        self.link = None;
        self.busy = false;
        let mut db =
            Db::connect(&self.server, self.limits, &self.schema, &self.name).map_err(Fail::Said)?;
        open::prepare(&mut db, &self.schema, &self.path)?;
        open::admit(&mut db, &self.schema, &self.server)?;
        self.book = Book::load(&mut db)?;
        self.plans = merge::Plans::default();
        self.link = Some(db);
        Ok(())
    }

    /// Runs `f` on the session; one that turns out to be lost is put away.
    fn on<T>(&mut self, f: impl FnOnce(&mut Db, &Book) -> Result<T, Fail>) -> Result<T, Fail> {
        self.connected()?;
        let Some(db) = &mut self.link else { return Err(lost()) };
        let done = f(db, &self.book);
        if done.as_ref().is_err_and(Fail::is_lost) {
            self.link = None;
        }
        done
    }

    /// Reads, once more on a new session if the old one was lost meanwhile.
    fn reading<T>(
        &mut self,
        doing: &str,
        read: impl Fn(&mut Db, &Book) -> Result<T, Fail>,
    ) -> Result<T, ReplicaError> {
        let had = self.link.is_some();
        let mut done = self.on(&read);
        if had && done.as_ref().is_err_and(Fail::is_lost) {
            done = self.on(&read);
        }
        done.map_err(|e| e.at(&self.path, doing))
    }

    /// Begins a transaction. A session that was lost while nobody used it is made again.
    fn begin(&mut self) -> Result<(), Fail> {
        let had = self.link.is_some();
        let mut begun = self.on(|db, _| db.begin());
        if had && begun.as_ref().is_err_and(Fail::is_lost) {
            begun = self.on(|db, _| db.begin());
        }
        self.busy = begun.is_ok();
        begun
    }

    /// Ends it. Whatever was done in a transaction that is taken back must not be remembered.
    fn take_back(&mut self) {
        let back = self.link.as_mut().map(|db| {
            db.unprepare();
            db.batch("ROLLBACK").and_then(|()| Book::load(db))
        });
        match back {
            Some(Ok(book)) => self.book = book,
            Some(Err(_)) | None => self.link = None,
        }
        self.plans.forget();
        self.busy = false;
    }

    /// Runs `f` between the owner's check and the commit. `None` takes everything back.
    fn transact<T>(
        &mut self,
        f: impl FnOnce(&mut Work<'_>) -> Result<Option<T>, Fail>,
    ) -> Result<Option<T>, Fail> {
        let Some(owner) = self.owner.clone() else {
            return Err(Fail::Bug("nothing may be written before the replica is claimed".into()));
        };
        self.begin()?;
        let Some(db) = &mut self.link else { return Err(lost()) };
        let (schema, path) = (self.schema.as_str(), self.path.as_str());
        let done = open::check(db, path, &owner).and_then(|before| {
            let (book, plans) = (&mut self.book, &mut self.plans);
            let staged = BTreeSet::new();
            let mut work = Work { db: &mut *db, book, plans, schema, path, staged, seq: before };
            let value = f(&mut work)?;
            let after = work.seq;
            if value.is_some() && after != before {
                db.execute(
                    r#"UPDATE "_crmsync_meta" SET "value" = $1 WHERE "key" = 'seq'"#,
                    &[&after.to_string()],
                )?;
            }
            if value.is_some() {
                db.batch("COMMIT")?;
            }
            Ok(value)
        });
        if done.as_ref().is_ok_and(Option::is_some) {
            self.busy = false;
        } else {
            self.take_back();
        }
        done
    }
}

fn lost() -> Fail {
    Fail::Io(std::io::Error::from(std::io::ErrorKind::NotConnected))
}

impl Replica for Postgres {
    fn owner(&mut self) -> Result<Option<Owner>, ReplicaError> {
        self.reading("reading the owner", |db, _| open::owner(&open::read(db, false)?))
    }

    fn claim(&mut self, owner: &Owner) -> Result<(), ReplicaError> {
        let (path, name) = (self.path.clone(), self.name.clone());
        let claimed = self.begin().and_then(|()| {
            self.on_open(|db| {
                open::claim(db, &path, &name, owner)?;
                // A fence must hold after a crash of the server, too; a standby that is away must
                // not keep it waiting.
                db.batch("SET LOCAL synchronous_commit = local; COMMIT")
            })
        });
        if claimed.is_err() {
            self.take_back();
        }
        self.busy = false;
        claimed.map_err(|e| e.at(&self.path, "claiming the replica"))?;
        self.owner = Some(owner.clone());
        self.patience = AGAIN.len();
        Ok(())
    }

    fn lay_out(
        &mut self,
        object: &ObjectSchema,
        fields: &[String],
        now: Time,
    ) -> Result<LayoutChange, ReplicaError> {
        let doing = format!("laying out the table of {}", object.name);
        self.connected().map_err(|e| e.at(&self.path, &doing))?;
        let unnamed = self.book.tables.get(&object.name).is_some_and(|t| t.made == Made::Unique);
        if self.owner.is_some() && !unnamed && self.book.is_laid_out(object, fields) {
            return Ok(LayoutChange::default());
        }
        loop {
            let (mut at, within) = (None, if self.patience > 0 { "1s" } else { "100ms" });
            let done = self.transact(|work| {
                work.db.take_long()?;
                work.db.batch(&format!("SET LOCAL lock_timeout = '{within}'"))?;
                at = Some(object.name.as_str());
                tables::lay_out(work, object, fields, now).map(Some)
            });
            match done {
                Err(fail)
                    if self.patience > 0 && fail.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) =>
                {
                    self.patience -= 1;
                    std::thread::sleep(Duration::from_millis(AGAIN[self.patience]));
                }
                Err(fail) => return Err(fail.of(at, &self.path, &doing)),
                Ok(change) => {
                    self.plans.forget();
                    return Ok(change.unwrap_or_default());
                }
            }
        }
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Result<Vec<Applied>, ReplicaError> {
        let (mut doing, mut at) = (String::from("beginning a write"), None);
        let done = self.transact(|work| {
            let mut applied = Vec::with_capacity(changes.len());
            for change in changes {
                applied.push(one(work, change).inspect_err(|_| {
                    doing = change.doing();
                    at = whose_table(change);
                })?);
            }
            doing = String::from("committing a write");
            Ok(Some(applied))
        });
        let applied = done.map_err(|e| e.of(at, &self.path, &doing))?;
        if changes.iter().any(|c| matches!(c, Change::Forget { .. })) {
            self.plans.forget();
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
        // The source may let us wait: no transaction stands open before it answers.
        let first = match feed() {
            Fed::Abort => return Ok(None),
            first @ (Fed::Batch(_) | Fed::Commit { .. }) => first,
        };
        let mut first = Some(first);
        let mut next = || first.take().unwrap_or_else(&mut *feed);
        let mut reached = None;
        let done = self.transact(|work| {
            // The source sets the pace of a copy.
            work.db.take_long()?;
            reached = Some(object);
            let Some((total, state, key)) = streamed(work, object, fields, into, at, &mut next)?
            else {
                return Ok(None);
            };
            if key {
                make::keyed(work, object)?;
            }
            tables::state(work, object, &state)?;
            Ok(Some(total))
        });
        done.map_err(|e| e.of(reached, &self.path, &format!("writing rows of {object}")))
    }

    fn states(&mut self) -> Result<BTreeMap<String, String>, ReplicaError> {
        self.reading("reading the states", |db, _| read::states(db))
    }

    fn objects(&self) -> Vec<String> {
        self.book.tables.keys().cloned().collect()
    }

    fn table_name(&self, object: &str) -> Option<String> {
        self.book.tables.get(object).map(|t| t.name.clone())
    }

    fn counts(&mut self, object: &str) -> Result<Counts, ReplicaError> {
        let doing = format!("counting {object}");
        self.reading(&doing, |db, book| read::counts(db, book.table(object)?))
    }

    fn count_windows(
        &mut self,
        object: &str,
        unset: Option<&str>,
        windows: &[Window],
    ) -> Result<Vec<u64>, ReplicaError> {
        let doing = format!("counting {object}");
        self.reading(&doing, |db, book| read::count_windows(db, book, object, unset, windows))
    }

    fn odd_count(&mut self, object: &str) -> Result<u64, ReplicaError> {
        let doing = format!("counting odd values of {object}");
        self.reading(&doing, |db, _| read::odd_count(db, object))
    }

    fn sweep_plan(&mut self, object: &str) -> Result<Option<SweepPlan>, ReplicaError> {
        let doing = format!("planning the sweep of {object}");
        self.reading(&doing, |db, book| read::sweep_plan(db, book, object))
    }

    fn take_new_keys(
        &mut self,
        object: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ReplicaError> {
        let doing = format!("reading new keys of {object}");
        self.reading(&doing, |db, book| read::new_keys(db, book, object, after, limit))
    }

    fn close(self: Box<Self>) -> Result<(), ReplicaError> {
        // Nothing is open between two calls; the server forgets the session.
        if let Some(link) = self.link {
            link.end();
        }
        Ok(())
    }
}

impl Postgres {
    /// On the session of the open transaction: it is not made anew when lost.
    fn on_open<T>(&mut self, f: impl FnOnce(&mut Db) -> Result<T, Fail>) -> Result<T, Fail> {
        self.link.as_mut().map_or_else(|| Err(lost()), f)
    }
}

/// A name as an identifier of SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}
