//! Who changed what.

use super::{AuditLine, Store, StoreError, micros, time};
use rusqlite::{Connection, params};

/// A stored line with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows with every line.
    pub id: i64,
    /// The line.
    pub line: AuditLine,
}

impl Store {
    /// The newest lines first, at most `limit`; of one connection (by name) if given.
    pub fn audit(&self, connection: Option<&str>, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.look("reading the audit log", |c| {
            c.prepare_cached(
                "SELECT id, at, actor, uid, connection, what, detail FROM audit
                 WHERE ?1 IS NULL OR connection = ?1 ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![connection, limit], |r| {
                Ok(AuditRow {
                    id: r.get(0)?,
                    line: AuditLine {
                        at: time(r.get(1)?),
                        actor: r.get(2)?,
                        uid: r.get(3)?,
                        connection: r.get(4)?,
                        what: r.get(5)?,
                        detail: r.get(6)?,
                    },
                })
            })?
            .collect()
        })
    }
}

pub(super) fn insert(c: &Connection, line: &AuditLine) -> rusqlite::Result<usize> {
    c.prepare_cached(
        "INSERT INTO audit (at, actor, uid, connection, what, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        micros(line.at),
        line.actor,
        line.uid,
        line.connection,
        line.what,
        line.detail
    ])
}
