//! Data calls: shapes, costs, permissions, quota.

use serde_json::{Value, json};

use crate::support::Sandbox;

const BASE: &str = "/services/data/v64.0";

fn query(soql: &str) -> String {
    let soql: String = url::form_urlencoded::byte_serialize(soql.as_bytes()).collect();
    format!("{BASE}/query?q={soql}")
}

fn used(sandbox: &Sandbox) -> u64 {
    sandbox.ctl("quota", &[])["used"].as_u64().unwrap()
}

#[test]
fn every_call_costs_what_the_vendor_says() {
    let sandbox = Sandbox::start(&["--records", "Account=30"]);
    let token = sandbox.token();
    assert_eq!(used(&sandbox), 0, "the token endpoint is free");
    let versions = sandbox.send("GET", "/services/data/", &[], "").unwrap();
    assert_eq!(versions.json()[29]["version"], "60.0");
    assert_eq!(versions.header("sforce-limit-info"), None);
    assert!(versions.header("date").is_some());
    assert_eq!(used(&sandbox), 0);

    let answer = sandbox.get(&query("SELECT Id FROM Account"), &token);
    assert_eq!(answer.header("sforce-limit-info"), Some("api-usage=1/15000"));
    assert_eq!(answer.json()["totalSize"], 30);
    let parts: Vec<Value> = (0..5)
        .map(|n| json!({"method": "GET", "referenceId": format!("r{n}"), "url": format!("{BASE}/query?q=SELECT Id FROM Account LIMIT {n}")}))
        .collect();
    let composite = json!({"compositeRequest": parts});
    let answer = sandbox.json("POST", &format!("{BASE}/composite"), &token, &composite);
    assert_eq!(answer.json()["compositeResponse"][4]["body"]["totalSize"], 4);
    assert_eq!(used(&sandbox), 2, "a composite is one call");
    let mut six = parts.clone();
    six.push(json!({"method": "GET", "referenceId": "r6", "url": query("SELECT Id FROM Account")}));
    let answer = sandbox.json(
        "POST",
        &format!("{BASE}/composite"),
        &token,
        &json!({"compositeRequest": six}),
    );
    assert_eq!((answer.status, answer.code().as_str()), (400, "LIMIT_EXCEEDED"));
    let batch = json!({"batchRequests": [
        {"method": "GET", "url": "v64.0/limits"},
        {"method": "GET", "url": "v64.0/sobjects/Nope/describe"},
        {"method": "GET", "url": "v64.0/query?q=SELECT+count()+FROM+Account"},
    ]});
    let answer = sandbox.json("POST", &format!("{BASE}/composite/batch"), &token, &batch).json();
    assert_eq!(answer["hasErrors"], true);
    assert_eq!(answer["results"][1]["statusCode"], 404);
    assert_eq!(answer["results"][2]["result"]["totalSize"], 30);
    assert_eq!(used(&sandbox), 6, "a refused composite one, a batch of three three");

    let describe = format!("{BASE}/sobjects/Account/describe");
    let answer = sandbox.get(&describe, &token);
    let stamp = answer.header("last-modified").unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let ask = || {
        let headers = [("Authorization", bearer.as_str()), ("If-Modified-Since", stamp.as_str())];
        sandbox.send("GET", &describe, &headers, "").unwrap()
    };
    assert_eq!(ask().status, 304);
    assert_eq!(used(&sandbox), 8, "a 304 costs too");
    sandbox.ctl("clock", &["+5"]);
    sandbox.ctl("field", &["add", "Account", "New__c", "string"]);
    let body = ask().json();
    let fields = body["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["name"] == "New__c"));
}

#[test]
fn the_quota_ends_and_comes_back() {
    let sandbox = Sandbox::start(&["--quota-max", "10"]);
    let token = sandbox.token();
    sandbox.ctl("others-spend", &["9"]);
    let limits = format!("{BASE}/limits");
    let answer = sandbox.get(&limits, &token);
    assert_eq!(answer.json()["DailyApiRequests"], json!({"Max": 10, "Remaining": 0}));
    let answer = sandbox.get(&limits, &token);
    assert_eq!((answer.status, answer.code().as_str()), (403, "REQUEST_LIMIT_EXCEEDED"));
    assert_eq!(answer.json()[0]["message"], "TotalRequests Limit exceeded.");
    assert_eq!(answer.header("sforce-limit-info"), Some("api-usage=10/10"));
    sandbox.ctl("clock", &["+90000"]);
    assert_eq!(sandbox.get(&limits, &token).status, 200, "the window has rolled on");
}

#[test]
fn what_a_user_may_not_he_does_not_get() {
    let sandbox = Sandbox::start(&["--records", "Account=200", "--records", "Contact=5"]);
    let ada = sandbox.token();
    let bob = sandbox.token_of("bob");
    let answer = sandbox.get(&format!("{BASE}/limits"), &bob);
    assert_eq!((answer.status, answer.code().as_str()), (403, "API_DISABLED_FOR_ORG"));
    let count = |token: &str| {
        sandbox.get(&query("SELECT count() FROM Account"), token).json()["totalSize"].as_u64()
    };
    assert_eq!(count(&ada), Some(200));
    assert!(count(&bob) < Some(200), "bob sees four in five");
    let soql =
        "SELECT PermissionsApiEnabled, PermissionsViewSetup FROM UserPermissionAccess LIMIT 1";
    let row = |token: &str| sandbox.get(&query(soql), token).json()["records"][0].clone();
    assert_eq!(row(&ada)["PermissionsViewSetup"], true);
    assert_eq!(row(&bob)["PermissionsViewSetup"], false);
    let soql = "SELECT Id, Username, IsActive, ProfileId, Profile.Name, UserRoleId, UserType, LastPasswordChangeDate FROM User WHERE Username = 'bob@example.com'";
    let user = sandbox.get(&query(soql), &ada).json()["records"][0].clone();
    assert_eq!(user["IsActive"], true);
    assert_eq!(user["Profile"]["Name"], "Standard User");
    let org = sandbox.get(&query("SELECT Id, Name, IsSandbox FROM Organization"), &bob).json();
    assert_eq!(org["records"][0]["Id"], sandbox.ready["org_id"]);

    sandbox.ctl("hide-field", &["bob", "Account", "Phone", "on"]);
    let answer = sandbox.get(&query("SELECT Phone FROM Account"), &bob);
    assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_FIELD"));
    assert_eq!(sandbox.get(&query("SELECT Phone FROM Account"), &ada).status, 200);
    sandbox.ctl("hide-object", &["bob", "Contact", "on"]);
    assert_eq!(sandbox.get(&query("SELECT Id FROM Contact"), &bob).code(), "INVALID_TYPE");
    assert_eq!(sandbox.get(&format!("{BASE}/sobjects/Contact/describe"), &bob).status, 404);
    sandbox.ctl("permission", &["bob", "ApiEnabled", "off"]);
    let answer = sandbox.get(&query("SELECT Id FROM Account"), &bob);
    assert_eq!((answer.status, answer.code().as_str()), (403, "API_CURRENTLY_DISABLED"));
}

#[test]
fn addresses_that_are_none_are_told_so() {
    let sandbox = Sandbox::start(&[]);
    let token = sandbox.token();
    assert_eq!(sandbox.get("/services/data/v30.0/limits", &token).status, 410);
    for path in ["v99.0/limits", "v64.0/nothing", "vX/limits", "v64.0/sobjects/Nope/describe"] {
        let answer = sandbox.get(&format!("/services/data/{path}"), &token);
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
    let long = format!("{BASE}/query?q={}", "x".repeat(16_384));
    assert_eq!(sandbox.get(&long, &token).status, 414);
    let answer = sandbox.send("GET", &format!("{BASE}/limits"), &[], "").unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SESSION_ID"));
    for body in ["", "[", "[]", "{\"compositeRequest\":5}", "\u{0}"] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let target = format!("{BASE}/composite");
        let answer = sandbox.send("POST", &target, &headers, body).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "JSON_PARSER_ERROR"), "{body}");
    }
}

