//! Single records, and what has changed or been deleted in a span of time.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Caller, Outcome, body_object};
use crate::data::ApiError;
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;

fn created(id: &str) -> Value {
    json!({"id": id, "success": true, "errors": []})
}

/// Refuses an object the caller does not have.
pub(super) fn visible(sandbox: &Sandbox, caller: &Caller, object: &str) -> Result<(), ApiError> {
    sandbox.org().object_entry(object, &caller.access).map(|_| ())
}

/// `POST /sobjects/{O}`.
pub(super) fn create(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
) -> Outcome {
    let mut fields = body_object(request)?;
    fields.remove("attributes");
    visible(sandbox, caller, object)?;
    let id = sandbox.org_mut().create(object, &fields, sandbox.now(), None, &caller.user_id)?;
    let version = request.segments.get(2).map_or("", String::as_str);
    Ok(Reply::json(201, &created(&id))
        .with("location", format!("/services/data/{version}/sobjects/{object}/{id}")))
}

/// `GET /sobjects/{O}/{id}`.
pub(super) fn read(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
    id: &str,
) -> Outcome {
    let fields: Vec<&str> = request
        .param("fields")
        .map(|list| list.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let version = request.segments.get(2).map_or("v64.0", String::as_str);
    let record =
        sandbox.org().get_record(object, id, &fields, &caller.access, sandbox.now(), version)?;
    Ok(Reply::raw_json(record))
}

fn unmodified_since(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
    id: &str,
) -> Result<(), Reply> {
    let Some(limit) = request.header("if-unmodified-since").and_then(crate::clock::parse_http_date)
    else {
        return Ok(());
    };
    let record = sandbox.org().get_record(
        object,
        id,
        &["LastModifiedDate"],
        &caller.access,
        sandbox.now(),
        "v64.0",
    )?;
    let record: Value = serde_json::from_slice(&record).unwrap_or_default();
    let changed = record.get("LastModifiedDate").and_then(Value::as_str).and_then(parse_datetime);
    if changed.is_some_and(|changed| changed.as_second() > limit.as_second()) {
        return Err(Reply::empty(412));
    }
    Ok(())
}

/// `PATCH /sobjects/{O}/{id}`.
pub(super) fn update(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
    id: &str,
) -> Outcome {
    let mut fields = body_object(request)?;
    fields.remove("attributes");
    visible(sandbox, caller, object)?;
    unmodified_since(sandbox, caller, request, object, id)?;
    sandbox.org_mut().update(object, id, &fields, sandbox.now(), &caller.user_id)?;
    Ok(Reply::empty(204))
}

/// `DELETE /sobjects/{O}/{id}`.
pub(super) fn delete(sandbox: &Sandbox, caller: &Caller, object: &str, id: &str) -> Outcome {
    visible(sandbox, caller, object)?;
    sandbox.org_mut().delete(object, id, sandbox.now())?;
    Ok(Reply::empty(204))
}

/// `/sobjects/{O}/{ExtField}/{value}`: read, upsert or delete by an external id.
pub(super) fn by_field(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
    field: &str,
    value: &str,
) -> Outcome {
    let matches = find_by_field(sandbox, caller, object, field, value)?;
    let version = request.segments.get(2).map_or("v64.0", String::as_str);
    if matches.len() > 1 {
        let addresses: Vec<String> = matches
            .iter()
            .map(|id| format!("/services/data/{version}/sobjects/{object}/{id}"))
            .collect();
        return Err(Reply::json(300, &json!(addresses)));
    }
    match (request.method.as_str(), matches.first()) {
        ("GET" | "HEAD", Some(id)) => read(sandbox, caller, request, object, id),
        ("DELETE", Some(id)) => delete(sandbox, caller, object, id),
        ("PATCH", known) => {
            let mut fields = body_object(request)?;
            fields.remove("attributes");
            if fields.keys().any(|name| name.eq_ignore_ascii_case(field)) {
                return Err(Reply::error(
                    400,
                    "INVALID_FIELD",
                    &format!("The {field} field should not be specified in the sobject data."),
                ));
            }
            let id = match known {
                Some(id) => {
                    sandbox.org_mut().update(
                        object,
                        id,
                        &fields,
                        sandbox.now(),
                        &caller.user_id,
                    )?;
                    id.clone()
                }
                None if request.param("updateOnly") == Some("true") => {
                    return Err(super::not_found());
                }
                None => {
                    fields.insert(field.to_owned(), Value::String(value.to_owned()));
                    sandbox.org_mut().create(
                        object,
                        &fields,
                        sandbox.now(),
                        None,
                        &caller.user_id,
                    )?
                }
            };
            let mut body = created(&id);
            body["created"] = json!(known.is_none());
            Ok(Reply::json(if known.is_some() { 200 } else { 201 }, &body))
        }
        (_, None) => Err(super::not_found()),
        _ => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "HTTP Method not allowed. Allowed are HEAD,GET,PATCH,DELETE",
        )),
    }
}

