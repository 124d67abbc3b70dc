//! `composite` (one call, parts may refer to each other) and `composite/batch` (independent parts,
//! each of which counts).

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::{Caller, Outcome, body_object};
use crate::faults::PartRefusal;
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;

const PARTS: usize = 25;
const QUERIES: usize = 5;

fn bad(message: &str) -> Reply {
    Reply::error(400, "JSON_PARSER_ERROR", message)
}

/// How many parts a batch has, for its price; 0 when it cannot be read.
pub(super) fn batch_size(body: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| Some(body.get("batchRequests")?.as_array()?.len()))
        .map_or(0, |n| n as u64)
}

fn text<'v>(part: &'v Value, name: &str) -> &'v str {
    part.get(name).and_then(Value::as_str).unwrap_or("")
}

/// What is said where the tester has it that getDeleted cannot be a part.
const REFUSED_DELETED: &str = "The deleted resource is not supported in a composite request";

fn deleted_refused(sandbox: &Sandbox, how: PartRefusal) -> bool {
    sandbox.world().faults.composite_deleted == how
}

/// Runs one part; composite inside composite is refused.
fn run(
    sandbox: &Sandbox,
    caller: &Caller,
    method: &str,
    url: &str,
    headers: Option<&Value>,
    body: Option<&Value>,
    outer: &Request,
) -> Reply {
    let mut map = HeaderMap::new();
    if let Some(options) = outer.headers.get("sforce-query-options") {
        map.insert("sforce-query-options", options.clone());
    }
    for (name, value) in headers.and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.as_str() {
            Request::set_header(&mut map, name, value);
        }
    }
    let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    // Parts of a batch begin at the version: `v64.0/query?q=…`.
    let url = match url.strip_prefix("/services/data/") {
        Some(_) => url.to_owned(),
        None => format!("/services/data/{}", url.trim_start_matches('/')),
    };
    let request = Request::new(method, &url, map, bytes);
    sandbox.events.count(&format!("sub:{}", super::kind(&request)));
    let fail = sandbox.world().faults.take_fail_of_part(&request.target, &request.decoded_target());
    if let Some(fail) = fail {
        sandbox.events.count("failed");
        return fail.reply();
    }
    let resource = super::resource(&request);
    match resource.as_slice() {
        ["composite"] | ["composite", "batch" | "graph" | "tree", ..] => {
            Reply::error(400, "INVALID_INPUT", "a composite request cannot be part of another one")
        }
        ["sobjects", _, "deleted"] if deleted_refused(sandbox, PartRefusal::Part) => {
            Reply::error(400, "INVALID_INPUT", REFUSED_DELETED)
        }
        ["jobs", ..] => {
            Reply::error(400, "INVALID_INPUT", "a job cannot be part of a composite request")
        }
        _ => super::answer(sandbox, caller, &request),
    }
}

fn write_body(out: &mut Vec<u8>, reply: &Reply) {
    if reply.body.is_empty() {
        out.extend_from_slice(b"null");
    } else if reply.content_type.starts_with("application/json") {
        out.extend_from_slice(&reply.body);
    } else {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        out.extend_from_slice(Value::String(text).to_string().as_bytes());
    }
}

/// `POST /composite`.
pub(super) fn composite(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Outcome {
    if request.method != "POST" {
        return Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "HTTP Method not allowed. Allowed are POST",
        ));
    }
    let body = body_object(request)?;
    let parts = body
        .get("compositeRequest")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("compositeRequest is missing"))?;
    if parts.is_empty() || parts.len() > PARTS {
        return Err(Reply::error(
            400,
            "LIMIT_EXCEEDED",
            &format!(
                "The composite request has {} subrequests; 1 to {PARTS} are allowed",
                parts.len()
            ),
        ));
    }
    let gets_deleted = |part: &Value| {
        let path = text(part, "url").split('?').next().unwrap_or_default();
        path.trim_end_matches('/').ends_with("/deleted")
    };
    if deleted_refused(sandbox, PartRefusal::Whole) && parts.iter().any(gets_deleted) {
        return Err(Reply::error(400, "INVALID_INPUT", REFUSED_DELETED));
    }
    let mut queries = 0;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for part in parts {
        let name = text(part, "referenceId");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(bad(&format!(
                "Provided referenceId ('{name}') must start with a letter or a number, and it can contain only letters, numbers and underscores ('_')."
            )));
        }
        if !names.insert(name) {
            return Err(bad(&format!("Provided referenceId ('{name}') isn't unique.")));
        }
        let url = text(part, "url");
        if text(part, "method").is_empty() || !url.starts_with("/services/data/") {
            return Err(bad(&format!(
                "subrequest '{name}' needs a method and a url beginning with /services/data/"
            )));
        }
        queries += usize::from(url.contains("/query") || url.contains("/composite/sobjects"));
    }
    if queries > QUERIES {
        return Err(Reply::error(
            400,
            "LIMIT_EXCEEDED",
            &format!(
                "The composite request has {queries} query or collection subrequests; at most {QUERIES} are allowed"
            ),
        ));
    }
    let all_or_none = body.get("allOrNone").and_then(Value::as_bool) == Some(true);
    if all_or_none && parts.iter().any(|part| text(part, "method") != "GET") {
        return Err(Reply::error(
            400,
            "INVALID_INPUT",
            "crmsync-sandbox cannot roll back: allOrNone is refused for subrequests that write",
        ));
    }
    let mut done: BTreeMap<String, Value> = BTreeMap::new();
    let mut out = br#"{"compositeResponse":["#.to_vec();
    for (n, part) in parts.iter().enumerate() {
        let name = text(part, "referenceId");
        let reply = match resolve(part, &done) {
            Ok(part) => run(
                sandbox,
                caller,
                text(&part, "method"),
                text(&part, "url"),
                part.get("httpHeaders"),
                part.get("body"),
                request,
            ),
            Err(why) => Reply::error(400, "PROCESSING_HALTED", &why),
        };
        if reply.status < 300
            && let Ok(value) = serde_json::from_slice(&reply.body)
        {
            done.insert(name.to_owned(), value);
        }
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"body":"#);
        write_body(&mut out, &reply);
        let mut headers = Map::new();
        for (header, value) in &reply.headers {
            let header = match *header {
                "last-modified" => "Last-Modified",
                "etag" => "ETag",
                "location" => "Location",
                _ => continue,
            };
            headers.insert(header.to_owned(), Value::String(value.clone()));
        }
        let tail = format!(
            r#","httpHeaders":{},"httpStatusCode":{},"referenceId":{}}}"#,
            Value::Object(headers),
            reply.status,
            Value::String(name.to_owned())
        );
        out.extend_from_slice(tail.as_bytes());
    }
    out.extend_from_slice(b"]}");
    Ok(Reply::raw_json(out))
}

