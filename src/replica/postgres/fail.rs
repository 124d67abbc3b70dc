//! From the server's SQLSTATE codes to what the caller can do.
//!
//! Hides the codes. Invariant: the server's DETAIL and CONTEXT, which may show values of rows, are
//! never said.

use super::super::ReplicaError;
use super::super::book::Mistake;
use std::error::Error as _;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// A failure below the interface; it gets its "what was being done" at the boundary.
#[derive(Debug)]
pub(super) enum Fail {
    Sql(Error),
    /// The session cannot be used, whatever the client library thinks of it.
    Io(std::io::Error),
    Bug(String),
    Said(ReplicaError),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Mistake> for Fail {
    fn from(Mistake(cause): Mistake) -> Self {
        Self::Bug(cause)
    }
}

impl Fail {
    /// What the server said, if it is a word of its own.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Sql(error) => error.code(),
            Self::Io(_) | Self::Bug(_) | Self::Said(_) => None,
        }
    }

    /// Whether the connection is gone: it must be made again.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::Sql(error) => match error.code() {
                Some(code) => leaving(code),
                None => !is_ours(error),
            },
            Self::Bug(_) | Self::Said(_) => false,
        }
    }

    /// Whether nobody was there to be asked; a refusal, also of a certificate, is somebody.
    pub(super) fn is_unreached(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::Sql(error) => {
                let text = error.to_string();
                error.is_closed()
                    || text.starts_with("error connecting")
                    || text.starts_with("error communicating")
            }
            Self::Bug(_) | Self::Said(_) => false,
        }
    }

    /// [`Fail::at`] for work that had come to the table of `object`, if it had.
    pub(super) fn of(self, object: Option<&str>, path: &str, doing: &str) -> ReplicaError {
        let (Some(object), Self::Sql(error)) = (object, &self) else { return self.at(path, doing) };
        let Some(hint) = error.code().and_then(of_table) else { return self.at(path, doing) };
        ReplicaError::Object {
            object: object.to_owned(),
            doing: doing.to_owned(),
            path: path.to_owned(),
            cause: words(error),
            hint: hint.to_owned(),
        }
    }

    pub(super) fn at(self, path: &str, doing: &str) -> ReplicaError {
        match self {
            Self::Said(error) => error,
            Self::Bug(cause) => bug(path, doing, cause),
            Self::Io(error) => unavailable(path, doing, &error.to_string(), GONE),
            Self::Sql(error) => map(&error, path, doing),
        }
    }
}

/// The client's own complaints about what it was given.
fn is_ours(error: &Error) -> bool {
    let text = error.to_string();
    ["error serializing", "error deserializing", "query returned", "invalid column", "expected "]
        .iter()
        .any(|start| text.starts_with(start))
}

const GONE: &str = "nothing is lost; syncing goes on by itself when the server answers again";

/// Codes with which the server ends a connection.
fn leaving(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
    ]
    .contains(code)
        || code.code() == "57P05"
        || code.code().starts_with("08")
        // idle in a transaction for too long
        || code.code() == "25P03"
}

pub(super) fn bug(path: &str, doing: &str, cause: impl Into<String>) -> ReplicaError {
    ReplicaError::Bug { doing: doing.to_owned(), path: path.to_owned(), cause: cause.into() }
}

pub(super) fn unavailable(path: &str, doing: &str, cause: &str, hint: &str) -> ReplicaError {
    ReplicaError::Unavailable {
        doing: doing.to_owned(),
        path: path.to_owned(),
        cause: cause.to_owned(),
        hint: hint.to_owned(),
    }
}

/// The error with its causes, in one line.
fn words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

fn map(error: &Error, path: &str, doing: &str) -> ReplicaError {
    let cause = words(error);
    let Some(code) = error.code() else {
        if is_ours(error) {
            return bug(path, doing, cause);
        }
        return unavailable(path, doing, &cause, of_connection(error, &cause));
    };
    if *code == SqlState::DISK_FULL {
        // Not the disk of this machine: it must not be told as that.
        let cause = format!("no space left for the server: {cause}");
        return unavailable(path, doing, &cause, FULL);
    }
    match hint(code) {
        Some(hint) => unavailable(path, doing, &cause, hint),
        None => bug(path, doing, cause),
    }
}

