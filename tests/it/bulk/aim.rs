//! kill -9 at chosen stages of a reading by a bulk job, at a drawn moment within the stage.
//!
//! A stage is reached by what the source sees: a call that it holds back, a page that was asked
//! for, an answer that has left. What was hit is read from what the dead daemon left, and counted.

use super::{BIG, Bench, LONG, NAME};
use crate::support::chance::Chance;
use crate::support::values::Cell;
use crate::support::wait::eventually_or;
use serde_json::Value;
use std::collections::BTreeMap;

/// How often each stage was hit.
pub(super) type Hits = BTreeMap<&'static str, usize>;

/// Where a kill is meant to fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    /// The source has made the job, and nobody here knows its name yet.
    Create,
    /// The job is waited for, or its name is being stored.
    Wait,
    /// It was looked at, and the answer is on its way.
    Look,
    /// The n-th page from here is fetched and written.
    Page(u64),
    /// It is committed, and the next one asked for.
    Between(u64),
    /// The last page has left the source: rows, key and the state behind it are one transaction.
    Last,
    /// Changes are merged.
    Merge,
    /// At any time.
    Any,
}

const RESULTS: &str = "path=/results";

impl Aim {
    /// What has to be so before the daemon goes on.
    fn arm(self, bench: &Bench) {
        match self {
            Self::Create => bench.ctl(&["act-then", "hold", "path=/jobs/query"]),
            Self::Look => bench.ctl(&["act-then", "hold", "path=/jobs/query/"]),
            Self::Last => bench.ctl(&["bulk-page-rows", "off"]),
            Self::Merge => bench.ctl(&["touch", BIG, "3500"]),
            Self::Wait | Self::Page(_) | Self::Between(_) | Self::Any => Value::Null,
        };
    }

    /// Waits for the moment; false where the work was over before it came.
    fn reach(self, bench: &Bench, chance: &mut Chance, before: &Seen, done: Done<'_>) -> bool {
        // The source tells at once; whether all is over is asked only now and then.
        let comes = |kind: &str, count: u64| {
            eventually_or(LONG, &format!("{self:?}: {kind} {count}"), || {
                let (kind, count) = (format!("kind={kind}"), format!("count={count}"));
                let said = bench.ctl(&["wait", &kind, &count, "timeout=0.5"]);
                let come = said["reached"] == true;
                if come || done(bench) { Ok(come) } else { Err(said.to_string()) }
            })
        };
        let (come, within) = match self {
            Self::Create | Self::Look => (comes("held", before.held + 1), 3_000),
            Self::Wait => (comes("bulk_create", 1), 300_000),
            Self::Page(n) => (comes("bulk_page", before.pages + n), 45_000),
            Self::Between(n) => {
                let come = comes("bulk_page", before.pages + n);
                bench.ctl(&["act-then", "hold", RESULTS, "when=before"]);
                (come && comes("held", before.held + 1), 3_000)
            }
            Self::Last => {
                let come = comes("bulk_page", before.pages + 1);
                eventually_or(LONG, "the last page has left", || {
                    let now = Seen::of(bench);
                    if now.calls == now.finished { Ok(()) } else { Err(format!("{now:?}")) }
                });
                (come, 60_000)
            }
            Self::Merge => (comes("sub:query_all", before.changes + 1), 150_000),
            Self::Any => (true, 1_200_000),
        };
        if come {
            chance.pause(within);
        }
        come
    }
}

/// Whether what is being killed is over.
pub(super) type Done<'a> = &'a dyn Fn(&Bench) -> bool;

/// What the source has seen so far.
#[derive(Debug)]
struct Seen {
    jobs: u64,
    pages: u64,
    changes: u64,
    held: u64,
    calls: u64,
    finished: u64,
    /// The source's clock, in seconds.
    at: i64,
}

