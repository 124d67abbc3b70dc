//! The REST API under `/services/data/vXX.0`, as the dossier's section 3 has it: which address does
//! what, and what it costs (section 4).
//!
//! Parts of a composite call come through the same door as whole calls, so that they answer alike.
//! Nothing here knows tokens, quota or faults: that has been decided before.

mod collections;
mod composite;
pub(crate) mod cursors;
mod discovery;
mod jobs;
mod query;
mod records;
pub(crate) mod system_rows;

use serde_json::{Map, Value, json};

use crate::data::{Access, ApiError};
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::{Sandbox, World};
use crate::users::User;

/// Versions 21.0 to 30.0 and earlier are retired.
const OLDEST: u32 = 31;
const NEWEST: u32 = 68;

/// The user on whose behalf a call runs, and what he may.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user_id: String,
    pub(crate) access: Access,
    pub(crate) api_enabled: bool,
    pub(crate) view_setup: bool,
    /// When what he may see, or the schema, last changed.
    pub(crate) described: jiff::Timestamp,
    pub(crate) page_size: Option<usize>,
}

impl Caller {
    pub(crate) fn new(world: &World, user: &User) -> Caller {
        Caller {
            user_id: user.id.clone(),
            access: user.access(),
            api_enabled: user.may("PermissionsApiEnabled"),
            view_setup: user.may("PermissionsViewSetup"),
            described: world.schema_changed.max(user.sight_changed),
            page_size: world.page_size,
        }
    }
}

fn version(request: &Request) -> Option<u32> {
    let text = request.segments.get(2)?.strip_prefix('v')?;
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

/// The path after the version, as an address.
fn resource(request: &Request) -> Vec<&str> {
    request.segments.iter().skip(3).map(String::as_str).collect()
}

/// What the call is, for counters and the record of calls.
pub(crate) fn kind(request: &Request) -> &'static str {
    if request.segments.len() <= 2 {
        return "versions";
    }
    let method = request.method.as_str();
    match (method, resource(request).as_slice()) {
        (_, []) => "resources",
        (_, ["sobjects"]) => "describe_global",
        ("POST", ["sobjects", _]) => "create",
        (_, ["sobjects", _]) => "object_info",
        (_, ["sobjects", _, "describe"]) => "describe",
        (_, ["sobjects", _, "updated"]) => "updated",
        (_, ["sobjects", _, "deleted"]) => "deleted",
        ("PATCH", ["sobjects", ..]) => "update",
        ("DELETE", ["sobjects", ..]) => "delete",
        (_, ["sobjects", ..]) => "read",
        (_, ["query" | "queryAll", _]) => "query_more",
        (_, ["query"]) => "query",
        (_, ["queryAll"]) => "query_all",
        (_, ["limits"]) => "limits",
        (_, ["limits", "recordCount"]) => "record_count",
        (_, ["composite"]) => "composite",
        (_, ["composite", "batch"]) => "batch",
        (_, ["composite", ..]) => "collection",
        ("POST", ["jobs", "query"]) => "bulk_create",
        (_, ["jobs", "query"]) => "bulk_list",
        ("PATCH", ["jobs", "query", _]) => "bulk_abort",
        ("DELETE", ["jobs", "query", _]) => "bulk_delete",
        (_, ["jobs", "query", _]) => "bulk_look",
        (_, ["jobs", "query", _, "results"]) => "bulk_page",
        (_, ["jobs", "query", _, "resultPages"]) => "bulk_pages",
        _ => "other",
    }
}

/// What the call costs: one; the versions list nothing; a batch as much as it has parts. A refused
/// batch costs the one call it is.
pub(crate) fn cost(request: &Request) -> u64 {
    match kind(request) {
        "versions" => 0,
        "batch" => composite::batch_size(&request.body).clamp(1, 25),
        _ => 1,
    }
}

/// The list of versions; free, and open to everybody.
pub(crate) fn versions() -> Reply {
    let list: Vec<Value> = (OLDEST..=NEWEST)
        .map(|version| {
            json!({
                "label": label(version),
                "url": format!("/services/data/v{version}.0"),
                "version": format!("{version}.0"),
            })
        })
        .collect();
    Reply::json(200, &Value::Array(list))
}

/// 60 is Spring '24; three releases a year, Winter belongs to the next one.
fn label(version: u32) -> String {
    let releases = version + 12;
    let year = releases / 3;
    match releases % 3 {
        0 => format!("Spring '{year}"),
        1 => format!("Summer '{year}"),
        _ => format!("Winter '{}", year + 1),
    }
}

/// A failure on its way to an answer.
pub(crate) type Outcome = Result<Reply, Reply>;