/// Puts the values of earlier answers where `@{ref.path}` stands.
fn resolve(part: &Value, done: &BTreeMap<String, Value>) -> Result<Value, String> {
    Ok(match part {
        Value::String(text) if text.contains("@{") => Value::String(resolve_text(text, done)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| resolve(item, done)).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(name, value)| Ok((name.clone(), resolve(value, done)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => part.clone(),
    })
}

fn resolve_text(text: &str, done: &BTreeMap<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@{") {
        let (reference, tail) =
            after.split_once('}').ok_or_else(|| format!("Invalid reference specified: {text}"))?;
        let unknown = || {
            format!("Invalid reference specified. No value for {reference} found in the results")
        };
        let mut steps = reference.split(['.', '[']);
        let mut value = steps.next().and_then(|name| done.get(name)).ok_or_else(unknown)?;
        for step in steps {
            let found = match step.strip_suffix(']') {
                Some(index) => index.parse::<usize>().ok().and_then(|n| value.get(n)),
                None => value.get(step),
            };
            value = found.ok_or_else(unknown)?;
        }
        out.push_str(before);
        match value {
            Value::String(text) => out.push_str(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => {
                out.push_str(&value.to_string());
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// `POST /composite/batch`.
pub(super) fn batch(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Outcome {
    if request.method != "POST" {
        return Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "HTTP Method not allowed. Allowed are POST",
        ));
    }
    let body = body_object(request)?;
    let parts = body
        .get("batchRequests")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("batchRequests is missing"))?;
    if parts.is_empty() || parts.len() > PARTS {
        return Err(Reply::error(
            400,
            "LIMIT_EXCEEDED",
            &format!("The batch has {} subrequests; 1 to {PARTS} are allowed", parts.len()),
        ));
    }
    let halt = body.get("haltOnError").and_then(Value::as_bool) == Some(true);
    let mut has_errors = false;
    let mut results = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let reply = if halt && has_errors {
            Reply::error(
                412,
                "BATCH_PROCESSING_HALTED",
                "Batch processing halted due to an earlier error",
            )
        } else {
            run(
                sandbox,
                caller,
                text(part, "method"),
                text(part, "url"),
                None,
                part.get("richInput"),
                request,
            )
        };
        has_errors |= reply.status >= 400;
        if n > 0 {
            results.push(b',');
        }
        results
            .extend_from_slice(format!(r#"{{"statusCode":{},"result":"#, reply.status).as_bytes());
        write_body(&mut results, &reply);
        results.push(b'}');
    }
    let mut out = format!(r#"{{"hasErrors":{has_errors},"results":["#).into_bytes();
    out.extend_from_slice(&results);
    out.extend_from_slice(b"]}");
    Ok(Reply::raw_json(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_reach_into_earlier_answers() {
        let done: BTreeMap<String, Value> =
            [(String::from("acc"), json!({"id": "001x", "records": [{"Name": "n", "Size": 5}]}))]
                .into();
        let part = json!({"url": "/x/@{acc.id}/@{acc.records[0].Size}", "body": {"A": ["@{acc.records[0].Name}"]}});
        let resolved = resolve(&part, &done).unwrap();
        assert_eq!(resolved["url"], "/x/001x/5");
        assert_eq!(resolved["body"]["A"][0], "n");
        assert!(resolve(&json!("@{none.id}"), &done).is_err());
        assert!(resolve(&json!("@{acc.ID}"), &done).is_err());
        assert!(resolve(&json!("@{acc.id"), &done).is_err());
        assert_eq!(resolve(&json!("a}@b{"), &done).unwrap(), "a}@b{");
    }
}
