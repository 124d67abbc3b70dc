//! What is not understood gets a clear 4xx and reaches nobody.

use super::support::{PATIENCE, nobody, own, split, start, start_patiently};
use crate::control::server::Access;
use crate::control::server::routes::table;
use serde_json::Value;

fn clear(status: u16, json: &Value) {
    assert!((400..500).contains(&status), "{status} {json}");
    for key in ["code", "message", "hint"] {
        assert!(json[key].as_str().is_some_and(|t| !t.is_empty()), "{status}: {key} in {json}");
    }
}

#[tokio::test]
async fn strangers_are_refused_everywhere_and_learn_nothing() {
    let server = start(nobody());
    for route in table() {
        let path = route.path.replace("{name}", "a").replace("{id}", "r").replace("{key}", "k");
        let (status, json) = server.ask(&route.method.to_uppercase(), &path, "").await;
        assert_eq!(status, 403, "{path}");
        clear(status, &json);
    }
    for path in ["/", "/v1/none", "/v1/status?x=1"] {
        assert_eq!(server.ask("GET", path, "").await.0, 403, "{path}");
    }
    let large = "x".repeat(1_000_000);
    assert_eq!(server.ask("POST", "/v1/reload", &large).await.0, 403);
    assert!(server.commands.calls().is_empty());
}

#[tokio::test]
async fn members_of_the_view_group_look_and_change_nothing() {
    let server = start(Access::new(4_000_000, "root", "no-such-group").without_root());
    for route in table() {
        if route.path == "/v1/events" {
            continue;
        }
        let path = route.path.replace("{name}", "a").replace("{id}", "r").replace("{key}", "k");
        let (status, json) = server.ask(&route.method.to_uppercase(), &path, "").await;
        assert_eq!(status, if route.method == "get" { 200 } else { 403 }, "{path} {json}");
        assert!(route.method != "get" || server.commands.calls().len() <= 1);
        assert!(server.commands.calls().is_empty());
    }
}

