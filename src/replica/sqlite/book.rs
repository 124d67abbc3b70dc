//! What is known of the tables, read once from `_crmsync_object` and `_crmsync_field`.

use super::super::layout::Column;
use super::super::value::{self, Cell};
use super::fail::Fail;
use crmsync_core::domain::FieldType;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Tables by object.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) tables: BTreeMap<String, Table>,
}

/// One object's table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) key: String,
    pub(super) stamp: Option<String>,
    pub(super) flag: Option<String>,
    pub(super) columns: Vec<Column>,
}

impl Book {
    pub(super) fn load(db: &Connection) -> Result<Self, Fail> {
        let mut book = Self::default();
        let mut objects = db.prepare(
            r#"SELECT "object", "table_name", "label", "key_field", "stamp_field", "deleted_flag_field"
               FROM "_crmsync_object" WHERE "table_name" IS NOT NULL"#,
        )?;
        let mut rows = objects.query([])?;
        while let Some(row) = rows.next()? {
            let table = Table {
                name: row.get(1)?,
                label: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                key: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                stamp: row.get(4)?,
                flag: row.get(5)?,
                columns: Vec::new(),
            };
            book.tables.insert(row.get(0)?, table);
        }
        let mut fields = db.prepare(
            r#"SELECT "object", "field", "column_name", "kind", "label", "source_type", "current",
                      "selected", "gone_at" IS NOT NULL
               FROM "_crmsync_field" ORDER BY "object", "position""#,
        )?;
        let mut rows = fields.query([])?;
        while let Some(row) = rows.next()? {
            let Some(table) = book.tables.get_mut(row.get_ref(0)?.as_str().unwrap_or_default())
            else {
                continue;
            };
            let word: String = row.get(3)?;
            table.columns.push(Column {
                field: row.get(1)?,
                column: row.get(2)?,
                kind: kind(&word)?,
                label: row.get(4)?,
                source_type: row.get(5)?,
                current: row.get(6)?,
                selected: row.get(7)?,
                gone: row.get(8)?,
            });
        }
        Ok(book)
    }

    pub(super) fn table(&self, object: &str) -> Result<&Table, Fail> {
        self.tables.get(object).ok_or_else(|| Fail::Bug(format!("{object} has no table yet")))
    }
}

impl Table {
    /// The column in which a field's values are now.
    pub(super) fn column(&self, field: &str) -> Option<&Column> {
        let current = || self.columns.iter().filter(|c| c.current);
        current()
            .find(|c| c.field == field)
            .or_else(|| current().find(|c| c.field.eq_ignore_ascii_case(field)))
    }

    pub(super) fn key_column(&self) -> Result<&Column, Fail> {
        self.column(&self.key)
            .ok_or_else(|| Fail::Bug(format!("table {} has no key column", self.name)))
    }

    /// The column of the modification stamp, where it can be compared.
    pub(super) fn stamp_column(&self) -> Option<&Column> {
        self.column(self.stamp.as_deref()?).filter(|c| c.kind == FieldType::DateTime)
    }
}

/// Keys are whole numbers or texts.
pub(super) fn key_kind(kind: FieldType) -> FieldType {
    if kind == FieldType::Integer { FieldType::Integer } else { FieldType::Text }
}

/// A key as it stands in its column; `None` if it cannot be one.
pub(super) fn key_cell(kind: FieldType, text: &str) -> Option<Cell<'_>> {
    match value::convert(key_kind(kind), text) {
        (Cell::Null | Cell::Text(""), _) | (_, Some(_)) => None,
        (cell, None) => Some(cell),
    }
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

fn kind(word: &str) -> Result<FieldType, Fail> {
    Ok(match word {
        "text" => FieldType::Text,
        "boolean" => FieldType::Boolean,
        "integer" => FieldType::Integer,
        "decimal" => FieldType::Decimal,
        "date" => FieldType::Date,
        "time-of-day" => FieldType::TimeOfDay,
        "date-time" => FieldType::DateTime,
        "json" => FieldType::Json,
        other => return Err(Fail::Bug(format!("`_crmsync_field` has the unknown kind `{other}`"))),
    })
}
