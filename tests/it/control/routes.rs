//! Every route of the committed document answers, nothing else does, and each change is audited.

use super::{config, parted};
use crate::support::daemon::{Daemon, raw_bytes};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use crate::support::{browser, workspace};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn document() -> (String, Value) {
    let text =
        std::fs::read_to_string(workspace().join("docs/openapi.json")).expect("the document");
    let json = serde_json::from_str(&text).expect("the document is JSON");
    (text, json)
}

/// `method path` of all that is described.
fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| -> Vec<String> {
        let methods = item.as_object().expect("methods");
        methods.keys().map(|method| format!("{method} {path}")).collect()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn every_route_of_the_document_answers_and_each_change_is_audited_with_uid_and_command() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let daemon = Daemon::start(&config(&sandbox));
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let (text, document) = document();
    let run = daemon.detail("sf")["runs"][0]["id"].as_str().expect("a run").to_owned();
    let mut asked = BTreeSet::new();
    let mut request = String::new();
    // (route, what stands for {id}, body, status, word in the audit log)
    let calls: Vec<(&str, &str, Option<Value>, u16, &str)> = vec![
        ("get /v1/status", "", None, 200, ""),
        ("get /v1/connections", "", None, 200, ""),
        ("get /v1/connections/{name}", "", None, 200, ""),
        ("get /v1/connections/{name}/fields", "", None, 200, ""),
        ("get /v1/connections/{name}/runs", "", None, 200, ""),
        ("get /v1/runs/{id}", &run, None, 200, ""),
        ("get /v1/notices", "", None, 200, ""),
        ("get /v1/mails", "", None, 200, ""),
        ("get /v1/audit", "", None, 200, ""),
        ("get /v1/quota", "", None, 200, ""),
        ("get /v1/config", "", None, 200, ""),
        ("get /v1/key", "", None, 200, ""),
        ("get /v1/openapi.json", "", None, 200, ""),
        (
            "put /v1/connections/{name}/secrets/{key}",
            "",
            Some(json!({ "value": sandbox.client_secret })),
            200,
            "secret set client_secret",
        ),
        (
            "post /v1/connections/{name}/pause",
            "",
            Some(json!({ "for_seconds": 3600 })),
            200,
            "pause",
        ),
        ("post /v1/connections/{name}/resume", "", None, 200, "resume"),
        ("post /v1/connections/{name}/sync", "", Some(json!({})), 200, "sync"),
        ("post /v1/connections/{name}/test", "", None, 200, "test"),
        ("post /v1/connections/{name}/approve", "", None, 409, ""),
        ("post /v1/connections/{name}/reauthorize", "", Some(json!({})), 200, "reauthorize"),
        ("post /v1/requests/{id}/password", "REQUEST", Some(json!({ "value": "x" })), 4, ""),
        ("post /v1/requests/{id}/confirm", "REQUEST", None, 4, ""),
        ("post /v1/requests/{id}/callback", "REQUEST", Some(json!({ "value": "WALK" })), 200, ""),
        ("post /v1/requests/{id}/reject", "r0", None, 404, ""),
        ("post /v1/connections/{name}/disconnect", "", None, 200, "disconnect"),
        ("post /v1/connections/{name}/forget", "", Some(json!({})), 409, ""),
        ("post /v1/reload", "", None, 200, "reload"),
        ("post /v1/notify/test", "", None, 409, ""),
        ("post /v1/connections/{name}/rename", "", Some(json!({ "to": "sf2" })), 200, "rename"),
    ];
    let mut url = String::new();
    for (route, id, body, expected, word) in calls {
        asked.insert(route.to_owned());
        let (method, path) = route.split_once(' ').expect("a method");
        let id = if id == "REQUEST" { &request } else { id };
        let path =
            path.replace("{name}", "sf").replace("{key}", "client_secret").replace("{id}", id);
        let body = body.map(|b| match b["value"].as_str() {
            Some("WALK") => {
                let walk = browser::Walk {
                    user: &sandbox.user,
                    password: &sandbox.password,
                    approve: true,
                };
                json!({ "value": browser::walk(&url, &walk).expect("walking") })
            }
            _ => b,
        });
        let reply = daemon.api(&method.to_uppercase(), &path, body.as_ref());
        let fits =
            reply.status == expected || (expected == 4 && (400..500).contains(&reply.status));
        assert!(fits, "{route}: {} {}", reply.status, reply.text);
        if reply.status >= 400 {
            assert!(
                reply.json["code"].is_string() && reply.json["message"].is_string(),
                "{route}: {}",
                reply.text
            );
        }
        if route.ends_with("openapi.json") {
            assert_eq!(reply.text, text, "the committed document is the one that is served");
        }
        if route.ends_with("reauthorize") {
            url = reply.json["url"].as_str().expect("an address").to_owned();
            request = reply.json["request"].as_str().expect("a request").to_owned();
        }
        if !word.is_empty() {
            let audit = daemon.api("GET", "/v1/audit?limit=5", None).ok();
            let uid = rustix::process::getuid().as_raw();
            let lines = audit["audit"].as_array().expect("lines");
            let found = lines.iter().any(|l| {
                l["uid"] == uid && l["what"].as_str().is_some_and(|w| w.starts_with(word))
            });
            assert!(found, "{route}: no audit line `{word}` of uid {uid} in {audit:#}");
        }
    }
    asked.insert("get /v1/events".to_owned()); // a stream of its own test
    assert_eq!(asked, described(&document));
}

