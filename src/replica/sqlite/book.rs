//! What is known of the tables, read once from `_crmsync_object` and `_crmsync_field`.

use super::super::layout::Column;
use super::super::value::{self, Cell};
use super::fail::Fail;
use crate::replica::book::{self, key_kind};
use crmsync_core::domain::FieldType;
use rusqlite::Connection;

/// How far a table is made the file itself says.
pub(super) type Book = book::Book<()>;
pub(super) type Table = book::Table<()>;

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
                made: (),
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
                kind: book::kind(&word)?,
                label: row.get(4)?,
                source_type: row.get(5)?,
                current: row.get(6)?,
                selected: row.get(7)?,
                gone: row.get(8)?,
            });
        }
        Ok(book)
    }
}

/// A key as it stands in its column; `None` if it cannot be one.
pub(super) fn key_cell(kind: FieldType, text: &str) -> Option<Cell<'_>> {
    match value::convert(key_kind(kind), text) {
        (Cell::Null | Cell::Text(""), _) | (_, Some(_)) => None,
        (cell, None) => Some(cell),
    }
}
