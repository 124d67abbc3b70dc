//! Specs shaped like the two real ones, and a world in which some files can be read.

use crmsync_core::config::{Checked, Facts, Report, Source, check};
use crmsync_core::domain::{CredentialKind, KeyKind, KeySpec, ProviderSpec};
use std::collections::BTreeMap;
use std::path::Path;

const fn key(
    name: &'static str,
    kind: KeyKind,
    required: bool,
    default: Option<&'static str>,
    doc: &'static str,
) -> KeySpec {
    KeySpec { name, kind, required, default, doc }
}

pub static SALESFORCE: ProviderSpec = ProviderSpec {
    id: "salesforce",
    label: "Salesforce",
    keys: &[
        key(
            "login_url",
            KeyKind::Url,
            false,
            Some("https://login.salesforce.com"),
            "log-in host, or My Domain",
        ),
        key("client_id", KeyKind::Text, true, None, "consumer key of the connected app"),
        key("api_version", KeyKind::Text, false, Some("64.0"), "version of the REST API"),
        key("compression", KeyKind::Flag, false, Some("true"), "ask for compressed answers"),
    ],
    secrets: &[("client_secret", "consumer secret of the connected app")],
    credentials: &[CredentialKind::Code, CredentialKind::ClientCredentials],
    needs: &[],
    daily_limit: Some(("DailyApiRequests", None)),
    callback: Some("http://localhost:17817/oauth/cb/salesforce"),
};

pub static TRYTON: ProviderSpec = ProviderSpec {
    id: "tryton",
    label: "Tryton",
    keys: &[
        key("url", KeyKind::Url, true, None, "address of the server"),
        key("database", KeyKind::Text, true, None, "name of the database"),
        key("username", KeyKind::Text, true, None, "log-in name"),
        key("company", KeyKind::Number, false, None, "id of the company"),
    ],
    secrets: &[("password", "password of the user")],
    credentials: &[CredentialKind::Password],
    needs: &[],
    daily_limit: None,
    callback: None,
};

pub static SPECS: &[&ProviderSpec] = &[&SALESFORCE, &TRYTON];

/// Files with their hashes; credentials that exist, or `None` where nobody knows.
#[derive(Default)]
pub struct World {
    pub files: BTreeMap<String, String>,
    pub credentials: Option<Vec<String>>,
}

impl World {
    pub fn with(files: &[(&str, &str)], credentials: &[&str]) -> Self {
        Self {
            files: files.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            credentials: Some(credentials.iter().map(|c| (*c).to_owned()).collect()),
        }
    }
}

impl Facts for World {
    fn file_hash(&self, path: &Path) -> Result<String, String> {
        let found = self.files.get(path.to_str().unwrap_or_default());
        found.cloned().ok_or_else(|| "no such file or directory".to_owned())
    }
    fn credential_exists(&self, name: &str) -> Option<bool> {
        self.credentials.as_ref().map(|all| all.iter().any(|c| c == name))
    }
}

pub fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(format!("/etc/crmsync/{path}"), *text)).collect()
}

pub fn env(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    vars.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

pub fn run(
    files: &[(&str, &str)],
    vars: &[(&str, &str)],
    world: &World,
) -> Result<Checked, Report> {
    check(&sources(files), &env(vars), SPECS, world)
}

/// One file, an empty world; must pass.
pub fn good(text: &str) -> Checked {
    run(&[("crmsync.toml", text)], &[], &World::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// A connection with everything it needs.
pub const SF: &str = r#"
[connections.sf-prod]
provider = "salesforce"
client_id = "3MVG9"
admins = ["ada@example.org"]

[connections.sf-prod.objects]
Account = "all"
"#;
