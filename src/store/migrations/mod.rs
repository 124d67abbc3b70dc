//! Numbered, frozen steps of the schema. A released step is never edited: a test holds its hash.
//!
//! The version is SQLite's `user_version`. Before any step the file is copied aside as
//! `state.db.vN`; that copy stays until the next migration.

use super::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The steps; step `i` leads to version `i + 1`.
pub(super) const STEPS: &[&str] = &[include_str!("0001_first.sql")];

/// Version of an existing file, read without changing anything.
pub(super) fn version(path: &Path) -> Result<u32, StoreError> {
    const WHAT: &str = "reading the schema version";
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |e: &rusqlite::Error| StoreError::sql(WHAT, path, e);
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(&e))?;
    conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(|e| failed(&e))
}

/// Refuses a newer file, naming the copy that this program can read.
pub(super) fn refuse_newer(path: &Path, found: u32, known: u32) -> Result<(), StoreError> {
    if found <= known {
        return Ok(());
    }
    let copy = (1..=known).rev().map(|v| copy_path(path, v)).find(|p| p.exists());
    Err(StoreError::Newer { path: path.to_owned(), found, known, copy })
}

/// Brings the file to the last step, each in a transaction with its version.
pub(super) fn migrate(
    conn: &mut Connection,
    path: &Path,
    from: u32,
    steps: &[&str],
) -> Result<(), StoreError> {
    const WHAT: &str = "migrating";
    let last = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if from >= last {
        return Ok(());
    }
    if from > 0 {
        copy_aside(conn, path, from)?;
    }
    for (step, to) in steps.iter().zip(1..).filter(|(_, to)| *to > from) {
        let run = |conn: &mut Connection| {
            let tx = conn.transaction()?;
            tx.execute_batch(step)?;
            tx.pragma_update(None, "user_version", to)?;
            tx.commit()
        };
        run(conn).map_err(|e| StoreError::sql(WHAT, path, &e))?;
    }
    Ok(())
}

fn copy_path(path: &Path, version: u32) -> PathBuf {
    path.with_file_name(format!("state.db.v{version}"))
}

/// A whole copy under its final name only when it is complete; then older copies go.
fn copy_aside(conn: &Connection, path: &Path, version: u32) -> Result<(), StoreError> {
    const WHAT: &str = "copying the store aside before a migration";
    let copy = copy_path(path, version);
    let part = path.with_file_name("state.db.part");
    let failed = |e: &std::io::Error| StoreError::io(WHAT, &copy, e);
    if part.exists() {
        fs::remove_file(&part).map_err(|e| failed(&e))?;
    }
    conn.execute("VACUUM INTO ?1", [part.to_string_lossy()])
        .map_err(|e| StoreError::sql(WHAT, &copy, &e))?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o600)).map_err(|e| failed(&e))?;
    fs::File::open(&part).and_then(|f| f.sync_all()).map_err(|e| failed(&e))?;
    fs::rename(&part, &copy).map_err(|e| failed(&e))?;
    for old in 1..version {
        match fs::remove_file(copy_path(path, old)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(&e)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
