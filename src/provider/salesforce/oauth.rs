//! What a refusal of the log-in host means: one table, from OAuth's `error` and a piece of its
//! description.
//!
//! Invariants: only documented refusals lead to "needs authorization"; trouble of the host itself
//! (5xx, HTML, nothing readable) never does. Wording drifts, so descriptions are compared in
//! lower case and by substring, the first matching row wins.

use crmsync_core::domain::{Fault, Reason};
use jiff::SignedDuration;

enum Means {
    Reason(Reason),
    Suspended,
    Address,
    Misconfigured(&'static str),
    LoginRate,
    Denied,
}

/// Dossier section 2.10: error (empty: any), piece of the description (empty: any), meaning.
/// Source: Help "OAuth 2.0 Authorization Errors", and what public clients met.
const TABLE: &[(&str, &str, Means)] = &[
    ("", "login rate exceeded", Means::LoginRate),
    ("rate_limit_exceeded", "", Means::LoginRate),
    ("invalid_grant", "inactive user", Means::Reason(Reason::UserDeactivated)),
    ("invalid_grant", "user is inactive", Means::Reason(Reason::UserDeactivated)),
    ("inactive_user", "", Means::Reason(Reason::UserDeactivated)),
    ("inactive_org", "", Means::Suspended),
    ("invalid_grant", "inactive org", Means::Suspended),
    ("invalid_grant", "organization is", Means::Suspended),
    ("invalid_grant", "ip restricted", Means::Address),
    ("invalid_grant", "login hours", Means::Address),
    ("invalid_grant", "authentication failure", Means::Reason(Reason::CredentialsChanged)),
    ("invalid_grant", "authorization code", Means::Reason(Reason::GrantExpired)),
    ("invalid_grant", "code verifier", Means::Reason(Reason::GrantExpired)),
    ("invalid_grant", "approved this consumer", Means::Reason(Reason::AppBlocked)),
    (
        "invalid_grant",
        "no client credentials user",
        Means::Misconfigured("set the Run As user of the app's client credentials flow"),
    ),
    (
        "invalid_grant",
        "audience",
        Means::Misconfigured("login_url must be the host that the app's org logs in at"),
    ),
    (
        "invalid_grant",
        "invalid assertion",
        Means::Misconfigured("the app's certificate and our key must belong together"),
    ),
    ("invalid_grant", "", Means::Reason(Reason::GrantRevoked)),
    ("invalid_app_access", "", Means::Reason(Reason::AppBlocked)),
    ("oauth_app_access_denied", "", Means::Reason(Reason::AppBlocked)),
    ("oauth_app_blocked", "", Means::Reason(Reason::AppBlocked)),
    ("oauth_approval_error_generic", "", Means::Reason(Reason::AppBlocked)),
    ("", "app is not installed", Means::Reason(Reason::AppBlocked)),
    ("", "app must be installed", Means::Reason(Reason::AppBlocked)),
    ("", "blocked by admin", Means::Reason(Reason::AppBlocked)),
    (
        "",
        "client identifier invalid",
        Means::Misconfigured("client_id must be the app's consumer key; a new app needs minutes"),
    ),
    ("invalid_client_id", "", Means::Misconfigured("client_id must be the app's consumer key")),
    ("invalid_client", "", Means::Reason(Reason::ClientSecretExpired)),
    ("access_denied", "", Means::Denied),
    ("immediate_unsuccessful", "", Means::Denied),
    ("unsupported_grant_type", "", Means::Misconfigured("the app must allow this flow")),
    ("unsupported_response_type", "", Means::Misconfigured("the app must allow this flow")),
    (
        "invalid_scope",
        "",
        Means::Misconfigured("the app must allow the scopes api, refresh_token, id"),
    ),
    (
        "redirect_uri_missing",
        "",
        Means::Misconfigured("register the callback address with the app"),
    ),
    (
        "redirect_uri_mismatch",
        "",
        Means::Misconfigured("register the callback address with the app"),
    ),
    (
        "invalid_request",
        "",
        Means::Misconfigured("compare login_url, client_id and callback with the app"),
    ),
    ("unauthorized_client", "", Means::Misconfigured("the app must allow this flow")),
];

/// Turns an OAuth error, of the token endpoint or in a redirect, into a fault.
pub fn token_fault(status: u16, error: &str, description: &str) -> Fault {
    let code = error.to_ascii_lowercase();
    let lower = description.to_lowercase();
    let text = match (error, description) {
        ("", "") => format!("the token endpoint answered {status}"),
        (error, "") => error.to_owned(),
        ("", description) => description.to_owned(),
        (error, description) => format!("{error}: {description}"),
    };
    let text = crate::provider::http::excerpt(&text);
    if status >= 500 || matches!(status, 408 | 420 | 429) {
        return Fault::passing(text);
    }
    let row = TABLE.iter().find(|(name, piece, _)| {
        (name.is_empty() || *name == code) && (piece.is_empty() || lower.contains(piece))
    });
    match row.map(|(_, _, means)| means) {
        Some(Means::Reason(reason)) => Fault::NeedsAuthorization { reason: reason.clone(), text },
        Some(Means::Suspended) => Fault::Suspended { what: text },
        Some(Means::Address) => Fault::AddressNotAllowed { what: text },
        Some(Means::Misconfigured(hint)) => {
            Fault::Misconfigured { what: format!("{text}; hint: {hint}") }
        }
        Some(Means::LoginRate) => {
            Fault::Passing { what: text, retry_after: Some(SignedDuration::from_mins(30)) }
        }
        Some(Means::Denied) => Fault::Denied { object: None, field: None, permission: text },
        None => Fault::Contract { what: text },
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
