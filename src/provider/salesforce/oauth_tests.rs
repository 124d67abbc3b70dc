use super::*;
use crate::provider::salesforce::testing::{data, recorded};

#[test]
fn every_row_of_the_table() {
    use Reason::{
        AppBlocked, ClientSecretExpired, CredentialsChanged, GrantExpired, GrantRevoked,
        UserDeactivated,
    };
    for (error, description, reason) in [
        ("invalid_grant", "expired access/refresh token", GrantRevoked),
        ("invalid_grant", "Inactive User", UserDeactivated),
        ("inactive_user", "user is inactive", UserDeactivated),
        ("invalid_grant", "authentication failure", CredentialsChanged),
        ("invalid_grant", "authentication failure - Invalid Password", CredentialsChanged),
        ("invalid_grant", "expired authorization code", GrantExpired),
        ("invalid_grant", "invalid authorization code", GrantExpired),
        ("invalid_grant", "invalid code verifier", GrantExpired),
        ("invalid_grant", "user hasn't approved this consumer", AppBlocked),
        ("invalid_app_access", "user is not admin approved to access this app", AppBlocked),
        ("invalid_client", "invalid client credentials", ClientSecretExpired),
        ("invalid_client", "app must be installed into org", AppBlocked),
        ("invalid_client", "External client app is not installed in this org", AppBlocked),
        ("OAUTH_APP_BLOCKED", "this app is blocked by admin", AppBlocked),
        ("OAUTH_APP_ACCESS_DENIED", "user is not admin approved", AppBlocked),
        ("OAUTH_APPROVAL_ERROR_GENERIC", "", AppBlocked),
        ("invalid_grant", "wording of next year", GrantRevoked),
    ] {
        let fault = token_fault(400, error, description);
        let Fault::NeedsAuthorization { reason: found, text } = &fault else {
            panic!("{error} {description}: {fault:?}");
        };
        assert_eq!(found, &reason, "{error} {description}");
        assert!(text.contains(error), "{text}");
    }
    let is = |error: &str, description: &str| token_fault(400, error, description);
    for (error, description) in [
        ("invalid_client_id", "client identifier invalid"),
        ("invalid_grant", "no client credentials user enabled"),
        ("invalid_grant", "Audience validation failed"),
        ("invalid_grant", "invalid assertion"),
        ("unsupported_grant_type", ""),
        ("unsupported_response_type", ""),
        ("invalid_request", ""),
        ("invalid_scope", ""),
        ("redirect_uri_missing", ""),
        ("redirect_uri_mismatch", ""),
    ] {
        let fault = is(error, description);
        let Fault::Misconfigured { what } = &fault else { panic!("{error}: {fault:?}") };
        assert!(what.contains("hint: "), "{what}");
    }
    assert!(matches!(is("inactive_org", ""), Fault::Suspended { .. }));
    assert!(matches!(is("invalid_grant", "inactive organization"), Fault::Suspended { .. }));
    assert!(matches!(
        is("invalid_grant", "ip restricted or invalid login hours"),
        Fault::AddressNotAllowed { .. }
    ));
    let slow = SignedDuration::from_mins(30);
    for fault in [is("rate_limit_exceeded", ""), is("invalid_grant", "login rate exceeded")] {
        assert!(matches!(fault, Fault::Passing { retry_after: Some(w), .. } if w == slow));
    }
    assert!(matches!(is("access_denied", "end-user denied"), Fault::Denied { .. }));
    assert!(matches!(is("immediate_unsuccessful", ""), Fault::Denied { .. }));
    assert!(matches!(is("brand_new", "?"), Fault::Contract { .. }));
}

#[test]
fn trouble_of_the_host_never_costs_a_grant() {
    for status in [500, 502, 503, 429, 420, 408] {
        let fault = token_fault(status, "invalid_grant", "expired access/refresh token");
        assert!(matches!(fault, Fault::Passing { .. }), "{status}");
    }
    assert!(matches!(token_fault(400, "", ""), Fault::Contract { .. }));
}

#[test]
fn recorded_refusals_are_all_understood() {
    let Some(dir) = data() else { return };
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&recorded(&dir, "constructed/oauth_errors.json")).unwrap();
    assert!(all.len() >= 18);
    let mut bodies: Vec<serde_json::Value> = all.iter().map(|e| e["body"].clone()).collect();
    for name in ["restforce_auth_error_response", "restforce_refresh_error_response"] {
        let text = recorded(&dir, &format!("oauth/{name}.json"));
        bodies.push(serde_json::from_str(&text).unwrap());
    }
    for body in bodies {
        let fault = token_fault(
            400,
            body["error"].as_str().unwrap(),
            body["error_description"].as_str().unwrap(),
        );
        assert!(!matches!(fault, Fault::Contract { .. }), "{body}");
    }
}
