//! Where replicas are, and what is done with a place as a whole.
//!
//! Hides that one is a file with its parts and another a schema. Blocking; each of them may be
//! called from anywhere.

use super::ReplicaError;
pub use super::postgres::Server;
use super::postgres::{self, schema_name};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the replicas of all connections are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A folder with one `SQLite` file for each connection.
    Folder(PathBuf),
    /// A database with one schema for each.
    Database(Arc<Server>),
}

impl Home {
    /// The place of a connection's replica.
    pub fn place(&self, connection: &str) -> Place {
        match self {
            Self::Folder(folder) => Place::File(folder.join(format!("{connection}.db"))),
            Self::Database(server) => {
                Place::Schema { server: Arc::clone(server), schema: schema_name(connection) }
            }
        }
    }
}

/// Where a connection's replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An `SQLite` file.
    File(PathBuf),
    /// A schema of a `PostgreSQL` database.
    Schema {
        /// The database.
        server: Arc<Server>,
        /// The schema's name.
        schema: String,
    },
}

/// For people; a password is never in it.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Schema { server, schema } => write!(f, "{server} schema {schema}"),
        }
    }
}

/// Whether a replica is there.
pub fn exists(place: &Place) -> Result<bool, ReplicaError> {
    match place {
        Place::File(path) => Ok(path.exists()),
        Place::Schema { server, schema } => postgres::exists(server, schema),
    }
}

/// Moves a closed replica; does nothing if none is there or the new place is taken, so that doing
/// it twice is harmless. Both places are of one kind and server.
pub fn rename(from: &Place, to: &Place) -> Result<(), ReplicaError> {
    match (from, to) {
        (Place::File(old), Place::File(new)) => {
            if old == new || !old.exists() || new.exists() {
                return Ok(());
            }
            // A reader that holds the file may have kept it in WAL mode: its parts go first.
            for part in ["-wal", "-shm", ""] {
                settled(
                    old,
                    "renaming the replica",
                    std::fs::rename(with(old, part), with(new, part)),
                )?;
            }
            Ok(())
        }
        (Place::Schema { server, schema }, Place::Schema { schema: new, .. }) => {
            postgres::rename(server, schema, new)
        }
        (Place::File(_) | Place::Schema { .. }, _) => {
            let cause = format!("{from} cannot become {to}");
            Err(unavailable("renaming the replica", &from.to_string(), cause))
        }
    }
}

/// Removes a replica with all its data; does nothing if none is there.
pub fn remove(place: &Place) -> Result<(), ReplicaError> {
    match place {
        Place::File(path) => {
            for part in ["", "-wal", "-shm", "-journal"] {
                settled(path, "removing the replica", std::fs::remove_file(with(path, part)))?;
            }
            Ok(())
        }
        Place::Schema { server, schema } => postgres::remove(server, schema),
    }
}

fn with(path: &Path, part: &str) -> PathBuf {
    PathBuf::from(format!("{}{part}", path.display()))
}

/// What is not there need not be moved or removed.
fn settled(path: &Path, doing: &str, done: std::io::Result<()>) -> Result<(), ReplicaError> {
    match done {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(unavailable(doing, &path.display().to_string(), e.to_string()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unavailable(doing: &str, path: &str, cause: String) -> ReplicaError {
    ReplicaError::Unavailable {
        doing: doing.to_owned(),
        path: path.to_owned(),
        cause,
        hint: "the daemon's user must be able to change it".to_owned(),
    }
}
