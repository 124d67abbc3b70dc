//! The results of Bulk jobs against what the REST API shows of the same query, and against time.

use super::super::query::Plan;
use super::properties::condition;
use super::*;
use crate::soql::parse;
use proptest::prelude::*;

const LF: Style = Style { delimiter: b',', crlf: false };

pub(super) fn export(org: &Org, soql: &str, all: bool) -> Result<Export, ApiError> {
    export_ordered(org, soql, all, RowOrder::Scrambled)
}

fn export_ordered(org: &Org, soql: &str, all: bool, order: RowOrder) -> Result<Export, ApiError> {
    org.export(&parse(soql).unwrap(), soql, all, &Access::full(), now(), order)
}

fn text(export: &Export, style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    export.write_header(style, &mut out);
    export.write(0, usize::MAX, style, &mut out, &mut Vec::new());
    out
}

fn table(bytes: &[u8], delimiter: u8) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect());
    (header, rows.collect())
}

/// What Bulk makes of a REST value.
fn in_csv(value: &serde_json::value::RawValue) -> String {
    match serde_json::from_str::<Value>(value.get()).unwrap() {
        Value::Null => String::new(),
        Value::String(text) => match text.strip_suffix("+0000") {
            Some(moment) if moment.len() == 23 => format!("{moment}Z"),
            Some(_) | None => text,
        },
        // Numbers keep their own text.
        Value::Bool(_) | Value::Number(_) => value.get().to_owned(),
        other @ (Value::Array(_) | Value::Object(_)) => panic!("{other}"),
    }
}

fn by_rest(org: &Org, soql: &str, all: bool) -> Vec<Vec<String>> {
    let result = org.run(soql, all, &Access::full(), now(), Plan::Naive).unwrap();
    let mut out = vec![b'['];
    org.render(&result, 0, usize::MAX, &mut out, "v64.0");
    out.push(b']');
    let rows: Vec<indexed::Pairs> = serde_json::from_slice(&out).unwrap();
    rows.iter().map(|row| row.0.iter().map(|value| in_csv(value)).collect()).collect()
}

mod indexed {
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    /// The values of an object in its order, less `attributes`.
    pub struct Pairs(pub Vec<Box<RawValue>>);

    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct All;
            impl<'de> Visitor<'de> for All {
                type Value = Pairs;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                    let mut out = Vec::new();
                    while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                        if key != "attributes" {
                            out.push(value);
                        }
                    }
                    Ok(Pairs(out))
                }
            }
            from.deserialize_map(All)
        }
    }
}

