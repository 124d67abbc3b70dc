//! A load that goes on through many reloads, without one more call than the same load alone.

use super::{join_without_waiting, reload, section};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::sandbox::Sandbox;
use std::collections::BTreeMap;

fn full() -> bool {
    std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full")
}

/// Loads an org while something happens; every kind of call with its number.
fn load(rows: u32, meanwhile: impl Fn(&Daemon, &Sandbox)) -> BTreeMap<String, u64> {
    let sandbox = Sandbox::start(&["--records", &format!("Account={rows}")]);
    sandbox.ctl(&["page-size", "1000"]);
    sandbox.ctl(&["slow", "ms=150"]);
    let daemon = Daemon::start(&config(&sandbox, 0));
    join_without_waiting(&daemon, "sf", &sandbox);
    daemon.wait_reason("sf", "Active", "loading");
    let run = daemon.status("sf")["since"].clone();
    meanwhile(&daemon, &sandbox);
    assert_eq!(daemon.status("sf")["since"], run, "still the same load");
    daemon.wait_reason("sf", "Active", "idle");
    assert_eq!(daemon.status("sf")["rows"].as_u64(), Some(u64::from(rows)));
    let runs = daemon.detail("sf")["runs"].clone();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs:#}");
    let counters = sandbox.counters();
    let counters = counters.as_object().expect("counters");
    counters.iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap_or(0))).collect()
}

/// The loading connection, and another one that is never the same.
fn config(sandbox: &Sandbox, n: u32) -> String {
    let other = section("other", sandbox, &format!("every {}m", 5 + n % 50));
    format!("{NOBODY}{}{other}", section("sf", sandbox, "every 1h"))
}

#[test]
fn a_load_goes_on_through_two_hundred_reloads_without_one_more_call() {
    let rows = if full() { 100_000 } else { 30_000 };
    let alone = load(rows, |_, _| {});
    let reloaded = load(rows, |daemon, sandbox| {
        for n in 1..=200 {
            daemon.write_config("crmsync.toml", &config(sandbox, n));
            let done = reload(daemon);
            assert_eq!(done["untouched"], 1, "{done:#}");
            assert_eq!(done["changed"]["other"][0], "schedule", "{done:#}");
        }
        assert_eq!(
            daemon.status("sf")["reason"],
            "loading",
            "the reloads took longer than the load"
        );
    });
    assert_eq!(reloaded, alone);
}
