//! What an admin's questions (`test`, `fields`) are asked with.

use super::Actor;
use super::effects::refused;
use crate::control::protocol::Refusal;
use crate::daemon::testing::Subject;
use crmsync_core::connection;
use crmsync_core::domain::Reason;
use std::sync::Arc;

impl Actor {
    /// What `test` and `fields` ask the source with.
    pub(super) fn subject(&self) -> Result<Subject, Refusal> {
        let gate = match &self.gate {
            Some(gate) => Arc::clone(gate),
            None => self
                .shared
                .meters
                .gate(&self.no_domain())
                .map_err(|e| refused("asking the source", &e))?,
        };
        // A rotating credential that was itself refused must not be shown again: it could end its
        // family. Where the user, the app or a permission was refused, an admin may have mended it.
        let latched = self.state.authorization().map(|(reason, text, _)| {
            if text.is_empty() { reason.to_string() } else { format!("{reason}: {text}") }
        });
        let spent = match &self.state.grant {
            // Put away by an admin: a test does not take it into use again.
            connection::Grant::Dead { reason: Reason::DisconnectedByAdmin, .. } => latched.clone(),
            connection::Grant::Dead { reason, .. }
                if self.rules().rotates && of_the_token(reason) =>
            {
                latched.clone()
            }
            connection::Grant::Never => Some("never authorized".to_owned()),
            connection::Grant::Good { .. }
            | connection::Grant::Suspect { .. }
            | connection::Grant::Dead { .. }
            | connection::Grant::Unconfirmed { .. } => None,
        };
        Ok(Subject {
            name: self.name.to_string(),
            holder: Arc::clone(&self.holder),
            settings: Arc::clone(&self.settings),
            gate,
            generation: self.state.generation,
            spent,
            latched,
        })
    }
}

/// The refusal is of the credential itself, not of what surrounds it.
fn of_the_token(reason: &Reason) -> bool {
    match reason {
        Reason::NeverAuthorized
        | Reason::GrantRevoked
        | Reason::GrantExpired
        | Reason::GrantLostWhileRotating
        | Reason::DisconnectedByAdmin => true,
        Reason::CredentialsChanged
        | Reason::UserDeactivated
        | Reason::PermissionsMissing { .. }
        | Reason::AppBlocked
        | Reason::WrongOrg { .. }
        | Reason::WrongAccount { .. }
        | Reason::ClientSecretExpired => false,
    }
}
