//! Query jobs of Bulk API 2.0: the vendor reads on its own, we fetch what it wrote.
//!
//! Hides jobs, their states, versions and refusals. The handle holds version and id
//! (`64.0/750…`): later steps use that version, for results are served to no other. Source: "Bulk API
//! 2.0 and Bulk API Developer Guide", chapter "Query". Invariants: one request for each step; what
//! jobs refuse and queries may read is [`Step::NoJob`], never a fault; nothing here waits for a job.

use super::download::{self, Page};
use super::faults::{self, About};
use super::read::of_task;
use super::{Salesforce, soql};
use crate::provider::http::{Answer, SMALL_LIMIT, excerpt};
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{
    Delivered, Fault, JobRead, JobStep, ObjectSchema, Outcome, Step, Task, Usage,
};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Rows of a page at most: one call each.
const PAGE: usize = 100_000;
/// Bytes that a page is meant to bring at most; what is lost when it is cut.
const PAGE_BYTES: usize = 100_000_000;
/// Bytes of a value on average, quotes and comma included.
const VALUE: usize = 20;
/// Under so many rows the vendor itself advises against jobs.
const FEWEST: u64 = 2_000;
/// Looks that a job is expected to take.
const LOOKS: u64 = 3;

/// Objects that Bulk does not serve; of the last three every name that begins so (and ends so).
const NOT_SERVED: &[&str] = &[
    "AcceptedEventRelation",
    "AccountFeed",
    "AssetFeed",
    "AttachedContentNote",
    "Attachment",
    "CaseStatus",
    "ContractStatus",
    "DeclinedEventRelation",
    "EventWhoRelation",
    "FieldSecurityClassification",
    "OrderStatus",
    "PartnerRole",
    "RecentlyViewed",
    "ShiftStatus",
    "SolutionStatus",
    "TaskPriority",
    "TaskStatus",
    "TaskWhoRelation",
    "UndecidedEventRelation",
];
const NOT_SERVED_FAMILIES: &[(&str, &str)] =
    &[("CaseTeam", ""), ("KnowledgeArticle", ""), ("WorkOrder", "Status")];

/// Codes of a refusal that means jobs, not the object: queries may read it.
const JOBS_ONLY: &[&str] = &["INVALIDENTITY", "API_ERROR", "LIMIT_EXCEEDED", "FEATURENOTENABLED"];
/// The same, by what the text says.
const JOBS_ONLY_TEXTS: &[&str] = &[
    "not supported by the Bulk API",
    "compound data",
    "does not support query",
    "base64",
    "binary",
    "Implementation restriction",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    operation: &'static str,
    query: &'a str,
    content_type: &'static str,
    column_delimiter: &'static str,
    line_ending: &'static str,
}

#[derive(Serialize)]
struct Change {
    state: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    state: String,
    #[serde(default)]
    number_records_processed: Option<u64>,
    #[serde(default)]
    error_message: Option<String>,
}

/// Whether a job costs no more calls than queries; a tie goes to the job, for its rows come in
/// larger pieces.
pub(super) fn pays(object: &ObjectSchema, fields: &[String], rows: u64) -> bool {
    let family =
        |(begin, end): &(&str, &str)| object.name.starts_with(begin) && object.name.ends_with(end);
    let refused = NOT_SERVED.contains(&object.name.as_str())
        || NOT_SERVED_FAMILIES.iter().any(family)
        || fields.iter().any(|f| object.field(f).is_some_and(|f| f.source_type == "base64"));
    if refused {
        return false;
    }
    let groups = soql::groups(object, fields);
    if groups > super::pack::MAX_QUERIES {
        // Too wide for queries at any number of rows.
        return true;
    }
    let pages = |rows_per_page: usize| rows.div_ceil(rows_per_page as u64);
    let by_job = 1 + LOOKS + pages(page_rows(fields.len(), 0));
    rows >= FEWEST && by_job <= pages(soql::rows_per_page(fields.len(), true, 0))
}

