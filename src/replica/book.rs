//! What is known of a replica's tables, and where in them the columns of a batch belong.
//!
//! Pure: each database fills a [`Book`] from its own `_crmsync_object` and `_crmsync_field`, and
//! says by `M` how far a table is made. Hides how a field finds its column, and the stored words
//! of kinds.

use super::layout::{self, Column};
use super::types::LayoutChange;
use crmsync_core::domain::{Batch, Field, FieldType, ObjectSchema};
use std::collections::{BTreeMap, BTreeSet};

/// What cannot be but by a mistake of this program, in words.
#[derive(Debug)]
pub(super) struct Mistake(pub(super) String);

/// Tables by object.
#[derive(Debug, Default)]
pub(super) struct Book<M> {
    pub(super) tables: BTreeMap<String, Table<M>>,
}

/// One object's table.
#[derive(Debug, Clone)]
pub(super) struct Table<M> {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) key: String,
    pub(super) stamp: Option<String>,
    pub(super) flag: Option<String>,
    pub(super) made: M,
    pub(super) columns: Vec<Column>,
}

impl<M> Book<M> {
    pub(super) fn table(&self, object: &str) -> Result<&Table<M>, Mistake> {
        self.tables.get(object).ok_or_else(|| Mistake(format!("{object} has no table yet")))
    }

    /// Whether laying the object out would change nothing: most runs find it so, and need no
    /// transaction.
    pub(super) fn is_laid_out(&self, object: &ObjectSchema, fields: &[String]) -> bool {
        self.tables.get(&object.name).is_some_and(|t| {
            let plan = layout::plan(&t.columns, object, fields);
            t.is_as(object)
                && plan.columns == t.columns
                && plan.change == LayoutChange::default()
                && t.key.eq_ignore_ascii_case(&object.key)
        })
    }
}

impl<M> Table<M> {
    /// The column in which a field's values are now.
    pub(super) fn column(&self, field: &str) -> Option<&Column> {
        let current = || self.columns.iter().filter(|c| c.current);
        current()
            .find(|c| c.field == field)
            .or_else(|| current().find(|c| c.field.eq_ignore_ascii_case(field)))
    }

    pub(super) fn key_column(&self) -> Result<&Column, Mistake> {
        self.column(&self.key)
            .ok_or_else(|| Mistake(format!("table {} has no key column", self.name)))
    }

    /// The column of the modification stamp, where it can be compared.
    pub(super) fn stamp_column(&self) -> Option<&Column> {
        self.column(self.stamp.as_deref()?).filter(|c| c.kind == FieldType::DateTime)
    }

    /// Whether what is noted of the object beside its fields is what the source says.
    pub(super) fn is_as(&self, object: &ObjectSchema) -> bool {
        self.label == object.label && self.stamp == object.stamp && self.flag == object.deleted_flag
    }

    /// The object's key field, which must be that of the table.
    pub(super) fn key_field<'a>(
        known: Option<&Self>,
        object: &'a ObjectSchema,
    ) -> Result<&'a Field, Mistake> {
        let Some(key) = object.field(&object.key) else {
            return Err(Mistake(format!("the schema has no key field {}", object.key)));
        };
        if let Some(table) = known
            && !table.key_column()?.field.eq_ignore_ascii_case(&key.name)
        {
            let (old, new) = (&table.key, &key.name);
            return Err(Mistake(format!("the key field changed from {old} to {new}")));
        }
        Ok(key)
    }
}

/// Keys are whole numbers or texts.
pub(super) fn key_kind(kind: FieldType) -> FieldType {
    if kind == FieldType::Integer { FieldType::Integer } else { FieldType::Text }
}

/// The stored word of a kind.
pub(super) fn word(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text => "text",
        FieldType::Boolean => "boolean",
        FieldType::Integer => "integer",
        FieldType::Decimal => "decimal",
        FieldType::Date => "date",
        FieldType::TimeOfDay => "time-of-day",
        FieldType::DateTime => "date-time",
        FieldType::Json => "json",
    }
}

/// The kind of a stored word.
pub(super) fn kind(stored: &str) -> Result<FieldType, Mistake> {
    use FieldType::{Boolean, Date, DateTime, Decimal, Integer, Json, Text, TimeOfDay};
    [Text, Boolean, Integer, Decimal, Date, TimeOfDay, DateTime, Json]
        .into_iter()
        .find(|kind| word(*kind) == stored)
        .ok_or_else(|| Mistake(format!("`_crmsync_field` has the unknown kind `{stored}`")))
}

