use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// Why the store did not do what was asked. Nothing was changed in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody wrote this document (or sealed this secret) since it was read: read again, decide again.
    #[error("storing {kind} `{key}`: it was changed since it was read")]
    Stale {
        /// Kind of the document, or `secret`.
        kind: String,
        /// Its key.
        key: String,
    },
    /// No room on the disk of the state folder.
    #[error(
        "{what} in {}: the disk is full\nhint: free space there; crmsyncd goes on by itself",
        path.display()
    )]
    DiskFull {
        /// What was being done.
        what: &'static str,
        /// File or folder.
        path: PathBuf,
    },
    /// The state folder cannot be written.
    #[error(
        "{what} in {}: it cannot be written: {why}\nhint: check owner, mode and mount of the folder",
        path.display()
    )]
    ReadOnly {
        /// What was being done.
        what: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's text.
        why: String,
    },
    /// The store was written by a newer crmsync. Exit code 78.
    #[error(
        "opening {}: it has schema version {found}, this crmsync knows up to {known}; nothing was touched\n\
         hint: install the newer crmsync again, or {}",
        path.display(),
        copy_hint(copy.as_deref())
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version this program knows.
        known: u32,
        /// Copy made before the migration, that this program can read.
        copy: Option<PathBuf>,
    },
    /// Another daemon works on this state folder.
    #[error(
        "opening the state folder {}: it is in use by crmsyncd with pid {pid} of uid {uid}\n\
         hint: stop that one first, or give this one another --state-dir",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id as written by its owner; 0 where it could not be read.
        pid: u32,
        /// Its user.
        uid: u32,
    },
    /// The state folder lies on a network file system: locks and syncs cannot be relied on there.
    #[error(
        "opening the state folder {}: it lies on a network file system ({fs})\n\
         hint: keep the state on a local disk",
        path.display()
    )]
    NetworkFs {
        /// The folder.
        path: PathBuf,
        /// Name of the file system.
        fs: String,
    },
    /// The file is damaged, or not ours.
    #[error(
        "{what} in {}: the database is damaged or is none: {why}\n\
         hint: put back a copy of it; the replicas keep their data",
        path.display()
    )]
    Corrupt {
        /// What was being done.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// The database's text.
        why: String,
    },
    /// No connection of that name or id was ever seen.
    #[error("looking up connection `{0}`: there is none\nhint: `crmsync connections` lists them")]
    UnknownConnection(String),
    /// `rename` to a name that is in use.
    #[error("renaming to `{0}`: another connection has that name\nhint: forget that one first")]
    NameTaken(String),
    /// Anything else the system or the database said.
    #[error("{what} in {}: {why}", path.display())]
    Failed {
        /// What was being done.
        what: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Its text.
        why: String,
    },
}

fn copy_hint(copy: Option<&Path>) -> String {
    match copy {
        Some(copy) => {
            format!("put back the copy made before the migration: {}", copy.display())
        }
        None => "put back a copy made before the migration".to_owned(),
    }
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, e: &io::Error) -> Self {
        let path = path.to_owned();
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { what, path }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { what, path, why: e.to_string() }
            }
            _ => Self::Failed { what, path, why: e.to_string() },
        }
    }

    pub(super) fn sql(what: &'static str, path: &Path, e: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let why = e.to_string();
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { what, path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::ReadOnly { what, path, why }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { what, path, why }
            }
            _ => Self::Failed { what, path, why },
        }
    }
}
