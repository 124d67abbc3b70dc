//! How the columns of a batch go into a table.

use super::super::value::{self, Cell};
use super::book::{Key, Table, key_kind};
use super::encode::{self, Moment};
use super::fail::Fail;
use crmsync_core::domain::{Batch, FieldType};
use std::collections::BTreeSet;

/// For one object and list of fields.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fields: Vec<String>,
    /// The key first.
    pub(super) targets: Vec<Target>,
    /// Index into `targets`.
    pub(super) stamp: Option<usize>,
    flag: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Target {
    /// Column of the batch.
    pub(super) from: usize,
    /// Name in the table, unquoted.
    pub(super) column: String,
    pub(super) kind: FieldType,
}

/// Values of one row that do not fit: target and reason.
pub(super) type Found = Vec<(usize, &'static str)>;

impl Plan {
    pub(super) fn new(table: &Table, fields: &[String]) -> Result<Self, Fail> {
        let key = table.key_column()?;
        let mut targets: Vec<Target> = Vec::with_capacity(fields.len());
        let mut used = BTreeSet::new();
        for (from, field) in fields.iter().enumerate() {
            let column = table
                .column(field)
                .ok_or_else(|| Fail::Bug(format!("field {field} has no column yet")))?;
            if used.insert(&column.column) {
                let kind = if from == 0 { key_kind(column.kind) } else { column.kind };
                targets.push(Target { from, column: column.column.clone(), kind });
            }
        }
        if targets.first().is_none_or(|t| t.column != key.column) {
            return Err(Fail::Bug(format!("the first field is not the key {}", table.key)));
        }
        let place = |field: Option<&str>, kind: FieldType| {
            let column = table.column(field?)?;
            targets.iter().position(|t| t.column == column.column && t.kind == kind)
        };
        let stamp = place(table.stamp.as_deref(), FieldType::DateTime);
        let flag = place(table.flag.as_deref(), FieldType::Boolean);
        Ok(Self { fields: fields.to_vec(), targets, stamp, flag })
    }

    pub(super) fn check(&self, batch: &Batch) -> Result<(), Fail> {
        let (columns, fields) = (batch.columns(), self.fields.len());
        if batch.rows() > 0 && columns != fields {
            return Err(Fail::Bug(format!(
                "a batch of {columns} columns came for {fields} fields"
            )));
        }
        Ok(())
    }

    /// The key of a row; `None` if it has no usable one.
    pub(super) fn key<'a>(&self, batch: &'a Batch, row: usize) -> Option<Key<'a>> {
        Key::of(self.targets[0].kind, batch.key(row)?)
    }

    /// Number of columns of a copied row, the further ones counted.
    pub(super) fn width(&self, further: usize) -> Result<i16, Fail> {
        i16::try_from(self.targets.len() + further)
            .map_err(|_| Fail::Bug("more columns than a table holds".into()))
    }

    /// Appends the values of a row; says when it was deleted, if its flag says that it was.
    pub(super) fn encode(
        &self,
        batch: &Batch,
        row: usize,
        key: Key<'_>,
        now: Moment,
        found: &mut Found,
        out: &mut Vec<u8>,
    ) -> Option<Moment> {
        found.clear();
        match key {
            Key::Number(n) => encode::long(out, n),
            Key::Text(t) => encode::bytes(out, t.as_bytes()),
        }
        let mut stamp = None;
        for (i, target) in self.targets.iter().enumerate().skip(1) {
            let Some(text) = batch.get(row, target.from) else {
                encode::null(out);
                continue;
            };
            if let Some(reason) = encode::value(out, target.kind, text) {
                found.push((i, reason));
            } else if self.stamp == Some(i) {
                stamp = out.last_chunk().map(|b| Moment(i64::from_be_bytes(*b)));
            }
        }
        let flag = self.flag.and_then(|i| batch.get(row, self.targets[i].from));
        let gone = flag.is_some_and(|f| value::convert(FieldType::Boolean, f).0 == Cell::Int(1));
        gone.then(|| stamp.unwrap_or(now))
    }
}