#[test]
fn pages_follow_each_other_until_the_cursor_expires() {
    let sandbox = Sandbox::start(&["--records", "Account=450"]);
    let token = sandbox.token();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Sforce-Query-Options", "batchSize=200")];
    let mut target = query("SELECT Id FROM Account ORDER BY Id");
    let mut ids: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let page = sandbox.send("GET", &target, &headers, "").unwrap().json();
        pages += 1;
        let rows = page["records"].as_array().unwrap();
        ids.extend(rows.iter().map(|row| row["Id"].as_str().unwrap().to_owned()));
        match page["nextRecordsUrl"].as_str() {
            Some(next) => target = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((pages, ids.len()), (3, 450));
    assert!(ids.is_sorted());
    assert!(target.ends_with("-400"), "{target}");
    sandbox.ctl("page-size", &["7"]);
    let page = sandbox.get(&query("SELECT Id FROM Account"), &token).json();
    assert_eq!(page["records"].as_array().unwrap().len(), 7);
    sandbox.ctl("expire-locators", &[]);
    let next = page["nextRecordsUrl"].as_str().unwrap();
    let answer = sandbox.get(next, &token);
    assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_QUERY_LOCATOR"));
}

#[test]
fn collections_and_upserts_answer_record_by_record() {
    let sandbox = Sandbox::start(&["--records", "Contact=1"]);
    let token = sandbox.token();
    let target = format!("{BASE}/composite/sobjects");
    let body = json!({"allOrNone": false, "records": [
        {"attributes": {"type": "Contact"}, "LastName": "One", "Email": "one@example.com"},
        {"attributes": {"type": "Contact"}, "Nonsense__c": 1},
        {"attributes": {"type": "Nope"}, "Name": "x"},
    ]});
    let results = sandbox.json("POST", &target, &token, &body).json();
    assert_eq!(results[0]["success"], true);
    assert_eq!(results[1]["success"], false);
    assert!(results[1]["errors"][0]["statusCode"].is_string());
    assert_eq!(results[2]["success"], false);
    let id = results[0]["id"].as_str().unwrap();
    let upsert = json!({"records": [
        {"attributes": {"type": "Contact"}, "LastName": "Uno", "Email": "one@example.com"},
        {"attributes": {"type": "Contact"}, "LastName": "Two", "Email": "two@example.com"},
    ]});
    let results = sandbox.json("PATCH", &format!("{target}/Contact/Email"), &token, &upsert).json();
    assert_eq!(results[0]["created"], false, "{results}");
    assert_eq!(results[0]["id"], id);
    assert_eq!(results[1]["created"], true);
    let read = sandbox
        .get(&format!("{target}/Contact?ids={id},003000000000000AAA&fields=LastName"), &token)
        .json();
    assert_eq!(read[0]["LastName"], "Uno");
    assert_eq!(read[1], Value::Null);
    let answer = sandbox.json("DELETE", &format!("{target}?ids={id}"), &token, &json!({}));
    assert_eq!(answer.json()[0]["success"], true);
    let answer = sandbox.get(&format!("{BASE}/sobjects/Contact/{id}"), &token);
    assert_eq!((answer.status, answer.code().as_str()), (404, "ENTITY_IS_DELETED"));
}
