//! The figures so far, measured with the real programs against the rehearsal server.
//!
//! `make bench` prints a table on stdout and writes the same as JSON to `target/figures.json`.
//! One part of them: `cargo bench --bench figures -- replica|load|poll|idle`. Sizes can be made
//! smaller: `CRMSYNC_BENCH_ROWS`, `CRMSYNC_BENCH_LOAD`, `CRMSYNC_BENCH_IDLE`.
//! Honest means: both ends run on this machine and share its processors, so a load's rate is that
//! of daemon and server together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    clippy::doc_markdown,
    clippy::duration_suboptimal_units,
    clippy::format_push_string,
    clippy::needless_pass_by_value,
    reason = "a measurement that cannot go on panics and says why"
)]

#[path = "../tests/it/support/mod.rs"]
#[allow(unused_imports, reason = "its own tests are not run here")]
mod support;

use crmsync::replica::{self, Change, Mode, Owner, Place};
use crmsync_core::domain::{Batch, BatchBuilder, Field, FieldType, ObjectSchema};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use support::daemon::{Daemon, NOBODY, salesforce};
use support::sandbox::Sandbox;
use support::wait::eventually_or;

/// Measures something and adds what it found.
type Part = fn(&mut Vec<Figure>);

struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
}

fn main() {
    // `cargo test --benches` runs this too; a measurement is only made when asked for.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let parts: [(&str, Part); 4] = [
        ("replica", replica_writes),
        ("load", first_load),
        ("poll", quiet_poll),
        ("idle", idle_connections),
    ];
    let mut figures = Vec::new();
    for (name, part) in parts {
        if !(wanted.is_empty() || wanted.iter().any(|w| w == name)) {
            continue;
        }
        let before = figures.len();
        part(&mut figures);
        for figure in &figures[before..] {
            eprintln!("{}: {:.1} {}", figure.what, figure.value, figure.unit);
        }
    }
    let wide = figures.iter().map(|f| f.what.chars().count()).max().unwrap_or_default();
    for f in &figures {
        println!("{:<wide$}  {:>12.1} {}", f.what, f.value, f.unit);
    }
    let list: Vec<Value> = figures
        .iter()
        .map(|f| json!({ "figure": f.what, "value": f.value, "unit": f.unit }))
        .collect();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let all = json!({ "profile": profile, "processors": processors, "figures": list });
    let path = support::workspace().join("target/figures.json");
    std::fs::write(&path, format!("{all:#}\n")).expect("writing the figures");
    println!("\n{profile} build, {processors} processors; as JSON: target/figures.json");
}

fn size(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}

// ---- the replica alone -------------------------------------------------------------------

const COLUMNS: usize = 30;
const PAGE: usize = 2_000;

fn kind(column: usize) -> FieldType {
    match column % 6 {
        1 => FieldType::Decimal,
        2 => FieldType::DateTime,
        3 => FieldType::Boolean,
        4 => FieldType::Integer,
        _ => FieldType::Text,
    }
}

fn page(first: usize) -> Batch {
    let mut batch = BatchBuilder::new(COLUMNS);
    for n in first..first + PAGE {
        batch.row();
        batch.set(0, &format!("001{n:015}"));
        for column in 1..COLUMNS {
            match kind(column) {
                FieldType::Decimal => batch.set(column, &format!("{n}.{column:02}")),
                FieldType::DateTime => batch.set(column, "2024-02-29T23:59:59.000+0000"),
                FieldType::Boolean => batch.set(column, "false"),
                FieldType::Integer => batch.set(column, &n.to_string()),
                _ => batch.set(column, &format!("text {column} of {n}")),
            }
        }
    }
    batch.finish()
}

