//! Looks at the provider beside the runs: is the hold of the quota over, does a suspect credential
//! work again, is an idle grant still alive.

use super::effects::Extra;
use super::{Actor, Message};
use crate::daemon::grant::{SessionError, SessionOrHeld};
use crate::provider::{Ctx, Failure};
use crate::store::Change;
use crmsync_core::connection::{self, Event};
use crmsync_core::domain::{CredentialKind, Fault, Time};
use crmsync_core::quota::{self, Exempt};
use jiff::SignedDuration;
use std::sync::Arc;

impl Actor {
    /// The meter of the domain changed, or may have by the clock.
    pub(super) fn quota(&mut self, change: quota::Change) {
        let event = match change {
            quota::Change::Held { limit, used, max, next_probe } => {
                Event::QuotaHeld { limit, used, max, next_probe: Some(next_probe) }
            }
            quota::Change::Freed => Event::QuotaFree,
        };
        // A run that may go above the line is not stopped: the step tells which.
        self.cause = "quota";
        self.take(&[event], Change::default());
    }

    /// Agrees with the meter, and sends the resume probe when one is due.
    pub(super) fn look_at_quota(&mut self) {
        let Some(gate) = self.gate.clone() else { return };
        let probe = gate.probe_due();
        match (gate.held(), &self.state.hold) {
            (None, connection::QuotaHold::Held { .. }) => self.quota(quota::Change::Freed),
            (Some(change), connection::QuotaHold::Free) => self.quota(change),
            _ => {}
        }
        let now = self.shared.env.now();
        let idle = self.running.is_none() && !self.probing;
        let rested = self.resume_again().is_none_or(|again| again <= now);
        if probe && idle && rested && self.may_probe_hold() {
            self.resume_tried = Some(now);
            self.resume_probe();
        }
    }

    /// Whether this connection's credential may be used to look whether the hold is over.
    pub(super) fn may_probe_hold(&self) -> bool {
        let paused = !matches!(self.state.pause, connection::Pause::No);
        self.settings.enabled && !paused && !self.state.latched()
    }

    /// Not before then is a resume probe tried again. The meter counts calls that left; a provider
    /// without a usage call, or a token endpoint that refuses, never gets that far.
    pub(super) fn resume_again(&self) -> Option<Time> {
        self.resume_tried.and_then(|at| at.checked_add(quota::PROBE_EVERY).ok())
    }

    pub(super) fn resume_probe(&mut self) {
        let Ok(toll) = self.toll(Some(Exempt::ResumeProbe)) else { return };
        self.probing = true;
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        tokio::spawn(async move {
            let refused = |fault: &Fault| matches!(fault, Fault::NeedsAuthorization { .. });
            let fault = match holder.session().await {
                Ok(session) => {
                    let ctx = Ctx { session: &session, toll: toll.as_ref() };
                    // Whatever it answers, the meter has heard it.
                    match holder.provider().usage(ctx).await {
                        Ok(_) | Err(Failure::Held) => None,
                        Err(Failure::Fault(fault)) => Some(fault),
                        Err(Failure::SessionDead(text)) => {
                            // Not repeated: one call at most. The next probe has a new session.
                            holder.renew(&session, &text).await.err().and_then(session_fault)
                        }
                    }
                }
                Err(e) => session_fault(e),
            };
            tracing::debug!(?fault, "the resume probe has ended");
            let _ = own.send(Message::ResumeProbed(fault.filter(refused)));
        });
    }

    /// Tries a suspect credential once more: a new session, and who answers.
    pub(super) fn probe(&mut self) {
        let Ok(toll) = self.toll(Some(Exempt::Reauthorization)) else { return };
        self.probing = true;
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        let generation = self.state.generation;
        tokio::spawn(async move {
            if holder.provider().credential() != CredentialKind::Password {
                holder.drop_session().await;
            }
            let result = holder.prove(toll.as_ref()).await.map_err(SessionOrHeld::fault);
            let _ = own.send(Message::Probed(generation, result));
        });
    }

    /// What is due by the calendar while nothing else happens: an idle grant is kept alive (by one
    /// refresh a week, for providers let it die unused), a former one is dropped after an hour.
    pub(super) fn tend_grant(&mut self) {
        let now = self.shared.env.now();
        let Ok((facts, _)) = self.holder.facts() else { return };
        let older = |at: Option<Time>, than| at.is_some_and(|at| now.duration_since(at) > than);
        if older(facts.granted, SignedDuration::from_hours(1)) {
            let mut extra = Extra::default();
            self.holder_worked(&mut extra);
            if !extra.change.secrets.is_empty()
                && let Err(error) = self.apply(&[], extra)
            {
                self.not_stored(&error);
            }
        }
        let idle = self.running.is_none() && !self.probing && !self.state.latched();
        let code = self.provider.credential() == CredentialKind::Code;
        let last = facts.used.max(facts.granted);
        if idle && code && older(last, SignedDuration::from_hours(24 * 7)) {
            self.probe();
        }
    }
}

fn session_fault(error: SessionError) -> Option<Fault> {
    match error {
        SessionError::Fault(fault) => Some(fault),
        SessionError::Store(_) => None,
    }
}
