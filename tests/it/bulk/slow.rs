//! Result pages that dribble, and pages that stop in their middle: waited for as long as something
//! comes, asked for again where nothing does, in nobody's way.

use super::{BIG, Bench, LONG, NAME, RECORDS, ROWS, config, on_both, pages};
use crate::support::daemon::salesforce;
use crate::support::replica::column;
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};

on_both!(
    a_page_that_dribbles_is_waited_for,
    a_page_that_stalls_is_asked_for_again,
    others_are_polled_between_slow_pages,
);

const PAGE: u64 = 3000;
const RESULTS: &str = "path=/results";
/// The other connection.
const BESIDE: &str = "beside";

/// [`BIG`] is about to be loaded; another connection to the same source has its contacts.
fn with_neighbour(engine: Engine) -> Option<Bench> {
    let args = ["--records", RECORDS, "--records", "Contact=60"];
    let mut bench = Bench::new(engine, &args, "", &[BIG])?;
    bench.describes.insert("Contact".to_owned(), bench.sandbox.describe("Contact"));
    let beside = salesforce(BESIDE, &bench.sandbox, "every 1h");
    let own = config(&bench.sandbox, "", &format!("{BIG} = \"all\"\n"));
    let both = format!(
        "{own}\n{beside}auth = \"client-credentials\"\n[connections.{BESIDE}.objects]\nContact = \"all\"\n"
    );
    bench.daemon.write_config("crmsync.toml", &both);
    bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    bench.daemon.set_secret(BESIDE, "client_secret", &bench.sandbox.client_secret);
    let path = format!("/v1/connections/{BESIDE}/reauthorize");
    bench.daemon.api("POST", &path, Some(&json!({}))).ok();
    bench.daemon.wait_reason(BESIDE, "Active", "idle");
    bench.ctl(&["bulk-page-rows", &PAGE.to_string()]);
    bench.ctl(&["reset-counters"]);
    Some(bench)
}

/// The other connection follows its source.
fn neighbour_goes_on(bench: &Bench) {
    for _ in 0..2 {
        bench.ctl(&["touch", "Contact", "7"]);
        bench.ctl(&["create", "Contact", "2"]);
        let source = bench.source("Contact");
        eventually_or(LONG, "the neighbour goes on", || {
            bench.daemon.sync(BESIDE);
            let differences = bench.daemon.replica(BESIDE).differences(&column("Contact"), &source);
            if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
        });
    }
}

fn a_page_that_dribbles_is_waited_for(engine: Engine) {
    let Some(mut bench) = with_neighbour(engine) else { return };
    bench.ctl(&["dribble", RESULTS, "bytes=500", "ms=500"]);
    bench.begin();
    bench.sandbox.wait_counter("throttled", 1);
    neighbour_goes_on(&bench);
    let object = bench.object(BIG);
    assert_eq!(object["job"]["says"], "its result is being fetched", "{object:#}");
    let shown = bench.daemon.cli(&["status", NAME]).out;
    let line = format!("{BIG}: a bulk job reads rows: its result is being fetched, 0 of 8,400");
    assert!(shown.contains(&line), "{shown}");
    assert_eq!(bench.daemon.status(NAME)["reason"], "loading");
    assert_eq!(bench.count("bulk_page"), 1, "it is still the first page");
    assert_eq!(bench.rows(BIG), 0, "half a page is no page");
    bench.ctl(&["release"]);
    bench.idle();
    assert_eq!(bench.count("bulk_page"), pages(PAGE), "none was asked for twice");
    assert_eq!(bench.count("bulk_create"), 1);
    bench.same();
    bench.daemon.stop();
}

/// The connection stays open, and nothing comes any more.
fn a_page_that_stalls_is_asked_for_again(engine: Engine) {
    let Some(mut bench) = with_neighbour(engine) else { return };
    bench.ctl(&["stall", RESULTS, "after_bytes=20000"]);
    bench.begin();
    bench.sandbox.wait_counter("stalled", 1);
    neighbour_goes_on(&bench);
    assert_eq!(bench.object(BIG)["job"]["says"], "its result is being fetched");
    let told = bench.daemon.wait_reason(NAME, "Active", "retrying");
    assert!(told.to_string().contains("silent for 60 s"), "{told:#}");
    let shown = bench.daemon.cli(&["status", NAME]);
    assert!(shown.out.contains("silent for 60 s"), "{}", shown.out);
    assert_eq!(bench.rows(BIG), 0);
    bench.ring_until("the load is in", |b| b.daemon.status(NAME)["reason"] == "idle");
    assert_eq!(bench.count("bulk_page"), pages(PAGE) + 1, "only the stalled page came twice");
    assert_eq!(bench.count("bulk_create"), 1);
    assert_eq!(bench.rows(BIG), ROWS);
    bench.same();
    bench.daemon.stop();
}

/// Of the same connection: pages take long, but the others do not wait for all of them.
fn others_are_polled_between_slow_pages(engine: Engine) {
    let args = ["--records", RECORDS, "--records", "Contact=60"];
    let Some(mut bench) = Bench::new(engine, &args, "", &[BIG, "Contact"]) else { return };
    let objects = format!("{BIG} = \"all\"\nContact = \"all\"\n");
    let text = config(&bench.sandbox, "", &objects).replace("every 1h", "every 2s");
    bench.daemon.write_config("crmsync.toml", &text);
    bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    bench.ctl(&["bulk-page-rows", "1000"]);
    bench.ctl(&["dribble", RESULTS, "bytes=20000", "ms=500", "times=100"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_page", 2);
    bench.ctl(&["touch", "Contact", "9"]);
    let source = bench.source("Contact");
    eventually_or(LONG, "contacts are followed between pages", || {
        let differences = bench.daemon.replica(NAME).differences("contact", &source);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    });
    assert!(
        bench.count("bulk_page") < pages(1000),
        "the load is over: {}",
        bench.sandbox.counters()
    );
    assert_eq!(bench.daemon.status(NAME)["caught_up_to"], Value::Null);
    bench.ctl(&["clear-faults"]);
    bench.ctl(&["release"]);
    bench.idle();
    assert_eq!(bench.count("bulk_page"), pages(1000));
    bench.settle();
    bench.same();
    bench.daemon.stop();
}
