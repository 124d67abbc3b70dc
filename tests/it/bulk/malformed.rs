//! Pages that are not what they should be: refused whole, tried three times, then read by queries;
//! what cannot be read at all is named, and the rest goes on.

use super::{BIG, Bench, LONG, NAME, RECORDS, ROWS, on_both, pages};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::Value;

on_both!(
    a_spoilt_page_is_asked_for_again,
    what_stays_spoilt_is_read_by_queries,
    what_nobody_can_read_is_named_and_the_rest_goes_on,
);

const PAGE: u64 = 3000;
/// Forms in which the structure is wrong.
const FORMS: [&str; 6] = ["columns", "truncated", "utf8", "count", "empty", "header"];

/// Each form twice in a row, somewhere in the result: the page is asked for until it is good, and
/// never are rows of a spoilt one to be seen.
fn a_spoilt_page_is_asked_for_again(engine: Engine) {
    for (n, form) in FORMS.into_iter().enumerate() {
        let Some(mut bench) = Bench::big(engine, PAGE) else { return };
        bench.ctl(&["slow", "ms=15"]);
        let spoil = ["bulk-corrupt", form, "times=2"];
        if n % 2 == 0 {
            bench.ctl(&spoil);
            bench.begin();
        } else {
            bench.begin();
            bench.sandbox.wait_counter("bulk_page", 1);
            bench.ctl(&spoil);
        }
        let seen = watch(&bench);
        assert!(seen.iter().all(|rows| rows % PAGE == 0 || *rows == ROWS), "{form}: {seen:?}");
        assert_eq!(bench.count("bulk_page"), pages(PAGE) + 2, "{form}");
        assert_eq!(bench.count("bulk_create"), 1, "{form}");
        assert!(bench.queries() <= 1, "{form}: nothing but the increment");
        bench.same();
        bench.daemon.stop();
    }
}

/// Every number of rows that a reader saw until the load was in.
fn watch(bench: &Bench) -> Vec<u64> {
    let mut seen = vec![];
    eventually_or(LONG, "the load is in", || {
        let rows = bench.rows(BIG);
        if seen.last() != Some(&rows) {
            seen.push(rows);
        }
        let status = bench.daemon.status(NAME);
        if status["reason"] == "idle" { Ok(()) } else { Err(format!("{status:#}")) }
    });
    seen
}

fn what_stays_spoilt_is_read_by_queries(engine: Engine) {
    for form in ["truncated", "count"] {
        let Some(mut bench) = Bench::big(engine, PAGE) else { return };
        bench.ctl(&["bulk-corrupt", form, "times=always"]);
        bench.begin();
        // No row is visible as long as no query has been asked.
        eventually_or(LONG, "queries take over", || {
            let (rows, queries) = (bench.rows(BIG), bench.queries());
            assert!(rows == 0 || queries > 0, "{form}: {rows} rows of a spoilt page");
            if queries > 0 { Ok(()) } else { Err(bench.sandbox.counters().to_string()) }
        });
        bench.idle();
        assert_eq!(bench.count("bulk_page"), 3, "{form}: three attempts");
        bench.same();
        assert_eq!(bench.object(BIG)["trouble"], Value::Null);
        bench.daemon.stop();
    }
}

fn what_nobody_can_read_is_named_and_the_rest_goes_on(engine: Engine) {
    let args = ["--records", RECORDS, "--records", "Contact=60"];
    let Some(mut bench) = Bench::new(engine, &args, "", &[BIG, "Contact"]) else { return };
    bench.ctl(&["bulk-page-rows", "3000"]);
    bench.ctl(&["bulk-corrupt", "columns", "times=always", &format!("object={BIG}")]);
    bench.ctl(&[
        "fail",
        "next=100000",
        "status=200",
        &format!("path=FROM {BIG}"),
        "body={\"totalSize\": 1, \"done\": \"perhaps\"}",
        "content_type=application/json",
        "parts=on",
    ]);
    bench.ctl(&["bulk-latency", "2"]);
    bench.begin();
    // What the grant was checked with.
    let checks = bench.count("failed");
    let object = bench.wait_object(BIG, "it is named", |o| o["trouble"].is_string());
    assert_eq!(object["phase"], "refused", "{object:#}");
    let trouble = object["trouble"].as_str().unwrap_or_default();
    assert!(trouble.starts_with(&format!("reading {BIG}: ")), "{trouble}");
    let shown = bench.daemon.cli(&["status", NAME]);
    assert!(shown.out.contains(&format!("{BIG}: {trouble}")), "{}", shown.out);
    let notices = bench.daemon.api("GET", &format!("/v1/notices?name={NAME}"), None).ok();
    assert!(notices.to_string().contains("object-failing"), "{notices:#}");
    assert_eq!(bench.count("bulk_page"), 3, "three attempts");
    let story = bench.story();
    assert_eq!(story.matches("27 columns instead of 28").count(), 3, "{story}");
    assert_eq!(bench.count("failed"), checks + 1, "then once by queries");
    assert_eq!(bench.rows(BIG), 0, "no row of an unreadable page");

    // The rest goes on, and is claimed; of what cannot be read nothing is.
    bench.ctl(&["touch", "Contact", "9"]);
    let source = bench.source("Contact");
    let touched = bench.now();
    eventually_or(LONG, "the other object is followed", || {
        bench.ring();
        let differences = bench.daemon.replica(NAME).differences("contact", &source);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    });
    bench.ctl(&["clock", "+120"]);
    bench.ring_until("it is claimed", |b| {
        let time = b.object("Contact")["caught_up_to"].clone();
        let time = time.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        time.is_some_and(|time| time > touched)
    });
    let status = bench.daemon.status(NAME);
    assert_eq!((&status["status"], &status["caught_up_to"]), (&"Active".into(), &Value::Null));
    assert_eq!(bench.object(BIG)["phase"], "refused");
    assert_eq!(bench.rows(BIG), 0);

    bench.ctl(&["clear-faults"]);
    bench.ctl(&["bulk-clear"]);
    bench.ring_until("all is read once it can be", |b| {
        b.object(BIG)["phase"] == "following" && b.object(BIG)["trouble"].is_null()
    });
    bench.settle();
    bench.same();
    bench.daemon.stop();
}
