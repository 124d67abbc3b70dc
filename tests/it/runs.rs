//! Runs as people meet them: the one that was asked for is the one that is followed, it is found
//! in the log by the name it had, and runs without news are one line.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};
use std::time::Duration;

fn loaded(sandbox: &Sandbox) -> Daemon {
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\nAccount = \"all\"\n",
        salesforce("sf", sandbox, "every 1h")
    );
    let daemon = Daemon::start(&config);
    daemon.authorize("sf", sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    daemon
}

#[test]
fn a_run_is_found_by_the_name_it_had_and_idle_runs_are_one_line() {
    let sandbox = Sandbox::start(&["--records", "Account=300"]);
    let mut daemon = loaded(&sandbox);
    for _ in 0..4 {
        let run = daemon.sync("sf");
        assert_eq!(run["changed"], 0, "{run:#}");
    }
    let runs = daemon.detail("sf")["runs"].clone();
    assert!(runs[0]["repeated"].as_u64() >= Some(3), "four idle runs are one line: {runs:#}");

    let asked = daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({}))).ok();
    let path = format!("/v1/runs/{}", asked["id"].as_str().unwrap());
    let run = eventually_or(Duration::from_secs(60), "the run is in the log", || {
        let reply = daemon.api("GET", &path, None);
        if reply.status == 200 { Ok(reply.json) } else { Err(reply.text) }
    });
    assert_eq!((&run["connection"], &run["outcome"]), (&json!("sf"), &json!("done")), "{run:#}");
    let by_number = daemon.api("GET", &format!("/v1/runs/{}", run["id"].as_str().unwrap()), None);
    assert_eq!(by_number.ok()["ended"], run["ended"]);
    let unknown = daemon.cli(&["log", "sf", "--run", "0123456789abcdef"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    daemon.stop();
}

#[test]
fn a_full_sync_is_followed_though_another_run_was_on() {
    let sandbox = Sandbox::start(&["--records", "Account=300"]);
    let mut daemon = loaded(&sandbox);
    let held = sandbox.counter("held");
    sandbox.ctl(&["act-then", "hold", "path=/services/data", "times=1"]);
    daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({}))).ok();
    sandbox.wait_counter("held", held + 1);
    let told = std::thread::scope(|scope| {
        let followed = scope.spawn(|| daemon.cli(&["--json", "sync", "sf", "--full", "--follow"]));
        // asked for, and on the books, before the run that is on may end
        eventually_or(Duration::from_secs(60), "the wish is audited", || {
            let audit = daemon.api("GET", "/v1/audit", None).ok();
            let lines = audit["audit"].as_array().or(audit["lines"].as_array()).cloned();
            let syncs = lines.iter().flatten().filter(|l| l["what"] == "sync").count();
            if syncs >= 2 { Ok(()) } else { Err(format!("{audit:#}")) }
        });
        sandbox.ctl(&["release"]);
        followed.join().unwrap()
    });
    assert_eq!(told.code, 0, "{told:?}");
    let run: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert!(run["read"].as_u64() >= Some(300), "everything was read again: {run:#}");
    let lines = run["lines"].to_string();
    assert!(lines.contains("comparing keys"), "{run:#}");
    daemon.stop();
}
