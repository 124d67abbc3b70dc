//! The files that are shipped: valid, complete, and telling the truth about defaults.

use crate::support::{World, good, run};
use crmsync_core::config::{Checked, Origin, show};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn shipped(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The reference with every key in force.
fn uncommented() -> String {
    let strip = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest.to_owned(),
        _ => line.to_owned(),
    };
    shipped("crmsync.toml").lines().map(strip).collect::<Vec<_>>().join("\n")
}

fn world() -> World {
    let files = ["smtp.password", "replica.password", "ca.pem", "sf-prod.secret", "erp.password"];
    let paths: Vec<String> = files.iter().map(|f| format!("/etc/crmsync/{f}")).collect();
    World::with(&paths.iter().map(|p| (p.as_str(), "1")).collect::<Vec<_>>(), &[])
}

fn everything() -> Checked {
    run(&[("crmsync.toml", &uncommented())], &[], &world())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

#[test]
fn the_reference_is_valid_as_shipped_and_with_every_key_in_force() {
    assert!(good(&shipped("crmsync.toml")).settings.connections.is_empty());
    assert_eq!(everything().settings.connections.len(), 2);
}

/// Keys that only a provider or the reader of this test would know, found in `names` of reports.
#[test]
fn the_reference_holds_every_key() {
    // An unknown key is answered with the names that are allowed there.
    let probe = "[daemon]\nqqqqqq = 1\n[replica]\nqqqqqq = 1\n[notify]\nqqqqqq = 1\n[notify.smtp]\nqqqqqq = 1\n[network]\nqqqqqq = 1\n[retention]\nqqqqqq = 1\n[connections.sf-prod]\nprovider = \"salesforce\"\nqqqqqq = 1\n[connections.sf-prod.quota]\nqqqqqq = 1\n[connections.sf-prod.network]\nqqqqqq = 1\n[connections.erp]\nprovider = \"tryton\"\nqqqqqq = 1\n";
    let report = run(&[("x", probe)], &[], &World::default()).unwrap_err();
    let reference: toml::Table = uncommented().parse().unwrap();
    let mut probed = 0;
    for finding in &report.findings {
        let Some(names) = finding.message.strip_prefix("unknown key `qqqqqq` in `[") else {
            continue;
        };
        let section = names.trim_end_matches("]`");
        let table = section.split('.').fold(&reference, |t, key| t[key].as_table().unwrap());
        for name in finding.allowed.as_deref().unwrap().split(", ") {
            // The second connection shows only what is Tryton's own.
            let shown = section == "connections.erp"
                && reference["connections"]["sf-prod"].get(name).is_some();
            assert!(table.contains_key(name) || shown, "{section}.{name} is not in the reference");
        }
        probed += 1;
    }
    assert_eq!(probed, 10);
}

#[test]
fn the_reference_tells_the_defaults() {
    let small = "[connections.sf-prod]\nprovider = \"salesforce\"\nclient_id = \"x\"\nadmins = [\"a@example.org\"]\n[connections.sf-prod.objects]\nAccount = \"all\"\n[notify.smtp]\nhost = \"localhost\"\nfrom = \"a@example.org\"\n";
    let (small, all) = (good(small), everything());
    let mut compared = BTreeSet::new();
    for value in small.origins.0.iter().filter(|v| v.origin == Origin::Default) {
        let written =
            all.origins.0.iter().find(|w| (&w.section, &w.key) == (&value.section, &value.key));
        assert_eq!(
            written.map(|w| &w.value),
            Some(&value.value),
            "{}.{}",
            value.section,
            value.key
        );
        compared.insert((&value.section, &value.key));
    }
    assert!(compared.len() >= 26, "{}", compared.len());
}

#[test]
fn the_examples_are_valid() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let checked = good(&shipped(&format!("examples/{name}")));
        assert_eq!(checked.warnings, [], "{name}");
        assert_eq!(checked.settings.connections.len(), 1, "{name}");
        let connection = checked.settings.connections.values().next().unwrap();
        seen.insert((connection.provider.clone(), connection.auth.word()));
    }
    let all =
        [("salesforce", "client-credentials"), ("salesforce", "code"), ("tryton", "password")];
    assert_eq!(seen, all.map(|(p, a)| (p.to_owned(), a)).into());
}

#[test]
fn what_is_shown_is_valid_again() {
    let first = everything();
    let shown = show(&first, false);
    let again = run(&[("shown.toml", &shown)], &[], &world())
        .unwrap_or_else(|report| panic!("{shown}\n{}", report.render(false)));
    assert_eq!(again.settings, first.settings);
    assert_eq!(show(&again, false), shown);
}
