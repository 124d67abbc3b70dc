//! Tables made and altered; states; forgetting.

use super::super::book::{key_kind, word};
use super::super::layout::{self, Alter, Column};
use super::super::{Applied, LayoutChange, naming};
use super::book::Table;
use super::fail::Fail;
use super::{Work, quoted};
use crate::replica::value::stamp;
use crmsync_core::domain::{FieldType, ObjectSchema, Time};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A decimal's column has no type, hence no affinity: doubles and texts stay what they are.
fn sql_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text
        | FieldType::Date
        | FieldType::TimeOfDay
        | FieldType::DateTime
        | FieldType::Json => " TEXT",
        FieldType::Boolean | FieldType::Integer => " INTEGER",
        FieldType::Decimal => "",
    }
}

pub(super) fn lay_out(
    work: &mut Work<'_>,
    object: &ObjectSchema,
    fields: &[String],
    now: Time,
) -> Result<LayoutChange, Fail> {
    let known = work.book.tables.get(&object.name);
    let key = Table::key_field(known, object)?;
    let before: &[Column] = known.map_or(&[], |t| &t.columns);
    let plan = layout::plan(before, object, fields);
    let name = match known {
        Some(table) => {
            alter(work.db, &table.name, &plan.alter)?;
            table.name.clone()
        }
        None => create(work.db, object, &plan.alter)?,
    };
    if !known.is_some_and(|t| t.is_as(object)) {
        work.db.execute(
            r#"INSERT INTO "_crmsync_object" ("object", "table_name", "label", "key_field", "stamp_field", "deleted_flag_field")
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET "table_name" = ?2, "label" = ?3, "key_field" = ?4,
                 "stamp_field" = ?5, "deleted_flag_field" = ?6"#,
            params![object.name, name, object.label, key.name, object.stamp, object.deleted_flag],
        )?;
    }
    let now = stamp(now);
    for (position, c) in plan.columns.iter().enumerate() {
        if before.get(position) == Some(c) {
            continue;
        }
        work.db.execute(
            r#"INSERT INTO "_crmsync_field" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, iif(?11, ?10, NULL))
               ON CONFLICT DO UPDATE SET "field" = ?3, "label" = ?4, "kind" = ?5, "source_type" = ?6,
                 "position" = ?7, "current" = ?8, "selected" = ?9,
                 "gone_at" = iif(?11, coalesce("gone_at", ?10), NULL)"#,
            params![
                object.name, c.column, c.field, c.label, word(c.kind), c.source_type,
                i64::try_from(position).unwrap_or(i64::MAX), c.current, c.selected, now.as_str(), c.gone
            ],
        )?;
    }
    Ok(plan.change)
}

