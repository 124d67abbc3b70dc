//! `composite/sobjects`: up to 200 records in one call, each with its own result.
//!
//! Errors inside a result carry `statusCode` where a whole answer carries `errorCode`; the status
//! of the whole is 200 even when every record failed.

use serde_json::{Map, Value, json};

use super::{Caller, Outcome, body_object, records};
use crate::data::ApiError;
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;

const RECORDS: usize = 200;
const RETRIEVED: usize = 2_000;

fn too_many(count: usize, most: usize) -> Reply {
    Reply::error(
        400,
        "EXCEEDED_ID_LIMIT",
        &format!(
            "record limit reached. cannot submit more than {most} records into this call ({count} given)"
        ),
    )
}

fn failure(error: &ApiError) -> Value {
    json!({"success": false, "errors": [error.collection_entry()]})
}

fn success(id: &str, made: Option<bool>) -> Value {
    let mut result = json!({"id": id, "success": true, "errors": []});
    if let Some(made) = made {
        result["created"] = json!(made);
    }
    result
}

/// The record's type and its fields.
fn typed(record: &Value) -> Result<(String, Map<String, Value>), ApiError> {
    let kind = record
        .get("attributes")
        .and_then(|attributes| attributes.get("type"))
        .and_then(Value::as_str)
        .ok_or_else(|| {
            ApiError::bad(
                "INVALID_INPUT",
                "sObject type must be given in attributes.type of each record",
            )
        })?;
    let mut fields = record.as_object().cloned().unwrap_or_default();
    fields.remove("attributes");
    Ok((kind.to_owned(), fields))
}

fn take_id(fields: &mut Map<String, Value>) -> Result<String, ApiError> {
    let key = fields.keys().find(|name| name.eq_ignore_ascii_case("id")).cloned();
    key.and_then(|key| fields.remove(&key))
        .and_then(|id| id.as_str().map(str::to_owned))
        .ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", "Id not specified in an update call"))
}

/// The whole family.
pub(super) fn answer(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    rest: &[&str],
) -> Outcome {
    match (request.method.as_str(), rest) {
        ("GET" | "POST", [object]) => retrieve(sandbox, caller, request, object),
        ("DELETE", []) => {
            let ids: Vec<&str> = request
                .param("ids")
                .unwrap_or("")
                .split(',')
                .map(str::trim)
                .filter(|id| !id.is_empty())
                .collect();
            refuse_rollback(request.param("allOrNone") == Some("true"))?;
            if ids.len() > RECORDS {
                return Err(too_many(ids.len(), RECORDS));
            }
            let results: Vec<Value> = ids
                .iter()
                .map(|id| match delete(sandbox, caller, id) {
                    Ok(()) => success(id, None),
                    Err(error) => failure(&error),
                })
                .collect();
            Ok(Reply::json(200, &Value::Array(results)))
        }
        ("POST" | "PATCH", []) | ("PATCH", [_, _]) => write(sandbox, caller, request, rest),
        _ => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "HTTP Method not allowed for this resource",
        )),
    }
}

fn refuse_rollback(all_or_none: bool) -> Result<(), Reply> {
    if all_or_none {
        return Err(Reply::error(
            400,
            "INVALID_INPUT",
            "crmsync-sandbox cannot roll back: allOrNone is refused",
        ));
    }
    Ok(())
}

/// The object is the one whose key prefix the id begins with.
fn delete(sandbox: &Sandbox, caller: &Caller, id: &str) -> Result<(), ApiError> {
    let malformed = || ApiError::bad("MALFORMED_ID", format!("malformed id {id}"));
    let prefix = id.get(..3).ok_or_else(malformed)?;
    let global = sandbox.org().describe_global(&caller.access);
    let object = global
        .get("sobjects")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| entry.get("keyPrefix").and_then(Value::as_str) == Some(prefix))
        .and_then(|entry| entry.get("name")?.as_str())
        .ok_or_else(malformed)?;
    sandbox.org_mut().delete(object, id, sandbox.now())
}

