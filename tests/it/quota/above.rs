//! What may go above the line, what the meter remembers, and how it resumes.

use super::{calls, connections, holds, join, last, meter, over, wait_held};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const SMALL: &str = "[connections.NAME.objects]\nAccount = \"all\"\n";

/// Two connections of one org, loaded and idle.
fn two(sandbox: &Sandbox, quota: &str, env: &[(&str, &str)]) -> Daemon {
    let extra = format!("{quota}{SMALL}");
    let config = connections(&["a", "b"], sandbox, "every 1h", &extra);
    let daemon = Daemon::start_with(&format!("{NOBODY}{config}"), env);
    for name in ["a", "b"] {
        join(&daemon, name, sandbox);
        daemon.wait_reason(name, "Active", "idle");
    }
    daemon
}

#[test]
fn held_only_named_calls_go_and_each_is_shown_by_name() {
    let sandbox = Sandbox::start(&["--records", "Account=50", "--quota-max", "1000"]);
    let mut daemon = two(&sandbox, "", &[]);
    let shared = meter(&daemon);
    assert_eq!(shared["connections"], json!(["a", "b"]), "two connections share the meter");
    assert_eq!(shared["max"], 1000);
    assert_eq!(shared["line"], 800);
    let own = shared["own"].as_u64().unwrap_or(0);
    let cost: u64 = calls(&sandbox, 0).iter().filter_map(|c| c["cost"].as_u64()).sum();
    assert_eq!(own, cost, "own calls as the sandbox counts them");

    // A run of one is told of it: both stop.
    sandbox.ctl(&["quota", "used=850"]);
    let before = last(&sandbox);
    daemon.sync("a");
    wait_held(&daemon, &["a", "b"]);
    assert_eq!(over(&calls(&sandbox, before), 800).len(), 0);
    let status = daemon.status("b");
    assert!(status["detail"].as_str().is_some_and(|d| d.contains("1000")), "{status:#}");

    // `sync` is refused, with the way out in the hint, and costs nothing.
    let before = last(&sandbox);
    let refused = daemon.api("POST", "/v1/connections/b/sync", Some(&json!({})));
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert_eq!(refused.json["code"], "quota-held");
    assert!(
        refused.json["hint"].as_str().is_some_and(|h| h.contains("--despite-quota")),
        "{}",
        refused.text
    );
    assert_eq!(last(&sandbox), before);

    // Explicitly it goes, is counted, and shown by name.
    let wish = json!({ "despite_quota": true });
    let before_it = (
        daemon.detail("b")["runs"][0]["id"].clone(),
        daemon.detail("b")["runs"][0]["repeated"].clone(),
    );
    daemon.api("POST", "/v1/connections/b/sync", Some(&wish)).ok();
    eventually_or(Duration::from_secs(60), "a run despite the quota", || {
        let run = daemon.detail("b")["runs"][0].clone();
        let now = daemon.status("b");
        let fresh = (run["id"].clone(), run["repeated"].clone()) != before_it;
        if fresh && run["outcome"] == "done" && now["reason"] == "quota" {
            Ok(())
        } else {
            Err(format!("{run:#} {now:#}"))
        }
    });
    let despite = meter(&daemon)["exempt"]["despite-quota"].as_u64().unwrap_or(0);
    let made: u64 = calls(&sandbox, before).iter().filter_map(|c| c["cost"].as_u64()).sum();
    assert_eq!(despite, made, "{:#}", meter(&daemon));
    assert_eq!(holds(&daemon, "b"), (1, 0), "still the same hold");

    // `test` is allowed and counted.
    let before = last(&sandbox);
    let test = daemon.api("POST", "/v1/connections/a/test", None).ok();
    assert_eq!(test["passed"], true, "{test:#}");
    let made: u64 = calls(&sandbox, before).iter().filter_map(|c| c["cost"].as_u64()).sum();
    assert!(made > 0);
    let kinds: Vec<_> = calls(&sandbox, before).iter().map(|c| c["path"].clone()).collect();
    assert_eq!(meter(&daemon)["exempt"]["test"], made, "{:#} {kinds:#?}", meter(&daemon));

    // A restart forgets neither hold nor use.
    let told = meter(&daemon);
    daemon.kill9();
    daemon.start_again();
    wait_held(&daemon, &["a", "b"]);
    let kept = meter(&daemon);
    assert!(kept["used"].as_u64() >= told["used"].as_u64(), "{told:#} {kept:#}");
    assert_eq!(kept["held_since"], told["held_since"]);
    assert_eq!(holds(&daemon, "a"), (1, 0));

    // Between `resume_below` and the line the hold stays; below, all go on by themselves.
    sandbox.ctl(&["quota", "used=770"]);
    daemon.api("POST", "/v1/connections/a/test", None).ok();
    assert_eq!(daemon.status("a")["reason"], "quota");
    sandbox.ctl(&["quota", "used=100"]);
    daemon.api("POST", "/v1/connections/a/test", None).ok();
    for name in ["a", "b"] {
        daemon.wait_reason(name, "Active", "idle");
        assert_eq!(holds(&daemon, name), (1, 1));
    }
    daemon.stop();
}

