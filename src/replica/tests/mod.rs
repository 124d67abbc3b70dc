//! Behaviour of the replica, read back with plain SQL by a connection of the test's own.

mod files;
mod kills;
mod layouts;
mod load_kills;
mod loads;
mod merging;
mod model;
mod sweeps;
mod timing;

use super::sqlite::Sqlite;
use super::{Applied, Change, Mode, Owner, Replica as _};
use crmsync_core::domain::{Batch, BatchBuilder, Field, FieldType, ObjectSchema, Time};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::{Path, PathBuf};

pub(super) const KINDS: [(&str, FieldType); 10] = [
    ("Id", FieldType::Text),
    ("Name", FieldType::Text),
    ("Amount", FieldType::Decimal),
    ("Count__c", FieldType::Integer),
    ("IsDeleted", FieldType::Boolean),
    ("Birthdate", FieldType::Date),
    ("Opens", FieldType::TimeOfDay),
    ("SystemModstamp", FieldType::DateTime),
    ("Extra", FieldType::Json),
    ("Note", FieldType::Text),
];

pub(super) struct Bed {
    pub(super) replica: Sqlite,
    pub(super) path: PathBuf,
    /// Lives as long as the file is needed.
    pub(super) dir: tempfile::TempDir,
}

pub(super) fn owner() -> Owner {
    Owner {
        provider: "salesforce".into(),
        org_id: "00D000000000001".into(),
        connection: "c1".into(),
        epoch: 1,
    }
}

pub(super) fn t(text: &str) -> Time {
    text.parse().expect("a time")
}

pub(super) fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.into(),
        label: format!("The {name}"),
        kind,
        source_type: format!("{kind:?}").to_lowercase(),
        calculated: false,
    }
}

pub(super) fn schema(name: &str, fields: &[(&str, FieldType)]) -> ObjectSchema {
    let has = |n: &str| fields.iter().any(|f| f.0 == n).then(|| n.to_owned());
    ObjectSchema {
        name: name.into(),
        label: name.into(),
        key: fields[0].0.into(),
        stamp: has("SystemModstamp"),
        deleted_flag: has("IsDeleted"),
        delete_log: true,
        fields: fields.iter().map(|(n, k)| field(n, *k)).collect(),
    }
}

pub(super) fn names(fields: &[(&str, FieldType)]) -> Vec<String> {
    fields.iter().map(|f| f.0.to_owned()).collect()
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

pub(super) fn batch<const N: usize>(rows: &[[Option<&str>; N]]) -> Batch {
    let mut b = BatchBuilder::new(N);
    for row in rows {
        b.row();
        for (i, cell) in row.iter().enumerate() {
            if let Some(text) = cell {
                b.set(i, text);
            }
        }
    }
    b.finish()
}

pub(super) fn keys(ids: &[&str]) -> Batch {
    batch(&ids.iter().map(|id| [Some(*id)]).collect::<Vec<_>>())
}

/// A claimed replica in a folder of its own.
pub(super) fn bed() -> Bed {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sf.db");
    let mut replica = Sqlite::open(&path, "sf").expect("open");
    replica.claim(&owner()).expect("claim");
    Bed { replica, path, dir }
}

impl Bed {
    /// With `Account` laid out.
    pub(super) fn account() -> Self {
        let mut bed = bed();
        bed.lay_out(&schema("Account", &KINDS));
        bed
    }

    pub(super) fn lay_out(&mut self, schema: &ObjectSchema) -> super::LayoutChange {
        let fields: Vec<String> = schema.fields.iter().map(|f| f.name.clone()).collect();
        self.replica.lay_out(schema, &fields, t("2024-01-01T00:00:00Z")).expect("lay out")
    }

    pub(super) fn write(&mut self, change: Change<'_>) -> Applied {
        self.replica.write(&[change]).expect("write")[0]
    }

    pub(super) fn rows(&mut self, fields: &[&str], batch: &Batch, at: &str) -> Applied {
        self.merge("Account", Mode::Upsert, fields, batch, at)
    }

    pub(super) fn merge(
        &mut self,
        object: &str,
        mode: Mode,
        fields: &[&str],
        batch: &Batch,
        at: &str,
    ) -> Applied {
        let fields = strings(fields);
        self.write(Change::Rows { object, fields: &fields, batch, mode, at: t(at) })
    }

    pub(super) fn sql(&self, sql: &str) -> Vec<Vec<Value>> {
        query(&self.path, sql)
    }

    /// The single value of a query.
    pub(super) fn one(&self, sql: &str) -> Value {
        self.sql(sql).remove(0).remove(0)
    }

    /// All that stands in a table, for comparison.
    pub(super) fn dump(&self, table: &str) -> String {
        format!("{:?}", self.sql(&format!("SELECT * FROM {table} ORDER BY 1, 2")))
    }
}

pub(super) fn query(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let db = Connection::open(path).expect("open to read");
    let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let n = statement.column_count();
    let rows = statement.query_map([], |r| (0..n).map(|i| r.get(i)).collect()).expect("query");
    rows.collect::<Result<_, _>>().expect("rows")
}

pub(super) fn text(t: &str) -> Value {
    Value::Text(t.to_owned())
}
