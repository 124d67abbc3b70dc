//! Tasks as `search_read`: one task, one call.
//!
//! Hides domains. Invariants: pages go by id, never by offset; inactive records are read like
//! others (`active_test` off), else archiving would look like deletion.

use super::rpc::{self, About};
use super::{Tryton, value};
use crate::provider::rows::{RowsSeed, Wanted};
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{
    Batch, BatchBuilder, Call, Delivered, Fault, FieldType, ObjectSchema, Outcome, Schema, Step,
    Task, TaskKind, Time,
};
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Records of one page.
const PAGE: usize = 1000;
/// Ids of one page.
const KEY_PAGE: usize = 5000;

/// `from <= later of both stamps < to`; `write_date` is null until the first update.
/// Records whose stamp lies within the bounds; none without bounds.
fn window(from: Option<Time>, to: Option<Time>) -> Option<Value> {
    if from.is_none() && to.is_none() {
        return None;
    }
    let bounds = |field: &str| {
        let lower = from.map(|t| json!([field, ">=", value::datetime(t)]));
        let upper = to.map(|t| json!([field, "<", value::datetime(t)]));
        lower.into_iter().chain(upper).collect::<Vec<Value>>()
    };
    let mut created = vec![json!(["write_date", "=", null])];
    created.extend(bounds("create_date"));
    Some(json!(["OR", bounds("write_date"), created]))
}

fn after_id(after: Option<&str>) -> Result<Option<Value>, String> {
    after
        .map(|text| {
            let id: i64 = text.parse().map_err(|_| format!("position `{text}` is no id"))?;
            Ok(json!(["id", ">", id]))
        })
        .transpose()
}

/// Method and parameters of a task, and how many rows a full page has.
fn question(
    task: &Task,
    object: &ObjectSchema,
    context: &Value,
) -> Result<(&'static str, Value, Option<usize>), String> {
    let order = json!([["id", "ASC"]]);
    let page = |filters: Vec<Value>, context: &Value| {
        json!([filters, 0, PAGE, order, task.fields, context])
    };
    Ok(match &task.kind {
        TaskKind::Scan { after } => {
            let filters = after_id(after.as_deref())?.into_iter().collect();
            ("search_read", page(filters, context), Some(PAGE))
        }
        TaskKind::Window { from, to, after } => {
            if object.stamp.is_none() {
                return Err("it has no modification stamp".into());
            }
            let mut filters: Vec<Value> = window(Some(*from), Some(*to)).into_iter().collect();
            filters.extend(after_id(after.as_deref())?);
            ("search_read", page(filters, context), Some(PAGE))
        }
        TaskKind::Keys { after } => {
            let filters: Vec<Value> = after_id(after.as_deref())?.into_iter().collect();
            ("search", json!([filters, 0, KEY_PAGE, order, context]), Some(KEY_PAGE))
        }
        TaskKind::Ids { ids } => {
            let ids: Result<Vec<i64>, _> = ids.iter().map(|id| id.parse::<i64>()).collect();
            let ids = ids.map_err(|_| "an id is no number".to_owned())?;
            let params = json!([[["id", "in", ids]], 0, null, order, task.fields, context]);
            ("search_read", params, None)
        }
        TaskKind::Count { from, to } => {
            let filters: Vec<Value> = window(*from, *to).into_iter().collect();
            ("search_count", json!([filters, context]), None)
        }
        TaskKind::Job { .. } => return Err("this provider has no jobs".into()),
        TaskKind::Delta { .. } => return Err("this provider has no delta tokens".into()),
        TaskKind::Deleted { .. } => return Err("this provider has no delete log".into()),
    })
}

pub(super) async fn send(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    call: &Call,
    schema: &Schema,
    sink: mpsc::Sender<Delivered>,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    for (i, task) in call.tasks.iter().enumerate() {
        let step = match one(tryton, ctx, task, schema, &mut outcome).await {
            Ok((batch, step)) => {
                if let Some(batch) = batch {
                    let position = batch.facts().last;
                    let delivered = Delivered { task: i, batch, position };
                    if sink.send(delivered).await.is_err() {
                        return Err(Fault::passing("the reader of the rows stopped").into());
                    }
                }
                step
            }
            Err(Failure::Fault(
                fault @ (Fault::Denied { .. }
                | Fault::SchemaMoved { .. }
                | Fault::RecordRefused { .. }
                | Fault::Contract { .. }),
            )) => Step::Failed(fault),
            Err(other) => return Err(other),
        };
        outcome.steps.push(step);
    }
    Ok(outcome)
}