impl Seen {
    fn of(bench: &Bench) -> Self {
        let all = bench.sandbox.counters();
        let count = |kind: &str| all[kind].as_u64().unwrap_or(0);
        Self {
            jobs: count("bulk_create"),
            pages: count("bulk_page"),
            changes: count("sub:query_all"),
            held: count("held"),
            calls: count("call"),
            finished: count("finished"),
            at: bench.now().as_second(),
        }
    }
}

/// Starts the work, kills it at each of these, and lets it go on for the last time; how many kills
/// there were. `check` sees the dead daemon's copy after each.
pub(super) fn through(
    bench: &mut Bench,
    chance: &mut Chance,
    aims: &[Aim],
    (start, done): (&dyn Fn(&Bench), Done<'_>),
    hits: &mut Hits,
    check: &mut dyn FnMut(&Bench, &mut Chance),
) -> usize {
    let (mut kills, mut lost) = (0, 0);
    for (n, aim) in aims.iter().enumerate() {
        // Only calls of the daemon are counted, and it is away or has not begun.
        let before = Seen::of(bench);
        aim.arm(bench);
        if n == 0 {
            start(bench);
        } else {
            bench.daemon.start_again();
            bench.ring();
        }
        if !aim.reach(bench, chance, &before, done) {
            disarm(bench);
            return kills;
        }
        bench.daemon.kill9();
        kills += 1;
        disarm(bench);
        let (state, seen) = (state(bench), Seen::of(bench));
        let asked = seen.pages.saturating_sub(state["job"]["pages"].as_u64().unwrap_or(0));
        *hits.entry(hit((*aim, &before), &state, &seen, asked > lost)).or_default() += 1;
        lost = asked;
        check(bench, chance);
    }
    bench.daemon.start_again();
    bench.ring();
    kills
}

/// Nothing is held back any more, and pages are as long as before.
fn disarm(bench: &Bench) {
    let slow = bench.ctl(&["state"])["faults"]["slow_ms"].as_u64().unwrap_or(0);
    bench.ctl(&["clear-faults"]);
    bench.ctl(&["slow", &format!("ms={slow}")]);
    bench.ctl(&["release"]);
    bench.ctl(&["bulk-page-rows", &super::kills::PAGE.to_string()]);
}

/// The object's state as it is committed.
pub(super) fn state(bench: &Bench) -> Value {
    let sql = format!("select state from _crmsync_object where object = '{BIG}'");
    let rows = bench.daemon.replica(NAME).try_query(&sql).unwrap_or_default();
    match rows.first().and_then(|row| row.get("state")) {
        Some(Cell::Text(text) | Cell::Other(_, text)) => {
            serde_json::from_str(text).expect("a state is JSON")
        }
        _ => Value::Null,
    }
}

/// What a daemon was doing, by what it left. `asked`: a page was asked for and is not here.
fn hit((aim, before): (Aim, &Seen), state: &Value, seen: &Seen, asked: bool) -> &'static str {
    let (job, phase) = (&state["job"], &state["phase"]);
    match (job["stage"]["at"].as_str(), phase["phase"].as_str()) {
        (Some("wait"), _) if aim == Aim::Look => "look",
        (Some("wait"), _) => "wait",
        (Some("pages"), _) if asked && aim == Aim::Last => "last page and key",
        (Some("pages"), _) if asked => "in a page",
        (Some("pages"), _) => "between pages",
        (None | Some("ask"), _) if aim == Aim::Create => "create",
        (Some("read"), _) => "end of a sweep",
        (Some("ask"), _) | (None, Some("load")) if seen.jobs > 0 => "name of the job",
        (Some("ask") | None, None | Some("load")) => "before",
        (None, Some("follow")) if phase["settled"] == false => "first increment",
        (None, Some("follow")) if !phase["window"].is_null() => "increment, in its pages",
        (None, Some("follow")) if covered(phase) < before.at => "increment",
        (None, Some("follow")) => "after it",
        other => panic!("what was it doing? {other:?}: {state:#}"),
    }
}

fn covered(phase: &Value) -> i64 {
    let time = phase["covered"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_second)
}