fn replica_writes(figures: &mut Vec<Figure>) {
    let rows = size("CRMSYNC_BENCH_ROWS", 200_000);
    let scratch = support::Scratch::new("figures");
    let now = jiff::Timestamp::now();
    let fields: Vec<String> = (0..COLUMNS).map(|i| format!("F{i}")).collect();
    let object = ObjectSchema {
        name: "Thing".into(),
        label: "Thing".into(),
        key: "F0".into(),
        stamp: None,
        deleted_flag: None,
        delete_log: false,
        fields: fields
            .iter()
            .enumerate()
            .map(|(i, name)| Field {
                name: name.clone(),
                label: name.clone(),
                kind: kind(i),
                source_type: String::new(),
                calculated: false,
            })
            .collect(),
    };
    let mut replica = replica::open(&Place::File(scratch.path().join("figures.db")), "figures")
        .expect("a replica");
    let owner = Owner {
        provider: "bench".into(),
        org_id: "bench".into(),
        connection: "bench".into(),
        epoch: 1,
    };
    replica.claim(&owner).expect("claiming it");
    replica.lay_out(&object, &fields, now).expect("a table");
    let pages: Vec<Batch> = (0..rows / PAGE).map(|n| page(n * PAGE)).collect();
    for what in ["written", "re-read without change"] {
        let begin = Instant::now();
        for (n, batch) in pages.iter().enumerate() {
            let state = n.to_string();
            let write = Change::Rows {
                object: "Thing",
                fields: &fields,
                batch,
                mode: Mode::Upsert,
                at: now,
            };
            let done = replica.write(&[write, Change::State { object: "Thing", state: &state }]);
            done.expect("writing a page");
        }
        figures.push(Figure {
            what: format!("replica: rows of {COLUMNS} columns {what} ({rows})"),
            value: rows as f64 / begin.elapsed().as_secs_f64(),
            unit: "rows/s",
        });
    }
}

// ---- a first load ------------------------------------------------------------------------

fn first_load(figures: &mut Vec<Figure>) {
    let rows = size("CRMSYNC_BENCH_LOAD", 50_000);
    let records = format!("Account={rows}");
    let sandbox = Sandbox::start(&["--records", &records, "--quota-max", "1000000"]);
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\nAccount = \"all\"\n",
        salesforce("sf", &sandbox, "every 1h")
    );
    let mut daemon = Daemon::start(&config);
    let begin = Instant::now();
    daemon.authorize("sf", &sandbox);
    idle(&daemon, 1);
    let took = begin.elapsed().as_secs_f64();
    let loaded = daemon.replica("sf").number("SELECT count(*) FROM account");
    assert_eq!(usize::try_from(loaded), Ok(rows), "rows loaded");
    figures.push(Figure {
        what: format!("first load by REST, authorization included ({rows} accounts)"),
        value: rows as f64 / took,
        unit: "rows/s",
    });
    figures.push(Figure {
        what: "memory of the daemon after it".into(),
        value: memory(daemon.proc().pid()),
        unit: "MB",
    });
    daemon.stop();
}

// ---- a poll that finds nothing -----------------------------------------------------------

fn quiet_poll(figures: &mut Vec<Figure>) {
    let names: Vec<String> = (1..=20).map(|n| format!("Thing{n:02}__c")).collect();
    let records: Vec<String> = names.iter().map(|n| format!("{n}=10")).collect();
    let mut flags = Vec::new();
    for records in &records {
        flags.extend(["--records", records]);
    }
    let sandbox = Sandbox::start(&flags);
    let mut config =
        format!("{NOBODY}{}\n[connections.sf.objects]\n", salesforce("sf", &sandbox, "every 5s"));
    for name in &names {
        let _ = writeln!(config, "{name} = \"all\"");
    }
    let mut daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    idle(&daemon, 1);
    // A scheduled one: a person's `sync` describes the source again, which costs a call more. The
    // first after the load may still have deletes to settle.
    next_run(&daemon);
    next_run(&daemon);
    sandbox.ctl(&["reset-counters"]);
    let run = next_run(&daemon);
    assert_eq!(sandbox.counter("sub:query_all"), 20, "one poll of each: {}", sandbox.counters());
    figures.push(Figure {
        what: "a scheduled poll of 20 objects without change: calls".into(),
        value: sandbox.counter("call") as f64,
        unit: "calls",
    });
    let time = |key: &str| run[key].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let took = time("ended").expect("an end").duration_since(time("started").expect("a start"));
    figures.push(Figure {
        what: "a scheduled poll of 20 objects without change: time".into(),
        value: took.as_secs_f64() * 1000.0,
        unit: "ms",
    });
    daemon.stop();
}