fn create(db: &Connection, object: &ObjectSchema, columns: &[Alter]) -> Result<String, Fail> {
    let mut taken = BTreeSet::new();
    let mut names = db.prepare(r#"SELECT lower("name") FROM sqlite_master"#)?;
    for name in names.query_map([], |r| r.get::<_, String>(0))? {
        taken.insert(name?);
    }
    let name = naming::unique(&object.name, &taken);
    // Writing to a String cannot fail.
    let mut sql = format!("CREATE TABLE {} (", quoted(&name));
    for (i, column) in columns.iter().enumerate() {
        let Alter::Add { column, kind } = column else { continue };
        if i == 0 {
            // The key is placed first.
            let kind = sql_type(key_kind(*kind));
            let _ = write!(sql, "{}{kind} NOT NULL PRIMARY KEY", quoted(column));
        } else {
            let _ = write!(sql, ", {}{}", quoted(column), sql_type(*kind));
        }
    }
    sql.push_str(
        r#", "_synced_at" TEXT NOT NULL, "_deleted_at" TEXT, "_hidden_at" TEXT, "_crmsync_seq" INTEGER NOT NULL);"#,
    );
    db.execute_batch(&sql)?;
    index(db, &name)?;
    Ok(name)
}

/// The indexes beside the key. The partial ones keep counting and erasing cheap; they are empty
/// for most objects.
pub(super) fn index(db: &Connection, table: &str) -> Result<(), Fail> {
    for (what, column, part) in [
        ("seq", "_crmsync_seq", ""),
        ("deleted", "_deleted_at", r#" WHERE "_deleted_at" IS NOT NULL"#),
        ("hidden", "_hidden_at", r#" WHERE "_hidden_at" IS NOT NULL"#),
    ] {
        db.execute_batch(&format!(
            "CREATE INDEX {} ON {} ({}){part}",
            quoted(&own_index(table, what)),
            quoted(table),
            quoted(column)
        ))?;
    }
    Ok(())
}

/// The name of an index of ours.
pub(super) fn own_index(table: &str, what: &str) -> String {
    format!("_crmsync_{table}_{what}")
}

fn alter(db: &Connection, table: &str, steps: &[Alter]) -> Result<(), Fail> {
    for step in steps {
        match step {
            Alter::Add { column, kind } => db.execute_batch(&format!(
                "ALTER TABLE {} ADD COLUMN {}{}",
                quoted(table),
                quoted(column),
                sql_type(*kind)
            ))?,
            Alter::Widen { column, from, to } => {
                if sql_type(*from) != sql_type(*to) {
                    widen(db, table, column, *from, *to)?;
                }
            }
        }
    }
    Ok(())
}

/// `SQLite` cannot change a column's type: its values go into a new one, which takes the name.
/// Indexes that people made on the old column are made again.
fn widen(
    db: &Connection,
    table: &str,
    column: &str,
    from: FieldType,
    to: FieldType,
) -> Result<(), Fail> {
    let mut find = db.prepare(
        r#"SELECT m."name", m."sql" FROM sqlite_master m
           WHERE m."type" = 'index' AND m."tbl_name" = ?1 AND m."sql" IS NOT NULL
             AND EXISTS (SELECT 1 FROM pragma_index_info(m."name") i WHERE i."name" = ?2)"#,
    )?;
    let indexes = find
        .query_map([table, column], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    drop(find);
    let (t, old, new) = (quoted(table), quoted(column), quoted("_crmsync_wider"));
    let value = match (from, to) {
        (FieldType::Boolean, _) => format!("iif({old}, 'true', 'false')"),
        (_, FieldType::Decimal) => format!(
            "CASE WHEN {old} BETWEEN -9007199254740992 AND 9007199254740992
             THEN CAST({old} AS REAL) ELSE CAST({old} AS TEXT) END"
        ),
        _ => format!("CAST({old} AS TEXT)"),
    };
    let mut sql = String::new();
    for (index, _) in &indexes {
        let _ = write!(sql, "DROP INDEX {};", quoted(index));
    }
    let _ = write!(
        sql,
        "ALTER TABLE {t} ADD COLUMN {new}{};
         UPDATE {t} SET {new} = {value} WHERE {old} IS NOT NULL;
         ALTER TABLE {t} DROP COLUMN {old};
         ALTER TABLE {t} RENAME COLUMN {new} TO {old};",
        sql_type(to)
    );
    for (_, again) in &indexes {
        sql.push_str(again);
        sql.push(';');
    }
    Ok(db.execute_batch(&sql)?)
}

pub(super) fn state(work: &mut Work<'_>, object: &str, state: &str) -> Result<Applied, Fail> {
    let changed = work
        .db
        .prepare_cached(
            r#"INSERT INTO "_crmsync_object" ("object", "state") VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET "state" = ?2 WHERE "state" IS NOT ?2"#,
        )?
        .execute([object, state])?;
    Ok(Applied { rows: 1, changed: changed as u64, ..Applied::default() })
}

pub(super) fn forget(work: &mut Work<'_>, object: &str) -> Result<Applied, Fail> {
    if let Some(table) = work.book.tables.get(object) {
        work.db.execute_batch(&format!("DROP TABLE IF EXISTS {}", quoted(&table.name)))?;
    }
    let mut changed = 0;
    for own in ["_crmsync_object", "_crmsync_field", "_crmsync_odd", "_crmsync_seen"] {
        let sql = format!(r#"DELETE FROM {} WHERE "object" = ?1"#, quoted(own));
        changed += work.db.execute(&sql, [object])? as u64;
    }
    Ok(Applied { rows: 1, changed: changed.min(1), ..Applied::default() })
}
