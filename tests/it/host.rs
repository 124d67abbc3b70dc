//! Trouble of the host: full and read-only disks, a mail server or a provider that is away. Each
//! ends in a status that says so, and in a full recovery: the replica equals the source.

use crate::support::daemon::{Daemon, NOBODY, notify, salesforce};
use crate::support::disk::{self, Disk};
use crate::support::ports;
use crate::support::postfix::{self, Postfix};
use crate::support::sandbox::Sandbox;
use crate::support::tcp_proxy::{Mode, TcpProxy};
use crate::support::wait::{eventually, eventually_or};
use serde_json::Value;
use std::time::Duration;

/// Long enough on a busy machine for anything that comes by itself.
const LONG: Duration = Duration::from_secs(90);

fn objects(section: &str) -> String {
    format!("{section}\n[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n")
}

fn same(daemon: &Daemon, sandbox: &Sandbox) {
    for object in ["Account", "Contact"] {
        daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
    }
}

/// A mail server that nobody can reach: what is queued can be counted.
fn unreachable_mail() -> String {
    notify(ports::free_port())
}

fn mails(daemon: &Daemon) -> Vec<Value> {
    let all = daemon.api("GET", "/v1/mails", None).ok();
    all.as_array().or(all["mails"].as_array()).cloned().unwrap_or_default()
}

fn subjects(daemon: &Daemon) -> Vec<String> {
    mails(daemon).iter().map(|m| m["subject"].as_str().unwrap_or_default().to_owned()).collect()
}

fn warnings(daemon: &Daemon) -> String {
    let all = daemon.api("GET", "/v1/status", None).ok();
    all["daemon"]["warnings"].to_string()
}

fn no_panic(daemon: &mut Daemon) {
    let lines = daemon.proc().lines();
    assert!(!lines.iter().any(|l| l.contains("panicked")), "{}", lines.join("\n"));
}

