//! Garbage, oversized and cut requests: a clear 4xx, and nothing has changed.

use super::{answered, config, state};
use crate::support::daemon::Daemon;
use crate::support::sandbox::Sandbox;
use serde_json::Value;

/// A request with a JSON body of this length.
fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn what_is_not_understood_is_refused_clearly_and_changes_nothing() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let daemon = Daemon::start(&config(&sandbox));
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    // The recovery of the first authorization is told before the snapshot is taken.
    let calls = sandbox.counter("call");
    let before = state(&daemon);
    let long = "a".repeat(100_000);
    let sync = "/v1/connections/sf/sync";
    let bodies: Vec<(&str, String)> = vec![
        (sync, "{".into()),
        (sync, "null".into()),
        (sync, "[]".into()),
        (sync, "[".repeat(60_000)),
        (sync, "{\"objects\":".repeat(4000)),
        (sync, r#"{"full":"yes"}"#.into()),
        (sync, r#"{"objects":["Nothing"]}"#.into()),
        (sync, r#"{"objects":[1]}"#.into()),
        (sync, r#"{"despite_quota":true,"sudo":true}"#.into()),
        (sync, format!(r#"{{"objects":["{long}"]}}"#)),
        ("/v1/connections/sf/pause", r#"{"for_seconds":-1}"#.into()),
        ("/v1/connections/sf/pause", r#"{"for_seconds":0}"#.into()),
        ("/v1/connections/sf/pause", format!(r#"{{"for_seconds":{}}}"#, u64::MAX)),
        ("/v1/connections/sf/pause", format!(r#"{{"note":"{long}"}}"#)),
        ("/v1/connections/sf/rename", r#"{"to":"../../etc/passwd"}"#.into()),
        ("/v1/connections/sf/rename", r#"{"to":"sf"}"#.into()),
        ("/v1/connections/sf/rename", "{}".into()),
        ("/v1/connections/..%2f..%2fsf/forget", r#"{"with_data":true}"#.into()),
        ("/v1/connections/sf/forget", r#"{"with_data":true}"#.into()),
        ("/v1/connections/none/sync", "{}".into()),
        ("/v1/connections/SF/sync", "{}".into()),
        ("/v1/connections/sf%00/sync", "{}".into()),
        (
            "/v1/requests/r0000000000/callback",
            r#"{"value":"http://localhost:17817/?code=x&state=y"}"#.into(),
        ),
        ("/v1/requests/%27%20OR%201=1/confirm", String::new()),
        ("/v1/reload", format!(r#"{{"x":"{long}"}}"#)),
        ("/v1/notify/test", r#"{"to":"a@b\r\nBcc: c@d"}"#.into()),
    ];
    let mut said = 0;
    for (path, body) in &bodies {
        let (status, text) = answered(&daemon.socket(), &post(path, body));
        let shown = &body[..body.len().min(60)];
        assert!((400..500).contains(&status), "{path} {shown}: {status} {text}");
        let json: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path} {shown}: {e}: {text}"));
        for key in ["code", "message"] {
            assert!(
                json[key].as_str().is_some_and(|t| !t.is_empty() && t.len() < 2000),
                "{path} {shown}: {json}"
            );
        }
        said += 1;
    }
    let raw: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /v1/status\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/1.1\r\nHost x\r\n\r\n".to_vec(),
        b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".to_vec(),
        b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!".to_vec(),
        b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000)).into_bytes(),
        format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "a".repeat(1_000_000)).into_bytes(),
        format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{}\r\n", "x: y\r\n".repeat(20_000)).into_bytes(),
        vec![0; 100_000],
        (0..=255).cycle().take(50_000).collect(),
    ];
    for bytes in &raw {
        let (status, text) = answered(&daemon.socket(), bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        // A peer that speaks no HTTP may be hung up on; never is it served.
        assert!(status == 0 || (400..500).contains(&status), "{shown:?}: {status} {text}");
        said += 1;
    }
    // Bytes at random, of a seed: half of them begin like a request.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for n in 0..200 {
        let mut bytes =
            if n % 2 == 0 { Vec::new() } else { format!("POST {sync} HTTP/1.1\r\n").into_bytes() };
        for _ in 0..(n * 7) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.push(seed.to_le_bytes()[0]);
        }
        bytes.extend(b"\r\n\r\n");
        let (status, text) = answered(&daemon.socket(), &bytes);
        assert!(status == 0 || (400..500).contains(&status), "{n}: {status} {text}");
        said += 1;
    }
    assert_eq!(state(&daemon), before, "nothing has changed");
    assert_eq!(sandbox.counter("call"), calls, "nobody was asked");
    eprintln!("{said} requests refused without effect");
}
