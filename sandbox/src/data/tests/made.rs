//! What is made up: the same each time, whole, and linked.

use super::super::schema::Kind;
use super::super::*;
use super::*;

#[test]
fn describes_have_the_recorded_keys() {
    for name in org().object_names() {
        let describe = org().describe(&name, &Access::full()).unwrap();
        let fields = describe["fields"].as_array().unwrap();
        assert!(
            name == "User" || name == "Product2" || fields.len() >= 28,
            "{name}: {}",
            fields.len()
        );
        for field in fields {
            assert_eq!(field.as_object().unwrap().len(), 57, "{name} {field}");
        }
    }
    let global = org().describe_global(&Access::full());
    assert_eq!(global["sobjects"].as_array().unwrap().len(), 10);
    assert_eq!(org().describe("nothing", &Access::full()).unwrap_err().status, 404);
}

#[test]
fn same_seed_same_org_and_smaller_is_a_beginning() {
    let dump = |n, order| {
        let org = Org::generate(&spec(n, order));
        let mut out = Vec::new();
        org.dump("Contact", now(), &mut out);
        out
    };
    assert_eq!(dump(50, IdOrder::Ascending), dump(50, IdOrder::Ascending));
    assert_ne!(dump(50, IdOrder::Ascending), dump(50, IdOrder::Shuffled));
    for line in dump(50, IdOrder::Shuffled).split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let record: Map<String, Value> = serde_json::from_slice(line).unwrap();
        let wanted: Vec<String> =
            org().object("Contact").unwrap().live_fields().map(|f| f.name.clone()).collect();
        assert_eq!(record.keys().cloned().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn references_lead_to_records() {
    for object in org().objects.values() {
        for row in object.rows.iter().flatten() {
            for field in object.live_fields().filter(|f| {
                f.kind == Kind::Reference
                    && f.name != "OwnerId"
                    && !f.targets().any(|t| t == "User")
            }) {
                if let value::Val::Id(id) = object.own_value(row, field) {
                    assert!(
                        field
                            .targets()
                            .any(|t| org().object(t).is_some_and(|o| o.find(id).is_some())),
                        "{} {id}",
                        field.name
                    );
                }
            }
        }
    }
}

#[test]
fn formulas_follow_and_stamps_stay() {
    let mut org = small();
    let acc = account(&mut org, "Old", "2026-03-01T00:00:00Z");
    let con = org
        .create(
            "Contact",
            &map(json!({"LastName": "Kim", "FirstName": "Ada", "AccountId": acc})),
            at("2026-03-01T00:00:00Z"),
            None,
            USER,
        )
        .unwrap();
    org.update("Account", &acc, &map(json!({"Name": "New"})), at("2026-03-02T00:00:00Z"), USER)
        .unwrap();
    let row = record(&org, "Contact", &con, now());
    assert_eq!(row["Account_Name__c"], "New");
    assert_eq!(row["Name"], "Ada Kim");
    assert_eq!(row["Name_Length__c"].to_string(), "7.0");
    assert_eq!(row["SystemModstamp"], "2026-03-01T00:00:00.000+0000");
}
