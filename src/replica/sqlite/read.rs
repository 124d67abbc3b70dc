//! What the daemon asks a replica: states, counts, how a sweep stands.

use super::super::value::{self, Cell};
use super::super::{Counts, ReplicaError, SweepPlan, Window};
use super::book::key_cell;
use super::fail::Fail;
use super::sweep::{Terms, began, count, live};
use super::{Sqlite, quoted};
use crmsync_core::domain::Time;
use rusqlite::{params, params_from_iter};
use std::collections::BTreeMap;

impl Sqlite {
    /// Each object's sync state, as [`Change::State`](crate::replica::Change::State) left it.
    pub(super) fn read_states(&self) -> Result<BTreeMap<String, String>, ReplicaError> {
        let read = || -> Result<_, Fail> {
            let mut statement = self.connection.prepare_cached(
                r#"SELECT "object", "state" FROM "_crmsync_object" WHERE "state" IS NOT NULL"#,
            )?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.reading("reading the states", read)
    }

    /// Rows of an object by what is known of them.
    pub(super) fn count_rows(&self, object: &str) -> Result<Counts, ReplicaError> {
        self.reading(&format!("counting {object}"), || {
            let table = quoted(&self.book.table(object)?.name);
            let db = &self.connection;
            let deleted = r#"WHERE "_deleted_at" IS NOT NULL"#;
            let hidden = r#"WHERE "_hidden_at" IS NOT NULL AND "_deleted_at" IS NULL"#;
            Ok(Counts {
                live: live(db, &table)?,
                deleted: count(db, &format!("FROM {table} {deleted}"), [])?,
                hidden: count(db, &format!("FROM {table} {hidden}"), [])?,
            })
        })
    }

    /// Live rows whose stamp lies in each window.
    pub(super) fn count_stamps(
        &self,
        object: &str,
        unset: Option<&str>,
        windows: &[Window],
    ) -> Result<Vec<u64>, ReplicaError> {
        self.reading(&format!("counting {object}"), || {
            let table = self.book.table(object)?;
            let Some(stamp) = table.stamp_column() else {
                return Err(Fail::Bug(format!("{object} has no modification stamp")));
            };
            let (name, mut stamp) = (quoted(&table.name), quoted(&stamp.column));
            if let Some(other) = unset.and_then(|field| table.column(field)) {
                stamp = format!("coalesce({stamp}, {})", quoted(&other.column));
            }
            let (mut sums, mut bounds) = (Vec::new(), Vec::new());
            for (from, to) in windows {
                let mut bound = |side: &str, t: &Option<Time>| {
                    t.map_or("true".to_owned(), |t| {
                        bounds.push(value::stamp(t).as_str().to_owned());
                        format!("{stamp} {side} ?{}", bounds.len())
                    })
                };
                let within = format!("{} AND {}", bound(">=", from), bound("<", to));
                sums.push(format!("count(*) FILTER (WHERE {within})"));
            }
            if sums.is_empty() {
                return Ok(Vec::new());
            }
            let sql = format!(
                r#"SELECT {} FROM {name} WHERE "_deleted_at" IS NULL AND "_hidden_at" IS NULL"#,
                sums.join(", ")
            );
            Ok(self.connection.query_row(&sql, params_from_iter(bounds), |row| {
                (0..sums.len()).map(|i| Ok(row.get::<_, i64>(i)?.unsigned_abs())).collect()
            })?)
        })
    }

    /// How many values of an object are kept raw in `_crmsync_odd`.
    pub(super) fn count_odd(&self, object: &str) -> Result<u64, ReplicaError> {
        self.reading(&format!("counting odd values of {object}"), || {
            count(&self.connection, r#"FROM "_crmsync_odd" WHERE "object" = ?1"#, [object])
        })
    }

    /// What the object's open sweep would find if it ended now; `None` if none is open.
    pub(super) fn plan_sweep(&self, object: &str) -> Result<Option<SweepPlan>, ReplicaError> {
        self.reading(&format!("planning the sweep of {object}"), || {
            let db = &self.connection;
            let Some(began) = began(db, object)? else { return Ok(None) };
            let terms = Terms::of(self.book.table(object)?)?;
            Ok(Some(SweepPlan {
                missing_here: count(db, &terms.missing(), [object])?,
                missing_there: count(db, &terms.absent(), params![object, began])?,
                live: live(db, &terms.table)?,
            }))
        })
    }

    /// Keys that the current or last sweep saw at the source and that have no live row here, in
    /// key order, at most `limit` of them behind `after`. Whole-number keys are ordered as numbers.
    pub(super) fn new_keys(
        &self,
        object: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ReplicaError> {
        self.reading(&format!("reading new keys of {object}"), || {
            let table = self.book.table(object)?;
            let kind = table.key_column()?.kind;
            let sql = format!(
                r#"SELECT CAST(s."key" AS TEXT) {}
                   AND (?2 IS NULL OR s."key" > ?2) ORDER BY s."key" LIMIT ?3"#,
                Terms::of(table)?.missing()
            );
            let after = after.and_then(|a| key_cell(kind, a)).unwrap_or(Cell::Null);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut statement = self.connection.prepare_cached(&sql)?;
            let keys = statement.query_map(params![object, after, limit], |r| r.get(0))?;
            Ok(keys.collect::<rusqlite::Result<_>>()?)
        })
    }

    fn reading<T>(
        &self,
        doing: &str,
        read: impl FnOnce() -> Result<T, Fail>,
    ) -> Result<T, ReplicaError> {
        read().map_err(|e| e.at(&self.path, doing))
    }
}
