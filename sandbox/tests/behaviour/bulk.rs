//! Bulk API 2.0 as a client meets it: jobs, pages, refusals, costs, trouble.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Value, json};

use crate::support::{Answer, Sandbox};

const JOBS: &str = "/services/data/v64.0/jobs/query";

fn create(sandbox: &Sandbox, token: &str, soql: &str) -> Answer {
    sandbox.json("POST", JOBS, token, &json!({"operation": "query", "query": soql}))
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn look(sandbox: &Sandbox, token: &str, id: &str) -> Value {
    sandbox.get(&format!("{JOBS}/{id}"), token).json()
}

fn done(sandbox: &Sandbox, token: &str, soql: &str) -> String {
    let id = id_of(&create(sandbox, token, soql));
    assert_eq!(look(sandbox, token, &id)["state"], "JobComplete");
    id
}

fn results(sandbox: &Sandbox, token: &str, id: &str, query: &str) -> Answer {
    sandbox.get(&format!("{JOBS}/{id}/results?{query}"), token)
}

fn rows(answer: &Answer) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(answer.body.as_slice());
    reader.deserialize().map(Result::unwrap).collect()
}

fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[test]
fn a_job_lives_from_its_creation_to_its_deletion() {
    let sandbox = Sandbox::start(&["--records", "Account=250"]);
    let token = sandbox.token();
    let made = create(&sandbox, &token, "SELECT Id, Name FROM Account");
    let shown = made.json();
    for (key, value) in [
        ("operation", json!("query")),
        ("object", json!("Account")),
        ("state", json!("UploadComplete")),
        ("concurrencyMode", json!("Parallel")),
        ("contentType", json!("CSV")),
        ("apiVersion", json!(64.0)),
        ("lineEnding", json!("LF")),
        ("columnDelimiter", json!("COMMA")),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    let id = id_of(&made);
    let shown = look(&sandbox, &token, &id);
    assert_eq!(shown["state"], "JobComplete");
    assert_eq!(shown["jobType"], "V2Query");
    assert_eq!(shown["numberRecordsProcessed"], 250);
    assert_eq!(shown["retries"], 0);
    assert!(shown["totalProcessingTime"].as_u64().unwrap() > 0);
    let mut seen = BTreeMap::new();
    let mut next = String::from("maxRecords=100");
    for wanted in [100, 100, 50] {
        let page = results(&sandbox, &token, &id, &next);
        assert_eq!(page.header("content-type"), Some("text/csv;charset=UTF-8"));
        assert!(page.header("sforce-limit-info").is_some());
        let count = wanted.to_string();
        assert_eq!(page.header("sforce-numberofrecords"), Some(count.as_str()));
        assert!(page.text().starts_with("\"Id\",\"Name\"\n"));
        assert_eq!(results(&sandbox, &token, &id, &next).body, page.body, "read again");
        let found = rows(&page);
        assert_eq!(found.len(), wanted);
        seen.extend(found.into_iter().map(|row| (row["Id"].clone(), row["Name"].clone())));
        let locator = page.header("sforce-locator").unwrap();
        next = format!("maxRecords=100&locator={locator}");
    }
    assert!(next.ends_with("locator=null"), "the literal at the end: {next}");
    assert_eq!(seen.len(), 250);
    assert_eq!(
        error(&results(&sandbox, &token, &id, &next)),
        (400, "INVALID_QUERY_LOCATOR".into())
    );
    assert_eq!(
        error(&results(&sandbox, &token, &id, "maxRecords=0")),
        (400, "INVALID_INPUT".into())
    );
    let other = sandbox.get(&format!("/services/data/v63.0/jobs/query/{id}/results"), &token);
    assert_eq!(error(&other), (409, "CONFLICT".into()));
    let path = format!("{JOBS}/{id}");
    assert_eq!(sandbox.json("DELETE", &path, &token, &json!({})).status, 204);
    for gone in [path.clone(), format!("{path}/results"), format!("{path}/resultPages")] {
        assert_eq!(error(&sandbox.get(&gone, &token)), (404, "NOT_FOUND".into()), "{gone}");
    }
}

#[test]
fn result_pages_lead_to_all_rows_and_the_list_to_all_jobs() {
    let sandbox = Sandbox::start(&["--records", "Account=65"]);
    let token = sandbox.token();
    sandbox.ctl("bulk-page-rows", &["10"]);
    let id = done(&sandbox, &token, "SELECT Id FROM Account");
    let mut address = format!("{JOBS}/{id}/resultPages");
    let (mut ids, mut answers) = (Vec::new(), Vec::new());
    loop {
        let pages = sandbox.get(&address, &token).json();
        let urls = pages["resultPages"].as_array().unwrap();
        answers.push(urls.len());
        for url in urls {
            let page = sandbox.get(url["resultUrl"].as_str().unwrap(), &token);
            ids.extend(rows(&page).into_iter().map(|row| row["Id"].clone()));
        }
        assert_eq!(pages["done"].as_bool().unwrap(), pages["nextRecordsUrl"].is_null());
        match pages["nextRecordsUrl"].as_str() {
            Some(next) => address = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(answers, [5, 2]);
    assert_eq!(ids.len(), 65);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 65, "no row on two pages");
    let old = sandbox.get(&format!("/services/data/v57.0/jobs/query/{id}/resultPages"), &token);
    assert_eq!(old.status, 404);
    done(&sandbox, &token, "SELECT Id FROM Account ORDER BY Id LIMIT 3");
    let listed = |query: &str| {
        let list = sandbox.get(&format!("{JOBS}?{query}"), &token).json();
        assert_eq!(list["done"], true);
        list["records"].as_array().unwrap().len()
    };
    assert_eq!(listed(""), 2);
    assert_eq!(listed("isPkChunkingEnabled=true&jobType=V2Query&concurrencyMode=Parallel"), 1);
    assert_eq!(listed("isPkChunkingEnabled=false"), 1);
    assert_eq!(listed("jobType=V2Ingest"), 0);
}

#[test]
fn each_request_costs_one_and_is_counted_by_its_kind() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let token = sandbox.token();
    let id = done(&sandbox, &token, "SELECT Id FROM Account");
    results(&sandbox, &token, &id, "");
    sandbox.get(&format!("{JOBS}/{id}/resultPages"), &token);
    sandbox.get(JOBS, &token);
    sandbox.json("PATCH", &format!("{JOBS}/{id}"), &token, &json!({"state": "Aborted"}));
    sandbox.json("DELETE", &format!("{JOBS}/{id}"), &token, &json!({}));
    assert_eq!(sandbox.ctl("quota", &[])["used"], 7);
    let counters = sandbox.ctl("counters", &[]);
    for kind in ["create", "look", "page", "pages", "list", "abort", "delete"] {
        assert_eq!(counters[format!("bulk_{kind}")], 1, "{kind}: {counters}");
    }
    let limits = sandbox.get("/services/data/v64.0/limits", &token).json();
    assert_eq!(limits["DailyBulkV2QueryJobs"], json!({"Max": 10_000, "Remaining": 9_999}));
    sandbox.ctl("bulk-quota", &["used=10000"]);
    let refused = create(&sandbox, &token, "SELECT Id FROM Account");
    assert_eq!(error(&refused), (400, "LIMIT_EXCEEDED".into()));
}

#[test]
fn refusals_at_creation_name_their_reason() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let token = sandbox.token();
    let refused = |soql: &str, code: &str| {
        let answer = create(&sandbox, &token, soql);
        assert_eq!(error(&answer), (400, code.to_owned()), "{soql}: {}", answer.text());
        answer.text()
    };
    assert!(
        refused("SELECT Id FROM CaseStatus", "INVALIDENTITY")
            .contains("is not supported by the Bulk API")
    );
    assert!(
        refused("SELECT BillingAddress FROM Account", "FEATURENOTENABLED")
            .contains("Selecting compound data not supported in Bulk Query")
    );
    for soql in [
        "SELECT Name, count(Id) FROM Account GROUP BY Name",
        "SELECT count() FROM Account",
        "SELECT Id FROM Account LIMIT 5 OFFSET 2",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        "SELECT TYPEOF Owner WHEN User THEN Id END FROM Account",
        "SELECT FIELDS(ALL) FROM Account LIMIT 200",
        "nonsense",
    ] {
        refused(soql, "MALFORMED_QUERY");
    }
    refused("SELECT Foo__c FROM Account", "INVALID_FIELD");
    sandbox.ctl("bulk-refuse", &["Account", "Phone", "on"]);
    refused("SELECT Id, phone FROM account", "FEATURENOTENABLED");
    sandbox.ctl("bulk-refuse", &["Account", "Phone", "off"]);
    done(&sandbox, &token, "SELECT Id, Phone FROM Account");
    sandbox.ctl("bulk-refuse", &["Account", "on", "message=not this one"]);
    assert!(refused("SELECT Id FROM Account", "INVALIDENTITY").contains("not this one"));
    sandbox.ctl("bulk-refuse", &["Account", "off"]);
    for body in [
        json!({}),
        json!({"operation": "insert", "query": "x"}),
        json!({"operation": "query"}),
        json!({"operation": "query", "query": "SELECT Id FROM Account", "columnDelimiter": "DOT"}),
        json!({"operation": "query", "query": "SELECT Id FROM Account", "object": "Account"}),
    ] {
        assert_eq!(sandbox.json("POST", JOBS, &token, &body).status, 400, "{body}");
    }
    // Permissions as for REST.
    let bob = sandbox.token_of("bob");
    let id = done(&sandbox, &bob, "SELECT Id FROM Account");
    assert!(rows(&results(&sandbox, &bob, &id, "")).len() < 20, "one in five is not shared");
    assert_eq!(sandbox.get(&format!("{JOBS}/{id}"), &token).status, 404, "bob's");
    sandbox.ctl("hide-field", &["bob", "Account", "Phone", "on"]);
    assert_eq!(create(&sandbox, &bob, "SELECT Phone FROM Account").code(), "INVALID_FIELD");
    sandbox.ctl("permission", &["bob", "ApiEnabled", "off"]);
    let answer = create(&sandbox, &bob, "SELECT Id FROM Account");
    assert_eq!(error(&answer), (403, "API_CURRENTLY_DISABLED".into()));
}

