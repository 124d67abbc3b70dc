//! Recorded exchanges of a real org, asked again: where the answers differ, the recording is right.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Sandbox;

/// The recordings lie beside the repository, not in it.
fn recording(name: &str) -> Option<Value> {
    let folder: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/salesforce");
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => {
            // Recordings leave the version out.
            let text = String::from_utf8(bytes).unwrap().replace("/vxx.0/", "/v64.0/");
            Some(serde_json::from_str(&text).unwrap())
        }
        Err(error) => {
            eprintln!("NOT COMPARED with a recording: {}: {error}", path.display());
            None
        }
    }
}

/// What differs from org to org: ids.
fn without_ids(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let same = name != "id" && name != "Id" && name != "url";
                (name.clone(), if same { without_ids(value) } else { Value::from("an id") })
            })
            .collect(),
        Value::Array(list) => list.iter().map(without_ids).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Sends each recorded request and compares status and body; gives how many there were.
fn replay(sandbox: &Sandbox, exchanges: &Value) -> usize {
    let token = sandbox.token();
    let mut compared = 0;
    for exchange in exchanges.as_array().unwrap() {
        let uri = exchange["uri"].as_str().unwrap();
        let target = uri.split_once(".com").unwrap().1;
        let method = exchange["method"].as_str().unwrap();
        let answer = sandbox.json(method, target, &token, &exchange["request_body"]);
        assert_eq!(exchange["status"], answer.status, "{method} {target}: {}", answer.text());
        let (got, wanted) = (without_ids(&answer.json()), without_ids(&exchange["response_body"]));
        assert_eq!(got, wanted, "{method} {target}");
        compared += 1;
    }
    compared
}

#[test]
fn composite_exchanges_are_answered_as_recorded() {
    let empty = Sandbox::start(&["--records", "Account=0"]);
    let seventeen = Sandbox::start(&["--records", "Account=17", "--records", "Opportunity=0"]);
    let cases = [
        (&empty, "TestCompositeParallelSalesforce_test_reference_ids"),
        (&empty, "TestCompositeParallelSalesforce_test_errors"),
        (&empty, "TestCompositeParallelSalesforce_test_composite_parallel_salesforce"),
        (&seventeen, "TestCountSObjects_test_count_sobjects_simple"),
        (&seventeen, "TestCountSObjects_test_count_sobjects__errors"),
    ];
    for (sandbox, name) in cases {
        let Some(exchanges) = recording(&format!("composite/exchange_{name}.json")) else { return };
        assert!(replay(sandbox, &exchanges) > 0, "{name}");
    }
}

#[test]
fn error_bodies_of_the_token_endpoint_are_the_recorded_ones() {
    let sandbox = Sandbox::start(&[]);
    let refresh = || {
        sandbox.post_form(
            "/services/oauth2/token",
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", "nobody knows this"),
                ("client_id", sandbox.text("client_id")),
                ("client_secret", sandbox.text("client_secret")),
            ],
        )
    };
    let Some(expired) = recording("oauth/restforce_refresh_error_response.json") else { return };
    assert_eq!(refresh().json(), expired);
    for error in recording("constructed/oauth_errors.json").unwrap().as_array().unwrap() {
        let text = |name: &str| error["body"][name].as_str().unwrap();
        sandbox.ctl("token-error", &[text("error"), text("error_description")]);
        let answer = refresh();
        assert_eq!(error["status"], answer.status);
        assert_eq!(answer.json(), error["body"]);
    }
    let expired = recording("errors/restforce_expired_session_response.json").unwrap();
    let answer = sandbox.get("/services/data/v64.0/limits", "stale");
    assert_eq!((answer.status, answer.json()), (401, expired));
    // The same keys as in a recorded success, and no more than the documented ones.
    let token = recording("oauth/restforce_refresh_success_response.json").unwrap();
    let answer = sandbox.post_form(
        "/services/oauth2/token",
        &[
            ("grant_type", "client_credentials"),
            ("client_id", sandbox.text("client_id")),
            ("client_secret", sandbox.text("client_secret")),
        ],
    );
    let body = answer.json();
    for (name, value) in token.as_object().unwrap() {
        assert_eq!(value.is_string(), body[name].is_string(), "{name}");
    }
}

#[test]
fn the_limits_have_every_recorded_kind_of_entry() {
    let sandbox = Sandbox::start(&[]);
    let Some(wanted) = recording("constructed/limits_developer_edition.json") else { return };
    let token = sandbox.token();
    let limits = sandbox.get("/services/data/v64.0/limits", &token).json();
    for (name, value) in limits.as_object().unwrap() {
        assert!(wanted.get(name).is_some(), "{name} is no limit of the vendor's");
        assert!(value["Max"].is_number() && value["Remaining"].is_number(), "{name}");
    }
}
