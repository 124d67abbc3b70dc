//! What lies in the folders: a key that is gone, a second daemon, a store of a newer program, a
//! file of somebody else, a lost store and a lost replica. Nothing is ever deleted for it.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::proc::{Output, run};
use crate::support::sandbox::Sandbox;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A daemon with a loaded connection `sf`.
fn loaded(args: &[&str]) -> (Sandbox, Daemon) {
    let mut all = vec!["--records", "Account=400", "--records", "Contact=60"];
    all.extend(args);
    let sandbox = Sandbox::start(&all);
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n",
        salesforce("sf", &sandbox, "every 1h")
    );
    let daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    (sandbox, daemon)
}

fn same(daemon: &Daemon, sandbox: &Sandbox) {
    for object in ["Account", "Contact"] {
        daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
    }
}

/// Runs the daemon's program to its end, on the folders of `daemon` but another socket.
fn second(daemon: &Daemon) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crmsyncd"));
    command.arg("--config").arg(daemon.path("etc"));
    command.arg("--state-dir").arg(daemon.path("state"));
    command.arg("--replica-dir").arg(daemon.path("replica"));
    command.arg("--socket").arg(daemon.path("other/control.sock"));
    command.env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
    run(command, LONG)
}

fn sealed(daemon: &Daemon) -> i64 {
    let db = Connection::open(daemon.path("state/state.db")).expect("the store");
    db.query_row("select count(*) from secret", [], |r| r.get(0)).expect("counting secrets")
}

#[test]
fn without_its_key_it_is_degraded_and_deletes_nothing() {
    let (sandbox, mut daemon) = loaded(&["--rotate"]);
    daemon.stop();
    let secrets = sealed(&daemon);
    assert!(secrets > 0);
    let key = daemon.path("state/master.key");
    let aside = daemon.path("aside.key");
    fs::rename(&key, &aside).unwrap();

    daemon.start_again();
    let status = daemon.wait_reason("sf", "Error", "key missing");
    assert!(status["hint"].as_str().unwrap().contains("crmsync key status"), "{status:#}");
    let told = daemon.api("GET", "/v1/key", None).ok();
    assert_eq!(told["source"], "missing", "{told:#}");
    let refused = daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({})));
    assert!(refused.status >= 400 && refused.text.contains("key"), "{}", refused.text);
    let refused =
        daemon.api("PUT", "/v1/connections/sf/secrets/client_secret", Some(&json!({"value": "x"})));
    assert!(refused.status >= 400, "{}", refused.text);
    let warned = daemon.api("GET", "/v1/status", None).ok()["daemon"].to_string();
    assert!(warned.contains("master.key"), "{warned}");
    assert!(!key.exists(), "no new key beside old secrets");
    daemon.stop();
    assert_eq!(sealed(&daemon), secrets);

    // A wrong key is as none.
    let other = Daemon::start(NOBODY);
    fs::copy(other.path("state/master.key"), &key).unwrap();
    daemon.start_again();
    daemon.wait_reason("sf", "Error", "key missing");
    daemon.stop();
    assert_eq!(sealed(&daemon), secrets);

    fs::rename(&aside, &key).unwrap();
    sandbox.ctl(&["touch", "Account", "11"]);
    daemon.start_again();
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    same(&daemon, &sandbox);
    assert_eq!(sandbox.counter("token:refused"), 0);
    daemon.stop();
}

#[test]
fn a_second_daemon_is_told_whose_the_folder_is() {
    let (_sandbox, mut daemon) = loaded(&[]);
    let said = second(&daemon);
    assert_eq!(said.code, 1, "{said:?}");
    let pid = daemon.proc().pid().to_string();
    let text = format!("{}{}", said.out, said.err);
    assert!(text.contains(&format!("pid {pid}")) && text.contains("hint:"), "{text}");
    assert_eq!(daemon.status("sf")["status"], "Active");
    // The lock dies with its owner.
    daemon.kill9();
    daemon.start_again();
    daemon.stop();
}

