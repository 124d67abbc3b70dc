//! Tables laid out, altered and forgotten; states.
//!
//! A new object's table is laid out in the book and made later, see [`make`](super::make). Altering
//! an existing one takes a lock that readers notice, so it waits for it only shortly.

use super::super::book::{key_kind, word};
use super::super::layout::{self, Alter, Column};
use super::super::{Applied, LayoutChange, ReplicaError, naming};
use super::book::{Made, Table};
use super::encode::Moment;
use super::fail::Fail;
use super::make;
use super::{Work, literal, quoted};
use crmsync_core::domain::{FieldType, ObjectSchema, Time};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Columns of a table (`MaxHeapAttributeNumber`).
const COLUMNS: usize = 1600;
/// Bytes of a row's fixed part on a page of 8 kB (`MaxHeapTupleSize`).
const ROW: usize = 8160;

/// Ids are case-sensitive and ordered by their bytes, as the sources order them. JSON stays text,
/// as the source wrote it: `jsonb` would drop doubled names, reorder the rest, and refuse escapes
/// that are valid JSON. A decimal has no scale, so that every number is kept exactly.
pub(super) fn sql_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text => "text",
        FieldType::Boolean => "boolean",
        FieldType::Integer => "bigint",
        FieldType::Decimal => "numeric",
        FieldType::Date => "date",
        FieldType::TimeOfDay => "time",
        FieldType::DateTime => "timestamptz",
        FieldType::Json => "json",
    }
}

pub(super) fn key_type(kind: FieldType) -> &'static str {
    if key_kind(kind) == FieldType::Integer { "bigint" } else { r#"text COLLATE "C""# }
}

pub(super) fn lay_out(
    work: &mut Work<'_>,
    object: &ObjectSchema,
    fields: &[String],
    now: Time,
) -> Result<LayoutChange, Fail> {
    let known = work.book.tables.get(&object.name).cloned();
    let key = Table::key_field(known.as_ref(), object)?;
    let before: &[Column] = known.as_ref().map_or(&[], |t| &t.columns);
    let plan = layout::plan(before, object, fields);
    fits(object, &plan.columns, work.path)?;
    let name = match &known {
        Some(table) => table.name.clone(),
        None => unused(work, &object.name)?,
    };
    let made = known.as_ref().map_or(Made::Later, |t| t.made);
    let after = Table {
        name,
        label: object.label.clone(),
        key: key.name.clone(),
        stamp: object.stamp.clone(),
        flag: object.deleted_flag.clone(),
        made,
        columns: plan.columns.clone(),
    };
    note(work, object, known.as_ref(), &after, now)?;
    if made != Made::Later {
        alter(work, known.as_ref(), &after, &plan.alter)?;
    }
    let new_stamp = known.as_ref().is_some_and(|t| t.stamp != after.stamp);
    if made.has_key() && new_stamp {
        make::indexes(work, &after)?;
    }
    work.book.tables.insert(object.name.clone(), after);
    if made == Made::Unique {
        make::name_key(work, &object.name)?;
    }
    Ok(plan.change)
}

/// What a page cannot hold is refused before it is loaded.
fn fits(object: &ObjectSchema, columns: &[Column], path: &str) -> Result<(), Fail> {
    let count = columns.len() + naming::OWN_COLUMNS.len();
    let width = |c: &Column| match c.kind {
        FieldType::Boolean => 1,
        FieldType::Date => 4,
        FieldType::Integer | FieldType::TimeOfDay | FieldType::DateTime => 8,
        FieldType::Text | FieldType::Decimal | FieldType::Json => 0,
    };
    let fixed = 24 + count / 8 + 32 + columns.iter().map(width).sum::<usize>();
    if count <= COLUMNS && fixed <= ROW {
        return Ok(());
    }
    let cause = if count > COLUMNS {
        format!("it needs {count} columns, a table holds {COLUMNS}")
    } else {
        format!("its {count} columns need {fixed} bytes a row, a page holds {ROW}")
    };
    Err(Fail::Said(ReplicaError::Object {
        object: object.name.clone(),
        doing: format!("laying out the table of {}", object.name),
        path: path.to_owned(),
        cause,
        hint: format!(
            "select fewer fields of {}: fields = [\"…\"] or except = [\"…\"]",
            object.name
        ),
    }))
}

/// A name that no table, index or view of the schema has, nor will have.
fn unused(work: &mut Work<'_>, object: &str) -> Result<String, Fail> {
    let rows = work.db.query(
        "SELECT c.relname::text FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1",
        &[&work.schema],
    )?;
    let mut taken: BTreeSet<String> = rows.iter().map(|r| r.get(0)).collect();
    taken.extend(work.book.tables.values().map(|t| t.name.clone()));
    Ok(naming::unique(object, &taken))
}

