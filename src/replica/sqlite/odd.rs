//! `_crmsync_odd`: values that do not fit their column, kept raw with the reason.

use super::super::book::Target;
use super::super::value::{self, Cell};
use super::book::key_cell;
use super::fail::Fail;
use crmsync_core::domain::{Batch, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use std::borrow::Cow;

/// Values that do not fit, of one object.
pub(super) struct Odd<'a> {
    db: &'a Connection,
    object: String,
    at: value::Short,
    /// Whether the object has any: only then good values can end one.
    pub(super) any: bool,
    /// Of the current row: target and reason.
    pub(super) found: Vec<(usize, &'static str)>,
}

impl<'a> Odd<'a> {
    pub(super) fn new(db: &'a Connection, object: &str, at: Time) -> Result<Self, Fail> {
        let any = db
            .prepare_cached(r#"SELECT 1 FROM "_crmsync_odd" WHERE "object" = ?1 LIMIT 1"#)?
            .exists([object])?;
        Ok(Self { db, object: object.to_owned(), at: value::stamp(at), any, found: Vec::new() })
    }

    /// Keeps the row's odd values and drops those that good ones replaced.
    pub(super) fn settle(
        &mut self,
        targets: &[Target],
        batch: &Batch,
        row: usize,
    ) -> Result<(), Fail> {
        let key = batch.key(row).unwrap_or_default();
        // A number may be written in several ways; its plain form is the key everywhere.
        let plain = match key_cell(targets[0].kind, key) {
            Some(Cell::Int(n)) => Cow::Owned(n.to_string()),
            _ => Cow::Borrowed(key),
        };
        if self.any {
            let mut of_row = self.db.prepare_cached(
                r#"SELECT "column_name" FROM "_crmsync_odd" WHERE "object" = ?1 AND "key" = ?2"#,
            )?;
            let old = of_row
                .query_map([&self.object, plain.as_ref()], |r| r.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for column in old {
                let target = targets.iter().position(|t| t.column == column);
                if target.is_some_and(|t| !self.found.iter().any(|(i, _)| *i == t)) {
                    self.db
                        .prepare_cached(
                            r#"DELETE FROM "_crmsync_odd"
                               WHERE "object" = ?1 AND "key" = ?2 AND "column_name" = ?3"#,
                        )?
                        .execute([&self.object, plain.as_ref(), &column])?;
                }
            }
        }
        self.keep_found(targets, batch, row, plain.as_ref(), false)
    }

    /// Keeps the odd values of a row that is appended to a table without a key: a row of the same
    /// key may be there, and which of them it is about is told by its time.
    pub(super) fn append(
        &mut self,
        targets: &[Target],
        batch: &Batch,
        row: usize,
    ) -> Result<(), Fail> {
        let key = batch.key(row).unwrap_or_default();
        self.keep_found(targets, batch, row, key, true)
    }

    fn keep_found(
        &mut self,
        targets: &[Target],
        batch: &Batch,
        row: usize,
        key: &str,
        renew: bool,
    ) -> Result<(), Fail> {
        for (i, reason) in std::mem::take(&mut self.found) {
            let target = &targets[i];
            let raw = batch.get(row, target.from).unwrap_or_default();
            let place = [&self.object, key, &target.column];
            keep(self.db, place, raw, reason, self.at, renew)?;
            self.any = true;
        }
        Ok(())
    }

    /// A row that cannot be kept at all.
    pub(super) fn no_key(&mut self, column: &str, raw: &str) -> Result<(), Fail> {
        let key = raw.replace('\0', "");
        let reason = "the record has no usable key; it was left out";
        keep(self.db, [&self.object, &key, column], raw, reason, self.at, false)?;
        self.any = true;
        Ok(())
    }
}

fn keep(
    db: &Connection,
    [object, key, column]: [&str; 3],
    raw: &str,
    reason: &str,
    at: value::Short,
    renew: bool,
) -> Result<(), Fail> {
    // SQLite's text functions stop at a NUL: such a text is kept as a BLOB, byte for byte.
    let raw = if raw.as_bytes().contains(&0) {
        Value::Blob(raw.as_bytes().to_vec())
    } else {
        Value::Text(raw.to_owned())
    };
    db.prepare_cached(
        r#"INSERT INTO "_crmsync_odd" VALUES (?1, ?2, ?3, ?4, ?5, ?6)
           ON CONFLICT DO UPDATE SET "raw" = ?4, "reason" = ?5, "at" = ?6
           WHERE ?7 OR "raw" IS NOT ?4 OR "reason" IS NOT ?5"#,
    )?
    .execute(params![object, key, column, raw, reason, at.as_str(), renew])?;
    Ok(())
}
