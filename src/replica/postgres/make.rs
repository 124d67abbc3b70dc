//! A table made with its first rows; its key and indexes, built at the end of a first load.
//!
//! Invariants: a table that readers can see is never locked against them but for the moment in
//! which its index becomes its primary key, and that is not waited for; of rows with equal keys the
//! last one stays.

use super::book::{Made, Table};
use super::fail::Fail;
use super::tables::{comment, key_type, sql_type};
use super::{Work, literal, quoted};
use std::fmt::Write;
use tokio_postgres::error::SqlState;

/// Makes the table unless it is there. Nobody else sees it before the transaction ends.
pub(super) fn table(work: &mut Work<'_>, object: &str) -> Result<(), Fail> {
    let table = work.book.table(object)?.clone();
    if table.made != Made::Later {
        return Ok(());
    }
    let name = quoted(&table.name);
    // Writing to a String cannot fail.
    let mut sql = format!("CREATE TABLE {name} (");
    let key = &table.key_column()?.column;
    for column in &table.columns {
        let (column, is_key, kind) = (quoted(&column.column), column.column == *key, column.kind);
        let _ = if is_key {
            write!(sql, "{column} {} NOT NULL, ", key_type(kind))
        } else {
            write!(sql, "{column} {}, ", sql_type(kind))
        };
    }
    let _ = write!(
        sql,
        r#""_synced_at" timestamptz NOT NULL, "_deleted_at" timestamptz, "_hidden_at" timestamptz,
           "_crmsync_seq" bigint NOT NULL);
           COMMENT ON TABLE {name} IS {};
           COMMENT ON COLUMN {name}."_synced_at" IS 'crmsync: when the content of the row last changed here';
           COMMENT ON COLUMN {name}."_deleted_at" IS 'crmsync: deleted at the source';
           COMMENT ON COLUMN {name}."_hidden_at" IS 'crmsync: no longer visible to our account';
           COMMENT ON COLUMN {name}."_crmsync_seq" IS 'crmsync: grows with each change of a row; a cursor for readers';"#,
        literal(&table.label)
    );
    for column in &table.columns {
        sql += &comment(&name, column);
    }
    work.db.batch(&sql)?;
    set(work, object, Made::Bare)
}

/// Makes the table with its key, or gives it the key that a first load left for the end.
pub(super) fn keyed(work: &mut Work<'_>, object: &str) -> Result<(), Fail> {
    table(work, object)?;
    let table = work.book.table(object)?.clone();
    if table.made.has_key() {
        return Ok(());
    }
    work.db.take_long()?;
    let (name, key) = (quoted(&table.name), quoted(&table.key_column()?.column));
    let unique = format!("CREATE UNIQUE INDEX ON {name} ({key})");
    if !attempt(work, &unique, &SqlState::UNIQUE_VIOLATION)? {
        // What the server said of it holds a key.
        tracing::debug!(object, "equal keys in a first load");
        last_of_equal(work, object, &table)?;
        work.db.batch(&unique)?;
    }
    indexes(work, &table)?;
    set(work, object, Made::Unique)?;
    name_key(work, object)
}

/// Runs it in a savepoint; false if it failed with that code and was taken back.
fn attempt(work: &mut Work<'_>, sql: &str, code: &SqlState) -> Result<bool, Fail> {
    work.db.batch("SAVEPOINT attempt")?;
    match work.db.batch(sql) {
        Ok(()) => work.db.batch("RELEASE attempt").map(|()| true),
        Err(fail) if fail.code() == Some(code) => {
            work.db.batch("ROLLBACK TO attempt; RELEASE attempt")?;
            Ok(false)
        }
        Err(fail) => Err(fail),
    }
}

