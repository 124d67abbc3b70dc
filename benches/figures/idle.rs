//! A thousand connections that have nothing to do, and `status` while some of them load.

use crate::floor::OBJECT;
use crate::lab::{self, Lab, size};
use crate::machine::Usage;
use crate::report::{Goal, Report, median, quantile, round};
use crate::support::daemon::{Daemon, raw_bytes};
use crate::support::wait::eventually;
use crmsync_core::schedule::seed;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PERIOD: i64 = 15 * 60;
/// No connection is due for this long from the beginning on.
const FREE: i64 = 10 * 60;

fn unix() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Names of connections whose due times, every fifteen minutes, lie outside the next ten.
fn names(count: usize) -> Vec<String> {
    let from = unix().rem_euclid(PERIOD);
    let milliseconds = u64::try_from(PERIOD * 1000).expect("a positive number");
    let free = |name: &String| {
        let due = i64::try_from(seed(name) % milliseconds).expect("less than a period") / 1000;
        (due - from).rem_euclid(PERIOD) > FREE
    };
    (0..).map(|n| format!("c{n:05}")).filter(free).take(count).collect()
}

fn lab(loads: usize) -> Lab {
    let big = format!("{OBJECT}={}", size("RECORDS", 200_000));
    let mut flags = vec!["--records", "Contact=10"];
    if loads > 0 {
        flags.extend(["--records", &big]);
    }
    Lab::start(&flags)
}

fn config(lab: &Lab, names: &[String], object: &str) -> String {
    let object = [format!("{object} = \"all\"")];
    names.iter().map(|n| lab.connection(n, "every 15m", &object) + "\n").collect()
}

/// Processor time, memory and start of a daemon whose connections are all idle.
pub fn connections(report: &mut Report) {
    let count = size("CONNECTIONS", 1000);
    let begun = unix();
    let names = names(count);
    let lab = lab(0);
    let mut daemon = Daemon::start(&format!("{}{}", lab::head(), config(&lab, &names, "Contact")));
    let work = Instant::now();
    for name in &names {
        lab::authorize(&daemon, name);
    }
    lab::idle(&daemon, count);
    let loaded = work.elapsed().as_secs_f64();
    daemon.stop();

    let mut ready = vec![];
    for _ in 0..size("ROUNDS", 5) {
        ready.push(start(&mut daemon));
        lab::idle(&daemon, count);
        daemon.stop();
    }
    start(&mut daemon);
    lab::idle(&daemon, count);
    let window = Duration::from_secs(size("WINDOW", 60) as u64);
    std::thread::sleep(Duration::from_secs(5)); // what the start has left to do
    let left = FREE - (unix() - begun) - i64::try_from(window.as_secs()).expect("a minute");
    assert!(left > 0, "the connections came due before they were measured: {left} s");
    let pid = daemon.proc().pid();
    lab.sandbox.ctl(&["reset-counters"]);
    let before = Usage::of(pid);
    std::thread::sleep(window); // the measurement itself: a minute of doing nothing
    let after = Usage::of(pid);
    assert_eq!(lab.sandbox.counter("call"), 0, "somebody was not idle");
    let share = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / window.as_secs_f64();
    let beside = json!({ "window_s": window.as_secs(), "authorized_and_loaded_s": round(loaded) });
    report.add(
        &format!("{count} idle connections"),
        Goal::AtMost(0.5),
        share,
        "% of a core",
        beside,
    );
    let peak = json!({ "peak_mb": round(after.peak) });
    report.add(
        &format!("{count} idle connections, memory"),
        Goal::AtMost(100.0),
        after.resident,
        "MB",
        peak,
    );
    let each = json!({ "each": ready.iter().map(|r| round(*r)).collect::<Vec<_>>() });
    report.add(
        &format!("{count} connections, start until ready"),
        Goal::AtMost(1.0),
        median(&ready),
        "s",
        each,
    );
    daemon.stop();
}

/// Seconds until the socket answers.
fn start(daemon: &mut Daemon) -> f64 {
    let begun = Instant::now();
    daemon.launch();
    let socket = daemon.socket();
    eventually(lab::LONG, "the socket answers", || ask(&socket, "/v1/key").ok());
    begun.elapsed().as_secs_f64()
}

/// `status` by the socket while some connections load and the others are idle.
pub fn status(report: &mut Report) {
    let (count, loads) = (size("CONNECTIONS", 1000), 8);
    let names = names(count);
    let mut lab = lab(loads);
    let config = format!(
        "{}{}{}",
        lab::head(),
        config(&lab, &names[loads..], "Contact"),
        config(&lab, &names[..loads], OBJECT)
    );
    yields(lab.sandbox.proc().pid());
    let mut daemon = Daemon::start(&config);
    for name in &names[loads..] {
        lab::authorize(&daemon, name);
    }
    lab::idle(&daemon, count - loads);
    for name in &names[..loads] {
        lab::authorize(&daemon, name);
    }
    let socket = daemon.socket();
    let (mut whole, mut one) = (vec![], vec![]);
    let path = format!("/v1/status?name={}", names[0]);
    loop {
        whole.push(ask(&socket, "/v1/status").expect("an answer"));
        one.push(ask(&socket, &path).expect("an answer"));
        std::thread::sleep(Duration::from_millis(5));
        // asked aside, not counted
        if whole.len() % 100 == 0 && !names[..loads].iter().all(|n| loading(&daemon, n)) {
            break;
        }
    }
    let beside = |values: &[f64]| {
        json!({
            "median_ms": round(median(values)), "most_ms": round(quantile(values, 1.0)), "asked": values.len(),
        })
    };
    let what = format!("status of {count} connections while {loads} load, p99");
    report.add(&what, Goal::AtMost(5.0), quantile(&whole, 0.99), "ms", beside(&whole));
    report.add(
        "the same, of one connection, p99",
        Goal::Told,
        quantile(&one, 0.99),
        "ms",
        beside(&one),
    );
    daemon.kill9();
}

/// The source would have a machine of its own: here it takes what the daemon leaves.
fn yields(pid: u32) {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads of the source");
    let ids = threads.flatten().map(|t| t.file_name());
    let done = Command::new("renice").args(["-n", "10", "-p"]).args(ids).output().expect("renice");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn loading(daemon: &Daemon, name: &str) -> bool {
    daemon.status(name)["reason"] != "idle"
}

/// Milliseconds until the whole answer is here.
fn ask(socket: &Path, path: &str) -> std::io::Result<f64> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: crmsync\r\nConnection: close\r\n\r\n");
    let begun = Instant::now();
    let answer = raw_bytes(socket, request.as_bytes())?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(took);
    }
    Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}