#[test]
fn a_newer_store_stops_it_with_78_and_is_not_touched() {
    let (sandbox, mut daemon) = loaded(&[]);
    daemon.stop();
    let path = daemon.path("state/state.db");
    let version = |v: i64| {
        let db = Connection::open(&path).unwrap();
        let old: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
        db.pragma_update(None, "user_version", v).unwrap();
        db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
        old
    };
    let old = version(999);
    let before = fs::read(&path).unwrap();
    let said = second(&daemon);
    assert_eq!(said.code, 78, "{said:?}");
    let text = format!("{}{}", said.out, said.err);
    assert!(text.contains("999") && text.contains("hint:"), "{text}");
    assert!(fs::read(&path).unwrap() == before, "the store was touched");
    version(old);
    daemon.start_again();
    daemon.follow("sf");
    same(&daemon, &sandbox);
    daemon.stop();
}

#[test]
fn a_foreign_file_in_the_place_of_a_replica_is_left_alone() {
    let (sandbox, mut daemon) = loaded(&[]);
    daemon.stop();
    let path = daemon.path("replica/sf.db");
    fs::rename(&path, daemon.path("ours.db")).unwrap();
    {
        let db = Connection::open(&path).unwrap();
        db.execute_batch("create table invoices (n integer); insert into invoices values (1)")
            .unwrap();
    }
    let before = fs::read(&path).unwrap();
    daemon.start_again();
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Error", "replica unavailable");
    assert!(
        status["detail"].as_str().unwrap().contains("another program's database"),
        "{status:#}"
    );
    assert!(fs::read(&path).unwrap() == before, "a foreign file was touched");
    // Text that is no database at all.
    fs::write(&path, "dear diary").unwrap();
    daemon.sync("sf");
    daemon.wait_reason("sf", "Error", "replica unavailable");
    assert_eq!(fs::read(&path).unwrap(), b"dear diary");
    fs::remove_file(&path).unwrap();
    fs::rename(daemon.path("ours.db"), &path).unwrap();
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    same(&daemon, &sandbox);
    daemon.stop();
}

#[test]
fn a_lost_store_adopts_the_replica_with_its_cursors() {
    let (sandbox, mut daemon) = loaded(&[]);
    daemon.follow("sf");
    daemon.stop();
    let stamps = |daemon: &Daemon| {
        daemon.replica("sf").query("select id, _synced_at, _crmsync_seq from account order by id")
    };
    let before = stamps(&daemon);
    fs::remove_dir_all(daemon.path("state")).unwrap();
    sandbox.ctl(&["touch", "Contact", "3"]);
    sandbox.ctl(&["purge", "Contact", "2"]);
    daemon.start_again();
    daemon.wait_reason("sf", "Error", "never authorized");
    assert_eq!(stamps(&daemon), before, "the replica was touched before anybody authorized");
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    daemon.catch_up("sf");
    same(&daemon, &sandbox);
    assert_eq!(stamps(&daemon), before, "accounts were loaded again");
    let detail = daemon.detail("sf");
    let lines = detail["runs"].to_string();
    assert!(!lines.contains("Account: loading"), "{lines}");
    daemon.stop();
}

#[test]
fn a_lost_replica_is_loaded_again() {
    let (sandbox, mut daemon) = loaded(&[]);
    daemon.stop();
    fs::remove_file(daemon.path("replica/sf.db")).unwrap();
    daemon.start_again();
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    same(&daemon, &sandbox);
    // Under its hands, too.
    fs::remove_file(daemon.path("replica/sf.db")).unwrap();
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    same(&daemon, &sandbox);
    assert_eq!(daemon.detail("sf")["request"], Value::Null);
    daemon.stop();
}

#[test]
fn another_orgs_replica_is_never_overwritten() {
    let (sandbox, mut daemon) = loaded(&[]);
    daemon.stop();
    let path = daemon.path("replica/sf.db");
    {
        let db = Connection::open(&path).unwrap();
        db.execute(
            "update _crmsync_meta set value = '00Dxx0000000000AAA' where key = 'org_id'",
            [],
        )
        .unwrap();
    }
    let rows = |daemon: &Daemon| {
        let all = ["account", "contact", "_crmsync_meta"];
        all.map(|t| daemon.replica("sf").query(&format!("select * from {t} order by 1")))
    };
    let before = rows(&daemon);
    sandbox.ctl(&["touch", "Account", "5"]);
    daemon.start_again();
    daemon.sync("sf");
    let status = daemon.wait_reason("sf", "Error", "replica unavailable");
    assert!(status["detail"].as_str().unwrap().contains("00Dxx0000000000AAA"), "{status:#}");
    daemon.stop();
    assert!(rows(&daemon) == before, "another org's data was touched");
}
