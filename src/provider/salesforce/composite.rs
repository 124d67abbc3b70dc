//! Several GETs in one call of the org's limit.
//!
//! Hides the composite resource. Invariants: parts come back in the order they were asked for,
//! found by their reference; an answer that lacks one is an error, never an empty part.

use super::Salesforce;
use super::faults::{self, About};
use super::read::{Part, text};
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{Fault, Time, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    all_or_none: bool,
    composite_request: Vec<SubRequest<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubRequest<'a> {
    method: &'static str,
    url: &'a str,
    reference_id: String,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, rename = "compositeResponse")]
    parts: Vec<SubResponse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubResponse<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    http_status_code: u16,
    #[serde(borrow)]
    reference_id: Cow<'a, str>,
}

/// What came of it.
pub(super) struct Got {
    pub parts: Vec<Part>,
    pub usage: Vec<Usage>,
    pub server_time: Option<Time>,
}

/// Asks for up to 25 paths in one call.
pub(super) async fn get(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    urls: &[String],
    cost: u32,
) -> Result<Got, Failure> {
    let got = try_get(sf, ctx, urls, cost).await?;
    got.map_err(|refused| faults::refusal(&refused.answer, About::default()))
}

/// The same; a refusal of the whole comes back as it is.
pub(super) async fn try_get(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    urls: &[String],
    cost: u32,
) -> Result<Result<Got, super::Got>, Failure> {
    let composite_request = urls
        .iter()
        .enumerate()
        .map(|(i, url)| SubRequest { method: "GET", url, reference_id: format!("r{i}") })
        .collect();
    let request = Request { all_or_none: false, composite_request };
    let url = sf.data_path("composite");
    let got = sf.post(ctx, &url, &request, cost).await?;
    if !got.answer.is_ok() || got.answer.is_html() {
        return Ok(Err(got));
    }
    let server_time = got.answer.server_time();
    let body = text(got.answer.body)?;
    let parts = parts(&body, urls.len())
        .map_err(|why| Fault::contract(format!("reading a composite answer: {why}")))?;
    Ok(Ok(Got { parts, usage: got.usage, server_time }))
}

/// The parts of an answer, in the order of the references `r0`, `r1`, …
pub(super) fn parts(body: &str, count: usize) -> Result<Vec<Part>, String> {
    let response: Response = serde_json::from_str(body).map_err(|e| e.to_string())?;
    (0..count)
        .map(|i| {
            let name = format!("r{i}");
            // Answers come in order; the search is for the case that they do not.
            let at_place = response.parts.get(i).filter(|p| p.reference_id == name);
            let part = at_place
                .or_else(|| response.parts.iter().find(|p| p.reference_id == name))
                .ok_or_else(|| format!("part {i} of {count} is missing"))?;
            let body = part.body.map_or("null", RawValue::get);
            Ok((part.http_status_code, body.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_reference_and_a_missing_one_is_an_error() {
        let body = r#"{"compositeResponse":[
            {"body":{"a":1},"httpHeaders":{},"httpStatusCode":200,"referenceId":"r1"},
            {"body":null,"httpHeaders":{},"httpStatusCode":204,"referenceId":"r0"}]}"#;
        let got = parts(body, 2).unwrap();
        assert_eq!(got, vec![(204, "null".into()), (200, r#"{"a":1}"#.into())]);
        assert!(parts(body, 3).unwrap_err().contains("part 2 of 3"));
        assert!(parts("[]", 1).is_err());
    }
}
