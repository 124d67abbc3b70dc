//! The recordings, loaded.

use super::*;

/// The recordings lie beside the repository; without them there is nothing to test.
fn recorded() -> Option<std::path::PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let dir = root.join("shared/data/salesforce");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: no recorded data in {}", dir.display());
    None
}

#[test]
fn recorded_data_is_served_as_it_lies() {
    let Some(dir) = recorded() else { return };
    let mut org = Org::default();
    let report = org.load_dir(&dir).unwrap();
    println!("{}", report.join("\n"));
    let full = Access::full();
    for name in ["Account", "Contact", "Lead", "Opportunity", "Case", "Event", "Custom__c"] {
        let file: Value = serde_json::from_slice(
            &std::fs::read(dir.join(format!("describe/{name}.json"))).unwrap(),
        )
        .unwrap();
        assert_eq!(org.describe(name, &full).unwrap(), file, "{name}");
    }
    let count = |o: &str| org.record_count(o, now()).unwrap_or_default();
    assert!(count("Account") > 10_000, "{}", count("Account"));
    assert!(count("Opportunity") >= 38 && count("Property__c") == 12 && count("Product__c") > 10);
    let linked = rows(
        &org,
        "SELECT Name, Broker__r.Name FROM Property__c WHERE Broker__c != null",
        false,
        now(),
    );
    assert!(linked.len() >= 10 && linked.iter().all(|r| r["Broker__r"]["Name"].is_string()));
    let children = rows(
        &org,
        "SELECT Name, Account.Name FROM Contact WHERE Account.Name = 'SampleAccount'",
        false,
        now(),
    );
    assert_eq!(children.len(), 2);
    let old = rows(
        &org,
        "SELECT Id, AccountId, Amount, CreatedDate, SystemModstamp FROM Opportunity WHERE Id = '006x0000001YtCr'",
        false,
        now(),
    );
    assert_eq!(old[0]["Amount"].to_string(), "500000.0");
    assert_eq!(old[0]["SystemModstamp"], "2006-06-15T20:47:07.000+0000");
    for name in org.object_names() {
        let mut out = Vec::new();
        org.dump(&name, now(), &mut out);
        for line in out.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            serde_json::from_slice::<Value>(line).unwrap();
        }
    }
}

#[test]
fn a_folder_without_recordings_is_refused() {
    let error = Org::default().load_dir(std::path::Path::new("/nonexistent/none")).unwrap_err();
    assert!(error.to_string().contains("no describe"));
}
