#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crate::provider::salesforce::testing::{data, recorded};
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderValue};

fn judged(status: u16, body: &str) -> Failure {
    part_refusal(status, body.as_bytes(), About { object: Some("Account") })
}

fn array(code: &str, message: &str) -> String {
    serde_json::json!([{"message": message, "errorCode": code}]).to_string()
}

fn answer(status: u16, body: &str, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_static(value));
    }
    Answer { status, headers: map, body: body.as_bytes().to_vec(), host: "x.example".into() }
}

/// What the core is to see, by word.
fn word(failure: &Failure) -> &'static str {
    match failure {
        Failure::SessionDead(_) => "session",
        Failure::Held => "held",
        Failure::Fault(fault) => match fault {
            Fault::Passing { .. } => "passing",
            Fault::QuotaReached { .. } => "quota",
            Fault::NeedsAuthorization { reason, .. } => match reason {
                Reason::PermissionsMissing { .. } => "permission",
                Reason::CredentialsChanged => "credentials",
                Reason::AppBlocked => "blocked",
                Reason::UserDeactivated => "user",
                _ => "authorization",
            },
            Fault::Denied { .. } => "denied",
            Fault::SchemaMoved { field: Some(_), .. } => "field",
            Fault::SchemaMoved { field: None, .. } => "object",
            Fault::CursorLost { .. } => "cursor",
            Fault::Conflict { .. } => "conflict",
            Fault::RecordRefused { .. } => "record",
            Fault::Misconfigured { .. } => "misconfigured",
            Fault::AddressNotAllowed { .. } => "address",
            Fault::Suspended { .. } => "suspended",
            Fault::Contract { .. } => "contract",
        },
    }
}

