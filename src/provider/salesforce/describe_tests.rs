use super::*;
use crate::provider::salesforce::testing::{data, recorded};

#[test]
fn recorded_describes_become_schemas() {
    let Some(dir) = data() else { return };
    let mut seen = 0;
    for folder in ["describe", "describe_minified"] {
        for file in std::fs::read_dir(dir.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let schema = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            seen += 1;
            let Some(schema) = schema else { continue };
            assert!(schema.field("Id").is_some(), "{}", path.display());
            for f in &schema.fields {
                for word in ["address", "location", "base64"] {
                    assert!(!f.source_type.starts_with(word), "{}", f.name);
                }
            }
        }
    }
    assert!(seen >= 27, "{seen} recorded describes");
    let account = parse(&recorded(&dir, "describe/Account.json")).unwrap().unwrap();
    assert_eq!((account.name.as_str(), account.label.as_str()), ("Account", "Account"));
    assert_eq!(account.stamp.as_deref(), Some("SystemModstamp"));
    assert_eq!(account.deleted_flag.as_deref(), Some("IsDeleted"));
    assert!(account.delete_log);
    // 68 fields, two of them compound addresses whose parts are read.
    assert_eq!(account.fields.len(), 66);
    assert!(account.field("BillingAddress").is_none());
    let is = |name: &str, kind, source: &str| {
        let f = account.field(name).unwrap();
        assert_eq!((f.kind, f.source_type.as_str()), (kind, source), "{name}");
    };
    is("Name", FieldType::Text, "string(255)");
    is("AnnualRevenue", FieldType::Decimal, "currency(18,0)");
    is("BillingLatitude", FieldType::Decimal, "double(18,15)");
    is("NumberOfEmployees", FieldType::Integer, "int(8)");
    is("CreatedDate", FieldType::DateTime, "datetime");
    is("LastActivityDate", FieldType::Date, "date");
    is("IsDeleted", FieldType::Boolean, "boolean");
    // A history has no stamp, but its rows never change.
    let history = parse(&recorded(&dir, "describe_minified/AccountHistory.json")).unwrap().unwrap();
    assert_eq!(history.stamp.as_deref(), Some("CreatedDate"));
    let attachment = parse(&recorded(&dir, "describe_minified/Attachment.json")).unwrap().unwrap();
    assert!(attachment.field("Body").is_none());
}

#[test]
fn recorded_lists_of_objects() {
    let Some(dir) = data() else { return };
    let all = parse_global(&recorded(&dir, "global/describeGlobal.json")).unwrap();
    assert!(all.iter().any(|(name, label)| name == "Account" && label == "Account"));
    assert!(all.len() > 20);
    assert!(all.iter().all(|(name, _)| !is_stream(name)));
    parse_global(&recorded(&dir, "global/restforce_list_sobjects_success_response.json")).unwrap();
}

#[test]
fn oddities() {
    let parse = |text: &str| parse(text);
    assert_eq!(parse(r#"{"name":"X","queryable":false,"fields":[]}"#), Ok(None));
    assert_eq!(parse(r#"{"name":"X","fields":[{"name":"Name","type":"string"}]}"#), Ok(None));
    let o = parse(
        r#"{"name":"X","fields":[{"name":"Id","type":"id"},{"name":"F","type":"brand_new","calculated":true},
            {"name":"Old","type":"string","deprecatedAndHidden":true}]}"#,
    )
    .unwrap()
    .unwrap();
    assert_eq!(o.stamp, None);
    assert!(!o.delete_log);
    let names: Vec<_> = o.fields.iter().map(|f| (f.name.as_str(), f.kind, f.calculated)).collect();
    assert_eq!(names, [("Id", FieldType::Text, false), ("F", FieldType::Text, true)]);
    for bad in ["", "[]", "{}", r#"{"name":1,"fields":[]}"#, r#"{"name":"X","fields":{}}"#] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
