//! A load that goes on through many reloads, without one more call than the same load alone.

use super::{join_without_waiting, reload, section};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use std::collections::BTreeMap;
use std::time::Duration;

fn full() -> bool {
    std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full")
}

/// Loads an org while something happens; every kind of call with its number.
fn load(rows: u32, meanwhile: impl Fn(&Daemon, &Sandbox)) -> BTreeMap<String, u64> {
    let sandbox = Sandbox::start(&["--records", &format!("Account={rows}")]);
    sandbox.ctl(&["page-size", &(rows / 30).to_string()]);
    sandbox.ctl(&["bulk-refuse", "Account", "on"]); // many pages of queries are what is meant
    let daemon = Daemon::start(&config(&sandbox, 0));
    join_without_waiting(&daemon, "sf", &sandbox);
    meanwhile(&daemon, &sandbox);
    eventually_or(Duration::from_secs(300), "the load is in", || {
        let status = daemon.status("sf");
        let all = status["rows"].as_u64() == Some(u64::from(rows));
        if all && status["reason"] == "idle" { Ok(()) } else { Err(format!("{status:#}")) }
    });
    let runs = daemon.detail("sf")["runs"].clone();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "one run loads all: {runs:#}");
    let counters = sandbox.counters();
    let counters = counters.as_object().expect("counters");
    let ours = counters.iter().filter(|(kind, _)| *kind != "held");
    ours.map(|(k, v)| (k.clone(), v.as_u64().unwrap_or(0))).collect()
}

/// The loading connection, and another one that is never the same.
fn config(sandbox: &Sandbox, n: u32) -> String {
    let other = section("other", sandbox, &format!("every {}m", 5 + n % 50));
    format!("{NOBODY}{}{other}", section("sf", sandbox, "every 1h"))
}

#[test]
fn a_load_goes_on_through_two_hundred_reloads_without_one_more_call() {
    let rows = if full() { 100_000 } else { 9_000 };
    let alone = load(rows, |_, _| {});
    let reloaded = load(rows, |daemon, sandbox| {
        // Five times a page is on its way while forty reloads pass.
        for round in 0..5 {
            sandbox.ctl(&["act-then", "hold", "path=/query", "times=1"]);
            sandbox.wait_counter("held", u64::from(round) + 1);
            let run = daemon.status("sf");
            assert_eq!(run["reason"], "loading");
            for n in 1..=40 {
                daemon.write_config("crmsync.toml", &config(sandbox, round * 40 + n));
                let done = reload(daemon);
                assert_eq!(done["untouched"], 1, "{done:#}");
                assert_eq!(done["changed"]["other"][0], "schedule", "{done:#}");
            }
            assert_eq!(daemon.status("sf")["since"], run["since"], "still the same load");
            sandbox.ctl(&["release"]);
        }
    });
    assert_eq!(reloaded, alone);
}