/// Ids of the records with this value in an external-id field (or `Id`).
pub(super) fn find_by_field(
    sandbox: &Sandbox,
    caller: &Caller,
    object: &str,
    field: &str,
    value: &str,
) -> Result<Vec<String>, Reply> {
    let org = sandbox.org();
    let describe = org.describe(object, &caller.access)?;
    let described =
        describe.get("fields").and_then(Value::as_array).into_iter().flatten().find(|known| {
            known
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.eq_ignore_ascii_case(field))
        });
    let flag = |name: &str| {
        described.and_then(|known| known.get(name)).and_then(Value::as_bool) == Some(true)
    };
    if !(flag("externalId") || flag("idLookup")) {
        return Err(Reply::error(
            404,
            "NOT_FOUND",
            &format!("Provided external ID field does not exist or is not accessible: {field}"),
        ));
    }
    let numeric = described
        .and_then(|known| known.get("type"))
        .and_then(Value::as_str)
        .is_some_and(|kind| kind == "double" || kind == "int");
    let literal = if numeric && value.parse::<f64>().is_ok_and(f64::is_finite) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    };
    let soql = format!("SELECT Id FROM {object} WHERE {field} = {literal} LIMIT 100");
    let result = org.query(&soql, false, &caller.access, sandbox.now())?;
    let mut rendered = vec![b'['];
    org.render(&result, 0, result.len(), &mut rendered, "v64.0");
    rendered.push(b']');
    let rows: Vec<Value> = serde_json::from_slice(&rendered).unwrap_or_default();
    Ok(rows.iter().filter_map(|row| Some(row.get("Id")?.as_str()?.to_owned())).collect())
}

/// Reads RFC 3339 and the vendor's `+0000` form; a `+` may have arrived as a space.
fn parse_datetime(text: &str) -> Option<Timestamp> {
    let text = text.trim().replace(' ', "+");
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", &text).ok())
}

/// `GET /sobjects/{O}/updated|deleted?start=…&end=…`.
pub(super) fn changes(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
    span: &str,
) -> Outcome {
    let bound = |name: &str| {
        request.param(name).and_then(parse_datetime).ok_or_else(|| {
            Reply::error(
                400,
                "INVALID_REPLICATION_DATE",
                &format!("{name} must be an ISO 8601 datetime"),
            )
        })
    };
    let (start, end) = (bound("start")?, bound("end")?);
    let org = sandbox.org();
    let now = sandbox.now();
    let body = if span == "updated" {
        org.get_updated(object, start, end, now, &caller.access)?
    } else {
        org.get_deleted(object, start, end, now, &caller.access)?
    };
    Ok(Reply::json(200, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_are_read_in_every_form_clients_send() {
        let expected: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05+00:00",
            "2026-01-02T03:04:05 00:00",
            "2026-01-02T04:04:05.000+0100",
            "2026-01-02T03:04:05.000+0000",
        ] {
            assert_eq!(parse_datetime(text), Some(expected), "{text}");
        }
        assert_eq!(parse_datetime("2026"), None);
    }
}
