//! The effective configuration as text, and where each value comes from.
//!
//! Invariant: what is shown is valid configuration again; secrets never stand in it, since a
//! checked configuration holds only the places of secrets.

use super::Checked;
use serde::Serialize;
use std::fmt;
use std::fmt::Write as _;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A line of a file.
    File {
        /// As the user knows it.
        path: String,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Dotted path of the table.
    pub section: String,
    /// Key within it, quoted where TOML wants it.
    pub key: String,
    /// As TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Every effective value, section by section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origins(pub Vec<Shown>);

impl Origins {
    /// Where the value of a dotted key comes from, e.g. `connections.sf-prod.schedule`.
    pub fn get(&self, key: &str) -> Option<&Origin> {
        self.0
            .iter()
            .find(|s| {
                let rest = key.strip_prefix(s.section.as_str());
                rest.and_then(|r| r.strip_prefix('.')) == Some(s.key.as_str())
            })
            .map(|s| &s.origin)
    }
}

/// `config show`; with `origin`, each line says where its value comes from.
pub fn show(checked: &Checked, origin: bool) -> String {
    let mut out = String::new();
    let mut section = "";
    let values = &checked.origins.0;
    for shown in values {
        if shown.section != section {
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{}]", shown.section);
            section = &shown.section;
        }
        let line = format!("{} = {}", shown.key, shown.value);
        let _ = if origin {
            writeln!(out, "{line:<48} # {}", shown.origin)
        } else {
            writeln!(out, "{line}")
        };
    }
    out
}
