//! First loads: rows appended to a table without a key, the key built at the end.
//!
//! Hides that a table may be without its key for a while: the file itself says so (its key column
//! is no primary key), so that a restart goes on and nothing has to be remembered. Whoever needs
//! the key calls [`key`] first. Invariant: a table with its key looks as if it had been created
//! with it; of rows with equal keys the last one is left.

use super::super::book::Plan;
use super::super::value::{self, Cell};
use super::super::{Applied, Mode};
use super::book::key_cell;
use super::fail::Fail;
use super::odd::Odd;
use super::rows::{Way, way};
use super::tables::{self, own_index};
use super::{Work, quoted};
use crmsync_core::domain::{Batch, Time};
use rusqlite::{CachedStatement, Connection, ErrorCode, params};
use std::sync::Arc;

/// Behind the key column's type in the table's SQL.
const PRIMARY_KEY: &str = " PRIMARY KEY";

/// Whether the table is without its key.
fn is_keyless(db: &Connection, table: &str) -> Result<bool, Fail> {
    let keyed = r"SELECT 1 FROM pragma_table_info(?1) WHERE pk > 0";
    Ok(!db.prepare_cached(keyed)?.exists([table])?)
}

/// The table's SQL up to where its key column says that it is the key, and the rest.
fn key_clause(
    db: &Connection,
    table: &str,
    column: &str,
) -> Result<Option<(String, String)>, Fail> {
    let find = r#"SELECT "sql" FROM sqlite_master WHERE "type" = 'table' AND "name" = ?1"#;
    let sql: String = db.query_row(find, [table], |r| r.get(0))?;
    // A whole-number key is the row's place in the file: it cannot be given later.
    let head = format!("CREATE TABLE {} ({} TEXT NOT NULL", quoted(table), quoted(column));
    Ok(sql.strip_prefix(&head).map(|rest| (head, rest.to_owned())))
}

/// Makes an empty table keyless. False: rows are to be merged, because the table has rows and its
/// key, or because something of other people hangs on it.
fn remake(work: &Work<'_>, object: &str) -> Result<bool, Fail> {
    let table = work.book.table(object)?;
    let (db, name) = (work.db, quoted(&table.name));
    if is_keyless(db, &table.name)? {
        return Ok(true);
    }
    let Some((head, rest)) = key_clause(db, &table.name, &table.key_column()?.column)? else {
        return Ok(false);
    };
    let Some(rest) = rest.strip_prefix(PRIMARY_KEY) else { return Ok(false) };
    let filled = db.prepare(&format!("SELECT 1 FROM {name}"))?.exists([])?;
    let foreign = db
        .prepare(
            r#"SELECT 1 FROM sqlite_master WHERE "tbl_name" = ?1 AND "type" IN ('index', 'trigger')
               AND "name" NOT IN (?2, ?3, ?4, ?5)"#,
        )?
        .exists(params![
            table.name,
            auto_index(&table.name),
            own_index(&table.name, "seq"),
            own_index(&table.name, "deleted"),
            own_index(&table.name, "hidden")
        ])?;
    if filled || foreign {
        return Ok(false);
    }
    db.execute_batch(&format!("DROP TABLE {name}; {head}{rest};"))?;
    // Rows come in the order of these indexes, or are not in them: they cost as little now as
    // later, and what is loaded so far can be counted.
    tables::index(db, &table.name)?;
    Ok(true)
}

/// The name that `SQLite` gives the index of a primary key.
fn auto_index(table: &str) -> String {
    format!("sqlite_autoindex_{table}_1")
}

/// Builds the key of a keyless table; nothing happens to another one.
pub(super) fn key(work: &mut Work<'_>, object: &str) -> Result<Applied, Fail> {
    let table = work.book.table(object)?;
    if !is_keyless(work.db, &table.name)? {
        return Ok(Applied::default());
    }
    let (db, column) = (work.db, &table.key_column()?.column);
    let index = own_index(&table.name, "key");
    let on = format!("INDEX {} ON {} ({})", quoted(&index), quoted(&table.name), quoted(column));
    match db.execute_batch(&format!("CREATE UNIQUE {on}")) {
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            // The same bytes as a unique one, once no two rows have the same key.
            db.execute_batch(&format!("CREATE {on}"))?;
            drop_earlier(db, object, &quoted(&table.name), &quoted(column))?;
        }
        done => done?,
    }
    let become_key = primary(db, &table.name, column, &index);
    // Nothing may go on with a schema that is open to be written, also after a failure.
    let closed = db.execute_batch("PRAGMA writable_schema = RESET");
    become_key?;
    closed?;
    Ok(Applied::default())
}

/// Makes the index the table's primary key, as `SQLite`'s documentation describes it for changes
/// that do not touch what is stored (<https://www.sqlite.org/lang_altertable.html>, section 8;
/// for names of indexes <https://www.sqlite.org/fileformat2.html>, section 2.6).
fn primary(db: &Connection, table: &str, column: &str, index: &str) -> Result<(), Fail> {
    let Some((head, rest)) = key_clause(db, table, column)? else {
        return Err(Fail::Bug(format!("table {table} does not begin with its key {column}")));
    };
    db.execute_batch("PRAGMA writable_schema = ON")?;
    let renamed = db.execute(
        r#"UPDATE sqlite_master SET "sql" = ?2 WHERE "type" = 'table' AND "name" = ?1"#,
        [table, &format!("{head}{PRIMARY_KEY}{rest}")],
    )? + db.execute(
        r#"UPDATE sqlite_master SET "sql" = NULL, "name" = ?2 WHERE "type" = 'index' AND "name" = ?1"#,
        [index, &auto_index(table)],
    )?;
    if renamed != 2 {
        return Err(Fail::Bug(format!("table {table} or its index is not in the schema")));
    }
    Ok(())
}