fn plain_fields(object: &str) -> Vec<String> {
    let fields = org().object(object).unwrap().live_fields();
    let plain = fields.filter(|f| f.kind != super::super::schema::Kind::Compound);
    plain.map(|f| f.name.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_job_finds_what_a_scan_finds(
        object in prop::sample::select(vec!["Account", "Contact", "Case", "Opportunity"]),
        condition in condition(),
        all in any::<bool>(),
        delimiter in prop::sample::select(b",`^|;\t".to_vec()),
        crlf in any::<bool>(),
        ordered in any::<bool>(),
    ) {
        let fields = plain_fields(object);
        let where_ = if object == "Account" { format!(" WHERE {condition}") } else { String::new() };
        let soql = format!("SELECT {} FROM {object}{where_}", fields.join(", "));
        let order = if ordered { RowOrder::Created } else { RowOrder::Scrambled };
        let export = export_ordered(org(), &soql, all, order).unwrap();
        let (header, mut found) = table(&text(&export, Style { delimiter, crlf }), delimiter);
        prop_assert_eq!(header, fields);
        prop_assert_eq!(found.len(), export.len());
        let mut wanted = by_rest(org(), &soql, all);
        found.sort();
        wanted.sort();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn rows_come_in_no_order_unless_one_is_asked_for() {
    let ids = |soql: &str, order| -> Vec<String> {
        let export = export_ordered(org(), soql, false, order).unwrap();
        table(&text(&export, LF), b',').1.into_iter().map(|row| row[0].clone()).collect()
    };
    let soql = "SELECT Id FROM Account";
    let scrambled = ids(soql, RowOrder::Scrambled);
    assert_eq!(scrambled, ids(soql, RowOrder::Scrambled), "the same each time");
    let created = ids(soql, RowOrder::Created);
    assert_ne!(scrambled, created);
    assert!(!scrambled.is_sorted());
    let sorted = ids("SELECT Id FROM Account ORDER BY Id", RowOrder::Scrambled);
    assert!(sorted.is_sorted());
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<String>>();
    assert_eq!(set(&scrambled), set(&created));
    assert_eq!(set(&scrambled), set(&sorted));
}

#[test]
fn results_stay_as_they_were_whatever_happens_to_the_org() {
    let mut org = Org::generate(&spec(120, IdOrder::Shuffled));
    let soql = "SELECT Id, LastName, Account_Name__c, Account.Name, account.owner.username, Email, SystemModstamp, IsDeleted FROM Contact";
    let result = export(&org, soql, true).unwrap();
    let before = text(&result, LF);
    let header = table(&before, b',').0;
    assert_eq!(header[2..5], ["Account_Name__c", "Account.Name", "Account.Owner.Username"]);
    let later = at("2026-03-19T00:00:00Z");
    org.touch("Contact", 50, later).unwrap();
    org.touch("Account", 120, later).unwrap();
    for id in org.pick("Contact", 30, later).unwrap() {
        org.delete("Contact", &id, later).unwrap();
        org.purge("Contact", &id, later).unwrap();
    }
    org.remove_field("Contact", "Email", later).unwrap();
    org.retype_field("Contact", "Title", "int", later).unwrap();
    org.update(
        "Account",
        &org.pick("Account", 1, later).unwrap()[0],
        &map(json!({"Name": "Renamed"})),
        later,
        USER,
    )
    .unwrap();
    assert_eq!(text(&result, LF), before);
    let found = table(&before, b',').1;
    assert!(found.iter().any(|row| !row[3].is_empty()));
    for row in &found {
        assert_eq!(row[2], row[3], "the formula and the parent's field");
    }
}

#[test]
fn uncommitted_rows_are_not_there_and_deleted_ones_only_by_query_all() {
    let mut org = small();
    let kept = account(&mut org, "kept", "2026-03-18T09:00:00Z");
    let gone = account(&mut org, "gone", "2026-03-18T09:00:00Z");
    org.delete("Account", &gone, at("2026-03-18T09:30:00Z")).unwrap();
    let open = Some(at("2026-03-18T11:00:00Z"));
    org.create("Account", &map(json!({"Name": "open"})), now(), open, USER).unwrap();
    let ids = |all| -> BTreeSet<String> {
        let export = export(&org, "SELECT Id FROM Account", all).unwrap();
        table(&text(&export, LF), b',').1.into_iter().map(|row| row[0].clone()).collect()
    };
    assert_eq!(ids(false), BTreeSet::from([kept.clone()]));
    assert_eq!(ids(true), BTreeSet::from([kept, gone]));
}

#[test]
fn what_bulk_does_not_take_is_refused() {
    for (soql, code, said) in [
        ("SELECT BillingAddress FROM Account", "FEATURENOTENABLED", "Selecting compound data"),
        ("SELECT count() FROM Account", "MALFORMED_QUERY", "Aggregate"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 5", "MALFORMED_QUERY", "OFFSET"),
        ("SELECT Nope FROM Account", "INVALID_FIELD", "No such column"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "not supported"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "must be of type"),
    ] {
        let error = export(org(), soql, false).err().unwrap_or_else(|| panic!("taken: {soql}"));
        assert_eq!((error.status, error.code), (400, code), "{soql}");
        assert!(error.message.contains(said), "{soql}: {error}");
    }
}
