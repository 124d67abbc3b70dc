//! A first load by REST from a real Tryton: its own time is what `curl` needs for the very same
//! requests, recorded on their way once and asked again in turn with our loads.

use crate::lab::{self, size};
use crate::report::{Goal, Report, median, round, rounds};
use crate::support::Scratch;
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::front::Front;
use crate::support::tryton::{self, DB, Tryton, USER};
use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

const NAME: &str = "erp";
const MODEL: &str = "party.party";

fn config(tryton: &Tryton, url: &str) -> String {
    format!(
        "{NOBODY}[connections.{NAME}]\nprovider = \"tryton\"\nurl = \"{url}\"\ndatabase = \"{DB}\"\n\
         username = \"{}\"\nschedule = \"every 12h\"\ncompany = {}\n\n\
         [connections.{NAME}.objects]\n\"{MODEL}\" = \"all\"\n",
        USER.0, tryton.company
    )
}

/// Fifty thousand parties.
pub fn parties(report: &mut Report) {
    if tryton::missing("figures") {
        return;
    }
    let parties = size("PARTIES", 50_000);
    let tryton = Tryton::start();
    tryton.create_parties(parties);
    let records = tryton.count(MODEL);
    let scratch = Scratch::new("figures");
    let asked = record(&tryton, &scratch, records);
    let (mut server, mut ours) = (vec![], vec![]);
    for _ in 0..size("ROUNDS", 5) {
        let begun = Instant::now();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--config", "asked.curl"]).current_dir(scratch.path());
        assert!(curl.status().expect("running curl").success(), "curl failed");
        server.push(begun.elapsed().as_secs_f64());
        ours.push(load(&tryton, &tryton.url(), records));
    }
    report.commands(
        "Tryton",
        "curl -sS --fail --config asked.curl   # one entry for each request of a load: url, session, body, output = /dev/null".to_owned(),
    );
    report.add(
        &format!("first load of {records} parties from Tryton by REST"),
        Goal::AtMost(1.1),
        median(&ours) / median(&server),
        "x server",
        json!({
            "ours_s": round(median(&ours)), "server_s": round(median(&server)), "requests": asked,
            "each_ours": rounds(&ours), "each_server": rounds(&server),
        }),
    );
}

/// Seconds of one load by a daemon of its own.
fn load(tryton: &Tryton, url: &str, records: usize) -> f64 {
    let mut daemon = Daemon::start(&config(tryton, url));
    let begun = Timestamp::now();
    daemon.log_in(NAME, USER.1).ok();
    let end = lab::loaded(&daemon, NAME, MODEL);
    let rows = daemon.replica(NAME).number("SELECT count(*) FROM party_party");
    assert_eq!(usize::try_from(rows), Ok(records), "rows loaded");
    daemon.stop();
    lab::seconds(begun, end)
}

/// Loads once through a front that keeps what goes over it, and writes the data requests down for
/// `curl`; how many there are.
fn record(tryton: &Tryton, scratch: &Scratch, records: usize) -> usize {
    let front = Front::start();
    front.aim(tryton.port());
    load(tryton, &front.url(), records);
    let session = tryton.login(USER.0, USER.1).expect("a session");
    let mut script = String::new();
    let mut asked = 0;
    for exchange in front.seen() {
        let (_, body) = exchange.request.split_once("\r\n\r\n").unwrap_or_default();
        if !body.contains("\"model.") {
            continue; // log-ins
        }
        let file = scratch.write(&format!("body-{asked}.json"), body);
        let _ = write!(
            script,
            "{}url = \"{}/{DB}/\"\nheader = \"Authorization: {}\"\nheader = \"Content-Type: application/json\"\n\
             data-binary = \"@{}\"\noutput = \"/dev/null\"\n",
            if asked == 0 { "" } else { "next\nfail\nsilent\nshow-error\n" },
            tryton.url(),
            session.authorization(),
            file.display()
        );
        asked += 1;
    }
    assert!(asked > 0, "no request was recorded");
    scratch.write("asked.curl", &script);
    asked
}
