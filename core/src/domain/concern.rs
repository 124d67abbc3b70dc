use serde::{Deserialize, Serialize};

/// What an admin should know, by kind. Two concerns are the same when they compare equal: one
/// opening of one concern makes one mail. The connection raises and clears them, `notice` tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Concern {
    /// No usable grant: somebody must authorize.
    NeedsAuthorization,
    /// The provider, our own settings or the host keep it from working (see `Problem`).
    Problem,
    /// A limit of the quota domain reached the line.
    QuotaHeld,
    /// No success for several intervals, whatever the cause.
    NoSuccess,
    /// Deletes found by absence wait for `approve`.
    DeletesHeld,
    /// A field that was read is gone at the source; none: the whole object.
    FieldRemoved {
        /// Object.
        object: String,
        /// Field.
        field: Option<String>,
    },
    /// A field came to be, or its type moved, and the settings say that what is read stays as it is.
    FieldFrozen {
        /// Object.
        object: String,
        /// Field.
        field: String,
    },
    /// One object cannot be read; the others go on.
    ObjectFailing {
        /// Object.
        object: String,
    },
    /// Counts showed that the copy of an object differed from the source; what was missing or
    /// stale was read again.
    CopyDiffers {
        /// Object.
        object: String,
    },
    /// A known expiry date (client secret, grant) comes near.
    Expiring {
        /// What expires.
        what: String,
    },
    /// Our clock and the provider's differ by more than a minute.
    ClockOff,
}

impl Concern {
    /// Stable word for ids and `--json`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NeedsAuthorization => "needs-authorization",
            Self::Problem => "problem",
            Self::QuotaHeld => "quota-held",
            Self::NoSuccess => "no-success",
            Self::DeletesHeld => "deletes-held",
            Self::FieldRemoved { .. } => "field-removed",
            Self::FieldFrozen { .. } => "field-frozen",
            Self::ObjectFailing { .. } => "object-failing",
            Self::CopyDiffers { .. } => "copy-differs",
            Self::Expiring { .. } => "expiring",
            Self::ClockOff => "clock-off",
        }
    }
}

impl std::fmt::Display for Concern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeedsAuthorization => f.write_str("needs authorization"),
            Self::Problem => f.write_str("does not work"),
            Self::QuotaHeld => f.write_str("quota reached"),
            Self::NoSuccess => f.write_str("no success for long"),
            Self::DeletesHeld => f.write_str("deletes held for approval"),
            Self::FieldRemoved { object, field: Some(field) } => {
                write!(f, "field {object}.{field} removed at the source")
            }
            Self::FieldRemoved { object, field: None } => {
                write!(f, "object {object} removed at the source")
            }
            Self::FieldFrozen { object, field } => {
                write!(f, "field {object}.{field} came or changed and is not read")
            }
            Self::ObjectFailing { object } => write!(f, "object {object} cannot be read"),
            Self::CopyDiffers { object } => write!(f, "copy of {object} differed from the source"),
            Self::Expiring { what } => write!(f, "{what} expires soon"),
            Self::ClockOff => f.write_str("clock differs from the provider's"),
        }
    }
}
