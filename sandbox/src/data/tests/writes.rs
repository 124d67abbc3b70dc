//! Writes, deletes, replication windows, changes of the schema.

use super::*;

#[test]
fn deletes_in_all_their_forms() {
    let mut org = small();
    let (full, t) = (Access::full(), at("2026-03-18T09:30:30Z"));
    let ids: Vec<String> =
        (0..4).map(|n| account(&mut org, &format!("A{n}"), "2026-03-10T00:00:00Z")).collect();
    org.delete("Account", &ids[0], t).unwrap();
    org.delete("account", &ids[1][..15], t).unwrap();
    org.purge("Account", &ids[1], now()).unwrap();
    org.purge("Account", &ids[2], at("2026-03-18T09:40:00Z")).unwrap();
    assert_eq!(org.delete("Account", &ids[0], t).unwrap_err().code, "ENTITY_IS_DELETED");
    assert_eq!(org.update("Account", &ids[2], &Map::new(), t, USER).unwrap_err().code, "NOT_FOUND");
    assert_eq!(names(&org, "SELECT Name FROM Account"), ["A3"]);
    let all = rows(
        &org,
        "SELECT Id, IsDeleted, SystemModstamp FROM Account WHERE IsDeleted = true",
        true,
        now(),
    );
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["SystemModstamp"], "2026-03-18T09:30:30.000+0000");
    let deleted = org
        .get_deleted(
            "Account",
            at("2026-03-18T09:00:59Z"),
            at("2026-03-18T09:59:59Z"),
            now(),
            &full,
        )
        .unwrap();
    let list: Vec<&str> = deleted["deletedRecords"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["id"].as_str().unwrap())
        .collect();
    assert_eq!(list, [&ids[0], &ids[1], &ids[2]]);
    assert_eq!(deleted["deletedRecords"][1]["deletedDate"], "2026-03-18T09:30:30.000+0000");
    assert_eq!(deleted["latestDateCovered"], "2026-03-18T09:59:00.000+0000");
    assert_eq!(deleted["earliestDateAvailable"], "2026-03-03T10:00:00.000+0000");
    org.undelete("Account", &ids[0], now()).unwrap();
    assert_eq!(names(&org, "SELECT Name FROM Account ORDER BY Name"), ["A0", "A3"]);
    org.delete("Account", &ids[0], now()).unwrap();
    assert_eq!(org.empty_bin("Account").unwrap(), 1);
    let mut dump = Vec::new();
    org.dump("Account", now(), &mut dump);
    assert_eq!(dump.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count(), 1);
    org.trim_delete_log("Account", at("2026-03-18T09:35:00Z")).unwrap();
    let deleted =
        org.get_deleted("Account", at("2026-03-18T09:00:00Z"), now(), now(), &full).unwrap();
    assert_eq!(deleted["deletedRecords"].as_array().unwrap().len(), 1);
    assert_eq!(deleted["earliestDateAvailable"], "2026-03-18T09:35:00.000+0000");
}

#[test]
fn replication_windows() {
    let full = Access::full();
    let asked = |start: &str, end: &str, deleted: bool| {
        let (start, end) = (at(start), at(end));
        if deleted {
            org().get_deleted("Account", start, end, now(), &full)
        } else {
            org().get_updated("Account", start, end, now(), &full)
        }
    };
    for (start, end, deleted) in [
        ("2026-03-18T09:00:00Z", "2026-03-18T09:00:00Z", true),
        ("2026-03-18T09:01:00Z", "2026-03-18T09:00:00Z", false),
        ("2026-03-18T09:00:01Z", "2026-03-18T09:00:59Z", true),
        ("2026-03-03T09:59:00Z", "2026-03-18T09:00:00Z", true),
        ("2026-02-16T09:59:00Z", "2026-03-18T09:00:00Z", false),
    ] {
        assert_eq!(
            asked(start, end, deleted).unwrap_err().code,
            "INVALID_REPLICATION_DATE",
            "{start} {end}"
        );
    }
    assert!(asked("2026-03-03T10:00:00Z", "2026-03-18T09:00:00Z", true).is_ok());
    assert!(asked("2026-02-16T10:00:00Z", "2026-03-18T09:00:00Z", false).is_ok());
}

