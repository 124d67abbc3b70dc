//! Values that do not fit their column, of one object, on their way into `_crmsync_odd`.
//!
//! Invariant: what was noted before with the same text and reason is not written again.

use super::super::book::Plan;
use super::book::Key;
use super::encode::Moment;
use super::fail::Fail;
use super::plan::Found;
use super::{Work, quoted};
use crmsync_core::domain::{Batch, FieldType};
use std::collections::BTreeMap;

/// Bytes of a broken key that are kept: the index holds no more.
const KEY: usize = 1024;

/// Notes that are gathered, and their bytes, before a copy is interrupted for them.
const MUCH: usize = 1000;
const MUCH_BYTES: usize = 1 << 20;

/// Notes by key and column.
type Notes = BTreeMap<(String, String), (String, &'static str)>;

pub(super) struct Odd {
    object: String,
    /// Of rows with a key.
    found: Notes,
    /// Of rows that could not be kept at all.
    keyless: Notes,
    /// Of the texts, roughly.
    bytes: usize,
}

impl Odd {
    pub(super) fn new(object: &str) -> Self {
        Self { object: object.to_owned(), found: Notes::new(), keyless: Notes::new(), bytes: 0 }
    }

    /// So many, or so long, that they should be written before more are gathered.
    pub(super) fn is_much(&self) -> bool {
        self.found.len() + self.keyless.len() >= MUCH || self.bytes >= MUCH_BYTES
    }

    pub(super) fn add(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        row: usize,
        key: Key<'_>,
        found: &Found,
    ) {
        for (i, reason) in found {
            let target = &plan.targets[*i];
            let raw = batch.get(row, target.from).unwrap_or_default().to_owned();
            self.bytes += raw.len();
            self.found.insert((key.plain().into_owned(), target.column.clone()), (raw, reason));
        }
    }

    /// A row that cannot be kept.
    pub(super) fn no_key(&mut self, plan: &Plan, batch: &Batch, row: usize) {
        let raw = batch.key(row).unwrap_or_default().to_owned();
        self.bytes += raw.len();
        let mut key = raw.replace('\0', "");
        key.truncate(key.floor_char_boundary(KEY));
        let reason = "the record has no usable key; it was left out";
        self.keyless.insert((key, plan.targets[0].column.clone()), (raw, reason));
    }

    /// Notes what was gathered; with `existing` (table and kind of its key) of existing rows only.
    pub(super) fn keep(
        &mut self,
        work: &mut Work<'_>,
        at: Moment,
        existing: Option<(&str, &Plan)>,
    ) -> Result<(), Fail> {
        let condition = existing.map_or(String::new(), |(table, plan)| {
            let (table, key) = (quoted(table), quoted(&plan.targets[0].column));
            let cast = if plan.targets[0].kind == FieldType::Integer { "::bigint" } else { "" };
            format!("WHERE EXISTS (SELECT 1 FROM {table} t WHERE t.{key} = f.k{cast})")
        });
        note(work, &self.object, &self.found, &condition, at)?;
        note(work, &self.object, &self.keyless, "", at)?;
        self.found.clear();
        self.keyless.clear();
        self.bytes = 0;
        Ok(())
    }
}

fn note(
    work: &mut Work<'_>,
    object: &str,
    notes: &Notes,
    condition: &str,
    at: Moment,
) -> Result<(), Fail> {
    if notes.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = notes.keys().map(|(key, _)| key.as_str()).collect();
    let columns: Vec<&str> = notes.keys().map(|(_, column)| column.as_str()).collect();
    let reasons: Vec<&str> = notes.values().map(|(_, reason)| *reason).collect();
    // A text of this database holds no NUL: such a value is kept byte for byte.
    let nul = |raw: &String| raw.as_bytes().contains(&0);
    let raws: Vec<Option<&str>> =
        notes.values().map(|(raw, _)| (!nul(raw)).then_some(raw.as_str())).collect();
    let bytes: Vec<Option<&[u8]>> =
        notes.values().map(|(raw, _)| nul(raw).then_some(raw.as_bytes())).collect();
    work.db.execute(
        &format!(
            r#"INSERT INTO "_crmsync_odd" AS o
                 ("object", "key", "column_name", "raw", "raw_bytes", "reason", "at")
               SELECT $1::text, f.k, f.c, f.raw, f.bytes, f.reason, $7::timestamptz
               FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])
                 AS f (k, c, raw, bytes, reason) {condition}
               ON CONFLICT ("object", "key", "column_name") DO UPDATE
                 SET "raw" = excluded."raw", "raw_bytes" = excluded."raw_bytes",
                   "reason" = excluded."reason", "at" = excluded."at"
                 WHERE (o."raw", o."raw_bytes", o."reason")
                   IS DISTINCT FROM (excluded."raw", excluded."raw_bytes", excluded."reason")"#
        ),
        &[&object, &keys, &columns, &raws, &bytes, &reasons, &at],
    )?;
    Ok(())
}

/// Whether the object has any notes: only then good values can end one.
pub(super) fn any(work: &mut Work<'_>, object: &str) -> Result<bool, Fail> {
    let sql = r#"SELECT 1 FROM "_crmsync_odd" WHERE "object" = $1 LIMIT 1"#;
    Ok(!work.db.query(sql, &[&object])?.is_empty())
}

/// Drops the notes that the good values of a staged batch replaced.
pub(super) fn settle(
    work: &mut Work<'_>,
    object: &str,
    plan: &Plan,
    stage: &str,
) -> Result<(), Fail> {
    let columns: Vec<&str> = plan.targets.iter().map(|t| t.column.as_str()).collect();
    let key = quoted(&plan.targets[0].column);
    work.db.execute(
        &format!(
            r#"DELETE FROM "_crmsync_odd" o USING {stage} s
               WHERE o."object" = $1 AND o."key" = s.{key}::text AND o."column_name" = ANY ($2)
                 AND NOT o."column_name" = ANY (string_to_array(coalesce(s."_crmsync_odd", ''), ','))"#
        ),
        &[&object, &columns],
    )?;
    Ok(())
}
