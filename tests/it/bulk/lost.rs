//! A store or a replica that is lost in the middle of a bulk load.

use super::{BIG, Bench, NAME, ROWS, on_both, pages};
use crate::support::values::Engine;
use std::fs;

on_both!(a_lost_store_adopts_a_load_under_way, a_lost_replica_is_loaded_by_another_job);

const PAGE: u64 = 400;

/// The new store knows nothing; job, locator and rows are the replica's.
fn a_lost_store_adopts_a_load_under_way(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["slow", "ms=20"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 6);
    bench.daemon.kill9();
    let rows = bench.rows(BIG);
    assert!((4 * PAGE..ROWS).contains(&rows), "{rows} rows");
    fs::remove_dir_all(bench.daemon.path("state")).expect("losing the store");
    bench.ctl(&["touch", BIG, "30"]);
    bench.daemon.start_again();
    bench.daemon.wait_reason(NAME, "Error", "never authorized");
    assert_eq!(bench.rows(BIG), rows, "it was touched before anybody authorized");
    bench.begin();
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 1, "the job was gone on with");
    let read = bench.count("bulk_page");
    assert!(read <= pages(PAGE) + 1, "{read} pages");
    bench.settle();
    bench.same();
    bench.daemon.replica(NAME).assert_intact();
    bench.daemon.stop();
}

fn a_lost_replica_is_loaded_by_another_job(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["slow", "ms=20"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 6);
    bench.daemon.stop();
    bench.daemon.replica(NAME).lose();
    bench.ctl(&["slow", "ms=0"]);
    bench.daemon.start_again();
    bench.ring();
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 2);
    assert!(bench.count("bulk_page") <= pages(PAGE) + 7);
    bench.settle();
    bench.same();
    bench.daemon.stop();
}