/// Of rows with equal keys the last one that came stays, and what was odd in it. An odd value of
/// an earlier one is known by the good value in its column, or by a row of a later page.
fn drop_earlier(db: &Connection, object: &str, table: &str, key: &str) -> Result<(), Fail> {
    let several = format!("SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1");
    let odd: Vec<(String, String)> = db
        .prepare(&format!(
            r#"SELECT "key", "column_name" FROM "_crmsync_odd"
               WHERE "object" = ?1 AND "reason" <> ?2 AND "key" IN ({several})"#
        ))?
        .query_map([object, value::NUL_LEFT_OUT], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    db.execute_batch(&format!(
        "DELETE FROM {table} WHERE rowid NOT IN (SELECT max(rowid) FROM {table} GROUP BY {key})"
    ))?;
    for (id, column) in odd {
        let good = format!(
            r#"SELECT 1 FROM {table} AS t WHERE t.{key} = ?3
                 AND (t.{} IS NOT NULL OR t."_synced_at" > "_crmsync_odd"."at")"#,
            quoted(&column)
        );
        db.execute(
            &format!(
                r#"DELETE FROM "_crmsync_odd"
                   WHERE "object" = ?1 AND "column_name" = ?2 AND "key" = ?3 AND EXISTS ({good})"#
            ),
            params![object, column, id],
        )?;
    }
    Ok(())
}

/// Appends batches to a keyless table.
pub(super) struct Appender<'a> {
    way: Arc<Way>,
    insert: CachedStatement<'a>,
    odd: Odd<'a>,
    now: value::Short,
    /// By target: whether a value is bound. What is null stays so without a call.
    bound: Vec<bool>,
    /// Whether `_deleted_at` is bound.
    marked: bool,
}

impl<'a> Appender<'a> {
    /// `None` where rows have to be merged.
    pub(super) fn new(
        work: &mut Work<'a>,
        object: &str,
        fields: &[String],
        at: Time,
    ) -> Result<Option<Self>, Fail> {
        if !remake(work, object)? {
            return Ok(None);
        }
        let way = way(work, object, fields, Mode::Upsert)?;
        let mut insert = work.db.prepare_cached(&way.append)?;
        let now = value::stamp(at);
        let n = way.plan.targets.len();
        insert.clear_bindings();
        insert.raw_bind_parameter(n + 1, now.as_str())?;
        let odd = Odd::new(work.db, object, at)?;
        Ok(Some(Self { way, insert, odd, now, bound: vec![false; n], marked: false }))
    }

    pub(super) fn append(&mut self, work: &mut Work<'_>, batch: &Batch) -> Result<Applied, Fail> {
        let mut applied = Applied { rows: batch.rows() as u64, ..Applied::default() };
        if applied.rows == 0 {
            return Ok(applied);
        }
        let way = self.way.clone();
        let plan = &way.plan;
        plan.check(batch)?;
        let n = plan.targets.len();
        for row in 0..batch.rows() {
            let raw = batch.key(row).unwrap_or_default();
            let Some(key) = key_cell(plan.targets[0].kind, raw) else {
                self.odd.no_key(&plan.targets[0].column, raw)?;
                applied.odd += 1;
                continue;
            };
            self.insert.raw_bind_parameter(1, &key)?;
            let deleted = self.values(plan, batch, row)?;
            work.seq += 1;
            self.insert.raw_bind_parameter(n + 2, work.seq)?;
            if deleted || self.marked {
                self.mark(plan, batch, row, deleted)?;
            }
            self.insert.raw_execute()?;
            applied.deleted += u64::from(deleted);
            applied.inserted += 1;
            if !self.odd.found.is_empty() {
                applied.odd += self.odd.found.len() as u64;
                self.odd.append(&plan.targets, batch, row)?;
            }
        }
        applied.changed = applied.inserted;
        Ok(applied)
    }

    /// Binds all but the key; whether the row's deletion flag is set.
    fn values(&mut self, plan: &Plan, batch: &Batch, row: usize) -> Result<bool, Fail> {
        let mut deleted = false;
        for (i, target) in plan.targets.iter().enumerate().skip(1) {
            let Some(text) = batch.get(row, target.from) else {
                if self.bound[i] {
                    self.bound[i] = false;
                    self.insert.raw_bind_parameter(i + 1, &Cell::Null)?;
                }
                continue;
            };
            let (cell, reason) = value::convert(target.kind, text);
            if let Some(reason) = reason {
                self.odd.found.push((i, reason));
            }
            deleted |= plan.flag == Some(i) && cell == Cell::Int(1);
            self.bound[i] = true;
            self.insert.raw_bind_parameter(i + 1, &cell)?;
        }
        Ok(deleted)
    }

    /// Binds `_deleted_at`: the row's stamp if it has a good one.
    fn mark(&mut self, plan: &Plan, batch: &Batch, row: usize, deleted: bool) -> Result<(), Fail> {
        let at = plan.targets.len() + 3;
        self.marked = deleted;
        let target = plan.stamp.filter(|_| deleted).map(|i| &plan.targets[i]);
        let stamp = target
            .and_then(|t| batch.get(row, t.from).map(|text| value::convert(t.kind, text).0))
            .filter(|cell| cell.text().is_some());
        match (deleted, stamp) {
            (false, _) => self.insert.raw_bind_parameter(at, &Cell::Null)?,
            (true, Some(stamp)) => self.insert.raw_bind_parameter(at, &stamp)?,
            (true, None) => self.insert.raw_bind_parameter(at, self.now.as_str())?,
        }
        Ok(())
    }
}
