//! What a refusal of the REST interface means: one table, from the vendor's `errorCode`.
//!
//! Hides the shapes of errors: a JSON array, an OAuth object, bare text, an HTML page, parsed in
//! that order. Invariants: never fails on any bytes; an unknown code is judged by its HTTP class
//! and never taken for success nor for a dead grant.

use crate::provider::Failure;
use crate::provider::http::{Answer, excerpt};
use crmsync_core::domain::{Fault, Reason};
use jiff::SignedDuration;
use serde::Deserialize;
use std::borrow::Cow;

/// Where an answer came from, for faults that name an object.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// Object that the request was about.
    pub object: Option<&'a str>,
}

/// One entry of the vendor's error array. Collections say `statusCode` where the rest says
/// `errorCode`.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, alias = "statusCode")]
    #[serde(rename = "errorCode")]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct OAuthBody<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
    #[serde(borrow, default)]
    error_description: Cow<'a, str>,
}

#[derive(Clone, Copy)]
enum Means {
    SessionDead,
    Limit,
    ApiDisabledForOrg,
    NoApiPermission,
    Credentials,
    AppBlocked,
    Suspended,
    Denied,
    NotFound,
    NoType,
    NoField,
    CursorLost,
    Record,
    Passing,
    Version,
    Contract,
}

/// Dossier section 7. Sources: REST API Developer Guide "Status Codes and Error Responses" and
/// recorded answers.
const TABLE: &[(&str, Means)] = &[
    ("INVALID_SESSION_ID", Means::SessionDead),
    ("INVALID_AUTH_HEADER", Means::Contract),
    ("REQUEST_LIMIT_EXCEEDED", Means::Limit),
    ("API_CURRENTLY_DISABLED", Means::NoApiPermission),
    ("API_DISABLED_FOR_ORG", Means::ApiDisabledForOrg),
    ("INSUFFICIENT_ACCESS", Means::Denied),
    ("INSUFFICIENT_ACCESS_OR_READONLY", Means::Denied),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", Means::Denied),
    ("TRANSFER_REQUIRES_READ", Means::Denied),
    ("FUNCTIONALITY_NOT_ENABLED", Means::Denied),
    ("CLIENT_NOT_ACCESSIBLE_FOR_USER", Means::AppBlocked),
    ("TXN_SECURITY_NO_ACCESS", Means::Denied),
    ("TXN_SECURITY_METERING_ERROR", Means::Passing),
    ("OPERATION_WITH_INVALID_USER_TYPE", Means::Credentials),
    ("OPERATION_WITH_INVALID_USER_TYPE_EXCEPTION", Means::Credentials),
    ("OP_WITH_INVALID_USER_TYPE_EXCEPTION", Means::Credentials),
    ("INVALID_OPERATION_WITH_EXPIRED_PASSWORD", Means::Credentials),
    ("ORG_LOCKED", Means::Suspended),
    ("TRIAL_EXPIRED", Means::Suspended),
    ("ORG_IN_MAINTENANCE", Means::Passing),
    ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Means::Passing),
    ("NOT_FOUND", Means::NotFound),
    ("ENTITY_IS_DELETED", Means::Record),
    ("INVALID_TYPE", Means::NoType),
    ("INVALID_FIELD", Means::NoField),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", Means::Record),
    ("MALFORMED_QUERY", Means::Contract),
    ("MALFORMED_SEARCH", Means::Contract),
    ("INVALID_QUERY_FILTER_OPERATOR", Means::Contract),
    ("QUERY_TOO_COMPLICATED", Means::Contract),
    ("QUERY_TIMEOUT", Means::Passing),
    ("INVALID_QUERY_LOCATOR", Means::CursorLost),
    ("INVALID_REPLICATION_DATE", Means::CursorLost),
    ("EXCEEDED_ID_LIMIT", Means::CursorLost),
    ("EXTERNAL_OBJECT_EXCEPTION", Means::Denied),
    ("EXTERNAL_OBJECT_CONNECTION_EXCEPTION", Means::Denied),
    ("OPERATION_TOO_LARGE", Means::Denied),
    ("EXCEEDED_MAX_SIZE_REQUEST", Means::Contract),
    ("UNABLE_TO_LOCK_ROW", Means::Passing),
    ("SERVER_UNAVAILABLE", Means::Passing),
    ("SERVICE_UNAVAILABLE", Means::Passing),
    ("UNKNOWN_EXCEPTION", Means::Passing),
    ("INTERNAL_ERROR", Means::Passing),
    ("REQUEST_RUNNING_TOO_LONG", Means::Passing),
    ("JSON_PARSER_ERROR", Means::Contract),
    ("XML_PARSER_ERROR", Means::Contract),
    ("UNSUPPORTED_MEDIA_TYPE", Means::Contract),
    ("METHOD_NOT_ALLOWED", Means::Contract),
    ("UNSUPPORTED_API_VERSION", Means::Version),
    ("MALFORMED_ID", Means::Record),
    ("INVALID_ID_FIELD", Means::Record),
    ("INVALID_CROSS_REFERENCE_KEY", Means::Record),
    ("DUPLICATE_VALUE", Means::Record),
    ("DUPLICATES_DETECTED", Means::Record),
    ("REQUIRED_FIELD_MISSING", Means::Record),
    ("STRING_TOO_LONG", Means::Record),
    ("INVALID_EMAIL_ADDRESS", Means::Record),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Means::Record),
    ("FIELD_INTEGRITY_EXCEPTION", Means::Record),
    ("FIELD_FILTER_VALIDATION_EXCEPTION", Means::Record),
    ("NUMBER_OUTSIDE_VALID_RANGE", Means::Record),
    ("INACTIVE_OWNER_OR_USER", Means::Record),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", Means::Record),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Means::Record),
    ("APEX_ERROR", Means::Record),
    ("CANNOT_UPDATE_CONVERTED_LEAD", Means::Record),
    ("ENTITY_IS_LOCKED", Means::Record),
    ("STORAGE_LIMIT_EXCEEDED", Means::Record),
    ("LIMIT_EXCEEDED", Means::Passing),
    ("TOO_MANY_APEX_REQUESTS", Means::Passing),
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Means::Passing),
    ("PROCESSING_HALTED", Means::Passing),
];