#[test]
fn every_row_of_the_table() {
    let field = "No such column 'Foo__c' on entity 'Account'. If you";
    for (code, status, message, expected) in [
        ("INVALID_SESSION_ID", 401, "Session expired or invalid", "session"),
        ("INVALID_AUTH_HEADER", 401, "", "contract"),
        ("REQUEST_LIMIT_EXCEEDED", 403, "TotalRequests Limit exceeded.", "quota"),
        ("REQUEST_LIMIT_EXCEEDED", 403, "ConcurrentPerOrgLongTxn Limit exceeded.", "passing"),
        ("REQUEST_LIMIT_EXCEEDED", 403, "ConcurrentRequests Limit exceeded.", "passing"),
        ("API_CURRENTLY_DISABLED", 403, "API is disabled for this User", "permission"),
        ("API_DISABLED_FOR_ORG", 403, "limits resource is not enabled", "denied"),
        ("API_DISABLED_FOR_ORG", 403, "The REST API is not enabled", "misconfigured"),
        ("INSUFFICIENT_ACCESS", 403, "", "denied"),
        ("INSUFFICIENT_ACCESS_OR_READONLY", 400, "", "denied"),
        ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", 400, "", "denied"),
        ("TRANSFER_REQUIRES_READ", 400, "", "denied"),
        ("FUNCTIONALITY_NOT_ENABLED", 403, "", "denied"),
        ("CLIENT_NOT_ACCESSIBLE_FOR_USER", 403, "", "blocked"),
        ("TXN_SECURITY_NO_ACCESS", 403, "", "denied"),
        ("TXN_SECURITY_METERING_ERROR", 401, "", "passing"),
        ("OPERATION_WITH_INVALID_USER_TYPE", 403, "", "credentials"),
        ("OPERATION_WITH_INVALID_USER_TYPE_EXCEPTION", 403, "", "credentials"),
        ("OP_WITH_INVALID_USER_TYPE_EXCEPTION", 403, "", "credentials"),
        ("INVALID_OPERATION_WITH_EXPIRED_PASSWORD", 403, "", "credentials"),
        ("ORG_LOCKED", 403, "", "suspended"),
        ("TRIAL_EXPIRED", 403, "", "suspended"),
        ("ORG_IN_MAINTENANCE", 503, "", "passing"),
        ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", 503, "", "passing"),
        ("NOT_FOUND", 404, "The requested resource does not exist", "object"),
        ("ENTITY_IS_DELETED", 404, "", "record"),
        ("INVALID_TYPE", 400, "sObject type 'XYZZY' is not supported.", "object"),
        ("INVALID_FIELD", 400, field, "field"),
        ("INVALID_FIELD", 400, "Didn't understand relationship 'X'", "contract"),
        ("INVALID_FIELD_FOR_INSERT_UPDATE", 400, "", "record"),
        ("MALFORMED_QUERY", 400, "unexpected token: 'FORM'", "contract"),
        ("MALFORMED_SEARCH", 400, "", "contract"),
        ("INVALID_QUERY_FILTER_OPERATOR", 400, "", "contract"),
        ("QUERY_TOO_COMPLICATED", 400, "", "contract"),
        ("QUERY_TIMEOUT", 400, "", "passing"),
        ("INVALID_QUERY_LOCATOR", 400, "", "cursor"),
        ("INVALID_REPLICATION_DATE", 400, "", "cursor"),
        ("EXCEEDED_ID_LIMIT", 400, "", "cursor"),
        ("EXTERNAL_OBJECT_EXCEPTION", 400, "", "denied"),
        ("EXTERNAL_OBJECT_CONNECTION_EXCEPTION", 400, "", "denied"),
        ("OPERATION_TOO_LARGE", 400, "", "denied"),
        ("EXCEEDED_MAX_SIZE_REQUEST", 413, "", "contract"),
        ("UNABLE_TO_LOCK_ROW", 400, "", "passing"),
        ("SERVER_UNAVAILABLE", 503, "", "passing"),
        ("SERVICE_UNAVAILABLE", 503, "", "passing"),
        ("UNKNOWN_EXCEPTION", 500, "", "passing"),
        ("INTERNAL_ERROR", 500, "", "passing"),
        ("REQUEST_RUNNING_TOO_LONG", 503, "", "passing"),
        ("JSON_PARSER_ERROR", 400, "", "contract"),
        ("XML_PARSER_ERROR", 400, "", "contract"),
        ("UNSUPPORTED_MEDIA_TYPE", 415, "", "contract"),
        ("METHOD_NOT_ALLOWED", 405, "", "contract"),
        ("UNSUPPORTED_API_VERSION", 404, "", "misconfigured"),
        ("MALFORMED_ID", 400, "", "record"),
        ("INVALID_ID_FIELD", 400, "", "record"),
        ("INVALID_CROSS_REFERENCE_KEY", 400, "", "record"),
        ("DUPLICATE_VALUE", 400, "", "record"),
        ("DUPLICATES_DETECTED", 400, "", "record"),
        ("REQUIRED_FIELD_MISSING", 400, "", "record"),
        ("STRING_TOO_LONG", 400, "", "record"),
        ("INVALID_EMAIL_ADDRESS", 400, "", "record"),
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", 400, "", "record"),
        ("FIELD_INTEGRITY_EXCEPTION", 400, "", "record"),
        ("FIELD_FILTER_VALIDATION_EXCEPTION", 400, "", "record"),
        ("NUMBER_OUTSIDE_VALID_RANGE", 400, "", "record"),
        ("INACTIVE_OWNER_OR_USER", 400, "", "record"),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", 400, "", "record"),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 400, "", "record"),
        ("APEX_ERROR", 500, "", "record"),
        ("CANNOT_UPDATE_CONVERTED_LEAD", 400, "", "record"),
        ("ENTITY_IS_LOCKED", 400, "", "record"),
        ("STORAGE_LIMIT_EXCEEDED", 403, "", "record"),
        ("LIMIT_EXCEEDED", 400, "", "passing"),
        ("TOO_MANY_APEX_REQUESTS", 403, "", "passing"),
        ("MAX_BATCH_SIZE_EXCEEDED", 400, "", "passing"),
        ("ALL_OR_NONE_OPERATION_ROLLED_BACK", 400, "", "passing"),
        ("PROCESSING_HALTED", 400, "", "passing"),
        ("SOMETHING_NEW", 400, "", "contract"),
        ("SOMETHING_NEW", 500, "", "passing"),
        ("SOMETHING_NEW", 429, "", "passing"),
        ("SOMETHING_NEW", 410, "", "misconfigured"),
    ] {
        assert_eq!(word(&judged(status, &array(code, message))), expected, "{code} {message}");
    }
    let unknown = TABLE.iter().filter(|(code, _)| means(code).is_none()).count();
    assert_eq!(unknown, 0);
}

#[test]
fn a_lost_field_and_object_are_named_as_we_named_them() {
    let moved = |message: &str, code: &str, object: &str| {
        part_refusal(400, array(code, message).as_bytes(), About { object: Some(object) })
    };
    assert_eq!(
        moved(
            "\nERROR at Row:1:Column:12\nNo such column 'Foo__c' on entity 'Account'. If",
            "INVALID_FIELD",
            "account"
        ),
        Fault::SchemaMoved { object: "account".into(), field: Some("Foo__c".into()) }.into()
    );
    assert_eq!(
        moved("No such column 'foo' on sobject of type Bar", "INVALID_FIELD", "Bar"),
        Fault::SchemaMoved { object: "Bar".into(), field: Some("foo".into()) }.into()
    );
    assert_eq!(
        moved("sObject type 'XYZZY' is not supported.", "INVALID_TYPE", "Account"),
        Fault::SchemaMoved { object: "XYZZY".into(), field: None }.into()
    );
}