/// Rows to ask for in a page: fewer for wide objects, halved for each attempt that went wrong.
fn page_rows(columns: usize, tries: u8) -> usize {
    let rows = (PAGE_BYTES / (columns.max(1) * VALUE)).min(PAGE);
    (rows >> tries.min(10)).max(1)
}

/// Carries out one step of a job.
pub(super) async fn step(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    task: &Task,
    object: &ObjectSchema,
    (read, step): (&JobRead, &JobStep),
    sink: mpsc::Sender<Delivered>,
) -> Result<Outcome, Failure> {
    let handle = match step {
        JobStep::Start => return start(sf, ctx, task, object, read).await,
        JobStep::Look { job } | JobStep::Page { job, .. } | JobStep::Abort { job } => job,
    };
    let Some((version, id)) = handle_parts(handle) else {
        return Ok(only(Step::JobLost {
            why: "its handle is not of this provider".into(),
            too_much: false,
        }));
    };
    let path = format!("/services/data/v{version}/jobs/query/{id}");
    match step {
        JobStep::Start => Ok(Outcome::default()),
        JobStep::Look { .. } => {
            let (answer, usage) = ask(sf, ctx, Method::GET, &path, None::<&Change>).await?;
            let step = if answer.is_ok() && !answer.is_html() {
                state(&task.object, &answer.body)
            } else {
                lost(&answer, task)?
            };
            Ok(outcome(step, usage, &answer))
        }
        JobStep::Page { locator, tries, .. } => {
            let rows = page_rows(task.fields.len(), *tries);
            let page = Page { path: &path, locator: locator.as_deref(), rows };
            download::page(sf, ctx, task, &page, sink).await
        }
        JobStep::Abort { .. } => {
            let change = Change { state: "Aborted" };
            let (answer, usage) = ask(sf, ctx, Method::PATCH, &path, Some(&change)).await?;
            // One that is unknown, or has ended by itself, needs no ending.
            let ended = matches!(answer.status, 400 | 404 | 409) && !answer.is_html();
            let step = if ended || (answer.is_ok() && !answer.is_html()) {
                Step::Done
            } else {
                Step::Failed(of_task(faults::refusal(&answer, about(task)))?)
            };
            Ok(outcome(step, usage, &answer))
        }
    }
}

async fn start(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    task: &Task,
    object: &ObjectSchema,
    read: &JobRead,
) -> Result<Outcome, Failure> {
    let (operation, query) = match soql::job(task, object, read) {
        Ok(asked) => asked,
        Err(why) => return Ok(only(Step::NoJob { why })),
    };
    let create = Create {
        operation,
        query: &query,
        content_type: "CSV",
        column_delimiter: "COMMA",
        line_ending: "LF",
    };
    let path = sf.data_path("jobs/query");
    let (answer, usage) = ask(sf, ctx, Method::POST, &path, Some(&create)).await?;
    if !answer.is_ok() || answer.is_html() {
        let step = refused(&answer, task)?;
        return Ok(outcome(step, usage, &answer));
    }
    let step = match job(&task.object, &answer.body) {
        Err(fault) => Step::Failed(fault),
        Ok(job) => {
            let handle = format!("{}/{}", sf.version, job.id);
            match handle_parts(&handle) {
                Some(_) => Step::Started { job: handle },
                None => Step::Failed(Fault::contract(format!(
                    "the job for {} has an id of another form",
                    task.object
                ))),
            }
        }
    };
    Ok(outcome(step, usage, &answer))
}

async fn ask<T: Serialize + Sync>(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    method: Method,
    path: &str,
    body: Option<&T>,
) -> Result<(Answer, Vec<Usage>), Failure> {
    let mut request = sf.http.request(method, super::url(ctx.session, path)?)?;
    if let Some(body) = body {
        request = request.json(body);
    }
    let got = sf.pay(ctx, request, 1, SMALL_LIMIT).await?;
    Ok((got.answer, got.usage))
}

/// `VERSION/ID`, both of a form that may stand in a path.
fn handle_parts(handle: &str) -> Option<(&str, &str)> {
    let (version, id) = handle.split_once('/')?;
    let digits = version.bytes().all(|b| b.is_ascii_digit() || b == b'.') && version.len() <= 8;
    let plain = matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    (digits && !version.is_empty() && plain).then_some((version, id))
}