fn means(code: &str) -> Option<Means> {
    let exact = TABLE.iter().find(|(name, _)| *name == code).map(|(_, means)| *means);
    // `MAX_…` is a family of governor limits.
    exact.or_else(|| code.starts_with("MAX_").then_some(Means::Passing))
}

/// Judges an answer whose status is not 2xx.
pub fn refusal(answer: &Answer, about: About<'_>) -> Failure {
    judge(answer.status, &answer.body, answer.retry_after(), about)
        .unwrap_or_else(|| answer.passing().unwrap_or_else(|| unforeseen(answer)).into())
}

/// Judges one part of a composite answer: no headers of its own.
pub fn part_refusal(status: u16, body: &[u8], about: About<'_>) -> Failure {
    judge(status, body, None, about).unwrap_or_else(|| {
        let text = format!("a part answered {status}: {}", shown(body));
        by_class(status, text, None)
    })
}

/// Code and message of the first entry, where it is the vendor's array.
pub fn first(body: &[u8]) -> Option<(String, String)> {
    let entries: Vec<Entry> = serde_json::from_slice(body).ok()?;
    let entry = entries.into_iter().next().filter(|entry| !entry.code.is_empty())?;
    Some((entry.code.into_owned(), entry.message.into_owned()))
}

fn judge(
    status: u16,
    body: &[u8],
    retry_after: Option<SignedDuration>,
    about: About<'_>,
) -> Option<Failure> {
    if let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(body)
        && let Some(entry) = entries.first()
        && !entry.code.is_empty()
    {
        return Some(coded(status, entry, retry_after, about));
    }
    if let Ok(oauth) = serde_json::from_slice::<OAuthBody>(body) {
        let fault = super::oauth::token_fault(status, &oauth.error, &oauth.error_description);
        return Some(fault.into());
    }
    // userinfo and the identity address answer 403 with bare text.
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    match text {
        "Bad_OAuth_Token" | "Missing_OAuth_Token" => {
            return Some(Failure::SessionDead(text.to_owned()));
        }
        "Wrong_Org" => return Some(Fault::contract("the token is of another org").into()),
        "Inactive" => return Some(user_deactivated("the connected user is inactive").into()),
        "No_Access" | "Bad_Id" => {
            return Some(
                Fault::Denied { object: None, field: None, permission: text.to_owned() }.into(),
            );
        }
        _ => {}
    }
    // Edges answer a dead session with 401, rarely 500, and only the name in the text.
    if text.contains("INVALID_SESSION_ID") {
        return Some(Failure::SessionDead("INVALID_SESSION_ID".into()));
    }
    if status == 401 {
        return Some(Failure::SessionDead(format!("401: {}", excerpt(text))));
    }
    if status == 410 {
        return Some(version_gone(&excerpt(text)).into());
    }
    None
}

