//! The difference of two configurations.

use crate::support::{SF, World, good, run};
use crmsync_core::config::{Checked, diff};
use crmsync_core::domain::ConnectionName;

fn name(text: &str) -> ConnectionName {
    ConnectionName::parse(text).unwrap()
}

fn two(second: &str) -> String {
    format!("{SF}{}", SF.replace("sf-prod", second))
}

#[test]
fn the_same_again_touches_nothing() {
    let (a, b) = (good(&two("b")), good(&format!("# a comment\n\n{}", two("b"))));
    let plan = diff(&a, &b);
    assert!(plan.is_empty());
    assert_eq!(plan.untouched, [name("b"), name("sf-prod")]);
}

#[test]
fn connections_come_go_and_change() {
    let new = two("c").replace("\"3MVG9\"\nadmins", "\"other\"\nschedule = \"every 1h\"\nadmins")
        + "[connections.c.quota]\npause_at = \"90%\"\n";
    let plan = diff(&good(&two("b")), &good(&new));
    assert_eq!(plan.added, [name("c")]);
    assert_eq!(plan.removed, [name("b")]);
    assert_eq!(plan.changed[&name("sf-prod")], ["client_id", "schedule"]);
    assert!(plan.needs_restart.is_empty() && !plan.notify_changed);
}

#[test]
fn single_objects_and_percents_are_named() {
    let new = two("b").replacen(
        "Account = \"all\"",
        "Account = { fields = [\"Name\"] }\nLead = \"all\"",
        1,
    ) + "[connections.b.quota]\npause_at = \"90%\"\n";
    let plan = diff(&good(&two("b")), &good(&new));
    assert_eq!(plan.changed[&name("sf-prod")], ["objects.Account", "objects.Lead"]);
    assert_eq!(plan.changed[&name("b")], ["quota.pause_at"]);
}

fn with_files(hash: &str, ca: &str) -> Checked {
    let text = two("b").replacen("admins", "client_secret = { file = \"/s\" }\nadmins", 1)
        + "[connections.b.network]\nca_file = \"/ca\"\n";
    run(&[("x", &text)], &[], &World::with(&[("/s", hash), ("/ca", ca)], &[])).unwrap()
}

#[test]
fn the_bytes_of_named_files_count() {
    let plan = diff(&with_files("1", "1"), &with_files("2", "1"));
    assert_eq!(plan.changed[&name("sf-prod")], ["client_secret (content of the file)"]);
    assert_eq!(plan.untouched, [name("b")]);
    let plan = diff(&with_files("1", "1"), &with_files("1", "2"));
    assert_eq!(plan.changed[&name("b")], ["network.ca_file (content of the file)"]);
}

#[test]
fn a_global_default_touches_those_it_reaches() {
    let base = two("b") + "[connections.b.network]\nproxy = \"http://own.example.org:1\"\n";
    let plan = diff(
        &good(&base),
        &good(&format!("[network]\nproxy = \"http://p.example.org:1\"\n{base}")),
    );
    assert_eq!(plan.changed[&name("sf-prod")], ["network.proxy"]);
    assert_eq!(plan.untouched, [name("b")]);
}

#[test]
fn what_needs_a_restart_is_named() {
    let world = World::with(&[], &["new"]);
    let text = SF.replace("admins", "client_secret = { credential = \"new\" }\nadmins");
    let new = format!(
        "[daemon]\nworkers = 2\nsocket = \"/tmp/s\"\n[notify]\ngather = \"1m\"\n[retention]\nruns = \"10d\"\n{text}"
    );
    let plan = diff(&good(SF), &run(&[("x", &new)], &[], &world).unwrap());
    assert_eq!(
        plan.needs_restart,
        ["daemon.socket", "daemon.workers", "connections.sf-prod.client_secret (credential `new`)"]
    );
    assert!(plan.notify_changed && plan.retention_changed);
    assert!(!plan.is_empty());
}