#[test]
fn text_and_pages_and_oauth_bodies() {
    let of = |status, body: &str| word(&refusal(&answer(status, body, &[]), About::default()));
    assert_eq!(of(403, "Bad_OAuth_Token"), "session");
    assert_eq!(of(403, "Missing_OAuth_Token"), "session");
    assert_eq!(of(403, "Wrong_Org"), "contract");
    assert_eq!(of(404, "Inactive"), "user");
    assert_eq!(of(404, "No_Access"), "denied");
    assert_eq!(of(401, ""), "session");
    assert_eq!(of(500, "<html>INVALID_SESSION_ID</html>"), "session");
    assert_eq!(of(503, "<!DOCTYPE html><p>Down for maintenance</p>"), "passing");
    assert_eq!(of(200, "<html>maintenance</html>"), "passing");
    assert_eq!(of(420, ""), "passing");
    assert_eq!(of(400, "what?"), "contract");
    assert_eq!(of(410, "gone"), "misconfigured");
    assert_eq!(of(400, r#"{"error":"invalid_grant","error_description":"inactive user"}"#), "user");
    assert_eq!(of(300, r#"["/services/data/v23.0/sobjects/Whizbang/foo"]"#), "contract");
}

#[test]
fn a_wish_to_wait_is_kept() {
    let wait = |headers: &[(&'static str, &'static str)]| match refusal(
        &answer(503, "", headers),
        About::default(),
    ) {
        Failure::Fault(Fault::Passing { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(&[("retry-after", "120")]), Some(SignedDuration::from_secs(120)));
    assert_eq!(wait(&[("retry-after", "-5")]), None);
    assert_eq!(
        wait(&[
            ("date", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("retry-after", "Wed, 21 Oct 2026 07:29:30 GMT")
        ]),
        Some(SignedDuration::from_secs(90))
    );
    assert_eq!(wait(&[("retry-after", "99999999999")]), Some(SignedDuration::from_hours(24)));
}

#[test]
fn recorded_refusals_are_all_understood() {
    let Some(dir) = data() else { return };
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&recorded(&dir, "constructed/rest_errors.json")).unwrap();
    for entry in &all {
        let status = u16::try_from(entry["status"].as_u64().unwrap()).unwrap();
        let failure = judged(status, &entry["body"].to_string());
        let code = entry["body"][0]["errorCode"].as_str().unwrap();
        let unforeseen = ["MALFORMED_QUERY", "JSON_PARSER_ERROR"].contains(&code);
        assert_eq!(word(&failure) == "contract", unforeseen, "{entry}");
    }
    let mut seen = 0;
    for file in std::fs::read_dir(dir.join("errors")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("restforce_") {
            let body = std::fs::read_to_string(&path).unwrap();
            assert_ne!(word(&judged(400, &body)), "held", "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} recorded errors");
    // No name of the vendor's own lists is ever taken for a dead grant, but for those of the table.
    for list in ["errors/enum_StatusCode_v47.json", "errors/enum_ExceptionCode_v47.json"] {
        let names = recorded(&dir, list);
        let value: serde_json::Value = serde_json::from_str(&names).unwrap();
        let mut codes = Vec::new();
        strings(&value, &mut codes);
        assert!(codes.len() > 100, "{list}");
        for code in codes {
            let w = word(&judged(400, &array(&code, "text")));
            let known = means(&code).is_some();
            assert!(known || matches!(w, "contract"), "{code}: {w}");
        }
    }
}

fn strings(value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::String(s) => out.push(s.clone()),
        serde_json::Value::Array(a) => a.iter().for_each(|v| strings(v, out)),
        serde_json::Value::Object(o) => o.values().for_each(|v| strings(v, out)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_body_panics(status in 0u16..1000, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let a = Answer { status, headers: HeaderMap::new(), body: body.clone(), host: "h".into() };
        let _ = refusal(&a, About::default());
        let _ = part_refusal(status, &body, About { object: Some("Account") });
    }

    #[test]
    fn no_message_panics(message in "\\PC{0,80}", status in 300u16..600) {
        for code in ["INVALID_FIELD", "INVALID_TYPE", "REQUEST_LIMIT_EXCEEDED"] {
            let m = format!("No such column '{message}");
            let _ = judged(status, &array(code, &m));
            let _ = judged(status, &array(code, &message));
        }
    }
}
