//! What a poll costs.

use super::{calls, connections, join, last};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

#[test]
fn a_poll_of_twenty_objects_without_change_costs_four_calls() {
    let mut args: Vec<String> = Vec::new();
    let mut objects = String::from("[connections.NAME.objects]\n");
    for n in 0..20 {
        args.extend(["--records".to_owned(), format!("Thing{n:02}__c=30")]);
        let _ = writeln!(objects, "Thing{n:02}__c = \"all\"");
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let sandbox = Sandbox::start(&args);
    let daemon =
        Daemon::start(&format!("{NOBODY}{}", connections(&["sf"], &sandbox, "every 3s", &objects)));
    join(&daemon, "sf", &sandbox);
    // Polls that change nothing add up in one line of the log.
    let quiet = |at_least: u64| -> Value {
        eventually_or(Duration::from_secs(60), "polls without a change", || {
            let run = daemon.detail("sf")["runs"][0].clone();
            let fine = run["changed"] == 0 && run["repeated"].as_u64() >= Some(at_least);
            if fine { Ok(run) } else { Err(format!("{run:#}")) }
        })
    };
    quiet(2);
    let from = last(&sandbox);
    let number = |run: &Value, key: &str| run[key].as_u64().unwrap_or(0);
    let run = quiet(2);
    let (first, paid) = (number(&run, "repeated"), number(&run, "calls"));
    let run = quiet(first + 2);
    // The line of the log stands for all of them.
    let (more, calls_more) = (number(&run, "repeated") - first, number(&run, "calls") - paid);
    assert_eq!(calls_more, 4 * more, "{run:#}");
    let made = calls(&sandbox, from);
    let rows: Vec<&str> = made.iter().filter_map(|c| c["kind"].as_str()).collect();
    assert!(rows.iter().all(|kind| *kind == "composite"), "{rows:?}");
    assert!(rows.len() >= 8, "{rows:?}");
    let apart: Vec<i64> = made
        .iter()
        .filter_map(|c| c["started"].as_str()?.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_millisecond)
        .collect();
    // Calls of one poll follow each other; polls are seconds apart.
    let mut polls: Vec<usize> = Vec::new();
    for (n, at) in apart.iter().enumerate() {
        if n == 0 || at - apart[n - 1] > 1000 {
            polls.push(0);
        }
        *polls.last_mut().expect("a poll") += 1;
    }
    let whole = &polls[1..polls.len() - 1];
    assert!(whole.iter().all(|n| *n == 4), "{polls:?}");
}
