//! `jobs/query`: Bulk API 2.0 query jobs, as the dossier's section 5.1 has them.
//!
//! A locator is the base64 of a place (and, behind `resultPages`, of a page's length): it means the
//! same rows as long as the job is there.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::{Caller, Outcome, body_object, not_found, version};
use crate::bulk::{CSV, Form, Page, Results, Spec, State};
use crate::data::Style;
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;
use crate::soql;

/// Rows of a page for a client that names no number.
const PAGE_ROWS: usize = 250_000;
/// Jobs in one answer of the list.
const LIST_PAGE: usize = 1_000;
/// Addresses in one answer of `resultPages`, and the first version that has it.
const RESULT_PAGES: (usize, u32) = (5, 58);
/// Below this the rows are written at once, so that the first look finds the job complete.
const AT_ONCE: usize = 5_000;

const DELIMITERS: [(&str, u8); 6] = [
    ("COMMA", b','),
    ("BACKQUOTE", b'`'),
    ("CARET", b'^'),
    ("PIPE", b'|'),
    ("SEMICOLON", b';'),
    ("TAB", b'\t'),
];
const LINE_ENDINGS: [(&str, bool); 2] = [("LF", false), ("CRLF", true)];

fn bad(code: &str, message: &str) -> Reply {
    Reply::error(400, code, message)
}

/// Answers everything under `jobs/query`.
pub(super) fn answer(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    path: &[&str],
) -> Outcome {
    match (request.method.as_str(), path) {
        ("POST", []) => create(sandbox, caller, request),
        ("GET", []) => list(sandbox, caller, request),
        ("GET", [id]) => look(sandbox, caller, id),
        ("PATCH", [id]) => abort(sandbox, caller, request, id),
        ("DELETE", [id]) => delete(sandbox, caller, id),
        ("GET" | "HEAD", [id, "results"]) => results(sandbox, caller, request, id),
        ("GET", [id, "resultPages"]) => result_pages(sandbox, caller, request, id),
        (_, [] | [_] | [_, "results" | "resultPages"]) => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            &format!("HTTP Method '{}' not allowed", request.method),
        )),
        _ => Err(not_found()),
    }
}

