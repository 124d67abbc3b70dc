//! A first load by a job: what it costs, and that nothing of it is lost.

use super::{BIG, Bench, LONG, NAME, RECORDS, ROWS, on_both, pages};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::Value;

on_both!(costs_what_it_must, changes_meanwhile_are_in, a_job_of_two_seconds);

/// Calls by kind, those that cost something.
fn calls(bench: &Bench) -> Vec<(String, u64)> {
    let all = bench.ctl(&["calls"]);
    let mut by_kind = std::collections::BTreeMap::<String, u64>::new();
    for call in all["calls"].as_array().expect("a list of calls") {
        let cost = call["cost"].as_u64().unwrap_or(0);
        *by_kind.entry(call["kind"].as_str().unwrap_or_default().to_owned()).or_default() += cost;
    }
    by_kind.into_iter().filter(|(_, n)| *n > 0).collect()
}

/// Create, one for each look, one for each page; the calls of the connection apart and listed.
fn costs_what_it_must(engine: Engine) {
    let Some(mut bench) = Bench::new(engine, &["--records", RECORDS], "", &[BIG]) else { return };
    bench.ctl(&["bulk-page-rows", "2000"]);
    bench.ctl(&["reset-counters"]);
    bench.begin();
    bench.idle();
    let made = calls(&bench);
    let of = |kind: &str| made.iter().find(|(k, _)| k == kind).map_or(0, |(_, n)| *n);
    println!("calls of a first load: {made:?}");
    assert_eq!(of("bulk_create"), 1, "{made:?}");
    assert_eq!(of("bulk_page"), pages(2000), "{made:?}");
    assert!((1..=6).contains(&of("bulk_look")), "{made:?}");
    let job = of("bulk_create") + of("bulk_look") + of("bulk_page");
    let others: Vec<_> = made.iter().filter(|(k, _)| !k.starts_with("bulk")).cloned().collect();
    let paid = bench.daemon.api("GET", "/v1/quota", None).ok()["domains"][0]["own"].clone();
    let all: u64 = made.iter().map(|(_, n)| n).sum();
    assert_eq!(paid.as_u64(), Some(all), "what was paid for is what was asked: {made:?}");
    assert!(all - job <= 8, "a first load has few calls beside: {others:?}");
    // Who answers, and the first increment, which may travel in a composite.
    assert!(bench.queries() <= 1, "rows came by the job alone: {made:?}");

    let object = bench.object(BIG);
    assert_eq!(object["rows"], ROWS, "{object:#}");
    assert_eq!(object["job"], Value::Null, "{object:#}");
    assert_eq!(object["proof"]["rows"], ROWS, "the load was proved: {object:#}");
    assert_eq!(object["proof"]["differs"], 0, "{object:#}");
    bench.same();
    bench.daemon.replica(NAME).assert_intact();
    bench.daemon.stop();
}

/// The source changes while the job's result is fetched: what comes late comes with the first
/// increment, and an object is not called loaded before.
fn changes_meanwhile_are_in(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, 300) else { return };
    bench.ctl(&["slow", "ms=10"]);
    bench.begin();
    for n in [2, 9, 16, 23] {
        bench.sandbox.wait_counter("bulk_page", n);
        bench.ctl(&["touch", BIG, "150"]);
        bench.ctl(&["create", BIG, "20"]);
        bench.ctl(&["delete", BIG, "12"]);
        bench.ctl(&["undelete", BIG, "5"]);
        bench.ctl(&["purge", BIG, "3"]);
        assert_eq!(bench.daemon.status(NAME)["caught_up_to"], Value::Null);
    }
    bench.idle();
    bench.settle();
    bench.same();
    bench.daemon.replica(NAME).assert_intact();
    assert_eq!(bench.count("bulk_create"), 1);
    bench.daemon.stop();
}

/// A job that takes two seconds is looked at a few times, not all the time.
fn a_job_of_two_seconds(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, 5000) else { return };
    bench.ctl(&["bulk-latency", "2"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_look", 1);
    let job = eventually_or(LONG, "status tells of the job", || {
        let job = bench.object(BIG)["job"].clone();
        if job["since"].is_string() { Ok(job) } else { Err(format!("{job:#}")) }
    });
    assert_eq!(job["reads"], "rows", "{job:#}");
    bench.idle();
    let looks = bench.count("bulk_look");
    assert!((2..=5).contains(&looks), "{looks} looks");
    bench.same();
    bench.daemon.stop();
}
