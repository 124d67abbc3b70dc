//! The log of records that are gone for good.
//!
//! Hides its windows and its answers, and that some orgs may not serve it within a composite (the
//! vendor's guide is silent): what is refused there is asked alone. Invariant: only after the
//! question went well alone is it priced so.

use super::Salesforce;
use super::faults::{self, About};
use super::read::{Part, of_task, text};
use super::soql;
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{Fault, Outcome, Step, Task, Time};
use serde::Deserialize;
use std::sync::atomic::Ordering;

/// Where the deletes of a window are asked for.
pub(super) fn path(sf: &Salesforce, object: &str, from: Time, to: Time) -> String {
    // The vendor cuts seconds off, wants more than a minute, and no end in the future: a short
    // window begins earlier, for to hear of a delete twice is harmless.
    let minute = |secs: i64| secs.div_euclid(60) * 60;
    let end = minute(to.as_second());
    let start = minute(from.as_second()).min(end - 120);
    let show = |secs: i64| {
        let text = Time::from_second(secs).map_or_else(
            |_| soql::datetime(to),
            |t| t.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        );
        soql::encode(&text)
    };
    sf.data_path(&format!("sobjects/{object}/deleted/?start={}&end={}", show(start), show(end)))
}

/// The answer of the delete log. `together`: it came within a composite.
pub(super) async fn step(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    task: &Task,
    path: &str,
    part: Option<&Part>,
    together: bool,
    outcome: &mut Outcome,
) -> Result<Step, Failure> {
    let Some((status, body)) = part else {
        return Ok(Step::Failed(Fault::contract("no part for the delete log")));
    };
    if *status == 200 {
        return Ok(deleted_ids(task, body));
    }
    let about = About { object: Some(&task.object) };
    let fault = of_task(faults::part_refusal(*status, body.as_bytes(), about))?;
    if !(together && of_form(*status, &fault)) {
        return Ok(Step::Failed(fault));
    }
    // Asked alone, and if that goes well, from now on priced alone.
    let got = sf.get(ctx, path, 1).await?;
    outcome.usage.extend(got.usage);
    if !got.answer.is_ok() || got.answer.is_html() {
        return Ok(Step::Failed(of_task(faults::refusal(&got.answer, about))?));
    }
    let step = deleted_ids(task, &text(got.answer.body)?);
    if let Step::Deleted { .. } = step {
        sf.deletes_alone.store(true, Ordering::Relaxed);
    }
    Ok(step)
}

/// A refusal of the form of the question, not of the question: some orgs may not serve this
/// resource within a composite. A resource that is not found there may be found alone.
fn of_form(status: u16, fault: &Fault) -> bool {
    let unknown = matches!(fault, Fault::SchemaMoved { field: None, .. }) && status == 404;
    status < 500 && (unknown || matches!(fault, Fault::Contract { .. }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedBody {
    deleted_records: Vec<DeletedRecord>,
    earliest_date_available: Option<String>,
    latest_date_covered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedRecord {
    id: String,
    deleted_date: String,
}

/// Reads an answer of the delete log.
pub(super) fn deleted_ids(task: &Task, body: &str) -> Step {
    let read = || -> Result<Step, String> {
        let body: DeletedBody = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let time =
            |text: &str| soql::parse_datetime(text).ok_or_else(|| format!("`{text}` is no time"));
        let ids = body
            .deleted_records
            .into_iter()
            .map(|r| Ok((r.id, time(&r.deleted_date)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let earliest = body.earliest_date_available.as_deref().map(time).transpose()?;
        Ok(Step::Deleted { ids, earliest, covered: time(&body.latest_date_covered)? })
    };
    read().unwrap_or_else(|why| {
        Step::Failed(Fault::contract(format!("reading the delete log of {}: {why}", task.object)))
    })
}
