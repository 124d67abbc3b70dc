//! The recorded data sets of real orgs, served as they lie, end in the replica value by value and
//! type by type: every object that has records, with all its fields.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::recorded_data;
use crate::support::replica::column;
use crate::support::sandbox::Sandbox;
use serde_json::Value;

/// Rows about users and permissions that the sandbox keeps for its own sake; the recordings hold
/// no records of them.
const ITS_OWN: [&str; 9] = [
    "ObjectPermissions",
    "Organization",
    "PermissionSet",
    "PermissionSetAssignment",
    "Profile",
    "User",
    "UserLogin",
    "UserRole",
    "FieldPermissions",
];

#[test]
fn every_recorded_object_is_in_the_replica_value_by_value() {
    let Some(dir) = recorded_data("salesforce") else { return };
    let sandbox = Sandbox::start(&["--data", dir.to_str().unwrap()]);
    let state = sandbox.ctl(&["state"]);
    let mut objects: Vec<(String, u64)> = state["records"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
        .filter(|(name, count)| *count > 0 && !ITS_OWN.contains(&name.as_str()))
        .collect();
    assert!(objects.len() >= 8, "the recordings have records of few objects: {objects:?}");
    let mut config =
        format!("{NOBODY}{}\n[connections.rec.objects]\n", salesforce("rec", &sandbox, "every 1h"));
    for (name, _) in &objects {
        config.push_str(&format!("{name} = \"all\"\n"));
    }
    let mut daemon = Daemon::start(&config);
    daemon.authorize("rec", &sandbox);
    daemon.wait_reason("rec", "Active", "idle");
    let replica = daemon.replica("rec");
    let (mut rows, mut values) = (0, 0);
    for (name, count) in &objects {
        let source = sandbox.source(name, &[]);
        assert_eq!(source.records.len() as u64, *count, "{name}: records of the dump");
        assert!(!source.fields.is_empty(), "{name}: fields that have a column");
        replica.assert_same(&column(name), &source);
        rows += source.records.len();
        values += source.records.len() * source.fields.len();
    }
    // nothing of it was odd, or it is said where
    let odd = replica.query("select * from _crmsync_odd limit 5");
    assert!(odd.is_empty(), "values that did not fit their columns: {odd:?}");
    let detail = daemon.detail("rec");
    let mut told: Vec<(String, u64)> = detail["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| (o["name"].as_str().unwrap().to_owned(), o["rows"].as_u64().unwrap()))
        .collect();
    told.sort();
    objects.sort();
    assert_eq!(told, objects, "what `status` says of the rows");
    let kinds = values_by_type(&replica.query(
        "select source_type as kind, count(*) as n from _crmsync_field group by 1 order by 1",
    ));
    println!("{} objects, {rows} records, {values} values compared; fields {kinds}", objects.len());
    daemon.stop();
}

fn values_by_type(rows: &[crate::support::values::Row]) -> Value {
    rows.iter().map(|r| Value::String(format!("{:?} {:?}", r["kind"], r["n"]))).collect()
}
