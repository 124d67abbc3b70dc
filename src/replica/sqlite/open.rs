//! The file's life: made, recognized, claimed, checked, closed.

use super::super::{Owner, ReplicaError};
use super::fail::Fail;
use super::{CLOSING, PATIENCE, schema};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const DOING: &str = "opening the replica";
const RIGHTS: &str = "the file and its folder must be writable for the daemon's user";

pub(super) fn open(path: &Path) -> Result<Connection, ReplicaError> {
    let io = |e: &std::io::Error| {
        if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            let (doing, cause) = (DOING.to_owned(), e.to_string());
            return ReplicaError::DiskFull { doing, path: path.display().to_string(), cause };
        }
        ReplicaError::unavailable(path, DOING, &e.to_string(), RIGHTS)
    };
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        // Whatever the umask: the group of the folder may read.
        Ok(file) => file.set_permissions(Permissions::from_mode(0o640)).map_err(|e| io(&e))?,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            // Where writing back is on, others may write into the folder: follow no link of theirs.
            let found = std::fs::symlink_metadata(path).map_err(|e| io(&e))?;
            if !found.is_file() {
                return Err(ReplicaError::unavailable(
                    path,
                    DOING,
                    "not a regular file",
                    "move it away",
                ));
            }
        }
        Err(e) => return Err(io(&e)),
    }
    prepare(path).map_err(|e| e.at(path, DOING))
}

fn prepare(path: &Path) -> Result<Connection, Fail> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |r| r.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0))?;
    if id != schema::APPLICATION_ID && (tables > 0 || id != 0) {
        return Err(Fail::Said(ReplicaError::NotOurs {
            path: path.display().to_string(),
            found: "another program's database".to_owned(),
            expected: "a replica of crmsync".to_owned(),
            hint: "move the file away, or give this connection another name".to_owned(),
        }));
    }
    if version > schema::newest() {
        return Err(Fail::Said(ReplicaError::Newer {
            path: path.display().to_string(),
            found: version,
            known: schema::newest(),
        }));
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    if mode != "wal" {
        return Err(Fail::Said(ReplicaError::unavailable(
            path,
            DOING,
            &format!("the database stays in journal mode {mode}"),
            "put the replica on a local file system",
        )));
    }
    // Sorting for a key takes as much memory as the cache may, and goes on in a temporary file.
    // The schema of a file that others may write is not trusted to call functions; erased rows
    // are overwritten where that costs no extra page.
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -6000; PRAGMA temp_store = FILE;
         PRAGMA journal_size_limit = 67108864; PRAGMA trusted_schema = OFF;
         PRAGMA secure_delete = FAST;",
    )?;
    if version < schema::newest() {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::migrate(&tx, version)?;
        tx.commit()?;
    }
    Ok(connection)
}

const MOVED: &str =
    "what is not there is loaded again by itself; pause the connection before moving its file";

/// Device and inode of what stands at the path now.
pub(super) fn identity(path: &Path) -> Result<(u64, u64), ReplicaError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(moved(path)),
        Err(e) => {
            Err(ReplicaError::unavailable(path, "looking at the file", &e.to_string(), RIGHTS))
        }
    }
}

/// Close the replica and open it again: what stands at the path then is adopted or made anew.
pub(super) fn moved(path: &Path) -> ReplicaError {
    let cause = "the file was moved, replaced or removed while it was open";
    ReplicaError::unavailable(path, "writing", cause, MOVED)
}

pub(super) fn owner(db: &Connection) -> Result<Option<Owner>, Fail> {
    let meta = |key: &str| -> rusqlite::Result<Option<String>> {
        db.prepare_cached(r#"SELECT "value" FROM "_crmsync_meta" WHERE "key" = ?1"#)?
            .query_row([key], |r| r.get(0))
            .optional()
    };
    let (Some(provider), Some(org_id)) = (meta("provider")?, meta("org_id")?) else {
        return Ok(None);
    };
    let epoch = meta("epoch")?.unwrap_or_default();
    Ok(Some(Owner {
        provider,
        org_id,
        connection: meta("connection")?.unwrap_or_default(),
        epoch: epoch.parse().map_err(|_| Fail::Bug(format!("epoch `{epoch}` is no number")))?,
    }))
}

/// Every write transaction begins with this.
pub(super) fn check(db: &Connection, path: &Path, ours: &Owner) -> Result<(), Fail> {
    match owner(db)? {
        Some(found) if found == *ours => Ok(()),
        Some(found) => Err(refused(path, &found, ours)),
        None => Err(Fail::Bug("the file has no owner any more".to_owned())),
    }
}

pub(super) fn claim(db: &Connection, path: &Path, name: &str, ours: &Owner) -> Result<(), Fail> {
    if let Some(found) = owner(db)? {
        let other_data = found.provider != ours.provider || found.org_id != ours.org_id;
        let later = found.epoch > ours.epoch
            || found.epoch == ours.epoch && found.connection != ours.connection;
        if other_data || later {
            return Err(refused(path, &found, ours));
        }
    }
    let epoch = ours.epoch.to_string();
    for (key, value) in [
        ("provider", ours.provider.as_str()),
        ("org_id", &ours.org_id),
        ("connection", &ours.connection),
        ("epoch", &epoch),
        ("name", name),
    ] {
        db.execute(
            r#"INSERT INTO "_crmsync_meta" VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET "value" = excluded."value"
               WHERE "value" IS NOT excluded."value""#,
            [key, value],
        )?;
    }
    Ok(())
}

fn refused(path: &Path, found: &Owner, ours: &Owner) -> Fail {
    let words = |o: &Owner| {
        format!("{} org {} (connection {}, epoch {})", o.provider, o.org_id, o.connection, o.epoch)
    };
    let hint = if found.provider != ours.provider || found.org_id != ours.org_id {
        "another org's data is never overwritten: use another connection name, or move the file away"
    } else {
        "a later owner has taken the file; if this node is the right one, restart it to take it back"
    };
    Fail::Said(ReplicaError::NotOurs {
        path: path.display().to_string(),
        found: words(found),
        expected: words(ours),
        hint: hint.to_owned(),
    })
}

pub(super) fn close(connection: Connection) -> Result<(), Fail> {
    connection.flush_prepared_statement_cache();
    connection.busy_timeout(CLOSING)?;
    let back = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .and_then(|()| connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())));
    let closed = connection.close().map_err(|(_, e)| e);
    match back {
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
        other => other?,
    }
    Ok(closed?)
}
