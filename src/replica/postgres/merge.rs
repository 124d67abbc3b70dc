//! Rows of a batch merged into their table.
//!
//! A batch is copied into a temporary table of the session, in key order and of equal keys the last
//! row alone, and merged by one statement that touches a row only if something in it differs.
//! Invariant: what changes nothing writes nothing but the temporary table.

use super::super::book::{Plan, Target};
use super::book::{Key, Table};
use super::encode::{self, Moment};
use super::fail::Fail;
use super::odd::{self, Odd};
use super::tables::{key_type, sql_type};
use super::{Work, make, quoted};
use crate::replica::{Applied, Mode};
use crmsync_core::domain::{Batch, FieldType, Time};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

const BUFFER: usize = 128 * 1024;

/// The last way of each object and mode; each has a temporary table of the session.
#[derive(Default)]
pub(super) struct Plans {
    last: BTreeMap<(String, Mode), Arc<Way>>,
    next: u32,
}

impl Plans {
    /// After a roll-back or a change of tables. Temporary tables that are left stay empty.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }
}

/// Statements of one plan.
struct Way {
    plan: Plan,
    /// Its temporary table, quoted.
    stage: String,
    copy: String,
    /// Absent for a `Fill` of nothing but the key.
    merge: Option<String>,
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
    make::keyed(work, object)?;
    if applied.rows == 0 {
        return Ok(applied);
    }
    let way = way(work, object, fields, mode)?;
    way.plan.check(batch)?;
    let mut odd = Odd::new(object);
    let now = Moment::of(at);
    applied.odd = stage(work, &way, batch, now, &mut odd)?;
    if let Some(sql) = &way.merge {
        let rows = work.db.query(sql, &[&now, &work.seq])?;
        if let Some(row) = rows.first() {
            let count = |i: usize| u64::try_from(row.get::<_, i64>(i)).unwrap_or(0);
            applied.inserted = count(0);
            applied.changed = count(0) + count(1);
            applied.deleted = count(2);
        }
        work.seq += i64::try_from(applied.changed).unwrap_or(0);
    }
    if odd::any(work, object)? {
        odd::settle(work, object, &way.plan, &way.stage)?;
    }
    let table = work.book.table(object)?.name.clone();
    let existing = (mode == Mode::Fill).then_some((table.as_str(), &way.plan));
    odd.keep(work, now, existing)?;
    Ok(applied)
}

