#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crate::provider::Provider;
use crate::provider::salesforce::testing::{data, recorded};
use crate::provider::test_server::{Counter, Reply, Seen, Served, http, serve};
use crmsync_core::domain::{CredentialKind, Field, FieldType, QuotaDomain, Schema, TaskKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

#[path = "download_tests.rs"]
mod pages;

const JOB: &str = "63.0/750xx0000000001AAA";

fn salesforce(keys: &[(&str, &str)]) -> Salesforce {
    let keys: BTreeMap<String, String> =
        keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Salesforce::new(http(), &keys, CredentialKind::Code).unwrap()
}

fn object(name: &str, width: usize) -> ObjectSchema {
    let names = ["Id".to_owned(), "SystemModstamp".to_owned()];
    let others = (0..width).map(|i| format!("Field_with_a_long_name_{i:04}__c"));
    let field = |name: String| Field {
        label: name.clone(),
        name,
        kind: FieldType::Text,
        source_type: "string".into(),
        calculated: false,
    };
    ObjectSchema {
        name: name.into(),
        label: name.into(),
        key: "Id".into(),
        stamp: Some("SystemModstamp".into()),
        deleted_flag: None,
        delete_log: true,
        fields: names.into_iter().chain(others).map(field).collect(),
    }
}

fn fields(o: &ObjectSchema) -> Vec<String> {
    o.fields.iter().map(|f| f.name.clone()).collect()
}

fn job_task(o: &ObjectSchema, step: JobStep) -> Task {
    let kind = TaskKind::Job { read: JobRead::default(), step };
    Task { object: o.name.clone(), fields: fields(o), kind }
}

fn look() -> JobStep {
    JobStep::Look { job: JOB.into() }
}

fn page(locator: Option<&str>, tries: u8) -> JobStep {
    JobStep::Page { job: JOB.into(), locator: locator.map(str::to_owned), tries }
}

async fn run(
    sf: &Salesforce,
    base: Url,
    toll: &Counter,
    task: Task,
    o: &ObjectSchema,
) -> (Result<Outcome, Failure>, Vec<Delivered>) {
    let schema = Schema { objects: BTreeMap::from([(o.name.clone(), o.clone())]) };
    let calls = sf.calls(&[task], &schema, &QuotaDomain("d".into()), 9);
    assert_eq!((calls.len(), calls[0].cost), (1, 1));
    let session = crate::provider::Session {
        token: secrecy::SecretString::from("TOKEN-CANARY".to_owned()),
        base,
        username: None,
    };
    let (tx, mut rx) = mpsc::channel(1);
    let ctx = Ctx { session: &session, toll };
    let taken = async {
        let mut all = Vec::new();
        while let Some(d) = rx.recv().await {
            all.push(d);
        }
        all
    };
    tokio::join!(sf.send(ctx, &calls[0], &schema, tx), taken)
}

/// The step that an answer means.
async fn answered(step: JobStep, reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Step {
    let o = object("Account", 0);
    let server = serve(reply).await;
    let task = job_task(&o, step);
    let (outcome, _) =
        run(&salesforce(&[]), server.base.clone(), &Counter::default(), task, &o).await;
    outcome.unwrap().steps.remove(0)
}

fn csv(locator: &str, rows: &str, body: &str) -> Reply {
    let headers = vec![
        ("content-type", "text/csv;charset=UTF-8".into()),
        ("sforce-locator", locator.into()),
        ("sforce-numberofrecords", rows.into()),
        ("sforce-limit-info", "api-usage=5/100".into()),
    ];
    (200, headers, body.into())
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    (status, vec![], json!([{"errorCode": code, "message": message}]).to_string())
}

#[tokio::test]
async fn a_job_is_begun_in_the_configured_version_and_goes_on_in_its_own() {
    let o = object("Account", 0);
    let answer = |seen: &Seen| {
        if seen.target.ends_with("/jobs/query") {
            let job =
                json!({"id": "750xx0000000001AAA", "state": "UploadComplete", "apiVersion": 62.0});
            (200, vec![("sforce-limit-info", "api-usage=4/100".into())], job.to_string())
        } else if seen.target.contains("/results") {
            csv("null", "1", "\"SystemModstamp\",\"Id\"\n\"2026-01-02T17:00:00.000Z\",\"001\"\n")
        } else {
            (200, vec![], json!({"id": "x", "state": "Aborted"}).to_string())
        }
    };
    let server = serve(answer).await;
    let (sf, toll) = (salesforce(&[("api_version", "62.0")]), Counter::default());
    let read = JobRead {
        from: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        to: Some("2026-01-02T00:00:00Z".parse().unwrap()),
    };
    let mut task = job_task(&o, JobStep::Start);
    task.kind = TaskKind::Job { read, step: JobStep::Start };
    let (outcome, _) = run(&sf, server.base.clone(), &toll, task, &o).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.steps, [Step::Started { job: "62.0/750xx0000000001AAA".into() }]);
    assert_eq!(outcome.usage[0].used, 4);
    assert!(outcome.server_time.is_some());

    let task = job_task(&o, page(Some("A/b=="), 2));
    let (outcome, delivered) = run(&sf, server.base.clone(), &toll, task, &o).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.steps, [Step::Page { rows: 1, next: None }]);
    assert_eq!(outcome.usage[0].used, 5);
    assert!(outcome.server_time.is_some());
    let [d] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!((d.task, d.position.as_deref()), (0, None));
    assert_eq!(
        (d.batch.key(0), d.batch.get(0, 1)),
        (Some("001"), Some("2026-01-02T17:00:00.000Z"))
    );

    let abort = job_task(&o, JobStep::Abort { job: JOB.into() });
    let (outcome, _) = run(&sf, server.base.clone(), &toll, abort, &o).await;
    assert_eq!(outcome.unwrap().steps, [Step::Done]);

    let seen = server.seen.lock().unwrap();
    let asked: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(
        asked,
        json!({"operation": "query", "contentType": "CSV", "columnDelimiter": "COMMA",
            "lineEnding": "LF", "query": "SELECT Id,SystemModstamp FROM Account WHERE \
             SystemModstamp >= 2026-01-01T00:00:00.000Z AND SystemModstamp < 2026-01-02T00:00:00.000Z"})
    );
    let targets: Vec<&str> = seen.iter().map(|s| s.target.as_str()).collect();
    let job = "/services/data/v63.0/jobs/query/750xx0000000001AAA";
    assert_eq!(targets[0], "/services/data/v62.0/jobs/query");
    assert_eq!(targets[1], format!("{job}/results?maxRecords=25000&locator=A%2Fb%3D%3D"));
    assert_eq!(targets[2], job);
    assert_eq!(seen[1].headers["accept"], "text/csv");
    assert_eq!(seen[1].headers["accept-encoding"], "gzip");
    assert_eq!(seen[2].body, r#"{"state":"Aborted"}"#);
    assert_eq!(toll.counts(), (3, 3));
}

#[tokio::test]
async fn states_of_a_job() {
    let state = |state: &'static str| {
        answered(look(), move |_| {
            let job = json!({"id": "750", "state": state, "numberRecordsProcessed": 7, "errorMessage": "why"});
            (200, vec![], job.to_string())
        })
    };
    assert_eq!(state("UploadComplete").await, Step::Running { says: "UploadComplete".into() });
    assert_eq!(state("InProgress").await, Step::Running { says: "InProgress".into() });
    assert_eq!(state("JobComplete").await, Step::Ready { rows: Some(7) });
    assert_eq!(state("Failed").await, Step::JobLost { why: "why".into(), too_much: true });
    assert!(matches!(state("Aborted").await, Step::JobLost { too_much: false, .. }));
    assert!(matches!(state("Dreaming").await, Step::Failed(Fault::Contract { .. })));
    for body in ["", "[]", "{}", r#"{"id":"1"}"#] {
        let step = answered(look(), move |_| (200, vec![], body.into())).await;
        assert!(matches!(step, Step::Failed(Fault::Contract { .. })), "{body}: {step:?}");
    }
    for handle in [
        "",
        "750xx0000000001AAA",
        "64.0/../../x",
        "64.0/750xx0000000001AA?",
        "v/750xx0000000001AAA",
    ] {
        let step = answered(JobStep::Look { job: handle.into() }, |_| panic!("sent")).await;
        assert!(matches!(step, Step::JobLost { too_much: false, .. }), "{handle}: {step:?}");
    }
    let Some(dir) = data() else { return };
    let of = |name: &str| {
        super::state("Account", recorded(&dir, &format!("constructed/{name}.json")).as_bytes())
    };
    assert_eq!(of("bulk2_query_job_created"), Step::Running { says: "UploadComplete".into() });
    assert_eq!(of("bulk2_query_job_complete"), Step::Ready { rows: Some(2) });
    let Step::JobLost { why, too_much: true } = of("bulk2_query_job_failed") else { panic!() };
    assert_eq!(why, "API_ERROR: example failure text");
}

