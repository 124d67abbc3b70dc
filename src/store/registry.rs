//! Connections by their internal id. A name can change; the id never does, and all else in the
//! store, secrets included, is bound to it.

use super::{Store, StoreError, hex, micros, time};
use crmsync_core::domain::Time;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// A connection that was configured at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Internal id (UUID version 7).
    pub id: String,
    /// Its name now.
    pub name: String,
    /// When it was first seen.
    pub created: Time,
    /// Since when it is gone from the configuration.
    pub retired: Option<Time>,
}

impl Store {
    /// The id of a configured connection: made when the name is new, and no longer retired.
    pub fn connection_id(&self, name: &str, now: Time) -> Result<String, StoreError> {
        const WHAT: &str = "registering a connection";
        let mut random = [0u8; 10];
        getrandom::fill(&mut random).map_err(|e| StoreError::Failed {
            what: WHAT,
            path: self.dir().to_owned(),
            why: e.to_string(),
        })?;
        let mut db = self.lock();
        self.transaction(&mut db, WHAT, |tx| {
            register(tx, name, now, random).map_err(|e| self.sql(WHAT, &e))
        })
    }

    /// All connections ever seen and not forgotten, by name.
    pub fn connections(&self) -> Result<Vec<ConnectionRow>, StoreError> {
        self.look("reading connections", |c| {
            c.prepare_cached("SELECT id, name, created, retired FROM connection ORDER BY name")?
                .query_map([], |r| {
                    Ok(ConnectionRow {
                        id: r.get(0)?,
                        name: r.get(1)?,
                        created: time(r.get(2)?),
                        retired: r.get::<_, Option<i64>>(3)?.map(time),
                    })
                })?
                .collect()
        })
    }

    /// Gone from the configuration: it keeps everything, but is due no more.
    pub fn retire(&self, id: &str, now: Time) -> Result<(), StoreError> {
        const WHAT: &str = "retiring a connection";
        let mut db = self.lock();
        self.transaction(&mut db, WHAT, |tx| {
            let n = tx
                .execute(
                    "UPDATE connection SET retired = ifnull(retired, ?2) WHERE id = ?1",
                    params![id, micros(now)],
                )
                .and_then(|n| tx.execute("DELETE FROM due WHERE connection = ?1", [id]).map(|_| n))
                .map_err(|e| self.sql(WHAT, &e))?;
            known(n, id)
        })
    }

    /// Gives a connection another name; grant, cursor and all else stay.
    pub fn rename(&self, old: &str, new: &str) -> Result<(), StoreError> {
        const WHAT: &str = "renaming a connection";
        let mut db = self.lock();
        self.transaction(&mut db, WHAT, |tx| {
            let taken = id_of(tx, new).map_err(|e| self.sql(WHAT, &e))?;
            if taken.is_some() && old != new {
                return Err(StoreError::NameTaken(new.to_owned()));
            }
            let n = tx
                .execute("UPDATE connection SET name = ?2 WHERE name = ?1", params![old, new])
                .map_err(|e| self.sql(WHAT, &e))?;
            known(n, old)
        })
    }

    /// Removes all state of a connection: documents with its id as key (or `ID/…`), due time,
    /// runs, refresh, secrets. Audit lines and mails stay: they are history.
    pub fn forget(&self, id: &str) -> Result<(), StoreError> {
        const WHAT: &str = "forgetting a connection";
        let mut db = self.lock();
        self.transaction(&mut db, WHAT, |tx| {
            let n = remove(tx, id).map_err(|e| self.sql(WHAT, &e))?;
            known(n, id)
        })?;
        self.write_epoch(&mut db);
        Ok(())
    }
}

fn known(rows: usize, who: &str) -> Result<(), StoreError> {
    match rows {
        0 => Err(StoreError::UnknownConnection(who.to_owned())),
        _ => Ok(()),
    }
}

fn id_of(c: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    c.prepare_cached("SELECT id FROM connection WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()
}

fn register(
    tx: &Transaction<'_>,
    name: &str,
    now: Time,
    random: [u8; 10],
) -> rusqlite::Result<String> {
    if let Some(id) = id_of(tx, name)? {
        tx.execute("UPDATE connection SET retired = NULL WHERE id = ?1", [&id])?;
        return Ok(id);
    }
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let id = id.hyphenated().to_string();
    tx.execute(
        "INSERT INTO connection (id, name, created) VALUES (?1, ?2, ?3)",
        params![id, name, micros(now)],
    )?;
    Ok(id)
}

fn remove(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<usize> {
    let n = tx.execute("DELETE FROM connection WHERE id = ?1", [id])?;
    // No LIKE: an id is data, not a pattern.
    tx.execute(
        "DELETE FROM doc WHERE key = ?1 OR substr(key, 1, length(?1) + 1) = ?1 || '/'",
        [id],
    )?;
    for table in ["due", "run", "refresh", "secret", "dek"] {
        tx.execute(&format!("DELETE FROM {table} WHERE connection = ?1"), [id])?;
    }
    super::epoch::count(tx)?;
    Ok(n)
}

/// The instance id of a new store.
pub(super) fn new_instance() -> Result<[u8; 16], String> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|e| format!("no random bytes from the kernel: {e}"))?;
    debug_assert_eq!(hex(&id).len(), 32);
    Ok(id)
}
