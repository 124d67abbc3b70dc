//! A replica in a SQLite file, read as a data user would: with nothing but SQLite, read-only.

use super::values::{Cell, Row};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// A file, opened for each question (the writer goes on meanwhile). It need not exist yet.
pub struct File {
    path: PathBuf,
}

impl File {
    /// The file at this path.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A read-only connection, as any member of the data group could open it.
    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(20))?;
        Ok(connection)
    }

    /// Any question, or SQLite's refusal (no such table, no such file …).
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, String> {
        self.read(sql).map_err(|e| format!("{}: {e}", self.path.display()))
    }

    /// Changes as anybody with the right to write could make them.
    pub fn tamper(&self, statements: &[String]) {
        let db = Connection::open(&self.path).expect("opening the replica for writing");
        db.busy_timeout(std::time::Duration::from_secs(20)).expect("a timeout");
        for sql in statements {
            db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }

    /// The file and what SQLite keeps beside it.
    pub fn lose(&self) {
        std::fs::remove_file(&self.path).expect("removing the replica");
        for beside in ["-wal", "-shm"] {
            let mut name = self.path.clone().into_os_string();
            name.push(beside);
            let _ = std::fs::remove_file(name);
        }
    }

    fn read(&self, sql: &str) -> rusqlite::Result<Vec<Row>> {
        let connection = self.open()?;
        let mut statement = connection.prepare(sql)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut cells = Row::new();
            for (i, name) in names.iter().enumerate() {
                cells.insert(name.clone(), cell(row.get_ref(i)?));
            }
            Ok(cells)
        })?;
        rows.collect()
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Int(n),
        ValueRef::Real(n) => Cell::Real(n),
        ValueRef::Text(t) => Cell::Text(String::from_utf8_lossy(t).into_owned()),
        ValueRef::Blob(b) => Cell::Blob(b.to_vec()),
    }
}