async fn one(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    task: &Task,
    schema: &Schema,
    outcome: &mut Outcome,
) -> Result<(Option<Batch>, Step), Failure> {
    let name = &task.object;
    let object = schema
        .objects
        .get(name)
        .filter(|_| value::is_model(name))
        .ok_or_else(|| Fault::contract(format!("{name} was never described")))?;
    let (method, params, full) = question(task, object, &tryton.context())
        .map_err(|why| Fault::contract(format!("{name}: {why}")))?;
    let about = About { object: Some(name), fields: &task.fields };
    let got = rpc::call(tryton, ctx, &format!("model.{name}.{method}"), params, about).await?;
    outcome.server_time = got.server_time;
    let bad = |why: String| Fault::contract(format!("reading {name}: {why}"));
    let batch = match &task.kind {
        TaskKind::Count { .. } => {
            let count = serde_json::from_str(&got.result).map_err(|e| bad(e.to_string()))?;
            return Ok((None, Step::Counted(count)));
        }
        TaskKind::Keys { .. } => keys(&got.result).map_err(bad)?,
        TaskKind::Scan { .. }
        | TaskKind::Window { .. }
        | TaskKind::Ids { .. }
        | TaskKind::Delta { .. }
        | TaskKind::Job { .. }
        | TaskKind::Deleted { .. } => rows(&got.result, task, object).map_err(bad)?,
    };
    let count = batch.rows();
    let step = if full.is_some_and(|full| count >= full) { Step::More } else { Step::Done };
    Ok(((count > 0).then_some(batch), step))
}

fn keys(result: &str) -> Result<Batch, String> {
    let ids: Vec<i64> = serde_json::from_str(result).map_err(|e| e.to_string())?;
    let mut out = BatchBuilder::new(1);
    for id in ids {
        out.row();
        out.set(0, &id.to_string());
    }
    Ok(out.finish())
}

fn rows(result: &str, task: &Task, object: &ObjectSchema) -> Result<Batch, String> {
    let cells = task.fields.iter().enumerate().map(|(i, name)| {
        let kind = object.field(name).map_or(FieldType::Text, |f| f.kind);
        (name.as_str(), i, kind)
    });
    let wanted = Wanted {
        cells: cells.collect(),
        width: task.fields.len(),
        key: &object.key,
        key_column: None,
        stamp: None,
        ignored: "",
        value: value::cell,
    };
    let mut reader = serde_json::Deserializer::from_str(result);
    let rows = RowsSeed(&wanted).deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(rows.builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_the_fields() {
        let object = super::super::model::parse(
            "party.party",
            "Party",
            r#"{"id":{"type":"integer","sortable":true},"name":{"type":"char","sortable":true},
                "active":{"type":"boolean","sortable":true},"lang":{"type":"many2one","sortable":false},
                "addresses":{"type":"one2many","sortable":false},
                "amount":{"type":"numeric","sortable":true,"digits":"[16, 2]"},
                "create_date":{"type":"timestamp"},"write_date":{"type":"timestamp"}}"#,
        )
        .unwrap();
        let names: Vec<&str> = object.fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["id", "active", "amount", "create_date", "name", "write_date"]);
        assert_eq!(object.field("amount").unwrap().source_type, "numeric(16,2)");
        assert_eq!(object.stamp.as_deref(), Some("write_date"));
        let task = Task {
            object: "party.party".into(),
            fields: ["id", "name", "active"].map(str::to_owned).to_vec(),
            kind: TaskKind::Scan { after: None },
        };
        let b = rows(
            r#"[{"name":"A","id":7,"active":1},{"id":8,"name":null,"active":0}]"#,
            &task,
            &object,
        )
        .unwrap();
        assert_eq!((b.get(0, 0), b.get(0, 1), b.get(0, 2)), (Some("7"), Some("A"), Some("true")));
        assert_eq!((b.key(1), b.get(1, 1), b.get(1, 2)), (Some("8"), None, Some("false")));
        assert!(rows(r#"[{"name":"A"}]"#, &task, &object).unwrap_err().contains("no id"));
        assert!(rows("[{", &task, &object).is_err());
    }
}
