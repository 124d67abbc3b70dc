//! The control socket of the running daemon: who gets in, what it answers to, and that nothing
//! it does not understand has an effect.

mod callers;
mod garbage;
mod routes;

use crate::support::daemon::{Daemon, NOBODY, raw_bytes, salesforce};
use crate::support::sandbox::Sandbox;
use serde_json::Value;
use std::path::Path;

/// One connection, by code, on a daily schedule: nothing happens by itself.
fn config(sandbox: &Sandbox) -> String {
    let head = salesforce("sf", sandbox, "every 1h");
    format!("{NOBODY}{head}\n[connections.sf.objects]\nAccount = \"all\"\n")
}

/// What a request must not change: all that status and audit tell, but for what time alone moves.
fn state(daemon: &Daemon) -> Vec<Value> {
    let mut all = daemon.api("GET", "/v1/status?all=true", None).ok();
    for line in all["connections"].as_array_mut().expect("lines") {
        line["next_run"] = Value::Null;
    }
    let audit = daemon.api("GET", "/v1/audit?limit=1000", None).ok();
    let config = daemon.api("GET", "/v1/config", None).ok();
    vec![all, audit, config]
}

/// Status and body of the answer to raw bytes.
fn answered(socket: &Path, bytes: &[u8]) -> (u16, String) {
    let answer = raw_bytes(socket, bytes).unwrap_or_default();
    parted(&String::from_utf8_lossy(&answer))
}

fn parted(text: &str) -> (u16, String) {
    let status = text.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