#[tokio::test]
async fn what_jobs_refuse_is_read_otherwise() {
    for (status, code, message) in [
        (400, "INVALIDENTITY", "Entity 'CaseStatus' is not supported by the Bulk API."),
        (400, "API_ERROR", "Implementation restriction: ContentDocumentLink requires a filter"),
        (400, "INVALID_FIELD", "Selecting compound data not supported in Bulk Query"),
        (400, "INVALID_TYPE", "entity type X does not support query"),
        (
            400,
            "LIMIT_EXCEEDED",
            "Max bulk v2 query jobs (10000) per 24 hrs has been reached (10021)",
        ),
        (400, "FEATURENOTENABLED", "Async API not enabled"),
        (400, "INVALID_FIELD", "base64 fields are not exported"),
        (400, "MALFORMED_QUERY", "unexpected token"),
        (403, "INSUFFICIENT_ACCESS", "no"),
        (404, "NOT_FOUND", "The requested resource does not exist"),
        (400, "SOMETHING_NEW", "x"),
    ] {
        let step = answered(JobStep::Start, move |_| error(status, code, message)).await;
        assert!(matches!(&step, Step::NoJob { why } if !why.is_empty()), "{code}: {step:?}");
    }
    let moved = "\nSELECT Gone__c FROM Account\n ^\nNo such column 'Gone__c' on entity 'Account'.";
    let step = answered(JobStep::Start, move |_| error(400, "INVALID_FIELD", moved)).await;
    let fault = Fault::SchemaMoved { object: "Account".into(), field: Some("Gone__c".into()) };
    assert_eq!(step, Step::Failed(fault));
    for reply in [
        error(503, "SERVER_UNAVAILABLE", "later"),
        (503, vec![], "<html>".into()),
        (200, vec![("content-type", "text/html".into())], "<html>".into()),
    ] {
        let step = answered(JobStep::Start, move |_| reply.clone()).await;
        assert!(matches!(step, Step::Failed(Fault::Passing { .. })), "{step:?}");
    }
    let step =
        answered(JobStep::Start, |_| (200, vec![], r#"{"id":"../x","state":"Open"}"#.into())).await;
    assert!(matches!(step, Step::Failed(Fault::Contract { .. })), "{step:?}");
    // What has no stamp has no bounds; what is too long is not sent.
    let mut o = object("Account", 4000);
    let server = serve(|_| panic!("sent")).await;
    for read in [
        JobRead::default(),
        JobRead { from: Some(crmsync_core::domain::Time::UNIX_EPOCH), to: None },
    ] {
        let task =
            Task { kind: TaskKind::Job { read, step: JobStep::Start }, ..job_task(&o, look()) };
        let (outcome, _) =
            run(&salesforce(&[]), server.base.clone(), &Counter::default(), task, &o).await;
        assert!(matches!(outcome.unwrap().steps[..], [Step::NoJob { .. }]));
        o = object("Account", 1);
        o.stamp = None;
    }
}

#[tokio::test]
async fn a_job_that_is_gone_is_told_from_trouble() {
    for step in [look(), page(None, 0)] {
        for (status, code) in [
            (404, "NOT_FOUND"),
            (409, "VERSION_MISMATCH"),
            (400, "INVALID_QUERY_LOCATOR"),
            (400, "INVALID_ID_FIELD"),
        ] {
            let lost = answered(step.clone(), move |_| error(status, code, "x")).await;
            assert!(matches!(lost, Step::JobLost { too_much: false, .. }), "{code}: {lost:?}");
        }
        let passing = answered(step.clone(), |_| error(500, "UNKNOWN_EXCEPTION", "x")).await;
        assert!(matches!(passing, Step::Failed(Fault::Passing { .. })));
        let html = answered(step.clone(), |_| (404, vec![], "<html>".into())).await;
        assert!(matches!(html, Step::Failed(Fault::Passing { .. })));
        let odd = answered(step, |_| error(400, "SOMETHING_NEW", "x")).await;
        assert!(matches!(odd, Step::Failed(Fault::Contract { .. })));
    }
    let abort = JobStep::Abort { job: JOB.into() };
    for status in [400, 404, 409] {
        let step = answered(abort.clone(), move |_| error(status, "X", "x")).await;
        assert_eq!(step, Step::Done);
    }
    let step = answered(abort, |_| error(503, "SERVER_UNAVAILABLE", "x")).await;
    assert!(matches!(step, Step::Failed(Fault::Passing { .. })));
}

#[tokio::test]
async fn the_connections_own_refusals_end_the_call() {
    let o = object("Account", 0);
    for step in [JobStep::Start, look(), page(None, 0), JobStep::Abort { job: JOB.into() }] {
        let server = serve(|_| error(401, "INVALID_SESSION_ID", "x")).await;
        let (outcome, delivered) = run(
            &salesforce(&[]),
            server.base.clone(),
            &Counter::default(),
            job_task(&o, step.clone()),
            &o,
        )
        .await;
        assert!(matches!(outcome, Err(Failure::SessionDead(_))));
        assert!(delivered.is_empty());
        let server =
            serve(|_| error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")).await;
        let (outcome, _) = run(
            &salesforce(&[]),
            server.base.clone(),
            &Counter::default(),
            job_task(&o, step.clone()),
            &o,
        )
        .await;
        assert!(matches!(outcome, Err(Failure::Fault(Fault::QuotaReached { .. }))));
        let held = Counter { open: Some(0), ..Counter::default() };
        let (outcome, _) =
            run(&salesforce(&[]), server.base.clone(), &held, job_task(&o, step), &o).await;
        assert!(matches!(outcome, Err(Failure::Held)));
    }
}

#[test]
fn a_job_pays_from_some_thousands_of_rows_where_jobs_are_served() {
    let sf = salesforce(&[]);
    let account = object("Account", 28);
    let pays = |o: &ObjectSchema, rows| sf.job_pays(o, &fields(o), rows);
    assert!(!pays(&account, 0) && !pays(&account, 8_000));
    assert!(pays(&account, 8_001) && pays(&account, 200_000) && pays(&account, u64::MAX));
    // Wide ones have smaller pages, so that a job pays earlier, but never below 2,000.
    let wide = object("Wide__c", 800);
    assert!(!pays(&wide, 1_999) && pays(&wide, 6_000));
    // Too wide for queries at all.
    assert!(pays(&object("Wide__c", 2_500), 1));
    for name in [
        "CaseStatus",
        "Attachment",
        "CaseTeamMember",
        "KnowledgeArticleVersion",
        "WorkOrderLineItemStatus",
    ] {
        assert!(!pays(&object(name, 28), 1_000_000), "{name}");
    }
    assert!(pays(&object("WorkOrder", 28), 1_000_000));
    let mut binary = object("Document", 28);
    binary.fields[5].source_type = "base64".into();
    assert!(!pays(&binary, 1_000_000));
}

#[test]
fn pages_shrink_with_width_and_with_each_attempt() {
    assert_eq!([page_rows(30, 0), page_rows(30, 1), page_rows(30, 3)], [100_000, 50_000, 12_500]);
    assert_eq!([page_rows(1, 0), page_rows(800, 0), page_rows(800, 200)], [100_000, 6_250, 6]);
    assert_eq!(page_rows(0, 255), 97);
}

async fn sizes(
    reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Served, Result<BTreeMap<String, u64>, Failure>) {
    let server = serve(reply).await;
    let session = server.session();
    let toll = Counter::default();
    let names = ["account".to_owned(), "Big__c".to_owned(), "Gone__c".to_owned()];
    let told = salesforce(&[]).sizes(Ctx { session: &session, toll: &toll }, &names).await;
    assert_eq!(toll.counts(), (1, 1));
    (server, told.map(|told| told.value))
}

#[tokio::test]
async fn sizes_are_told_as_far_as_they_are_known() {
    let body = r#"{"sObjects":[{"count":17,"name":"Account"},{"count":5,"name":"Big__c"}]}"#;
    let (server, told) = sizes(move |_| (200, vec![], body.into())).await;
    assert_eq!(told.unwrap(), BTreeMap::from([("account".into(), 17), ("Big__c".into(), 5)]));
    assert_eq!(
        server.targets(),
        ["/services/data/v64.0/limits/recordCount?sObjects=account,Big__c,Gone__c"]
    );
    for reply in [
        error(403, "FUNCTIONALITY_NOT_ENABLED", "x"),
        error(404, "NOT_FOUND", "x"),
        error(400, "INVALID_TYPE", "x"),
        (200, vec![], "nonsense".into()),
    ] {
        let (_, told) = sizes(move |_| reply.clone()).await;
        assert_eq!(told.unwrap(), BTreeMap::new());
    }
    let (_, dead) = sizes(|_| error(401, "INVALID_SESSION_ID", "x")).await;
    assert!(matches!(dead, Err(Failure::SessionDead(_))));
    let (_, passing) = sizes(|_| error(503, "SERVER_UNAVAILABLE", "x")).await;
    assert!(matches!(passing, Err(Failure::Fault(Fault::Passing { .. }))));
    // Nothing asked, nothing paid; too many for one address are cut.
    let server = serve(|_| (200, vec![], r#"{"sObjects":[]}"#.into())).await;
    let (session, toll) = (server.session(), Counter::default());
    let ctx = Ctx { session: &session, toll: &toll };
    assert!(salesforce(&[]).sizes(ctx, &[]).await.unwrap().value.is_empty());
    let many: Vec<String> = (0..2_000).map(|i| format!("Some_object_{i:05}__c")).collect();
    salesforce(&[]).sizes(ctx, &many).await.unwrap();
    assert_eq!(toll.counts(), (1, 1));
    assert!(server.targets()[0].len() <= soql::URI_ROOM);
}
