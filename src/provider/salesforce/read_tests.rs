use super::*;
use crate::provider::Provider;
use crate::provider::salesforce::composite;
use crate::provider::salesforce::testing::{data, recorded};
use crate::provider::test_server::{Counter, Reply, Seen, Served, http, serve};
use crmsync_core::domain::{CredentialKind, Field, QuotaDomain};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn salesforce() -> Salesforce {
    Salesforce::new(http(), &BTreeMap::new(), CredentialKind::Code).unwrap()
}

fn object(name: &str, width: usize) -> ObjectSchema {
    let field = |name: String, kind| Field {
        label: name.clone(),
        name,
        kind,
        source_type: "x".into(),
        calculated: false,
    };
    let mut fields = vec![
        field("Id".into(), FieldType::Text),
        field("SystemModstamp".into(), FieldType::DateTime),
    ];
    fields.extend(
        (0..width).map(|i| field(format!("Field_with_a_long_name_{i:04}__c"), FieldType::Text)),
    );
    ObjectSchema {
        name: name.into(),
        label: name.into(),
        key: "Id".into(),
        stamp: Some("SystemModstamp".into()),
        deleted_flag: None,
        delete_log: true,
        fields,
    }
}

fn schema(objects: &[ObjectSchema]) -> Schema {
    Schema { objects: objects.iter().map(|o| (o.name.clone(), o.clone())).collect() }
}

fn task(o: &ObjectSchema, kind: TaskKind) -> Task {
    let fields = o.fields.iter().map(|f| f.name.clone()).collect();
    Task { object: o.name.clone(), fields, kind }
}

fn window(o: &ObjectSchema) -> Task {
    let (from, to) =
        ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-01T01:00:00Z".parse().unwrap());
    task(o, TaskKind::Window { from, to, after: None })
}

fn deleted(o: &ObjectSchema) -> Task {
    let (from, to) =
        ("2026-01-01T00:00:59Z".parse().unwrap(), "2026-01-01T00:01:30Z".parse().unwrap());
    task(o, TaskKind::Deleted { from, to })
}

const STAMP: &str = "2026-01-01T00:30:00.000+0000";

fn page(rows: &[(&str, &str)], done: bool) -> Value {
    let records: Vec<Value> = rows
        .iter()
        .map(|(id, stamp)| {
            json!({"attributes": {"type": "A"}, "Id": id, "SystemModstamp": stamp,
            "Field_with_a_long_name_0000__c": format!("v-{id}")})
        })
        .collect();
    json!({"totalSize": rows.len(), "done": done, "records": records})
}

fn ok(body: &Value) -> Reply {
    (200, vec![("sforce-limit-info", "api-usage=5/100".into())], body.to_string())
}

fn composite(seen: &Seen, answer: impl Fn(&str) -> (u16, Value)) -> Reply {
    let asked: Value = serde_json::from_str(&seen.body).unwrap();
    let parts: Vec<Value> = asked["compositeRequest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            let (status, body) = answer(part["url"].as_str().unwrap());
            json!({"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": part["referenceId"]})
        })
        .collect();
    ok(&json!({"compositeResponse": parts}))
}

async fn run(
    sf: &Salesforce,
    server: &Served,
    toll: &Counter,
    schema: &Schema,
    tasks: &[Task],
) -> (Result<Outcome, Failure>, Vec<Delivered>) {
    let calls = sf.calls(tasks, schema, &QuotaDomain("d".into()), 1);
    let session = server.session();
    let (tx, mut rx) = mpsc::channel(10);
    let ctx = Ctx { session: &session, toll };
    let outcome = sf.send(ctx, &calls[0], schema, tx).await;
    let mut delivered = Vec::new();
    while let Some(d) = rx.recv().await {
        delivered.push(d);
    }
    (outcome, delivered)
}

#[tokio::test]
async fn one_scan_travels_alone_and_says_where_to_go_on() {
    let o = object("Account", 1);
    let server = serve(|_| ok(&page(&[("001A", STAMP), ("001B", STAMP)], false))).await;
    let (sf, toll) = (salesforce(), Counter::default());
    let tasks = [task(&o, TaskKind::Scan { after: None })];
    let (outcome, delivered) = run(&sf, &server, &toll, &schema(&[o]), &tasks).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.steps, [Step::More]);
    assert_eq!(outcome.usage[0].used, 5);
    assert!(outcome.server_time.is_some());
    assert_eq!(delivered[0].position.as_deref(), Some("001B"));
    assert_eq!(delivered[0].batch.get(1, 2), Some("v-001B"));
    assert_eq!(toll.counts(), (1, 1));
    let seen = server.seen.lock().unwrap();
    assert!(seen[0].target.starts_with("/services/data/v64.0/query?q=SELECT+Id,SystemModstamp,"));
    assert_eq!(seen[0].headers["authorization"], "Bearer TOKEN-CANARY");
    assert_eq!(seen[0].headers["sforce-call-options"], "client=crmsync");
}

