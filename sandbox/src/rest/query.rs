//! `query`, `queryAll` and the pages behind `nextRecordsUrl`.

use std::io::Write;
use std::sync::Arc;

use super::{Caller, Outcome};
use crate::data::QueryResult;
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;

const PAGE: usize = 2_000;
const PAGE_MIN: usize = 200;

/// Rows a page: at most 2,000, at least 200, by `Sforce-Query-Options`; fewer by `ctl page-size`.
fn page_size(caller: &Caller, request: &Request) -> usize {
    let asked = request
        .header("sforce-query-options")
        .into_iter()
        .flat_map(|options| options.split(','))
        .find_map(|option| {
            let (name, value) = option.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("batchSize")
                .then(|| value.trim().parse::<usize>().ok())?
        })
        .map_or(PAGE, |size| size.clamp(PAGE_MIN, PAGE));
    caller.page_size.map_or(asked, |most| asked.min(most).max(1))
}

/// A fresh query; `all` includes the recycle bin and archived activities.
pub(super) fn start(sandbox: &Sandbox, caller: &Caller, request: &Request, all: bool) -> Outcome {
    let Some(soql) = request.param("q") else {
        return Err(Reply::error(400, "MALFORMED_QUERY", "A query string has to be specified"));
    };
    let now = sandbox.now();
    let result = sandbox.org().query(soql, all, &caller.access, now).map_err(Reply::from)?;
    let result = Arc::new(result);
    let size = page_size(caller, request);
    let locator = (result.len() > size).then(|| {
        sandbox.world().cursors.open(&sandbox.chance, now, &caller.user_id, Arc::clone(&result))
    });
    Ok(page(sandbox, request, &result, 0, size, locator.as_deref()))
}

/// A later page: `01g…-2000`.
pub(super) fn more(sandbox: &Sandbox, caller: &Caller, request: &Request, text: &str) -> Outcome {
    let lost = || Reply::error(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    let (locator, from) = text.split_once('-').ok_or_else(lost)?;
    let from: usize = from.parse().map_err(|_| lost())?;
    let result = sandbox
        .world()
        .cursors
        .find(sandbox.now(), &caller.user_id, locator)
        .filter(|result| from < result.len())
        .ok_or_else(lost)?;
    let size = page_size(caller, request);
    Ok(page(sandbox, request, &result, from, size, Some(locator)))
}

fn page(
    sandbox: &Sandbox,
    request: &Request,
    result: &QueryResult,
    from: usize,
    size: usize,
    locator: Option<&str>,
) -> Reply {
    let to = result.len().min(from.saturating_add(size));
    let version = request.segments.get(2).map_or("v64.0", String::as_str);
    let mut body = Vec::with_capacity(256 + (to - from) * 512);
    let done = to >= result.len();
    // Writing to memory cannot fail.
    let _ = write!(body, r#"{{"totalSize":{},"done":{done}"#, result.total);
    if let (false, Some(locator)) = (done, locator) {
        let _ =
            write!(body, r#","nextRecordsUrl":"/services/data/{version}/query/{locator}-{to}""#);
    }
    body.extend_from_slice(br#","records":["#);
    sandbox.org().render(result, from, to, &mut body, version);
    body.extend_from_slice(b"]}");
    Reply::raw_json(body)
}
