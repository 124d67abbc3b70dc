//! What can go wrong with a replica, by what the caller can do about it.
//!
//! Hides the database's error codes. Invariant: no text holds a value of a row.

use std::path::Path;

/// Why a replica could not be opened, read or written. Nothing of the failed transaction stays.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// No room on a disk of this machine: wait and try again; nothing is lost.
    #[error(
        "{doing}: no space left for {path}: {cause}\nhint: make room on that file system; syncing goes on by itself"
    )]
    DiskFull {
        /// What was being done.
        doing: String,
        /// The database.
        path: String,
        /// The database's words.
        cause: String,
    },
    /// Cannot be reached, opened, read or written: rights, locks, a damaged file.
    #[error("{doing}: {path} is not usable: {cause}\nhint: {hint}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// The database.
        path: String,
        /// The database's or system's words.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// One object's table cannot be made, changed or filled as things are: somebody holds or changed
    /// it, or the database cannot hold what it is to hold. The other objects are not concerned.
    #[error("{doing}: {path} refuses it: {cause}\nhint: {hint}")]
    Object {
        /// The object's name at the source.
        object: String,
        /// What was being done.
        doing: String,
        /// The database.
        path: String,
        /// The database's words.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// Another org's data, another program's file, or taken by a later owner.
    #[error(
        "{path} does not belong to this connection: it holds {found}, expected {expected}\nhint: {hint}"
    )]
    NotOurs {
        /// The database.
        path: String,
        /// What is in it.
        found: String,
        /// What should be.
        expected: String,
        /// What to do.
        hint: String,
    },
    /// Written by a newer crmsync; untouched.
    #[error(
        "{path} has layout version {found}, this program knows up to {known}\nhint: install the newer crmsync again; nothing in the file was touched"
    )]
    Newer {
        /// The database.
        path: String,
        /// Version of the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A mistake of this program or an answer of the database nobody foresaw.
    #[error(
        "{doing}: {path}: {cause}\nhint: this is a fault of crmsync; please report it with this text"
    )]
    Bug {
        /// What was being done.
        doing: String,
        /// The database.
        path: String,
        /// What happened.
        cause: String,
    },
}

impl ReplicaError {
    pub(super) fn bug(path: &Path, doing: &str, cause: impl Into<String>) -> Self {
        Self::Bug { doing: doing.to_owned(), path: path.display().to_string(), cause: cause.into() }
    }

    pub(super) fn unavailable(path: &Path, doing: &str, cause: &str, hint: &str) -> Self {
        Self::Unavailable {
            doing: doing.to_owned(),
            path: path.display().to_string(),
            cause: cause.to_owned(),
            hint: hint.to_owned(),
        }
    }
}
