//! kill -9 while a job reads keys for a comparison, calculated fields or a new field: afterwards
//! nothing is deleted that is at the source, nothing is kept that is not, and every value is its.

use super::aim::{Aim, Done, Hits, state, through};
use super::kills::{PAGE, disturb};
use super::{BIG, Bench, ROWS, on_both, pages};
use crate::support::chance::{Chance, times};
use crate::support::loud;
use crate::support::values::Engine;
use serde_json::{Value, json};

on_both!(
    a_comparison_of_keys_is_killed,
    a_reading_of_calculated_fields_is_killed,
    a_filling_of_a_new_field_is_killed,
);

/// Kills of one reading.
const STORY: [Aim; 6] =
    [Aim::Create, Aim::Look, Aim::Page(2), Aim::Between(2), Aim::Page(1), Aim::Last];

fn loaded(engine: Engine, keys: &str) -> Option<Bench> {
    let bench = Bench::loaded(engine, keys)?;
    bench.ctl(&["bulk-page-rows", &PAGE.to_string()]);
    bench.ctl(&["bulk-latency", "0.5"]);
    bench.ctl(&["slow", "ms=5"]);
    Some(bench)
}

/// The object's state says of this key that it is done up to a time at least, and nothing of
/// the work is left.
fn done_to(bench: &Bench, key: &str, time: jiff::Timestamp) -> bool {
    let state = state(bench);
    let told = state[key].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    told.is_some_and(|told| told.as_second() >= time.as_second()) && idle(&state)
}

fn idle(state: &Value) -> bool {
    ["job", "sweep", "fill"].iter().all(|key| state[key].is_null())
}

/// Lets it come to its end.
fn finish(bench: &Bench, over: Done<'_>) {
    bench.ctl(&["slow", "ms=0"]);
    bench.ring_until("it is over", |bench| over(bench));
}

fn a_comparison_of_keys_is_killed(engine: Engine) {
    let mut chance = Chance::new(&format!("killed comparison, {engine:?}"), 5);
    let Some(mut bench) = loaded(engine, "") else { return };
    let mut hits = Hits::new();
    for _ in 0..times(1, 5) {
        bench.ctl(&["reset-counters"]);
        bench.ctl(&["purge", BIG, "60"]);
        bench.ctl(&["touch", BIG, "25"]);
        bench.ctl(&["clock", "+600"]);
        bench.ctl(&["trim-delete-log", BIG]);
        let begun = bench.now();
        let over = |bench: &Bench| done_to(bench, "deletes_covered", begun);
        let mut check = |bench: &Bench, chance: &mut Chance| {
            nothing_lost(bench);
            disturb(bench, chance);
        };
        let steps = (&Bench::ring as &dyn Fn(&Bench), &over as Done<'_>);
        let kills = through(&mut bench, &mut chance, &STORY, steps, &mut hits, &mut check);
        finish(&bench, &over);
        costs(&bench, kills);
        bench.settle();
        bench.same();
        bench.daemon.replica(super::NAME).assert_intact();
        assert_eq!(bench.object(BIG)["held"], Value::Null);
    }
    loud(&format!("killed comparisons, {engine:?}: {hits:?}"));
    bench.daemon.stop();
}

/// What is live at the source, and was when the copy was last whole, is live here.
fn nothing_lost(bench: &Bench) {
    let wrong = bench.daemon.replica(super::NAME).differences("product2", &bench.source(BIG));
    let marked: Vec<_> = wrong.iter().filter(|d| d.contains("marked as gone")).collect();
    assert!(marked.is_empty(), "{marked:?}");
}

/// A job for each kill that came before its name was stored, and a page for each other.
fn costs(bench: &Bench, kills: usize) {
    let kills = u64::try_from(kills).expect("a small number");
    let (jobs, read) = (bench.count("bulk_create"), bench.count("bulk_page"));
    assert!((1..=1 + kills).contains(&jobs), "{jobs} jobs after {kills} kills");
    // A job more, at most, whose first pages were read: of one that was begun anew.
    let most = pages(PAGE) * 2 + 2 * kills;
    assert!(read <= most, "{read} pages after {kills} kills");
}

fn a_reading_of_calculated_fields_is_killed(engine: Engine) {
    let mut chance = Chance::new(&format!("killed formulas, {engine:?}"), 6);
    let Some(mut bench) = loaded(engine, "calculated = \"1h\"") else { return };
    let mut hits = Hits::new();
    for _ in 0..times(1, 5) {
        bench.ctl(&["reset-counters"]);
        bench.ctl(&["clock", "+3700"]);
        // Behind its back: without the reading these would stay wrong.
        let wrong = "update product2 set name_length__c = 4711 \
                     where id in (select id from product2 order by id limit 50)";
        bench.daemon.replica(super::NAME).tamper(&[wrong.to_owned()]);
        let begun = bench.now();
        let over = |bench: &Bench| done_to(bench, "calculated_covered", begun);
        let mut check = |bench: &Bench, chance: &mut Chance| disturb(bench, chance);
        let steps = (&Bench::ring as &dyn Fn(&Bench), &over as Done<'_>);
        let kills = through(&mut bench, &mut chance, &STORY, steps, &mut hits, &mut check);
        finish(&bench, &over);
        costs(&bench, kills);
        bench.settle();
        bench.same();
    }
    loud(&format!("killed formulas, {engine:?}: {hits:?}"));
    bench.daemon.stop();
}

/// Its values change while pages as of before are written.
fn a_filling_of_a_new_field_is_killed(engine: Engine) {
    let mut chance = Chance::new(&format!("killed filling, {engine:?}"), 7);
    let Some(mut bench) = loaded(engine, "") else { return };
    let ids: Vec<String> = bench
        .sandbox
        .dump(BIG)
        .iter()
        .filter_map(|r| r["Id"].as_str().map(str::to_owned))
        .collect();
    bench.ctl(&["field", "add", BIG, "Shoe_Size__c", "double"]);
    let mut size = 30.0;
    let mut grow = |bench: &Bench| {
        for id in ids.iter().step_by(700) {
            size += 0.5;
            // One that was deleted or purged meanwhile is refused.
            let _ = bench.sandbox.try_update(BIG, id, &json!({"Shoe_Size__c": size}));
        }
    };
    grow(&bench);
    bench.ctl(&["touch", BIG, "30"]);
    bench.ctl(&["reset-counters"]);
    let mut hits = Hits::new();
    let over = |bench: &Bench| {
        let state = state(bench);
        idle(&state) && state["fields"].to_string().contains("\"Shoe_Size__c\"")
    };
    let mut check = |bench: &Bench, chance: &mut Chance| {
        disturb(bench, chance);
        grow(bench);
    };
    let steps = (&Bench::ring as &dyn Fn(&Bench), &over as Done<'_>);
    let kills = through(&mut bench, &mut chance, &STORY, steps, &mut hits, &mut check);
    finish(&bench, &over);
    costs(&bench, kills);
    bench.settle();
    bench.describes.insert(BIG.to_owned(), bench.sandbox.describe(BIG));
    bench.same();
    let filled = "select count(*) from product2 where shoe_size__c is not null";
    assert!(bench.daemon.replica(super::NAME).number(filled) > 0);
    assert!(bench.rows(BIG) >= ROWS);
    loud(&format!("killed filling, {engine:?}: {hits:?}"));
    bench.daemon.stop();
}
