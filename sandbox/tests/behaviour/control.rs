//! The switches for trouble, and the sandbox's own record.

use std::process::Command;

use serde_json::Value;

use crate::support::Sandbox;

const LIMITS: &str = "/services/data/v64.0/limits";

fn ids(value: &Value) -> usize {
    value["ids"].as_array().unwrap().len()
}

#[test]
fn failures_are_armed_for_a_path_and_a_number_of_times() {
    let sandbox = Sandbox::start(&[]);
    let token = sandbox.token();
    sandbox.ctl(
        "fail",
        &["next=2", "status=503", "code=SERVER_UNAVAILABLE", "message=away", "path=/limits"],
    );
    assert_eq!(sandbox.get("/services/data/v64.0/sobjects", &token).status, 200);
    for _ in 0..2 {
        let answer = sandbox.get(LIMITS, &token);
        assert_eq!((answer.status, answer.code().as_str()), (503, "SERVER_UNAVAILABLE"));
    }
    assert_eq!(sandbox.get(LIMITS, &token).status, 200);
    sandbox.ctl("fail", &["status=429", "body=<html>slow down</html>", "retry_after=3"]);
    let answer = sandbox.get(LIMITS, &token);
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("3")));
    assert_eq!(answer.text(), "<html>slow down</html>");
    sandbox.ctl("maintenance", &["on"]);
    let answer = sandbox.get(LIMITS, &token);
    assert_eq!(answer.status, 503);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    sandbox.ctl("maintenance", &["off"]);
    assert_eq!(sandbox.get(LIMITS, &token).status, 200);
    assert_eq!(sandbox.ctl("counters", &[])["failed"], 3);
}