fn write(sandbox: &Sandbox, caller: &Caller, request: &Request, rest: &[&str]) -> Outcome {
    let body = body_object(request)?;
    refuse_rollback(body.get("allOrNone").and_then(Value::as_bool) == Some(true))?;
    let records = body
        .get("records")
        .and_then(Value::as_array)
        .ok_or_else(|| Reply::error(400, "JSON_PARSER_ERROR", "records is missing"))?;
    if records.len() > RECORDS {
        return Err(too_many(records.len(), RECORDS));
    }
    let mut results = Vec::with_capacity(records.len());
    for record in records {
        let result = match (request.method.as_str(), rest) {
            (_, [object, field]) => upsert(sandbox, caller, record, object, field),
            ("PATCH", _) => typed(record).and_then(|(object, mut fields)| {
                records::visible(sandbox, caller, &object)?;
                let id = take_id(&mut fields)?;
                sandbox.org_mut().update(&object, &id, &fields, sandbox.now(), &caller.user_id)?;
                Ok(success(&id, None))
            }),
            _ => typed(record).and_then(|(object, fields)| {
                records::visible(sandbox, caller, &object)?;
                let id = sandbox.org_mut().create(
                    &object,
                    &fields,
                    sandbox.now(),
                    None,
                    &caller.user_id,
                )?;
                Ok(success(&id, None))
            }),
        };
        results.push(result.unwrap_or_else(|error| failure(&error)));
    }
    Ok(Reply::json(200, &Value::Array(results)))
}

fn upsert(
    sandbox: &Sandbox,
    caller: &Caller,
    record: &Value,
    object: &str,
    field: &str,
) -> Result<Value, ApiError> {
    let (_, mut fields) = typed(record)?;
    let key = fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(field))
        .map(|(name, value)| (name.clone(), value.clone()))
        .ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", format!("{field} not specified")))?;
    let text = key.1.as_str().map_or_else(|| key.1.to_string(), str::to_owned);
    let known = records::find_by_field(sandbox, caller, object, field, &text).map_err(|_| {
        ApiError::bad(
            "INVALID_FIELD",
            format!("Provided external ID field does not exist or is not accessible: {field}"),
        )
    })?;
    match known.as_slice() {
        [] => {
            let id =
                sandbox.org_mut().create(object, &fields, sandbox.now(), None, &caller.user_id)?;
            Ok(success(&id, Some(true)))
        }
        [id] => {
            fields.remove(&key.0);
            sandbox.org_mut().update(object, id, &fields, sandbox.now(), &caller.user_id)?;
            Ok(success(id, Some(false)))
        }
        several => Err(ApiError::bad(
            "DUPLICATE_EXTERNAL_ID",
            format!("{field}: more than one record found for external id field: {several:?}"),
        )),
    }
}

fn retrieve(sandbox: &Sandbox, caller: &Caller, request: &Request, object: &str) -> Outcome {
    let (ids, fields): (Vec<String>, Vec<String>) = if request.method == "POST" {
        let body = body_object(request)?;
        let list = |name: &str| -> Vec<String> {
            body.get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        (list("ids"), list("fields"))
    } else {
        let list = |name: &str| -> Vec<String> {
            request
                .param(name)
                .unwrap_or("")
                .split(',')
                .filter(|item| !item.is_empty())
                .map(|item| item.trim().to_owned())
                .collect()
        };
        (list("ids"), list("fields"))
    };
    if ids.len() > RETRIEVED {
        return Err(too_many(ids.len(), RETRIEVED));
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let version = request.segments.get(2).map_or("v64.0", String::as_str);
    let org = sandbox.org();
    let mut found = Vec::with_capacity(ids.len());
    for id in &ids {
        let record = org.get_record(object, id, &fields, &caller.access, sandbox.now(), version);
        found.push(match record {
            Ok(record) => serde_json::from_slice(&record).unwrap_or_default(),
            Err(error) if error.status == 404 => Value::Null,
            Err(error) => return Err(error.into()),
        });
    }
    Ok(Reply::json(200, &Value::Array(found)))
}
