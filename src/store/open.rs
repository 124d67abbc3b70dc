//! Opening: folder, lock, version, pragmas, migration, instance id, epoch, in this order, so that
//! nothing is touched before it is known to be ours.

use super::{Db, Inner, Store, StoreError, epoch, folder, migrations, registry};
use rusqlite::{Connection, OptionalExtension};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// "crms" in the file's header: tells our file from anybody's.
const APPLICATION_ID: i32 = 0x6372_6D73;

impl Store {
    /// Opens the store of a state folder, makes both where they are missing, and takes the lock.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, migrations::STEPS)
    }

    pub(super) fn open_with(dir: &Path, steps: &[&str]) -> Result<Self, StoreError> {
        let lock = folder::take(dir)?;
        let path = dir.join("state.db");
        let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let exists = path.metadata().is_ok_and(|m| m.len() > 0);
        let found = if exists { migrations::version(&path)? } else { 0 };
        migrations::refuse_newer(&path, found, known)?;
        // SQLite gives WAL and SHM the mode of the database.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| StoreError::io("opening the store", &path, &e))?;
        let sql = |e: rusqlite::Error| StoreError::sql("opening the store", &path, &e);
        let mut conn = Connection::open(&path).map_err(sql)?;
        refuse_foreign(&conn, &path, found)?;
        pragmas(&conn).map_err(sql)?;
        migrations::migrate(&mut conn, &path, found, steps)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
        let instance = if let Some(id) = instance(&conn).map_err(sql)? {
            id
        } else {
            let id = registry::new_instance().map_err(|why| StoreError::Failed {
                what: "opening the store",
                path: path.clone(),
                why,
            })?;
            conn.execute("INSERT INTO meta (key, value) VALUES ('instance', ?1)", [&id[..]])
                .map_err(sql)?;
            id
        };
        let epoch = epoch::check(&mut conn, dir, &instance).map_err(sql)?;
        let reader = Connection::open(&path).and_then(reads_only).map_err(sql)?;
        let inner = Inner {
            db: Mutex::new(Db { conn, epoch }),
            reader: Mutex::new(reader),
            dir: dir.to_owned(),
            path,
            instance,
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        store.write_epoch(&mut store.lock());
        Ok(store)
    }
}

fn refuse_foreign(conn: &Connection, path: &Path, found: u32) -> Result<(), StoreError> {
    const WHAT: &str = "opening the store";
    let sql = |e: rusqlite::Error| StoreError::sql(WHAT, path, &e);
    let id: i32 = conn.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(sql)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(sql)?;
    // A crash between the first step and the id leaves version 1 without it: that is ours too.
    if tables == 0 || id == APPLICATION_ID || (id == 0 && found > 0) {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        what: WHAT,
        path: path.to_owned(),
        why: "it is a database of another program".to_owned(),
    })
}

fn pragmas(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "secure_delete", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn reads_only(conn: Connection) -> rusqlite::Result<Connection> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "query_only", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    // It looks at a few pages now and then.
    conn.pragma_update(None, "cache_size", -256)?;
    Ok(conn)
}

fn instance(conn: &Connection) -> rusqlite::Result<Option<[u8; 16]>> {
    conn.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |r| r.get(0)).optional()
}
