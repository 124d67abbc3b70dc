//! The comparison finds what differs, by value and by type, and says where.

use crate::support::Scratch;
use crate::support::replica::{Replica, Source};
use serde_json::{Map, Value, json};

fn source() -> Source {
    let describe = json!({"fields": [
        {"name": "Id", "type": "id"}, {"name": "Name", "type": "string"},
        {"name": "Amount__c", "type": "currency"}, {"name": "Open", "type": "boolean"},
        {"name": "Stamp", "type": "datetime"}, {"name": "Where", "type": "address"},
    ]});
    let record = |id: &str, name: &str, deleted: bool| -> Map<String, Value> {
        let text = format!(
            r#"{{"Id":"{id}","Name":"{name}","Amount__c":"12345678901234567.89","Open":true,
                "Stamp":"2026-01-02T03:04:05.000+0000","Where":null,"IsDeleted":{deleted}}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let dump = vec![record("1", "N/A", false), record("2", "two", false), record("3", "x", true)];
    Source::salesforce(&describe, &[], dump)
}

fn replica(scratch: &Scratch, row_two: &str) -> Replica {
    let path = scratch.path().join("r.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "create table account (id text primary key, name text, amount__c, open integer,
           stamp text, _synced_at text, _deleted_at text, _hidden_at text, _crmsync_seq integer);
         insert into account values ('1','N/A','12345678901234567.89',1,
           '2026-01-02T03:04:05.000Z','t',null,null,1), {row_two},
           ('3','x',null,1,null,'t','2026-01-03T00:00:00.000Z',null,3)"
    ))
    .unwrap();
    Replica::at(path)
}

#[test]
fn an_equal_replica_is_equal() {
    let scratch = Scratch::new("compare");
    let same = "('2','two','12345678901234567.89',1,'2026-01-02T03:04:05.000Z','t',null,null,2)";
    let replica = replica(&scratch, same);
    replica.assert_same("account", &source());
    replica.assert_intact();
    assert_eq!(replica.tables(), ["account"]);
    assert_eq!(replica.number("select count(*) from account"), 3);
}

#[test]
fn every_kind_of_difference_is_found() {
    let scratch = Scratch::new("compare");
    // a number as REAL that does not survive, a boolean as text, a live row that is not there
    let other = "('2','two',12345678901234567.89,'true','2026-01-02T03:04:05Z','t',null,null,2),
                 ('9','stray',null,1,null,'t',null,null,9)";
    let replica = replica(&scratch, other);
    let found = replica.differences("account", &source());
    let text = found.join("\n");
    for expected in ["2.Amount__c", "2.Open", "2.Stamp", "account 9: not at the source"] {
        assert!(text.contains(expected), "{expected} in:\n{text}");
    }
    assert_eq!(found.len(), 4, "{text}");
    assert!(replica.differences("contact", &source())[0].contains("no such table"));
}