#[test]
fn open_transactions_are_not_seen() {
    let mut org = small();
    account(&mut org, "Done", "2026-03-18T09:00:00Z");
    let late = org
        .create(
            "Account",
            &map(json!({"Name": "Late"})),
            at("2026-03-18T09:50:10Z"),
            Some(at("2026-03-18T09:55:00Z")),
            USER,
        )
        .unwrap();
    let (before, after, full) =
        (at("2026-03-18T09:54:59Z"), at("2026-03-18T09:55:00Z"), Access::full());
    let count = |t| org.query("SELECT count() FROM Account", true, &full, t).unwrap().total;
    assert_eq!((count(before), count(after)), (1, 2));
    assert_eq!(
        (org.record_count("Account", before), org.record_count("Account", after)),
        (Some(1), Some(2))
    );
    assert_eq!(
        org.get_record("Account", &late, &[], &full, before, "v64.0").unwrap_err().code,
        "NOT_FOUND"
    );
    let updated = |t| {
        org.get_updated("Account", at("2026-03-18T09:00:00Z"), at("2026-03-18T09:54:00Z"), t, &full)
            .unwrap()
    };
    assert_eq!(updated(before)["ids"].as_array().unwrap().len(), 1);
    assert_eq!(updated(before)["latestDateCovered"], "2026-03-18T09:50:00.000+0000");
    assert_eq!(updated(after)["ids"].as_array().unwrap().len(), 2);
    let rows = rows(&org, "SELECT SystemModstamp FROM Account WHERE Name = 'Late'", false, after);
    assert_eq!(rows[0]["SystemModstamp"], "2026-03-18T09:50:10.000+0000");
}

#[test]
fn writes_are_checked() {
    let mut org = small();
    let id = account(&mut org, "A", "2026-03-01T00:00:00Z");
    for (object, fields, code) in [
        ("Account", json!({}), "REQUIRED_FIELD_MISSING"),
        ("Account", json!({"Name": "x", "Nix": 1}), "INVALID_FIELD"),
        (
            "Account",
            json!({"Name": "x", "SystemModstamp": "2026-01-01T00:00:00Z"}),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        ("Account", json!({"Name": "x".repeat(256)}), "STRING_TOO_LONG"),
        ("Account", json!({"Name": {"a": 1}}), "JSON_PARSER_ERROR"),
        ("Account", json!({"Name": "x", "AnnualRevenue": "viel"}), "JSON_PARSER_ERROR"),
        ("Account", json!({"Name": "x", "ParentId": "nix"}), "MALFORMED_ID"),
        ("Account", json!({"Name": "x", "ParentId": "003Dn0000000001"}), "MALFORMED_ID"),
        (
            "Account",
            json!({"Name": "x", "ParentId": "001Dn0000099999"}),
            "INVALID_CROSS_REFERENCE_KEY",
        ),
        ("Contact", json!({"LastName": "x", "Email": "nobody"}), "INVALID_EMAIL_ADDRESS"),
        ("Nix", json!({}), "NOT_FOUND"),
    ] {
        let error = org
            .create(object, &map(fields.clone()), now(), None, USER)
            .expect_err(&fields.to_string());
        assert_eq!(error.code, code, "{fields}: {error}");
    }
    org.update("Account", &id, &map(json!({"Ext_Key__c": "k", "Phone": null})), now(), USER)
        .unwrap();
    let error = org
        .create("Account", &map(json!({"Name": "x", "Ext_Key__c": "k"})), now(), None, USER)
        .unwrap_err();
    assert!(error.message.ends_with(&id), "{error}");
}

#[test]
fn fields_come_go_and_change() {
    let mut org = Org::generate(&spec(20, IdOrder::Ascending));
    let t = at("2026-03-18T09:00:00Z");
    org.add_field("Account", "New__c", "currency", t).unwrap();
    assert_eq!(org.last_schema_change(), t);
    assert_eq!(
        rows(&org, "SELECT New__c FROM Account LIMIT 1", false, t)[0]["New__c"],
        Value::Null
    );
    let before = rows(&org, "SELECT Phone FROM Account ORDER BY Id", false, t);
    let held = org.query("SELECT Id, Phone FROM Account", false, &Access::full(), t).unwrap();
    org.remove_field("Account", "Phone", t).unwrap();
    assert_eq!(refusal(&org, "SELECT Phone FROM Account").code, "INVALID_FIELD");
    let mut out = Vec::new();
    org.render(&held, 0, 20, &mut out, "v64.0");
    assert!(!out.is_empty());
    org.add_field("Account", "Phone", "phone", t).unwrap();
    assert_eq!(rows(&org, "SELECT Phone FROM Account ORDER BY Id", false, t), before);
    let stamps = rows(&org, "SELECT SystemModstamp FROM Account", false, t);
    org.retype_field("Account", "NumberOfEmployees", "string", t).unwrap();
    org.retype_field("Account", "Name", "int", t).unwrap();
    let row = record(&org, "Account", &org.pick("Account", 1, t).unwrap()[0], t);
    assert!(row["NumberOfEmployees"].is_string() || row["NumberOfEmployees"].is_null());
    assert!(row["Name"].is_number() || row["Name"].is_null());
    assert_eq!(rows(&org, "SELECT SystemModstamp FROM Account", false, t), stamps);
    assert!(org.add_field("Account", "bad name", "string", t).is_err());
    assert!(org.retype_field("Account", "Id", "string", t).is_err());
}

#[test]
fn touches_share_a_stamp_and_go_round() {
    let mut org = Org::generate(&spec(20, IdOrder::Shuffled));
    let first = org.touch("Contact", 12, at("2026-03-18T09:00:00.7Z")).unwrap();
    let second = org.touch("Contact", 8, at("2026-03-18T09:00:05Z")).unwrap();
    assert!(first.iter().all(|id| !second.contains(id)));
    let found = rows(
        &org,
        "SELECT Id FROM Contact WHERE SystemModstamp = 2026-03-18T09:00:00Z",
        false,
        now(),
    );
    assert_eq!(found.len(), 12);
}

#[test]
fn system_rows_and_the_running_user() {
    let mut org = small();
    let t = now();
    org.put_system_rows(
        "User",
        "005",
        &[("Name", "string"), ("IsActive", "boolean"), ("ProfileId", "reference")],
        &[map(json!({"Id": USER, "Name": "Ada", "IsActive": true}))],
        t,
    );
    org.put_system_rows(
        "UserPermissionAccess",
        "",
        &[("PermissionsApiEnabled", "boolean"), ("PermissionsViewSetup", "boolean")],
        &[],
        t,
    );
    account(&mut org, "A", "2026-03-01T00:00:00Z");
    assert_eq!(rows(&org, "SELECT Owner.Name FROM Account", false, t)[0]["Owner"]["Name"], "Ada");
    let mut access = Access::full();
    access
        .own_rows
        .insert("UserPermissionAccess".to_owned(), map(json!({"PermissionsApiEnabled": true})));
    let result = org
        .query(
            "SELECT PermissionsApiEnabled, PermissionsViewSetup FROM UserPermissionAccess LIMIT 1",
            false,
            &access,
            t,
        )
        .unwrap();
    let mut out = Vec::new();
    org.render(&result, 0, 1, &mut out, "v64.0");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"attributes":{"type":"UserPermissionAccess","url":"/services/data/v64.0/sobjects/UserPermissionAccess/000000000000000AAA"},"PermissionsApiEnabled":true,"PermissionsViewSetup":null}"#
    );
    assert_eq!(
        org.query("SELECT PermissionsNix FROM UserPermissionAccess", false, &access, t)
            .unwrap_err()
            .code,
        "INVALID_FIELD"
    );
    org.put_system_rows(
        "User",
        "005",
        &[],
        &[map(json!({"Id": USER, "Name": "Ada", "IsActive": false}))],
        t,
    );
    assert_eq!(rows(&org, "SELECT Id FROM User WHERE IsActive = true", false, t).len(), 0);
}

