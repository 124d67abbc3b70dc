#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crate::provider::salesforce::testing::{data, recorded};
use proptest::prelude::*;
use serde_json::Value;

fn wanted<'a>(cells: &[(&'a str, FieldType)]) -> Wanted<'a> {
    Wanted {
        cells: cells.iter().enumerate().map(|(i, (n, k))| (*n, i, *k)).collect(),
        width: cells.len(),
        key: "Id",
        key_column: None,
        stamp: Some(("SystemModstamp", None)),
        ignored: "attributes",
        value,
    }
}

#[test]
fn values_keep_their_text() {
    let body = r#"{"totalSize":2,"done":false,"nextRecordsUrl":"/x-2000","records":[
        {"attributes":{"type":"A","url":"/x"},"Id":"001","Amount":100000000000000000000.10,
         "Name":"a \"q\"\n\u00fc","N":1.0E7,"Gone":null,"Nested":{"attributes":{},"Name":"x"},
         "T":"12:00:00.000Z","SystemModstamp":"2026-01-02T17:38:59.000+0000"},
        {"Name":"N/A","id":"002","B":true,"Amount":-0.5}]}"#;
    let cells = [
        ("Id", FieldType::Text),
        ("name", FieldType::Text),
        ("Amount", FieldType::Decimal),
        ("N", FieldType::Integer),
        ("Gone", FieldType::Text),
        ("B", FieldType::Boolean),
        ("T", FieldType::TimeOfDay),
        ("Nested", FieldType::Json),
    ];
    let page = read(body, &wanted(&cells)).unwrap();
    let row = |r: usize| (0..cells.len()).map(|c| page.batch.get(r, c)).collect::<Vec<_>>();
    assert_eq!(
        row(0),
        [
            Some("001"),
            Some("a \"q\"\nü"),
            Some("100000000000000000000.10"),
            Some("10000000"),
            None,
            None,
            Some("12:00:00.000"),
            Some(r#"{"attributes":{},"Name":"x"}"#)
        ]
    );
    assert_eq!(
        row(1),
        [Some("002"), Some("N/A"), Some("-0.5"), None, None, Some("true"), None, None]
    );
    assert!(!page.done);
    assert_eq!(page.last, Some(("002".into(), None)));
}

#[test]
fn whole_numbers_in_any_dress() {
    for (text, expected) in [
        ("5", "5"),
        ("5.0", "5"),
        ("1.0E7", "10000000"),
        ("-1.5E1", "-15"),
        ("0.0", "0"),
        ("1.5", "1.5"),
        ("1E400", "1E400"),
        ("1E-2", "1E-2"),
        ("1e+3", "1000"),
    ] {
        assert_eq!(whole(text.into()), expected, "{text}");
    }
}

