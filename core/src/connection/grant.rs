use super::event::{Closed, Effect, StopWhy};
use super::state::{Configured, Grant};
use super::status::explain;
use super::step::{Stepper, after};
use crate::domain::{Concern, Fault, Reason};

/// Reasons that we know by ourselves: nothing is gained by asking the provider once more.
fn certain(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NeverAuthorized
            | Reason::GrantLostWhileRotating
            | Reason::WrongOrg { .. }
            | Reason::WrongAccount { .. }
            | Reason::DisconnectedByAdmin
    )
}

/// What happens to the grant: the latch.
impl Stepper<'_> {
    pub(super) fn granted(&mut self, by: &str) {
        self.c.grant = Grant::Good { since: self.now };
        self.c.generation += 1;
        self.fx.push(Effect::Clear(Concern::NeedsAuthorization));
        self.fx.push(Effect::CloseRequest(Closed::Granted));
        self.audit(by, "authorized");
        self.try_now();
        self.ring();
    }

    pub(super) fn unconfirmed_rejected(&mut self, by: &str) {
        if let Grant::Unconfirmed { since, before, before_text, .. } = self.c.grant.clone() {
            self.c.grant = if before == Reason::NeverAuthorized {
                Grant::Never
            } else {
                Grant::Dead { reason: before, text: before_text, since }
            };
            self.audit(by, "rejected another account");
            self.tell_authorization();
        }
    }

    /// An admin's own deed; what was never authorized stays so.
    pub(super) fn disconnected(&mut self, by: &str) {
        self.audit(by, "disconnected");
        if !matches!(self.c.grant, Grant::Never) {
            self.dead(Reason::DisconnectedByAdmin, format!("disconnected by {by}"));
        }
    }

    /// A refresh or an authenticated probe worked. It proves the grant and nothing else: other
    /// problems end by a run that works, or they would flap.
    pub(super) fn proved(&mut self) {
        match self.c.grant {
            // An admin's own deed ends by an admin's deed.
            Grant::Dead { reason: Reason::DisconnectedByAdmin, .. } => return,
            Grant::Dead { .. } => {
                self.fx.push(Effect::Clear(Concern::NeedsAuthorization));
                self.fx.push(Effect::CloseRequest(Closed::WorksAgain));
            }
            Grant::Suspect { .. } => {}
            Grant::Good { .. } | Grant::Never | Grant::Unconfirmed { .. } => return,
        }
        self.c.grant = Grant::Good { since: self.now };
        self.try_now();
        self.ring();
    }

    pub(super) fn probe_failed(&mut self, fault: &Fault) {
        let (suspect, now) = (matches!(self.c.grant, Grant::Suspect { .. }), self.now);
        if let Fault::NeedsAuthorization { reason, text } = fault {
            if suspect {
                self.dead(reason.clone(), text.clone());
            } else {
                self.refused(reason, text);
            }
        } else if let Grant::Suspect { since, probe_at, .. } = &mut self.c.grant {
            // As long again as it has been suspect: doubling without a counter.
            let most = self.rules.backoff_most.max(self.rules.probe_after);
            let wait = now.duration_since(*since).clamp(self.rules.probe_after, most);
            *probe_at = after(now, wait);
            self.fx.push(Effect::ProbeGrantAt(*probe_at));
            self.fault(fault);
        }
    }

    pub(super) fn refresh_lost(&mut self, text: &str) {
        match self.c.grant {
            Grant::Good { .. } | Grant::Suspect { .. } => {
                self.dead(Reason::GrantLostWhileRotating, text.to_owned());
            }
            Grant::Never | Grant::Dead { .. } | Grant::Unconfirmed { .. } => {}
        }
    }

    pub(super) fn refused(&mut self, reason: &Reason, text: &str) {
        match self.c.grant {
            // The first refusal stands.
            Grant::Suspect { .. } | Grant::Dead { .. } | Grant::Unconfirmed { .. } => {}
            Grant::Never => self.dead(reason.clone(), text.to_owned()),
            Grant::Good { .. } if self.rules.rotates || certain(reason) => {
                self.dead(reason.clone(), text.to_owned());
            }
            Grant::Good { .. } => {
                let probe_at = after(self.now, self.rules.probe_after);
                let (reason, text) = (reason.clone(), text.to_owned());
                self.c.grant = Grant::Suspect { reason, text, since: self.now, probe_at };
                self.fx.push(Effect::ProbeGrantAt(probe_at));
                self.stop(StopWhy::Authorization);
            }
        }
    }

    pub(super) fn dead(&mut self, reason: Reason, text: String) {
        let since = self.c.authorization().and_then(|a| a.2).unwrap_or(self.now);
        self.c.grant = Grant::Dead { reason, text, since };
        self.tell_authorization();
        self.stop(StopWhy::Authorization);
    }

    pub(super) fn unconfirmed(&mut self, expected: &str, found: &str) {
        let (before, before_text, since) = match (&self.c.grant, self.c.authorization()) {
            // The old grant goes on; only the request waits.
            (Grant::Good { .. }, _) | (_, None) => return,
            (Grant::Unconfirmed { before, before_text, since, .. }, _) => {
                (before.clone(), before_text.clone(), *since)
            }
            (
                Grant::Never | Grant::Suspect { .. } | Grant::Dead { .. },
                Some((reason, text, since)),
            ) => (reason, text.to_owned(), since.unwrap_or(self.now)),
        };
        let (expected, found) = (expected.to_owned(), found.to_owned());
        self.c.grant = Grant::Unconfirmed { expected, found, since, before, before_text };
        self.tell_authorization();
    }

    pub(super) fn tell_authorization(&mut self) {
        if !matches!(self.c.configured, Configured::Enabled) {
            return;
        }
        if let Some((reason, text, _)) = self.c.authorization() {
            let text = text.to_owned();
            let told = explain(&reason, &text);
            let generation = self.c.generation;
            self.fx.push(Effect::OpenRequest { generation, reason, text });
            self.raise(Concern::NeedsAuthorization, told);
        }
    }

    pub(super) fn probe_if_suspect(&mut self) {
        if let Grant::Suspect { probe_at, .. } = self.c.grant {
            self.fx.push(Effect::ProbeGrantAt(probe_at.max(self.now)));
        }
    }
}
