//! What becomes of a valid configuration: layers, variables, defaults, origins.

use crate::support::{SF, World, good, run, sources};
use crmsync_core::config::settings::{SecretRef, Selection};
use crmsync_core::config::{Checked, Origin, check, show};
use crmsync_core::domain::{CredentialKind, Schedule};
use jiff::SignedDuration;
use std::collections::BTreeMap;

fn passed(files: &[(&str, &str)], vars: &[(&str, &str)], world: &World) -> Checked {
    run(files, vars, world).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

#[test]
fn an_empty_configuration_is_one() {
    let checked = check(&[], &BTreeMap::new(), crate::support::SPECS, &World::default()).unwrap();
    assert!(checked.settings.connections.is_empty());
    assert_eq!(checked.settings.daemon.workers, 8);
    assert_eq!(checked.settings.notify.remind.len(), 3);
    assert_eq!(checked.settings.retention.audit, SignedDuration::from_hours(730 * 24));
}

#[test]
fn defaults_are_filled_in() {
    let checked = good(SF);
    let sf = checked.settings.connections.values().next().unwrap();
    assert_eq!(sf.keys["login_url"], "https://login.salesforce.com");
    assert_eq!(sf.keys["api_version"], "64.0");
    assert_eq!(sf.auth, CredentialKind::Code);
    assert_eq!((sf.quota.pause_at, sf.quota.resume_below), (80, 75));
    assert_eq!(sf.schedule, Schedule::Every(SignedDuration::from_mins(15)));
    assert_eq!(sf.late_commit_window, SignedDuration::from_mins(10));
    assert_eq!(checked.origins.get("connections.sf-prod.schedule"), Some(&Origin::Default));
}

#[test]
fn a_later_file_overrides_single_keys_and_variables_override_all() {
    let later = "[connections.sf-prod]\nschedule = \"every 1h\"\nclient_secret = { credential = \"c\" }\n[connections.sf-prod.objects]\nContact = { except = [\"Fax\"] }\nAccount = { fields = [\"Name\"] }\n";
    let first = format!("{SF}Contact = {{ fields = [\"Name\"] }}\n\"party.party\" = \"all\"\n")
        .replace("admins", "client_secret = { file = \"/s\" }\nadmins");
    let vars = [
        ("CRMSYNC_CONNECTIONS__SF_PROD__TIME_ZONE", "Europe/Berlin"),
        ("CRMSYNC_CONNECTIONS__sf_prod__Schedule", "0 4 * * *"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__OBJECTS__PARTY_PARTY__FIELDS", "name, code"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__ENABLED", "false"),
        ("CRMSYNC_DAEMON__WORKERS", "3"),
        ("CRMSYNC_NOTIFY__ADMINS", "a@example.org,b@example.org"),
        ("CRMSYNC_SOCKET", "/not/ours"),
        ("HOME", "/home/ada"),
    ];
    let files = [("crmsync.toml", first.as_str()), ("conf.d/10.toml", later)];
    let checked = passed(&files, &vars, &World::with(&[("/s", "1")], &["c"]));
    assert_eq!(checked.warnings, []);
    let sf = checked.settings.connections.values().next().unwrap();
    let cron = Schedule::Cron { line: "0 4 * * *".into(), zone: "Europe/Berlin".into() };
    assert_eq!(sf.schedule, cron);
    assert_eq!(sf.keys["client_id"], "3MVG9");
    assert!(!sf.enabled);
    assert_eq!(sf.secrets["client_secret"], SecretRef::Credential("c".into()));
    assert_eq!(sf.objects["Contact"], Selection::Except(vec!["Fax".into()]));
    assert_eq!(sf.objects["Account"], Selection::Fields(vec!["Name".into()]));
    assert_eq!(sf.objects["party.party"], Selection::Fields(vec!["name".into(), "code".into()]));
    assert_eq!(checked.settings.daemon.workers, 3);
    assert_eq!(checked.settings.notify.admins, ["a@example.org", "b@example.org"]);
    insta::assert_snapshot!(show(&checked, true));
}

#[test]
fn network_and_admins_come_from_above_unless_given() {
    let text = format!(
        "[notify]\nadmins = [\"all@example.org\"]\n[network]\nproxy = \"http://p.example.org:1\"\nno_proxy = [\"x\"]\n{}{}[connections.b.network]\nno_proxy = [\"y\"]\n",
        SF,
        SF.replace("sf-prod", "b").replace("admins = [\"ada@example.org\"]\n", "")
    );
    let checked = good(&text);
    let [b, sf] = checked.settings.connections.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(sf.admins, ["ada@example.org"]);
    assert_eq!(b.admins, ["all@example.org"]);
    assert_eq!(
        (b.network.proxy.as_deref(), b.network.no_proxy[0].as_str()),
        (Some("http://p.example.org:1"), "y")
    );
    assert_eq!(sf.network.no_proxy, ["x"]);
    let origin = checked.origins.get("connections.b.network.proxy").unwrap().to_string();
    assert_eq!(origin, "/etc/crmsync/crmsync.toml:4");
}

#[test]
fn a_missing_key_may_stand_in_another_file() {
    let files = [
        (
            "crmsync.toml",
            "[connections.sf-prod]\nclient_id = \"x\"\n[connections.sf-prod.objects]\nAccount = \"all\"\n",
        ),
        (
            "conf.d/a.toml",
            "[connections.sf-prod]\nprovider = \"salesforce\"\n[notify]\nadmins = [\"a@example.org\"]\n",
        ),
    ];
    assert_eq!(passed(&files, &[], &World::default()).settings.connections.len(), 1);
}

#[test]
fn a_credential_that_nobody_can_see_is_a_warning() {
    let text = SF.replace("admins", "client_secret = { credential = \"sf\" }\nadmins");
    let checked = good(&text);
    assert_eq!(checked.warnings.len(), 1);
    assert!(checked.warnings[0].render(false).contains("credential `sf`"));
}

#[test]
fn a_thousand_connections_pass_and_more_than_ten_thousand_are_refused() {
    let many = |n: usize| -> Vec<(String, String)> {
        (0..n)
            .map(|i| (format!("conf.d/{i}.toml"), SF.replace("sf-prod", &format!("c-{i}"))))
            .collect()
    };
    let borrow = |all: &[(String, String)]| -> Vec<crmsync_core::config::Source> {
        sources(&all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>())
    };
    let none = BTreeMap::new();
    let all = borrow(&many(1_000));
    let checked = check(&all, &none, crate::support::SPECS, &World::default()).unwrap();
    assert_eq!(checked.settings.connections.len(), 1_000);
    let all = borrow(&many(10_001));
    let refused = check(&all, &none, crate::support::SPECS, &World::default());
    let Err(report) = refused else { panic!("passed") };
    assert!(report.render(false).contains("10001 connections are too many"));
}