fn coded(
    status: u16,
    entry: &Entry<'_>,
    retry_after: Option<SignedDuration>,
    about: About<'_>,
) -> Failure {
    let code = entry.code.as_ref();
    let text = excerpt(&format!("{code}: {}", entry.message));
    let object = || about.object.map(str::to_owned);
    let Some(means) = means(code) else {
        return by_class(status, text, retry_after);
    };
    match means {
        Means::SessionDead => Failure::SessionDead(text),
        Means::Limit => limit(&entry.message, text, retry_after).into(),
        Means::NoApiPermission => Fault::NeedsAuthorization {
            reason: Reason::PermissionsMissing { missing: vec![super::API_ENABLED.into()] },
            text,
        }
        .into(),
        Means::ApiDisabledForOrg if entry.message.contains("limits resource") => {
            let permission = super::VIEW_SETUP.to_owned();
            Fault::Denied { object: None, field: None, permission }.into()
        }
        Means::ApiDisabledForOrg => Fault::Misconfigured {
            what: format!("{text}; hint: the org's edition must include API access"),
        }
        .into(),
        Means::Credentials => {
            Fault::NeedsAuthorization { reason: Reason::CredentialsChanged, text }.into()
        }
        Means::AppBlocked => Fault::NeedsAuthorization { reason: Reason::AppBlocked, text }.into(),
        Means::Suspended => Fault::Suspended { what: text }.into(),
        Means::Denied => Fault::Denied { object: object(), field: None, permission: text }.into(),
        Means::NotFound => match object() {
            Some(object) => Fault::SchemaMoved { object, field: None }.into(),
            None => Fault::Contract { what: text }.into(),
        },
        Means::NoType => match missing_type(&entry.message).or_else(object) {
            Some(object) => Fault::SchemaMoved { object, field: None }.into(),
            None => Fault::Contract { what: text }.into(),
        },
        Means::NoField => match missing_field(&entry.message) {
            // The server's spelling of the object may differ in case from ours.
            Some((field, entity)) => Fault::SchemaMoved {
                object: object().filter(|o| o.eq_ignore_ascii_case(&entity)).unwrap_or(entity),
                field: Some(field),
            }
            .into(),
            None => Fault::Contract { what: text }.into(),
        },
        Means::CursorLost => {
            Fault::CursorLost { object: object().unwrap_or_default(), why: text }.into()
        }
        Means::Record => Fault::RecordRefused { why: text }.into(),
        Means::Passing => Fault::Passing { what: text, retry_after }.into(),
        Means::Version => version_gone(&text).into(),
        Means::Contract => Fault::Contract { what: text }.into(),
    }
}

/// Daily limits pause, concurrency limits are waited out; both come under one code.
fn limit(message: &str, text: String, retry_after: Option<SignedDuration>) -> Fault {
    if message.to_ascii_lowercase().contains("concurrent") {
        let retry_after = retry_after.or(Some(SignedDuration::from_secs(30)));
        Fault::Passing { what: text, retry_after }
    } else {
        Fault::QuotaReached { which: super::DAILY_LIMIT.into(), resets: None }
    }
}

fn by_class(status: u16, text: String, retry_after: Option<SignedDuration>) -> Failure {
    match status {
        401 => Failure::SessionDead(text),
        410 => version_gone(&text).into(),
        408 | 420 | 429 | 500.. => Fault::Passing { what: text, retry_after }.into(),
        _ => Fault::Contract { what: text }.into(),
    }
}

fn unforeseen(answer: &Answer) -> Fault {
    Fault::contract(format!("{} answered {}: {}", answer.host, answer.status, shown(&answer.body)))
}

fn shown(body: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(body.get(..1024).unwrap_or(body)))
}

fn version_gone(text: &str) -> Fault {
    Fault::Misconfigured {
        what: format!("the API version is retired ({text}); hint: set a newer api_version"),
    }
}

/// The connected user left.
pub fn user_deactivated(text: &str) -> Fault {
    Fault::NeedsAuthorization { reason: Reason::UserDeactivated, text: text.to_owned() }
}

/// `No such column 'X' on entity 'O'`, older `… on sobject of type O`.
fn missing_field(message: &str) -> Option<(String, String)> {
    let rest = message.split_once("No such column '")?.1;
    let (field, rest) = rest.split_once('\'')?;
    let entity = match rest.trim_start().strip_prefix("on entity '") {
        Some(rest) => rest.split_once('\'')?.0,
        None => rest.trim_start().strip_prefix("on sobject of type ")?.trim(),
    };
    let entity: String =
        entity.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!field.is_empty() && !entity.is_empty()).then(|| (field.to_owned(), entity))
}

/// `sObject type 'X' is not supported`.
fn missing_type(message: &str) -> Option<String> {
    let (name, _) = message.split_once("sObject type '")?.1.split_once('\'')?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
