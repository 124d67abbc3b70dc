//! After a bulk load: large increments, and a `caught up to T` that is never ahead of the copy.

use super::{BIG, Bench, NAME, on_both};
use crate::support::values::{Cell, Engine};
use serde_json::Value;
use std::collections::BTreeMap;

on_both!(large_increments_are_followed, caught_up_is_never_ahead);

fn large_increments_are_followed(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "") else { return };
    // More records with the same stamp than two pages hold.
    bench.ctl(&["touch", BIG, "4600"]);
    bench.ctl(&["create", BIG, "700"]);
    bench.ctl(&["delete", BIG, "300"]);
    bench.settle();
    bench.same();
    let pages = bench.count("query") + bench.count("query_all") + bench.count("composite");
    assert!(pages <= 14, "{pages} calls for 5,600 changes");
    assert_eq!(bench.count("bulk_create"), 0);
    bench.daemon.stop();
}

/// The source changes without a pause, some of it becomes visible late, and its clock is not
/// ours. Whatever time is claimed: what has an older stamp is in the copy.
fn caught_up_is_never_ahead(engine: Engine) {
    for skew in ["+240", "-240"] {
        let keys = "late_commit_window = \"20s\"";
        let Some(mut bench) = Bench::new(engine, &["--records", "Lead=400"], keys, &["Lead"])
        else {
            return;
        };
        bench.ctl(&["clock", skew]);
        bench.begin();
        bench.idle();
        for round in 0..12 {
            bench.ctl(&["touch", "Lead", "40"]);
            bench.ctl(&["create", "Lead", "3"]);
            if round % 3 == 0 {
                bench.ctl(&["late-commit", "Lead", "4", "seconds=2"]);
            }
            bench.ring();
            bench.ctl(&["touch", "Lead", "25"]);
            claimed(&bench, round);
        }
        // The late ones as well, once they can be seen.
        bench.ctl(&["clock", "+5"]);
        bench.settle();
        bench.same();
        bench.daemon.stop();
    }
}

/// What is claimed now holds, record by record. A record that could not be seen when its time
/// was passed is the overlap's matter, not the claim's.
fn claimed(bench: &Bench, round: usize) {
    let Some(claim) = bench.daemon.status(NAME)["caught_up_to"].as_str().map(str::to_owned) else {
        return;
    };
    let rows = bench.daemon.replica(NAME).query("select id, systemmodstamp from lead");
    let here: BTreeMap<String, String> = rows
        .into_iter()
        .filter_map(|row| match (&row["id"], &row["systemmodstamp"]) {
            (Cell::Text(id), Cell::Text(t) | Cell::Timestamp(t)) => Some((id.clone(), t.clone())),
            _ => None,
        })
        .collect();
    let seconds = |text: &str| -> i64 {
        jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text)
            .or_else(|_| text.parse())
            .expect("a time")
            .as_second()
    };
    let claim = seconds(&claim);
    for record in bench.sandbox.dump("Lead") {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let (id, stamp) = (text("Id"), seconds(&text("SystemModstamp")));
        let late = record.get("Description").is_none_or(Value::is_null);
        if stamp >= claim || late {
            continue;
        }
        let known = here.get(&id).map(|t| seconds(t));
        assert_eq!(known, Some(stamp), "round {round}: {id}, claimed {claim}");
    }
}
