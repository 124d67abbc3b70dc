//! The outer shape of answers: every JSON object on the socket begins with the schema version, so
//! that a script can refuse what it does not know.
//!
//! Hides nothing. Lists are never bare arrays: an object can grow, an array cannot.

use super::protocol::{
    AuditLine, Line, MailLine, NoticeLine, QuotaStatus, RunLine, SCHEMA_VERSION, SourceObject,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An answer of one object, with the version beside its own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versioned<T: ToSchema> {
    /// Version of this shape.
    pub schema: u32,
    /// The object's own keys.
    #[serde(flatten)]
    pub body: T,
}

impl<T: ToSchema> Versioned<T> {
    /// In the version of this program.
    pub fn new(body: T) -> Self {
        Self { schema: SCHEMA_VERSION, body }
    }
}

/// Nothing to tell but that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Always true; what was not done is a refusal.
    pub done: bool,
}

/// `GET /v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigText {
    /// The configuration in force, as TOML.
    pub text: String,
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident { $field:ident: $line:ident })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub struct $name {
            /// The lines.
            pub $field: Vec<$line>,
        }
    )*};
}

lists! {
    /// `GET /v1/connections`.
    Connections { connections: Line }
    /// `GET /v1/connections/{name}/fields`.
    Fields { objects: SourceObject }
    /// `GET /v1/connections/{name}/runs`, newest first.
    Runs { runs: RunLine }
    /// `GET /v1/notices`, newest first.
    Notices { notices: NoticeLine }
    /// `GET /v1/mails`, newest first.
    Mails { mails: MailLine }
    /// `GET /v1/audit`, newest first.
    Audit { audit: AuditLine }
    /// `GET /v1/quota`.
    Quotas { domains: QuotaStatus }
}