fn job(object: &str, body: &[u8]) -> Result<Job, Fault> {
    serde_json::from_slice(body)
        .map_err(|e| Fault::contract(format!("reading the job for {object}: {e}")))
}

/// What a job's state means for us.
fn state(object: &str, body: &[u8]) -> Step {
    let job = match job(object, body) {
        Ok(job) => job,
        Err(fault) => return Step::Failed(fault),
    };
    match job.state.as_str() {
        "UploadComplete" | "InProgress" => Step::Running { says: job.state },
        "JobComplete" => Step::Ready { rows: job.number_records_processed },
        "Failed" => {
            let text = job.error_message.as_deref().map(excerpt).filter(|text| !text.is_empty());
            let why = text.unwrap_or_else(|| "the job failed without a reason".into());
            Step::JobLost { why, too_much: true }
        }
        "Aborted" => Step::JobLost { why: "the job was aborted".into(), too_much: false },
        other => Step::Failed(Fault::contract(format!(
            "the job for {object} is in the unknown state {}",
            excerpt(other)
        ))),
    }
}

/// A refused beginning. Whatever queries would be refused for as well, they will tell.
fn refused(answer: &Answer, task: &Task) -> Result<Step, Failure> {
    if let Some((code, message)) = faults::first(&answer.body)
        && (JOBS_ONLY.contains(&code.as_str())
            || JOBS_ONLY_TEXTS.iter().any(|text| message.contains(text)))
    {
        return Ok(Step::NoJob { why: excerpt(&format!("{code}: {message}")) });
    }
    Ok(match of_task(faults::refusal(answer, about(task)))? {
        fault @ (Fault::Passing { .. } | Fault::SchemaMoved { field: Some(_), .. }) => {
            Step::Failed(fault)
        }
        fault @ (Fault::SchemaMoved { field: None, .. }
        | Fault::Denied { .. }
        | Fault::CursorLost { .. }
        | Fault::Conflict { .. }
        | Fault::RecordRefused { .. }
        | Fault::Contract { .. }
        | Fault::QuotaReached { .. }
        | Fault::NeedsAuthorization { .. }
        | Fault::Misconfigured { .. }
        | Fault::AddressNotAllowed { .. }
        | Fault::Suspended { .. }) => Step::NoJob { why: fault.to_string() },
    })
}

/// A refused look or page: of a job that is no longer kept (404), of another version (409), or at
/// a place that is no longer known.
pub(super) fn lost(answer: &Answer, task: &Task) -> Result<Step, Failure> {
    let gone = |why: String| Step::JobLost { why, too_much: false };
    if matches!(answer.status, 404 | 409) && !answer.is_html() {
        let text = faults::first(&answer.body).map(|(code, message)| format!("{code}: {message}"));
        let text = text.unwrap_or_else(|| format!("{} answered {}", answer.host, answer.status));
        return Ok(gone(excerpt(&text)));
    }
    Ok(match of_task(faults::refusal(answer, about(task)))? {
        fault @ (Fault::CursorLost { .. }
        | Fault::RecordRefused { .. }
        | Fault::SchemaMoved { .. }) => gone(fault.to_string()),
        fault @ (Fault::Passing { .. }
        | Fault::Denied { .. }
        | Fault::Conflict { .. }
        | Fault::Contract { .. }
        | Fault::QuotaReached { .. }
        | Fault::NeedsAuthorization { .. }
        | Fault::Misconfigured { .. }
        | Fault::AddressNotAllowed { .. }
        | Fault::Suspended { .. }) => Step::Failed(fault),
    })
}

fn about(task: &Task) -> About<'_> {
    About { object: Some(&task.object) }
}

fn outcome(step: Step, usage: Vec<Usage>, answer: &Answer) -> Outcome {
    Outcome { steps: vec![step], usage, server_time: answer.server_time() }
}

fn only(step: Step) -> Outcome {
    Outcome { steps: vec![step], ..Outcome::default() }
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
