//! Values that break careless importers, through CSV: NUL, very long texts, decimals beyond a
//! double, times before 1970 and after 2262.

use super::{BIG, Bench, NAME, ROWS, config, on_both};
use crate::support::Scratch;
use crate::support::daemon::Daemon;
use crate::support::replica::Place;
use crate::support::sandbox::Sandbox;
use crate::support::values::Engine;
use serde_json::json;
use std::fmt::Write as _;

on_both!(a_nul_is_dropped_and_counted, awkward_values_arrive_as_they_are);

/// The page is good but for one value, which no database of ours can hold.
fn a_nul_is_dropped_and_counted(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, 3000) else { return };
    bench.ctl(&["bulk-corrupt", "nul"]);
    bench.begin();
    bench.idle();
    assert_eq!(bench.object(BIG)["odd"], 1, "{:#}", bench.object(BIG));
    let kept = bench.daemon.replica(NAME).query("select * from _crmsync_odd");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(format!("{kept:?}").contains("NUL"), "{kept:?}");
    // Without it the value is what the source has.
    bench.same();
    assert_eq!(bench.rows(BIG), ROWS);
    assert_eq!(bench.count("bulk_page"), 3);
    bench.daemon.stop();
}

/// Rows that matter, spread among many plain ones.
fn odd_rows() -> Vec<[String; 6]> {
    let long = "Zeile \u{1f680} \"x\",\r\n".repeat(20_000);
    let long: String = long.chars().take(131_072).collect();
    let quotes = "\",\n\"".repeat(32_000);
    let row = |name: &str, text: &str, number: &str, money: &str, at: &str, on: &str| {
        [name, text, number, money, at, on].map(str::to_owned)
    };
    vec![
        row("long", &long, "0.1", "1", "1900-01-01T00:00:00Z", "1700-01-01"),
        row("quotes", &quotes, "-0.0001", "-1", "1969-12-31T23:59:59Z", "1969-12-31"),
        row(
            "beyond",
            "#N/A",
            "12345678901234567.8912",
            "9999999999999999.99",
            "2262-04-12T00:00:00Z",
            "2262-04-12",
        ),
        row("far", "null", "99999999999999.9999", "0.10", "2999-12-31T23:59:59Z", "4000-12-31"),
        row("empty", "", "", "", "", ""),
        row(
            "controls",
            "\u{1}\u{7f}\u{feff}\u{2028}",
            "1.0E7",
            "1E+2",
            "1582-10-15T12:00:00Z",
            "1582-10-14",
        ),
    ]
}

/// A folder of recordings with one object, whose records are a file of CSV.
fn recordings() -> Scratch {
    let scratch = Scratch::new("awkward");
    let sandbox = Sandbox::start(&["--records", "Product2=1"]);
    let mut describe = sandbox.describe(BIG);
    for field in describe["fields"].as_array_mut().expect("fields") {
        if field["name"] == "Description" {
            field["length"] = json!(131_072);
        }
        if field["name"] == "Score__c" {
            field["precision"] = json!(22);
        }
    }
    scratch.write(&format!("describe/{BIG}.json"), &describe.to_string());
    let mut text =
        String::from("Name,Description,Score__c,Budget__c,Last_Contacted__c,Contract_Start__c\n");
    let mut add = |row: &[String; 6]| {
        let cells: Vec<String> =
            row.iter().map(|v| format!("\"{}\"", v.replace('"', "\"\""))).collect();
        let _ = writeln!(text, "{}", cells.join(","));
    };
    let odd = odd_rows();
    for n in 0..8200_usize {
        if n % 1300 == 650 {
            add(&odd[n / 1300 % odd.len()]);
        }
        let plain = [format!("Plain {n}"), format!("text {n}"), format!("{n}.5")];
        let [name, text, number] = plain;
        add(&[name, text, number, String::new(), String::new(), String::new()]);
    }
    scratch.write(&format!("records/{BIG}.csv"), &text);
    scratch
}

fn awkward_values_arrive_as_they_are(engine: Engine) {
    let Some(place) = Place::of(engine, "bulk values") else { return };
    let recorded = recordings();
    let sandbox = Sandbox::start(&["--data", recorded.path().to_str().expect("a path")]);
    sandbox.ctl(&["bulk-page-rows", "1700"]);
    let text = config(&sandbox, "", &format!("{BIG} = \"all\"\n"));
    let daemon = Daemon::start_in(place, &text);
    let describes = [(BIG.to_owned(), sandbox.describe(BIG))].into();
    let mut bench = Bench { daemon, sandbox, objects: vec![BIG.to_owned()], describes };
    bench.begin();
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 1);
    assert!(bench.queries() <= 1, "all of it came by the job");
    // What the recordings say is what the source has: nothing was lost on the way there.
    let dump = bench.sandbox.dump(BIG);
    for [name, text, number, ..] in odd_rows() {
        let record = dump.iter().find(|r| r["Name"] == name.as_str());
        let record = record.unwrap_or_else(|| panic!("{name} was not served"));
        assert_eq!(record["Description"].as_str().unwrap_or_default(), text, "{name}");
        assert!(
            number.is_empty() == record["Score__c"].is_null(),
            "{name}: {}",
            record["Score__c"]
        );
    }
    bench.same();
    let odd = bench.daemon.replica(NAME).query("select * from _crmsync_odd");
    assert!(odd.is_empty(), "{odd:?}");
    bench.daemon.stop();
}
