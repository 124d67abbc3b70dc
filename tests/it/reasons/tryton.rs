//! The same on a real Tryton: a password that no longer opens, a user put to sleep, a model that
//! may no longer be read, deletes that must be approved, a server that is gone for a while.

use super::lab::{self, Lab, faketime};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::postfix::Postfix;
use crate::support::skip;
use crate::support::tryton::{self, DB, Tryton, USER};
use std::collections::BTreeMap;

const MODELS: [&str; 2] = ["party.party", "party.address"];

fn table(model: &str) -> String {
    model.replace('.', "_")
}

fn assert_same(lab: &Lab, erp: &Tryton, models: &[&str]) {
    for model in models {
        let fields: &[&str] = match *model {
            "party.party" => &["name", "code"],
            _ => &["party", "street", "city", "postal_code"],
        };
        lab.daemon.replica("erp").assert_same(&table(model), &erp.source(model, fields));
    }
}

fn section(erp: &Tryton) -> String {
    format!(
        "[connections.erp]\nprovider = \"tryton\"\nurl = \"{}\"\ndatabase = \"{DB}\"\nusername = \"{}\"\nschedule = \"every 1h\"\nadmins = [\"erp@example.test\"]\n\n[connections.erp.objects]\n\"party.party\" = \"all\"\n\"party.address\" = \"all\"\n",
        erp.url(),
        USER.0
    )
}

#[test]
fn a_real_tryton_refuses_in_its_own_ways() {
    let test = "a_real_tryton_refuses_in_its_own_ways";
    if tryton::missing(test) || lab::missing(test) {
        return;
    }
    let mut erp = Tryton::start();
    let parties = erp.create_parties(40);
    let postfix = Postfix::start();
    let config = format!("{}{}", lab::notify(&postfix), section(&erp));
    let lab = Lab { daemon: Daemon::start(&config), boxes: BTreeMap::new(), postfix };
    lab.status_is("erp", "Error", "never authorized", "crmsync reauthorize erp", true);
    lab.wait_mails("erp", "needs authorization: never authorized", 1);
    let wrong = lab.daemon.log_in("erp", "not-the-password");
    assert!(wrong.status >= 400 && wrong.text.contains("refused the log-in"), "{}", wrong.text);
    lab.daemon.log_in("erp", USER.1).ok();
    lab.daemon.wait_reason("erp", "Active", "idle");
    lab.wait_mails("erp", "again", 1);
    assert_same(&lab, &erp, &MODELS);

    // A model that may no longer be read: named, and the others go on.
    let rules = erp.refuse_reads("party.address");
    erp.write("party.party", &parties[..3], &serde_json::json!({"name": "renamed"}));
    lab.daemon.follow("erp");
    let status = lab.status_is("erp", "Active", "idle", "crmsync test erp", false);
    assert!(status["detail"].as_str().unwrap().contains("party.address"), "{status:#}");
    assert_same(&lab, &erp, &["party.party"]);
    lab.wait_mails("erp", "object party.address removed at the source", 1);
    let failed = lab.daemon.cli(&["test", "erp"]);
    assert_eq!(failed.code, 1, "{}{}", failed.out, failed.err);
    assert!(failed.out.contains("Access Permissions"), "how it is granted: {}", failed.out);
    erp.allow(&rules);
    lab.daemon.sync("erp");
    lab.daemon.wait_status("erp", "the model is read again", |s| s["detail"] == "");
    assert_same(&lab, &erp, &MODELS);

    // The server is gone: that passes, and nobody is told.
    erp.stop();
    lab.ring("erp");
    lab.daemon.wait_reason("erp", "Active", "retrying");
    erp.restart();
    lab.daemon.wait_reason("erp", "Active", "idle");

    // A user put to sleep: sessions go on, a log-in says no more than that it is refused.
    erp.set_active(USER.0, false);
    assert_eq!(lab.daemon.cli(&["test", "erp"]).code, 4);
    lab.status_is("erp", "Error", "user deactivated", "crmsync test erp", true);
    assert_eq!(lab.daemon.cli(&["test", "erp"]).code, 4);
    lab.wait_mails("erp", "needs authorization: user deactivated", 1);
    erp.set_active(USER.0, true);
    assert_eq!(lab.daemon.cli(&["test", "erp"]).code, 0);
    lab.daemon.wait_reason("erp", "Active", "idle");
    lab.wait_mails("erp", "again", 2);

    // A changed password is found by the fresh log-in of a test; the old session would go on.
    erp.set_password(USER.0, "Kestrel-93-Umbrage");
    assert_eq!(lab.daemon.cli(&["test", "erp"]).code, 4);
    lab.status_is("erp", "Error", "credentials changed", "crmsync reauthorize erp", true);
    assert_eq!(lab.daemon.cli(&["test", "erp"]).code, 4);
    lab.wait_mails("erp", "needs authorization: credentials changed", 1);
    lab.daemon.log_in("erp", "Kestrel-93-Umbrage").ok();
    lab.daemon.wait_reason("erp", "Active", "idle");
    lab.wait_mails("erp", "again", 3);

    // Tryton tells no deletes: absence is believed, but not of so many at once.
    erp.delete("party.party", &parties[10..30]);
    let full = lab.daemon.cli(&["sync", "erp", "--full"]);
    assert_eq!(full.code, 0, "{}{}", full.out, full.err);
    let held =
        lab.status_is("erp", "Active", "deletes held for approval", "crmsync approve erp", false);
    assert!(held["detail"].as_str().unwrap().contains("party.party: 20"), "{held:#}");
    lab.wait_mails("erp", "deletes held for approval", 1);
    let live = "select count(*) from party_party where _deleted_at is null";
    let before = lab.daemon.replica("erp").number(live);
    assert_eq!(lab.daemon.cli(&["approve", "erp"]).code, 0);
    lab.daemon.wait_reason("erp", "Active", "idle");
    lab.daemon.wait_status("erp", "the deletes are in", |_| {
        lab.daemon.replica("erp").number(live) == before - 20
    });
    lab.wait_mails("erp", "again", 4);
    assert_same(&lab, &erp, &MODELS);
    lab.assert_mails(
        "erp",
        &[
            "object party.address removed",
            "user deactivated",
            "again",
            "credentials changed",
            "again",
            "deletes held",
            "again",
        ],
    );
}

