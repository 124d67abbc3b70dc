//! Trouble with jobs: cut, expired, failed, refused. Whatever it is, the object is loaded in the
//! end, as cheaply as it goes.

use super::{BIG, Bench, RECORDS, ROWS, on_both, pages};
use crate::support::values::Engine;
use serde_json::Value;

on_both!(
    a_cut_download_goes_on_at_its_page,
    an_expired_job_is_asked_for_again,
    a_failed_job_is_narrowed,
    what_bulk_refuses_is_read_by_queries,
    a_lost_answer_costs_one_call,
);

const PAGE: u64 = 1000;
const RESULTS: &str = "path=/results";

fn a_cut_download_goes_on_at_its_page(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["slow", "ms=20"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 3);
    bench.ctl(&["cut", RESULTS, "after_bytes=20000", "times=2"]);
    bench.sandbox.wait_counter("cut", 1);
    bench.ring_until("the load is in", |b| b.daemon.status(super::NAME)["reason"] == "idle");
    assert_eq!(bench.count("cut"), 2);
    assert_eq!(bench.count("bulk_page"), pages(PAGE) + 2, "only the cut pages came twice");
    assert_eq!(bench.count("bulk_create"), 1);
    bench.same();
    bench.daemon.stop();
}

fn an_expired_job_is_asked_for_again(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["slow", "ms=20"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 4);
    assert_eq!(bench.ctl(&["bulk-expire"])["expired"], 1);
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 2);
    assert!(bench.count("bulk_page") <= pages(PAGE) + 7, "{}", bench.sandbox.counters());
    assert!(bench.rows(BIG) == ROWS, "what came twice is there once");
    bench.same();
    bench.daemon.replica(super::NAME).assert_intact();
    bench.daemon.stop();
}

/// A job that the source gives up on is narrowed by windows of time until it is small enough;
/// records are spread over two years.
fn a_failed_job_is_narrowed(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["bulk-fail-over", "rows=3000"]);
    bench.begin();
    bench.idle();
    let made = bench.count("bulk_create");
    assert!((4..=30).contains(&made), "{made} jobs");
    assert!(bench.queries() <= 1, "no part of it had to be read by queries");
    assert!(bench.rows(BIG) == ROWS);
    bench.same();
    // What a lost job leaves behind must not be in the way of the next whole read.
    bench.ctl(&["bulk-clear"]);
    bench.ctl(&["touch", BIG, "30"]);
    bench.settle();
    bench.same();
    bench.daemon.stop();
}

/// Object, field, number of jobs, and a failure whatever is asked: by queries, at once.
fn what_bulk_refuses_is_read_by_queries(engine: Engine) {
    let refusals: [&[&str]; 4] = [
        &["bulk-refuse", BIG, "on"],
        &["bulk-refuse", BIG, "Family", "on"],
        &["bulk-quota", "used=10000"],
        &["bulk-fail", "next=1000"],
    ];
    for refusal in refusals {
        let Some(mut bench) = Bench::big(engine, PAGE) else { return };
        bench.ctl(refusal);
        bench.begin();
        bench.idle();
        bench.same();
        let (jobs, asked) = (bench.count("bulk_create"), bench.queries());
        assert!(asked >= ROWS.div_ceil(2000), "{refusal:?}: {asked} queries");
        if refusal[0] != "bulk-fail" {
            assert_eq!(jobs, 1, "{refusal:?}: asked once, and not again");
            assert!(asked <= ROWS.div_ceil(2000) + 3, "{refusal:?}: {asked} queries");
        }
        assert_eq!(bench.object(BIG)["trouble"], Value::Null);
        bench.daemon.stop();
    }
}

/// The answer to each kind of call is lost once: the state was not moved on, so it is asked again.
fn a_lost_answer_costs_one_call(engine: Engine) {
    let Some(mut bench) =
        Bench::new(engine, &["--records", RECORDS, "--records", "Contact=20"], "", &[BIG])
    else {
        return;
    };
    bench.ctl(&["bulk-page-rows", "2000"]);
    let data = |rest: &str| format!("path=/services/data/v64.0/jobs/query{rest}");
    // The newest fault that fits wins: the last of these first.
    bench.ctl(&["act-then", "drop", RESULTS]);
    bench.ctl(&["act-then", "drop", &data("/")]);
    bench.ctl(&["act-then", "drop", &data("")]);
    bench.begin();
    bench.ring_until("the load is in", |b| b.daemon.status(super::NAME)["reason"] == "idle");
    assert_eq!(bench.count("dropped"), 3, "{}", bench.sandbox.counters());
    assert!(bench.count("bulk_create") <= 2);
    assert!(bench.count("bulk_page") <= pages(2000) + 2);
    bench.same();
    bench.daemon.stop();
}