#[test]
fn answers_are_dropped_held_and_cut_after_the_deed() {
    let sandbox = Sandbox::start(&["--records", "Account=0"]);
    let token = sandbox.token();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let accounts = "/services/data/v64.0/sobjects/Account";
    let count = || sandbox.ctl("state", &[])["records"]["Account"].as_u64().unwrap_or(0);
    sandbox.ctl("act-then", &["drop", "path=sobjects/Account"]);
    assert!(sandbox.send("POST", accounts, &headers, r#"{"Name":"a"}"#).is_none());
    assert_eq!(count(), 1, "done, though nobody was told");
    sandbox.ctl("act-then", &["drop", "when=before"]);
    assert!(sandbox.send("POST", accounts, &headers, r#"{"Name":"b"}"#).is_none());
    assert_eq!(count(), 1, "not done");
    sandbox.ctl("act-then", &["hold", "path=Account"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sandbox.send("POST", accounts, &headers, r#"{"Name":"c"}"#));
        sandbox.wait("held", "1");
        assert_eq!(count(), 2, "done before it is held");
        assert!(!waiting.is_finished());
        sandbox.ctl("release", &[]);
        assert_eq!(waiting.join().unwrap().unwrap().status, 201);
    });
    sandbox.ctl("cut", &["path=/limits", "after_bytes=20"]);
    let answer = sandbox.get(LIMITS, &token);
    assert_eq!((answer.status, answer.body.len(), answer.whole), (200, 20, false));
    let calls = sandbox.ctl("calls", &[])["calls"].clone();
    let delivered: Vec<bool> =
        calls.as_array().unwrap().iter().map(|call| call["delivered"].as_bool().unwrap()).collect();
    assert_eq!(delivered, [false, true, false]);
}

#[test]
fn the_record_says_what_each_client_knew() {
    let sandbox = Sandbox::start(&["--quota-max", "100"]);
    let token = sandbox.token();
    let bearer = format!("Bearer {token}");
    let call = |client: &str| {
        let options = format!("client={client}");
        let headers =
            [("Authorization", bearer.as_str()), ("Sforce-Call-Options", options.as_str())];
        sandbox.send("GET", LIMITS, &headers, "").unwrap()
    };
    call("one");
    sandbox.ctl("others-spend", &["50"]);
    sandbox.ctl("act-then", &["hold", "when=before"]);
    std::thread::scope(|scope| {
        // Held before it arrives as a call: it is not open yet.
        let held = scope.spawn(|| call("one"));
        sandbox.wait("held", "1");
        call("one");
        sandbox.ctl("release", &[]);
        held.join().unwrap();
    });
    call("two");
    sandbox.wait("finished", "4");
    let calls = sandbox.ctl("calls", &["since=1"])["calls"].clone();
    assert_eq!(calls[0]["usage_seen_before"]["used"], 1, "{calls}");
    assert_eq!(calls[0]["usage_after"]["used"], 52);
    assert_eq!(calls[1]["usage_seen_before"]["used"], 52);
    assert_eq!(calls[1]["open_before"], 0);
    assert_eq!(calls[2]["client"], "two");
    assert_eq!(calls[2]["usage_seen_before"], Value::Null);
}

#[test]
fn records_come_late_go_softly_and_go_for_good() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let token = sandbox.token();
    let count = |all: bool| {
        let kind = if all { "queryAll" } else { "query" };
        let target = format!("/services/data/v64.0/{kind}?q=SELECT+count()+FROM+Account");
        sandbox.get(&target, &token).json()["totalSize"].as_u64().unwrap()
    };
    assert_eq!(ids(&sandbox.ctl("create", &["Account", "3"])), 3);
    assert_eq!(count(false), 23);
    sandbox.ctl("late-commit", &["Account", "2", "seconds=600"]);
    assert_eq!(count(false), 23, "not committed yet");
    sandbox.ctl("clock", &["+601"]);
    assert_eq!(count(false), 25);
    assert_eq!(ids(&sandbox.ctl("touch", &["Account", "4"])), 4);
    assert_eq!(ids(&sandbox.ctl("delete", &["Account", "6"])), 6);
    assert_eq!((count(false), count(true)), (19, 25));
    assert_eq!(ids(&sandbox.ctl("undelete", &["Account", "1"])), 1);
    assert_eq!(ids(&sandbox.ctl("purge", &["Account", "2"])), 2);
    assert_eq!((count(false), count(true)), (20, 23));
    assert_eq!(sandbox.ctl("empty-bin", &["Account"])["purged"], 3);
    assert_eq!((count(false), count(true)), (20, 20));
    let dump = sandbox.ctl_raw("dump", &["Account"]).text();
    assert_eq!(dump.lines().count(), 20);
    let first: Value = serde_json::from_str(dump.lines().next().unwrap()).unwrap();
    assert!(first["SystemModstamp"].is_string());
}

#[test]
fn the_org_can_become_another_one() {
    let sandbox = Sandbox::start(&[]);
    sandbox.ctl("org-id", &["00DXX0000000777"]);
    let token = sandbox.token();
    let info = sandbox.get("/services/oauth2/userinfo", &token).json();
    assert_eq!(info["organization_id"].as_str().unwrap()[..15], *"00DXX0000000777");
    let target = "/services/data/v64.0/query?q=SELECT+Id+FROM+Organization";
    let rows = sandbox.get(target, &token).json();
    assert_eq!(rows["records"][0]["Id"], info["organization_id"]);
}

#[test]
fn mistakes_change_nothing_and_say_what_is_wrong() {
    let sandbox = Sandbox::start(&[]);
    for (verb, args) in [
        ("nonsense", &[][..]),
        ("deactivate", &[]),
        ("deactivate", &["eve"]),
        ("deactivate", &["ada", "extra"]),
        ("permission", &["ada", "Fly", "on"]),
        ("permission", &["ada", "ViewSetup", "maybe"]),
        ("rotate", &["on", "off"]),
        ("quota", &["used=-1"]),
        ("quota", &["usd=1"]),
        ("fail", &["status=1000"]),
        ("act-then", &["vanish"]),
        ("hide-records", &["bob", "101"]),
        ("touch", &["Nope", "1"]),
        ("touch", &["Account", "99999999999"]),
        ("field", &["add", "Account", "X__c", "nonsense"]),
        ("org-id", &["001000000000000"]),
        ("clock", &["soon"]),
        ("dump", &["Nope"]),
        ("wait", &["held", "timeout=x"]),
    ] {
        let answer = sandbox.ctl_raw(verb, args);
        assert_eq!(answer.status, 400, "{verb} {args:?}: {}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    let state = sandbox.ctl("state", &[]);
    assert_eq!(state["rotate"], false, "{state}");
    assert!(state["users"].as_array().unwrap().iter().all(|user| user["active"] == true));
    assert_eq!(state["quota"]["used"], 0);
}

#[test]
fn the_command_line_speaks_the_same_verbs() {
    let sandbox = Sandbox::start(&[]);
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_crmsync-sandbox"))
            .args(["ctl", "--url", sandbox.text("http")])
            .args(args)
            .output()
            .unwrap()
    };
    let done = run(&["quota", "used=12", "max=40"]);
    assert!(done.status.success());
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["used"], 12);
    let refused = run(&["deactivate", "eve"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stdout).contains("there is no user"));
    let dump = run(&["dump", "Account"]);
    assert_eq!(dump.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count(), 200);
}
