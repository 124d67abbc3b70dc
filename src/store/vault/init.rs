//! `crmsync key status` and `crmsync key init`: where the key lies, and moving it away from the
//! data. Works without an open vault, and without a daemon.

use super::key::{self, KeyPlace};
use super::{Store, VaultError, check_row, sealed_count};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What `key status` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Where a key was found, if anywhere.
    pub place: Option<KeyPlace>,
    /// Id of the key that was found, 8 hex digits.
    pub key_id: Option<String>,
    /// Id of the key that sealed what is sealed.
    pub needed_id: Option<String>,
    /// Whether the key lies beside the data: who copies the folder has both.
    pub beside_data: bool,
    /// How many secrets are sealed.
    pub sealed: u64,
    /// Why the key that is there cannot be used.
    pub problem: Option<String>,
}

/// Looks, changes nothing.
pub fn key_status(store: &Store, credential: Option<&Path>) -> Result<KeyStatus, VaultError> {
    let needed = check_row(store)?.map(|(id, _)| format!("{id:08x}"));
    let (found, problem) = match key::find(credential, store.dir()) {
        Ok(found) => (found, None),
        Err(e) => (None, Some(e.to_string())),
    };
    let key_id = found.as_ref().map(|m| format!("{:08x}", m.id));
    let place = found.map(|m| m.place);
    Ok(KeyStatus {
        beside_data: matches!(place, Some(KeyPlace::StateFile(_))),
        sealed: sealed_count(store)?,
        place,
        key_id,
        needed_id: needed,
        problem,
    })
}

/// Moves `STATE/master.key` to `target` (which must not exist): written 0600, read back and
/// compared, and only then removed from the state folder. Killed at any moment, at least one
/// complete key file is left.
pub fn move_key(state_dir: &Path, target: &Path) -> Result<(), VaultError> {
    let from = key::state_file(state_dir);
    let place = KeyPlace::StateFile(from.clone());
    let text = key::read_text(&from, &place)?;
    let refuse = |path: &Path, why: String| VaultError::KeyFile { path: path.to_owned(), why };
    let (id, master) = key::parse(&text).map_err(|why| refuse(&from, why.to_owned()))?;
    let clean = key::text(id, &master);
    key::write(target, &clean)?;
    let back = key::read_text(target, &KeyPlace::Credential(target.to_owned()))?;
    if back.trim_end() != clean.as_str() {
        return Err(refuse(target, "what was written could not be read back".to_owned()));
    }
    fs::remove_file(&from)
        .and_then(|()| File::open(state_dir)?.sync_all())
        .map_err(|e| refuse(&from, format!("removing it: {e}")))
}

/// What root types to have systemd keep the key encrypted and hand it to the service. Each step
/// is one shell line; the last removes the clear copy.
pub fn systemd_steps(key_file: &Path, encrypted: bool) -> Vec<String> {
    let cred = PathBuf::from("/etc/crmsync/master.cred");
    let drop_in = "/etc/systemd/system/crmsyncd.service.d/master-key.conf";
    let from = quote(key_file);
    let mut steps = vec!["mkdir -p /etc/systemd/system/crmsyncd.service.d".to_owned()];
    if encrypted {
        // An empty assignment first: the unit's bare LoadCredential= must not win.
        steps
            .push(format!("systemd-creds encrypt --name=crmsync.master {from} {}", cred.display()));
        steps.push(format!(
            "printf '[Service]\\nLoadCredential=\\nLoadCredentialEncrypted=crmsync.master:{}\\n' > {drop_in}",
            cred.display()
        ));
    } else {
        steps.push(format!("install -m 0600 -o root -g root {from} /etc/crmsync/master.key"));
        steps.push(format!(
            "printf '[Service]\\nLoadCredential=\\nLoadCredential=crmsync.master:/etc/crmsync/master.key\\n' > {drop_in}"
        ));
    }
    steps.push("systemctl daemon-reload && systemctl restart crmsyncd".to_owned());
    steps.push("crmsync key status".to_owned());
    steps.push(format!("rm {from}"));
    steps
}

/// In single quotes, for a shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