/// Waits for the end of the next run; its line.
fn next_run(daemon: &Daemon) -> Value {
    let last = || daemon.detail("sf")["runs"][0].clone();
    let name = |run: &Value| (run["id"].clone(), run["repeated"].clone());
    let before = name(&last());
    eventually_or(Duration::from_secs(60), "the next run ends", || {
        let run = last();
        if name(&run) == before { Err(run.to_string()) } else { Ok(run) }
    })
}

// ---- connections that do nothing ---------------------------------------------------------

fn idle_connections(figures: &mut Vec<Figure>) {
    let count = size("CRMSYNC_BENCH_IDLE", 1_000);
    let sandbox = Sandbox::start(&["--records", "Account=10", "--quota-max", "1000000"]);
    let secrets = support::Scratch::new("figures");
    let secret = secrets.write("client.secret", &sandbox.client_secret);
    let mut config = NOBODY.to_owned();
    for n in 0..count {
        let name = format!("c{n:04}");
        let _ = writeln!(
            config,
            "{}auth = \"client-credentials\"\nclient_secret = {{ file = {:?} }}\n\n[connections.{name}.objects]\nAccount = \"all\"\n",
            salesforce(&name, &sandbox, "every 12h"),
            secret.display().to_string()
        );
    }
    let begin = Instant::now();
    let mut daemon = Daemon::start(&config);
    figures.push(Figure {
        what: format!("start with {count} connections"),
        value: begin.elapsed().as_secs_f64() * 1000.0,
        unit: "ms",
    });
    let begin = Instant::now();
    for n in 0..count {
        let path = format!("/v1/connections/c{n:04}/reauthorize");
        daemon.api("POST", &path, Some(&json!({}))).ok();
    }
    idle(&daemon, count);
    figures.push(Figure {
        what: format!("{count} connections authorized and loaded (10 rows each)"),
        value: begin.elapsed().as_secs_f64(),
        unit: "s",
    });
    let pid = daemon.proc().pid();
    let before = ticks(pid);
    let window = Duration::from_secs(10);
    std::thread::sleep(window); // the measurement itself: ten seconds of doing nothing
    let used = (ticks(pid) - before) as f64 * 1000.0 / USER_HZ;
    figures.push(Figure {
        what: format!("{count} idle connections: processor time in 10 s"),
        value: used,
        unit: "ms",
    });
    figures.push(Figure {
        what: format!("{count} idle connections: memory"),
        value: memory(pid),
        unit: "MB",
    });
    daemon.stop();
}

// ---- looking -----------------------------------------------------------------------------

/// Waits until so many connections are idle.
fn idle(daemon: &Daemon, wanted: usize) {
    eventually_or(Duration::from_secs(900), "all connections are idle", || {
        let status = daemon.api("GET", "/v1/status", None).ok();
        let all = status["connections"].as_array().cloned().unwrap_or_default();
        let idle = all.iter().filter(|c| c["reason"] == "idle").count();
        if idle == wanted { Ok(()) } else { Err(format!("{idle} of {wanted}")) }
    });
}

/// Resident memory in MB.
fn memory(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).expect("its memory");
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap_or("0").parse().expect("a number");
    kilobytes / 1024.0
}

/// Unit of `/proc/PID/stat` on Linux, on every architecture that Debian has.
const USER_HZ: f64 = 100.0;

/// Processor time, user and system, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its stat");
    let after = text.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}
