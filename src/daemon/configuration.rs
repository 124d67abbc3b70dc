//! The configuration's files: found, read, checked. What they mean is `core::config`'s.

use crate::provider;
use crmsync_core::config::{self, Checked, Facts, Report, Source};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What came of reading a configuration.
pub struct Loaded {
    /// The files as read, the weakest first; for showing a report.
    pub sources: Vec<Source>,
    /// The settings, or every mistake.
    pub result: Result<Checked, Report>,
}

/// Why the files could not even be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A folder or file.
    #[error(
        "reading the configuration {path}: {cause}\nhint: it belongs to root:crmsync, folders 0750, files 0640"
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's text.
        cause: std::io::Error,
    },
    /// There is no file at all.
    #[error(
        "reading the configuration: there is neither {path}/crmsync.toml nor a file in {path}/conf.d\nhint: `--config DIR` names another folder"
    )]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
}

/// Larger files are refused unread but for their beginning; the check names the limit.
const MOST: u64 = (config::MAX_FILE as u64) + 1;

/// Reads `DIR/crmsync.toml`, then `DIR/conf.d/*.toml` in name order, and checks them with `env`.
pub fn load(dir: &Path, env: &BTreeMap<String, String>) -> Result<Loaded, ReadError> {
    let sources = read(dir)?;
    let specs = provider::SPECS;
    let result = config::check(&sources, env, specs, &Host);
    Ok(Loaded { sources, result })
}

fn read(dir: &Path) -> Result<Vec<Source>, ReadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| ReadError::Io { path, cause }
    };
    let mut paths = Vec::new();
    let main = dir.join("crmsync.toml");
    if main.exists() {
        paths.push(main);
    }
    let folder = dir.join("conf.d");
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            let mut more = Vec::new();
            for entry in entries {
                let path = entry.map_err(io(&folder))?.path();
                if path.extension().is_some_and(|e| e == "toml") {
                    more.push(path);
                }
            }
            more.sort();
            paths.extend(more);
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(&folder)(e)),
    }
    if paths.is_empty() {
        // A folder that may not be looked into is no empty one.
        std::fs::read_dir(dir).map_err(io(dir))?;
        return Err(ReadError::Nothing { path: dir.to_owned() });
    }
    let mut sources = Vec::new();
    for path in paths {
        use std::io::Read;
        let file = std::fs::File::open(&path).map_err(io(&path))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(io(&path))?;
        sources.push(Source::from_bytes(path.display().to_string(), bytes));
    }
    Ok(sources)
}

/// The host, as the check asks about it.
struct Host;

impl Facts for Host {
    fn file_hash(&self, path: &Path) -> Result<String, String> {
        use std::io::Read;
        let file = std::fs::File::open(path).map_err(|e| plain(&e))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(|e| plain(&e))?;
        Ok(Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect())
    }

    fn credential_exists(&self, name: &str) -> Option<bool> {
        let folder = super::env::variable("CREDENTIALS_DIRECTORY")?;
        Some(Path::new(&folder).join(name).exists())
    }
}

/// "permission denied", without "(os error 13)".
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
