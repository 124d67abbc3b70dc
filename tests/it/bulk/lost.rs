//! A store or a replica that is lost: before the daemon starts, between its polls, or in the middle
//! of a bulk load while it runs.

use super::{BIG, Bench, LONG, NAME, ROWS, on_both, pages};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::Value;
use std::fs;

on_both!(
    a_lost_store_adopts_a_load_under_way,
    a_lost_replica_is_loaded_by_another_job,
    lost_between_polls,
    lost_with_its_place_between_polls,
    lost_while_a_job_is_waited_for,
    lost_while_pages_are_written,
    lost_with_its_place_while_pages_are_written,
);

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

fn lost_between_polls(engine: Engine) {
    noticed_by_the_next_poll(engine, |bench| bench.daemon.replica(NAME).lose());
}

/// The database is there again, but empty.
fn lost_with_its_place_between_polls(engine: Engine) {
    noticed_by_the_next_poll(engine, |bench| bench.daemon.lose_place(NAME));
}

/// Nothing that was known of the copy is claimed of the new one.
fn noticed_by_the_next_poll(engine: Engine, lose: impl Fn(&Bench)) {
    let Some(mut bench) = Bench::loaded(engine, "") else { return };
    assert_eq!(bench.object(BIG)["rows"], ROWS);
    bench.ctl(&["bulk-stuck", "on"]);
    bench.ctl(&["touch", BIG, "30"]);
    lose(&bench);
    bench.ring();
    bench.wait_object(BIG, "it is loaded again", |o| o["phase"] == "loading");
    let status = bench.daemon.wait_reason(NAME, "Active", "loading");
    assert_eq!((&status["rows"], &status["caught_up_to"]), (&Value::from(0), &Value::Null));
    let story = bench.story();
    assert!(
        story.contains(&format!("{BIG}: its copy of {ROWS} rows is not there any more")),
        "{story}"
    );
    let shown = bench.daemon.cli(&["status", NAME]).out;
    assert!(shown.contains(&format!("{BIG}: a bulk job reads rows since ")), "{shown}");
    bench.ctl(&["bulk-stuck", "off"]);
    bench.idle();
    bench.same();
    assert_eq!(bench.object(BIG)["rows"], ROWS);
    assert_eq!(bench.count("bulk_create"), 1);
    bench.daemon.replica(NAME).assert_intact();
    bench.daemon.stop();
}

/// The handle of the job stood in the replica: another one is asked for.
fn lost_while_a_job_is_waited_for(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["bulk-stuck", "on"]);
    bench.begin();
    bench.wait_object(BIG, "the job is waited for", |o| o["job"]["says"] == "InProgress");
    bench.daemon.replica(NAME).lose();
    bench.sandbox.wait_counter("bulk_create", 2);
    bench.ctl(&["bulk-stuck", "off"]);
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 2);
    assert_eq!(bench.count("bulk_page"), pages(PAGE));
    bench.same();
    bench.daemon.stop();
}

fn lost_while_pages_are_written(engine: Engine) {
    let told = ["while it was open"];
    loaded_anew_by_itself(engine, &told, |bench| bench.daemon.replica(NAME).lose());
}

fn lost_with_its_place_while_pages_are_written(engine: Engine) {
    // A server may be asked again in the moment in which there is no database.
    let told: &[&str] = match engine {
        Engine::Sqlite => &["while it was open"],
        Engine::Postgres => &["terminating connection", ABSENT],
    };
    loaded_anew_by_itself(engine, told, |bench| bench.daemon.lose_place(NAME));
}

const ABSENT: &str = "does not exist (SQLSTATE 3D000)";

/// What is committed into a copy that nobody can find any more counts for nothing.
fn loaded_anew_by_itself(engine: Engine, why: &[&str], lose: impl Fn(&Bench)) {
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["slow", "ms=30"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 6);
    lose(&bench);
    let told = bench.daemon.wait_reason(NAME, "Error", "replica unavailable");
    let text = told["detail"].as_str().unwrap_or_default();
    assert!(why.iter().any(|why| text.contains(why)), "{told:#}");
    assert!(text.contains(" by itself") || text.contains(ABSENT), "{told:#}");
    assert!(!text.contains("please report"), "{told:#}");
    eventually_or(LONG, "it is loaded by itself", || {
        let status = bench.daemon.status(NAME);
        if status["caught_up_to"].is_null() {
            return Err(format!("{:#}", bench.daemon.detail(NAME)));
        }
        Ok(())
    });
    bench.same();
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 2, "{}", bench.sandbox.counters());
    assert_eq!(bench.object(BIG)["rows"], ROWS);
    bench.ctl(&["touch", BIG, "30"]);
    bench.settle();
    bench.same();
    bench.daemon.replica(NAME).assert_intact();
    bench.daemon.stop();
}