/// What a creation asks for.
struct Order {
    soql: String,
    operation: &'static str,
    delimiter: (&'static str, u8),
    line_ending: (&'static str, bool),
}

fn choice<T: Copy>(
    body: &serde_json::Map<String, Value>,
    key: &str,
    known: &[(&'static str, T)],
) -> Result<(&'static str, T), Reply> {
    let Some(value) = body.get(key).filter(|value| !value.is_null()) else {
        return known.first().copied().ok_or_else(not_found);
    };
    known.iter().find(|(name, _)| value.as_str() == Some(name)).copied().ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        bad("JSON_PARSER_ERROR", &format!("{key}: {value} is none of {}", names.join(", ")))
    })
}

fn order(request: &Request) -> Result<Order, Reply> {
    const KEYS: [&str; 5] = ["operation", "query", "contentType", "columnDelimiter", "lineEnding"];
    let body = body_object(request)?;
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(bad("JSON_PARSER_ERROR", &format!("Unrecognized field \"{key}\"")));
    }
    if body.get("operation").is_none() {
        return Err(bad("INVALIDJOB", "InvalidJob : operation must be specified"));
    }
    choice(&body, "contentType", &[("CSV", ())])?;
    let Some(soql) = body.get("query").and_then(Value::as_str) else {
        return Err(bad("INVALIDJOB", "InvalidJob : query must be specified"));
    };
    Ok(Order {
        soql: soql.to_owned(),
        operation: choice(&body, "operation", &[("query", ()), ("queryAll", ())])?.0,
        delimiter: choice(&body, "columnDelimiter", &DELIMITERS)?,
        line_ending: choice(&body, "lineEnding", &LINE_ENDINGS)?,
    })
}

fn create(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Outcome {
    let order = order(request)?;
    let query = soql::parse(&order.soql).map_err(|error| bad(error.code, &error.message))?;
    let row_order = {
        let bulk = &sandbox.world().bulk;
        bulk.allows(&query)?;
        bulk.switches.row_order
    };
    let (now, all) = (sandbox.now(), order.operation == "queryAll");
    let export = sandbox.org().export(&query, &order.soql, all, &caller.access, now, row_order)?;
    let style = Style { delimiter: order.delimiter.1, crlf: order.line_ending.1 };
    let object = export.object.clone();
    let results = Arc::new(Results::new(export, style));
    let spec = Spec {
        user: caller.user_id.clone(),
        operation: order.operation,
        object,
        version: version(request).unwrap_or_default(),
        delimiter: order.delimiter.0,
        line_ending: order.line_ending.0,
        results: Arc::clone(&results),
    };
    let memory = sandbox.world().bulk.memory();
    if results.len() <= AT_ONCE {
        let bytes = results.work(memory);
        sandbox.world().bulk.hold(Arc::clone(&results), bytes);
    }
    let mut world = sandbox.world();
    world.bulk.charge(now)?;
    let shown = world.bulk.add(spec, &query, now).head();
    drop(world);
    if !results.ready() {
        sandbox.later(move |sandbox| {
            let bytes = results.work(memory);
            sandbox.world().bulk.hold(results, bytes);
            sandbox.events.count("bulk_ready");
        });
    }
    Ok(Reply::json(200, &shown))
}

fn look(sandbox: &Sandbox, caller: &Caller, id: &str) -> Outcome {
    let mut world = sandbox.world();
    let job = world.bulk.find(id, &caller.user_id, sandbox.now()).ok_or_else(not_found)?;
    Ok(Reply::json(200, &job.whole()))
}

fn abort(sandbox: &Sandbox, caller: &Caller, request: &Request, id: &str) -> Outcome {
    let body = body_object(request)?;
    if body.get("state").and_then(Value::as_str) != Some("Aborted") || body.len() != 1 {
        return Err(bad("INVALIDJOBSTATE", "InvalidJobState : the only state to set is Aborted"));
    }
    let now = sandbox.now();
    let mut world = sandbox.world();
    let job = world.bulk.find(id, &caller.user_id, now).ok_or_else(not_found)?;
    if !job.abort(now) {
        let message = format!("InvalidJobState : job {} is already {}", job.id, job.state().name());
        return Err(bad("INVALIDJOBSTATE", &message));
    }
    Ok(Reply::json(200, &job.head()))
}

fn delete(sandbox: &Sandbox, caller: &Caller, id: &str) -> Outcome {
    let mut world = sandbox.world();
    let job = world.bulk.find(id, &caller.user_id, sandbox.now()).ok_or_else(not_found)?;
    if !job.state().ended() {
        let message = format!(
            "InvalidJobState : job {} is {}; only ended jobs can be deleted",
            job.id,
            job.state().name()
        );
        return Err(bad("INVALIDJOBSTATE", &message));
    }
    let id = job.id.clone();
    world.bulk.remove(&id);
    Ok(Reply::empty(204))
}

fn list(sandbox: &Sandbox, caller: &Caller, request: &Request) -> Outcome {
    let flag = |name: &str| request.param(name).map(|text| text.eq_ignore_ascii_case("true"));
    let chunked = flag("isPkChunkingEnabled");
    let none = request.param("jobType").is_some_and(|kind| kind != "V2Query")
        || request.param("concurrencyMode").is_some_and(|mode| mode != "Parallel");
    let from = request.param("queryLocator").map_or(Ok((0, None)), place)?.0;
    let mut world = sandbox.world();
    let fits: Vec<Value> = world
        .bulk
        .list(&caller.user_id, sandbox.now())
        .filter(|job| !none && chunked.is_none_or(|wanted| wanted == job.chunked()))
        .map(|job| {
            let mut shown = job.head();
            shown["jobType"] = json!("V2Query");
            shown
        })
        .collect();
    let to = fits.len().min(from.saturating_add(LIST_PAGE));
    let done = to >= fits.len();
    let next =
        (!done).then(|| format!("{}?queryLocator={}", address(request, 5), locator(to, None)));
    let records = fits.get(from.min(to)..to).unwrap_or_default();
    Ok(Reply::json(200, &json!({"done": done, "records": records, "nextRecordsUrl": next})))
}

/// The request's own address, its first segments.
fn address(request: &Request, segments: usize) -> String {
    let parts: Vec<&str> = request.segments.iter().take(segments).map(String::as_str).collect();
    format!("/{}", parts.join("/"))
}

fn locator(from: usize, size: Option<usize>) -> String {
    BASE64.encode(match size {
        Some(size) => format!("{from}-{size}"),
        None => from.to_string(),
    })
}

/// What a locator says: from which row, and how many.
fn place(text: &str) -> Result<(usize, Option<usize>), Reply> {
    let decoded = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parsed = decoded.and_then(|text| {
        let (from, size) = match text.split_once('-') {
            Some((from, size)) => (from.to_owned(), Some(size.parse().ok().filter(|n| *n > 0)?)),
            None => (text, None),
        };
        Some((from.parse().ok()?, size))
    });
    parsed.ok_or_else(|| bad("INVALID_QUERY_LOCATOR", "invalid query locator"))
}

/// The results of a complete job of this user and this version, and the longest page allowed.
fn complete(
    sandbox: &Sandbox,
    caller: &Caller,
    request: &Request,
    id: &str,
) -> Result<(Arc<Results>, String, Option<usize>), Reply> {
    let mut world = sandbox.world();
    let most = world.bulk.switches.page_rows;
    let job = world.bulk.find(id, &caller.user_id, sandbox.now()).ok_or_else(not_found)?;
    if Some(job.spec.version) != version(request) {
        return Err(Reply::error(
            409,
            "CONFLICT",
            &format!("The job was created with API version {}.0", job.spec.version),
        ));
    }
    match job.state() {
        State::JobComplete => Ok((Arc::clone(&job.spec.results), job.spec.object.clone(), most)),
        state @ (State::UploadComplete | State::InProgress | State::Failed | State::Aborted) => {
            let name = state.name();
            let message = format!("InvalidJobState : job {id} is {name}: there are no results");
            Err(bad("INVALIDJOBSTATE", &message))
        }
    }
}

/// Rows of a page: what the client asks for, else what the locator says; fewer by the switch.
fn page_rows(request: &Request, told: Option<usize>, most: Option<usize>) -> Result<usize, Reply> {
    let asked = match request.param("maxRecords") {
        None => told.unwrap_or(PAGE_ROWS),
        Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
            bad("INVALID_INPUT", &format!("maxRecords: '{text}' is no positive number"))
        })?,
    };
    Ok(most.map_or(asked, |most| asked.min(most)))
}

