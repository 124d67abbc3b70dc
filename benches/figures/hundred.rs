//! A hundred connections that load at once, against one: records for each second of processor
//! time, and memory.

use crate::floor::OBJECT;
use crate::lab::{self, Lab, size};
use crate::load::{Bed, config, engine_name, place};
use crate::machine::Usage;
use crate::report::{Goal, Report, median, round, rounds};
use crate::support::daemon::Daemon;
use crate::support::replica::Place;
use crate::support::values::Engine;
use serde_json::json;

/// Share of a single connection's records per processor second that must be left.
const SHARE: f64 = 0.8;
const PEAK: f64 = 100.0;

/// Into files.
pub fn sqlite(report: &mut Report) {
    hundred(report, Engine::Sqlite);
}

/// Into schemas of one database.
pub fn postgres(report: &mut Report) {
    hundred(report, Engine::Postgres);
}

/// Records per processor second, and peak memory.
fn load(lab: &Lab, place: Place, connections: usize, records: usize) -> (f64, f64) {
    let names: Vec<String> = (0..connections).map(|n| format!("c{n:03}")).collect();
    let mut daemon = Daemon::start_in(place, &config(lab, &names));
    let pid = daemon.proc().pid();
    let before = Usage::of(pid);
    for name in &names {
        lab::authorize(&daemon, name);
    }
    lab::idle(&daemon, connections);
    let after = Usage::of(pid);
    for name in &names {
        let rows = daemon.replica(name).number("SELECT count(*) FROM account");
        assert_eq!(usize::try_from(rows), Ok(records), "rows of {name}");
    }
    daemon.stop();
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    ((connections * records) as f64 / cpu, after.peak)
}

fn hundred(report: &mut Report, engine: Engine) {
    let (connections, each) = (size("LOADS", 100), size("EACH", 10_000));
    let single = size("RECORDS", 200_000);
    let small = Lab::start(&["--records", &format!("{OBJECT}={each}")]);
    let large = Lab::start(&["--records", &format!("{OBJECT}={single}")]);
    let bed = Bed::new(engine);
    let (mut all, mut one, mut peaks) = (vec![], vec![], vec![]);
    for _ in 0..size("ROUNDS", 5) {
        let (rate, _) = bed.with(|database| load(&large, place(database), 1, single));
        one.push(rate);
        let (rate, peak) = bed.with(|database| load(&small, place(database), connections, each));
        all.push(rate);
        peaks.push(peak);
    }
    let what = format!("{connections} connections x {each} into {}", engine_name(engine));
    report.add(
        &format!("{what}, records per cpu second"),
        Goal::AtLeast(SHARE),
        median(&all) / median(&one),
        "x single",
        json!({ "together": round(median(&all)), "single": round(median(&one)), "single_records": single }),
    );
    let most = peaks.iter().copied().fold(0.0, f64::max);
    let each = json!({ "each": rounds(&peaks) });
    report.add(&format!("{what}, peak memory"), Goal::AtMost(PEAK), most, "MB", each);
}
