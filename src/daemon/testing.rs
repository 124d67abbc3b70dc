//! `test` and `fields`: questions that an admin asks the source, past the quota line and counted
//! by name.

use super::grant::{Holder, SessionError, SessionOrHeld};
use super::toll::{Gate, Purpose};
use crate::control::protocol::{
    Refusal, RefusalCode, SCHEMA_VERSION, SourceField, SourceObject, TestReply,
};
use crate::provider::{Ctx, Failure, Session, Toll};
use crmsync_core::config::settings::{Connection as Settings, Selection};
use crmsync_core::domain::{Check, CheckOutcome, CredentialKind, Fault, Identity};
use crmsync_core::quota::Exempt;
use crmsync_core::reauth::{self, Verdict};
use std::sync::Arc;

/// What the questions are asked with.
pub struct Subject {
    /// Name of the connection.
    pub name: String,
    /// Holder of its credential.
    pub holder: Arc<Holder>,
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// Where calls are paid.
    pub gate: Arc<Gate>,
    /// Generation of its grant.
    pub generation: u64,
    /// The credential is known dead and must not be tried again (it rotates).
    pub spent: Option<String>,
    /// Why no call but a test may be made.
    pub latched: Option<String>,
}

fn check(id: &str, label: &str, outcome: CheckOutcome) -> Check {
    Check { id: id.into(), label: label.into(), outcome }
}

fn fail(detail: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Fail { detail: detail.into(), required: true }
}

/// What was learned beside the reply.
#[derive(Default)]
pub struct Learned {
    /// Of the credential, if it was tried.
    pub proved: Option<Result<(), Fault>>,
    /// What the account may see is not what it was.
    pub sight_changed: bool,
}

/// Runs the checks in order; a failed one ends those that depend on it.
pub async fn test(subject: Subject) -> (TestReply, Learned) {
    let mut checks = Vec::new();
    let mut learned = Learned::default();
    learned.proved = run(&subject, &mut checks, &mut learned.sight_changed).await;
    let passed =
        checks.iter().all(|c| !matches!(c.outcome, CheckOutcome::Fail { required: true, .. }));
    (TestReply { schema: SCHEMA_VERSION, passed, checks }, learned)
}

async fn run(
    subject: &Subject,
    checks: &mut Vec<Check>,
    sight_changed: &mut bool,
) -> Option<Result<(), Fault>> {
    let Subject { holder, settings, .. } = subject;
    if let Some(why) = &subject.spent {
        checks.push(check(
            "credential",
            "credential works",
            fail(format!("{why}; it is not tried again")),
        ));
        return None;
    }
    let toll = Purpose::exempt(Arc::clone(&subject.gate), Exempt::Test);
    // Password systems: a session outlives a changed password, so log in anew.
    if holder.provider().credential() == CredentialKind::ClientCredentials {
        holder.drop_session().await;
    }
    let found = match holder.identify_afresh(&toll).await {
        Ok((found, _)) => found,
        Err(error) => {
            let fault = match error {
                SessionOrHeld::Fault(fault) => fault,
                SessionOrHeld::Held => Fault::passing("held by the quota"),
                SessionOrHeld::Store(e) => {
                    checks.push(check("credential", "credential works", fail(e.to_string())));
                    return None;
                }
            };
            if let Fault::Passing { what, .. } = &fault {
                checks.push(check("reachable", "reachable", fail(what.clone())));
            } else {
                checks.push(check("reachable", "reachable", pass("it answers")));
                checks.push(check("credential", "credential works", fail(fault.to_string())));
            }
            return Some(Err(fault));
        }
    };
    checks.push(check("reachable", "reachable", pass(found.address.clone())));
    checks.push(check("credential", "credential works", pass("a session was made")));
    let pinned = match holder.identity() {
        Ok(pinned) => pinned,
        Err(e) => {
            checks.push(check("org", "org and account as pinned", fail(e.to_string())));
            return None;
        }
    };
    let verdict = reauth::judge(pinned.as_ref(), settings.org_id.as_deref(), &found, false);
    checks.push(identity_check(&verdict, &found));
    if let Some(reason) = verdict.reason() {
        let text = format!("{} of {} answers", found.username, found.org_id);
        return Some(Err(Fault::NeedsAuthorization { reason, text }));
    }
    *sight_changed = pinned.is_some_and(|p| p.sight != found.sight);
    let objects: Vec<String> = settings.objects.keys().cloned().collect();
    let answer = match holder.session().await {
        Ok(session) => {
            let ctx = Ctx { session: &session, toll: &toll };
            holder.provider().checks(ctx, &found, &objects).await
        }
        Err(SessionError::Fault(fault)) => Err(Failure::Fault(fault)),
        Err(SessionError::Store(e)) => Err(Failure::Fault(Fault::passing(e.to_string()))),
    };
    match answer {
        Ok(told) => checks.extend(told.value),
        Err(Failure::Fault(fault)) => {
            checks.push(check("permissions", "permissions", fail(fault.to_string())));
            if matches!(fault, Fault::NeedsAuthorization { .. }) {
                return Some(Err(fault));
            }
        }
        Err(Failure::Held) => checks.push(check(
            "permissions",
            "permissions",
            CheckOutcome::Unknown { detail: "held by the quota".into() },
        )),
        Err(Failure::SessionDead(text)) => {
            checks.push(check("permissions", "permissions", fail(text)));
        }
    }
    Some(Ok(()))
}