/// A session outlives a changed password; once a day a fresh log-in finds it, with nobody asking.
#[test]
fn a_changed_password_is_found_within_a_day() {
    let test = "a_changed_password_is_found_within_a_day";
    if tryton::missing(test) || skip(test, faketime().is_none(), "needs the package libfaketime") {
        return;
    }
    let erp = Tryton::start();
    erp.create_parties(3);
    let clock = tempfile::tempdir().expect("a folder for the clock");
    let file = clock.path().join("clock");
    std::fs::write(&file, "+0\n").expect("setting the clock");
    let file_text = file.display().to_string();
    let env = [
        ("LD_PRELOAD", faketime().unwrap_or_default()),
        ("FAKETIME_TIMESTAMP_FILE", file_text.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let daemon = Daemon::start_with(&format!("{NOBODY}{}", section(&erp)), &env);
    daemon.log_in("erp", USER.1).ok();
    daemon.wait_reason("erp", "Active", "idle");
    erp.set_password(USER.0, "Kestrel-93-Umbrage");
    daemon.sync("erp");
    daemon.wait_reason("erp", "Active", "idle");
    std::fs::write(&file, "+25h\n").expect("moving the clock");
    daemon.api("POST", "/v1/connections/erp/sync", Some(&serde_json::json!({}))).ok();
    let status = daemon.wait_reason("erp", "Error", "credentials changed");
    assert_eq!(status["needs_authorization"], true, "{status:#}");
}
