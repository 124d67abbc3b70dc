//! A describe for an object of which only records are known: types follow from the values.

use super::load::Raw;
use super::made::{FieldSpec, field_json, object_json};
use super::table::Object;
use serde_json::Value;

/// Makes an object from its records. `target` tells the object of an `@reference`.
pub(super) fn from_records(
    name: &str,
    prefix: &str,
    rows: &[&Raw],
    target: impl Fn(&str) -> Option<String>,
) -> Option<Object> {
    let mut json = object_json(name, Some(prefix), false);
    json.insert("fields".to_owned(), Value::Array(Vec::new()));
    let mut object = Object::from_describe(json)?;
    let mut push = |spec: FieldSpec<'_>| object.push_field(field_json(&spec));
    push(FieldSpec { name: "Id", ty: "id", read_only: true, ..FieldSpec::default() });
    push(FieldSpec { name: "IsDeleted", ty: "boolean", read_only: true, ..FieldSpec::default() });
    let mut names: Vec<&str> = vec!["Name"];
    for name in rows.iter().flat_map(|r| r.fields.keys()) {
        if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    for name in names {
        let values: Vec<&Value> =
            rows.iter().filter_map(|r| r.fields.get(name)).filter(|v| !v.is_null()).collect();
        // Parents given as objects are relationships, not fields.
        if values.iter().any(|v| v.is_object() || v.is_array()) || name.eq_ignore_ascii_case("id") {
            continue;
        }
        let parent = values.iter().find_map(|v| target(v.as_str()?.strip_prefix('@')?));
        let relationship = name.strip_suffix("__c").map(|stem| format!("{stem}__r"));
        let longest =
            values.iter().filter_map(|v| Some(v.as_str()?.chars().count())).max().unwrap_or(0);
        let mut spec = FieldSpec { name, name_field: name == "Name", ..FieldSpec::default() };
        if let Some(parent) = &parent {
            spec.ty = "reference";
            spec.targets = vec![parent];
            spec.relationship = relationship.as_deref();
        } else if !values.is_empty() && values.iter().all(|v| v.is_boolean()) {
            spec.ty = "boolean";
        } else if !values.is_empty() && values.iter().all(|v| v.is_number()) {
            spec.ty = "double";
            spec.precision = 18;
            spec.scale = if values.iter().all(|v| v.is_i64()) { 0 } else { 6 };
        } else if longest > 255 {
            (spec.ty, spec.length) = ("textarea", 32_000);
        } else {
            (spec.ty, spec.length) = ("string", 255);
        }
        push(spec);
    }
    for (name, ty, relationship) in [
        ("OwnerId", "reference", Some("Owner")),
        ("CreatedDate", "datetime", None),
        ("CreatedById", "reference", Some("CreatedBy")),
        ("LastModifiedDate", "datetime", None),
        ("LastModifiedById", "reference", Some("LastModifiedBy")),
        ("SystemModstamp", "datetime", None),
    ] {
        let targets = if relationship.is_some() { vec!["User"] } else { Vec::new() };
        push(FieldSpec {
            name,
            ty,
            relationship,
            targets,
            read_only: name != "OwnerId",
            ..FieldSpec::default()
        });
    }
    Some(object)
}
