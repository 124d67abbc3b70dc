//! Finished runs. A run that changed nothing adds to a counter, so that an idle connection does
//! not fill the disk: consecutive ones of the same outcome and text are one row.

use super::{Store, StoreError, micros, signed, time, unsigned};
use crmsync_core::domain::Time;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Connection id.
    pub connection: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// What rang the bell: `schedule`, `command`, …
    pub cause: String,
    /// `done`, `failed`, `held`, …
    pub outcome: String,
    /// For people: what came of it, or the fault.
    pub text: String,
    /// Rows written.
    pub rows: u64,
    /// Calls paid.
    pub calls: u64,
    /// Whether anything in the replica or the state changed.
    pub changed: bool,
    /// Further facts, any JSON.
    pub json: String,
}

/// A row of the log: one run, or several without a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// Number of the row, for `log --run`.
    pub id: i64,
    /// How many runs it stands for; above 1, `started` is the first's, `ended` the last's, `rows`
    /// and `calls` are sums, `json` is the last's.
    pub count: u64,
    /// The run.
    pub run: RunRow,
}

const COLUMNS: &str =
    "id, count, connection, started, ended, cause, outcome, text, rows, calls, changed, json";

impl Store {
    /// The newest runs of a connection (by id) first, at most `limit`.
    pub fn runs(&self, connection: &str, limit: u32) -> Result<Vec<StoredRun>, StoreError> {
        self.look("reading runs", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM run WHERE connection = ?1 ORDER BY id DESC LIMIT ?2"
            ))?
            .query_map(params![connection, limit], stored)?
            .collect()
        })
    }

    /// One row by its number.
    pub fn run(&self, id: i64) -> Result<Option<StoredRun>, StoreError> {
        self.look("reading a run", |c| {
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM run WHERE id = ?1"))?
                .query_row([id], stored)
                .optional()
        })
    }

    /// The row whose last run bore this name while it ran: what events and `sync` told of it.
    pub fn run_named(&self, name: &str) -> Result<Option<StoredRun>, StoreError> {
        self.look("reading a run", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM run WHERE json_valid(json) AND json ->> '$.id' = ?1
                 ORDER BY id DESC LIMIT 1"
            ))?
            .query_row([name], stored)
            .optional()
        })
    }
}

fn stored(r: &Row<'_>) -> rusqlite::Result<StoredRun> {
    Ok(StoredRun {
        id: r.get(0)?,
        count: unsigned(r.get(1)?),
        run: RunRow {
            connection: r.get(2)?,
            started: time(r.get(3)?),
            ended: time(r.get(4)?),
            cause: r.get(5)?,
            outcome: r.get(6)?,
            text: r.get(7)?,
            rows: unsigned(r.get(8)?),
            calls: unsigned(r.get(9)?),
            changed: r.get(10)?,
            json: r.get(11)?,
        },
    })
}

pub(super) fn insert(c: &Connection, run: &RunRow) -> rusqlite::Result<usize> {
    if !run.changed {
        let n = c
            .prepare_cached(
                "UPDATE run SET count = count + 1, ended = ?2, rows = rows + ?5,
                        calls = calls + ?6, json = ?7
                 WHERE id = (SELECT max(id) FROM run WHERE connection = ?1)
                   AND NOT changed AND outcome = ?3 AND text = ?4",
            )?
            .execute(params![
                run.connection,
                micros(run.ended),
                run.outcome,
                run.text,
                signed(run.rows),
                signed(run.calls),
                run.json
            ])?;
        if n > 0 {
            return Ok(n);
        }
    }
    c.prepare_cached(
        "INSERT INTO run (connection, started, ended, cause, outcome, text, rows, calls, changed,
                          json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        run.connection,
        micros(run.started),
        micros(run.ended),
        run.cause,
        run.outcome,
        run.text,
        signed(run.rows),
        signed(run.calls),
        run.changed,
        run.json
    ])
}