#[test]
fn the_own_share_holds_although_the_org_has_room() {
    let sandbox = Sandbox::start(&["--records", "Account=3000", "--quota-max", "1000"]);
    sandbox.ctl(&["page-size", "20"]);
    let quota = "[connections.NAME.quota]\nown_share = \"5%\"\n\n";
    let config = connections(&["a", "b"], &sandbox, "every 1h", &format!("{quota}{SMALL}"));
    let daemon = Daemon::start(&format!("{NOBODY}{config}"));
    join(&daemon, "a", &sandbox);
    join(&daemon, "b", &sandbox);
    wait_held(&daemon, &["a", "b"]);
    let status = daemon.status("a");
    assert!(status["detail"].as_str().is_some_and(|d| d.contains("own share")), "{status:#}");
    let own = meter(&daemon)["own"].as_u64().unwrap_or(0);
    assert_eq!(own, 50, "{:#}", meter(&daemon));
    let made: u64 = calls(&sandbox, 0).iter().filter_map(|c| c["cost"].as_u64()).sum();
    assert_eq!(made, 50, "by the sandbox's own count");
}

#[test]
fn calls_of_before_a_kill_count_until_an_answer_tells() {
    let sandbox = Sandbox::start(&["--records", "Account=2000", "--quota-max", "1000"]);
    sandbox.ctl(&["page-size", "20"]);
    let config = connections(&["a", "b"], &sandbox, "every 1h", SMALL);
    let mut daemon = Daemon::start(&format!("{NOBODY}{config}"));
    sandbox.ctl(&["slow", "ms=60"]);
    join(&daemon, "a", &sandbox);
    join(&daemon, "b", &sandbox);
    sandbox.ctl(&["act-then", "hold", "path=/query", "times=2"]);
    sandbox.wait_counter("held", 1);
    let open = eventually_or(Duration::from_secs(30), "the meter knows of it", || {
        let now = meter(&daemon);
        if now["used"].as_u64() > Some(0) { Ok(now) } else { Err(format!("{now:#}")) }
    });
    daemon.kill9();
    let source = sandbox.ctl(&["quota"])["used"].as_u64().expect("the sandbox's count");
    sandbox.ctl(&["maintenance", "on"]);
    daemon.start_again();
    let kept = meter(&daemon);
    assert!(
        kept["used"].as_u64() >= Some(source),
        "what left before the kill counts: {open:#} then {kept:#}, the source counts {source}"
    );
    assert!(kept["own"].as_u64() >= Some(source), "{kept:#}");
    sandbox.ctl(&["clear-faults"]);
    sandbox.ctl(&["slow", "ms=0"]);
    sandbox.ctl(&["release"]);
    sandbox.ctl(&["maintenance", "off"]);
    // An answer tells how it really is.
    daemon.api("POST", "/v1/connections/a/test", None).ok();
    eventually_or(Duration::from_secs(60), "both have loaded", || {
        let words = [daemon.status("a"), daemon.status("b")];
        if words.iter().all(|s| s["reason"] == "idle") {
            return Ok(());
        }
        for name in ["a", "b"] {
            let _ = daemon.api("POST", &format!("/v1/connections/{name}/sync"), Some(&json!({})));
        }
        Err(format!("{words:#?}"))
    });
    let now = meter(&daemon);
    let source = sandbox.ctl(&["quota"])["used"].as_u64().expect("the sandbox's count");
    assert_eq!(now["used"].as_u64(), Some(source), "{now:#}");
}

#[test]
fn a_hold_ends_by_the_probe_of_every_quarter_of_an_hour() {
    let library = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    let found = library.into_iter().find(|p| Path::new(p).exists());
    let name = "a_hold_ends_by_the_probe_of_every_quarter_of_an_hour";
    if crate::support::skip(name, found.is_none(), "needs the package libfaketime") {
        return;
    }
    let folder = crate::support::Scratch::new("clock");
    let hand = folder.write("hand", "+0\n");
    let env = [
        ("LD_PRELOAD", found.unwrap_or_default()),
        ("FAKETIME_TIMESTAMP_FILE", hand.to_str().expect("a path in UTF-8")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let sandbox = Sandbox::start(&["--records", "Account=50", "--quota-max", "1000"]);
    let daemon = two(&sandbox, "", &env);
    sandbox.ctl(&["quota", "used=900"]);
    daemon.sync("a");
    wait_held(&daemon, &["a", "b"]);
    // Both clocks go on a quarter of an hour: one probe, although two connections wait.
    let forward = |minutes: u32| {
        std::fs::write(&hand, format!("+{minutes}m\n")).expect("setting the clock");
        sandbox.ctl(&["clock", "+900"]);
    };
    let before = last(&sandbox);
    forward(15);
    let probes = |n: u64| {
        eventually_or(Duration::from_secs(60), "the resume probe", || {
            let (now, _) = (meter(&daemon), daemon.status("a"));
            let seen = now["exempt"]["resume-probe"].as_u64();
            if seen >= Some(n) && last(&sandbox) > before {
                Ok(seen)
            } else {
                Err(format!("{now:#}"))
            }
        })
    };
    assert_eq!(probes(1), Some(1));
    let made = calls(&sandbox, before);
    assert_eq!(made.len(), 1, "{made:#?}");
    assert_eq!(daemon.status("b")["reason"], "quota", "still above");
    assert_eq!(meter(&daemon)["exempt"]["resume-probe"], 1);
    sandbox.ctl(&["quota", "used=10"]);
    forward(30);
    for name in ["a", "b"] {
        daemon.wait_reason(name, "Active", "idle");
        assert_eq!(holds(&daemon, name), (1, 1));
    }
}
