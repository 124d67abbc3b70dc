//! First loads: against the floor in one run in turn, ten times the records, memory, calls.
//!
//! Two times of ours are told: the whole, from the wish until the object is loaded, and from the
//! look that found the job complete, where the floor begins as well. The ratio is of the second.

use crate::floor::{FIELDS, Job, OBJECT};
use crate::lab::{self, Call, Lab, by_kind, seconds, size};
use crate::machine::Usage;
use crate::report::{Goal, Report, median, round, rounds};
use crate::support::daemon::Daemon;
use crate::support::postgres::{Database, Server};
use crate::support::replica::Place;
use crate::support::values::Engine;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;

const NAME: &str = "sf";
/// Peak memory of the daemon in MB, whatever is loaded.
const PEAK: f64 = 48.0;
/// A record of ten times as many may cost so much more.
const GROWTH: f64 = 1.15;

/// First loads into SQLite beside its floor.
pub fn sqlite(report: &mut Report) {
    against_the_floor(report, Engine::Sqlite, 0.6);
}

/// First loads into PostgreSQL beside its floor.
pub fn postgres(report: &mut Report) {
    against_the_floor(report, Engine::Postgres, 0.9);
}

/// Ten times the records into SQLite.
pub fn sqlite_many(report: &mut Report) {
    many(report, Engine::Sqlite);
}

/// Ten times the records into PostgreSQL.
pub fn postgres_many(report: &mut Report) {
    many(report, Engine::Postgres);
}

/// What one load took and used.
pub struct Load {
    /// Seconds from the wish to the loaded object.
    whole: f64,
    /// Seconds from the look that found the job complete to the committed, keyed table.
    from_job: f64,
    /// Seconds from the request for the first page.
    from_page: f64,
    /// Processor seconds of the daemon, its start included.
    cpu: f64,
    /// Peak memory in MB.
    peak: f64,
    calls: BTreeMap<String, u64>,
}

/// A database server for a part, and a fresh place for each load.
pub struct Bed {
    server: Option<Server>,
}

impl Bed {
    /// With a server of its own settings, the usual ones, where one is needed.
    pub fn new(engine: Engine) -> Self {
        let server = (engine == Engine::Postgres).then(|| Server::start(&[]));
        Self { server }
    }

    /// A place that is taken away afterwards: two million rows are not kept five times.
    pub fn with<T>(&self, work: impl FnOnce(Option<Database>) -> T) -> T {
        settle();
        let Some(server) = &self.server else { return work(None) };
        let database = server.create();
        let result = work(Some(database.clone()));
        server.drop_database(&database);
        result
    }
}

/// What others have written to the disk is not to be waited for by whoever comes next.
fn settle() {
    let _ = Command::new("sync").status();
}

/// Where the replicas of a load are to be.
pub fn place(database: Option<Database>) -> Place {
    database.map_or(Place::Files, Place::Postgres)
}

fn orders() -> [&'static str; 2] {
    ["ascending", "shuffled"]
}

fn source(records: usize, order: &str) -> Lab {
    Lab::start(&["--records", &format!("{OBJECT}={records}"), "--order", order])
}

/// As people call it.
pub fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "PostgreSQL",
    }
}

/// The configuration of a load: those thirty fields of the object.
pub fn config(lab: &Lab, names: &[String]) -> String {
    let fields: Vec<String> = FIELDS.iter().map(|f| format!("\"{f}\"")).collect();
    let object = format!("{OBJECT} = {{ fields = [{}] }}", fields.join(", "));
    let each = names.iter().map(|n| lab.connection(n, "every 12h", std::slice::from_ref(&object)));
    format!("{}{}", lab::head(), each.collect::<Vec<_>>().join("\n"))
}

/// One load by a daemon of its own.
fn load(lab: &Lab, place: Place, records: usize) -> Load {
    let mut daemon = Daemon::start_in(place, &config(lab, &[NAME.to_owned()]));
    lab.sandbox.ctl(&["reset-counters"]);
    let pid = daemon.proc().pid();
    let begun = Timestamp::now();
    lab::authorize(&daemon, NAME);
    lab::loaded(&daemon, NAME, OBJECT);
    let used = Usage::of(pid);
    lab::idle(&daemon, 1);
    let calls = lab.calls();
    let peak = Usage::of(pid).peak;
    let rows = daemon.replica(NAME).number("SELECT count(*) FROM account");
    assert_eq!(usize::try_from(rows), Ok(records), "rows loaded");
    daemon.stop();
    let (complete, asked, end) = moments(&calls);
    let end = end.expect("a call after the last page");
    Load {
        whole: seconds(begun, end),
        from_job: seconds(complete.unwrap_or(begun), end),
        from_page: seconds(asked.unwrap_or(begun), end),
        cpu: used.cpu.as_secs_f64(),
        peak,
        calls: by_kind(&calls),
    }
}

/// When the look was sent that found the job complete, when its first page was asked for, and when
/// the load was committed with its key: the first increment is asked for at once after that.
fn moments(calls: &[Call]) -> (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) {
    let last = |kind: &str| calls.iter().rfind(|c| c.kind == kind);
    let asked = calls.iter().find(|c| c.kind == "bulk_page").map(|c| c.started);
    let end = last("bulk_page").and_then(|page| {
        let after = calls.iter().filter(|c| c.started >= page.finished);
        after.map(|c| c.started).min()
    });
    (last("bulk_look").map(|c| c.started), asked, end)
}