#[test]
fn nothing_that_is_not_in_the_document_is_served() {
    let sandbox = Sandbox::start(&["--records", "Account=5"]);
    let daemon = Daemon::start(&config(&sandbox));
    let (_, document) = document();
    let known = described(&document);
    for path in document["paths"].as_object().expect("paths").keys() {
        for method in ["get", "post", "put", "delete", "patch", "options", "trace"] {
            if !known.contains(&format!("{method} {path}")) {
                let path = path.replace("{name}", "sf").replace("{key}", "k").replace("{id}", "r1");
                let reply = daemon.api(&method.to_uppercase(), &path, None);
                assert_eq!(reply.status, 405, "{method} {path}: {}", reply.text);
            }
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v0/status",
        "/v1/status/",
        "/v1/connections/sf/delete",
        "/v1/secrets",
        "/metrics",
        "/v1/connections/sf/secrets/client_secret/x",
    ] {
        let reply = daemon.api("GET", path, None);
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    // What is kept secret has no way out.
    let reply = daemon.api("GET", "/v1/connections/sf/secrets/client_secret", None);
    assert_eq!(reply.status, 405);
}

#[test]
fn the_stream_tells_of_a_run_and_ends_with_the_daemon() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let mut daemon = Daemon::start(&config(&sandbox));
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let mut stream = UnixStream::connect(daemon.socket()).expect("connecting");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").expect("asking");
    let mut lines = BufReader::new(stream).lines();
    let mut head = String::new();
    for line in lines.by_ref() {
        let line = line.expect("the head of the answer");
        if line.is_empty() {
            break;
        }
        head.push_str(&line.to_lowercase());
    }
    assert!(head.contains("200") && head.contains("text/event-stream"), "{head}");
    let listener = std::thread::spawn(move || {
        let all: Vec<String> =
            lines.map_while(Result::ok).filter(|l| l.starts_with("data:")).collect();
        all
    });
    sandbox.ctl(&["touch", "Account", "3"]);
    daemon.follow("sf");
    daemon.stop();
    eventually_or(Duration::from_secs(20), "the stream ends", || {
        if listener.is_finished() { Ok(()) } else { Err(String::new()) }
    });
    let events: Vec<Value> = listener
        .join()
        .expect("listening")
        .iter()
        .map(|l| {
            serde_json::from_str(l.trim_start_matches("data:").trim()).expect("an event is JSON")
        })
        .collect();
    let texts: Vec<String> = events.iter().map(Value::to_string).collect();
    for word in ["run-started", "run-ended", "status", "progress"] {
        assert!(texts.iter().any(|t| t.contains(word)), "no {word} in {texts:#?}");
    }
    let answer = raw_bytes(&daemon.socket(), b"GET /v1/status HTTP/1.1\r\n\r\n");
    assert!(answer.is_err(), "{:?}", answer.map(|a| parted(&String::from_utf8_lossy(&a))));
}