#[test]
fn slow_stuck_failing_and_expired_jobs() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let token = sandbox.token();
    sandbox.ctl("bulk-latency", &["3600"]);
    let id = id_of(&create(&sandbox, &token, "SELECT Id FROM Account"));
    let path = format!("{JOBS}/{id}");
    assert_eq!(look(&sandbox, &token, &id)["state"], "UploadComplete");
    assert_eq!(error(&results(&sandbox, &token, &id, "")), (400, "INVALIDJOBSTATE".into()));
    assert_eq!(
        error(&sandbox.json("DELETE", &path, &token, &json!({}))),
        (400, "INVALIDJOBSTATE".into())
    );
    sandbox.ctl("clock", &["+1800"]);
    assert_eq!(look(&sandbox, &token, &id)["state"], "InProgress");
    sandbox.ctl("clock", &["+1800"]);
    assert_eq!(look(&sandbox, &token, &id)["state"], "JobComplete");
    sandbox.ctl("clock", &["+604800"]);
    assert_eq!(error(&sandbox.get(&path, &token)), (404, "NOT_FOUND".into()));

    sandbox.ctl("bulk-latency", &["0"]);
    sandbox.ctl("bulk-stuck", &["on"]);
    let id = id_of(&create(&sandbox, &token, "SELECT Id FROM Account"));
    let path = format!("{JOBS}/{id}");
    assert_eq!(look(&sandbox, &token, &id)["state"], "InProgress");
    let aborted = sandbox.json("PATCH", &path, &token, &json!({"state": "Aborted"}));
    assert_eq!(aborted.json()["state"], "Aborted");
    assert_eq!(results(&sandbox, &token, &id, "").code(), "INVALIDJOBSTATE");
    assert_eq!(sandbox.json("DELETE", &path, &token, &json!({})).status, 204);
    sandbox.ctl("bulk-stuck", &["off"]);

    sandbox.ctl("bulk-fail", &["message=too wide"]);
    let id = id_of(&create(&sandbox, &token, "SELECT Id FROM Account"));
    let shown = look(&sandbox, &token, &id);
    assert_eq!((&shown["state"], &shown["errorMessage"]), (&json!("Failed"), &json!("too wide")));
    assert_eq!(shown["numberRecordsProcessed"], 0);
    sandbox.ctl("bulk-fail-over", &["days=30"]);
    let id = id_of(&create(
        &sandbox,
        &token,
        "SELECT Id FROM Account WHERE CreatedDate > 2020-01-01T00:00:00Z AND CreatedDate < 2020-01-20T00:00:00Z",
    ));
    assert_eq!(look(&sandbox, &token, &id)["state"], "JobComplete");
    let id = id_of(&create(&sandbox, &token, "SELECT Id FROM Account"));
    assert_eq!(look(&sandbox, &token, &id)["state"], "Failed");
    sandbox.ctl("bulk-fail-over", &["off"]);
    let id = done(&sandbox, &token, "SELECT Id FROM Account");
    sandbox.ctl("bulk-expire", &[&id]);
    assert_eq!(error(&results(&sandbox, &token, &id, "")), (404, "NOT_FOUND".into()));
}

