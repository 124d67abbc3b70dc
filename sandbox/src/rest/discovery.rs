//! What is there: resources, describes, limits, record counts.

use serde_json::{Map, Value, json};

use super::{Caller, Outcome};
use crate::clock::{http_date, parse_http_date};
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;

/// `GET /vXX.0`: where everything is.
pub(super) fn resources(request: &Request) -> Reply {
    let version = request.segments.get(2).map_or("", String::as_str);
    let list: Map<String, Value> = ["sobjects", "query", "queryAll", "limits", "composite", "jobs"]
        .iter()
        .map(|name| {
            let url = format!("/services/data/{version}/{name}");
            ((*name).to_owned(), Value::String(url))
        })
        .collect();
    Reply::json(200, &Value::Object(list))
}

/// When the schema, or what the caller sees of it, last changed.
fn changed(sandbox: &Sandbox, caller: &Caller) -> jiff::Timestamp {
    caller.described.max(sandbox.org().last_schema_change())
}

/// 304 when nothing has changed since the date the client has.
fn unless_modified(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    let changed = changed(sandbox, caller);
    let known = request.header("if-modified-since").and_then(parse_http_date);
    let stamp = http_date(changed);
    if known.is_some_and(|known| changed.as_second() <= known.as_second()) {
        sandbox.events.count("not_modified");
        return Ok(Reply::empty(304).with("last-modified", stamp));
    }
    Ok(body()?.with("last-modified", stamp))
}

/// `GET /sobjects`.
pub(super) fn global(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Outcome {
    unless_modified(sandbox, caller, request, || {
        let body = sandbox.org().describe_global(&caller.access);
        Ok(Reply::json(200, &body))
    })
}

/// `GET /sobjects/{O}/describe`.
pub(super) fn describe(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    object: &str,
) -> Outcome {
    // The object is looked up first: a lost one is 404, never 304.
    let body = sandbox.org().describe(object, &caller.access)?;
    unless_modified(sandbox, caller, request, || Ok(Reply::json(200, &body)))
}

/// `GET /sobjects/{O}`: the head of the describe.
pub(super) fn object(sandbox: &Sandbox, caller: &Caller, object: &str) -> Outcome {
    let body = sandbox.org().object_entry(object, &caller.access)?;
    Ok(Reply::json(200, &json!({"objectDescribe": body, "recentItems": []})))
}

/// `GET /limits`; needs View Setup.
pub(super) fn limits(sandbox: &Sandbox, caller: &Caller) -> Outcome {
    if !caller.view_setup {
        return Err(Reply::error(403, "API_DISABLED_FOR_ORG", "limits resource is not enabled"));
    }
    let (used, max, per_app, jobs) = {
        let mut world = sandbox.world();
        let (used, max) = world.meter.usage(sandbox.now());
        let jobs = world.bulk.daily.usage(sandbox.now());
        (used, max, world.per_app_usage.then_some(world.app_used), jobs)
    };
    let mut body = Map::new();
    for (name, most, left) in STEADY {
        body.insert((*name).to_owned(), json!({"Max": most, "Remaining": left}));
    }
    let remaining = max.saturating_sub(used);
    let mut daily = json!({"Max": max, "Remaining": remaining});
    if let Some(app_used) = per_app {
        let most = max / 4;
        daily["crmsync"] = json!({"Max": most, "Remaining": most.saturating_sub(app_used)});
    }
    body.insert(String::from("DailyApiRequests"), daily);
    let (made, most) = jobs;
    body.insert(
        String::from("DailyBulkV2QueryJobs"),
        json!({"Max": most, "Remaining": most.saturating_sub(made)}),
    );
    body.insert(
        String::from("PermissionSets"),
        json!({"Max": 1500, "Remaining": 1492, "CreateCustom": {"Max": 1000, "Remaining": 992}}),
    );
    Ok(Reply::json(200, &Value::Object(body)))
}

/// Limits that nothing in the sandbox moves: name, maximum, remaining.
const STEADY: &[(&str, u64, u64)] = &[
    ("ActiveScratchOrgs", 3, 3),
    ("ConcurrentAsyncGetReportInstances", 200, 200),
    ("ConcurrentSyncReportRuns", 20, 20),
    ("DailyAsyncApexExecutions", 250_000, 250_000),
    ("DailyBulkApiBatches", 15_000, 15_000),
    ("DailyBulkV2QueryFileStorageMB", 976_562, 976_562),
    ("DailyDeliveredPlatformEvents", 10_000, 10_000),
    ("DailyStreamingApiEvents", 10_000, 10_000),
    ("DailyWorkflowEmails", 195, 195),
    ("DataStorageMB", 1024, 1000),
    ("FileStorageMB", 20, 20),
    ("HourlyODataCallout", 1_000, 1_000),
    ("HourlyPublishedPlatformEvents", 50_000, 50_000),
    ("MassEmail", 10, 10),
    ("SingleEmail", 15, 15),
];

/// `GET /limits/recordCount?sObjects=A,B`.
pub(super) fn record_count(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Reply {
    let org = sandbox.org();
    let named = request.param("sObjects").unwrap_or("");
    let names: Vec<String> = if named.is_empty() {
        org.object_names()
    } else {
        named.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let now = sandbox.now();
    let counts: Vec<Value> = names
        .iter()
        .filter_map(|name| {
            let describe = org.object_entry(name, &caller.access).ok()?;
            let count = org.record_count(name, now)?;
            Some(json!({"count": count, "name": describe.get("name")?}))
        })
        .collect();
    Reply::json(200, &json!({"sObjects": counts}))
}