fn way(work: &mut Work<'_>, object: &str, fields: &[String], mode: Mode) -> Result<Arc<Way>, Fail> {
    let at = (object.to_owned(), mode);
    if let Some(way) = work.plans.last.get(&at).filter(|w| w.plan.fields == fields) {
        let way = Arc::clone(way);
        if !work.staged.insert(way.stage.clone()) {
            work.db.batch(&format!("TRUNCATE {}", way.stage))?;
        }
        return Ok(way);
    }
    let table = work.book.table(object)?;
    let plan = Plan::new(table, fields)?;
    work.plans.next += 1;
    let stage = quoted(&format!("_crmsync_stage_{}", work.plans.next));
    let (copy, merge) = (copy(&stage, &plan), statement(table, &plan, &stage, mode));
    // Writing to a String cannot fail.
    let mut sql = format!("CREATE TEMPORARY TABLE {stage} (");
    for (i, t) in plan.targets.iter().enumerate() {
        let kind = if i == 0 { key_type(t.kind) } else { sql_type(t.kind) };
        let _ = write!(sql, "{} {kind}, ", quoted(&t.column));
    }
    sql.push_str(r#""_deleted_at" timestamptz, "_crmsync_odd" text) ON COMMIT DELETE ROWS"#);
    work.db.batch(&sql)?;
    work.staged.insert(stage.clone());
    let way = Arc::new(Way { plan, stage, copy, merge });
    work.plans.last.insert(at, Arc::clone(&way));
    Ok(way)
}

fn names(targets: &[Target], of: &str) -> String {
    targets.iter().map(|t| format!("{of}{}", quoted(&t.column))).collect::<Vec<_>>().join(", ")
}

fn copy(stage: &str, plan: &Plan) -> String {
    let names = names(&plan.targets, "");
    format!(r#"COPY {stage} ({names}, "_deleted_at", "_crmsync_odd") FROM STDIN (FORMAT binary)"#)
}

/// Copies the batch into its temporary table; the number of odd values.
fn stage(
    work: &mut Work<'_>,
    way: &Way,
    batch: &Batch,
    now: Moment,
    odd: &mut Odd,
) -> Result<u64, Fail> {
    let (plan, mut count, mut found) = (&way.plan, 0, Vec::new());
    let columns = plan.width(2)?;
    let mut rows: Vec<(Key<'_>, usize)> = Vec::with_capacity(batch.rows());
    for row in 0..batch.rows() {
        match plan.key(batch, row) {
            Some(key) => rows.push((key, row)),
            None => {
                odd.no_key(plan, batch, row);
                count += 1;
            }
        }
    }
    rows.sort();
    let mut out = Vec::with_capacity(BUFFER);
    let mut copy = work.db.copy_in(&way.copy)?;
    out.extend_from_slice(encode::BEGIN);
    for (i, (key, row)) in rows.iter().enumerate() {
        if rows.get(i + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        out.extend_from_slice(&columns.to_be_bytes());
        let deleted = plan.encode(batch, *row, *key, now, &mut found, &mut out);
        encode::moment_or_null(&mut out, deleted);
        if found.is_empty() {
            encode::null(&mut out);
        } else {
            count += found.len() as u64;
            let names: Vec<&str> =
                found.iter().map(|(i, _)| plan.targets[*i].column.as_str()).collect();
            encode::bytes(&mut out, names.join(",").as_bytes());
            odd.add(plan, batch, *row, *key, &found);
        }
        if out.len() >= BUFFER {
            copy.write(&out)?;
            out.clear();
        }
    }
    out.extend_from_slice(encode::END);
    copy.write(&out)?;
    copy.finish()?;
    Ok(count)
}

/// `$1` is the time of writing, `$2` the last number of `_crmsync_seq`. Answers with the numbers
/// of rows inserted, updated, and of these deleted.
fn statement(table: &Table, plan: &Plan, stage: &str, mode: Mode) -> Option<String> {
    let (name, rest) = (quoted(&table.name), &plan.targets[1..]);
    let key = quoted(&plan.targets[0].column);
    let all = names(&plan.targets, "");
    // Without a comparison of its own JSON is compared as text.
    let side = |of: &str| {
        let one = |t: &Target| {
            let cast = if t.kind == FieldType::Json { "::text" } else { "" };
            format!("{of}.{}{cast}", quoted(&t.column))
        };
        rest.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let differs = (!rest.is_empty())
        .then(|| format!("ROW({}) IS DISTINCT FROM ROW({})", side("t"), side("s")));
    let sets: String = rest.iter().map(|t| format!("{0} = c.{0}, ", quoted(&t.column))).collect();
    let seq = r#"$2::bigint + row_number() OVER (ORDER BY s.KEY) AS "_crmsync_next""#
        .replace("KEY", &key);
    let touched = r#""_synced_at" = $1, "_crmsync_seq" = c."_crmsync_next""#;
    Some(match mode {
        Mode::Fill => format!(
            r"WITH c AS (SELECT s.*, {seq} FROM {stage} s JOIN {name} t ON t.{key} = s.{key} WHERE {}),
               u AS (UPDATE {name} t SET {sets}{touched} FROM c WHERE t.{key} = c.{key} RETURNING 1)
               SELECT 0::bigint, count(*), 0::bigint FROM u",
            differs?
        ),
        Mode::Upsert => {
            // The delete log may know the time better than the stamp: the later one stays, or
            // without a stamp the first, so that a re-read changes nothing. Null stays null.
            let keep = if plan.stamp.is_some() { "greatest" } else { "coalesce" };
            let mark = format!(
                r#"CASE WHEN s."_deleted_at" IS NOT NULL THEN {keep}(t."_deleted_at", s."_deleted_at") END"#
            );
            let differs = differs.map(|d| format!("{d} OR ")).unwrap_or_default();
            format!(
                r#"WITH c AS (
                     SELECT s.*, {seq}, t.{key} IS NULL AS "_crmsync_new", {mark} AS "_crmsync_mark"
                     FROM {stage} s LEFT JOIN {name} t ON t.{key} = s.{key}
                     WHERE t.{key} IS NULL OR {differs}t."_hidden_at" IS NOT NULL
                       OR t."_deleted_at" IS DISTINCT FROM {mark}),
                   i AS (INSERT INTO {name} ({all}, "_synced_at", "_crmsync_seq", "_deleted_at")
                     SELECT {all}, $1::timestamptz, "_crmsync_next", "_deleted_at" FROM c WHERE "_crmsync_new"
                     RETURNING 1),
                   u AS (UPDATE {name} t SET {sets}{touched}, "_deleted_at" = c."_crmsync_mark",
                       "_hidden_at" = NULL
                     FROM c WHERE t.{key} = c.{key} AND NOT c."_crmsync_new" RETURNING 1)
                   SELECT (SELECT count(*) FROM i), (SELECT count(*) FROM u),
                     (SELECT count(*) FROM c WHERE "_deleted_at" IS NOT NULL)"#
            )
        }
    })
}
