//! A replica of either database, read by plain SQL and compared with the source's own dump, value
//! by value and type by type. Behaviours run on both by a parameter, the [`Place`].

use super::postgres::{self, Schema};
use super::sqlite::File;
use super::values::{Cell, Engine, Kind, Row, same_number};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Columns that are ours, not the source's.
pub const OWN_COLUMNS: [&str; 4] = ["_synced_at", "_deleted_at", "_hidden_at", "_crmsync_seq"];
/// Differences printed; the rest is only counted.
const SHOWN: usize = 20;

/// Where the replicas of a daemon are to be.
#[derive(Default)]
pub enum Place {
    /// Files in the folder of replicas.
    #[default]
    Files,
    /// Schemas of this database.
    Postgres(postgres::Database),
}

impl Place {
    /// A fresh place of this kind; `None` where no server is installed (said loudly).
    pub fn of(engine: Engine, test: &str) -> Option<Self> {
        match engine {
            Engine::Sqlite => Some(Self::Files),
            Engine::Postgres if postgres::missing(test) => None,
            Engine::Postgres => Some(Self::Postgres(postgres::shared().create())),
        }
    }

    /// What stands for it in `crmsync.toml`, to be put behind everything else.
    pub fn config(&self) -> String {
        match self {
            Self::Files => String::new(),
            Self::Postgres(database) => format!("\n[replica]\n{}", database.entry()),
        }
    }

    /// Takes all of it away, with whatever is connected, and leaves an empty place of the kind.
    pub fn lose(&self, folder: &Path, connection: &str) {
        match self {
            Self::Files => self.replica(folder, connection).lose(),
            Self::Postgres(database) => {
                postgres::shared().drop_database(database);
                postgres::shared().create_again(database);
            }
        }
    }

    /// The replica of a connection, where files would lie in `folder`.
    pub fn replica(&self, folder: &Path, connection: &str) -> Replica {
        match self {
            Self::Files => Replica::at(folder.join(format!("{connection}.db"))),
            Self::Postgres(database) => Replica::Postgres(database.schema(&column(connection))),
        }
    }
}

/// A copy of a source's data, as its reader sees it.
pub enum Replica {
    /// A SQLite file.
    Sqlite(File),
    /// A schema of a PostgreSQL database.
    Postgres(Schema),
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
    /// A SQLite file; it need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(File::at(path.into()))
    }

    /// Which database it is in.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sqlite(file) => file.path(),
            Self::Postgres(schema) => panic!("{schema} is no file"),
        }
    }

    /// Whether there is a file or a schema.
    pub fn exists(&self) -> bool {
        match self {
            Self::Sqlite(file) => file.path().exists(),
            Self::Postgres(schema) => schema.exists(),
        }
    }

    /// All tables, our own (`_crmsync_…`) included.
    pub fn tables(&self) -> Vec<String> {
        let sql = match self {
            Self::Sqlite(_) => "select name from sqlite_schema where type = 'table' order by name",
            Self::Postgres(_) => {
                "select tablename::text as name from pg_tables where schemaname = current_schema() \
                 order by tablename"
            }
        };
        self.query(sql)
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

    /// Any question, or the database's refusal (no such table, no such file …).
    pub fn try_query(&self, sql: &str) -> Result<Vec<Row>, String> {
        match self {
            Self::Sqlite(file) => file.query(sql),
            Self::Postgres(schema) => schema.query(sql),
        }
    }

    /// Changes behind the daemon's back; each statement must succeed.
    pub fn tamper(&self, statements: &[String]) {
        match self {
            Self::Sqlite(file) => file.tamper(statements),
            Self::Postgres(schema) => schema.tamper(statements),
        }
    }

    /// Takes all of it away. Nobody may be writing it.
    pub fn lose(&self) {
        match self {
            Self::Sqlite(file) => file.lose(),
            Self::Postgres(schema) => schema.lose(),
        }
    }

    /// One number, as of `select count(*) …`.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = self.query(sql);
        match rows.first().and_then(|row| row.values().next()) {
            Some(Cell::Int(n)) => *n,
            other => panic!("{sql}: no number: {other:?}"),
        }
    }

    /// The database's own check of everything that is ours; panics with what it says.
    pub fn assert_intact(&self) {
        match self {
            Self::Sqlite(_) => {
                let said = self.query("pragma integrity_check");
                let ok = Cell::Text("ok".to_owned());
                assert!(said.len() == 1 && said[0].values().all(|c| *c == ok), "{said:?}");
            }
            Self::Postgres(schema) => schema.assert_intact(),
        }
    }

    /// Every way in which the table differs from the source, one line each. Rows marked deleted
    /// or hidden must not be at the source, every other row must be there with equal cells.
    pub fn differences(&self, table: &str, source: &Source) -> Vec<String> {
        let engine = self.engine();
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
                    (false, value) => kind.cell_in(engine, value.unwrap_or(&Value::Null)),
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
            "{self} differs from its source in {} places:\n{}",
            differences.len(),
            differences[..differences.len().min(SHOWN)].join("\n")
        );
    }
}

impl std::fmt::Display for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "{}", file.path().display()),
            Self::Postgres(schema) => write!(f, "{schema}"),
        }
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
        (Cell::Numeric(a), Cell::Numeric(b)) => same_number(a, b),
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