#[tokio::test]
async fn several_tasks_share_a_call_and_fail_alone() {
    let (a, b) = (object("Account", 1), object("Gone__c", 1));
    let server = serve(|seen| {
        composite(seen, |url| {
            if url.contains("/deleted/") {
                assert!(url.contains("start=2025-12-31T23%3A59%3A00%2B00%3A00&end=2026-01-01T00%3A01%3A00%2B00%3A00"), "{url}");
                (200, json!({"deletedRecords": [{"id": "001X", "deletedDate": STAMP}],
                    "earliestDateAvailable": "2025-12-20T00:00:00.000+0000",
                    "latestDateCovered": "2026-01-01T00:01:00.000+0000"}))
            } else if url.contains("Gone__c") {
                (400, json!([{"errorCode": "INVALID_TYPE", "message": "sObject type 'Gone__c' is not supported."}]))
            } else {
                (200, page(&[("001A", STAMP)], true))
            }
        })
    })
    .await;
    let (sf, toll) = (salesforce(), Counter::default());
    let tasks = [window(&b), window(&a), deleted(&a)];
    let (outcome, delivered) = run(&sf, &server, &toll, &schema(&[a, b]), &tasks).await;
    let steps = outcome.unwrap().steps;
    assert_eq!(
        steps[0],
        Step::Failed(Fault::SchemaMoved { object: "Gone__c".into(), field: None })
    );
    assert_eq!(steps[1], Step::Done);
    let Step::Deleted { ids, earliest, covered } = &steps[2] else { panic!("{steps:?}") };
    assert_eq!(ids[0].0, "001X");
    assert!(earliest.is_some());
    assert_eq!(covered.to_string(), "2026-01-01T00:01:00Z");
    assert_eq!(delivered.len(), 1);
    assert_eq!(
        (delivered[0].task, delivered[0].position.as_deref()),
        (1, Some("2026-01-01T00:30:00.000Z|001A"))
    );
    assert_eq!(toll.counts(), (1, 1));
}

#[tokio::test]
async fn an_org_that_refuses_deletes_in_a_composite_is_asked_alone() {
    let a = object("Account", 1);
    let server = serve(|seen| {
        if seen.target.contains("/deleted/") {
            return ok(
                &json!({"deletedRecords": [], "latestDateCovered": "2026-01-01T00:01:00.000+0000"}),
            );
        }
        composite(seen, |url| {
            if url.contains("/deleted/") {
                (405, json!([{"errorCode": "METHOD_NOT_ALLOWED", "message": "not in a composite"}]))
            } else {
                (200, page(&[], true))
            }
        })
    })
    .await;
    let (sf, toll) = (salesforce(), Counter::default());
    let tasks = [window(&a), deleted(&a)];
    let schema = schema(&[a]);
    let (outcome, _) = run(&sf, &server, &toll, &schema, &tasks).await;
    assert!(matches!(outcome.unwrap().steps[..], [Step::Done, Step::Deleted { .. }]));
    assert_eq!(toll.counts(), (2, 2));
    // From now on it is priced so.
    assert_eq!(sf.calls(&tasks, &schema, &QuotaDomain("d".into()), 9).len(), 2);
}

