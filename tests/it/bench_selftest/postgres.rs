//! PostgreSQL starts, is read with its types, and survives what tests do to it.

use crate::support::postgres::{self, Server};
use crate::support::replica::{Place, Replica, Source};
use crate::support::values::{Cell, Engine};
use serde_json::{Map, json};

const TABLE: &str = "create schema \"sf\"; create table \"sf\".account (id text primary key, \
    name text, amount__c numeric, open boolean, stamp timestamptz, _deleted_at timestamptz);";

fn source() -> Source {
    let describe = json!({"fields": [
        {"name": "Id", "type": "id"}, {"name": "Name", "type": "string"},
        {"name": "Amount__c", "type": "currency"}, {"name": "Open", "type": "boolean"},
        {"name": "Stamp", "type": "datetime"},
    ]});
    let record = |id: &str, name: &str| -> Map<String, serde_json::Value> {
        let text = format!(
            r#"{{"Id":"{id}","Name":{name},"Amount__c":"12345678901234567.890","Open":true,
                "Stamp":"2026-01-02T03:04:05.000+0000","IsDeleted":false}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let names = [("1", "\"N/A\""), ("2", "null"), ("3", r#""q\"u,\no😀""#)];
    Source::salesforce(&describe, &[], names.iter().map(|(id, n)| record(id, n)).collect())
}

fn schema(rows: &str) -> Option<Replica> {
    let place = Place::of(Engine::Postgres, "bench_selftest::postgres")?;
    let Place::Postgres(database) = &place else { panic!("another place") };
    database.sql(&format!("{TABLE} insert into sf.account values {rows};"));
    Some(place.replica(std::path::Path::new("/nowhere"), "sf"))
}

#[test]
fn an_equal_schema_is_equal() {
    let rest = "12345678901234567.89,true,'2026-01-02T03:04:05Z',null";
    let rows = format!(
        "('1','N/A',{rest}), ('2',null,{rest}), ('3',e'q\"u,\\no😀',{rest}), ('4','gone',0,false,null,now())"
    );
    let Some(replica) = schema(&rows) else { return };
    replica.assert_same("account", &source());
    replica.assert_intact();
    assert!(replica.exists());
    assert_eq!(replica.tables(), ["account"]);
    assert_eq!(replica.number("select count(*) from account"), 4);
    assert!(replica.query("select * from account where id = 'x'").is_empty());
    let odd = replica.query("select 1.5::float8 as r, '{}'::jsonb as j, ''::text as t");
    assert_eq!(odd[0]["r"], Cell::Real(1.5));
    assert_eq!(odd[0]["j"], Cell::Other("jsonb".into(), "{}".into()));
    assert_eq!(odd[0]["t"], Cell::Text(String::new()));
}

#[test]
fn every_kind_of_difference_is_found_there_too() {
    // a digit too few, an empty text for a null, another instant, a row that is not there
    let rows = "('1','N/A',12345678901234567.8,true,'2026-01-02T03:04:05Z',null),
                ('2','',12345678901234567.89,true,'2026-01-02T03:04:05.001Z',null),
                ('9','stray',1,true,null,null)";
    let Some(replica) = schema(rows) else { return };
    let found = replica.differences("account", &source());
    let text = found.join("\n");
    for expected in ["1.Amount__c", "2.Name", "2.Stamp", "3: missing", "9: not at the source"] {
        assert!(text.contains(expected), "{expected} in:\n{text}");
    }
    assert_eq!(found.len(), 5, "{text}");
    assert!(replica.differences("contact", &source())[0].contains("does not exist"));
}

#[test]
fn a_server_of_its_own_keeps_its_data_over_a_kill() {
    if postgres::missing("bench_selftest::postgres, own server") {
        return;
    }
    let mut server = Server::start(&[]);
    let database = server.create();
    database.sql("create table t (n int); insert into t values (7)");
    server.kill9();
    assert!(database.schema("public").query("select n from t").is_err());
    server.restart();
    let rows = database.schema("public").query("select n from t").unwrap();
    assert_eq!(rows[0]["n"], Cell::Int(7));
    server.restart();
}
