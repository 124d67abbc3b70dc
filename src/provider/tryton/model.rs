//! What the server has: models and their fields, in our words.
//!
//! Hides `fields_get` and Tryton's type words. Invariants: only stored fields appear: lists of
//! other records, binary values and computed fields are left out (a computed one that fails, as
//! accounts without a company do, would fail the whole record).

use super::rpc::{self, About};
use super::{Tryton, value};
use crate::provider::{Ctx, Described, Failure, Names, Told};
use crmsync_core::domain::{Fault, Field, FieldType, ObjectSchema, Time};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct FieldGet {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    string: Option<String>,
    /// Only what has a column can be ordered by.
    #[serde(default)]
    sortable: Option<bool>,
    #[serde(default)]
    relation: Option<String>,
    #[serde(default)]
    digits: Option<Value>,
}

fn field(name: String, f: FieldGet) -> Option<Field> {
    let kind = match f.kind.as_str() {
        "one2many" | "many2many" | "binary" => return None,
        "boolean" => FieldType::Boolean,
        "integer" | "biginteger" | "many2one" | "one2one" => FieldType::Integer,
        "float" | "numeric" => FieldType::Decimal,
        "date" => FieldType::Date,
        "time" => FieldType::TimeOfDay,
        "timestamp" | "datetime" => FieldType::DateTime,
        "dict" | "multiselection" | "timedelta" => FieldType::Json,
        // char, text, fullname, selection, reference (`model,id`), and what may come.
        _ => FieldType::Text,
    };
    if f.sortable == Some(false) {
        return None;
    }
    let source_type = match (&f.relation, &f.digits) {
        (Some(to), _) => format!("{}({to})", f.kind),
        (None, Some(Value::String(digits))) => match serde_json::from_str::<Vec<Value>>(digits) {
            Ok(d) if d.iter().all(Value::is_u64) => {
                let d: Vec<String> = d.iter().map(Value::to_string).collect();
                format!("{}({})", f.kind, d.join(","))
            }
            _ => f.kind.clone(),
        },
        (None, _) => f.kind.clone(),
    };
    let label = f.string.unwrap_or_else(|| name.clone());
    Some(Field { name, label, kind, source_type, calculated: false })
}

/// An object out of a `fields_get` result.
pub(super) fn parse(name: &str, label: &str, result: &str) -> Result<ObjectSchema, String> {
    let all: BTreeMap<String, FieldGet> =
        serde_json::from_str(result).map_err(|e| e.to_string())?;
    let mut fields: Vec<Field> = all.into_iter().filter_map(|(n, f)| field(n, f)).collect();
    if !fields.iter().any(|f| f.name == "id") {
        return Err("there is no id".into());
    }
    // The key first, for people who read the list.
    fields.sort_by_key(|f| (f.name != "id", f.name.clone()));
    let has = |name: &str| fields.iter().any(|f| f.name == name);
    // `write_date` is null until the first update: a window takes the later of both.
    let stamp = (has("write_date") && has("create_date")).then(|| "write_date".to_owned());
    Ok(ObjectSchema {
        name: name.to_owned(),
        label: label.to_owned(),
        key: "id".to_owned(),
        stamp,
        deleted_flag: None,
        delete_log: false,
        fields,
    })
}

pub(super) async fn objects(tryton: &Tryton, ctx: Ctx<'_>) -> Result<Told<Names>, Failure> {
    let (names, server_time) = names(tryton, ctx, json!([])).await?;
    Ok(Told { value: names, server_time })
}

async fn names(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    domain: Value,
) -> Result<(Names, Option<Time>), Failure> {
    #[derive(Deserialize)]
    struct Row {
        model: String,
        name: Option<String>,
    }
    let order = json!([["model", "ASC"]]);
    let params = json!([domain, 0, null, order, ["model", "name"], tryton.context()]);
    let about = About { object: Some("ir.model"), fields: &[] };
    let got = rpc::call(tryton, ctx, "model.ir.model.search_read", params, about).await?;
    let rows: Vec<Row> = serde_json::from_str(&got.result)
        .map_err(|e| Fault::contract(format!("reading the list of models: {e}")))?;
    let names = rows.into_iter().map(|r| (r.model.clone(), r.name.unwrap_or(r.model))).collect();
    Ok((names, got.server_time))
}

/// Which models the account may read: fields are told of the others as well.
async fn readable(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    names: Vec<&String>,
) -> Result<impl Fn(&str) -> bool + use<>, Failure> {
    let method = "model.ir.model.access.get_access";
    let about = About { object: Some("ir.model.access"), fields: &[] };
    let got = rpc::call(tryton, ctx, method, json!([names, tryton.context()]), about).await?;
    let access: BTreeMap<String, Value> = serde_json::from_str(&got.result)
        .map_err(|e| Fault::contract(format!("reading the access rights: {e}")))?;
    Ok(move |name: &str| {
        let read = access.get(name).and_then(|a| a.get("read"));
        value::is_model(name) && read.is_some_and(|r| *r == json!(true) || *r == json!(1))
    })
}

pub(super) async fn describe(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    objects: &[String],
) -> Result<Told<Described>, Failure> {
    // One question tells which exist, so that "unknown model" is never guessed from an error.
    let domain = json!([["model", "in", objects]]);
    let (known, mut server_time) = names(tryton, ctx, domain).await?;
    let known: BTreeMap<String, String> = known.into_iter().collect();
    let readable = readable(tryton, ctx, known.keys().collect()).await?;
    let mut found = BTreeMap::new();
    for object in objects {
        let Some(label) = known.get(object).filter(|_| readable(object)) else {
            found.insert(object.clone(), None);
            continue;
        };
        let method = format!("model.{object}.fields_get");
        let params = json!([[], tryton.context()]);
        let about = About { object: Some(object), fields: &[] };
        let schema = match rpc::call(tryton, ctx, &method, params, about).await {
            Ok(got) => {
                server_time = got.server_time.or(server_time);
                Some(parse(object, label, &got.result).map_err(|why| {
                    Fault::contract(format!("reading the fields of {object}: {why}"))
                })?)
            }
            // It is there: left out, so that what was known of it stays and its reading says why.
            Err(Failure::Fault(Fault::Denied { .. })) => continue,
            Err(other) => return Err(other),
        };
        found.insert(object.clone(), schema);
    }
    Ok(Told { value: found, server_time })
}
