use super::*;
use crate::provider::salesforce::testing::{data, recorded};
use crate::provider::test_server::{Counter, http, serve};
use crmsync_core::domain::CredentialKind;
use proptest::prelude::*;
use reqwest::header::HeaderValue;

fn usage_of(text: &str) -> Vec<(u64, u64)> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert("sforce-limit-info", value);
    }
    header_usage(&headers).into_iter().map(|u| (u.used, u.max)).collect()
}

#[test]
fn the_header_is_read_leniently() {
    assert_eq!(usage_of("api-usage=18/5000"), [(18, 5000)]);
    assert_eq!(
        usage_of("api-usage=25/5000; per-app-api-usage=17/250(appName=sample)"),
        [(25, 5000)]
    );
    assert_eq!(
        usage_of("per-app-api-usage=17/250(appName=a), api-usage=6000/5000 "),
        [(6000, 5000)]
    );
    for odd in ["", "api-usage=", "api-usage=x/y", "api-usage=5", "usage=1/2", "api-usage=-1/5"] {
        assert_eq!(usage_of(odd), [], "{odd}");
    }
}

#[test]
fn recorded_limits() {
    let Some(dir) = data() else { return };
    let of = |name: &str| parse_limits(&recorded(&dir, name)).unwrap();
    let used = of("constructed/limits_enterprise_87_percent.json");
    assert_eq!((used[0].used, used[0].max), (189_737, 218_000));
    assert_eq!(used[0].limit, "DailyApiRequests");
    let all = of("constructed/limits_developer_edition.json");
    let names: Vec<&str> = all.iter().map(|u| u.limit.as_str()).collect();
    assert_eq!(names, LIMITS);
    assert_eq!((all[1].used, all[1].max), (0, 10_000));
}

#[tokio::test]
async fn the_header_goes_before_the_resource_and_stands_in_for_it() {
    let body = r#"{"DailyApiRequests":{"Max":100,"Remaining":97},"DailyBulkV2QueryJobs":{"Max":10,"Remaining":3}}"#;
    for (status, body, header, expected) in [
        (200, body, true, vec![5, 7]),
        (200, body, false, vec![3, 7]),
        (200, "nonsense", true, vec![5]),
        (
            403,
            r#"[{"errorCode":"API_DISABLED_FOR_ORG","message":"limits resource is not enabled"}]"#,
            true,
            vec![5],
        ),
        (
            403,
            r#"[{"errorCode":"API_DISABLED_FOR_ORG","message":"limits resource is not enabled"}]"#,
            false,
            vec![],
        ),
    ] {
        let told = ("sforce-limit-info", "api-usage=5/100".to_owned());
        let headers = move || if header { vec![told.clone()] } else { Vec::new() };
        let server = serve(move |_| (status, headers(), body.to_owned())).await;
        let (session, toll) = (server.session(), Counter::default());
        let sf = Salesforce::new(http(), &BTreeMap::new(), CredentialKind::Code).unwrap();
        let told = usage(&sf, Ctx { session: &session, toll: &toll }).await.unwrap().value;
        assert_eq!(told.iter().map(|u| u.used).collect::<Vec<_>>(), expected, "{status} {body}");
    }
}

#[test]
fn limits_of_any_shape() {
    let over = parse_limits(r#"{"DailyApiRequests":{"Max":10,"Remaining":-5}}"#).unwrap();
    assert_eq!((over[0].used, over[0].max), (15, 10));
    assert_eq!(parse_limits("{}").unwrap(), []);
    assert!(parse_limits(r#"{"DailyApiRequests":{"Max":10}}"#).is_err());
    assert!(parse_limits(r#"{"DailyApiRequests":{"Max":-1,"Remaining":-1}}"#).is_err());
    assert!(parse_limits("[]").is_err());
}

#[test]
fn recorded_userinfo_and_permissions() {
    let Some(dir) = data() else { return };
    let info: UserInfo =
        serde_json::from_str(&recorded(&dir, "constructed/oauth_userinfo.json")).unwrap();
    assert_eq!(info.organization_id, "00Dxx0000000001EAA");
    assert_eq!((info.user_id.as_str(), info.active), ("005xx0000000001AAA", Some(true)));
    let row = first_record(&recorded(&dir, "constructed/query_User_permissions.json")).unwrap();
    for (field, id, _) in PERMISSIONS {
        assert!(row[field].is_boolean(), "{field}");
        assert!(super::super::SPEC.needs.iter().any(|n| n.id == id), "{id}");
    }
}

#[test]
fn a_missing_permission_is_named_with_the_way_to_grant_it() {
    let check = permission("view-setup", VIEW_SETUP, Some(false));
    let CheckOutcome::Fail { detail, required } = check.outcome else { panic!() };
    assert!(detail.contains("View Setup and Configuration") && detail.contains("hint: Setup >"));
    assert!(!required);
    let check = permission("api-enabled", API_ENABLED, Some(false));
    assert!(matches!(check.outcome, CheckOutcome::Fail { required: true, .. }));
}

proptest! {
    #[test]
    fn no_header_panics(text in "[ -~]{0,80}") {
        let _ = usage_of(&text);
        let _ = usage_of(&format!("api-usage={text}"));
    }
}