#[test]
fn broken_pages_are_errors() {
    for (body, piece) in [
        ("", "EOF"),
        ("[]", "invalid type"),
        ("{}", "records"),
        (r#"{"totalSize":0,"records":[]}"#, "done"),
        (r#"{"done":true,"records":[]}"#, "totalSize"),
        (r#"{"totalSize":1,"done":true,"records":[{"Name":"x"}]}"#, "record 1 has no Id"),
        (r#"{"totalSize":1,"done":true,"records":[{"Id":null}]}"#, "record 1 has no Id"),
        (r#"{"totalSize":1,"done":true,"records":[{"Id":"1"}"#, "EOF"),
        (r#"{"totalSize":1,"done":true,"records":[7]}"#, "invalid type"),
        (r#"{"totalSize":0,"done":true,"records":[]} x"#, "trailing"),
    ] {
        let error = read(body, &wanted(&[("Id", FieldType::Text)])).unwrap_err();
        assert!(error.contains(piece), "{body}: {error}");
    }
}

/// Every recorded answer that has the shape of a page, wherever it stands in a recording.
fn pages(value: &Value, out: &mut Vec<Value>) {
    match value {
        Value::Object(o) => {
            if o.contains_key("records") && o.contains_key("totalSize") && o.contains_key("done") {
                out.push(value.clone());
            }
            o.values().for_each(|v| pages(v, out));
        }
        Value::Array(a) => a.iter().for_each(|v| pages(v, out)),
        _ => {}
    }
}

#[test]
fn recorded_pages_are_read_value_by_value() {
    let Some(dir) = data() else { return };
    let mut seen = (0, 0);
    for folder in ["query", "composite", "errors", "recordcount", "bulk1", "constructed"] {
        for file in std::fs::read_dir(dir.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let Ok(value) = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()) else {
                continue;
            };
            let mut all = Vec::new();
            pages(&value, &mut all);
            for page in all {
                check_page(&page, &path.display().to_string());
                seen.0 += 1;
                seen.1 += page["records"].as_array().unwrap().len();
            }
        }
    }
    assert!(seen.0 >= 10 && seen.1 >= 20, "{seen:?}");
    // A row that is no page.
    assert!(recorded(&dir, "query/sobject_row_Organization.json").contains("\"Id\""));
}

fn check_page(page: &Value, path: &str) {
    let records = page["records"].as_array().unwrap();
    let mut names: Vec<&str> = Vec::new();
    for r in records {
        for (name, v) in r.as_object().unwrap() {
            if name != "attributes" && !v.is_object() && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let keyed = !records.is_empty() && records.iter().all(|r| r["Id"].is_string());
    let cells: Vec<(&str, FieldType)> = names.iter().map(|n| (*n, FieldType::Text)).collect();
    let read = read(&page.to_string(), &wanted(&cells));
    if !records.is_empty() && !keyed {
        // Aggregates and permission rows: refused, never rows without a key.
        assert!(read.unwrap_err().contains("has no Id"), "{path}");
        return;
    }
    let read = read.unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(read.batch.rows(), records.len(), "{path}");
    assert_eq!(read.done, page["done"].as_bool().unwrap());
    for (row, record) in records.iter().enumerate() {
        for (column, name) in names.iter().enumerate() {
            let expected = match &record[*name] {
                Value::Null => None,
                Value::String(s) => Some(s.clone()),
                other => Some(other.to_string()),
            };
            assert_eq!(read.batch.get(row, column), expected.as_deref(), "{path} {name}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(body in "\\PC{0,200}") {
        let _ = read(&body, &wanted(&[("Id", FieldType::Text)]));
    }

    /// Cut or spoiled anywhere: an error or the same rows, never a panic, never other rows.
    #[test]
    fn a_spoiled_page_never_panics(cut in 0usize..400, byte in any::<u8>(), flip: bool) {
        let good = r#"{"totalSize":2,"done":true,"records":[{"attributes":{"type":"A"},"Id":"001","Name":"x\u00e4","N":1.5},{"attributes":{"type":"A"},"Id":"002","Name":null,"N":{"a":[1,2]}}]}"#;
        let mut bytes = good.as_bytes().to_vec();
        let at = cut % bytes.len();
        if flip { bytes[at] = byte; } else { bytes.truncate(at); }
        let cells = [("Id", FieldType::Text), ("Name", FieldType::Text), ("N", FieldType::Integer)];
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let read = read(text, &wanted(&cells));
            prop_assert!(flip || read.is_err());
        }
    }

    #[test]
    fn any_name_survives(name in "\\PC{0,60}", id in "[a-zA-Z0-9]{1,18}") {
        let body = serde_json::json!({"totalSize": 1, "done": true,
            "records": [{"Id": id, "Name": name}]}).to_string();
        let cells = [("Id", FieldType::Text), ("Name", FieldType::Text)];
        let page = read(&body, &wanted(&cells)).unwrap();
        prop_assert_eq!(page.batch.get(0, 1), Some(name.as_str()));
        prop_assert_eq!(page.batch.key(0), Some(id.as_str()));
    }
}