/// What to do where no server has spoken, or none that we may believe.
fn of_connection(error: &Error, words: &str) -> &'static str {
    if let Some(rustls::Error::InvalidCertificate(why)) = tls_fault(error) {
        use rustls::CertificateError as Of;
        return if matches!(why, Of::UnknownIssuer | Of::BadSignature) {
            "is it the right server? then name the authority of its certificate in `ca_file` of [replica]"
        } else if matches!(why, Of::NotValidForName | Of::NotValidForNameContext { .. }) {
            "is it the right server? then write in `url` of [replica] a name that stands in its certificate"
        } else {
            "look at the server's certificate, at its dates first"
        };
    }
    if words.contains("does not support TLS") {
        return "turn `ssl` on at the server; `?sslmode=…` may be left out of `url` only where the server is on this machine";
    }
    if words.contains("password missing") {
        return "the server asks for a password: set `password` in [replica], e.g. { file = \"/etc/crmsync/replica.password\" }";
    }
    if words.starts_with("authentication error") {
        return "look at `password` in [replica] and at pg_hba.conf";
    }
    GONE
}

fn tls_fault(error: &Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(this) = cause {
        if let Some(fault) = this.downcast_ref() {
            return Some(fault);
        }
        // An error of IO does not count as its cause what it wraps.
        let wrapped = this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => this.source(),
        };
    }
    None
}

const FULL: &str =
    "make room on the disk of the database server; nothing is lost, syncing goes on by itself";
const HELD: &str = "another session holds a lock: look at pg_locks and pg_stat_activity; it is tried again by itself";
const ALTERED: &str = "did somebody drop or alter a table of crmsync? let the object be loaded again: take it out of the configuration, reload, and put it back";

/// What to do about codes that concern the table at hand, and no other.
fn of_table(code: &SqlState) -> Option<&'static str> {
    let exact: &[(SqlState, &'static str)] = &[
        (SqlState::LOCK_NOT_AVAILABLE, HELD),
        (SqlState::TOO_MANY_COLUMNS, "select fewer fields: a table holds 1600 columns"),
        (
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "a row of a table holds about 8 kB beside its long values: select fewer fields",
        ),
        (SqlState::UNDEFINED_TABLE, ALTERED),
        (SqlState::UNDEFINED_COLUMN, ALTERED),
        (SqlState::DUPLICATE_COLUMN, ALTERED),
        (SqlState::WRONG_OBJECT_TYPE, ALTERED),
        (SqlState::DATATYPE_MISMATCH, ALTERED),
        (
            SqlState::FEATURE_NOT_SUPPORTED,
            "a view may use the column: drop the view, sync, and make it again",
        ),
        (
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            "a view may use the table: drop the view, sync, and make it again",
        ),
    ];
    if let Some((_, hint)) = exact.iter().find(|(c, _)| c == code) {
        return Some(hint);
    }
    // Our tables have no constraints but the key and what crmsync itself always fills.
    code.code().starts_with("23").then_some(
        "did somebody add a constraint to a table of crmsync? drop it: rows are as the source has them",
    )
}

/// What to do about codes that are no fault of ours.
fn hint(code: &SqlState) -> Option<&'static str> {
    let exact: &[(SqlState, &'static str)] = &[
        (
            SqlState::INVALID_PASSWORD,
            "look at `password` in [replica] and at the role's password; it is read again at each try",
        ),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "look at the user in `url` of [replica] and at pg_hba.conf; where that wants TLS of this machine, too, write `?sslmode=verify-full`",
        ),
        (SqlState::INVALID_CATALOG_NAME, "make the database: createdb --encoding UTF8 NAME"),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "the role of [replica] needs CREATE and TEMPORARY on the database, and must own the schema and its tables",
        ),
        (SqlState::LOCK_NOT_AVAILABLE, HELD),
        (
            SqlState::QUERY_CANCELED,
            "the server ended the statement for its time or at somebody's wish; it is tried again by itself",
        ),
        (
            SqlState::READ_ONLY_SQL_TRANSACTION,
            "this server is a standby or read-only: name the primary in `url` of [replica]",
        ),
        (
            SqlState::TOO_MANY_CONNECTIONS,
            "raise the connection limit of server, database or role, or lower `workers`; it is tried again by itself",
        ),
        (
            SqlState::OUT_OF_MEMORY,
            "give the server more memory, or lower `workers`; nothing is lost, it is tried again by itself",
        ),
        (SqlState::INVALID_SCHEMA_NAME, ALTERED),
    ];
    if let Some((_, hint)) = exact.iter().find(|(c, _)| c == code) {
        return Some(hint);
    }
    if let Some(hint) = of_table(code) {
        return Some(hint);
    }
    match code.code().get(..2)? {
        // connection, transaction rolled back, resources, operator, system, configuration, storage
        "08" | "40" | "57" | "25" => Some(GONE),
        "53" | "58" | "XX" => Some("look at the server's log and its disk"),
        "28" => Some("look at the user in `url` of [replica] and at pg_hba.conf"),
        _ => None,
    }
}
