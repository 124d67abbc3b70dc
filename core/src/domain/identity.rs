use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who answers at the other end, as far as the provider tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Id of the org, tenant or database. The hard pin.
    pub org_id: String,
    /// The org's name for people, where told.
    #[serde(default)]
    pub org_name: Option<String>,
    /// Id of the account. Another one needs an explicit confirmation.
    pub user_id: String,
    /// Log-in name for people.
    pub username: String,
    /// Base address of data calls.
    pub address: String,
    /// What decides how much this account may see (profile, role, permission sets), by name.
    /// A change of any value asks for a describe and a key sweep.
    #[serde(default)]
    pub sight: BTreeMap<String, String>,
}

/// One line of `crmsync test`: a named check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable id, e.g. `api-enabled`, `read:Account`.
    pub id: String,
    /// What was checked, for people.
    pub label: String,
    /// How it went.
    pub outcome: CheckOutcome,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// All is well; a word of detail.
    Pass {
        /// E.g. who answered.
        detail: String,
    },
    /// Not there, with how to grant it. `required` ones make the connection fail.
    Fail {
        /// What is wrong and how to mend it.
        detail: String,
        /// Whether the connection cannot work without it.
        required: bool,
    },
    /// Could not be checked.
    Unknown {
        /// Why.
        detail: String,
    },
}
