//! Who answers, what it may do, and how much of the limit is used.
//!
//! Hides userinfo, `UserPermissionAccess`, the limits resource. Invariants: a permission that the
//! org does not know counts as missing, never as an error; without View Setup the usage of the
//! answer's header is all there is, and that is no failure.

use super::composite;
use super::faults::{self, About};
use super::read::{Part, text};
use super::{
    API_ENABLED, DAILY_LIMIT, Salesforce, VIEW_ALL_DATA, VIEW_ALL_USERS, VIEW_SETUP, soql,
};
use crate::provider::http::SMALL_LIMIT;
use crate::provider::{Ctx, Failure, Told};
use crmsync_core::domain::{Check, CheckOutcome, Fault, Identity, Reason, Usage};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Objects whose reading is tried per call.
const TRIES_PER_CALL: usize = 5;

/// Permission fields of `UserPermissionAccess`: field, id, label, required, how to grant.
const PERMISSIONS: [(&str, &str, &str); 4] = [
    ("PermissionsApiEnabled", "api-enabled", API_ENABLED),
    ("PermissionsViewSetup", "view-setup", VIEW_SETUP),
    ("PermissionsViewAllUsers", "view-all-users", VIEW_ALL_USERS),
    ("PermissionsViewAllData", "view-all-data", VIEW_ALL_DATA),
];

#[derive(Deserialize)]
pub(super) struct UserInfo {
    pub user_id: String,
    pub organization_id: String,
    #[serde(default)]
    pub preferred_username: String,
    #[serde(default)]
    pub active: Option<bool>,
}

/// Sforce-Limit-Info: `api-usage=25/5000; per-app-api-usage=17/250(appName=NAME)`.
pub(super) fn header_usage(headers: &HeaderMap) -> Vec<Usage> {
    headers
        .get_all("sforce-limit-info")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|text| text.split([';', ',']))
        .filter_map(|part| {
            let (used, max) = part.trim().strip_prefix("api-usage=")?.split_once('/')?;
            let digits = max.trim().split(|c: char| !c.is_ascii_digit()).next()?;
            let (used, max) = (used.trim().parse().ok()?, digits.parse().ok()?);
            Some(Usage { limit: DAILY_LIMIT.into(), used, max, resets: None })
        })
        .collect()
}

/// Limits that we use up: every call, and beside it bulk jobs and what they write.
const LIMITS: [&str; 3] = [DAILY_LIMIT, "DailyBulkV2QueryJobs", "DailyBulkV2QueryFileStorageMB"];

/// The limits resource, as far as we use it; the calls first. Nested entries per app, and
/// `Remaining` below zero, are real.
pub(super) fn parse_limits(body: &str) -> Result<Vec<Usage>, String> {
    let all: BTreeMap<String, Value> = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let known = LIMITS.iter().filter_map(|name| Some((*name, all.get(*name)?)));
    known
        .map(|(name, entry)| {
            let number = |key: &str| entry.get(key).and_then(Value::as_i64);
            let (Some(max), Some(left)) = (number("Max"), number("Remaining")) else {
                return Err(format!("{name} without Max and Remaining"));
            };
            let used = u64::try_from(max.saturating_sub(left)).unwrap_or(0);
            let max = u64::try_from(max).map_err(|_| format!("{name} of {max}"))?;
            Ok(Usage { limit: name.into(), used, max, resets: None })
        })
        .collect()
}

/// First record of a query's answer.
fn first_record(body: &str) -> Option<Value> {
    let answer: Value = serde_json::from_str(body).ok()?;
    answer.get("records")?.get(0).cloned()
}

