//! Reasons that a new authorization does not cure: each named, told once, and over by itself or by
//! what its hint says.

use super::lab::{self, Lab, replaced};
use serde_json::json;
use std::fs;

const NAMES: &[(&str, &[&str])] = &[
    ("address", &[]),
    ("suspended", &[]),
    ("odd", &[]),
    ("app", &[]),
    ("copy", &[]),
    ("paused", &[]),
    // the use of the limit is its org's: it must be one of its own
    ("quota", &["--org-id", "00D000000000088"]),
    ("disabled", &[]),
    ("retired", &[]),
    ("denied", &[]),
    ("unknown", &[]),
];

#[test]
fn each_problem_has_its_reason_and_one_mail() {
    if lab::missing("each_problem_has_its_reason_and_one_mail") {
        return;
    }
    let lab = Lab::start("every 1h", NAMES, &[]);
    let ctl = |name: &str, words: &[&str]| lab.sandbox(name).ctl(words);
    for (name, _) in NAMES {
        ctl(name, &["touch", "Account", "2"]);
    }
    ctl("address", &["ip-restricted", "on"]);
    ctl("suspended", &["org-inactive", "on"]);
    ctl("suspended", &["expire-tokens"]);
    let odd = "body={\"result\":\"of a kind that nobody has seen\"}";
    ctl("odd", &["fail", "next=1000", "status=418", odd]);
    ctl("quota", &["quota", "used=14000", "max=15000"]);
    ctl("denied", &["hide-object", "ada", "Contact", "on"]);
    let copy = lab.daemon.path("replica/copy.db");
    let aside = lab.daemon.path("replica/aside.db");
    fs::rename(&copy, &aside).expect("taking the replica away");
    fs::create_dir(&copy).expect("something else in its place");
    lab.daemon
        .api(
            "POST",
            "/v1/connections/paused/pause",
            Some(&json!({ "for_seconds": 7200, "note": "moving house" })),
        )
        .ok();
    let good = fs::read_to_string(lab.daemon.path("etc/crmsync.toml")).expect("reading");
    lab.reload(|text| {
        let app = lab.sandbox("app");
        let old = format!("{}\"\nclient_id = \"{}\"", app.http, app.client_id);
        let new = format!("{}\"\nclient_id = \"3MVG9nobodyKnowsThis\"", app.http);
        let text = replaced(&text, &old, &new);
        let text = replaced(
            &text,
            "[connections.disabled]\n",
            "[connections.disabled]\nenabled = false\n",
        );
        let text = replaced(
            &text,
            "[connections.unknown.objects]\n",
            "[connections.unknown.objects]\nInvoice__c = \"all\"\n",
        );
        let start = text.find("[connections.retired]").expect("its section");
        let end = start + text[start..].find("[connections.denied]").expect("the next one");
        format!("{}{}", &text[..start], &text[end..])
    });
    for (name, _) in NAMES.iter().filter(|n| !matches!(n.0, "retired" | "disabled" | "paused")) {
        lab.ring(name);
    }

    let refused = lab.daemon.cli(&["sync", "paused"]);
    assert!(refused.code == 1 && refused.err.contains("crmsync resume paused"), "{}", refused.err);
    let status = lab.status_is("paused", "Not syncing", "paused", "crmsync resume paused", false);
    let detail = status["detail"].as_str().unwrap();
    assert!(detail.contains("until") && detail.contains("moving house"), "{status:#}");
    lab.status_is("disabled", "Not syncing", "disabled", "enabled = true", false);
    let all = lab.daemon.cli(&["status", "--all", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&all.out).expect("JSON");
    let retired =
        all["connections"].as_array().expect("a list").iter().find(|c| c["name"] == "retired");
    let retired = retired.unwrap_or_else(|| panic!("retired is not listed: {all:#}"));
    assert_eq!((&retired["reason"], &retired["retired"]), (&json!("retired"), &json!(true)));
    assert!(retired["hint"].as_str().unwrap().contains("crmsync forget retired"), "{retired:#}");

    for (name, reason, said, hint) in [
        ("address", "address not allowed", "ip restricted", "allow this host's address"),
        ("suspended", "org suspended", "", "ask the provider"),
        ("odd", "needs attention", "of a kind that nobody has seen", "crmsync log odd"),
        ("app", "misconfigured", "client_id must be the app's consumer key", "crmsync reload"),
        ("copy", "replica unavailable", "", "crmsync log copy"),
    ] {
        let status = lab.status_is(name, "Error", reason, hint, false);
        let detail = status["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(said) && !detail.is_empty(), "{status:#}");
        lab.wait_mails(name, &format!("stopped: {reason}"), 1);
    }
    let status = lab.status_is("quota", "Not syncing", "quota", "--despite-quota", false);
    let detail = status["detail"].as_str().unwrap();
    assert!(detail.contains("/15000"), "used and max: {status:#}");
    lab.wait_mails("quota", "is held: 93 %", 1);

    // What concerns one object stops no other.
    lab.sandbox("unknown").ctl(&["touch", "Account", "4"]);
    lab::caught_up(&lab.daemon, "unknown");
    let status = lab.status_is("unknown", "Active", "idle", "crmsync test unknown", false);
    assert!(
        status["detail"].as_str().unwrap().contains("Invoice__c is not at the source"),
        "{status:#}"
    );
    lab.wait_mails("unknown", "object Invoice__c cannot be read", 1);
    lab.sandbox("denied").ctl(&["touch", "Account", "4"]);
    let status = lab.status_is("denied", "Active", "idle", "crmsync test denied", false);
    assert!(status["detail"].as_str().unwrap().contains("Contact"), "{status:#}");
    lab::caught_up(&lab.daemon, "denied");
    let accounts = lab.sandbox("denied").source("Account", &[]);
    lab.daemon.replica("denied").assert_same("account", &accounts);
    lab.wait_mails("denied", "object Contact removed at the source", 1);
    assert_eq!(
        lab.daemon
            .replica("denied")
            .number("select count(*) from contact where _deleted_at is null"),
        10
    );

    // Asked again they say it again, to nobody.
    for name in ["address", "suspended", "odd", "app", "copy"] {
        lab.ring(name);
    }
    ctl("address", &["ip-restricted", "off"]);
    ctl("suspended", &["org-inactive", "off"]);
    ctl("odd", &["clear-faults"]);
    ctl("quota", &["quota", "used=100", "max=15000"]);
    ctl("denied", &["hide-object", "ada", "Contact", "off"]);
    fs::remove_dir(&copy).expect("taking it away again");
    fs::rename(&aside, &copy).expect("putting the replica back");
    lab.daemon.api("POST", "/v1/connections/paused/resume", Some(&json!({}))).ok();
    lab.reload(|_| good.clone());
    // The meter learns of the lower use by its own probe in a quarter of an hour; a test at once.
    assert_eq!(lab.daemon.cli(&["test", "quota"]).code, 0);
    for name in ["address", "suspended", "odd", "app", "copy", "denied"] {
        lab.ring(name);
    }
    for (name, _) in NAMES {
        lab.daemon.wait_reason(name, "Active", "idle");
        lab.daemon.wait_status(name, &format!("{name} is well"), |s| s["detail"] == "");
        lab.assert_complete(name);
    }
    for (name, told) in [
        ("address", "address not allowed"),
        ("suspended", "org suspended"),
        ("odd", "needs attention"),
        ("app", "misconfigured"),
        ("copy", "replica unavailable"),
        ("quota", "is held"),
        ("unknown", "object Invoice__c cannot be read"),
    ] {
        lab.wait_mails(name, "again", 2);
        lab.assert_mails(name, &[told, "again"]);
    }
    for name in ["paused", "disabled", "retired"] {
        lab.assert_mails(name, &[]);
    }
    lab.assert_mails("denied", &["object Contact removed"]);
}
