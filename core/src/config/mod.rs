//! Configuration: text in, settings out.
//!
//! The caller reads the files and the environment; here they are parsed (`raw`), laid over each
//! other by the `config` crate (`layers`), checked key by key (`shape`, `value`, from the tables
//! in `keys`), and made into [`Settings`] (`build`). What only the outside knows comes through
//! [`Facts`].
//!
//! Invariants: every mistake of every file is in one [`Report`], each with file, line and a hint;
//! there are settings only when there is no mistake; no secret that somebody wrote into a file is
//! repeated in a report; any text whatever ends in settings or in a report.

mod build;
mod connection;
mod database;
mod diff;
mod env;
mod excerpt;
mod keys;
mod layers;
mod near;
mod raw;
mod report;
pub mod settings;
mod shape;
mod show;
mod value;

pub use diff::{Plan, diff};
pub use excerpt::Excerpt;
pub use report::{Finding, Report, Severity};
pub use settings::Settings;
pub use show::{Origin, Origins, Shown, show};

use crate::domain::{ConnectionName, ProviderSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Largest configuration file, in bytes.
pub const MAX_FILE: usize = 1024 * 1024;
/// Most connections of one daemon.
pub const MAX_CONNECTIONS: usize = 10_000;

/// One configuration file, as its reader found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the user knows it, e.g. `/etc/crmsync/conf.d/sf.toml`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// Offset of the first byte that is not UTF-8; such a file is refused.
    pub not_utf8: Option<usize>,
}

impl Source {
    /// A file whose text is at hand.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), not_utf8: None }
    }

    /// A file as read from the disk; bytes that are not UTF-8 are reported by [`check`].
    pub fn from_bytes(path: impl Into<String>, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::new(path, text),
            Err(e) => Self {
                path: path.into(),
                not_utf8: Some(e.utf8_error().valid_up_to()),
                text: String::from_utf8_lossy(e.as_bytes()).into_owned(),
            },
        }
    }
}

/// What only the outside knows.
pub trait Facts {
    /// A hash of the bytes of a file that the configuration names, or why it cannot be read
    /// (lower case, e.g. `permission denied`).
    fn file_hash(&self, path: &Path) -> Result<String, String>;
    /// Whether the service manager has handed over this credential; `None` where that cannot be
    /// known, as in a check without a daemon.
    fn credential_exists(&self, name: &str) -> Option<bool>;
}

/// A configuration without a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What the daemon works by.
    pub settings: Settings,
    /// What is odd but allowed.
    pub warnings: Vec<Finding>,
    /// Every effective value and where it comes from.
    pub origins: Origins,
    /// Of each connection's effective settings and the bytes of the files it names.
    pub fingerprints: BTreeMap<ConnectionName, u64>,
    /// Hashes of the files named outside of connections, by dotted key.
    pub(crate) shared_files: BTreeMap<String, String>,
    /// Hashes of the files a connection names, by dotted key within it.
    pub files: BTreeMap<ConnectionName, BTreeMap<String, String>>,
    /// Names of credentials in use, with the dotted key that names each first.
    pub(crate) credentials: BTreeMap<String, String>,
}

/// Checks a whole configuration.
///
/// `sources` in the order of their precedence, the weakest first. Of `env` only names that begin
/// with `CRMSYNC_` and hold `__` are looked at. Nothing is read but through `facts`.
pub fn check(
    sources: &[Source],
    env: &BTreeMap<String, String>,
    specs: &[&'static ProviderSpec],
    facts: &dyn Facts,
) -> Result<Checked, Report> {
    let mut report = Report::default();
    let secret_words: BTreeSet<&str> =
        specs.iter().flat_map(|s| s.secrets.iter().map(|(name, _)| *name)).collect();
    let mut texts: Vec<excerpt::Masked> =
        sources.iter().map(|s| excerpt::Masked::new(s, &secret_words)).collect();
    let mut trees: Vec<raw::Node> = Vec::new();
    for (layer, source) in sources.iter().enumerate() {
        trees.push(raw::read(layer, source, &texts, &mut report));
    }
    let overrides = env::read(env, sources.len(), &trees, specs, &secret_words);
    texts.push(overrides.text);
    for problem in overrides.problems {
        report.add(&texts, problem);
    }
    trees.push(overrides.tree);

    let merged = layers::merge(&trees);
    let shape = shape::Shape { specs, merged: &merged, texts: &texts };
    for tree in &trees {
        shape.check(tree, &mut report);
    }
    let built = build::build(&merged, &texts, specs, facts, &mut report);
    report.finish(sources);
    if report.has_errors() {
        return Err(report);
    }
    Ok(Checked { warnings: report.findings, ..built })
}