fn against_the_floor(report: &mut Report, engine: Engine, goal: f64) {
    let records = size("RECORDS", 200_000);
    let rounds_wanted = size("ROUNDS", 5);
    for order in orders() {
        let lab = source(records, order);
        let job = Job::finish(&lab, records);
        let bed = Bed::new(engine);
        let (mut floors, mut loads, mut bytes) = (vec![], vec![], 0);
        for _ in 0..rounds_wanted {
            let floor = bed.with(|database| match database {
                None => job.sqlite(report),
                Some(database) => job.postgres(report, &database),
            });
            bytes = floor.bytes;
            floors.push((floor.seconds(), floor.curl.as_secs_f64()));
            loads.push(bed.with(|database| load(&lab, place(database), records)));
        }
        let name = engine_name(engine);
        let floor: Vec<f64> = floors.iter().map(|f| f.0).collect();
        let curl: Vec<f64> = floors.iter().map(|f| f.1).collect();
        let from_job: Vec<f64> = loads.iter().map(|l| l.from_job).collect();
        let of = |f: fn(&Load) -> f64| median(&loads.iter().map(f).collect::<Vec<_>>());
        report.add(
            &format!("first load of {records} x 30 into {name}, {order}"),
            Goal::AtMost(goal),
            median(&from_job) / median(&floor),
            "x floor",
            json!({
                "ours_s": round(median(&from_job)), "floor_s": round(median(&floor)),
                "floor's_curl_s": round(median(&curl)), "whole_s": round(of(|l| l.whole)),
                "from_first_page_s": round(of(|l| l.from_page)), "cpu_s": round(of(|l| l.cpu)),
                "csv_mb": round(bytes_mb(bytes)),
                "each_ours": rounds(&from_job), "each_floor": rounds(&floor),
            }),
        );
        tell_peak(report, &format!("{records} into {name}, {order}"), &loads);
        tell_calls(
            report,
            &format!("first load of {records} into {name}, {order}"),
            records,
            &loads,
        );
    }
}

#[allow(clippy::cast_precision_loss, reason = "a file is no exabyte")]
fn bytes_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn tell_peak(report: &mut Report, what: &str, loads: &[Load]) {
    let peaks: Vec<f64> = loads.iter().map(|l| l.peak).collect();
    let most = peaks.iter().copied().fold(0.0, f64::max);
    let each = json!({ "each": rounds(&peaks) });
    report.add(&format!("peak memory, {what}"), Goal::AtMost(PEAK), most, "MB", each);
}

/// Rows that one page of a job brings at most.
const PAGE: usize = 100_000;

/// Calls of the job against one create, its looks and the pages that so many rows need; those of
/// the connection (identity, limits, describe, sizes, counts, the first increment) are listed.
#[allow(clippy::cast_precision_loss, reason = "few calls")]
fn tell_calls(report: &mut Report, what: &str, records: usize, loads: &[Load]) {
    let calls = &loads[0].calls;
    let of = |kind: &str| calls.get(kind).copied().unwrap_or(0);
    let needed = 1 + of("bulk_look") + records.div_ceil(PAGE) as u64;
    let job: u64 = calls.iter().filter(|(k, _)| k.starts_with("bulk_")).map(|(_, n)| n).sum();
    let each: Vec<String> = calls.iter().map(|(kind, n)| format!("{kind}={n}")).collect();
    report.add(
        &format!("calls, {what}"),
        Goal::AtMost(needed as f64),
        job as f64,
        "calls",
        json!({ "create": of("bulk_create"), "looks": of("bulk_look"), "pages": of("bulk_page"), "all": each.join(" ") }),
    );
}

fn many(report: &mut Report, engine: Engine) {
    let (few, many) = (size("RECORDS", 200_000), size("MANY", 2_000_000));
    let rounds_wanted = size("ROUNDS", 5);
    for order in orders() {
        let (small, large) = (source(few, order), source(many, order));
        let bed = Bed::new(engine);
        let (mut of_few, mut of_many) = (vec![], vec![]);
        for _ in 0..rounds_wanted {
            of_few.push(bed.with(|database| load(&small, place(database), few)));
            of_many.push(bed.with(|database| load(&large, place(database), many)));
        }
        let each = |loads: &[Load]| loads.iter().map(|l| l.from_job).collect::<Vec<_>>();
        let (times_few, times_many) = (each(&of_few), each(&of_many));
        let name = engine_name(engine);
        let growth = per_record(median(&times_many), many) / per_record(median(&times_few), few);
        report.add(
            &format!("{many} x 30 into {name}, {order}, per record"),
            Goal::AtMost(GROWTH),
            growth,
            "x",
            json!({
                "many_s": round(median(&times_many)), "few_s": round(median(&times_few)), "few": few,
                "each_many": rounds(&times_many), "each_few": rounds(&times_few),
            }),
        );
        tell_peak(report, &format!("{many} into {name}, {order}"), &of_many);
        tell_calls(report, &format!("first load of {many} into {name}, {order}"), many, &of_many);
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_record(seconds: f64, records: usize) -> f64 {
    seconds / records as f64
}
