use super::Time;
use serde::{Deserialize, Serialize};

/// What shares one provider limit: a Salesforce org, a Google project and user, …
/// Text such as `salesforce:00D…`; compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QuotaDomain(pub String);

/// What one answer tells of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The provider's name of the limit, e.g. `DailyApiRequests`.
    pub limit: String,
    /// Calls used by everybody in the window. May exceed `max`.
    pub used: u64,
    /// The limit.
    pub max: u64,
    /// When it resets, where the provider tells.
    #[serde(default)]
    pub resets: Option<Time>,
}
