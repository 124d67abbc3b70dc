//! kill -9 at drawn moments of bulk loads, while the source changes: the load goes on where it was,
//! no page is fetched more often than kills explain, and in the end the copy equals its source,
//! value by value.

use super::aim::{Aim, Hits, state, through};
use super::{BIG, Bench, config, on_both};
use crate::support::chance::{Chance, times};
use crate::support::daemon::Daemon;
use crate::support::loud;
use crate::support::replica::Place;
use crate::support::values::Engine;
use serde_json::Value;

on_both!(killed_at_any_moment);

/// Rows of a page.
pub(super) const PAGE: u64 = 600;
/// What a sample must have hit: these are held until the kill.
const SURE: [&str; 3] = ["create", "look", "between pages"];
/// What many kills must have hit besides.
const LIKELY: [&str; 5] =
    ["wait", "in a page", "last page and key", "first increment", "increment"];

fn killed_at_any_moment(engine: Engine) {
    let mut chance = Chance::new(&format!("bulk kills, {engine:?}"), 11);
    let wanted = times(12, 200);
    let Some(mut bench) = Bench::big(engine, PAGE) else { return };
    let mut hits = Hits::new();
    let (mut kills, mut rounds) = (0, 0);
    while kills < wanted {
        if rounds > 0 {
            bench.fresh(engine);
        }
        kills += round(rounds, &mut bench, &mut chance, &mut hits);
        rounds += 1;
        assert!(rounds <= wanted, "the kills miss too often: {hits:?}");
    }
    loud(&format!("bulk kills, {engine:?}: {kills} in {rounds} loads: {hits:?}"));
    let must = if wanted < 100 { &SURE[..] } else { &[&SURE[..], &LIKELY[..]].concat() };
    for stage in must {
        assert!(hits.contains_key(stage), "{stage} was never hit: {hits:?}");
    }
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
}

/// Moments of one load, in the order in which they come; two loads have each kind.
fn aims(round: usize, chance: &mut Chance) -> Vec<Aim> {
    let mut out =
        if round.is_multiple_of(2) { vec![Aim::Create, Aim::Look] } else { vec![Aim::Wait] };
    let page = |chance: &mut Chance| Aim::Page(1 + chance.below(3));
    out.push(page(chance));
    out.push(if round.is_multiple_of(2) { Aim::Between(1 + chance.below(3)) } else { Aim::Any });
    if chance.below(2) == 0 {
        out.push(page(chance));
    }
    out.extend([Aim::Last, Aim::Merge]);
    out
}

/// One load with its kills, and some of the increments behind it; how many there were.
fn round(n: usize, bench: &mut Bench, chance: &mut Chance, hits: &mut Hits) -> usize {
    let records = bench.ctl(&["state"])["records"][BIG].as_u64().expect("a count");
    bench.ctl(&["reset-counters"]);
    bench.ctl(&["bulk-latency", "0.5"]);
    bench.ctl(&["slow", &format!("ms={}", 2 + chance.below(15))]);
    let aims = aims(n, chance);
    let mut rows = 0;
    let mut check = |bench: &Bench, chance: &mut Chance| {
        let has = bench.rows(BIG);
        assert!(has >= rows, "{has} rows after a kill, {rows} before it");
        rows = has;
        disturb(bench, chance);
    };
    let loaded = |bench: &Bench| state(bench)["phase"]["settled"] == true;
    let kills = through(bench, chance, &aims, (&Bench::begin, &loaded), hits, &mut check);
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

    let increment = vec![Aim::Merge; times(1, 2)];
    let mut check = |bench: &Bench, chance: &mut Chance| disturb(bench, chance);
    let never = |_: &Bench| false;
    let more = through(bench, chance, &increment, (&Bench::ring, &never), hits, &mut check);
    bench.settle();
    bench.same();
    bench.daemon.replica(super::NAME).assert_intact();
    assert_eq!(bench.object(BIG)["trouble"], Value::Null);
    kills + more
}

/// The source does not wait for us.
pub(super) fn disturb(bench: &Bench, chance: &mut Chance) {
    let some = |chance: &mut Chance| (1 + chance.below(20)).to_string();
    bench.ctl(&["touch", BIG, &some(chance)]);
    bench.ctl(&["create", BIG, &some(chance)]);
    bench.ctl(&["delete", BIG, &some(chance)]);
    bench.ctl(&["purge", BIG, &some(chance)]);
    bench.ctl(&["delete", BIG, "3"]);
    bench.ctl(&["undelete", BIG, "2"]);
}
