use super::Time;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Why a connection needs (re)authorization. Only a provider's documented refusals lead here;
/// a DNS failure, a 5xx, an HTML page or a certificate failure never do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// No credential was ever stored.
    NeverAuthorized,
    /// The provider says the grant is revoked or no longer valid.
    GrantRevoked,
    /// The provider says the grant ran out.
    GrantExpired,
    /// We died between the provider's commit of a rotated token and ours.
    GrantLostWhileRotating,
    /// A password no longer opens the account.
    CredentialsChanged,
    /// The connected user was deactivated.
    UserDeactivated,
    /// The account lacks these permissions (their labels).
    PermissionsMissing {
        /// Labels of the missing permissions.
        missing: Vec<String>,
    },
    /// The app is blocked, or not installed, or not approved for this user.
    AppBlocked,
    /// The credential opens another org than the pinned one.
    WrongOrg {
        /// Id of the pinned org.
        expected: String,
        /// Id of the org that answered.
        found: String,
        /// True when the facts look like a sandbox that was refreshed.
        refreshed_sandbox: bool,
    },
    /// Same org, another account: waits for an explicit confirmation.
    WrongAccount {
        /// Account pinned so far.
        expected: String,
        /// Account that answered.
        found: String,
    },
    /// An admin ran `disconnect`.
    DisconnectedByAdmin,
    /// The app's client secret is refused.
    ClientSecretExpired,
}

/// Error states that a new authorization does not cure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Problem {
    /// A setting is wrong in a way only the provider could tell.
    Misconfigured {
        /// What is wrong.
        what: String,
    },
    /// The provider refuses our address or the hour.
    AddressNotAllowed {
        /// The provider's text.
        what: String,
    },
    /// The org is locked, closed or unpaid.
    OrgSuspended {
        /// The provider's text.
        what: String,
    },
    /// Nothing but passing faults for long.
    ProviderFailing {
        /// When the failing began.
        since: Time,
        /// The last fault's text.
        what: String,
    },
    /// The replica cannot be written.
    ReplicaUnavailable {
        /// The database's text.
        what: String,
    },
    /// No room for replica or store.
    DiskFull {
        /// Which folder, and the system's text.
        what: String,
    },
    /// Sealed secrets without their key.
    KeyMissing,
    /// An answer nobody foresaw, with its text.
    NeedsAttention {
        /// The answer, cut to a readable length.
        what: String,
    },
}

/// Every failure of a foreign system, turned once into what the core can decide on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Will pass by itself: network, 5xx, 429, HTML page, certificate, concurrency limit.
    Passing {
        /// What happened, for people.
        what: String,
        /// How long the provider asked to wait.
        retry_after: Option<SignedDuration>,
    },
    /// A daily (or longer) limit is used up at the provider.
    QuotaReached {
        /// The provider's name of the limit.
        which: String,
        /// When it resets, where the provider tells.
        resets: Option<Time>,
    },
    /// A documented refusal of the credential.
    NeedsAuthorization {
        /// Why.
        reason: Reason,
        /// The provider's own text, without secrets.
        text: String,
    },
    /// The grant lives, but this object, field or permission is refused.
    Denied {
        /// Object concerned, if one.
        object: Option<String>,
        /// Field concerned, if one.
        field: Option<String>,
        /// Permission or the provider's text.
        permission: String,
    },
    /// A field or object that we asked for is no longer there.
    SchemaMoved {
        /// Object.
        object: String,
        /// Field, or none when the whole object is gone.
        field: Option<String>,
    },
    /// A cursor, token or locator died: the object goes back to the last safe point.
    CursorLost {
        /// Object.
        object: String,
        /// The provider's text.
        why: String,
    },
    /// Writing: somebody else changed the record.
    Conflict {
        /// Record id.
        record: String,
    },
    /// Writing: this record is refused.
    RecordRefused {
        /// The provider's text.
        why: String,
    },
    /// A setting is wrong in a way only the provider could tell.
    Misconfigured {
        /// What.
        what: String,
    },
    /// The provider refuses our address or the hour; retried hourly.
    AddressNotAllowed {
        /// The provider's text.
        what: String,
    },
    /// The org or account is suspended.
    Suspended {
        /// The provider's text.
        what: String,
    },
    /// An answer nobody foresaw: kept for the admin, never taken for success.
    Contract {
        /// What was expected and what came, cut to a readable length.
        what: String,
    },
}

impl Fault {
    /// A passing fault without a wish to wait.
    pub fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), retry_after: None }
    }

    /// An unforeseen answer.
    pub fn contract(what: impl Into<String>) -> Self {
        Self::Contract { what: what.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passing { what, .. }
            | Self::Misconfigured { what }
            | Self::AddressNotAllowed { what }
            | Self::Suspended { what }
            | Self::Contract { what } => f.write_str(what),
            Self::QuotaReached { which, .. } => write!(f, "limit {which} is used up"),
            Self::NeedsAuthorization { reason, text } => write!(f, "{reason}: {text}"),
            Self::Denied { object, field, permission } => {
                write!(f, "access denied")?;
                if let Some(object) = object {
                    write!(f, " to {object}")?;
                }
                if let Some(field) = field {
                    write!(f, ".{field}")?;
                }
                write!(f, ": {permission}")
            }
            Self::SchemaMoved { object, field: Some(field) } => {
                write!(f, "field {object}.{field} is no longer there")
            }
            Self::SchemaMoved { object, field: None } => {
                write!(f, "object {object} is no longer there")
            }
            Self::CursorLost { object, why } => write!(f, "cursor of {object} is lost: {why}"),
            Self::Conflict { record } => write!(f, "record {record} was changed by somebody else"),
            Self::RecordRefused { why } => f.write_str(why),
        }
    }
}

/// The words of the status table, exactly as the manual lists them.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeverAuthorized => f.write_str("never authorized"),
            Self::GrantRevoked => f.write_str("grant revoked"),
            Self::GrantExpired => f.write_str("grant expired"),
            Self::GrantLostWhileRotating => f.write_str("grant lost while it rotated"),
            Self::CredentialsChanged => f.write_str("credentials changed"),
            Self::UserDeactivated => f.write_str("user deactivated"),
            Self::PermissionsMissing { missing } => {
                write!(f, "permissions missing: {}", missing.join(", "))
            }
            Self::AppBlocked => f.write_str("app blocked or not installed"),
            Self::WrongOrg { refreshed_sandbox: false, .. } => f.write_str("wrong org"),
            Self::WrongOrg { refreshed_sandbox: true, .. } => {
                f.write_str("wrong org (looks like a refreshed sandbox)")
            }
            Self::WrongAccount { .. } => f.write_str("wrong account awaiting confirmation"),
            Self::DisconnectedByAdmin => f.write_str("disconnected by an admin"),
            Self::ClientSecretExpired => f.write_str("client secret expired"),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Misconfigured { .. } => f.write_str("misconfigured"),
            Self::AddressNotAllowed { .. } => f.write_str("address not allowed"),
            Self::OrgSuspended { .. } => f.write_str("org suspended"),
            Self::ProviderFailing { since, .. } => write!(f, "provider failing since {since:.0}"),
            Self::ReplicaUnavailable { .. } => f.write_str("replica unavailable"),
            Self::DiskFull { .. } => f.write_str("disk full"),
            Self::KeyMissing => f.write_str("key missing"),
            Self::NeedsAttention { .. } => f.write_str("needs attention"),
        }
    }
}
