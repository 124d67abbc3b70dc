//! Reloads of the running daemon: only what changed is touched, a bad file changes nothing.

mod broken;
mod load;

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// A connection that needs nobody to log in.
fn section(name: &str, sandbox: &Sandbox, schedule: &str) -> String {
    let head = salesforce(name, sandbox, schedule);
    format!(
        "{head}auth = \"client-credentials\"\n\n[connections.{name}.objects]\nAccount = \"all\"\n\n"
    )
}

fn join(daemon: &Daemon, name: &str, sandbox: &Sandbox) {
    join_without_waiting(daemon, name, sandbox);
    daemon.wait_reason(name, "Active", "idle");
}

fn join_without_waiting(daemon: &Daemon, name: &str, sandbox: &Sandbox) {
    daemon.set_secret(name, "client_secret", &sandbox.client_secret);
    let path = format!("/v1/connections/{name}/reauthorize");
    daemon.api("POST", &path, Some(&json!({}))).ok();
}

fn reload(daemon: &Daemon) -> Value {
    daemon.api("POST", "/v1/reload", None).ok()
}

fn generation(daemon: &Daemon) -> u64 {
    daemon.api("GET", "/v1/status", None).ok()["daemon"]["generation"].as_u64().expect("a number")
}

fn retired(daemon: &Daemon) -> Vec<String> {
    let all = daemon.api("GET", "/v1/status?all=true", None).ok();
    let lines = all["connections"].as_array().expect("lines");
    let gone = lines.iter().filter(|l| l["retired"] == true);
    gone.filter_map(|l| l["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn only_what_changed_is_touched() {
    let sandbox = Sandbox::start(&["--records", "Account=60", "--records", "Contact=5"]);
    let of = |name: &str, schedule: &str| section(name, &sandbox, schedule);
    let config = |parts: &[String]| format!("{NOBODY}{}", parts.concat());
    let daemon =
        Daemon::start(&config(&[of("a", "every 1h"), of("b", "every 1h"), of("c", "every 1h")]));
    for name in ["a", "b", "c"] {
        join(&daemon, name, &sandbox);
    }
    let before = (daemon.detail("a"), sandbox.counter("call"));

    // Added, removed, changed, untouched, in one go.
    let new = config(&[of("a", "every 1h"), of("b", "every 2h"), of("d", "every 1h")]);
    daemon.write_config("crmsync.toml", &new);
    let done = reload(&daemon);
    assert_eq!(done["added"], json!(["d"]));
    assert_eq!(done["removed"], json!(["c"]));
    assert_eq!(done["changed"], json!({ "b": ["schedule"] }));
    assert_eq!(done["untouched"], 1);
    daemon.wait_reason("d", "Error", "never authorized");
    assert_eq!(retired(&daemon), ["c"]);
    assert_eq!(daemon.api("GET", "/v1/connections/c", None).status, 404);
    assert_eq!(daemon.detail("b")["schedule"], "every 2h");
    assert_eq!(daemon.status("b")["reason"], "idle");
    assert!(daemon.replica("c").exists(), "what was copied stays");
    let after = daemon.detail("a");
    for key in ["modified", "modified_by", "runs", "status"] {
        assert_eq!(after[key], before.0[key], "{key} of the untouched one");
    }
    assert_eq!(sandbox.counter("call"), before.1, "a new schedule asks nobody");

    // Other objects are a matter for a run at once.
    let wider =
        new.replace("[connections.a.objects]\n", "[connections.a.objects]\nContact = \"all\"\n");
    daemon.write_config("crmsync.toml", &wider);
    assert_eq!(reload(&daemon)["changed"], json!({ "a": ["objects.Contact"] }));
    daemon.wait_status("a", "the new object is loaded", |s| {
        s["reason"] == "idle" && s["rows"].as_u64() > Some(60)
    });

    // Back again: the grant and the copy are still there.
    let back = config(&[of("b", "every 2h"), of("c", "every 1h"), of("d", "every 1h")]);
    daemon.write_config("crmsync.toml", &back);
    assert_eq!(reload(&daemon)["removed"], json!(["a"]));
    daemon.wait_reason("c", "Active", "idle");
    assert_eq!(daemon.sync("c")["read"], 0, "it goes on at its cursor");
    assert_eq!(retired(&daemon), ["a"]);

    // `forget` only what the configuration names no more.
    let refused = daemon.api("POST", "/v1/connections/c/forget", Some(&json!({})));
    assert_eq!(refused.status, 409, "{}", refused.text);
    let refused = daemon.api("POST", "/v1/connections/a/forget", Some(&json!({})));
    assert_eq!(refused.status, 409, "a sync has used it: {}", refused.text);
    let sure = json!({ "with_data": true });
    daemon.api("POST", "/v1/connections/a/forget", Some(&sure)).ok();
    assert!(retired(&daemon).is_empty() && !daemon.replica("a").exists());
}

#[test]
fn other_objects_in_the_midst_of_a_load_are_taken_at_once() {
    let sandbox = Sandbox::start(&["--records", "Account=3000", "--records", "Contact=20"]);
    sandbox.ctl(&["page-size", "200"]);
    sandbox.ctl(&["slow", "ms=100"]);
    let text = format!("{NOBODY}{}", section("a", &sandbox, "every 12h"));
    let daemon = Daemon::start(&text);
    join_without_waiting(&daemon, "a", &sandbox);
    daemon.wait_reason("a", "Active", "loading");
    sandbox.wait_counter("query", 3);
    daemon.write_config(
        "crmsync.toml",
        &text.replace("Account = \"all\"", "Account = \"all\"\nContact = \"all\""),
    );
    reload(&daemon);
    daemon.wait_status("a", "both objects are loaded", |s| {
        s["reason"] == "idle" && s["rows"].as_u64() == Some(3020)
    });
}

#[test]
fn a_rename_keeps_grant_cursor_and_copy() {
    let sandbox = Sandbox::start(&["--records", "Account=60"]);
    let mut daemon = Daemon::start(&format!("{NOBODY}{}", section("old", &sandbox, "every 1h")));
    join(&daemon, "old", &sandbox);
    let before = daemon.detail("old");
    let said = daemon.cli(&["rename", "old", "new"]).ok();
    assert!(said.out.contains("new"), "{said:?}");
    assert!(!daemon.replica("old").exists() && daemon.replica("new").exists());
    assert_eq!(retired(&daemon), ["new"], "until the configuration names it");
    daemon
        .write_config("crmsync.toml", &format!("{NOBODY}{}", section("new", &sandbox, "every 1h")));
    let done = reload(&daemon);
    assert_eq!((&done["added"], &done["removed"]), (&json!(["new"]), &json!([])));
    daemon.wait_reason("new", "Active", "idle");
    let after = daemon.detail("new");
    for key in ["org", "account", "created", "objects"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(daemon.sync("new")["read"], 0, "it goes on at its cursor");
    let meter = daemon.api("GET", "/v1/quota", None).ok();
    assert_eq!(meter["domains"][0]["connections"], json!(["new"]));
    sandbox.ctl(&["touch", "Account", "5"]);
    daemon.follow("new");
    daemon.replica("new").assert_same("account", &sandbox.source("Account", &[]));
    daemon.stop();
    daemon.start_again();
    daemon.wait_reason("new", "Active", "idle");
    assert!(retired(&daemon).is_empty());
}

#[test]
fn sighup_reloads_too_and_says_in_the_journal_what_is_wrong() {
    let sandbox = Sandbox::start(&["--records", "Account=10"]);
    let config = |schedule: &str| format!("{NOBODY}{}", section("a", &sandbox, schedule));
    let mut daemon = Daemon::start(&config("every 1h"));
    let first = generation(&daemon);
    daemon.write_config("crmsync.toml", &config("every 2h"));
    daemon.proc().signal(Signal::HUP);
    eventually_or(Duration::from_secs(60), "the reload", || {
        let now = generation(&daemon);
        if now == first + 1 { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!(daemon.detail("a")["schedule"], "every 2h");
    daemon.write_config("crmsync.toml", &config("every 2 moons"));
    let mark = daemon.proc().mark();
    daemon.proc().signal(Signal::HUP);
    daemon.proc().wait_line_after(mark, Duration::from_secs(60), "the report", |_, line| {
        line.contains("every 2 moons")
    });
    assert_eq!(generation(&daemon), first + 1);
    assert_eq!(daemon.detail("a")["schedule"], "every 2h");
}

#[test]
fn a_secret_of_a_file_is_read_again() {
    let sandbox = Sandbox::start(&["--records", "Account=10"]);
    let daemon = Daemon::prepare("", &[]);
    let path = daemon.path("etc/a.secret");
    std::fs::write(&path, "an old one\n").expect("writing the secret");
    let part = section("a", &sandbox, "every 1h").replace(
        "auth = ",
        &format!("client_secret = {{ file = \"{}\" }}\nauth = ", path.display()),
    );
    let other = section("b", &sandbox, "every 1h");
    daemon.write_config("crmsync.toml", &format!("{NOBODY}{part}{other}"));
    let mut daemon = daemon;
    daemon.start_again();
    join(&daemon, "b", &sandbox);
    let refused = daemon.api("POST", "/v1/connections/a/reauthorize", Some(&json!({})));
    assert!(refused.status >= 400, "{}", refused.text);
    let calls = sandbox.counter("call");
    std::fs::write(&path, format!("{}\n", sandbox.client_secret)).expect("writing the secret");
    let done = reload(&daemon);
    assert_eq!(done["changed"], json!({ "a": ["client_secret (content of the file)"] }));
    assert_eq!(done["untouched"], 1);
    assert_eq!(sandbox.counter("call"), calls);
    daemon.api("POST", "/v1/connections/a/reauthorize", Some(&json!({}))).ok();
    daemon.wait_reason("a", "Active", "idle");

    // Rotated at the vendor: what it says stops the connection, the new file heals it by itself.
    sandbox.ctl(&["client-secret", "a newer one"]);
    sandbox.ctl(&["expire-tokens"]);
    daemon.api("POST", "/v1/connections/a/sync", Some(&json!({}))).ok();
    daemon.wait_reason("a", "Error", "client secret expired");
    std::fs::write(&path, "a newer one\n").expect("writing the secret");
    assert_eq!(reload(&daemon)["changed"], json!({ "a": ["client_secret (content of the file)"] }));
    daemon.wait_reason("a", "Active", "idle");
}
