//! A bulk load that is interrupted in an orderly way: by the quota, a restart, a reload. It goes on
//! at its page.

use super::{BIG, Bench, LONG, NAME, RECORDS, config, on_both, pages};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::json;

on_both!(the_quota_line_in_the_middle, a_restart_in_the_middle, a_reload_in_the_middle);

const PAGE: u64 = 400;

/// A load that has come to its page `n`, slowly.
fn under_way(engine: Engine, n: u64) -> Option<Bench> {
    let bench = Bench::big(engine, PAGE)?;
    bench.ctl(&["slow", "ms=25"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", n);
    Some(bench)
}

fn the_quota_line_in_the_middle(engine: Engine) {
    let Some(mut bench) = under_way(engine, 5) else { return };
    // 15,000 calls a day, the line at 80 %.
    bench.ctl(&["others-spend", "12500"]);
    bench.daemon.wait_reason(NAME, "Not syncing", "quota");
    eventually_or(LONG, "no call is under way", || {
        let detail = bench.daemon.detail(NAME);
        let all = bench.sandbox.counters();
        if all["call"] == all["finished"] { Ok(()) } else { Err(format!("{detail:#}")) }
    });
    let before = bench.count("bulk_page");
    assert!((5..pages(PAGE)).contains(&before), "{before} pages: the line came too late");
    eventually_or(LONG, "what was fetched is in", || {
        let rows = bench.rows(BIG);
        if rows == before * PAGE { Ok(()) } else { Err(format!("{rows} of {before} pages")) }
    });
    assert_eq!(bench.count("bulk_page"), before);

    // The quota is free again; one answer tells it.
    bench.ctl(&["quota", "used=100"]);
    bench.ctl(&["slow", "ms=0"]);
    bench.daemon.api("POST", &format!("/v1/connections/{NAME}/test"), None).ok();
    bench.idle();
    assert_eq!(bench.count("bulk_page"), pages(PAGE), "no page was read twice");
    assert_eq!(bench.count("bulk_create"), 1);
    bench.same();
    bench.daemon.stop();
}

fn a_restart_in_the_middle(engine: Engine) {
    let Some(mut bench) = under_way(engine, 4) else { return };
    bench.daemon.stop();
    let rows = bench.rows(BIG);
    assert!(rows >= 3 * PAGE && rows % PAGE == 0, "{rows} rows");
    bench.ctl(&["touch", BIG, "40"]);
    bench.daemon.start_again();
    bench.ring();
    bench.idle();
    let read = bench.count("bulk_page");
    assert!(read <= pages(PAGE) + 1, "{read} pages");
    assert_eq!(bench.count("bulk_create"), 1);
    bench.settle();
    bench.same();
    bench.daemon.stop();
}

/// A reload that leaves the connection as it is, and one that adds an object: the load is gone on
/// with, and no page is read again but for the one that was under way.
fn a_reload_in_the_middle(engine: Engine) {
    let args = ["--records", RECORDS, "--records", "Contact=30"];
    let Some(mut bench) = Bench::new(engine, &args, "", &[BIG]) else { return };
    bench.ctl(&["bulk-page-rows", &PAGE.to_string()]);
    bench.ctl(&["slow", "ms=25"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 4);
    let objects = format!("{BIG} = \"all\"\n");
    let reload = |objects: &str| {
        bench.daemon.write_config("crmsync.toml", &config(&bench.sandbox, "", objects));
        bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok()
    };
    let run = |b: &Bench| b.daemon.detail(NAME)["runs"][0]["id"].clone();
    let before = run(&bench);
    reload(&format!("# a word\n{objects}"));
    assert_eq!(run(&bench), before, "the run was touched by a comment");
    bench.sandbox.wait_counter("bulk_page", 8);
    reload(&format!("{objects}Contact = \"all\"\n"));
    bench.ring_until("all of it is in", |b| {
        let done = |o: &str| b.object(o)["phase"] == "following";
        done(BIG) && done("Contact")
    });
    let read = bench.count("bulk_page");
    assert!(read <= pages(PAGE) + 1, "{read} pages");
    assert_eq!(bench.count("bulk_create"), 1);
    bench.same();
    bench.daemon.stop();
}
