//! What following costs: a poll that finds nothing, one that finds a thousand changes, and how
//! soon the rows of a job are there that took its time.

use crate::floor::{Job, OBJECT};
use crate::lab::{self, LONG, Lab, by_kind, seconds, size};
use crate::load::config;
use crate::machine::Usage;
use crate::report::{Goal, Report, median, round, rounds};
use crate::support::daemon::Daemon;
use crate::support::wait::eventually_or;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Twenty objects of which none has changed: calls and processor time of a scheduled poll.
pub fn quiet(report: &mut Report) {
    let polls = size("POLLS", 20);
    let names: Vec<String> = (1..=20).map(|n| format!("Thing{n:02}__c")).collect();
    let records: Vec<String> = names.iter().map(|n| format!("{n}=100")).collect();
    let mut flags = Vec::new();
    for records in &records {
        flags.extend(["--records", records]);
    }
    let lab = Lab::start(&flags);
    let objects: Vec<String> = names.iter().map(|name| format!("{name} = \"all\"")).collect();
    let mut daemon =
        Daemon::start(&format!("{}{}", lab::head(), lab.connection("sf", "every 3s", &objects)));
    lab::authorize(&daemon, "sf");
    lab::idle(&daemon, 1);
    until_quiet(&daemon);
    lab.sandbox.ctl(&["reset-counters"]);
    let pid = daemon.proc().pid();
    let before = Usage::of(pid);
    // one after the other, watched from the sandbox's side: looking at the daemon would cost it
    for n in 1..=polls {
        lab.sandbox.wait_counter("call", 4 * n as u64);
    }
    let used = Usage::of(pid).cpu.saturating_sub(before.cpu);
    let calls = lab.sandbox.counter("call");
    let kinds = by_kind(&lab.calls());
    report.add(
        "poll of 20 objects without change",
        Goal::AtMost(4.0),
        calls as f64 / polls as f64,
        "calls",
        json!({ "polls": polls, "kinds": format!("{kinds:?}") }),
    );
    report.add(
        "the same, processor time of the daemon",
        Goal::AtMost(20.0),
        used.as_secs_f64() * 1000.0 / polls as f64,
        "ms",
        json!({}),
    );
    daemon.stop();
}

/// The first polls after a load have deletes to settle.
fn until_quiet(daemon: &Daemon) {
    eventually_or(LONG, "polls that find nothing", || {
        let run = last(daemon);
        if run["repeated"].as_u64() >= Some(3) { Ok(()) } else { Err(run.to_string()) }
    });
}

fn last(daemon: &Daemon) -> Value {
    daemon.detail("sf")["runs"][0].clone()
}

fn time(run: &Value, key: &str) -> Timestamp {
    run[key].as_str().and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("no {key}: {run}"))
}

fn took(run: &Value) -> f64 {
    seconds(time(run, "started"), time(run, "ended"))
}

/// A thousand of two hundred thousand have changed.
pub fn changed(report: &mut Report) {
    let (records, changes) = (size("RECORDS", 200_000), size("CHANGED", 1_000));
    let lab = Lab::start(&["--records", &format!("{OBJECT}={records}")]);
    // a wish of a person would describe the source again, which costs a call: scheduled polls
    let config = config(&lab, &["sf".to_owned()]).replace("every 12h", "every 5s");
    let mut daemon = Daemon::start(&config);
    lab::authorize(&daemon, "sf");
    lab::loaded(&daemon, "sf", OBJECT);
    until_quiet(&daemon);
    let (mut times, mut calls) = (vec![], vec![]);
    for _ in 0..size("ROUNDS", 5) {
        until_quiet(&daemon);
        lab.sandbox.ctl(&["reset-counters"]);
        lab.sandbox.ctl(&["touch", OBJECT, &changes.to_string()]);
        let run = eventually_or(LONG, "the changes are here", || {
            let run = last(&daemon);
            if run["changed"] == changes { Ok(run) } else { Err(run.to_string()) }
        });
        let of_run: Vec<_> = lab
            .calls()
            .into_iter()
            .filter(|c| c.started >= time(&run, "started") && c.started <= time(&run, "ended"))
            .collect();
        times.push(took(&run));
        calls.push(of_run.iter().map(|c| c.cost).sum::<u64>() as f64);
    }
    let what = format!("{changes} changed of {records}");
    let each = json!({ "each": rounds(&times) });
    report.add(&what, Goal::AtMost(0.3), median(&times), "s", each);
    let each = json!({ "each": calls });
    report.add(&format!("{what}, calls"), Goal::AtMost(2.0), median(&calls), "calls", each);
    daemon.stop();
}

/// A job that takes two seconds: how long after its completion the rows are committed, less what
/// `curl` needs to carry them.
pub fn latency(report: &mut Report) {
    let records = size("LATE", 50_000);
    let lab = Lab::start(&["--records", &format!("{OBJECT}={records}")]);
    let transfer = Job::finish(&lab, records).sqlite(report).curl.as_secs_f64();
    lab.sandbox.ctl(&["bulk-latency", "2"]);
    let mut late = vec![];
    for _ in 0..size("ROUNDS", 5) {
        let mut daemon = Daemon::start(&config(&lab, &["sf".to_owned()]));
        lab.sandbox.ctl(&["reset-counters"]);
        lab::authorize(&daemon, "sf");
        let end = lab::loaded(&daemon, "sf", OBJECT);
        let calls = lab.calls();
        let made = calls.iter().find(|c| c.kind == "bulk_create").expect("a job").finished;
        late.push(seconds(made, end) - 2.0 - transfer);
        daemon.stop();
    }
    report.add(
        &format!("a job of 2 s ({records} records): rows committed after it"),
        Goal::AtMost(1.0),
        median(&late),
        "s",
        json!({ "transfer_s": round(transfer), "each": rounds(&late) }),
    );
}