#[tokio::test]
async fn an_org_that_refuses_the_whole_composite_for_its_deletes_is_asked_apart() {
    let objects: Vec<ObjectSchema> = (0..5).map(|i| object(&format!("O{i}__c"), 1)).collect();
    let schema = schema(&objects);
    let tasks: Vec<Task> = objects.iter().map(window).chain(objects.iter().map(deleted)).collect();
    let log = json!({"deletedRecords": [], "latestDateCovered": "2026-01-01T00:01:00.000+0000"});
    let refusal = || {
        let body = json!([{"errorCode": "SOMETHING_NEW", "message": "not in a composite"}]);
        (400, vec![("sforce-limit-info", "api-usage=6/100".into())], body.to_string())
    };
    let server = serve(move |seen| {
        if seen.target.contains("/deleted/") {
            ok(&log)
        } else if seen.body.contains("/deleted/") {
            refusal()
        } else {
            composite(seen, |_| (200, page(&[("001A", STAMP)], true)))
        }
    })
    .await;
    let (sf, toll) = (salesforce(), Counter::default());
    let domain = QuotaDomain("d".into());
    let priced = |sf: &Salesforce| sf.calls(&tasks, &schema, &domain, 99).len();
    assert_eq!(priced(&sf), 1);
    let (outcome, delivered) = run(&sf, &server, &toll, &schema, &tasks).await;
    let outcome = outcome.unwrap();
    assert!(outcome.steps[..5].iter().all(|s| *s == Step::Done), "{:?}", outcome.steps);
    assert!(outcome.steps[5..].iter().all(|s| matches!(s, Step::Deleted { .. })));
    assert_eq!(delivered.iter().map(|d| d.task).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    // The refused one, the five queries, and each log.
    assert_eq!(toll.counts(), (7, 7));
    assert_eq!(outcome.usage.len(), 7);
    assert_eq!(priced(&sf), 6);

    // Where composites are refused altogether, nothing is learned of deletes.
    let never = serve(move |_| refusal()).await;
    let sf = salesforce();
    let (outcome, _) = run(&sf, &never, &Counter::default(), &schema, &tasks).await;
    assert!(matches!(outcome, Err(Failure::Fault(Fault::Contract { .. }))), "{outcome:?}");
    assert_eq!(priced(&sf), 1);
}

#[tokio::test]
async fn a_log_that_is_not_found_in_a_composite_does_not_cost_the_object() {
    let a = object("Account", 1);
    let missing =
        || json!([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]);
    for there in [true, false] {
        let server = serve(move |seen| {
            if seen.target.contains("/deleted/") && there {
                ok(&json!({"deletedRecords": [], "latestDateCovered": STAMP}))
            } else if seen.target.contains("/deleted/") {
                (404, vec![], missing().to_string())
            } else {
                composite(seen, |url| {
                    let of_log = url.contains("/deleted/");
                    if of_log { (404, missing()) } else { (200, page(&[], true)) }
                })
            }
        })
        .await;
        let (sf, schema) = (salesforce(), schema(std::slice::from_ref(&a)));
        let tasks = [window(&a), deleted(&a)];
        let (outcome, _) = run(&sf, &server, &Counter::default(), &schema, &tasks).await;
        let steps = outcome.unwrap().steps;
        if there {
            assert!(matches!(steps[1], Step::Deleted { .. }), "{steps:?}");
        } else {
            assert!(matches!(steps[1], Step::Failed(Fault::SchemaMoved { .. })), "{steps:?}");
        }
        let calls = sf.calls(&tasks, &schema, &QuotaDomain("d".into()), 9).len();
        assert_eq!(calls, if there { 2 } else { 1 });
    }
}

#[tokio::test]
async fn the_connections_own_refusals_end_the_call_before_any_row() {
    let a = object("Account", 1);
    let b = object("Contact", 1);
    let server = serve(|seen| {
        composite(seen, |url| {
            if url.contains("Contact") {
                (403, json!([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]))
            } else {
                (200, page(&[("001A", STAMP)], true))
            }
        })
    })
    .await;
    let sf = salesforce();
    let tasks = [window(&a), window(&b)];
    let (outcome, delivered) =
        run(&sf, &server, &Counter::default(), &schema(&[a.clone(), b]), &tasks).await;
    assert!(matches!(outcome, Err(Failure::Fault(Fault::QuotaReached { .. }))));
    assert!(delivered.is_empty());

    let dead = serve(|_| {
        (401, vec![], json!([{"errorCode": "INVALID_SESSION_ID", "message": "x"}]).to_string())
    })
    .await;
    let (outcome, _) =
        run(&sf, &dead, &Counter::default(), &schema(std::slice::from_ref(&a)), &[window(&a)])
            .await;
    assert!(matches!(outcome, Err(Failure::SessionDead(_))));
}

#[tokio::test]
async fn a_wide_object_is_joined_and_a_moving_row_left_out() {
    let o = object("Wide__c", 800);
    let server = serve(|seen| {
        composite(seen, |url| {
            let first = url.contains("name_0000__c");
            let rows: Vec<(&str, &str)> = if first {
                vec![("1", STAMP), ("2", STAMP), ("3", STAMP)]
            } else {
                // Row 2 changed in between, row 3 has not been reached, row 9 is new.
                vec![("9", STAMP), ("1", STAMP), ("2", "2026-01-01T00:40:00.000+0000")]
            };
            let mut page = page(&rows, false);
            for r in page["records"].as_array_mut().unwrap() {
                r["Field_with_a_long_name_0799__c"] =
                    json!(format!("w-{}", r["Id"].as_str().unwrap()));
                if !first {
                    r.as_object_mut().unwrap().remove("Field_with_a_long_name_0000__c");
                }
            }
            (200, page)
        })
    })
    .await;
    let (sf, toll) = (salesforce(), Counter::default());
    let tasks = [task(&o, TaskKind::Scan { after: None })];
    let (outcome, delivered) =
        run(&sf, &server, &toll, &schema(std::slice::from_ref(&o)), &tasks).await;
    assert_eq!(outcome.unwrap().steps, [Step::More]);
    let d = &delivered[0];
    assert_eq!(d.batch.rows(), 1);
    assert_eq!(d.batch.get(0, 0), Some("1"));
    assert_eq!(d.batch.get(0, 2), Some("v-1"));
    assert_eq!(d.batch.get(0, 801), Some("w-1"));
    // Row 3 is read again with the next page.
    assert_eq!(d.position.as_deref(), Some("2"));
    assert_eq!(toll.counts(), (1, 1));
}

#[tokio::test]
async fn nonsense_is_told_and_never_taken_for_rows() {
    let o = object("Account", 1);
    for (status, body) in [
        (200, "[]"),
        (200, "{"),
        (200, r#"{"totalSize":0,"done":false,"records":[]}"#),
        (200, r#"{"totalSize":1,"done":false,"records":[{"Id":"1"}]}"#),
        (200, ""),
        (300, "[]"),
    ] {
        let server = serve(move |_| (status, vec![], body.to_owned())).await;
        let sf = salesforce();
        let (outcome, delivered) = run(
            &sf,
            &server,
            &Counter::default(),
            &schema(std::slice::from_ref(&o)),
            &[window(&o)],
        )
        .await;
        let steps = outcome.unwrap().steps;
        assert!(matches!(&steps[..], [Step::Failed(Fault::Contract { .. })]), "{body}: {steps:?}");
        assert!(delivered.is_empty());
    }
    let html = serve(|_| (200, vec![("content-type", "text/html".into())], "<html>".into())).await;
    let (outcome, _) = run(
        &salesforce(),
        &html,
        &Counter::default(),
        &schema(std::slice::from_ref(&o)),
        &[window(&o)],
    )
    .await;
    assert!(matches!(&outcome.unwrap().steps[..], [Step::Failed(Fault::Passing { .. })]));
}

#[test]
fn recorded_delete_log_and_composites() {
    let Some(dir) = data() else { return };
    let o = object("Whizbang", 1);
    let step = deletes::deleted_ids(
        &deleted(&o),
        &recorded(&dir, "query/restforce_get_deleted_success_response.json"),
    );
    let Step::Deleted { ids, covered, .. } = step else { panic!("{step:?}") };
    assert_eq!(ids[0].0, "a00D0000008pQRAIA2");
    assert_eq!(covered.to_string(), "2013-05-08T21:20:00Z");
    assert!(matches!(
        deletes::deleted_ids(&deleted(&o), "{}"),
        Step::Failed(Fault::Contract { .. })
    ));
    let mut seen = 0;
    for file in std::fs::read_dir(dir.join("composite")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let exchanges: Value = serde_json::from_str(&text).unwrap();
        for e in exchanges.as_array().unwrap() {
            let Some(mut parts) = e["response_body"]["compositeResponse"].as_array().cloned()
            else {
                continue;
            };
            // Our references are r0, r1, …
            for (i, part) in parts.iter_mut().enumerate() {
                part["referenceId"] = json!(format!("r{i}"));
            }
            let body = json!({"compositeResponse": parts}).to_string();
            let got = composite::parts(&body, parts.len()).unwrap();
            for (part, (status, body)) in parts.iter().zip(got) {
                assert_eq!(part["httpStatusCode"], status);
                assert_eq!(part["body"], serde_json::from_str::<Value>(&body).unwrap());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen} recorded parts");
}
