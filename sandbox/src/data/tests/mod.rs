//! The rules of reading and writing, put to a small made-up org.

use super::*;
use crate::soql::dates::datetime;
use serde_json::json;
use std::sync::OnceLock;

mod export;
mod made;
mod properties;
mod queries;
mod recorded;
mod writes;

const USER: &str = "005Dn0000000001IAA";

fn at(text: &str) -> Timestamp {
    Timestamp::from_millisecond(datetime(text).unwrap()).unwrap()
}

fn now() -> Timestamp {
    at("2026-03-18T10:00:00Z")
}

fn spec(n: u64, order: IdOrder) -> GenSpec {
    let records = [
        ("User", 3),
        ("Account", n),
        ("Contact", n),
        ("Opportunity", n),
        ("Case", n),
        ("Task", n),
        ("Lead", n),
        ("Campaign", 5),
        ("Product2", 5),
        ("Machine__c", n),
    ];
    GenSpec {
        records: records.map(|(o, n)| (o.to_owned(), n)).to_vec(),
        seed: 7,
        order,
        base_time: at("2026-03-18T00:00:00Z"),
        users: Vec::new(),
    }
}

fn org() -> &'static Org {
    static ORG: OnceLock<Org> = OnceLock::new();
    ORG.get_or_init(|| Org::generate(&spec(300, IdOrder::Shuffled)))
}

fn small() -> Org {
    Org::generate(&GenSpec {
        records: vec![("Account".to_owned(), 0), ("Contact".to_owned(), 0)],
        ..spec(0, IdOrder::Ascending)
    })
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("no object") };
    map
}

fn account(org: &mut Org, name: &str, t: &str) -> String {
    org.create("Account", &map(json!({ "Name": name })), at(t), None, USER).unwrap()
}

fn rows(org: &Org, soql: &str, all: bool, now: Timestamp) -> Vec<Value> {
    let result =
        org.query(soql, all, &Access::full(), now).unwrap_or_else(|e| panic!("{soql}: {e}"));
    let mut out = vec![b'['];
    org.render(&result, 0, usize::MAX, &mut out, "v64.0");
    out.push(b']');
    let rows: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert_eq!(rows.len() as u64, result.total);
    rows
}

fn names(org: &Org, soql: &str) -> Vec<String> {
    rows(org, soql, false, now())
        .iter()
        .map(|r| r["Name"].as_str().unwrap_or("-").to_owned())
        .collect()
}

fn refusal(org: &Org, soql: &str) -> ApiError {
    org.query(soql, false, &Access::full(), now()).expect_err(soql)
}

/// A record with all its fields.
fn record(org: &Org, object: &str, id: &str, now: Timestamp) -> Value {
    let bytes = org.get_record(object, id, &[], &Access::full(), now, "v64.0").unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