fn pass(detail: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Pass { detail: detail.into() }
}

fn identity_check(verdict: &Verdict, found: &Identity) -> Check {
    let who = match &found.org_name {
        Some(name) => format!("{} in {name} ({})", found.username, found.org_id),
        None => format!("{} in {}", found.username, found.org_id),
    };
    let outcome = match verdict.reason() {
        None => pass(who),
        Some(reason) => fail(format!("{reason}: {who}")),
    };
    check("org", "org and account as pinned", outcome)
}

/// Objects of the source with what is selected; fields of the selected ones, and of those whose
/// name or label the search finds.
pub async fn fields(subject: Subject, search: Option<&str>) -> Result<Vec<SourceObject>, Refusal> {
    let what = format!("reading the fields of {}", subject.name);
    if let Some(why) = &subject.latched {
        return Err(Refusal::new(RefusalCode::NeedsAuthorization, format!("{what}: {why}"))
            .hint(format!("crmsync reauthorize {}", subject.name)));
    }
    // Whoever may only look must not spend calls above the line.
    let toll = Purpose::scheduled(Arc::clone(&subject.gate));
    let holder = &subject.holder;
    let refuse = |fault: Fault| {
        let code = if matches!(fault, Fault::NeedsAuthorization { .. }) {
            RefusalCode::NeedsAuthorization
        } else {
            RefusalCode::Failed
        };
        Refusal::new(code, format!("{what}: {fault}"))
    };
    let mut session = holder.session().await.map_err(|e| refuse(session_fault(e)))?;
    let mut answer = objects(holder, &session, &toll).await;
    if let Err(Failure::SessionDead(why)) = &answer {
        session = holder.renew(&session, why).await.map_err(|e| refuse(session_fault(e)))?;
        answer = objects(holder, &session, &toll).await;
    }
    let failed = |failure: Failure| match failure {
        Failure::Held => {
            Refusal::new(RefusalCode::QuotaHeld, format!("{what}: the quota line is reached"))
                .hint(format!("crmsync quota {}", subject.name))
        }
        other @ (Failure::Fault(_) | Failure::SessionDead(_)) => refuse(failure_fault(other)),
    };
    let objects = answer.map_err(failed)?;
    let word = search.map(str::to_lowercase);
    let hit = |text: &str| word.as_ref().is_some_and(|w| text.to_lowercase().contains(w));
    let selected = |name: &str| subject.settings.objects.contains_key(name);
    let wanted: Vec<String> = objects
        .iter()
        .filter(|(name, label)| selected(name) || hit(name) || hit(label))
        .map(|(name, _)| name.clone())
        .take(25)
        .collect();
    let ctx = Ctx { session: &session, toll: &toll };
    let described = holder.provider().describe(ctx, &wanted).await.map_err(failed)?.value;
    Ok(objects
        .into_iter()
        .filter(|(name, label)| {
            let in_fields = || {
                described
                    .get(name)
                    .and_then(Option::as_ref)
                    .is_some_and(|o| o.fields.iter().any(|f| hit(&f.name) || hit(&f.label)))
            };
            word.is_none() || hit(name) || hit(label) || in_fields()
        })
        .map(|(name, label)| {
            let selection = subject.settings.objects.get(&name);
            let fields = described.get(&name).and_then(Option::as_ref).map(|o| {
                o.fields
                    .iter()
                    .filter(|f| word.is_none() || hit(&name) || hit(&f.name) || hit(&f.label))
                    .map(|f| SourceField {
                        name: f.name.clone(),
                        label: f.label.clone(),
                        kind: f.source_type.clone(),
                        selected: selection.is_some_and(|s| {
                            o.system_fields().any(|n| n == f.name) || takes(s, &f.name)
                        }),
                    })
                    .collect()
            });
            SourceObject {
                selected: selection.is_some(),
                fields: fields.unwrap_or_default(),
                name,
                label,
            }
        })
        .collect())
}

fn takes(selection: &Selection, field: &str) -> bool {
    let is = |list: &[String]| list.iter().any(|l| l.eq_ignore_ascii_case(field));
    match selection {
        Selection::All => true,
        Selection::Fields(list) => is(list),
        Selection::Except(list) => !is(list),
    }
}

async fn objects(
    holder: &Holder,
    session: &Session,
    toll: &dyn Toll,
) -> Result<Vec<(String, String)>, Failure> {
    Ok(holder.provider().objects(Ctx { session, toll }).await?.value)
}

fn session_fault(e: SessionError) -> Fault {
    match e {
        SessionError::Fault(fault) => fault,
        SessionError::Store(e) => Fault::passing(e.to_string()),
    }
}

fn failure_fault(f: Failure) -> Fault {
    match f {
        Failure::Fault(fault) => fault,
        Failure::Held => Fault::passing("held by the quota"),
        Failure::SessionDead(text) => Fault::passing(text),
    }
}
