//! What stands in a replica, read with plain SQL by a connection of the test's own.
//!
//! Both databases answer in the same words: SQLite's values, times in the form of its columns.

use super::server;
use crate::replica::Place;
use postgres::SimpleQueryMessage;
use postgres::types::Type;
use rusqlite::types::Value;
use std::path::Path;

pub(super) fn query(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let db = rusqlite::Connection::open(path).expect("open to read");
    let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let n = statement.column_count();
    let rows = statement.query_map([], |r| (0..n).map(|i| r.get(i)).collect()).expect("query");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// Reads a place of either kind.
#[derive(Default)]
pub(super) struct Reader(Option<postgres::Client>);

impl Reader {
    pub(super) fn query(&mut self, place: &Place, sql: &str) -> Vec<Vec<Value>> {
        let (server, schema) = match place {
            Place::File(path) => return query(path, sql),
            Place::Schema { server, schema } => (server, schema),
        };
        let client = self.0.get_or_insert_with(|| server::client(Path::new(&server.host)));
        client.batch_execute(&format!("SET search_path = \"{schema}\"")).expect("the schema");
        let statement = client.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let types: Vec<Type> = statement.columns().iter().map(|c| c.type_().clone()).collect();
        let rows = client.simple_query(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        #[allow(clippy::wildcard_enum_match_arm)] // the enum is open
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(
                types.iter().enumerate().map(|(i, ty)| value(ty, row.get(i))).collect::<Vec<_>>(),
            ),
            _ => None,
        };
        rows.into_iter().filter_map(row).collect()
    }
}

impl Reader {
    /// Changes something as another program.
    pub(super) fn change(&mut self, place: &Place, sql: &str) {
        match place {
            Place::File(path) => {
                rusqlite::Connection::open(path).expect("open").execute_batch(sql).expect(sql);
            }
            Place::Schema { server, schema } => {
                let client = self.0.get_or_insert_with(|| server::client(Path::new(&server.host)));
                client.batch_execute(&format!("SET search_path = \"{schema}\"; {sql}")).expect(sql);
            }
        }
    }
}

fn value(ty: &Type, text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    match *ty {
        Type::BOOL => Value::Integer(i64::from(text == "t")),
        Type::INT2 | Type::INT4 | Type::INT8 => Value::Integer(text.parse().expect("a number")),
        // As a column of SQLite holds it: a double where that keeps the number.
        Type::NUMERIC if text.bytes().filter(u8::is_ascii_digit).count() <= 15 => {
            Value::Real(text.parse().expect("a number"))
        }
        Type::FLOAT8 => Value::Real(text.parse().expect("a number")),
        Type::TIMESTAMPTZ => {
            let (day, time) = text.trim_end_matches("+00").split_once(' ').expect("a moment");
            Value::Text(format!("{day}T{}Z", millis(time)))
        }
        Type::TIME => Value::Text(millis(text)),
        Type::BYTEA => {
            let hex = text.strip_prefix("\\x").expect("hex");
            let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
            Value::Blob((0..hex.len()).step_by(2).map(byte).collect())
        }
        _ => Value::Text(text.to_owned()),
    }
}

/// `10:00:00.5` with three digits behind the point.
fn millis(time: &str) -> String {
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    assert!(fraction.len() <= 3, "{time}: finer than a millisecond");
    format!("{seconds}.{fraction:0<3}")
}
