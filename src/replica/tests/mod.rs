//! Behaviour of the replica, the same on both databases, read back with plain SQL by a connection
//! of the test's own.
//!
//! A test takes the [`Base`] to run on; `on_both!` at the end of its file runs it on each.

/// Runs tests of the file on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name($crate::replica::tests::Base::Sqlite); })*
        }
        mod on_postgres {
            $(#[test] fn $name() {
                if $crate::replica::tests::server::shared().is_some() {
                    super::$name($crate::replica::tests::Base::Postgres);
                }
            })*
        }
    };
}

mod files;
mod frozen;
mod kills;
mod layouts;
mod load_kills;
mod loads;
mod merging;
mod model;
mod owning;
mod reader;
mod refusals;
mod schemas;
mod server;
mod sqlite_loads;
mod sweeps;
mod timing;
mod tls;

use super::{Applied, Change, Home, Mode, Owner, Place, Replica};
use crmsync_core::domain::{Batch, BatchBuilder, Field, FieldType, ObjectSchema, Time};
use reader::{Reader, query};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Sqlite,
    Postgres,
}

pub(super) struct Bed {
    pub(super) replica: Box<dyn Replica>,
    pub(super) place: Place,
    reader: RefCell<Reader>,
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

/// A place of its own.
pub(super) fn place(base: Base, dir: &Path) -> Place {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    match base {
        Base::Sqlite => Place::File(dir.join("sf.db")),
        Base::Postgres => {
            let server = server::shared().expect("PostgreSQL").server();
            let name = format!("t-{}", NEXT.fetch_add(1, Ordering::Relaxed));
            Home::Database(server).place(&name)
        }
    }
}

/// A claimed replica at a place of its own.
pub(super) fn bed(base: Base) -> Bed {
    let dir = tempfile::tempdir().expect("a folder");
    let place = place(base, dir.path());
    let replica = claimed(&place);
    Bed { replica, place, reader: RefCell::default(), dir }
}

/// Opened and claimed.
pub(super) fn claimed(place: &Place) -> Box<dyn Replica> {
    let mut replica = open(place);
    replica.claim(&owner()).expect("claim");
    replica
}

pub(super) fn open(place: &Place) -> Box<dyn Replica> {
    super::open(place, "sf").expect("open")
}

impl Bed {
    /// With `Account` laid out.
    pub(super) fn account(base: Base) -> Self {
        let mut bed = bed(base);
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
        self.reader.borrow_mut().query(&self.place, sql)
    }

    /// Somebody else changes something.
    pub(super) fn change(&self, sql: &str) {
        self.reader.borrow_mut().change(&self.place, sql);
    }

    /// As after a restart that closed nothing.
    pub(super) fn reopen(&mut self) {
        self.replica = claimed(&self.place);
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

pub(super) fn text(t: &str) -> Value {
    Value::Text(t.to_owned())
}