fn word(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

fn query_path(sf: &Salesforce, soql: &str) -> String {
    sf.data_path(&format!("query?q={}", soql::encode(soql)))
}

/// A part's body, or nothing where the org does not know the question; other refusals count.
fn known(part: &Part) -> Result<Option<&str>, Failure> {
    let (status, body) = part;
    if *status == 200 {
        return Ok(Some(body));
    }
    match faults::part_refusal(*status, body.as_bytes(), About::default()) {
        Failure::Fault(
            Fault::SchemaMoved { .. } | Fault::Denied { .. } | Fault::Contract { .. },
        ) => Ok(None),
        other @ (Failure::SessionDead(_) | Failure::Held | Failure::Fault(_)) => Err(other),
    }
}

pub(super) async fn identify(sf: &Salesforce, ctx: Ctx<'_>) -> Result<Told<Identity>, Failure> {
    let url = super::url(ctx.session, "/services/oauth2/userinfo")?;
    // OAuth's own resources are not counted against the org's limit: no toll.
    let request = sf.build(sf.http.request(Method::GET, url)?, ctx.session, "application/json")?;
    let answer = sf.http.send(request, SMALL_LIMIT).await.map_err(Failure::from)?;
    if !answer.is_ok() || answer.is_html() {
        return Err(faults::refusal(&answer, About::default()));
    }
    let info: UserInfo = serde_json::from_slice(&answer.body)
        .map_err(|e| Fault::contract(format!("reading userinfo: {e}")))?;
    if info.active == Some(false) {
        return Err(faults::user_deactivated("userinfo says that the user is not active").into());
    }
    let user = soql::literal(&info.user_id);
    let fields: Vec<&str> = PERMISSIONS.iter().map(|p| p.0).collect();
    let urls = [
        format!("SELECT Id, Username, IsActive, ProfileId, UserRoleId, UserType FROM User WHERE Id = {user}"),
        "SELECT Id, Name FROM Organization LIMIT 1".to_owned(),
        format!("SELECT {} FROM UserPermissionAccess LIMIT 1", fields.join(", ")),
        format!("SELECT PermissionSetId FROM PermissionSetAssignment WHERE AssigneeId = {user}"),
    ]
    .map(|q| query_path(sf, &q));
    let composite = composite::get(sf, ctx, &urls, 1).await?;
    let mut sight = BTreeMap::new();
    let mut username = info.preferred_username;
    let mut org_name = None;
    let [user_part, org_part, permission_part, set_part] = composite.parts.as_slice() else {
        return Err(Fault::contract("a composite answer of another size").into());
    };
    if let Some(user) = known(user_part)?.and_then(first_record) {
        if user.get("IsActive").and_then(Value::as_bool) == Some(false) {
            return Err(faults::user_deactivated("the connected user is not active").into());
        }
        username = word(&user, "Username").unwrap_or(username);
        for (name, field) in
            [("profile", "ProfileId"), ("role", "UserRoleId"), ("type", "UserType")]
        {
            if let Some(text) = word(&user, field) {
                sight.insert(name.to_owned(), text);
            }
        }
    }
    if let Some(org) = known(org_part)?.and_then(first_record) {
        org_name = word(&org, "Name");
    }
    if let Some(access) = known(permission_part)?.and_then(first_record) {
        for (field, id, _) in PERMISSIONS {
            if let Some(has) = access.get(field).and_then(Value::as_bool) {
                sight.insert(id.to_owned(), has.to_string());
            }
        }
    }
    if let Some(body) = known(set_part)?
        && let Ok(answer) = serde_json::from_str::<Value>(body)
    {
        let records = answer.get("records").and_then(Value::as_array);
        let mut sets: Vec<String> =
            records.into_iter().flatten().filter_map(|r| word(r, "PermissionSetId")).collect();
        sets.sort();
        sight.insert("permission-sets".to_owned(), sets.join(","));
    }
    let identity = Identity {
        org_id: info.organization_id,
        org_name,
        user_id: info.user_id,
        username,
        address: ctx.session.base.as_str().trim_end_matches('/').to_owned(),
        sight,
    };
    Ok(Told { value: identity, server_time: composite.server_time })
}

pub(super) async fn usage(sf: &Salesforce, ctx: Ctx<'_>) -> Result<Told<Vec<Usage>>, Failure> {
    let got = sf.get(ctx, &sf.data_path("limits"), 1).await?;
    let server_time = got.answer.server_time();
    if !got.answer.is_ok() || got.answer.is_html() {
        // The header tells also with a refusal, but a dead session is to be heard.
        if !got.usage.is_empty() && got.answer.status != 401 {
            return Ok(Told { value: got.usage, server_time });
        }
        return match faults::refusal(&got.answer, About::default()) {
            Failure::Fault(Fault::Denied { .. }) => Ok(Told { value: Vec::new(), server_time }),
            other @ (Failure::SessionDead(_) | Failure::Held | Failure::Fault(_)) => Err(other),
        };
    }
    let in_body = text(got.answer.body)
        .map_err(|fault| fault.to_string())
        .and_then(|body| parse_limits(&body));
    match in_body {
        // The header is exact, the resource is minutes old.
        Ok(mut value) => {
            value.retain(|u| got.usage.iter().all(|told| told.limit != u.limit));
            value.splice(0..0, got.usage);
            Ok(Told { value, server_time })
        }
        Err(_) if !got.usage.is_empty() => Ok(Told { value: got.usage, server_time }),
        Err(why) => Err(Fault::contract(format!("reading the limits: {why}")).into()),
    }
}

fn check(id: &str, label: &str, outcome: CheckOutcome) -> Check {
    Check { id: id.to_owned(), label: label.to_owned(), outcome }
}

fn permission(id: &str, label: &str, has: Option<bool>) -> Check {
    let need = super::SPEC.needs.iter().find(|n| n.id == id);
    let how = need.map_or("", |n| n.how);
    let why = need.map_or("", |n| n.why);
    let outcome = match has {
        Some(true) => CheckOutcome::Pass { detail: "granted".into() },
        Some(false) => CheckOutcome::Fail {
            detail: format!("permission \"{label}\" is missing: {why}; hint: {how}"),
            required: need.is_some_and(|n| n.required),
        },
        None => CheckOutcome::Unknown { detail: "the org does not tell permissions".into() },
    };
    check(id, &format!("permission {label}"), outcome)
}

pub(super) async fn checks(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    identity: &Identity,
    objects: &[String],
) -> Result<Told<Vec<Check>>, Failure> {
    let limits = match sf.get(ctx, &sf.data_path("limits"), 1).await {
        Ok(got) => got,
        Err(failure) => return Err(failure),
    };
    let server_time = limits.answer.server_time();
    let limits_fault = (!limits.answer.is_ok() || limits.answer.is_html())
        .then(|| faults::refusal(&limits.answer, About::default()));
    match &limits_fault {
        Some(Failure::Fault(Fault::NeedsAuthorization {
            reason: Reason::PermissionsMissing { .. },
            ..
        })) => {
            // Nothing else can be asked without it.
            let value = vec![permission("api-enabled", API_ENABLED, Some(false))];
            return Ok(Told { value, server_time });
        }
        None | Some(Failure::Fault(Fault::Denied { .. })) => {}
        Some(other) => return Err(other.clone()),
    }
    let mut checks = vec![check(
        "account",
        "account",
        CheckOutcome::Pass {
            detail: format!(
                "{} in org {} at {}",
                identity.username, identity.org_id, identity.address
            ),
        },
    )];
    checks.extend(permission_checks(sf, ctx, limits_fault.is_none()).await?);
    let told = if limits_fault.is_none() {
        let from_body = text(limits.answer.body).ok().and_then(|b| parse_limits(&b).ok());
        limits.usage.first().cloned().or_else(|| from_body?.first().cloned())
    } else {
        limits.usage.first().cloned()
    };
    let outcome = match told {
        Some(u) => CheckOutcome::Pass { detail: format!("{} of {} calls used", u.used, u.max) },
        None => {
            CheckOutcome::Unknown { detail: "the org tells no usage; own calls are counted".into() }
        }
    };
    checks.push(check("quota", "quota readable", outcome));
    for group in objects.chunks(TRIES_PER_CALL) {
        let urls: Vec<String> = group
            .iter()
            .map(|o| {
                query_path(
                    sf,
                    &format!(
                        "SELECT Id FROM {} LIMIT 1",
                        o.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "")
                    ),
                )
            })
            .collect();
        let parts = composite::get(sf, ctx, &urls, 1).await?.parts;
        for (object, (status, body)) in group.iter().zip(parts) {
            let outcome = if status == 200 {
                CheckOutcome::Pass { detail: "can be read".into() }
            } else {
                match faults::part_refusal(status, body.as_bytes(), About { object: Some(object) })
                {
                    Failure::Fault(fault @ (Fault::SchemaMoved { .. } | Fault::Denied { .. })) => {
                        CheckOutcome::Fail {
                            detail: format!(
                                "{fault}; hint: grant Read on {object} in the profile or a permission set of {}",
                                identity.username
                            ),
                            required: true,
                        }
                    }
                    Failure::Fault(fault) => CheckOutcome::Unknown { detail: fault.to_string() },
                    other @ (Failure::SessionDead(_) | Failure::Held) => return Err(other),
                }
            };
            checks.push(check(&format!("read:{object}"), &format!("read {object}"), outcome));
        }
    }
    Ok(Told { value: checks, server_time })
}

