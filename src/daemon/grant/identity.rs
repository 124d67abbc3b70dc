//! Who answers with a credential, and whether that is still who is pinned.

use super::{CHECK_AGAIN, Checked, Holder, SessionError};
use crate::daemon::work::Wishes;
use crate::provider::{Ctx, Failure, Toll};
use crate::store::{Doc, StoreError};
use crmsync_core::domain::{CredentialKind, Fault, Identity, Reason, Time};
use crmsync_core::reauth::{self, Verdict};
use std::sync::Arc;

impl Holder {
    /// Looks who answers, once a day, or at once where it was never looked or `now_again` asks. A
    /// changed sight becomes a wish in the same transaction.
    pub async fn check_identity(
        self: &Arc<Self>,
        toll: &dyn Toll,
        now_again: bool,
    ) -> Result<Checked, SessionOrHeld> {
        let (facts, _) = self.facts()?;
        let (now, keys) = (self.env.now(), self.keys());
        // Other keys may lead to another system: its rows must not come into this copy.
        let fresh = !now_again
            && facts.checked_with == keys
            && facts.checked.is_some_and(|at| now.duration_since(at) < CHECK_AGAIN);
        if fresh && facts.identity.is_some() {
            return Ok(Checked { identity: facts.identity, ..Checked::default() });
        }
        let (found, server_time) = self.pinned(toll).await?;
        let sight_changed = facts.identity.as_ref().is_some_and(|p| p.sight != found.sight);
        self.change_facts(|facts, change| {
            facts.checked = Some(now);
            facts.checked_with.clone_from(&keys);
            facts.identity = Some(found.clone());
            if sight_changed {
                let (version, mut wishes) = match self.store.doc("wishes", &self.id)? {
                    Some((v, text)) => (v, serde_json::from_str(&text).unwrap_or_default()),
                    None => (0, Wishes::default()),
                };
                wishes.sight = true;
                let json = serde_json::to_string(&wishes).unwrap_or_default();
                change.docs.push(Doc { kind: "wishes", key: self.id.clone(), version, json });
            }
            Ok(())
        })?;
        Ok(Checked { identity: Some(found), server_time })
    }

    /// A session is made and answers as the org and account that are pinned: a probe.
    pub async fn prove(self: &Arc<Self>, toll: &dyn Toll) -> Result<(), SessionOrHeld> {
        self.pinned(toll).await.map(drop)
    }

    async fn pinned(
        self: &Arc<Self>,
        toll: &dyn Toll,
    ) -> Result<(Identity, Option<Time>), SessionOrHeld> {
        let (found, server_time) = self.identify_afresh(toll).await?;
        let (pinned, org) = (self.identity()?, self.settings().org_id.clone());
        let verdict = reauth::judge(pinned.as_ref(), org.as_deref(), &found, false);
        if let Some(reason) = verdict.reason() {
            let text = format!("{} of {} answers", found.username, found.org_id);
            return Err(Fault::NeedsAuthorization { reason, text }.into());
        }
        debug_assert!(verdict == Verdict::Same || verdict == Verdict::FirstTime);
        Ok((found, server_time))
    }

    /// The next run looks again who answers, and what he may see.
    pub fn forget_check(&self) -> Result<(), StoreError> {
        self.change_facts(|facts, _| {
            facts.checked = None;
            Ok(())
        })
    }

    /// Asks who answers, with a session made for it where one outlives its credential. The old one
    /// is asked first: a log-in cannot tell a deactivated user from a wrong password, it can.
    pub async fn identify_afresh(
        self: &Arc<Self>,
        toll: &dyn Toll,
    ) -> Result<(Identity, Option<Time>), SessionOrHeld> {
        if self.provider().credential() == CredentialKind::Password {
            let old = self.slot.lock().await.session.take();
            if let Some(old) = old
                && let Err(Failure::Fault(fault)) =
                    self.provider().identify(Ctx { session: &old, toll }).await
                && let Fault::NeedsAuthorization { reason: Reason::UserDeactivated, .. } = fault
            {
                // Kept, to be asked again.
                self.slot.lock().await.session = Some(old);
                return Err(fault.into());
            }
        }
        self.identify(toll).await
    }

    /// Asks who answers, with the session in use.
    pub async fn identify(
        self: &Arc<Self>,
        toll: &dyn Toll,
    ) -> Result<(Identity, Option<Time>), SessionOrHeld> {
        let mut session = self.session().await?;
        for attempt in 0..2 {
            match self.provider().identify(Ctx { session: &session, toll }).await {
                Ok(told) => return Ok((told.value, told.server_time)),
                Err(Failure::SessionDead(text)) if attempt == 0 => {
                    session = self.renew(&session, &text).await?;
                }
                Err(Failure::SessionDead(text)) => {
                    return Err(Fault::passing(format!("a new session is refused: {text}")).into());
                }
                Err(Failure::Held) => return Err(SessionOrHeld::Held),
                Err(Failure::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(Fault::contract("no answer").into())
    }
}

/// As [`SessionError`], or held by the toll.
#[derive(Debug)]
pub enum SessionOrHeld {
    /// The toll.
    Held,
    /// The provider.
    Fault(Fault),
    /// Ours.
    Store(StoreError),
}

impl SessionOrHeld {
    /// As a fault, where only that can be told.
    pub fn fault(self) -> Fault {
        match self {
            Self::Held => Fault::passing("held by the quota"),
            Self::Fault(fault) => fault,
            Self::Store(e) => Fault::passing(e.to_string()),
        }
    }
}

impl From<SessionError> for SessionOrHeld {
    fn from(e: SessionError) -> Self {
        match e {
            SessionError::Fault(f) => Self::Fault(f),
            SessionError::Store(e) => Self::Store(e),
        }
    }
}

impl From<StoreError> for SessionOrHeld {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<Fault> for SessionOrHeld {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
