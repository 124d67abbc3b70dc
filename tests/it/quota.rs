//! The quota line, by the sandbox's own record: what the daemon had been told when each call
//! arrived there, and how many of its calls were open.
//!
//! The rule: no scheduled call starts while the use last told plus own calls in flight has reached
//! the line. What others spend between two answers nobody can see.

mod above;
mod line;
mod polls;

use crate::support::daemon::{Daemon, salesforce};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};
use std::time::Duration;

/// Connections of one org that need nobody to log in; `extra` goes into each one's section.
fn connections(names: &[&str], sandbox: &Sandbox, schedule: &str, extra: &str) -> String {
    names
        .iter()
        .map(|name| {
            let head = salesforce(name, sandbox, schedule);
            format!("{head}auth = \"client-credentials\"\n\n{}\n", extra.replace("NAME", name))
        })
        .collect()
}

/// Authorizes a connection made by [`connections`].
fn join(daemon: &Daemon, name: &str, sandbox: &Sandbox) {
    daemon.set_secret(name, "client_secret", &sandbox.client_secret);
    let path = format!("/v1/connections/{name}/reauthorize");
    daemon.api("POST", &path, Some(&json!({}))).ok();
}

/// The meter of the only domain.
fn meter(daemon: &Daemon) -> Value {
    let all = daemon.api("GET", "/v1/quota", None).ok();
    let all = all["domains"].as_array().expect("a list of domains").clone();
    assert_eq!(all.len(), 1, "one org is one domain: {all:#?}");
    all[0].clone()
}

/// All finished data calls after a number.
fn calls(sandbox: &Sandbox, since: u64) -> Vec<Value> {
    let since = format!("since={since}");
    sandbox.ctl(&["calls", &since])["calls"].as_array().expect("a list of calls").clone()
}

/// Number of the last call that has arrived and ended.
fn last(sandbox: &Sandbox) -> u64 {
    calls(sandbox, 0).iter().filter_map(|c| c["seq"].as_u64()).max().unwrap_or(0)
}

/// Calls that started at or above the line by what their client had been told.
fn over(calls: &[Value], line: u64) -> Vec<&Value> {
    calls
        .iter()
        .filter(|call| {
            let seen = call["usage_seen_before"]["used"].as_u64().unwrap_or(0);
            let open = call["open_before"].as_u64().unwrap_or(0);
            seen + open >= line
        })
        .collect()
}

/// Waits until all of them are held by the quota and none of their calls is open.
fn wait_held(daemon: &Daemon, names: &[&str]) {
    for name in names {
        daemon.wait_reason(name, "Not syncing", "quota");
    }
    eventually_or(Duration::from_secs(60), "no run is under way", || {
        let open = names.iter().find(|name| {
            let detail = daemon.detail(name);
            detail["status"]["status"] != "Not syncing"
        });
        let flight = meter(daemon);
        match open {
            None => Ok(()),
            Some(name) => Err(format!("{name} still works; {flight:#}")),
        }
    });
}

/// How often the quota notice of a connection has opened and closed.
fn holds(daemon: &Daemon, name: &str) -> (usize, usize) {
    let list = daemon.api("GET", "/v1/notices?all=true", None).ok();
    let of_it: Vec<Value> = list["notices"]
        .as_array()
        .expect("notices")
        .iter()
        .filter(|n| {
            n["connection"] == name && n["kind"].as_str().is_some_and(|k| k.contains("quota"))
        })
        .cloned()
        .collect();
    let closed = of_it.iter().filter(|n| !n["closed"].is_null()).count();
    (of_it.len(), closed)
}
