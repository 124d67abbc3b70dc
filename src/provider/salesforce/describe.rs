//! What the org has: objects, fields, types.
//!
//! Hides the vendor's describe answers and type words. Invariants: only what can be read by a
//! plain query appears; compound values are left out (their parts are read), so are binary ones;
//! an unknown type is text, for text loses nothing.

use super::Salesforce;
use super::composite;
use super::faults::{self, About};
use super::read::{of_task, text};
use super::soql;
use crate::provider::{Ctx, Described, Failure, Names, Told};
use crmsync_core::domain::{Fault, Field, FieldType, ObjectSchema};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Describes that ride in one call.
const PER_CALL: usize = 25;

#[derive(Deserialize)]
struct Global {
    sobjects: Vec<GlobalEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GlobalEntry {
    name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    queryable: bool,
    #[serde(default)]
    deprecated_and_hidden: bool,
}

#[derive(Deserialize)]
struct Describe {
    name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    queryable: Option<bool>,
    #[serde(default)]
    replicateable: Option<bool>,
    fields: Vec<DescribedField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedField {
    name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    length: Option<u64>,
    #[serde(default)]
    precision: Option<u64>,
    #[serde(default)]
    scale: Option<u64>,
    #[serde(default)]
    digits: Option<u64>,
    #[serde(default)]
    calculated: Option<bool>,
    #[serde(default)]
    deprecated_and_hidden: Option<bool>,
    #[serde(default)]
    filterable: Option<bool>,
}

/// Names and labels out of a describeGlobal answer.
pub(super) fn parse_global(body: &str) -> Result<Vec<(String, String)>, String> {
    let global: Global = serde_json::from_str(body).map_err(|e| e.to_string())?;
    Ok(global
        .sobjects
        .into_iter()
        .filter(|o| o.queryable && !o.deprecated_and_hidden && !is_stream(&o.name))
        .map(|o| (o.name.clone(), o.label.unwrap_or(o.name)))
        .collect())
}

/// Event streams and objects of other systems have no rows to copy.
fn is_stream(name: &str) -> bool {
    name.ends_with("__e") || name.ends_with("ChangeEvent") || name.ends_with("__x")
}

/// An object out of a describe answer; `None` if it cannot be queried.
pub(super) fn parse(body: &str) -> Result<Option<ObjectSchema>, String> {
    let d: Describe = serde_json::from_str(body).map_err(|e| e.to_string())?;
    if d.queryable == Some(false) {
        return Ok(None);
    }
    let usable = |name: &str| {
        d.fields
            .iter()
            .find(|f| f.name == name && f.filterable != Some(false))
            .map(|f| f.name.clone())
    };
    let Some(key) = usable("Id") else { return Ok(None) };
    // Rows of a history never change, so their creation is their modification.
    let stamp = usable("SystemModstamp")
        .or_else(|| d.name.ends_with("History").then(|| usable("CreatedDate")).flatten());
    let fields = d.fields.iter().filter_map(field).collect();
    Ok(Some(ObjectSchema {
        label: d.label.clone().unwrap_or_else(|| d.name.clone()),
        key,
        stamp,
        deleted_flag: usable("IsDeleted"),
        delete_log: d.replicateable.unwrap_or(false),
        fields,
        name: d.name,
    }))
}

fn field(f: &DescribedField) -> Option<Field> {
    let kind = match f.kind.as_str() {
        "address" | "location" | "base64" | "complexvalue" => return None,
        "boolean" => FieldType::Boolean,
        "int" | "long" => FieldType::Integer,
        "double" | "currency" | "percent" => FieldType::Decimal,
        "date" => FieldType::Date,
        "datetime" => FieldType::DateTime,
        "time" => FieldType::TimeOfDay,
        "json" => FieldType::Json,
        // id, string, picklist, multipicklist, combobox, reference, phone, url, email, textarea,
        // encryptedstring, datacategorygroupreference, anyType, and what may come.
        _ => FieldType::Text,
    };
    if f.deprecated_and_hidden == Some(true) {
        return None;
    }
    let source_type = match kind {
        FieldType::Decimal => match (f.precision, f.scale) {
            (Some(p), Some(s)) => format!("{}({p},{s})", f.kind),
            _ => f.kind.clone(),
        },
        FieldType::Integer => sized(&f.kind, f.digits),
        FieldType::Text => sized(&f.kind, f.length),
        FieldType::Boolean
        | FieldType::Date
        | FieldType::TimeOfDay
        | FieldType::DateTime
        | FieldType::Json => f.kind.clone(),
    };
    Some(Field {
        label: f.label.clone().unwrap_or_else(|| f.name.clone()),
        name: f.name.clone(),
        kind,
        source_type,
        calculated: f.calculated.unwrap_or(false),
    })
}

fn sized(word: &str, size: Option<u64>) -> String {
    size.filter(|n| *n > 0).map_or_else(|| word.to_owned(), |n| format!("{word}({n})"))
}

pub(super) async fn objects(sf: &Salesforce, ctx: Ctx<'_>) -> Result<Told<Names>, Failure> {
    let got = sf.get(ctx, &sf.data_path("sobjects/"), 1).await?;
    if !got.answer.is_ok() || got.answer.is_html() {
        return Err(faults::refusal(&got.answer, About::default()));
    }
    let server_time = got.answer.server_time();
    let value = parse_global(&text(got.answer.body)?)
        .map_err(|why| Fault::contract(format!("reading the list of objects: {why}")))?;
    Ok(Told { value, server_time })
}

pub(super) async fn describe(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    objects: &[String],
) -> Result<Told<Described>, Failure> {
    let mut value = BTreeMap::new();
    let mut server_time = None;
    for group in objects.chunks(PER_CALL) {
        let urls: Vec<String> = group
            .iter()
            .map(|o| sf.data_path(&format!("sobjects/{}/describe", super::soql::encode(o))))
            .collect();
        let parts = match urls.as_slice() {
            // Alone it needs no composite.
            [url] => {
                let got = sf.get(ctx, url, 1).await?;
                if got.answer.status >= 500 || got.answer.is_html() {
                    return Err(faults::refusal(&got.answer, About::default()));
                }
                server_time = got.answer.server_time();
                vec![(got.answer.status, text(got.answer.body)?)]
            }
            urls => {
                let got = composite::get(sf, ctx, urls, 1).await?;
                server_time = got.server_time;
                got.parts
            }
        };
        for (object, (status, body)) in group.iter().zip(parts) {
            let schema = if status == 200 {
                parse(&body).map_err(|why| {
                    Fault::contract(format!("reading the description of {object}: {why}"))
                })?
            } else {
                absent(faults::part_refusal(
                    status,
                    body.as_bytes(),
                    About { object: Some(object) },
                ))?
            };
            // Under the name that was asked for: object names ignore letter case.
            value.insert(object.clone(), schema);
        }
    }
    Ok(Told { value, server_time })
}

/// An object that is gone or out of sight is no failure of the question.
fn absent(failure: Failure) -> Result<Option<ObjectSchema>, Failure> {
    match failure {
        Failure::Fault(Fault::SchemaMoved { .. } | Fault::Denied { .. }) => Ok(None),
        other @ (Failure::SessionDead(_) | Failure::Held | Failure::Fault(_)) => Err(other),
    }
}

#[derive(Deserialize)]
struct Counts {
    #[serde(rename = "sObjects")]
    objects: Vec<Count>,
}

#[derive(Deserialize)]
struct Count {
    name: String,
    count: u64,
}

/// The vendor's cached counts, by the names asked for. They are a convenience: whoever refuses
/// them, or tells nonsense, tells nothing.
pub(super) async fn sizes(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    objects: &[String],
) -> Result<Told<BTreeMap<String, u64>>, Failure> {
    let mut path = sf.data_path("limits/recordCount?sObjects=");
    let start = path.len();
    for object in objects {
        let name = soql::encode(object);
        if path.len() + name.len() >= soql::URI_ROOM {
            break;
        }
        if path.len() > start {
            path.push(',');
        }
        path.push_str(&name);
    }
    if path.len() == start {
        return Ok(Told { value: BTreeMap::new(), server_time: None });
    }
    let got = sf.get(ctx, &path, 1).await?;
    let server_time = got.answer.server_time();
    if !got.answer.is_ok() || got.answer.is_html() {
        let fault = of_task(faults::refusal(&got.answer, About::default()))?;
        if matches!(fault, Fault::Passing { .. }) {
            return Err(fault.into());
        }
        return Ok(Told { value: BTreeMap::new(), server_time });
    }
    let counts: Vec<Count> =
        serde_json::from_slice(&got.answer.body).map_or_else(|_| Vec::new(), |c: Counts| c.objects);
    let of = |asked: &String| {
        let count = counts.iter().find(|c| c.name.eq_ignore_ascii_case(asked))?;
        Some((asked.clone(), count.count))
    };
    Ok(Told { value: objects.iter().filter_map(of).collect(), server_time })
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