#[test]
fn pages_are_spoilt_cut_slowed_and_compressed_on_demand() {
    let sandbox = Sandbox::start(&["--records", "Account=200"]);
    let token = sandbox.token();
    let id = done(&sandbox, &token, "SELECT Id, Name, Website FROM Account");
    let good = results(&sandbox, &token, &id, "");
    sandbox.ctl("bulk-corrupt", &["truncated", "object=account", "times=2"]);
    for _ in 0..2 {
        let page = results(&sandbox, &token, &id, "");
        assert!(page.whole && page.body.len() < good.body.len());
        assert_eq!(page.header("sforce-numberofrecords"), Some("200"));
    }
    assert_eq!(results(&sandbox, &token, &id, "").body, good.body);
    sandbox.ctl("bulk-corrupt", &["count", "times=always"]);
    for _ in 0..3 {
        let page = results(&sandbox, &token, &id, "");
        assert_eq!(page.header("sforce-numberofrecords"), Some("201"));
    }
    sandbox.ctl("bulk-corrupt", &["off"]);
    sandbox.ctl("bulk-corrupt", &["empty", "object=Contact", "times=always"]);
    assert_eq!(results(&sandbox, &token, &id, "").body, good.body, "another object");

    sandbox.ctl("cut", &["path=/results", "after_bytes=5000"]);
    let page = results(&sandbox, &token, &id, "");
    assert_eq!((page.whole, page.body.as_slice()), (false, &good.body[..5000]));
    sandbox.ctl("throttle", &["path=/results", "bytes_per_second=100000"]);
    assert_eq!(results(&sandbox, &token, &id, "").body, good.body);
    assert_eq!(sandbox.ctl("state", &[])["faults"]["throttle"], json!([]));

    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Accept-Encoding", "gzip")];
    let page = sandbox.send("GET", &format!("{JOBS}/{id}/results"), &headers, "").unwrap();
    assert_eq!(page.header("content-encoding"), Some("gzip"));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(page.body.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, good.body);
    let options = json!({"operation": "queryAll", "query": "SELECT Id, Name FROM Account", "columnDelimiter": "TAB", "lineEnding": "CRLF"});
    let id = id_of(&sandbox.json("POST", JOBS, &token, &options));
    assert!(results(&sandbox, &token, &id, "").text().starts_with("\"Id\"\t\"Name\"\r\n"));
    sandbox.ctl("fail", &["path=FROM Account", "next=2", "body=<html>"]);
    let rest = sandbox.get("/services/data/v64.0/query?q=SELECT+Id+FROM+Account", &token);
    assert_eq!((rest.status, rest.text().as_str()), (500, "<html>"), "REST pages likewise");
}