#[test]
fn a_merged_record_lies_in_the_bin_and_its_children_are_the_winners() {
    let (mut org, t) = (small(), at("2026-03-18T09:30:30Z"));
    let ids: Vec<String> =
        (0..3).map(|n| account(&mut org, &format!("A{n}"), "2026-03-10T00:00:00Z")).collect();
    let child = |org: &mut Org, last: &str, of: &str| {
        let fields = map(json!({"LastName": last, "AccountId": of}));
        org.create("Contact", &fields, at("2026-03-10T00:00:00Z"), None, USER).unwrap()
    };
    let (mine, theirs) = (child(&mut org, "B", &ids[1]), child(&mut org, "C", &ids[2]));
    assert_eq!(org.merge("Account", &ids[0], &ids[1], t).unwrap(), 1);
    let told = rows(
        &org,
        "SELECT Id, IsDeleted, MasterRecordId, SystemModstamp FROM Account ORDER BY Name",
        true,
        now(),
    );
    assert_eq!(told[0]["SystemModstamp"], "2026-03-18T09:30:30.000+0000");
    assert_eq!(told[1]["IsDeleted"], true);
    assert_eq!(told[1]["MasterRecordId"], ids[0].as_str());
    assert_eq!(told[2]["SystemModstamp"], "2026-03-10T00:00:00.000+0000");
    let told = rows(&org, "SELECT Id, AccountId, SystemModstamp FROM Contact", false, now());
    let of = |id: &str| told.iter().find(|r| r["Id"] == id).unwrap();
    assert_eq!(of(&mine)["AccountId"], ids[0].as_str());
    assert_eq!(of(&mine)["SystemModstamp"], "2026-03-18T09:30:30.000+0000");
    assert_eq!(of(&theirs)["AccountId"], ids[2].as_str());
    assert_eq!(of(&theirs)["SystemModstamp"], "2026-03-10T00:00:00.000+0000");
    let from = at("2026-03-18T09:00:00Z");
    let deleted = org.get_deleted("Account", from, now(), now(), &Access::full()).unwrap();
    assert_eq!(deleted["deletedRecords"][0]["id"], ids[1].as_str());
    assert!(org.merge("Account", &ids[0], &ids[0], t).is_err());
    assert!(org.merge("Account", &ids[0], &ids[1], t).is_err(), "it is gone");
    org.undelete("Account", &ids[1], now()).unwrap();
    let told = rows(&org, "SELECT MasterRecordId FROM Account ORDER BY Name", false, now());
    assert_eq!(told[1]["MasterRecordId"], Value::Null);
}
