//! The second half of every way to a grant: it is proved (org, account, permissions), then sealed,
//! or kept aside until somebody says yes.

use super::effects::{Extra, refused};
use super::grants::failed;
use super::{Actor, Answer};
use crate::control::protocol::{Caller, GrantReply, ReauthorizeReply, Refusal};
use crate::daemon::grant::{CANDIDATE, FORMER, Holder, Keys, VERIFIER};
use crate::daemon::work::Wishes;
use crate::provider::{Ctx, Failure, Session, Toll};
use crate::store::vault::Vault;
use crate::store::{Change, StoreError};
use crmsync_core::connection::{Event, StopWhy};
use crmsync_core::domain::{CheckOutcome, Fault, Identity, Reason};
use crmsync_core::reauth::{self, Verdict};
use secrecy::SecretString;
use std::sync::Arc;

/// What a proof brought; comes back through the mailbox.
pub struct Proved {
    pub(super) by: Caller,
    pub(super) result: Result<Proof, Fault>,
    pub(super) as_other_account: bool,
    pub(super) answer: Reply,
}

pub(super) struct Proof {
    pub(super) session: Session,
    /// Keys of the settings it was made with; a reload may have changed them since.
    pub(super) keys: Keys,
    pub(super) identity: Identity,
    /// To be sealed; none for what needs no credential of its own.
    pub(super) credential: Option<(&'static str, SecretString)>,
    /// Required permissions that are missing: label, and how to grant it.
    pub(super) missing: Vec<(String, String)>,
}

pub(super) enum Reply {
    Grant(Answer<GrantReply>),
    Reauthorize(Answer<ReauthorizeReply>),
}

impl Reply {
    pub(super) fn send(self, reply: Result<GrantReply, Refusal>) {
        match self {
            Self::Grant(answer) => drop(answer.send(reply)),
            Self::Reauthorize(answer) => drop(answer.send(reply.map(ReauthorizeReply::Done))),
        }
    }
}

impl Actor {
    /// The attempt brought no grant: the request stays open and says why. What is wrong with the
    /// grant in use stays told; a connection that never had one tells what is wrong with this one.
    pub(super) fn not_granted(&mut self, fault: &Fault) {
        let request = self.request.as_ref().and_then(|r| r.failed(&fault.to_string()).ok());
        let mut events = Vec::new();
        if let Fault::NeedsAuthorization { reason, text } = fault
            && self.state.latched()
            && matches!(
                reason,
                Reason::WrongOrg { .. } | Reason::PermissionsMissing { .. } | Reason::AppBlocked
            )
        {
            events.push(Event::Rejected { reason: reason.clone(), text: text.clone() });
        }
        if let Err(error) = self.apply(&events, Extra { request, ..Extra::default() }) {
            self.not_stored(&error);
        }
    }

    pub(super) async fn proved(&mut self, proved: Proved) {
        let Proved { by, result, as_other_account, answer } = proved;
        let what = format!("reauthorizing {}", self.name);
        let proof = match result {
            Ok(proof) => proof,
            Err(fault) => {
                self.not_granted(&fault);
                let hint = format!("crmsync reauthorize {}", self.name);
                answer.send(Err(failed(&what, &fault).hint(hint)));
                return;
            }
        };
        let pinned = match self.holder.identity() {
            Ok(pinned) => pinned,
            Err(error) => return answer.send(Err(refused(&what, &error))),
        };
        let org = self.settings.org_id.as_deref();
        let verdict = reauth::judge(pinned.as_ref(), org, &proof.identity, as_other_account);
        if let Verdict::OtherOrg { expected, found, .. } = &verdict {
            let text = format!(
                "the account {} belongs to org {found}, this connection to {expected}",
                proof.identity.username
            );
            let reason = verdict.reason().unwrap_or(Reason::NeverAuthorized);
            self.not_granted(&Fault::NeedsAuthorization { reason, text: text.clone() });
            self.revoke_quietly(&proof);
            let hint = "log in with an account of the pinned org; to follow another org, make a new connection";
            return answer.send(Err(failed(&what, text).hint(hint)));
        }
        if !proof.missing.is_empty() {
            let (missing, how): (Vec<String>, Vec<String>) = proof.missing.iter().cloned().unzip();
            let text = format!(
                "{} lacks {}: {}",
                proof.identity.username,
                missing.join(", "),
                how.join("; ")
            );
            let reason = Reason::PermissionsMissing { missing };
            self.not_granted(&Fault::NeedsAuthorization { reason, text: text.clone() });
            self.revoke_quietly(&proof);
            let hint = format!("grant them, then `crmsync reauthorize {}`", self.name);
            return answer.send(Err(failed(&what, text).hint(hint)));
        }
        let done = match &verdict {
            Verdict::OtherAccount { expected, found } => {
                self.keep_aside(&by, &proof, expected, found)
            }
            Verdict::Same
            | Verdict::FirstTime
            | Verdict::ChangedAsAsked { .. }
            | Verdict::OtherOrg { .. } => self.seal(&by, proof, pinned.as_ref()).await,
        };
        answer.send(done);
    }

