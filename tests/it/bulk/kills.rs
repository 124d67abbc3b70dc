//! kill -9 at drawn moments of bulk loads, while the source changes: the load goes on where it was,
//! no page is fetched more often than kills explain, and in the end the copy equals its source,
//! value by value.
//!
//! A moment is placed by an event (the job was asked for, looked at, a page was asked for) and a
//! drawn delay behind it. What was hit is read from what the dead daemon left.

use super::{BIG, Bench, LONG, NAME, config, on_both};
use crate::support::chance::{Chance, times};
use crate::support::daemon::Daemon;
use crate::support::loud;
use crate::support::replica::Place;
use crate::support::values::{Cell, Engine};
use crate::support::wait::eventually_or;
use serde_json::Value;
use std::collections::BTreeMap;

on_both!(killed_at_any_moment);

const PAGE: u64 = 600;
/// Kills of one load.
const EACH: usize = 4;

/// Where a kill is meant to fall.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// Behind the arrival of the n-th call of this kind.
    Call(&'static str, u64),
}

fn killed_at_any_moment(engine: Engine) {
    let mut chance = Chance::new(&format!("bulk kills, {engine:?}"), 11);
    let wanted = times(8, 200);
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    bench.ctl(&["bulk-latency", "0.5"]);
    let mut hits: BTreeMap<&'static str, usize> = BTreeMap::new();
    let (mut kills, mut rounds) = (0, 0);
    while kills < wanted {
        if rounds > 0 {
            bench.fresh(engine);
        }
        rounds += 1;
        kills += round(&mut bench, &mut chance, &mut hits);
        assert!(rounds <= wanted, "the kills miss too often: {hits:?}");
    }
    loud(&format!("bulk kills, {engine:?}: {kills} in {rounds} loads: {hits:?}"));
    bench.daemon.stop();
}

impl Bench {
    /// Another daemon, with folders and a place of its own, for the same source.
    fn fresh(&mut self, engine: Engine) {
        self.daemon.stop();
        let place = Place::of(engine, "bulk kills").expect("it was there before");
        let text = config(&self.sandbox, "", &format!("{BIG} = \"all\"\n"));
        self.daemon = Daemon::start_in(place, &text);
    }

    /// The object's state as the daemon left it.
    fn state(&self) -> Value {
        let sql = format!("select state from _crmsync_object where object = '{BIG}'");
        let rows = self.daemon.replica(NAME).try_query(&sql).unwrap_or_default();
        match rows.first().and_then(|row| row.get("state")) {
            Some(Cell::Text(text)) => serde_json::from_str(text).expect("a state is JSON"),
            Some(Cell::Other(_, text)) => serde_json::from_str(text).expect("a state is JSON"),
            _ => Value::Null,
        }
    }
}

/// Moments of one load, in the order in which they come.
fn moments(chance: &mut Chance, pages: u64) -> Vec<Moment> {
    let mut pages: Vec<u64> = (0..EACH).map(|_| 1 + chance.below(pages)).collect();
    pages.sort_unstable();
    pages.dedup();
    let mut out = vec![];
    match chance.below(4) {
        0 => out.push(Moment::Call("bulk_create", 1)),
        1 => out.push(Moment::Call("bulk_look", 1)),
        2 => out.push(Moment::Call("bulk_look", 2)),
        _ => {}
    }
    out.extend(pages.into_iter().map(|n| Moment::Call("bulk_page", n)));
    out
}

/// One load with its kills; how many there were.
fn round(
    bench: &mut Bench,
    chance: &mut Chance,
    hits: &mut BTreeMap<&'static str, usize>,
) -> usize {
    let records = bench.ctl(&["state"])["records"][BIG].as_u64().expect("a count");
    let pages = records.div_ceil(PAGE);
    bench.ctl(&["reset-counters"]);
    bench.ctl(&["slow", &format!("ms={}", 2 + chance.below(15))]);
    bench.begin();
    let (mut kills, mut rows) = (0, 0);
    for Moment::Call(kind, n) in moments(chance, pages) {
        let come = eventually_or(LONG, "the moment comes, or the load is in", || {
            let (count, reason) = (bench.count(kind), bench.daemon.status(NAME)["reason"].clone());
            if count >= n {
                return Ok(true);
            }
            if reason == "idle" {
                Ok(false)
            } else {
                Err(format!("{kind}: {count} of {n}, {reason}"))
            }
        });
        if !come {
            break;
        }
        chance.pause(45_000);
        bench.daemon.kill9();
        kills += 1;
        let has = bench.rows(BIG);
        assert!(has >= rows, "{has} rows after a kill, {rows} before it");
        rows = has;
        *hits.entry(hit(&bench.state(), bench.count("bulk_page"))).or_default() += 1;
        disturb(bench, chance);
        bench.daemon.start_again();
        bench.ring();
    }
    bench.idle();
    let (created, read) = (bench.count("bulk_create"), bench.count("bulk_page"));
    // Records are added between the kills, but a job's result is as of its beginning.
    let more = u64::try_from(kills).expect("a small number");
    assert!(created <= 1 + more, "{created} jobs after {kills} kills");
    let whole = (records + 20 * more).div_ceil(PAGE);
    let lost = if created > 1 { more } else { 0 };
    assert!(read <= whole + more + lost, "{read} pages of {whole} after {kills} kills");
    bench.settle();
    bench.same();
    bench.daemon.replica(NAME).assert_intact();
    kills
}

/// What a daemon was doing, by what it left.
fn hit(state: &Value, asked: u64) -> &'static str {
    let (job, phase) = (&state["job"], &state["phase"]["phase"]);
    let pages = job["pages"].as_u64().unwrap_or(0);
    match (job["stage"]["at"].as_str(), phase.as_str()) {
        (None, None) => "before",
        (None, Some("load")) | (Some("ask"), _) => "create",
        (Some("wait"), _) => "wait",
        (Some("pages"), _) if asked > pages => "in a page",
        (Some("pages"), _) => "between pages",
        (None, Some("follow")) => "after the key",
        other => panic!("what was it doing? {other:?}: {state:#}"),
    }
}

/// The source does not wait for us.
fn disturb(bench: &Bench, chance: &mut Chance) {
    let some = |chance: &mut Chance| (1 + chance.below(20)).to_string();
    bench.ctl(&["touch", BIG, &some(chance)]);
    bench.ctl(&["create", BIG, &some(chance)]);
    bench.ctl(&["delete", BIG, &some(chance)]);
    bench.ctl(&["purge", BIG, &some(chance)]);
    bench.ctl(&["delete", BIG, "3"]);
    bench.ctl(&["undelete", BIG, "2"]);
}