/// The vendor's answer to an address or method it does not know.
fn not_found() -> Reply {
    ApiError::not_found().into()
}

/// Answers one call, or one part of a composite call.
pub(crate) fn answer(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Reply {
    match version(request) {
        Some(OLDEST..=NEWEST) => {}
        Some(retired) if retired < OLDEST => {
            return Reply::error(
                410,
                "UNSUPPORTED_API_VERSION",
                "The requested API version has been retired",
            );
        }
        _ => return not_found(),
    }
    let resource = resource(request);
    let outcome = match resource.as_slice() {
        ["composite"] => composite::composite(sandbox, caller, request),
        ["composite", "batch"] => composite::batch(sandbox, caller, request),
        ["jobs", "query", path @ ..] => jobs::answer(sandbox, caller, request, path),
        _ => single(sandbox, caller, request, &resource),
    };
    outcome.unwrap_or_else(|reply| reply)
}

/// Everything that can also be a part of a composite call.
fn single(sandbox: &Sandbox, caller: &Caller, request: &Request, resource: &[&str]) -> Outcome {
    let method = request.method.as_str();
    match (method, resource) {
        ("GET" | "HEAD", []) => Ok(discovery::resources(request)),
        ("GET" | "HEAD", ["sobjects"]) => discovery::global(sandbox, caller, request),
        ("GET" | "HEAD", ["sobjects", object]) => discovery::object(sandbox, caller, object),
        ("POST", ["sobjects", object]) => records::create(sandbox, caller, request, object),
        ("GET" | "HEAD", ["sobjects", object, "describe"]) => {
            discovery::describe(sandbox, caller, request, object)
        }
        ("GET", ["sobjects", object, span @ ("updated" | "deleted")]) => {
            records::changes(sandbox, caller, request, object, span)
        }
        ("GET" | "HEAD", ["sobjects", object, id]) => {
            records::read(sandbox, caller, request, object, id)
        }
        ("PATCH", ["sobjects", object, id]) => {
            records::update(sandbox, caller, request, object, id)
        }
        ("DELETE", ["sobjects", object, id]) => records::delete(sandbox, caller, object, id),
        (_, ["sobjects", object, field, value]) => {
            records::by_field(sandbox, caller, request, object, field, value)
        }
        ("GET", ["query"]) => query::start(sandbox, caller, request, false),
        ("GET", ["queryAll"]) => query::start(sandbox, caller, request, true),
        ("GET", ["query" | "queryAll", locator]) => query::more(sandbox, caller, request, locator),
        ("GET", ["limits"]) => discovery::limits(sandbox, caller),
        ("GET", ["limits", "recordCount"]) => Ok(discovery::record_count(sandbox, caller, request)),
        (_, ["composite", "sobjects", rest @ ..]) => {
            collections::answer(sandbox, caller, request, rest)
        }
        (_, [] | ["sobjects" | "query" | "queryAll" | "limits", ..]) => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            &format!("HTTP Method '{method}' not allowed. Allowed are HEAD,GET,POST,PATCH,DELETE"),
        )),
        _ => Err(not_found()),
    }
}

/// The JSON object of a request body.
fn body_object(request: &Request) -> Result<Map<String, Value>, Reply> {
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Reply::error(
            400,
            "JSON_PARSER_ERROR",
            "Cannot deserialize request body: an object was expected",
        )),
        Err(error) => Err(Reply::error(
            400,
            "JSON_PARSER_ERROR",
            &format!("Unexpected character or end of the body: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, body: &str) -> Request {
        Request::new(method, target, axum::http::HeaderMap::new(), body.as_bytes().to_vec())
    }

    #[test]
    fn labels_follow_the_releases() {
        for (version, label_text) in [
            (60, "Spring '24"),
            (61, "Summer '24"),
            (62, "Winter '25"),
            (64, "Summer '25"),
            (67, "Summer '26"),
            (68, "Winter '27"),
        ] {
            assert_eq!(label(version), label_text);
        }
    }

    #[test]
    fn costs_are_the_dossiers() {
        let at = |method, path: &str, body| {
            cost(&request(method, &format!("/services/data{path}"), body))
        };
        assert_eq!(at("GET", "", ""), 0);
        assert_eq!(at("GET", "/", ""), 0);
        assert_eq!(at("GET", "/v64.0/query?q=x", ""), 1);
        assert_eq!(at("POST", "/v64.0/composite", "{}"), 1);
        let three = r#"{"batchRequests":[{},{},{}]}"#;
        assert_eq!(at("POST", "/v64.0/composite/batch", three), 3);
        assert_eq!(at("POST", "/v64.0/composite/batch", "nonsense"), 1);
    }
}
