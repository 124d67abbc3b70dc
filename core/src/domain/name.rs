use serde::{Deserialize, Serialize};
use std::fmt;

/// A connection's name: `[a-z0-9][a-z0-9-]{0,40}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionName(String);

/// Why a text is not a connection's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a connection name: allowed are a-z, 0-9 and -, beginning with a letter or digit, 41 characters at most"
)]
pub struct NameError(String);

impl ConnectionName {
    /// Checks and takes a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = bytes.first().is_some_and(|b| ok(*b))
            && bytes.len() <= 41
            && bytes.iter().all(|b| ok(*b) || *b == b'-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(60).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ConnectionName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<ConnectionName> for String {
    fn from(name: ConnectionName) -> String {
        name.0
    }
}