#[tokio::test]
async fn wrong_requests_have_no_effect() {
    let server = start(own());
    let long = "a".repeat(42);
    let deep = "[".repeat(10_000);
    let cases: Vec<(&str, String, String, u16)> = vec![
        ("GET", "/".into(), String::new(), 404),
        ("GET", "/v2/status".into(), String::new(), 404),
        ("GET", "/v1/connections/".into(), String::new(), 404),
        ("POST", "/v1/status".into(), String::new(), 405),
        ("DELETE", "/v1/connections/a".into(), String::new(), 405),
        ("GET", "/v1/reload".into(), String::new(), 405),
        ("POST", "/v1/connections/a/secrets/k".into(), r#"{"value":"x"}"#.into(), 405),
        ("BREW", "/v1/status".into(), String::new(), 405),
        ("GET", "/v1/status?all=perhaps".into(), String::new(), 400),
        ("GET", "/v1/status?al=true".into(), String::new(), 400),
        ("GET", "/v1/status?name=..".into(), String::new(), 422),
        ("GET", "/v1/audit?limit=-1".into(), String::new(), 400),
        ("GET", "/v1/connections/UPPER".into(), String::new(), 422),
        ("GET", format!("/v1/connections/{long}"), String::new(), 422),
        ("GET", "/v1/connections/%2e%2e%2fx".into(), String::new(), 422),
        ("GET", "/v1/connections/%ff".into(), String::new(), 400),
        ("GET", "/v1/connections/a%00".into(), String::new(), 422),
        ("GET", "/v1/runs/%20".into(), String::new(), 422),
        ("GET", format!("/v1/runs/{}", "1".repeat(65)), String::new(), 422),
        ("POST", "/v1/connections/a/sync".into(), "{".into(), 400),
        ("POST", "/v1/connections/a/sync".into(), "null".into(), 422),
        ("POST", "/v1/connections/a/sync".into(), deep, 422),
        ("POST", "/v1/connections/a/sync".into(), r#"[["Account"],true,false]"#.into(), 422),
        ("POST", "/v1/connections/a/sync".into(), r#"{"full":"yes"}"#.into(), 422),
        ("POST", "/v1/connections/a/sync".into(), r#"{"objects":"Account"}"#.into(), 422),
        ("POST", "/v1/connections/a/sync".into(), r#"{"ful":true}"#.into(), 422),
        ("POST", "/v1/connections/a/sync".into(), r#"{"full":true}{"#.into(), 400),
        ("POST", "/v1/connections/a/pause".into(), r#"{"for_seconds":-1}"#.into(), 422),
        ("POST", "/v1/connections/a/pause".into(), r#"{"for_seconds":1e99}"#.into(), 422),
        ("POST", "/v1/connections/a/resume".into(), r#"{"now":true}"#.into(), 400),
        ("POST", "/v1/connections/a/rename".into(), "{}".into(), 422),
        ("POST", "/v1/connections/a/rename".into(), r#"{"to":"B"}"#.into(), 422),
        ("POST", "/v1/reload".into(), "x".repeat(65 * 1024), 413),
        ("PUT", "/v1/connections/a/secrets/Client-Secret".into(), r#"{"value":"x"}"#.into(), 422),
        ("PUT", "/v1/connections/a/secrets/k".into(), "x".repeat(17 * 1024), 413),
        ("PUT", "/v1/connections/a/secrets/k".into(), String::new(), 422),
    ];
    for (method, path, body, expected) in cases {
        let (status, json) = server.ask(method, &path, &body).await;
        assert_eq!(status, expected, "{method} {path} {}: {json}", &body[..body.len().min(40)]);
        clear(status, &json);
        let calls = server.commands.calls();
        assert!(calls.is_empty(), "{method} {path}: {calls:?}");
    }
}

#[tokio::test]
async fn bodies_of_another_kind_are_refused() {
    let server = start(own());
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let (status, json) =
            server.ask_as("POST", "/v1/connections/a/sync", kind, br#"{"full":true}"#).await;
        assert_eq!(status, 415, "{kind}");
        clear(status, &json);
    }
    let path = "/v1/connections/a/sync";
    let (status, json) = server.ask_as("POST", path, "application/json", b"{\"\xff\":1}").await;
    assert_eq!(status, 400);
    clear(status, &json);
    assert!(server.commands.calls().is_empty());
}

#[tokio::test]
async fn refusals_never_repeat_a_secret() {
    let server = start(own());
    let bodies = [
        r#"{"value":{"canary-7f3a":1}}"#,
        r#"{"canary-7f3a":"x"}"#,
        r#"{"value":"x","more":"canary-7f3a"}"#,
        r#"["canary-7f3a"]"#,
        r#"{"value":"canary-7f3a"#,
        r#""canary-7f3a""#,
    ];
    for path in ["/v1/requests/r/password", "/v1/requests/r/callback"] {
        for body in bodies {
            let (status, json) = server.ask("POST", path, body).await;
            assert_eq!(status, 422);
            assert!(!json.to_string().contains("canary"), "{json}");
        }
    }
    assert!(server.commands.calls().is_empty());
}

#[tokio::test]
async fn random_bytes_are_answered_and_have_no_effect() {
    let server = start(own());
    // A fixed sequence: a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let length = usize::try_from(next() % 600).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[3]).collect();
        if round % 3 == 0 {
            let head = b"POST /v1/connections/a/resume HTTP/1.1\r\n";
            bytes.splice(0..0, head.iter().copied());
        }
        let (status, _) = split(&server.raw(&bytes, true).await);
        // Nothing at all is the answer to a request that never ended.
        assert!(status == 0 || (400..500).contains(&status), "round {round}: {status}");
    }
    let whole = b"POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n{  ";
    for cut in 1..whole.len() {
        let _ = server.raw(&whole[..cut], true).await;
    }
    assert!(server.commands.calls().is_empty());
    assert_eq!(server.ask("GET", "/v1/status", "").await.0, 200);
}

#[tokio::test]
async fn heads_without_end_are_bounded() {
    let server = start(own());
    let mut bytes = b"GET /v1/status HTTP/1.1\r\n".to_vec();
    for i in 0..100_000 {
        bytes.extend_from_slice(format!("x-{i}: {i}\r\n").as_bytes());
    }
    let (status, _) = split(&server.raw(&bytes, false).await);
    assert!(status == 0 || status == 431 || status == 400, "{status}");
    assert!(server.commands.calls().is_empty());
}

#[tokio::test]
async fn who_does_not_finish_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start_patiently(own(), std::time::Duration::from_millis(200));
    let half = [
        &b""[..],
        b"GET /v1/st",
        b"POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{",
    ];
    for bytes in half {
        let mut stream = tokio::net::UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
        let (status, _) = split(&answer);
        assert!(status == 0 || status == 408, "{status}");
    }
    assert!(server.commands.calls().is_empty());
}
