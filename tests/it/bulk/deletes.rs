//! What is gone at the source: found by a comparison of keys that a job reads, behind the guard.

use super::{BIG, Bench, LONG, NAME, RECORDS, ROWS, on_both};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};

on_both!(
    an_outage_longer_than_the_log_ends_in_a_sweep_by_a_job,
    many_deletes_are_held_until_approved,
    removed_and_erased_rows_leave,
    deleted_and_undeleted_again,
);

/// The source's log of deletes no longer reaches back to our last read of it.
fn forget_log(bench: &Bench) {
    bench.ctl(&["clock", "+600"]);
    bench.ctl(&["trim-delete-log", BIG]);
}

fn live(bench: &Bench) -> i64 {
    bench.daemon.replica(NAME).number("select count(*) from product2 where _deleted_at is null")
}

fn an_outage_longer_than_the_log_ends_in_a_sweep_by_a_job(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "") else { return };
    bench.ctl(&["purge", BIG, "60"]);
    bench.ctl(&["touch", BIG, "25"]);
    forget_log(&bench);
    bench.settle();
    assert_eq!(bench.count("bulk_create"), 1, "{}", bench.story());
    assert_eq!(bench.count("bulk_page"), 1);
    assert_eq!(live(&bench), i64::try_from(ROWS).unwrap() - 60);
    let story = bench.story();
    assert!(story.contains("keys compared: 60 deleted, 0 to fetch, 0 held"), "{story}");
    bench.same();
    bench.daemon.stop();
}

fn many_deletes_are_held_until_approved(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "") else { return };
    bench.ctl(&["purge", BIG, "1200"]);
    forget_log(&bench);
    bench.ring();
    bench.wait_object(BIG, "deletes are held", |o| o["held"] == 1200);
    bench.daemon.wait_reason(NAME, "Active", "deletes held for approval");
    assert_eq!(live(&bench), i64::try_from(ROWS).unwrap(), "nothing is gone yet");
    let source = bench.source(BIG);
    assert_eq!(bench.daemon.replica(NAME).differences("product2", &source).len(), 1200);
    bench.daemon.api("POST", &format!("/v1/connections/{NAME}/approve"), Some(&json!({}))).ok();
    bench.wait_object(BIG, "they are released", |o| o["held"] == Value::Null);
    eventually_or(LONG, "they are gone", || {
        let live = live(&bench);
        if live == i64::try_from(ROWS).unwrap() - 1200 { Ok(()) } else { Err(live.to_string()) }
    });
    bench.settle();
    bench.same();
    bench.daemon.stop();
}

/// With `deletes = "remove"` rows go at once, in a sweep as well; marked ones go after
/// `erase_after`.
fn removed_and_erased_rows_leave(engine: Engine) {
    let keys = "deletes = \"remove\"";
    let Some(mut bench) = Bench::new(engine, &["--records", RECORDS], keys, &[BIG]) else { return };
    // Its clock is moved ahead below: what is marked now must be old by ours.
    bench.ctl(&["clock", "-7200"]);
    bench.begin();
    bench.idle();
    bench.ctl(&["purge", BIG, "40"]);
    bench.settle();
    assert_eq!(bench.rows(BIG), ROWS - 40);
    bench.ctl(&["purge", BIG, "30"]);
    forget_log(&bench);
    bench.settle();
    assert_eq!(bench.rows(BIG), ROWS - 70);
    bench.same();
    let keys = "erase_after = \"1s\"";
    let objects = format!("{BIG} = \"all\"\n");
    bench.daemon.write_config("crmsync.toml", &super::config(&bench.sandbox, keys, &objects));
    bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    bench.ctl(&["purge", BIG, "20"]);
    bench.settle();
    assert_eq!(bench.rows(BIG), ROWS - 70, "marked, and still there");
    bench.same();
    // It is looked for once a day, and after a start.
    bench.daemon.stop();
    bench.daemon.start_again();
    bench.daemon.sync(NAME);
    assert_eq!(bench.rows(BIG), ROWS - 90);
    bench.same();
    bench.daemon.stop();
}

fn deleted_and_undeleted_again(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "") else { return };
    let ids = bench.ctl(&["delete", BIG, "30"])["ids"].clone();
    let ids: Vec<String> = ids
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    bench.settle();
    let all = i64::try_from(ROWS).unwrap();
    assert_eq!(live(&bench), all - 30);
    bench.same();
    let some =
        if ids.is_empty() { "10".to_owned() } else { format!("ids={}", ids[..10].join(",")) };
    bench.ctl(&["undelete", BIG, &some]);
    bench.settle();
    assert_eq!(live(&bench), all - 20);
    bench.same();
    bench.daemon.stop();
}
