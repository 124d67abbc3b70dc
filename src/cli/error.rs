//! What goes wrong in the client, with its exit code and what to type next.

use crate::control::client::ClientError;
use crate::control::protocol::RefusalCode;

/// Done.
pub const DONE: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// Not understood what was typed.
pub const USAGE: u8 = 2;
/// The daemon is not reachable.
pub const UNREACHABLE: u8 = 3;
/// Needs authorization first.
pub const NEEDS_AUTHORIZATION: u8 = 4;
/// Bad configuration, as sysexits(3) has it.
pub const BAD_CONFIG: u8 = 78;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon, or the way to it.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// What was typed makes no sense.
    #[error("{message}")]
    Usage {
        /// What and why.
        message: String,
        /// What to type.
        hint: String,
    },
    /// Something here.
    #[error("{message}")]
    Here {
        /// What was being done to what, the cause.
        message: String,
        /// What to type.
        hint: String,
    },
    /// Nobody reads our output any more: `crmsync status | head -1`.
    #[error("writing the output: nobody reads it")]
    Unread,
}

impl CliError {
    /// Something here, with what to type next.
    pub fn here(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Here { message: message.into(), hint: hint.into() }
    }

    /// What was typed, with what to type instead.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// The program's exit code.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Daemon(ClientError::Unreachable { .. }) => UNREACHABLE,
            Self::Daemon(ClientError::NotUnderstood { .. }) | Self::Here { .. } => FAILED,
            Self::Daemon(ClientError::Refused(refusal)) => match refusal.code {
                RefusalCode::NeedsAuthorization => NEEDS_AUTHORIZATION,
                RefusalCode::BadConfig => BAD_CONFIG,
                RefusalCode::Forbidden
                | RefusalCode::NotFound
                | RefusalCode::Conflict
                | RefusalCode::QuotaHeld
                | RefusalCode::Invalid
                | RefusalCode::Unavailable
                | RefusalCode::Failed => FAILED,
            },
            Self::Usage { .. } => USAGE,
            Self::Unread => DONE,
        }
    }

    /// What to type next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Daemon(ClientError::Unreachable { .. }) => {
                Some("systemctl status crmsyncd".to_owned())
            }
            Self::Daemon(ClientError::NotUnderstood { .. }) => {
                Some("daemon and client of different versions? systemctl restart crmsyncd".into())
            }
            Self::Daemon(ClientError::Refused(refusal)) => refusal.hint.clone(),
            Self::Usage { hint, .. } | Self::Here { hint, .. } => Some(hint.clone()),
            Self::Unread => None,
        }
    }
}