#[test]
fn a_full_disk_of_the_replica_is_told_once_and_passes() {
    if disk::missing("a full disk of the replica") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=600", "--records", "Contact=100"]);
    let config =
        format!("{}{}", unreachable_mail(), objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::prepare(&config, &[]);
    let disk = Disk::over(&daemon.path("replica"), 16 << 10);
    daemon.start_again();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let before = subjects(&daemon);

    disk.fill();
    sandbox.ctl(&["create", "Account", "400"]);
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Error", "disk full");
    assert!(status["detail"].as_str().unwrap().contains("sf.db"), "{status:#}");
    assert!(status["hint"].as_str().unwrap().contains("make room"), "{status:#}");
    // One mail, however often it is tried; no word of a recovery meanwhile.
    eventually_or(LONG, "a mail about the full disk", || {
        let all = subjects(&daemon);
        if all.len() == before.len() + 1 { Ok(()) } else { Err(format!("{all:?}")) }
    });
    let runs = daemon.detail("sf")["runs"].as_array().unwrap().len();
    for _ in 0..2 {
        daemon.sync("sf");
        let status = daemon.status("sf");
        assert_eq!(status["reason"], "disk full", "{status:#}");
    }
    assert!(daemon.detail("sf")["runs"].as_array().unwrap().len() > runs);
    assert_eq!(subjects(&daemon).len(), before.len() + 1, "{:?}", subjects(&daemon));

    disk.free();
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    same(&daemon, &sandbox);
    daemon.replica("sf").assert_intact();
    eventually_or(LONG, "one mail about the recovery", || {
        let all = subjects(&daemon);
        if all.len() == before.len() + 2 { Ok(()) } else { Err(format!("{all:?}")) }
    });
    no_panic(&mut daemon);
    daemon.stop();
}

#[test]
fn a_full_disk_of_the_state_burns_no_grant_and_passes() {
    if disk::missing("a full disk of the state") {
        return;
    }
    let sandbox =
        Sandbox::start(&["--rotate", "--records", "Account=300", "--records", "Contact=50"]);
    let config = format!("{NOBODY}{}", objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::prepare(&config, &[]);
    let disk = Disk::over(&daemon.path("state"), 8 << 10);
    daemon.start_again();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    // The store's log begins anew: there is little room left in itself.
    daemon.stop();
    daemon.start_again();
    let refreshes = sandbox.counter("token:refresh_token");

    sandbox.ctl(&["touch", "Account", "30"]);
    sandbox.ctl(&["expire-tokens"]);
    disk.fill();
    // The log of the database has room in itself at first: asked until nothing can be stored.
    let refused = eventually(LONG, "a command that cannot be stored", || {
        let path = "/v1/connections/sf/pause";
        let paused = daemon.api("POST", path, Some(&serde_json::json!({"note": "x".repeat(3000)})));
        let resumed = daemon.api("POST", "/v1/connections/sf/resume", Some(&serde_json::json!({})));
        [paused, resumed].into_iter().find(|r| r.status >= 500)
    });
    assert!(refused.text.contains("the disk is full"), "{}", refused.text);
    let status = daemon.wait_status("sf", "the full disk is told", |s| {
        s["reason"] == "disk full" || s["status"] == "Not syncing"
    });
    assert!(!status["hint"].as_str().unwrap().is_empty(), "{status:#}");
    let _ = daemon.api("POST", "/v1/connections/sf/sync", Some(&serde_json::json!({})));
    assert_eq!(sandbox.counter("token:refused"), 0);

    disk.free();
    daemon.api("POST", "/v1/connections/sf/resume", Some(&serde_json::json!({}))).ok();
    daemon.wait_reason("sf", "Active", "idle");
    daemon.follow("sf");
    same(&daemon, &sandbox);
    assert_eq!(sandbox.counter("token:refused"), 0, "the grant was burnt");
    assert!(sandbox.counter("token:refresh_token") > refreshes, "no token was ever renewed");
    assert_eq!(daemon.detail("sf")["request"], Value::Null, "nobody was asked to reauthorize");
    no_panic(&mut daemon);
    daemon.stop();
}

/// The disk fills while the grant rotates: a token that came and could not be stored is kept in
/// memory, and stored before anything else is done.
#[test]
fn a_full_disk_around_each_refresh_burns_no_grant() {
    if disk::missing("a full disk around each refresh") {
        return;
    }
    let sandbox =
        Sandbox::start(&["--rotate", "--records", "Account=40", "--records", "Contact=10"]);
    let config = format!("{NOBODY}{}", objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::prepare(&config, &[]);
    let disk = Disk::over(&daemon.path("state"), 8 << 10);
    daemon.start_again();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let rounds = if std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full") { 20 } else { 2 };
    for round in 0..rounds {
        // The store's log begins anew: there is little room left in itself.
        daemon.stop();
        daemon.start_again();
        sandbox.ctl(&["expire-tokens"]);
        sandbox.ctl(&["act-then", "hold", "path=/token"]);
        let held = sandbox.counter("held");
        daemon.api("POST", "/v1/connections/sf/sync", Some(&serde_json::json!({}))).ok();
        sandbox.wait_counter("held", held + 1);
        // The provider has rotated; its answer meets a disk without room.
        disk.fill();
        let full = fill_log(&daemon);
        sandbox.ctl(&["release"]);
        assert!(full, "round {round}: the log of the store never got full");
        daemon.wait_status("sf", "the full disk is told", |s| {
            s["reason"] == "disk full" || s["reason"] == "paused"
        });
        disk.free();
        daemon.api("POST", "/v1/connections/sf/resume", Some(&serde_json::json!({}))).ok();
        daemon.wait_reason("sf", "Active", "idle");
        daemon.follow("sf");
        assert_eq!(sandbox.counter("token:refused"), 0, "round {round}");
    }
    same(&daemon, &sandbox);
    assert_eq!(daemon.detail("sf")["request"], Value::Null);
    daemon.stop();
}

/// Small commands until one cannot be stored.
fn fill_log(daemon: &Daemon) -> bool {
    let note = serde_json::json!({"note": "y".repeat(3000)});
    (0..400).any(|_| daemon.api("POST", "/v1/connections/sf/pause", Some(&note)).status >= 500)
}

#[test]
fn a_read_only_state_folder_is_refused_with_a_hint_and_nothing_is_touched() {
    if disk::missing("a read-only state folder") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=50", "--records", "Contact=10"]);
    let config = format!("{NOBODY}{}", objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::prepare(&config, &[]);
    let disk = Disk::over(&daemon.path("state"), 8 << 10);
    daemon.start_again();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    daemon.stop();

    disk.remount("ro");
    daemon.launch();
    let status = daemon.proc().wait_exit(LONG);
    assert_eq!(status.code(), Some(1));
    let said = daemon.proc().lines().join("\n");
    assert!(said.contains("cannot be written") && said.contains("hint:"), "{said}");

    disk.remount("rw");
    daemon.start_again();
    daemon.follow("sf");
    same(&daemon, &sandbox);
    daemon.stop();
}

#[test]
fn a_read_only_replica_folder_is_told_and_passes() {
    if disk::missing("a read-only replica folder") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=50", "--records", "Contact=10"]);
    let config = format!("{NOBODY}{}", objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::prepare(&config, &[]);
    let disk = Disk::over(&daemon.path("replica"), 8 << 10);
    daemon.start_again();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    disk.remount("ro");
    sandbox.ctl(&["touch", "Account", "5"]);
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Error", "replica unavailable");
    assert!(status["detail"].as_str().unwrap().contains("sf.db"), "{status:#}");
    disk.remount("rw");
    daemon.follow("sf");
    same(&daemon, &sandbox);
    daemon.stop();
}

#[test]
fn a_mail_waits_for_its_server_and_arrives_once() {
    if postfix::missing("a mail waits for its server") {
        return;
    }
    let mut server = Postfix::start();
    let sandbox = Sandbox::start(&["--records", "Account=20", "--records", "Contact=5"]);
    let config =
        format!("{}{}", notify(server.plain), objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let to = "ada@example.test";
    let before = server.mails_to(to).len();
    server.down();
    sandbox.ctl(&["revoke"]);
    daemon.sync("sf");
    let waiting = eventually_or(LONG, "a mail that could not be sent", || {
        let found = mails(&daemon)
            .into_iter()
            .find(|m| m["state"].as_str().is_some_and(|s| s.starts_with("retrying")));
        found.ok_or_else(|| format!("{:?}", mails(&daemon)))
    });
    eventually_or(LONG, "status warns of it", || {
        let said = warnings(&daemon);
        if said.contains("could not be sent yet") { Ok(()) } else { Err(said) }
    });
    // A crash does not make it another mail.
    daemon.kill9();
    daemon.start_again();
    server.resume();
    let got = server.wait_mails(to, before + 1, LONG);
    let id = waiting["message_id"].as_str().unwrap();
    assert_eq!(got[before].message_id(), id);
    eventually(LONG, "it counts as sent", || {
        mails(&daemon).iter().any(|m| m["message_id"] == id && m["state"] == "sent").then_some(())
    });
    assert!(!warnings(&daemon).contains("could not be sent"), "{}", warnings(&daemon));
    assert_eq!(server.mails_to(to).len(), before + 1, "one mail for one condition");
    daemon.stop();
}

#[test]
fn a_provider_that_is_away_is_waited_for_without_a_mail() {
    let sandbox = Sandbox::start(&["--records", "Account=300", "--records", "Contact=40"]);
    let proxy = TcpProxy::start(sandbox.port());
    let section = salesforce("sf", &sandbox, "every 1h").replace(&sandbox.http, &proxy.url());
    let mut daemon = Daemon::start(&format!("{}{}", unreachable_mail(), objects(&section)));
    // instance_url names the sandbox itself: what is cut is the way to the token endpoint.
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let before = subjects(&daemon).len();
    sandbox.ctl(&["expire-tokens"]);
    sandbox.ctl(&["touch", "Contact", "9"]);
    proxy.set(Mode::Refuse);
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Active", "retrying");
    assert!(status["detail"].as_str().unwrap().contains("tries again at"), "{status:#}");
    proxy.set(Mode::Pass);
    daemon.follow("sf");
    same(&daemon, &sandbox);
    assert_eq!(subjects(&daemon).len(), before, "{:?}", subjects(&daemon));
    daemon.stop();
}

#[test]
fn a_provider_that_died_is_a_passing_fault() {
    let mut sandbox = Sandbox::start(&["--records", "Account=40", "--records", "Contact=4"]);
    let config =
        format!("{}{}", unreachable_mail(), objects(&salesforce("sf", &sandbox, "every 1h")));
    let mut daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    sandbox.proc().kill9();
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Active", "retrying");
    assert!(status["detail"].as_str().unwrap().contains("connecting failed"), "{status:#}");
    no_panic(&mut daemon);
    daemon.stop();
}
