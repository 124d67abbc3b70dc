//! The bench: what integration tests need to drive real programs and real servers.
//!
//! Hides how servers are set up, where ports come from and how processes are cleaned away.
//! Invariants: a helper that cannot do its work panics with what it was doing; every wait has a
//! deadline and ends by an event; everything that is started belongs to a value whose `Drop`
//! stops it by process id; nothing here knows code of `src/`.
//!
//! A server that is not installed is a loud skip on an ordinary machine, and a failure where
//! `CRMSYNC_TEST_REQUIRE=1` is set (the continuous integration does).
#![allow(dead_code, reason = "the bench serves many modules; not each uses all of it")]

pub mod browser;
pub mod certs;
pub mod chance;
pub mod daemon;
pub mod disk;
pub mod front;
pub mod gate;
pub mod http;
pub mod mail;
pub mod oidc;
pub mod ports;
pub mod postfix;
pub mod postgres;
pub mod proc;
pub mod replica;
pub mod sandbox;
pub mod sqlite;
pub mod systemd_lab;
pub mod tcp_proxy;
pub mod tryton;
pub mod values;
pub mod wait;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The root of the workspace that is being tested.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of recorded real answers, where somebody has laid it beside the repository.
/// Absent is said on stderr, past the capture of the test runner.
pub fn recorded_data(part: &str) -> Option<PathBuf> {
    let dir = workspace().join("../shared/data").join(part);
    if dir.exists() {
        return Some(dir);
    }
    loud(&format!("no recorded data at ../shared/data/{part}: the tests over it do nothing"));
    None
}

/// Says a line on the real stderr: the test runner captures only what the print macros write.
pub fn loud(line: &str) {
    // one write, on a line of its own: the runner writes between those of others
    let _ = std::io::stderr().write_all(format!("\nbench: {line}\n").as_bytes());
}

/// True when the caller should return at once because something it needs is missing.
/// `what` is for people: the packages to install or the right that is needed.
pub fn skip(test: &str, missing: bool, what: &str) -> bool {
    if !missing {
        return false;
    }
    assert!(
        std::env::var_os("CRMSYNC_TEST_REQUIRE").is_none(),
        "{test} cannot run: {what} (CRMSYNC_TEST_REQUIRE is set, so this is no skip)"
    );
    loud(&format!("SKIPPED {test}: {what}"));
    true
}

/// True for root: some servers drop their rights and must start with all of them.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A fresh folder that every local user may pass through (servers run as users of their own);
/// removed with the value, kept and named when `KEEP=1`.
pub struct Scratch {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// A folder `crmsync-NAME-…` below the system's folder for temporary files.
    pub fn new(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new()
            .prefix(&format!("crmsync-{name}-"))
            .tempdir()
            .expect("making a scratch folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("opening the scratch folder");
        let path = dir.path().to_path_buf();
        Self { dir: Some(dir), path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below it and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("making a folder in the scratch folder");
        }
        std::fs::write(&path, text).expect("writing into the scratch folder");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            loud(&format!("kept {}", dir.keep().display()));
        }
    }
}
