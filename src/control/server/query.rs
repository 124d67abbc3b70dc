//! What may stand behind the question mark of each request. Unknown words are refused.

use serde::Deserialize;
use utoipa::IntoParams;

/// Most lines of a list.
const MOST: usize = 10_000;
/// Lines of a list unless told.
const USUAL: usize = 50;

/// `status`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// Only this connection.
    pub name: Option<String>,
    /// Retired ones too.
    pub all: bool,
}

/// `notices`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct NoticesQuery {
    /// Only of this connection.
    pub name: Option<String>,
    /// Closed ones too.
    pub all: bool,
}

/// `quota`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct NameQuery {
    /// Only the domain of this connection.
    pub name: Option<String>,
}

/// `fields`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FieldsQuery {
    /// Part of a name or label.
    pub search: Option<String>,
}

/// Lists that may be long.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// Most lines, default 50, at most 10000.
    pub limit: Option<usize>,
}

impl LimitQuery {
    /// Within its bounds.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL).clamp(1, MOST)
    }
}

/// `config`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ConfigQuery {
    /// With where each value comes from.
    pub origin: bool,
}

/// `notify test`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ToQuery {
    /// Receiver; else the configured admins.
    pub to: Option<String>,
}
