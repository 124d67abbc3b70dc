//! The epoch file: what the database had reached, kept beside it, so that an older database put
//! back, or an older secret put back into it, is noticed.
//!
//! It is written after the commit: behind the database it may be (a crash), ahead of it never.
//! Invariant: `STATE/epoch` ahead of the database means that somebody put an older one back.

use super::{Store, StoreError, hex, signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Epoch {
    instance: String,
    /// Number of changes to secrets ever committed.
    counter: u64,
    /// Highest generation per `connection/name`.
    generations: BTreeMap<String, u64>,
}

impl Epoch {
    /// The generation below which a secret must not be.
    pub(super) fn least(&self, connection: &str, name: &str) -> u64 {
        self.generations.get(&slot(connection, name)).copied().unwrap_or(0)
    }

    /// Keeps the higher generation of each secret that is still there: a single row put back
    /// stays below it, and is refused until that secret is written anew.
    fn raise(&mut self, known: &Self) {
        for (slot, generation) in &mut self.generations {
            *generation = known.generations.get(slot).copied().unwrap_or(0).max(*generation);
        }
    }
}

fn slot(connection: &str, name: &str) -> String {
    format!("{connection}/{name}")
}

impl Store {
    /// Whether the database was found older than its epoch file, or from another host, at some
    /// start, and that was not settled yet. Refresh tokens in it may have been rotated since:
    /// probe gently, one connection after another; void open links.
    pub fn restored(&self) -> Result<bool, StoreError> {
        self.with("reading the epoch", |c| Ok(meta(c, "restored")?.unwrap_or(0) > 0))
    }

    /// The daemon has dealt with the restored database.
    pub fn settle_restored(&self) -> Result<(), StoreError> {
        self.with("settling the epoch", |c| {
            c.execute("DELETE FROM meta WHERE key = 'restored'", []).map(drop)
        })
    }

    /// Brings the file up to the database. A failure is only logged: the file may be behind.
    pub(super) fn write_epoch(&self, db: &mut super::Db) {
        match read_db(&db.conn, &self.inner.instance) {
            Ok(mut epoch) => {
                epoch.raise(&db.epoch);
                db.epoch = epoch;
            }
            Err(e) => {
                tracing::warn!(error = %e, "reading the generations of secrets failed");
                return;
            }
        }
        if let Err(e) = write_file(self.dir(), &db.epoch) {
            tracing::warn!(error = %e, "writing the epoch file failed; it stays behind");
        }
    }
}

/// Counts a change to secrets, in its own transaction.
pub(super) fn count(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let next = meta(tx, "epoch")?.unwrap_or(0) + 1;
    set_meta(tx, "epoch", next)
}

/// Compares database and file at a start. A database that is older, or sealed secrets without a
/// file, is marked as restored and counted past the file, so that generations never repeat.
pub(super) fn check(
    conn: &mut Connection,
    dir: &Path,
    instance: &[u8; 16],
) -> rusqlite::Result<Epoch> {
    let ours = read_db(conn, instance)?;
    let file = read_file(dir);
    let older = match &file {
        Some(file) => file.instance != ours.instance || file.counter > ours.counter,
        None => ours.counter > 0,
    };
    if !older {
        let mut epoch = ours;
        epoch.raise(&file.unwrap_or_default());
        return Ok(epoch);
    }
    tracing::warn!(state_dir = %dir.display(), "the database is older than its epoch file: restored?");
    let file = file.unwrap_or_default();
    let tx = conn.transaction()?;
    set_meta(&tx, "epoch", file.counter.max(ours.counter) + 1)?;
    set_meta(&tx, "restored", 1)?;
    for (slot, generation) in &file.generations {
        if let Some((connection, _)) = slot.split_once('/') {
            tx.execute(
                "UPDATE dek SET generation = max(generation, ?2) WHERE connection = ?1",
                params![connection, signed(*generation)],
            )?;
        }
    }
    tx.commit()?;
    read_db(conn, instance)
}

fn read_db(conn: &Connection, instance: &[u8; 16]) -> rusqlite::Result<Epoch> {
    let mut epoch = Epoch {
        instance: hex(instance),
        counter: meta(conn, "epoch")?.unwrap_or(0),
        generations: BTreeMap::new(),
    };
    let mut rows = conn.prepare_cached("SELECT connection, name, generation FROM secret")?;
    let mut rows = rows.query([])?;
    while let Some(r) = rows.next()? {
        let (connection, name): (String, String) = (r.get(0)?, r.get(1)?);
        let slot = slot(&connection, &name);
        epoch.generations.insert(slot, unsigned(r.get(2)?));
    }
    Ok(epoch)
}

pub(super) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |r| Ok(unsigned(r.get(0)?)))
        .optional()
}

fn set_meta(conn: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, signed(value)])
        .map(drop)
}

/// A missing or unreadable file is none: with sealed secrets that counts as restored.
fn read_file(dir: &Path) -> Option<Epoch> {
    let mut text = String::new();
    File::open(dir.join("epoch")).ok()?.take(64 << 20).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whole or not at all: written beside, synced, renamed.
fn write_file(dir: &Path, epoch: &Epoch) -> io::Result<()> {
    let part = dir.join("epoch.part");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&serde_json::to_vec(epoch)?)?;
    file.sync_all()?;
    fs::rename(&part, dir.join("epoch"))?;
    File::open(dir)?.sync_all()
}
