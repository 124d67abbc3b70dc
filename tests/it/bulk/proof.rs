//! The copy is proved by counts: what is missing or stale is found, read again and told.

use super::{BIG, Bench, LONG, NAME, ROWS, on_both};
use crate::support::values::{Cell, Engine};
use crate::support::wait::eventually_or;
use serde_json::Value;

on_both!(an_equal_copy_costs_one_call, lost_stale_and_foreign_rows_are_found_and_mended);

/// A day later: the next proof is due.
fn a_day_later(bench: &Bench) {
    bench.ctl(&["clock", "+86500"]);
}

fn an_equal_copy_costs_one_call(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "calculated = \"100d\"") else { return };
    let before = bench.object(BIG)["proof"].clone();
    assert_eq!((&before["rows"], &before["differs"]), (&Value::from(ROWS), &Value::from(0)));
    // A poll without a proof, and one with it: the difference is the proof's.
    let cost = |bench: &Bench| {
        let before = bench.count("composite") + bench.count("query") + bench.count("query_all");
        bench.daemon.sync(NAME);
        bench.count("composite") + bench.count("query") + bench.count("query_all") - before
    };
    bench.ctl(&["clock", "+120"]);
    let without = cost(&bench);
    assert_eq!(bench.object(BIG)["proof"]["at"], before["at"], "none was due");
    a_day_later(&bench);
    let with = cost(&bench);
    let after = bench.object(BIG)["proof"].clone();
    assert_ne!(after["at"], before["at"], "{after:#}");
    assert_eq!((&after["rows"], &after["differs"]), (&Value::from(ROWS), &Value::from(0)));
    assert_eq!(with - without, 1, "five windows travel in one call");
    let shown = bench.daemon.cli(&["status", NAME]);
    let line = format!("{BIG}: 8,400 rows as at the source, compared at ");
    assert!(shown.out.contains(&line), "{}", shown.out);
    bench.daemon.stop();
}

fn lost_stale_and_foreign_rows_are_found_and_mended(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "calculated = \"100d\"") else { return };
    let ids = bench
        .daemon
        .replica(NAME)
        .query("select id from product2 order by systemmodstamp desc, id");
    let id = |n: usize| match &ids[n]["id"] {
        Cell::Text(id) => id.clone(),
        other => panic!("{other:?}"),
    };
    let stale = match engine {
        Engine::Sqlite => "'2021-03-04T05:06:07.000Z'",
        Engine::Postgres => "'2021-03-04T05:06:07Z'",
    };
    // Behind the daemon's back: two rows go, one is as it was years ago, one was never there. The
    // first four are young: no window loses as many as it gains.
    bench.daemon.replica(NAME).tamper(&[
        format!("delete from product2 where id in ('{}', '{}')", id(0), id(1)),
        format!("update product2 set name = 'old', systemmodstamp = {stale} where id = '{}'", id(2)),
        format!(
            "update product2 set id = '01tZZZZZZZZZZZZZZZ', systemmodstamp = {stale} where id = '{}'",
            id(3)
        ),
    ]);
    a_day_later(&bench);
    let proof = eventually_or(LONG, "the copy is mended", || {
        bench.daemon.sync(NAME);
        let object = bench.object(BIG);
        let done = object["proof"]["repaired"].as_u64() > Some(0);
        if done {
            Ok(object["proof"].clone())
        } else {
            Err(format!("{object:#}\n{}", bench.story()))
        }
    });
    assert_eq!(proof["differs"], 0, "{proof:#}");
    bench.settle();
    bench.same();
    let notices = bench.daemon.api("GET", "/v1/notices?all=true", None).ok();
    let told: Vec<&Value> = notices["notices"]
        .as_array()
        .expect("notices")
        .iter()
        .filter(|n| {
            n["text"].as_str().is_some_and(|t| t.contains("rows were missing or not as at"))
        })
        .collect();
    assert_eq!(told.len(), 1, "{notices:#}");
    let shown = bench.daemon.cli(&["status", NAME]);
    assert!(shown.out.contains("of them read again"), "{}", shown.out);

    // The next one finds nothing, and the notice goes.
    a_day_later(&bench);
    eventually_or(LONG, "the next proof finds nothing", || {
        bench.daemon.sync(NAME);
        let proof = bench.object(BIG)["proof"].clone();
        if proof["repaired"] == 0 { Ok(()) } else { Err(proof.to_string()) }
    });
    let open = bench.daemon.api("GET", &format!("/v1/notices?name={NAME}"), None).ok();
    assert!(!open.to_string().contains("rows were missing"), "{open:#}");
    bench.daemon.stop();
}
