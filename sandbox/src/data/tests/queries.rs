//! Queries: shapes, conditions, refusals, sight.

use super::*;

#[test]
fn shapes_of_rows() {
    let mut org = small();
    let acc = org
        .create("Account", &map(json!({"Name": "A \"q\"\n", "BillingCity": "Ulm", "AnnualRevenue": "0.10", "NumberOfEmployees": 5})), at("2026-03-01T00:00:00.9Z"), None, USER)
        .unwrap();
    org.create(
        "Contact",
        &map(json!({"LastName": "K", "AccountId": &acc[..15]})),
        now(),
        None,
        USER,
    )
    .unwrap();
    let row =
        &rows(&org, "SELECT Name, BillingAddress, SystemModstamp FROM Account", false, now())[0];
    assert_eq!(row["attributes"]["url"], format!("/services/data/v64.0/sobjects/Account/{acc}"));
    assert_eq!(row["BillingAddress"]["city"], "Ulm");
    assert_eq!(row["BillingAddress"].as_object().unwrap().len(), 8);
    assert_eq!(row["SystemModstamp"], "2026-03-01T00:00:00.000+0000");
    assert!(row.get("Id").is_none());
    let row = &rows(
        &org,
        "SELECT Id, Account.Name, Account.AnnualRevenue, ReportsTo.Name FROM Contact",
        false,
        now(),
    )[0];
    assert_eq!(row["Account"]["Name"], "A \"q\"\n");
    let held = org
        .query("SELECT Account.AnnualRevenue FROM Contact", false, &Access::full(), now())
        .unwrap();
    let mut text = Vec::new();
    org.render(&held, 0, 1, &mut text, "v64.0");
    assert!(String::from_utf8(text).unwrap().contains(r#""AnnualRevenue":0.10}"#));
    assert!(row["Account"]["AnnualRevenue"].is_number());
    assert_eq!(row["ReportsTo"], Value::Null);
    assert_eq!(
        org.query("SELECT count() FROM Contact", false, &Access::full(), now()).unwrap().total,
        1
    );
}

#[test]
fn conditions() {
    let mut org = small();
    for (name, rating, money, date) in [
        ("Apple", json!("Hot"), json!(1.5), "2026-03-18"),
        ("banana", json!(null), json!(10), "2026-03-17"),
        ("Cherry_1", json!("Cold"), json!(null), "2025-01-01"),
    ] {
        let fields = json!({"Name": name, "Rating": rating, "Budget__c": money, "Contract_Start__c": date, "Regions__c": if name == "Apple" { "North;South" } else { "North" }});
        org.create("Account", &map(fields), at("2026-03-18T09:00:00Z"), None, USER).unwrap();
    }
    for (filter, wanted) in [
        ("Name = 'APPLE'", "Apple"),
        ("Name LIKE 'b%'", "banana"),
        ("Name LIKE '%\\_1'", "Cherry_1"),
        ("Name LIKE '_____'", "Apple"),
        ("Rating = null", "banana"),
        ("Rating = ''", "banana"),
        ("Rating != 'Hot'", "banana Cherry_1"),
        ("NOT Rating = 'Hot'", "banana Cherry_1"),
        ("Rating NOT IN ('Hot','Cold')", "banana"),
        ("Rating IN ('Hot', null)", "Apple banana"),
        ("Budget__c > 1.4999", "Apple banana"),
        ("Budget__c = 10.0", "banana"),
        ("Budget__c < 1000000", "Apple banana"),
        ("Contract_Start__c = TODAY", "Apple"),
        ("Contract_Start__c < THIS_YEAR", "Cherry_1"),
        ("Contract_Start__c = LAST_N_DAYS:1", "Apple banana"),
        ("Contract_Start__c >= 2026-03-17 AND Contract_Start__c <= 2026-03-17", "banana"),
        ("Regions__c INCLUDES ('South;North')", "Apple"),
        ("Regions__c EXCLUDES ('South')", "banana Cherry_1"),
        ("CreatedDate = TODAY AND (Name = 'Apple' OR Name = 'banana')", "Apple banana"),
        ("IsDeleted = true", ""),
        ("Verified__c = false AND Name > 'b'", "banana Cherry_1"),
        ("Name_Length__c = 5", "Apple"),
        (
            "SystemModstamp > 2026-03-18T08:59:59.999Z AND SystemModstamp < 2026-03-18T10:00:00+01:00",
            "",
        ),
        ("Id > '001000000000000' AND Name != 'Apple'", "banana Cherry_1"),
    ] {
        assert_eq!(
            names(&org, &format!("SELECT Name FROM Account WHERE {filter}")).join(" "),
            wanted,
            "{filter}"
        );
    }
    assert_eq!(
        names(&org, "SELECT Name FROM Account ORDER BY Budget__c DESC NULLS LAST").join(" "),
        "banana Apple Cherry_1"
    );
    assert_eq!(
        names(&org, "SELECT Name FROM Account ORDER BY Budget__c").join(" "),
        "Cherry_1 Apple banana"
    );
    assert_eq!(
        names(&org, "SELECT Name FROM Account ORDER BY Id DESC LIMIT 1 OFFSET 1").join(" "),
        "banana"
    );
    assert_eq!(names(&org, "SELECT Name FROM Account LIMIT 0").join(" "), "");
}

#[test]
fn refusals_in_the_vendors_words() {
    for (soql, code, text) in [
        (
            "select count() from XYZZY",
            "INVALID_TYPE",
            "\nselect count() from XYZZY\n                    ^\nERROR at Row:1:Column:21\nsObject type 'XYZZY' is not supported.",
        ),
        (
            "SELECT Id, Foo__c FROM Account",
            "INVALID_FIELD",
            "\nSELECT Id, Foo__c FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo__c' on entity 'Account'. If you",
        ),
        (
            "SELECT Id, Nix.Name FROM Account",
            "INVALID_FIELD",
            "Didn't understand relationship 'Nix'",
        ),
        (
            "SELECT Id, Parent.Nix FROM Account",
            "INVALID_FIELD",
            "No such column 'Nix' on entity 'Account'",
        ),
        (
            "SELECT Id FROM Account WHERE Description = 'x'",
            "INVALID_FIELD",
            "field 'Description' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Account ORDER BY Description",
            "MALFORMED_QUERY",
            "field 'Description' can not be sorted",
        ),
        (
            "SELECT Id FROM Account WHERE Name = 5",
            "INVALID_FIELD",
            "'Name' must be of type string and should be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate = '2026-01-01'",
            "INVALID_FIELD",
            "must be of type dateTime and should not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE AnnualRevenue > '5'",
            "INVALID_FIELD",
            "must be of type double and should not",
        ),
        (
            "SELECT Id FROM Account WHERE IsDeleted = 'true'",
            "INVALID_FIELD",
            "must be of type boolean and should not",
        ),
        (
            "SELECT Id FROM Account WHERE Id = '123'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid ID field: 123",
        ),
        (
            "SELECT Id FROM Account WHERE IsDeleted > true",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator",
        ),
        ("SELECT Id, id FROM Account", "INVALID_FIELD", "duplicate field selected"),
    ] {
        let error = refusal(org(), soql);
        assert_eq!(error.code, code, "{soql}: {error}");
        assert!(error.message.contains(text), "{soql}: {error}");
        assert_eq!(error.status, 400);
    }
}

#[test]
fn access_hides() {
    let full = Access::full();
    let half = Access {
        hidden_percent: 50,
        hidden_fields: [("account".to_owned(), "phone".to_owned())].into(),
        hidden_objects: ["Lead".to_owned()].into(),
        ..Access::default()
    };
    let count = |a: &Access| org().query("SELECT Id FROM Account", false, a, now()).unwrap().total;
    assert_eq!(count(&full), 300);
    assert!((90..210).contains(&count(&half)), "{}", count(&half));
    let seeing = Access { view_all: true, ..half.clone() };
    assert_eq!(count(&seeing), 300);
    assert_eq!(
        org().query("SELECT Phone FROM Account", false, &half, now()).unwrap_err().code,
        "INVALID_FIELD"
    );
    assert_eq!(
        org().query("SELECT Account.Phone FROM Contact", false, &half, now()).unwrap_err().code,
        "INVALID_FIELD"
    );
    assert_eq!(
        org().query("SELECT Id FROM Lead", false, &half, now()).unwrap_err().code,
        "INVALID_TYPE"
    );
    assert_eq!(org().describe("Lead", &half).unwrap_err().code, "NOT_FOUND");
    assert!(!org().describe("Account", &half).unwrap().to_string().contains("\"name\":\"Phone\""));
}
