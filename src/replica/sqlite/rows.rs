//! Rows of a batch merged into their table.
//!
//! Two statements per object and list of fields, prepared once: an insert that yields to an
//! existing row, and an update that touches a row only if something in it differs. Values are
//! bound borrowed. Rows go in key order, so that pages of the index are visited once.

use super::super::book::{Plan, Target};
use super::super::value::{self, Cell};
use super::super::{Applied, Mode};
use super::book::key_cell;
use super::fail::Fail;
use super::odd::Odd;
use super::{Work, quoted};
use crmsync_core::domain::{Batch, FieldType, Time};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, params};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(n) => ValueRef::Integer(*n),
            Cell::Real(x) => ValueRef::Real(*x),
            Cell::Text(_) | Cell::Short(_) | Cell::Owned(_) => {
                ValueRef::Text(self.text().unwrap_or_default().as_bytes())
            }
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// The last way of each object and mode.
pub(super) type Ways = BTreeMap<(String, Mode), Arc<Way>>;

/// Statements of one plan.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) plan: Plan,
    insert: String,
    /// The insert for a table without a key.
    pub(super) append: String,
    /// Absent for a `Fill` of nothing but the key.
    update: Option<String>,
}

/// Parameters: one per target, then `_synced_at`, `_crmsync_seq`, and but for `Fill` `_deleted_at`.
fn statements(
    table: &str,
    targets: &[Target],
    mode: Mode,
    has_stamp: bool,
) -> (String, Option<String>) {
    let n = targets.len();
    let (synced, seq, deleted) = (n + 1, n + 2, n + 3);
    let table = quoted(table);
    let (mut names, mut values, mut sets) = (String::new(), String::new(), String::new());
    let (mut compared, mut with) = (String::new(), String::new());
    for (i, target) in targets.iter().enumerate() {
        let name = quoted(&target.column);
        let (number, comma) = (i + 1, if i > 1 { ", " } else { "" });
        // Writing to a String cannot fail.
        let _ = write!(names, "{name}, ");
        let _ = write!(values, "?{number}, ");
        if i > 0 {
            let _ = write!(sets, "{name} = ?{number}, ");
            let _ = write!(compared, "{comma}{name}");
            let _ = write!(with, "{comma}?{number}");
        }
    }
    let key = quoted(&targets[0].column);
    let differs = (n > 1).then(|| format!("({compared}) IS NOT ({with})"));
    let insert = format!(
        r#"INSERT INTO {table} ({names}"_synced_at", "_crmsync_seq", "_deleted_at")
           VALUES ({values}?{synced}, ?{seq}, ?{deleted})"#
    );
    let update = match mode {
        Mode::Fill => differs.map(|differs| {
            format!(
                r#"UPDATE {table} SET {sets}"_synced_at" = ?{synced}, "_crmsync_seq" = ?{seq}
                   WHERE {key} = ?1 AND {differs}"#
            )
        }),
        Mode::Upsert => {
            // The delete log may know the time better than the stamp: the later one stays, or
            // without a stamp the first, so that a re-read changes nothing. Null stays null.
            let mark = if has_stamp {
                format!(r#"max(coalesce("_deleted_at", ?{deleted}), ?{deleted})"#)
            } else {
                format!(r#"iif(?{deleted} IS NULL, NULL, coalesce("_deleted_at", ?{deleted}))"#)
            };
            let differs = differs.map(|d| format!("{d} OR ")).unwrap_or_default();
            Some(format!(
                r#"UPDATE {table} SET {sets}"_synced_at" = ?{synced}, "_crmsync_seq" = ?{seq},
                     "_deleted_at" = {mark}, "_hidden_at" = NULL
                   WHERE {key} = ?1 AND ({differs}"_hidden_at" IS NOT NULL
                     OR "_deleted_at" IS NOT {mark})"#
            ))
        }
    };
    (insert, update)
}

/// The way for these fields, the last one if they are the same.
pub(super) fn way(
    work: &mut Work<'_>,
    object: &str,
    fields: &[String],
    mode: Mode,
) -> Result<Arc<Way>, Fail> {
    let place = (object.to_owned(), mode);
    if let Some(way) = work.ways.get(&place).filter(|way| way.plan.fields == fields) {
        return Ok(way.clone());
    }
    let table = work.book.table(object)?;
    let plan = Plan::new(table, fields)?;
    let (append, update) = statements(&table.name, &plan.targets, mode, plan.stamp.is_some());
    let insert = format!("{append} ON CONFLICT DO NOTHING");
    let way = Arc::new(Way { plan, insert, append, update });
    work.ways.insert(place, way.clone());
    Ok(way)
}

pub(super) fn merge(
    work: &mut Work<'_>,
    object: &str,
    fields: &[String],
    batch: &Batch,
    mode: Mode,
    at: Time,
) -> Result<Applied, Fail> {
    let mut applied = Applied { rows: batch.rows() as u64, ..Applied::default() };
    if applied.rows == 0 {
        return Ok(applied);
    }
    let way = way(work, object, fields, mode)?;
    let plan = &way.plan;
    plan.check(batch)?;
    let table = work.book.table(object)?;
    let mut odd = Odd::new(work.db, object, at)?;
    let mut insert = work.db.prepare_cached(&way.insert)?;
    let mut update = match &way.update {
        Some(sql) => Some(work.db.prepare_cached(sql)?),
        None => None,
    };
    let mut exists = work.db.prepare_cached(&format!(
        "SELECT 1 FROM {} WHERE {} = ?1",
        quoted(&table.name),
        quoted(&plan.targets[0].column)
    ))?;
    let now = value::stamp(at);
    let mut cells: Vec<Cell<'_>> = Vec::with_capacity(plan.targets.len());
    for row in in_key_order(batch, plan.targets[0].kind) {
        let key = batch.key(row).unwrap_or_default();
        cells.clear();
        odd.found.clear();
        let Some(key) = key_cell(plan.targets[0].kind, key) else {
            odd.no_key(&plan.targets[0].column, key)?;
            applied.odd += 1;
            continue;
        };
        cells.push(key);
        for (i, target) in plan.targets.iter().enumerate().skip(1) {
            let (cell, reason) = match batch.get(row, target.from) {
                Some(text) => value::convert(target.kind, text),
                None => (Cell::Null, None),
            };
            if let Some(reason) = reason {
                odd.found.push((i, reason));
            }
            cells.push(cell);
        }
        let deleted = match plan.flag.and_then(|i| cells.get(i)) {
            Some(Cell::Int(1)) => match plan.stamp.and_then(|i| cells.get(i)) {
                Some(stamp @ (Cell::Text(_) | Cell::Short(_))) => stamp.clone(),
                Some(_) | None => Cell::Short(now),
            },
            Some(_) | None => Cell::Null,
        };
        let next = work.seq + 1;
        let mut changed = 0;
        if mode == Mode::Upsert {
            bind(&mut insert, &cells, now.as_str(), next)?;
            insert.raw_bind_parameter(cells.len() + 3, &deleted)?;
            changed = insert.raw_execute()?;
            applied.inserted += changed as u64;
        }
        if changed == 0
            && let Some(update) = &mut update
        {
            bind(update, &cells, now.as_str(), next)?;
            if mode == Mode::Upsert {
                update.raw_bind_parameter(cells.len() + 3, &deleted)?;
            }
            changed = update.raw_execute()?;
        }
        if changed > 0 {
            work.seq = next;
            applied.changed += 1;
            applied.deleted += u64::from(mode == Mode::Upsert && deleted != Cell::Null);
        }
        applied.odd += odd.found.len() as u64;
        if (odd.any || !odd.found.is_empty())
            && (mode == Mode::Upsert || exists.exists(params![cells[0]])?)
        {
            odd.settle(&plan.targets, batch, row)?;
        }
    }
    Ok(applied)
}

fn bind(
    statement: &mut CachedStatement<'_>,
    cells: &[Cell<'_>],
    synced: &str,
    seq: i64,
) -> rusqlite::Result<()> {
    for (i, cell) in cells.iter().enumerate() {
        statement.raw_bind_parameter(i + 1, cell)?;
    }
    statement.raw_bind_parameter(cells.len() + 1, synced)?;
    statement.raw_bind_parameter(cells.len() + 2, seq)
}

/// Row numbers by key. Equal keys keep their order: the later row of a batch is the newer one.
fn in_key_order(batch: &Batch, kind: FieldType) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch.rows()).collect();
    if kind == FieldType::Integer {
        order.sort_by_cached_key(|row| {
            batch.key(*row).and_then(|k| k.parse::<i64>().ok()).unwrap_or(i64::MIN)
        });
    } else if !order.is_sorted_by_key(|row| batch.key(*row)) {
        order.sort_by_key(|row| batch.key(*row));
    }
    order
}
