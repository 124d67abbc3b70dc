use serde::Serialize;

/// What a provider needs and offers, one constant per provider. Validation, the manual, `test`
/// and the mails read it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProviderSpec {
    /// Value of the `provider` key, e.g. `salesforce`.
    pub id: &'static str,
    /// Name for people.
    pub label: &'static str,
    /// Keys of a connection that only this provider has.
    pub keys: &'static [KeySpec],
    /// Names of secrets for `crmsync secret set NAME KEY`, with what they are.
    pub secrets: &'static [(&'static str, &'static str)],
    /// How it can be authorized; the first is the default of the `auth` key.
    pub credentials: &'static [CredentialKind],
    /// Permissions that the account needs.
    pub needs: &'static [Need],
    /// Name and default maximum of the daily limit where the provider has one.
    pub daily_limit: Option<(&'static str, Option<u64>)>,
    /// Fixed loopback callback of the CLI door, for OAuth providers.
    pub callback: Option<&'static str>,
}

/// A provider's own key of a connection.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct KeySpec {
    /// Key name, e.g. `login_url`.
    pub name: &'static str,
    /// What may stand there.
    pub kind: KeyKind,
    /// Whether it must be given.
    pub required: bool,
    /// Value if not given.
    pub default: Option<&'static str>,
    /// One line for people, with the unit.
    pub doc: &'static str,
}

/// What may stand behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Any text.
    Text,
    /// `https://…` (`http://` to loopback only).
    Url,
    /// A whole number, 0 or more.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// How a connection is authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// OAuth 2 authorization code with PKCE and a refresh token (`auth = "code"`).
    Code,
    /// OAuth 2 client credentials, no person involved (`auth = "client-credentials"`).
    ClientCredentials,
    /// User name and password (`auth = "password"`).
    Password,
}

impl CredentialKind {
    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::ClientCredentials => "client-credentials",
            Self::Password => "password",
        }
    }
}

/// A permission, why it is needed and how to grant it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Need {
    /// Stable id, e.g. `api-enabled`.
    pub id: &'static str,
    /// The vendor's own label.
    pub label: &'static str,
    /// What does not work without it.
    pub why: &'static str,
    /// Where to switch it on.
    pub how: &'static str,
    /// Whether nothing works without it.
    pub required: bool,
}
