//! Where the recorded answers are, for tests only.

use std::path::{Path, PathBuf};

/// The folder of recorded answers beside the workspace; says so loudly when it is not there.
pub fn data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/salesforce");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("NOT TESTED: recorded answers are absent ({})", dir.display());
    None
}

pub fn recorded(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}
