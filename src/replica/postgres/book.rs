//! What is known of the tables, read once from `_crmsync_object` and `_crmsync_field`.

use super::super::layout::Column;
use super::super::value::{self, Cell};
use super::fail::Fail;
use super::link::Db;
use crate::replica::book::{self, key_kind};
use crmsync_core::domain::FieldType;
use std::borrow::Cow;

/// Longest key in bytes: the index holds some 2,700.
const LONGEST_KEY: usize = 1024;

pub(super) type Book = book::Book<Made>;
pub(super) type Table = book::Table<Made>;

/// How far a table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Made {
    /// Laid out; it is made in the transaction that brings its first rows, which is what lets them
    /// be copied straight in, and what keeps readers from waiting for it.
    #[default]
    Later,
    /// In a first load: rows, and no key yet.
    Bare,
    /// With its unique index, which is not yet named its primary key: readers held the table.
    Unique,
    /// With key and indexes.
    Keyed,
}

impl Book {
    pub(super) fn load(db: &mut Db) -> Result<Self, Fail> {
        let mut book = Self::default();
        let objects = db.query(
            r#"SELECT "object", "table_name", "label", "key_field", "stamp_field",
                      "deleted_flag_field", "made"
               FROM "_crmsync_object" WHERE "table_name" IS NOT NULL"#,
            &[],
        )?;
        for row in objects {
            let table = Table {
                name: row.get(1),
                label: row.get::<_, Option<String>>(2).unwrap_or_default(),
                key: row.get::<_, Option<String>>(3).unwrap_or_default(),
                stamp: row.get(4),
                flag: row.get(5),
                made: made(row.get::<_, Option<&str>>(6).unwrap_or_default())?,
                columns: Vec::new(),
            };
            book.tables.insert(row.get(0), table);
        }
        let fields = db.query(
            r#"SELECT "object", "field", "column_name", "kind", "label", "source_type", "current",
                      "selected", "gone_at" IS NOT NULL
               FROM "_crmsync_field" ORDER BY "object", "position""#,
            &[],
        )?;
        for row in fields {
            let Some(table) = book.tables.get_mut(row.get::<_, &str>(0)) else { continue };
            table.columns.push(Column {
                field: row.get(1),
                column: row.get(2),
                kind: book::kind(row.get(3))?,
                label: row.get(4),
                source_type: row.get(5),
                current: row.get(6),
                selected: row.get(7),
                gone: row.get(8),
            });
        }
        Ok(book)
    }
}

/// A key as it stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Number(i64),
    Text(&'a str),
}

impl<'a> Key<'a> {
    /// `None` if it cannot be one.
    pub(super) fn of(kind: FieldType, text: &'a str) -> Option<Self> {
        match value::convert(key_kind(kind), text) {
            (Cell::Int(n), None) => Some(Self::Number(n)),
            (Cell::Text(t), None) if !t.is_empty() && t.len() <= LONGEST_KEY => Some(Self::Text(t)),
            _ => None,
        }
    }

    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Number(n) => Some(n),
            Self::Text(_) => None,
        }
    }

    /// A number may be written in several ways; its plain form is the key everywhere.
    pub(super) fn plain(self) -> Cow<'a, str> {
        match self {
            Self::Number(n) => Cow::Owned(n.to_string()),
            Self::Text(t) => Cow::Borrowed(t),
        }
    }
}

impl Made {
    /// Whether rows can be merged by key.
    pub(super) fn has_key(self) -> bool {
        matches!(self, Self::Unique | Self::Keyed)
    }

    /// The stored word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Later => "later",
            Self::Bare => "bare",
            Self::Unique => "unique",
            Self::Keyed => "keyed",
        }
    }
}

fn made(word: &str) -> Result<Made, Fail> {
    Ok(match word {
        "later" => Made::Later,
        "bare" => Made::Bare,
        "unique" => Made::Unique,
        "keyed" => Made::Keyed,
        other => {
            return Err(Fail::Bug(format!("`_crmsync_object` has the unknown word `{other}`")));
        }
    })
}
