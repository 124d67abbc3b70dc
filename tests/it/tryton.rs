//! A real Tryton 6.0 is loaded and followed: writes and new records by their stamps, deletions,
//! which Tryton keeps no trace of, by comparing keys behind the guard.

use crate::support::daemon::{Daemon, NOBODY};
use crate::support::replica::Source;
use crate::support::tryton::{self, DB, Tryton, USER};
use crate::support::wait::eventually_or;
use serde_json::{Value, json};
use std::time::Duration;

const MODELS: [&str; 5] = [
    "party.party",
    "party.contact_mechanism",
    "party.address",
    "sale.opportunity",
    "company.employee",
];

/// Keys are compared once a day by themselves; here, by `sync --full`.
fn config(tryton: &Tryton, more: &str) -> String {
    let mut text = format!(
        "{NOBODY}[connections.erp]\nprovider = \"tryton\"\nurl = \"{}\"\ndatabase = \"{DB}\"\n\
         username = \"{}\"\nschedule = \"every 1h\"\n{more}\n[connections.erp.objects]\n",
        tryton.url(),
        USER.0
    );
    for model in MODELS {
        text.push_str(&format!("\"{model}\" = \"all\"\n"));
    }
    text
}

/// What the replica must hold of a model: every field that Tryton keeps in a column of its own
/// and the types that a column of ours can take.
fn source(tryton: &Tryton, model: &str) -> Source {
    let described = tryton.describe(model);
    let stored: Vec<&str> = described
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, f)| f["sortable"] != json!(false) && f["sortable"] != json!(0))
        .map(|(name, _)| name.as_str())
        .collect();
    let source = tryton.source(model, &stored);
    assert!(source.fields.len() >= 4, "{model} has few fields: {:?}", source.fields);
    source
}

fn assert_same(daemon: &Daemon, tryton: &Tryton) -> usize {
    MODELS
        .iter()
        .map(|model| {
            let source = source(tryton, model);
            daemon.replica("erp").assert_same(&model.replace('.', "_"), &source);
            source.records.len() * source.fields.len()
        })
        .sum()
}

fn object(daemon: &Daemon, name: &str) -> Value {
    let detail = daemon.detail("erp");
    let objects = detail["objects"].as_array().unwrap();
    objects.iter().find(|o| o["name"] == name).cloned().unwrap_or_else(|| panic!("{detail:#}"))
}

fn full() -> Value {
    json!({"full": true})
}

/// Sixty parties with mechanisms and addresses, forty opportunities with awkward amounts.
fn fill(tryton: &Tryton) -> (Vec<i64>, Vec<i64>) {
    let parties = tryton.create_parties(60);
    let amounts = ["0.10", "1234567890123.45", "-17", "99999999999999.99", "0"];
    let opportunities = parties
        .iter()
        .take(40)
        .enumerate()
        .map(|(i, party)| {
            let text = format!("Angebot {i}  zweite Zeile \"N/A\" — 機会");
            tryton.create_opportunity(*party, &text, amounts[i % amounts.len()], "1999-12-31")
        })
        .collect();
    (parties, opportunities)
}

#[test]
fn a_company_is_loaded_followed_and_its_deletions_are_guarded() {
    if tryton::missing("tryton") {
        return;
    }
    let tryton = Tryton::start();
    let (parties, opportunities) = fill(&tryton);
    let mut daemon = Daemon::start(&config(&tryton, &format!("company = {}", tryton.company)));
    daemon.wait_reason("erp", "Error", "never authorized");
    daemon.log_in("erp", USER.1).ok();
    daemon.wait_reason("erp", "Active", "idle");
    let values = assert_same(&daemon, &tryton);
    assert!(values > 1000, "{values} values compared after the load");

    // writes, new records, records that are put aside, and a few that are deleted
    tryton.write("party.party", &parties[..5], &json!({"name": "Neuer Name\u{301} 'x'"}));
    tryton.write("party.party", &parties[5..8], &json!({"active": false}));
    tryton.write("sale.opportunity", &opportunities[..3], &json!({"amount": null}));
    let new = tryton.create_parties(7);
    tryton.create_mechanism(new[1], "website", "https://example.test/ä?b=\"c\"");
    tryton.create_address(new[2], "Weg 1\n\nHof", "00007", "Åmål");
    tryton.delete("sale.opportunity", &opportunities[..2]);
    daemon.sync_with("erp", &full());
    assert_same(&daemon, &tryton);
    let gone = object(&daemon, "sale.opportunity");
    assert_eq!((&gone["rows"], &gone["deleted"]), (&json!(38), &json!(2)), "{gone:#}");
    daemon.wait_reason("erp", "Active", "idle");

    // more than a tenth of them at once: held, and said so
    tryton.delete("sale.opportunity", &opportunities[10..20]);
    tryton.write("party.party", &parties[..1], &json!({"name": "goes on meanwhile"}));
    daemon.sync_with("erp", &full());
    let held = daemon.wait_reason("erp", "Active", "deletes held for approval");
    assert!(held["hint"].as_str().unwrap().contains("crmsync approve erp"), "{held:#}");
    assert_eq!(object(&daemon, "sale.opportunity")["held"], 10);
    let live = "select count(*) from sale_opportunity where _deleted_at is null";
    assert_eq!(daemon.replica("erp").number(live), 38, "nothing is marked while it is held");
    let named = "select count(*) from party_party where name = 'goes on meanwhile'";
    assert_eq!(daemon.replica("erp").number(named), 1, "what is not held goes on");

    // held again by the next run, not released by repetition
    daemon.sync_with("erp", &full());
    daemon.wait_reason("erp", "Active", "deletes held for approval");
    assert_eq!(daemon.replica("erp").number(live), 38);

    daemon.api("POST", "/v1/connections/erp/approve", Some(&json!({}))).ok();
    eventually_or(Duration::from_secs(60), "the held deletes are marked", || {
        match daemon.replica("erp").number(live) {
            28 => Ok(()),
            n => Err(format!("{n} live; {:#}", daemon.status("erp"))),
        }
    });
    daemon.wait_reason("erp", "Active", "idle");
    assert_same(&daemon, &tryton);
    let unchanged = daemon.sync_with("erp", &full());
    assert_eq!(
        (&unchanged["changed"], &unchanged["deleted"]),
        (&json!(0), &json!(0)),
        "a run without news writes nothing: {unchanged:#}"
    );
    daemon.stop();
}

#[test]
fn the_users_own_company_is_taken_where_none_is_configured() {
    if tryton::missing("tryton, own company") {
        return;
    }
    let tryton = Tryton::start();
    let party = tryton.create_parties(1)[0];
    tryton.create_opportunity(party, "seen with the company only", "5.00", "2026-02-28");
    let mut daemon = Daemon::start(&config(&tryton, ""));
    daemon.log_in("erp", USER.1).ok();
    daemon.wait_reason("erp", "Active", "idle");
    assert_same(&daemon, &tryton);
    assert_eq!(object(&daemon, "sale.opportunity")["rows"], 1);

    daemon.stop();
}