fn results(sandbox: &Sandbox, caller: &Caller, request: &Request, id: &str) -> Outcome {
    let (results, object, most) = complete(sandbox, caller, request, id)?;
    let (from, told) = request.param("locator").map_or(Ok((0, None)), place)?;
    if from > results.len() || (from > 0 && from == results.len()) {
        return Err(bad("INVALID_QUERY_LOCATOR", "invalid query locator"));
    }
    let size = page_rows(request, told, most)?;
    let to = results.len().min(from.saturating_add(size));
    let next = (to < results.len()).then(|| locator(to, told));
    let page = Page { results, from, to };
    let spoilt = sandbox.world().bulk.switches.take_corrupt(&object);
    let (reply, rows) = match spoilt {
        Some(form) => spoil(sandbox, form, &page),
        None => {
            let mut reply = Reply::bytes(200, CSV, page.results.header());
            reply.rest = Some(Arc::new(page));
            (reply, to - from)
        }
    };
    Ok(reply
        .with("sforce-locator", next.unwrap_or_else(|| String::from("null")))
        .with("sforce-numberofrecords", rows.to_string()))
}

fn spoil(sandbox: &Sandbox, form: Form, page: &Page) -> (Reply, usize) {
    sandbox.events.count("corrupted");
    form.spoil(page)
}

fn result_pages(sandbox: &Sandbox, caller: &Caller, request: &Request, id: &str) -> Outcome {
    if version(request).is_some_and(|version| version < RESULT_PAGES.1) {
        return Err(not_found());
    }
    let (results, _, most) = complete(sandbox, caller, request, id)?;
    let (from, told) = request.param("locator").map_or(Ok((0, None)), place)?;
    let size = page_rows(request, told, most)?;
    let base = address(request, 6);
    let starts = (0..RESULT_PAGES.0)
        .map(|n| from.saturating_add(n.saturating_mul(size)))
        .filter(|at| *at < results.len() || *at == 0);
    let pages: Vec<Value> = starts
        .map(|at| json!({"resultUrl": format!("{base}/results?locator={}", locator(at, Some(size)))}))
        .collect();
    let next = from.saturating_add(size.saturating_mul(RESULT_PAGES.0));
    let done = next >= results.len();
    let next = (!done).then(|| format!("{base}/resultPages?locator={}", locator(next, Some(size))));
    Ok(Reply::json(200, &json!({"resultPages": pages, "nextRecordsUrl": next, "done": done})))
}
