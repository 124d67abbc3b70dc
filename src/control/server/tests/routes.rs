//! Every route reaches its command with its arguments, and answers in its shape.

use super::support::{PATIENCE, own, start};
use crate::control::protocol::{Event, Refusal, RefusalCode};
use crate::control::server::routes::table;
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Method, path, body, what the daemon must have been asked.
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/v1/status", "", "status None false"),
    ("GET", "/v1/status?name=a&all=true", "", r#"status Some("a") true"#),
    ("GET", "/v1/connections", "", "status None true"),
    ("GET", "/v1/connections/a", "", r#"detail "a""#),
    (
        "POST",
        "/v1/connections/a/sync",
        r#"{"objects":["Account"],"full":true}"#,
        r#"sync root "a" SyncRequest { objects: ["Account"], full: true, despite_quota: false }"#,
    ),
    (
        "POST",
        "/v1/connections/a/pause",
        r#"{"for_seconds":60}"#,
        r#"pause root "a" PauseRequest { for_seconds: Some(60), note: None }"#,
    ),
    ("POST", "/v1/connections/a/resume", "", r#"resume root "a""#),
    ("POST", "/v1/connections/a/test", "{}", r#"test root "a""#),
    (
        "POST",
        "/v1/connections/a/reauthorize",
        "",
        r#"reauthorize root "a" ReauthorizeRequest { as_other_account: false }"#,
    ),
    ("POST", "/v1/connections/a/disconnect", "", r#"disconnect root "a""#),
    ("POST", "/v1/connections/a/approve", "", r#"approve root "a""#),
    (
        "POST",
        "/v1/connections/a/forget",
        r#"{"with_data":true}"#,
        r#"forget root "a" ForgetRequest { with_data: true }"#,
    ),
    (
        "POST",
        "/v1/connections/a/rename",
        r#"{"to":"b"}"#,
        r#"rename root "a" RenameRequest { to: "b" }"#,
    ),
    (
        "PUT",
        "/v1/connections/a/secrets/client_secret",
        r#"{"value":"s3"}"#,
        r#"set_secret root "a" "client_secret" s3"#,
    ),
    ("GET", "/v1/connections/a/fields?search=na%20me", "", r#"fields "a" Some("na me")"#),
    ("GET", "/v1/connections/a/runs?limit=3", "", r#"runs Some("a") 3"#),
    ("GET", "/v1/runs/r-1", "", r#"run "r-1""#),
    (
        "POST",
        "/v1/requests/r-1/callback",
        r#"{"value":"http://x?code=1"}"#,
        r#"callback root "r-1" http://x?code=1"#,
    ),
    ("POST", "/v1/requests/r-1/password", r#"{"value":"pw"}"#, r#"password root "r-1" pw"#),
    ("POST", "/v1/requests/r-1/confirm", "", r#"confirm root "r-1""#),
    ("POST", "/v1/requests/r-1/reject", "", r#"reject root "r-1""#),
    ("GET", "/v1/notices?name=a&all=true", "", r#"notices Some("a") true"#),
    ("GET", "/v1/mails", "", "mails 50"),
    ("GET", "/v1/audit?limit=99999999", "", "audit 10000"),
    ("GET", "/v1/quota?name=a", "", r#"quota Some("a")"#),
    ("GET", "/v1/config?origin=true", "", "config true"),
    ("POST", "/v1/reload", "", "reload root"),
    (
        "POST",
        "/v1/notify/test?to=ada@example.org",
        "",
        r#"notify_test root Some("ada@example.org")"#,
    ),
    ("GET", "/v1/key", "", "key_status"),
    ("GET", "/v1/openapi.json", "", ""),
];

fn user() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).unwrap().map_or_else(|| uid.to_string(), |u| u.name)
}

#[tokio::test]
async fn every_route_reaches_its_command() {
    let server = start(own());
    let mut seen = BTreeSet::new();
    for (method, path, body, call) in REQUESTS {
        let (status, json) = server.ask(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {json}");
        let expected = call.replacen("root", &user(), 1);
        let expected: Vec<String> = if call.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(server.commands.calls(), expected, "{method} {path}");
        let versioned = json["schema"] == 1 || json["openapi"].is_string();
        assert!(versioned, "{method} {path}: {json}");
        seen.insert((method.to_lowercase(), path.split('?').next().unwrap().matches('/').count()));
    }
    // Each route of the table is asked by one line above; events have a test of their own.
    let distinct: BTreeSet<&str> =
        REQUESTS.iter().map(|r| r.3.split(' ').next().unwrap()).collect();
    assert_eq!(distinct.len() + 2, table().len(), "a route without a line in this test");
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn refusals_of_the_daemon_keep_code_text_and_hint() {
    let server = start(own());
    let statuses = [
        (RefusalCode::Forbidden, 403, "forbidden"),
        (RefusalCode::NotFound, 404, "not-found"),
        (RefusalCode::Conflict, 409, "conflict"),
        (RefusalCode::NeedsAuthorization, 409, "needs-authorization"),
        (RefusalCode::QuotaHeld, 409, "quota-held"),
        (RefusalCode::Invalid, 422, "invalid"),
        (RefusalCode::BadConfig, 422, "bad-config"),
        (RefusalCode::Unavailable, 503, "unavailable"),
        (RefusalCode::Failed, 500, "failed"),
    ];
    for (code, expected, word) in statuses {
        *server.commands.refuse.lock().unwrap() = Some(Refusal::new(code, "no").hint("do"));
        let (status, json) = server.ask("POST", "/v1/connections/a/sync", "").await;
        let whole = serde_json::json!({"code": word, "message": "no", "hint": "do"});
        assert_eq!((status, json), (expected, whole));
    }
}

#[tokio::test]
async fn events_stream_as_they_come_and_tell_what_was_missed() {
    let server = start(own());
    let mut stream = tokio::net::UnixStream::connect(&server.path).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let mut read = async |until: &str, text: &mut String| {
        let more = async {
            while !text.contains(until) {
                let mut part = [0u8; 4096];
                let n = stream.read(&mut part).await.unwrap();
                assert!(n > 0, "ended before {until}: {text}");
                text.push_str(&String::from_utf8_lossy(&part[..n]));
            }
        };
        tokio::time::timeout(PATIENCE, more).await.unwrap();
    };
    read("\r\n\r\n", &mut text).await;
    assert!(text.contains("text/event-stream"), "{text}");
    // Forty at once, into a channel of sixteen, without a moment in between.
    for generation in 1..=40 {
        server.commands.events.send(Event::Reloaded { generation }).unwrap();
    }
    read(r#""generation":40}"#, &mut text).await;
    let missed = r#"data: {"event":"missed","count":24}"#;
    assert!(text.contains(missed) && !text.contains(r#""generation":24}"#), "{text}");
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    read("0\r\n\r\n", &mut text).await;
}
