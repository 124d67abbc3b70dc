//! What an admin's questions (`test`, `fields`) are asked with.

use super::Actor;
use super::effects::refused;
use crate::control::protocol::Refusal;
use crate::daemon::testing::Subject;
use crmsync_core::connection;
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
        // A rotating credential that was refused must not be shown again: it could end its family.
        let spent = match &self.state.grant {
            connection::Grant::Dead { reason, text, .. } if self.rules().rotates => {
                Some(if text.is_empty() { reason.to_string() } else { format!("{reason}: {text}") })
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
            spent,
        })
    }
}
