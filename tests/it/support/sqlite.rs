//! Reads a replica as a data user would, with nothing but SQLite, and compares it with the
//! source's own dump, value by value and type by type.

use super::values::{Cell, Kind};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Columns that are ours, not the source's.
pub const OWN_COLUMNS: [&str; 4] = ["_synced_at", "_deleted_at", "_hidden_at", "_crmsync_seq"];
/// Differences printed; the rest is only counted.
const SHOWN: usize = 20;

/// A row: cells by column name.
pub type Row = BTreeMap<String, Cell>;

/// A replica's file, opened read-only for each question (the writer goes on meanwhile).
pub struct Replica {
    path: PathBuf,
}

/// What the source has of one object.
pub struct Source {
    /// The fields that are compared: name at the source, and kind.
    pub fields: Vec<(String, Kind)>,
    /// The name of the record's id.
    pub id: String,
    /// Its records.
    pub records: Vec<Map<String, Value>>,
}

impl Source {
    /// Records of the sandbox's dump with the fields of its describe, all or the `selected` ones.
    /// Soft-deleted records (`IsDeleted`) are left out: in the replica they must be marked.
    pub fn salesforce(describe: &Value, selected: &[&str], dump: Vec<Map<String, Value>>) -> Self {
        let fields = describe["fields"].as_array().expect("a describe has fields");
        let fields = fields.iter().filter_map(|f| {
            let name = f["name"].as_str()?;
            let wanted = selected.is_empty() || selected.contains(&name) || name == "Id";
            let kind = Kind::of_salesforce(f["type"].as_str()?)?;
            wanted.then(|| (name.to_owned(), kind))
        });
        let alive = |r: &Map<String, Value>| r.get("IsDeleted") != Some(&Value::Bool(true));
        Self {
            fields: fields.collect(),
            id: "Id".to_owned(),
            records: dump.into_iter().filter(alive).collect(),
        }
    }

    /// Records of Tryton with the types of `fields_get`, all storable ones or the `selected`.
    pub fn tryton(fields_get: &Value, selected: &[&str], records: Vec<Map<String, Value>>) -> Self {
        let fields = fields_get.as_object().expect("an object of fields");
        let fields = fields.iter().filter_map(|(name, f)| {
            let wanted = selected.is_empty() || selected.contains(&name.as_str()) || name == "id";
            let kind = Kind::of_tryton(f["type"].as_str()?)?;
            wanted.then(|| (name.clone(), kind))
        });
        Self { fields: fields.collect(), id: "id".to_owned(), records }
    }
}

impl Replica {
    /// The file need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A read-only connection, as any member of the data group could open it.
    pub fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(20))?;
        Ok(connection)
    }

    fn connection(&self) -> Connection {
        self.open().unwrap_or_else(|e| panic!("opening the replica {}: {e}", self.path.display()))
    }

    /// All tables, our own (`_crmsync_…`) included.
    pub fn tables(&self) -> Vec<String> {
        self.query("select name from sqlite_schema where type = 'table' order by name")
            .into_iter()
            .filter_map(|row| match row.get("name") {
                Some(Cell::Text(name)) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    /// Any question.
    pub fn query(&self, sql: &str) -> Vec<Row> {
        self.try_query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Any question, with SQLite's refusal (no such table, no such file …).
    pub fn try_query(&self, sql: &str) -> rusqlite::Result<Vec<Row>> {
        let connection = self.open()?;
        let mut statement = connection.prepare(sql)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let mut cells = Row::new();
            for (i, name) in names.iter().enumerate() {
                cells.insert(name.clone(), cell(row.get_ref(i)?));
            }
            Ok(cells)
        })?;
        rows.collect()
    }

    /// One number, as of `select count(*) …`.
    pub fn number(&self, sql: &str) -> i64 {
        let connection = self.connection();
        connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// SQLite's own check of the whole file; panics with what it says unless it is `ok`.
    pub fn assert_intact(&self) {
        let said = self.query("pragma integrity_check");
        let ok = Cell::Text("ok".to_owned());
        assert!(said.len() == 1 && said[0].values().all(|c| *c == ok), "{said:?}");
    }

    /// Every way in which the table differs from the source, one line each. Rows marked deleted
    /// or hidden must not be at the source, every other row must be there with equal cells.
    pub fn differences(&self, table: &str, source: &Source) -> Vec<String> {
        let rows = match self.try_query(&format!("select * from \"{table}\"")) {
            Ok(rows) => rows,
            Err(e) => return vec![format!("{table}: cannot be read: {e}")],
        };
        let mut found: BTreeMap<String, Row> = BTreeMap::new();
        let mut differences = vec![];
        for row in rows {
            let id = row.get("id").map(shown).unwrap_or_default();
            if found.insert(id.clone(), row).is_some() {
                differences.push(format!("{table} {id}: twice in the replica"));
            }
        }
        for record in &source.records {
            let id = shown(&Kind::Text.cell(record.get(&source.id).unwrap_or(&Value::Null)));
            let Some(row) = found.remove(&id) else {
                differences.push(format!("{table} {id}: missing in the replica"));
                continue;
            };
            if !live(&row) {
                differences.push(format!("{table} {id}: marked as gone, but it is at the source"));
                continue;
            }
            for (field, kind) in &source.fields {
                let expected = match (field == &source.id, record.get(field)) {
                    (true, _) => continue, // compared as the key
                    (false, value) => kind.cell(value.unwrap_or(&Value::Null)),
                };
                match row.get(&column(field)) {
                    Some(cell) if same(cell, &expected) => {}
                    Some(cell) => differences.push(format!(
                        "{table} {id}.{field}: source {} -> expected {}, replica has {}",
                        cut(&record.get(field).unwrap_or(&Value::Null).to_string()),
                        cut(&format!("{expected:?}")),
                        cut(&format!("{cell:?}"))
                    )),
                    None => differences.push(format!("{table}.{field}: no such column")),
                }
            }
        }
        for (id, row) in found {
            if live(&row) {
                differences.push(format!("{table} {id}: not at the source, but live here"));
            }
        }
        differences.dedup();
        differences
    }

    /// Panics with the first differences unless there are none.
    pub fn assert_same(&self, table: &str, source: &Source) {
        let differences = self.differences(table, source);
        assert!(
            differences.is_empty(),
            "{} differs from its source in {} places:\n{}",
            self.path.display(),
            differences.len(),
            differences[..differences.len().min(SHOWN)].join("\n")
        );
    }
}

/// Neither marked deleted nor hidden.
fn live(row: &Row) -> bool {
    ["_deleted_at", "_hidden_at"].iter().all(|c| matches!(row.get(*c), None | Some(Cell::Null)))
}

fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        // bit by bit but for the sign of nothing
        (Cell::Real(a), Cell::Real(b)) => a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0),
        _ => a == b,
    }
}

/// The column of a field, as far as no two fields collide.
pub fn column(field: &str) -> String {
    field
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect()
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Int(n),
        ValueRef::Real(n) => Cell::Real(n),
        ValueRef::Text(t) => Cell::Text(String::from_utf8_lossy(t).into_owned()),
        ValueRef::Blob(b) => Cell::Blob(b.to_vec()),
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Int(n) => n.to_string(),
        other => format!("{other:?}"),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= 120 {
        return text.to_owned();
    }
    format!("{}… ({} characters)", text.chars().take(100).collect::<String>(), text.chars().count())
}