fn last_of_equal(work: &mut Work<'_>, object: &str, table: &Table) -> Result<(), Fail> {
    let (name, key) = (quoted(&table.name), quoted(&table.key_column()?.column));
    work.db.batch(&format!(
        r#"DELETE FROM {name} t USING
             (SELECT {key} AS k, max("_crmsync_seq") AS last FROM {name} GROUP BY 1 HAVING count(*) > 1) d
           WHERE t.{key} = d.k AND t."_crmsync_seq" < d.last"#
    ))?;
    // A value that was odd in an earlier row and is good in the last one is odd no more. (A text
    // that lost its NULs looks good: its note stays until the next change of the row.)
    let odd = work.db.query(
        r#"SELECT DISTINCT "column_name" FROM "_crmsync_odd" WHERE "object" = $1"#,
        &[&object],
    )?;
    for row in odd {
        let column: String = row.get(0);
        let Some(c) = table.columns.iter().find(|c| c.column == column) else { continue };
        if c.kind == crmsync_core::domain::FieldType::Text {
            continue;
        }
        let column_sql = quoted(&column);
        work.db.execute(
            &format!(
                r#"DELETE FROM "_crmsync_odd" o USING {name} t
                   WHERE o."object" = $1 AND o."column_name" = $2 AND t.{key}::text = o."key"
                     AND t.{column_sql} IS NOT NULL"#
            ),
            &[&object, &column],
        )?;
    }
    Ok(())
}

/// Makes the unique index the table's primary key. That needs a moment alone with the table: while
/// readers hold it, it stays a unique index until the next look at the layout.
pub(super) fn name_key(work: &mut Work<'_>, object: &str) -> Result<(), Fail> {
    let table = work.book.table(object)?.clone();
    let rows = work.db.query(
        "SELECT i.relname::text FROM pg_catalog.pg_index x
         JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND x.indisunique
           AND x.indisvalid AND x.indnatts = 1 AND x.indpred IS NULL",
        &[&work.schema, &table.name, &table.key_column()?.column],
    )?;
    let Some(index) = rows.first() else { return Ok(()) };
    let (name, index) = (quoted(&table.name), quoted(index.get(0)));
    let sql = format!(
        "SET LOCAL lock_timeout = '200ms'; ALTER TABLE {name} ADD PRIMARY KEY USING INDEX {index};
         SET LOCAL lock_timeout = '2s'"
    );
    if !attempt(work, &sql, &SqlState::LOCK_NOT_AVAILABLE)? {
        tracing::debug!(table = table.name, "readers hold the table: its key is named later");
        return Ok(());
    }
    set(work, object, Made::Keyed)
}

/// The indexes that are missing: on the change counter, on the modification stamp, and partial ones
/// that keep counting and erasing cheap (empty for most objects).
pub(super) fn indexes(work: &mut Work<'_>, table: &Table) -> Result<(), Fail> {
    let rows = work.db.query(
        "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_index x
         JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
         WHERE n.nspname = $1 AND c.relname = $2 AND x.indisvalid",
        &[&work.schema, &table.name],
    )?;
    let there: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
    let stamp = table.stamp_column().map(|c| c.column.as_str());
    let wanted = [Some("_crmsync_seq"), stamp, Some("_deleted_at"), Some("_hidden_at")];
    let mut sql = String::new();
    for column in wanted.into_iter().flatten().filter(|c| !there.iter().any(|t| t == c)) {
        let (name, column_sql) = (quoted(&table.name), quoted(column));
        let part = match column {
            "_deleted_at" | "_hidden_at" => format!(" WHERE {column_sql} IS NOT NULL"),
            _ => String::new(),
        };
        let _ = write!(sql, "CREATE INDEX ON {name} ({column_sql}){part};");
    }
    if sql.is_empty() { Ok(()) } else { work.db.batch(&sql) }
}

fn set(work: &mut Work<'_>, object: &str, made: Made) -> Result<(), Fail> {
    work.db.unprepare();
    work.db.execute(
        r#"UPDATE "_crmsync_object" SET "made" = $2 WHERE "object" = $1"#,
        &[&object, &made.word()],
    )?;
    if let Some(table) = work.book.tables.get_mut(object) {
        table.made = made;
    }
    Ok(())
}
