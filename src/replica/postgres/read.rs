//! What the daemon asks a replica: states, counts, how a sweep stands.

use super::super::{Counts, SweepPlan, Window};
use super::book::{Book, Key, Made, Table};
use super::encode::Moment;
use super::fail::Fail;
use super::link::Db;
use super::quoted;
use super::sweep::{Terms, began, live};
use crmsync_core::domain::Time;
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

pub(super) fn states(db: &mut Db) -> Result<BTreeMap<String, String>, Fail> {
    let sql = r#"SELECT "object", "state" FROM "_crmsync_object" WHERE "state" IS NOT NULL"#;
    Ok(db.query(sql, &[])?.iter().map(|r| (r.get(0), r.get(1))).collect())
}

pub(super) fn counts(db: &mut Db, table: &Table) -> Result<Counts, Fail> {
    if table.made == Made::Later {
        return Ok(Counts::default());
    }
    let sql = format!(
        r#"SELECT count(*) FILTER (WHERE "_deleted_at" IS NULL AND "_hidden_at" IS NULL),
             count(*) FILTER (WHERE "_deleted_at" IS NOT NULL),
             count(*) FILTER (WHERE "_deleted_at" IS NULL AND "_hidden_at" IS NOT NULL) FROM {}"#,
        quoted(&table.name)
    );
    let rows = db.query(&sql, &[])?;
    let count =
        |i: usize| rows.first().map_or(0, |r| u64::try_from(r.get::<_, i64>(i)).unwrap_or(0));
    Ok(Counts { live: count(0), deleted: count(1), hidden: count(2) })
}

/// Live rows whose stamp lies in each window.
pub(super) fn count_windows(
    db: &mut Db,
    book: &Book,
    object: &str,
    unset: Option<&str>,
    windows: &[Window],
) -> Result<Vec<u64>, Fail> {
    let table = book.table(object)?;
    let Some(stamp) = table.stamp_column() else {
        return Err(Fail::Bug(format!("{object} has no modification stamp")));
    };
    if windows.is_empty() || table.made == Made::Later {
        return Ok(vec![0; windows.len()]);
    }
    let (name, mut stamp) = (quoted(&table.name), quoted(&stamp.column));
    if let Some(other) = unset.and_then(|field| table.column(field)) {
        stamp = format!("coalesce({stamp}, {})", quoted(&other.column));
    }
    let (mut sums, mut bounds) = (Vec::new(), Vec::new());
    for (from, to) in windows {
        let mut bound = |side: &str, t: &Option<Time>| {
            t.map_or("true".to_owned(), |t| {
                bounds.push(Moment::of(t));
                format!("{stamp} {side} ${}", bounds.len())
            })
        };
        let within = format!("{} AND {}", bound(">=", from), bound("<", to));
        sums.push(format!("count(*) FILTER (WHERE {within})"));
    }
    let sql = format!(
        r#"SELECT {} FROM {name} WHERE "_deleted_at" IS NULL AND "_hidden_at" IS NULL"#,
        sums.join(", ")
    );
    let bounds: Vec<&(dyn ToSql + Sync)> = bounds.iter().map(|b| b as _).collect();
    let rows = db.query(&sql, &bounds)?;
    let count = |i: usize| rows.first().map_or(0, |r| r.get::<_, i64>(i).unsigned_abs());
    Ok((0..sums.len()).map(count).collect())
}

pub(super) fn odd_count(db: &mut Db, object: &str) -> Result<u64, Fail> {
    db.count(r#"SELECT count(*) FROM "_crmsync_odd" WHERE "object" = $1"#, &[&object])
}

pub(super) fn sweep_plan(
    db: &mut Db,
    book: &Book,
    object: &str,
) -> Result<Option<SweepPlan>, Fail> {
    let Some(began) = began(db, object)? else { return Ok(None) };
    let table = book.table(object)?;
    if table.made == Made::Later {
        let seen = r#"SELECT count(*) FROM "_crmsync_seen" WHERE "object" = $1"#;
        let missing_here = db.count(seen, &[&object])?;
        return Ok(Some(SweepPlan { missing_here, ..SweepPlan::default() }));
    }
    let terms = Terms::of(table)?;
    Ok(Some(SweepPlan {
        missing_here: db.count(&format!("SELECT count(*) {}", terms.missing()), &[&object])?,
        missing_there: db
            .count(&format!("SELECT count(*) {}", terms.absent()), &[&object, &began])?,
        live: live(db, &terms.table)?,
    }))
}

pub(super) fn new_keys(
    db: &mut Db,
    book: &Book,
    object: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Fail> {
    let table = book.table(object)?;
    let after = after.and_then(|a| Key::of(table.key_column().ok()?.kind, a));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let terms = Terms::of(table)?;
    let column = terms.seen;
    let from = if table.made == Made::Later {
        r#"FROM "_crmsync_seen" s WHERE s."object" = $1"#.to_owned()
    } else {
        terms.missing()
    };
    let sql = |kind: &str| {
        format!(
            r#"SELECT s."key" {from} AND ($2::{kind} IS NULL OR s."{column}" > $2)
               ORDER BY s."{column}" LIMIT $3"#
        )
    };
    let rows = if column == "number" {
        db.query(&sql("bigint"), &[&object, &after.and_then(Key::number), &limit])?
    } else {
        db.query(&sql("text"), &[&object, &after.map(Key::plain), &limit])?
    };
    Ok(rows.iter().map(|r| r.get(0)).collect())
}