    /// Another account: sealed aside, until somebody confirms.
    pub(super) fn keep_aside(
        &mut self,
        by: &Caller,
        proof: &Proof,
        expected: &str,
        found: &str,
    ) -> Result<GrantReply, Refusal> {
        let what = format!("reauthorizing {}", self.name);
        let now = self.shared.env.now();
        let vault = self.vault()?;
        let request = self
            .request_for(by)
            .candidate(proof.identity.clone(), expected, &by.user, now)
            .map_err(|e| failed(&what, e))?;
        let mut change = Change::default();
        if let Some((_, secret)) = &proof.credential {
            let sealed = vault.put(&self.id, CANDIDATE, secret).map_err(|e| failed(&what, e))?;
            change.secrets.push(sealed);
        }
        let id = request.id.clone();
        let event =
            Event::GrantUnconfirmed { expected: expected.to_owned(), found: found.to_owned() };
        let extra = Extra { change, request: Some(request), ..Extra::default() };
        self.apply(&[event], extra).map_err(|e| refused(&what, &e))?;
        Ok(GrantReply::AwaitingConfirmation {
            request: id,
            expected: expected.to_owned(),
            found: found.to_owned(),
        })
    }

    /// The grant is good: credential, facts, wishes and state become true together.
    pub(super) async fn seal(
        &mut self,
        by: &Caller,
        proof: Proof,
        pinned: Option<&Identity>,
    ) -> Result<GrantReply, Refusal> {
        let what = format!("reauthorizing {}", self.name);
        let vault = self.vault()?;
        // A refresh of the old grant under way would store its own token over the new one.
        let holder = Arc::clone(&self.holder);
        let mut rest = holder.rest().await;
        self.join(&proof.identity).map_err(|e| refused(&what, &e))?;
        self.modified = self.shared.env.now();
        self.modified_by.clone_from(&by.user);
        self.become_granted(&what, &vault, by, &proof, pinned)?;
        rest.take(proof.session);
        Ok(GrantReply::Authorized {
            account: proof.identity.username,
            org: proof.identity.org_name.unwrap_or(proof.identity.org_id),
        })
    }

    /// Stores the new grant and its event. A run may take over wishes at the same moment: then it
    /// is tried again, for the grant is not to be had twice.
    pub(super) fn become_granted(
        &mut self,
        what: &str,
        vault: &Vault,
        by: &Caller,
        proof: &Proof,
        pinned: Option<&Identity>,
    ) -> Result<(), Refusal> {
        if pinned.is_some_and(|p| p.user_id != proof.identity.user_id) {
            // A comparison of keys that began with the eyes of one account is not ended with
            // those of another: rows that this one cannot see would count as deleted.
            self.cancel_run(StopWhy::Configuration);
        }
        let mut tries = 0;
        loop {
            let change = self
                .grant_change(vault, by, proof, pinned)
                .map_err(|e| refused(what, &e))?
                .map_err(|e| failed(what, e))?;
            self.cause = "reauthorization";
            let event = Event::Granted { by: by.user.clone() };
            match self.apply_for(by, &[event], Extra { change, ..Extra::default() }) {
                Ok(()) => return Ok(()),
                Err(StoreError::Stale { .. }) if tries < 5 => tries += 1,
                Err(error) => {
                    self.not_stored(&error);
                    return Err(refused(what, &error));
                }
            }
        }
    }

    pub(super) fn grant_change(
        &self,
        vault: &Vault,
        by: &Caller,
        proof: &Proof,
        pinned: Option<&Identity>,
    ) -> Result<Result<Change, crate::store::vault::VaultError>, StoreError> {
        let now = self.shared.env.now();
        let (mut facts, version) = self.holder.facts()?;
        let other = pinned.is_some_and(|p| {
            p.user_id != proof.identity.user_id || p.sight != proof.identity.sight
        });
        facts.identity = Some(proof.identity.clone());
        facts.rotates = None;
        facts.granted = Some(now);
        facts.checked = Some(now);
        facts.checked_with.clone_from(&proof.keys);
        facts.by.clone_from(&by.user);
        let (wishes_version, mut wishes) =
            super::parsed::<Wishes>(self.shared.store.doc("wishes", &self.id)?);
        wishes.describe = true;
        wishes.sight |= other;
        let seal = || {
            let mut secrets =
                vec![vault.remove(&self.id, CANDIDATE), vault.remove(&self.id, VERIFIER)];
            if let Some((name, secret)) = &proof.credential {
                // The former one stays until the new one has worked.
                if let Some(former) = vault.get(&self.id, name)? {
                    secrets.push(vault.put(&self.id, FORMER, &former)?);
                }
                secrets.push(vault.put(&self.id, name, secret)?);
            }
            Ok(secrets)
        };
        Ok(seal().map(|secrets| Change {
            docs: vec![
                self.holder.facts_doc(&facts, version),
                self.doc("wishes", wishes_version, &wishes),
            ],
            secrets,
            refresh: vec![(self.id.clone(), None)],
            ..Change::default()
        }))
    }
}

/// Who answers with a new session, and whether it may do what is needed.
pub(super) async fn prove(
    holder: &Holder,
    keys: Keys,
    toll: &dyn Toll,
    session: Session,
    credential: Option<(&'static str, SecretString)>,
    objects: &[String],
) -> Result<Proof, Fault> {
    let plain = |failure: Failure| match failure {
        Failure::Fault(fault) => fault,
        Failure::Held => Fault::passing("held by the quota"),
        Failure::SessionDead(text) => {
            Fault::passing(format!("a session that was just made is refused: {text}"))
        }
    };
    let ctx = Ctx { session: &session, toll };
    let identity = holder.provider().identify(ctx).await.map_err(plain)?.value;
    let checks = holder.provider().checks(ctx, &identity, objects).await.map_err(plain)?.value;
    let missing = checks
        .into_iter()
        .filter_map(|c| match c.outcome {
            CheckOutcome::Fail { required: true, detail } => Some((c.label, detail)),
            CheckOutcome::Fail { .. }
            | CheckOutcome::Pass { .. }
            | CheckOutcome::Unknown { .. } => None,
        })
        .collect();
    Ok(Proof { session, keys, identity, credential, missing })
}
