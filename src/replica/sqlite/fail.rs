//! From the database's error codes to what the caller can do.

use super::super::ReplicaError;
use super::super::book::Mistake;
use rusqlite::ErrorCode;
use std::path::Path;

/// A failure below the interface; it gets its "what was being done" at the boundary.
#[derive(Debug)]
pub(super) enum Fail {
    Sql(rusqlite::Error),
    Bug(String),
    Said(ReplicaError),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Mistake> for Fail {
    fn from(Mistake(cause): Mistake) -> Self {
        Self::Bug(cause)
    }
}

impl Fail {
    pub(super) fn at(self, path: &Path, doing: &str) -> ReplicaError {
        match self {
            Self::Said(error) => error,
            Self::Bug(cause) => ReplicaError::bug(path, doing, cause),
            Self::Sql(error) => map(&error, path, doing),
        }
    }
}

fn map(error: &rusqlite::Error, path: &Path, doing: &str) -> ReplicaError {
    let code = error.sqlite_error();
    let extended = code.map(|c| c.extended_code);
    // An SQL text has no values in it, but it is long: the database's message alone is said.
    let cause = if let rusqlite::Error::SqlInputError { msg, .. }
    | rusqlite::Error::SqliteFailure(_, Some(msg)) = error
    {
        msg.clone()
    } else {
        error.to_string()
    };
    let unavailable = |hint: &str| ReplicaError::unavailable(path, doing, &cause, hint);
    // Growing the shared memory of the log fails with its own code when the disk is full.
    if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        || code.map(|c| c.code) == Some(ErrorCode::DiskFull)
    {
        return ReplicaError::DiskFull {
            doing: doing.to_owned(),
            path: path.display().to_string(),
            cause,
        };
    }
    match code.map(|c| c.code) {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => unavailable(
            "move the file away and sync: the data is loaded again from the source; then look at the disk",
        ),
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => unavailable("another program holds a lock on the file; find it with `fuser`, or wait"),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::NoLargeFileSupport,
        ) => unavailable("the file and its folder must be writable for the daemon's user"),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            unavailable("look at the disk and the journal of the kernel (`journalctl -k`)")
        }
        _ => ReplicaError::bug(path, doing, cause),
    }
}