/// Effective permissions of the running user. A field that the org does not know spoils the whole
/// query, so after a refusal each is asked for by itself; refused then means not granted.
async fn permission_checks(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    limits_readable: bool,
) -> Result<Vec<Check>, Failure> {
    let names: Vec<&str> = PERMISSIONS.iter().map(|p| p.0).collect();
    let soql = format!("SELECT {} FROM UserPermissionAccess LIMIT 1", names.join(", "));
    let got = sf.get(ctx, &query_path(sf, &soql), 1).await?;
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    let mut take = |body: &str| {
        if let Some(row) = first_record(body) {
            for name in &names {
                if let Some(has) = row.get(*name).and_then(Value::as_bool) {
                    found.insert(name, has);
                }
            }
        }
    };
    let mut asked_singly = false;
    if got.answer.is_ok() && !got.answer.is_html() {
        take(&text(got.answer.body)?);
    } else {
        match faults::refusal(&got.answer, About::default()) {
            Failure::Fault(Fault::SchemaMoved { field: Some(_), .. }) => {
                asked_singly = true;
                let urls: Vec<String> = names
                    .iter()
                    .map(|n| {
                        query_path(sf, &format!("SELECT {n} FROM UserPermissionAccess LIMIT 1"))
                    })
                    .collect();
                for part in composite::get(sf, ctx, &urls, 1).await?.parts {
                    if let Some(body) = known(&part)? {
                        take(body);
                    }
                }
            }
            Failure::Fault(
                Fault::SchemaMoved { .. } | Fault::Denied { .. } | Fault::Contract { .. },
            ) => {}
            other @ (Failure::SessionDead(_) | Failure::Held | Failure::Fault(_)) => {
                return Err(other);
            }
        }
    }
    Ok(PERMISSIONS
        .iter()
        .map(|(field, id, label)| {
            let mut has = found.get(field).copied().or(asked_singly.then_some(false));
            match *id {
                // By effect: a call went through, the limits were or were not readable.
                "api-enabled" => has = has.or(Some(true)),
                "view-setup" => has = Some(has.unwrap_or(true) && limits_readable),
                _ => {}
            }
            permission(id, label, has)
        })
        .collect())
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