/// Brings `_crmsync_object` and `_crmsync_field` up to date; what is the same is not written.
fn note(
    work: &mut Work<'_>,
    object: &ObjectSchema,
    before: Option<&Table>,
    after: &Table,
    now: Time,
) -> Result<(), Fail> {
    if !before.is_some_and(|t| t.is_as(object)) {
        work.db.execute(
            r#"INSERT INTO "_crmsync_object" ("object", "table_name", "label", "key_field", "stamp_field", "deleted_flag_field", "made")
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT ("object") DO UPDATE SET "table_name" = $2, "label" = $3, "key_field" = $4,
                 "stamp_field" = $5, "deleted_flag_field" = $6, "made" = $7"#,
            &[&object.name, &after.name, &after.label, &after.key, &after.stamp, &after.flag, &after.made.word()],
        )?;
    }
    let now = Moment::of(now);
    for (position, c) in after.columns.iter().enumerate() {
        if before.and_then(|t| t.columns.get(position)) == Some(c) {
            continue;
        }
        work.db.execute(
            r#"INSERT INTO "_crmsync_field" AS f VALUES
                 ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::timestamptz, CASE WHEN $11::boolean THEN $10::timestamptz END)
               ON CONFLICT ("object", "column_name") DO UPDATE SET "field" = $3, "label" = $4,
                 "kind" = $5, "source_type" = $6, "position" = $7, "current" = $8, "selected" = $9,
                 "gone_at" = CASE WHEN $11::boolean THEN coalesce(f."gone_at", $10::timestamptz) END"#,
            &[
                &object.name,
                &c.column,
                &c.field,
                &c.label,
                &word(c.kind),
                &c.source_type,
                &i64::try_from(position).unwrap_or(i64::MAX),
                &c.current,
                &c.selected,
                &now,
                &c.gone,
            ],
        )?;
    }
    Ok(())
}

fn alter(
    work: &mut Work<'_>,
    before: Option<&Table>,
    after: &Table,
    steps: &[Alter],
) -> Result<(), Fail> {
    let table = quoted(&after.name);
    let mut parts = Vec::new();
    for step in steps {
        match step {
            Alter::Add { column, kind } => {
                parts.push(format!("ADD COLUMN {} {}", quoted(column), sql_type(*kind)));
            }
            Alter::Widen { column, from, to } => {
                let (name, to) = (quoted(column), sql_type(*to));
                parts.push(format!(
                    "ALTER COLUMN {name} TYPE {to} USING {}",
                    widened(&name, *from, to)
                ));
            }
        }
    }
    let mut sql = String::new();
    if !parts.is_empty() {
        let _ = write!(sql, "ALTER TABLE {table} {};", parts.join(", "));
    }
    if before.is_none_or(|t| t.label != after.label) {
        let _ = write!(sql, "COMMENT ON TABLE {table} IS {};", literal(&after.label));
    }
    for column in &after.columns {
        let old = before.and_then(|t| t.columns.iter().find(|c| c.column == column.column));
        if old.is_none_or(|o| o.label != column.label || o.source_type != column.source_type) {
            sql += &comment(&table, column);
        }
    }
    if sql.is_empty() {
        return Ok(());
    }
    work.db.unprepare();
    work.db.batch(&sql)
}

/// `Annual Revenue (currency(18,2))`.
pub(super) fn comment(table: &str, c: &Column) -> String {
    let text = format!("{} ({})", c.label, c.source_type);
    format!("COMMENT ON COLUMN {table}.{} IS {};", quoted(&c.column), literal(&text))
}

/// Old values as the source's text would be.
fn widened(name: &str, from: FieldType, to: &str) -> String {
    match from {
        FieldType::Date => format!("pg_catalog.to_char({name}, 'YYYY-MM-DD')"),
        FieldType::TimeOfDay => format!("pg_catalog.to_char({name}, 'HH24:MI:SS.MS')"),
        FieldType::Text
        | FieldType::Boolean
        | FieldType::Integer
        | FieldType::Decimal
        | FieldType::DateTime
        | FieldType::Json => format!("{name}::{to}"),
    }
}

pub(super) fn state(work: &mut Work<'_>, object: &str, state: &str) -> Result<Applied, Fail> {
    let changed = work.db.execute(
        r#"INSERT INTO "_crmsync_object" AS o ("object", "state") VALUES ($1, $2)
           ON CONFLICT ("object") DO UPDATE SET "state" = $2 WHERE o."state" IS DISTINCT FROM $2"#,
        &[&object, &state],
    )?;
    Ok(Applied { rows: 1, changed, ..Applied::default() })
}

pub(super) fn forget(work: &mut Work<'_>, object: &str) -> Result<Applied, Fail> {
    if let Some(table) = work.book.tables.remove(object) {
        work.db.unprepare();
        work.db.batch(&format!("DROP TABLE IF EXISTS {}", quoted(&table.name)))?;
    }
    let mut changed = 0;
    for own in ["_crmsync_object", "_crmsync_field", "_crmsync_odd", "_crmsync_seen"] {
        changed +=
            work.db.execute(&format!(r#"DELETE FROM "{own}" WHERE "object" = $1"#), &[&object])?;
    }
    Ok(Applied { rows: 1, changed: changed.min(1), ..Applied::default() })
}