/// How the columns of a batch go into a table, for one object and list of fields.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fields: Vec<String>,
    /// The key first.
    pub(super) targets: Vec<Target>,
    /// Index into `targets`.
    pub(super) stamp: Option<usize>,
    pub(super) flag: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Target {
    /// Column of the batch.
    pub(super) from: usize,
    /// Name in the table, unquoted.
    pub(super) column: String,
    pub(super) kind: FieldType,
}

impl Plan {
    pub(super) fn new<M>(table: &Table<M>, fields: &[String]) -> Result<Self, Mistake> {
        let key = table.key_column()?;
        let mut targets: Vec<Target> = Vec::with_capacity(fields.len());
        let mut used = BTreeSet::new();
        for (from, field) in fields.iter().enumerate() {
            let column = table
                .column(field)
                .ok_or_else(|| Mistake(format!("field {field} has no column yet")))?;
            if used.insert(&column.column) {
                let kind = if from == 0 { key_kind(column.kind) } else { column.kind };
                targets.push(Target { from, column: column.column.clone(), kind });
            }
        }
        if targets.first().is_none_or(|t| t.column != key.column) {
            return Err(Mistake(format!("the first field is not the key {}", table.key)));
        }
        let place = |field: Option<&str>, kind: FieldType| {
            let column = table.column(field?)?;
            targets.iter().position(|t| t.column == column.column && t.kind == kind)
        };
        let stamp = place(table.stamp.as_deref(), FieldType::DateTime);
        let flag = place(table.flag.as_deref(), FieldType::Boolean);
        Ok(Self { fields: fields.to_vec(), targets, stamp, flag })
    }

    pub(super) fn check(&self, batch: &Batch) -> Result<(), Mistake> {
        let (columns, fields) = (batch.columns(), self.fields.len());
        if batch.rows() > 0 && columns != fields {
            return Err(Mistake(format!("a batch of {columns} columns came for {fields} fields")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(field: &str, column: &str, kind: FieldType, current: bool) -> Column {
        Column {
            field: field.into(),
            column: column.into(),
            kind,
            label: String::new(),
            source_type: String::new(),
            current,
            selected: true,
            gone: false,
        }
    }

    fn table() -> Table<()> {
        Table {
            name: "account".into(),
            label: "Account".into(),
            key: "Id".into(),
            stamp: Some("Stamp".into()),
            flag: Some("IsDeleted".into()),
            made: (),
            columns: vec![
                column("Id", "id", FieldType::Decimal, true),
                column("Stamp", "stamp", FieldType::Text, false),
                column("Stamp", "stamp_date_time", FieldType::DateTime, true),
                column("ISDELETED", "isdeleted", FieldType::Text, true),
            ],
        }
    }

    fn plan(fields: &[&str]) -> Result<Plan, String> {
        let fields: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
        Plan::new(&table(), &fields).map_err(|Mistake(cause)| cause)
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for stored in
            ["text", "boolean", "integer", "decimal", "date", "time-of-day", "date-time", "json"]
        {
            assert_eq!(word(kind(stored).unwrap()), stored);
        }
        assert!(kind("number").unwrap_err().0.contains("unknown kind `number`"));
    }

    #[test]
    fn fields_go_where_their_values_are_now_and_each_column_is_filled_once() {
        let plan = plan(&["id", "Stamp", "IsDeleted", "STAMP"]).unwrap();
        let to: Vec<_> = plan.targets.iter().map(|t| (t.from, t.column.as_str(), t.kind)).collect();
        // A key is a whole number or a text.
        let expected = [
            (0, "id", FieldType::Text),
            (1, "stamp_date_time", FieldType::DateTime),
            (2, "isdeleted", FieldType::Text),
        ];
        assert_eq!(to, expected);
        // A flag that is a text now says nothing of deletion.
        assert_eq!((plan.stamp, plan.flag), (Some(1), None));
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert!(plan(&["Stamp", "Id"]).unwrap_err().contains("the first field is not the key Id"));
        assert!(plan(&["Id", "Nowhere"]).unwrap_err().contains("field Nowhere has no column yet"));
        assert!(plan(&[]).unwrap_err().contains("the first field is not the key"));
    }
}
