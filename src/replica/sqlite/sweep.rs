//! Rows that are no longer at the source: named by its delete log, or found by absence.
//!
//! Keys of a sweep lie in `_crmsync_seen` until it ends, so that a restart goes on with it. A row
//! that changed after the sweep began is never absent: its page of keys may have passed before.

use super::super::value::{self, Cell};
use super::super::{Absent, Applied, Deletes, Guard};
use super::book::{Table, key_cell};
use super::fail::Fail;
use super::{Work, quoted};
use crmsync_core::domain::{Batch, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

/// Keys worked on at a time.
const PAGE: i64 = 1000;

pub(super) fn deleted(
    work: &mut Work<'_>,
    object: &str,
    ids: &[(String, Time)],
    policy: Deletes,
    at: Time,
) -> Result<Applied, Fail> {
    let mut applied = Applied { rows: ids.len() as u64, ..Applied::default() };
    let table = work.book.table(object)?;
    let key_column = table.key_column()?;
    let (name, key) = (quoted(&table.name), quoted(&key_column.column));
    // Undeleted since, if the record was written later than it was deleted.
    let still = table.stamp_column().map_or(String::new(), |stamp| {
        let stamp = quoted(&stamp.column);
        format!(r#" AND ("_deleted_at" IS NOT NULL OR {stamp} IS NULL OR {stamp} <= ?2)"#)
    });
    let sql = match policy {
        Deletes::Mark => format!(
            r#"UPDATE {name} SET "_deleted_at" = ?2, "_synced_at" = ?3, "_crmsync_seq" = ?4
               WHERE {key} = ?1 AND ("_deleted_at" IS NULL OR "_deleted_at" < ?2){still}"#
        ),
        Deletes::Remove => format!("DELETE FROM {name} WHERE {key} = ?1{still}"),
    };
    let mut statement = work.db.prepare_cached(&sql)?;
    let at = value::stamp(at);
    for (id, when) in ids {
        let Some(cell) = key_cell(key_column.kind, id) else { continue };
        let when = value::stamp(*when);
        let changed = match policy {
            Deletes::Mark => {
                statement.execute(params![cell, when.as_str(), at.as_str(), work.seq + 1])?
            }
            Deletes::Remove if still.is_empty() => statement.execute(params![cell])?,
            Deletes::Remove => statement.execute(params![cell, when.as_str()])?,
        };
        if changed == 0 {
            continue;
        }
        applied.changed += 1;
        applied.deleted += 1;
        match policy {
            Deletes::Mark => work.seq += 1,
            Deletes::Remove => no_longer_odd(work.db, object, &cell)?,
        }
    }
    Ok(applied)
}

fn no_longer_odd(db: &Connection, object: &str, key: &Cell<'_>) -> Result<(), Fail> {
    db.prepare_cached(
        r#"DELETE FROM "_crmsync_odd" WHERE "object" = ?1 AND "key" = CAST(?2 AS TEXT)"#,
    )?
    .execute(params![object, key])?;
    Ok(())
}

pub(super) fn begin(work: &mut Work<'_>, object: &str) -> Result<Applied, Fail> {
    work.book.table(object)?;
    work.db.execute(r#"DELETE FROM "_crmsync_seen" WHERE "object" = ?1"#, [object])?;
    work.db.execute(
        r#"UPDATE "_crmsync_object" SET "sweep_seq" = ?2 WHERE "object" = ?1"#,
        params![object, work.seq],
    )?;
    Ok(Applied::default())
}

/// The change counter at which the object's open sweep began.
pub(super) fn began(db: &Connection, object: &str) -> Result<Option<i64>, Fail> {
    Ok(db
        .prepare_cached(r#"SELECT "sweep_seq" FROM "_crmsync_object" WHERE "object" = ?1"#)?
        .query_row([object], |r| r.get(0))
        .optional()?
        .flatten())
}

fn must_be_open(db: &Connection, object: &str) -> Result<i64, Fail> {
    began(db, object)?.ok_or_else(|| Fail::Bug(format!("no key sweep of {object} is open")))
}

pub(super) fn keys(work: &mut Work<'_>, object: &str, batch: &Batch) -> Result<Applied, Fail> {
    let kind = work.book.table(object)?.key_column()?.kind;
    must_be_open(work.db, object)?;
    let mut applied = Applied { rows: batch.rows() as u64, ..Applied::default() };
    let mut insert = work
        .db
        .prepare_cached(r#"INSERT INTO "_crmsync_seen" VALUES (?1, ?2) ON CONFLICT DO NOTHING"#)?;
    for row in 0..batch.rows() {
        match batch.key(row).and_then(|text| key_cell(kind, text)) {
            Some(key) => applied.changed += insert.execute(params![object, key])? as u64,
            None => applied.odd += 1,
        }
    }
    Ok(applied)
}

/// Conditions of SQL over a table `t` and the keys seen `s`; `?1` is the object, `?2` the sweep's
/// beginning.
pub(super) struct Terms {
    pub(super) table: String,
    pub(super) key: String,
}

impl Terms {
    pub(super) fn of(table: &Table) -> Result<Self, Fail> {
        Ok(Self { table: quoted(&table.name), key: quoted(&table.key_column()?.column) })
    }

    /// Rows here that were not seen there. The `+` keeps the key's type from being applied to the
    /// untyped column, which would keep its index from being used.
    pub(super) fn absent(&self) -> String {
        let Self { table, key } = self;
        format!(
            r#"FROM {table} t WHERE t."_deleted_at" IS NULL AND t."_hidden_at" IS NULL
               AND t."_crmsync_seq" <= ?2 AND NOT EXISTS
               (SELECT 1 FROM "_crmsync_seen" s WHERE s."object" = ?1 AND s."key" = +t.{key})"#
        )
    }

    /// Whether a seen key has a live row here.
    fn live_row(&self) -> String {
        let Self { table, key } = self;
        format!(
            r#"EXISTS (SELECT 1 FROM {table} t WHERE t.{key} = s."key"
               AND t."_deleted_at" IS NULL AND t."_hidden_at" IS NULL)"#
        )
    }

    /// Keys there without a live row here.
    pub(super) fn missing(&self) -> String {
        let live = self.live_row();
        format!(r#"FROM "_crmsync_seen" s WHERE s."object" = ?1 AND NOT {live}"#)
    }
}

pub(super) fn count(
    db: &Connection,
    from: &str,
    params: impl rusqlite::Params,
) -> Result<u64, Fail> {
    let n: i64 = db.query_row(&format!("SELECT count(*) {from}"), params, |r| r.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

pub(super) fn live(db: &Connection, table: &str) -> Result<u64, Fail> {
    let all = count(db, &format!("FROM {table}"), [])?;
    let deleted = count(db, &format!(r#"FROM {table} WHERE "_deleted_at" IS NOT NULL"#), [])?;
    let hidden = r#"WHERE "_hidden_at" IS NOT NULL AND "_deleted_at" IS NULL"#;
    Ok(all.saturating_sub(deleted + count(db, &format!("FROM {table} {hidden}"), [])?))
}

pub(super) fn end(
    work: &mut Work<'_>,
    object: &str,
    as_: Absent,
    guard: Option<Guard>,
    at: Time,
) -> Result<Applied, Fail> {
    let terms = Terms::of(work.book.table(object)?)?;
    let began = must_be_open(work.db, object)?;
    let seen = r#"FROM "_crmsync_seen" WHERE "object" = ?1"#;
    let mut applied = Applied {
        rows: count(work.db, seen, [object])?,
        missing: count(work.db, &terms.missing(), [object])?,
        ..Applied::default()
    };
    if let Some(guard) = guard {
        let absent = count(work.db, &terms.absent(), params![object, began])?;
        let live = live(work.db, &terms.table)?;
        let percent = u128::from(live) * u128::from(guard.max_percent);
        if absent > guard.max_rows || u128::from(absent) * 100 > percent {
            applied.held = absent;
            return Ok(applied);
        }
    }
    let Terms { table, key } = &terms;
    let change = match as_ {
        Absent::Mark => format!(
            r#"UPDATE {table} SET "_deleted_at" = ?2, "_synced_at" = ?2, "_crmsync_seq" = ?3 WHERE {key} = ?1"#
        ),
        Absent::Hide => format!(
            r#"UPDATE {table} SET "_hidden_at" = ?2, "_synced_at" = ?2, "_crmsync_seq" = ?3 WHERE {key} = ?1"#
        ),
        Absent::Remove => format!("DELETE FROM {table} WHERE {key} = ?1"),
    };
    let mut change = work.db.prepare_cached(&change)?;
    let page = format!(
        "SELECT t.{key} {} AND (?3 IS NULL OR t.{key} > ?3) ORDER BY t.{key} LIMIT {PAGE}",
        terms.absent()
    );
    let mut page = work.db.prepare_cached(&page)?;
    let at = value::stamp(at);
    let mut after = Value::Null;
    loop {
        let keys = page
            .query_map(params![object, began, after], |r| r.get::<_, Value>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for key in &keys {
            if as_ == Absent::Remove {
                change.execute(params![key])?;
                work.db
                    .prepare_cached(
                        r#"DELETE FROM "_crmsync_odd" WHERE "object" = ?1 AND "key" = CAST(?2 AS TEXT)"#,
                    )?
                    .execute(params![object, key])?;
            } else {
                work.seq += 1;
                change.execute(params![key, at.as_str(), work.seq])?;
            }
            applied.deleted += 1;
        }
        match keys.into_iter().next_back() {
            Some(last) => after = last,
            None => break,
        }
    }
    applied.changed = applied.deleted;
    work.db.execute(
        &format!(
            r#"DELETE FROM "_crmsync_seen" AS s WHERE s."object" = ?1 AND {}"#,
            terms.live_row()
        ),
        [object],
    )?;
    work.db.execute(
        r#"UPDATE "_crmsync_object" SET "sweep_seq" = NULL WHERE "object" = ?1"#,
        [object],
    )?;
    Ok(applied)
}

pub(super) fn erase(work: &mut Work<'_>, before: Time) -> Result<Applied, Fail> {
    let before = value::stamp(before);
    let mut applied = Applied::default();
    for (object, table) in &work.book.tables {
        let Terms { table, key } = Terms::of(table)?;
        let old = format!(r#"FROM {table} WHERE "_deleted_at" < ?1"#);
        work.db.execute(
            &format!(
                r#"DELETE FROM "_crmsync_odd" WHERE "object" = ?2
                   AND "key" IN (SELECT CAST({key} AS TEXT) {old})"#
            ),
            params![before.as_str(), object],
        )?;
        applied.deleted += work.db.execute(&format!("DELETE {old}"), [before.as_str()])? as u64;
    }
    applied.changed = applied.deleted;
    Ok(applied)
}