#[test]
fn get_deleted_as_a_part_of_a_composite_can_be_refused() {
    let sandbox = Sandbox::start(&["--records", "Account=5"]);
    let token = sandbox.token();
    let base = "/services/data/v64.0";
    let now = sandbox.ctl("state", &[])["now"].as_str().unwrap().to_owned();
    let start = format!("{}T00:00:00Z", &now[..10]);
    let deleted = format!("{base}/sobjects/Account/deleted/?start={start}&end={now}");
    let body = json!({"compositeRequest": [
        {"method": "GET", "referenceId": "a", "url": format!("{base}/query?q=SELECT+Id+FROM+Account")},
        {"method": "GET", "referenceId": "b", "url": deleted},
    ]});
    let answer = || sandbox.json("POST", &format!("{base}/composite"), &token, &body);
    let statuses = |answer: Answer| -> Vec<Value> {
        let parts = answer.json()["compositeResponse"].as_array().unwrap().clone();
        parts.iter().map(|part| part["httpStatusCode"].clone()).collect()
    };
    sandbox.ctl("composite-deleted", &["part"]);
    assert_eq!(statuses(answer()), [200, 400]);
    sandbox.ctl("composite-deleted", &["whole"]);
    assert_eq!(error(&answer()), (400, "INVALID_INPUT".into()));
    sandbox.ctl("composite-deleted", &["allow"]);
    assert_eq!(statuses(answer())[0], 200);
    let job = json!({"compositeRequest": [{"method": "GET", "referenceId": "a", "url": JOBS}]});
    assert_eq!(statuses(sandbox.json("POST", &format!("{base}/composite"), &token, &job)), [400]);
}
