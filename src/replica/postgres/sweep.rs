//! Rows that are no longer at the source: told by the delete log, or found by absence.
//!
//! Keys of a sweep lie in `_crmsync_seen` until it ends, so that a restart goes on with it. A row
//! that changed after the sweep began is never absent: its page of keys may have passed before.

use super::super::{Absent, Applied, Deletes, Guard};
use super::book::{Key, Made, Table};
use super::encode::Moment;
use super::fail::Fail;
use super::link::Db;
use super::{Work, make, quoted};
use crmsync_core::domain::{Batch, FieldType, Time};
use std::collections::BTreeMap;

/// Keys sent in one statement.
const PAGE: usize = 20_000;

pub(super) fn deleted(
    work: &mut Work<'_>,
    object: &str,
    ids: &[(String, Time)],
    policy: Deletes,
    at: Time,
) -> Result<Applied, Fail> {
    let mut applied = Applied { rows: ids.len() as u64, ..Applied::default() };
    let table = work.book.table(object)?.clone();
    if table.made == Made::Later {
        return Ok(applied);
    }
    let (terms, kind) = (Terms::of(&table)?, table.key_column()?.kind);
    let mut last: BTreeMap<Key<'_>, Moment> = BTreeMap::new();
    for (id, when) in ids {
        if let Some(key) = Key::of(kind, id) {
            let (when, seen) = (Moment::of(*when), last.entry(key).or_insert(Moment(i64::MIN)));
            *seen = when.max(*seen);
        }
    }
    let all: Vec<(Key<'_>, Moment)> = last.into_iter().collect();
    for page in all.chunks(PAGE) {
        let n = told(work, object, &table, &terms, page, policy, at)?;
        applied.changed += n;
        applied.deleted += n;
        if policy == Deletes::Mark {
            work.seq += i64::try_from(n).unwrap_or(0);
        }
    }
    Ok(applied)
}

fn told(
    work: &mut Work<'_>,
    object: &str,
    table: &Table,
    Terms { table: name, key, .. }: &Terms,
    page: &[(Key<'_>, Moment)],
    policy: Deletes,
    at: Time,
) -> Result<u64, Fail> {
    let whens: Vec<Moment> = page.iter().map(|(_, when)| *when).collect();
    let numbers: Vec<i64> = page.iter().filter_map(|(key, _)| key.number()).collect();
    let texts: Vec<_> = page.iter().map(|(key, _)| key.plain()).collect();
    let is_number = numbers.len() == page.len();
    let (array, keys): (_, &(dyn tokio_postgres::types::ToSql + Sync)) =
        if is_number { ("bigint[]", &numbers) } else { ("text[]", &texts) };
    // Undeleted since, if the record was written later than it was deleted.
    let still = table.stamp_column().map_or(String::new(), |stamp| {
        let stamp = quoted(&stamp.column);
        format!(r#" AND (t."_deleted_at" IS NOT NULL OR t.{stamp} IS NULL OR t.{stamp} <= i.w)"#)
    });
    let given = format!("unnest($1::{array}, $2::timestamptz[]) AS i (k, w)");
    match policy {
        Deletes::Mark => work.db.execute(
            &format!(
                r#"WITH hit AS (
                     SELECT i.k, i.w, $4::bigint + row_number() OVER (ORDER BY i.w, i.k) AS n
                     FROM {given} JOIN {name} t ON t.{key} = i.k
                     WHERE (t."_deleted_at" IS NULL OR t."_deleted_at" < i.w){still})
                   UPDATE {name} t SET "_deleted_at" = hit.w, "_synced_at" = $3, "_crmsync_seq" = hit.n
                   FROM hit WHERE t.{key} = hit.k"#
            ),
            &[keys, &whens, &Moment::of(at), &work.seq],
        ),
        Deletes::Remove => work.db.count(
            &format!(
                r#"WITH d AS (DELETE FROM {name} t USING {given} WHERE t.{key} = i.k{still}
                     RETURNING t.{key}::text AS k),
                   o AS (DELETE FROM "_crmsync_odd" o USING d WHERE o."object" = $3 AND o."key" = d.k)
                   SELECT count(*) FROM d"#
            ),
            &[keys, &whens, &object],
        ),
    }
}

pub(super) fn begin(work: &mut Work<'_>, object: &str) -> Result<Applied, Fail> {
    work.book.table(object)?;
    work.db.execute(r#"DELETE FROM "_crmsync_seen" WHERE "object" = $1"#, &[&object])?;
    work.db.execute(
        r#"UPDATE "_crmsync_object" SET "sweep_seq" = $2 WHERE "object" = $1"#,
        &[&object, &work.seq],
    )?;
    Ok(Applied::default())
}

/// The change counter at which the object's open sweep began.
pub(super) fn began(db: &mut Db, object: &str) -> Result<Option<i64>, Fail> {
    let sql = r#"SELECT "sweep_seq" FROM "_crmsync_object" WHERE "object" = $1"#;
    Ok(db.query(sql, &[&object])?.first().and_then(|r| r.get(0)))
}

fn must_be_open(db: &mut Db, object: &str) -> Result<i64, Fail> {
    began(db, object)?.ok_or_else(|| Fail::Bug(format!("no key sweep of {object} is open")))
}

pub(super) fn keys(work: &mut Work<'_>, object: &str, batch: &Batch) -> Result<Applied, Fail> {
    let kind = work.book.table(object)?.key_column()?.kind;
    must_be_open(work.db, object)?;
    let mut applied = Applied { rows: batch.rows() as u64, ..Applied::default() };
    let mut seen: Vec<Key<'_>> = Vec::with_capacity(batch.rows());
    for row in 0..batch.rows() {
        match batch.key(row).and_then(|text| Key::of(kind, text)) {
            Some(key) => seen.push(key),
            None => applied.odd += 1,
        }
    }
    seen.sort();
    seen.dedup();
    for page in seen.chunks(PAGE) {
        let texts: Vec<_> = page.iter().map(|key| key.plain()).collect();
        let numbers: Vec<Option<i64>> = page.iter().map(|key| key.number()).collect();
        applied.changed += work.db.execute(
            r#"INSERT INTO "_crmsync_seen"
               SELECT $1::text, * FROM unnest($2::text[], $3::bigint[]) ON CONFLICT DO NOTHING"#,
            &[&object, &texts, &numbers],
        )?;
    }
    Ok(applied)
}

/// Conditions of SQL over a table `t` and the keys seen `s`; `$1` is the object, `$2` the sweep's
/// beginning.
pub(super) struct Terms {
    pub(super) table: String,
    pub(super) key: String,
    /// The column of the keys seen that has the key's type.
    pub(super) seen: &'static str,
}

impl Terms {
    pub(super) fn of(table: &Table) -> Result<Self, Fail> {
        let key = table.key_column()?;
        let seen = if key.kind == FieldType::Integer { "number" } else { "key" };
        Ok(Self { table: quoted(&table.name), key: quoted(&key.column), seen })
    }

    /// Rows here that were not seen there.
    pub(super) fn absent(&self) -> String {
        let Self { table, key, seen } = self;
        format!(
            r#"FROM {table} t WHERE t."_deleted_at" IS NULL AND t."_hidden_at" IS NULL
               AND t."_crmsync_seq" <= $2 AND NOT EXISTS
               (SELECT 1 FROM "_crmsync_seen" s WHERE s."object" = $1 AND s."{seen}" = t.{key})"#
        )
    }

    /// Whether a seen key has a live row here.
    fn live_row(&self) -> String {
        let Self { table, key, seen } = self;
        format!(
            r#"EXISTS (SELECT 1 FROM {table} t WHERE t.{key} = s."{seen}"
               AND t."_deleted_at" IS NULL AND t."_hidden_at" IS NULL)"#
        )
    }

    /// Keys there without a live row here.
    pub(super) fn missing(&self) -> String {
        let live = self.live_row();
        format!(r#"FROM "_crmsync_seen" s WHERE s."object" = $1 AND NOT {live}"#)
    }
}

pub(super) fn live(db: &mut Db, table: &str) -> Result<u64, Fail> {
    db.count(
        &format!(
            r#"SELECT count(*) FROM {table} WHERE "_deleted_at" IS NULL AND "_hidden_at" IS NULL"#
        ),
        &[],
    )
}

pub(super) fn end(
    work: &mut Work<'_>,
    object: &str,
    as_: Absent,
    guard: Option<Guard>,
    at: Time,
) -> Result<Applied, Fail> {
    make::keyed(work, object)?;
    let terms = Terms::of(work.book.table(object)?)?;
    let db = &mut *work.db;
    let began = must_be_open(db, object)?;
    let seen = r#"SELECT count(*) FROM "_crmsync_seen" WHERE "object" = $1"#;
    let missing = format!("SELECT count(*) {}", terms.missing());
    let mut applied = Applied {
        rows: db.count(seen, &[&object])?,
        missing: db.count(&missing, &[&object])?,
        ..Applied::default()
    };
    if let Some(guard) = guard {
        let absent =
            db.count(&format!("SELECT count(*) {}", terms.absent()), &[&object, &began])?;
        let percent = u128::from(live(db, &terms.table)?) * u128::from(guard.max_percent);
        if absent > guard.max_rows || u128::from(absent) * 100 > percent {
            applied.held = absent;
            return Ok(applied);
        }
    }
    applied.deleted = gone(work, object, &terms, as_, began, Moment::of(at))?;
    applied.changed = applied.deleted;
    work.db.execute(
        &format!(r#"DELETE FROM "_crmsync_seen" s WHERE s."object" = $1 AND {}"#, terms.live_row()),
        &[&object],
    )?;
    work.db.execute(
        r#"UPDATE "_crmsync_object" SET "sweep_seq" = NULL WHERE "object" = $1"#,
        &[&object],
    )?;
    Ok(applied)
}

fn gone(
    work: &mut Work<'_>,
    object: &str,
    terms: &Terms,
    as_: Absent,
    began: i64,
    at: Moment,
) -> Result<u64, Fail> {
    let (Terms { table, key, .. }, absent) = (terms, terms.absent());
    let column = match as_ {
        Absent::Remove => {
            let sql = format!(
                r#"WITH d AS (DELETE FROM {table} WHERE {key} IN (SELECT t.{key} {absent})
                     RETURNING {key}::text AS k),
                   o AS (DELETE FROM "_crmsync_odd" o USING d WHERE o."object" = $1 AND o."key" = d.k)
                   SELECT count(*) FROM d"#
            );
            return work.db.count(&sql, &[&object, &began]);
        }
        Absent::Mark => "_deleted_at",
        Absent::Hide => "_hidden_at",
    };
    let sql = format!(
        r#"WITH gone AS
             (SELECT t.{key} AS k, $4::bigint + row_number() OVER (ORDER BY t.{key}) AS n {absent})
           UPDATE {table} t SET "{column}" = $3, "_synced_at" = $3, "_crmsync_seq" = gone.n
           FROM gone WHERE t.{key} = gone.k"#
    );
    let n = work.db.execute(&sql, &[&object, &began, &at, &work.seq])?;
    work.seq += i64::try_from(n).unwrap_or(0);
    Ok(n)
}

pub(super) fn erase(work: &mut Work<'_>, before: Time) -> Result<Applied, Fail> {
    let before = Moment::of(before);
    let mut applied = Applied::default();
    let tables: Vec<(String, Terms)> = (work.book.tables.iter())
        .filter(|(_, table)| table.made != Made::Later)
        .map(|(object, table)| Ok((object.clone(), Terms::of(table)?)))
        .collect::<Result<_, Fail>>()?;
    for (object, Terms { table, key, .. }) in tables {
        applied.deleted += work.db.count(
            &format!(
                r#"WITH d AS (DELETE FROM {table} WHERE "_deleted_at" < $1 RETURNING {key}::text AS k),
                   o AS (DELETE FROM "_crmsync_odd" o USING d WHERE o."object" = $2 AND o."key" = d.k)
                   SELECT count(*) FROM d"#
            ),
            &[&before, &object],
        )?;
    }
    applied.changed = applied.deleted;
    Ok(applied)
}
