//! The master key: its text form, where it comes from, and what is checked before it is believed.
//!
//! A systemd credential wins over `STATE/master.key`. The latter is made at the first start, while
//! nothing is sealed yet, and never again: a new key beside old secrets would hide their loss.

use super::VaultError;
use super::seal::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags};
use secrecy::ExposeSecret;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const PREFIX: &str = "crmsync-master-v1";
const LONGEST: u64 = 512;

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A systemd credential: outside the state folder.
    Credential(PathBuf),
    /// `STATE/master.key`: beside the data.
    StateFile(PathBuf),
}

impl KeyPlace {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Credential(p) | Self::StateFile(p) => p,
        }
    }
}

/// The key that opens everything.
pub(super) struct MasterKey {
    pub(super) id: u32,
    pub(super) key: Key,
    pub(super) place: KeyPlace,
}

/// The key file of a state folder.
pub(super) fn state_file(dir: &Path) -> PathBuf {
    dir.join("master.key")
}

/// Looks in both places; `None`: there is no key in either.
pub(super) fn find(credential: Option<&Path>, dir: &Path) -> Result<Option<MasterKey>, VaultError> {
    let file = state_file(dir);
    if let Some(path) = credential.filter(|p| p.symlink_metadata().is_ok()) {
        if file.exists() {
            tracing::warn!(
                key_file = %file.display(),
                "the systemd credential is used; the key file in the state folder is not"
            );
        }
        return read(path, KeyPlace::Credential(path.to_owned())).map(Some);
    }
    if file.symlink_metadata().is_ok() {
        return read(&file, KeyPlace::StateFile(file.clone())).map(Some);
    }
    Ok(None)
}

/// Makes a key in the state folder. Refused where a file is there already.
pub(super) fn make(dir: &Path) -> Result<MasterKey, VaultError> {
    let path = state_file(dir);
    let mut id = [0u8; 4];
    let mut key = Box::new([0u8; 32]);
    getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut key[..])).map_err(|e| {
        VaultError::KeyFile { path: path.clone(), why: format!("no random bytes: {e}") }
    })?;
    let id = u32::from_be_bytes(id);
    let key = Key::new(key);
    write(&path, &text(id, &key))?;
    Ok(MasterKey { id, key, place: KeyPlace::StateFile(path) })
}

/// Writes a key file 0600 that must not exist yet, and its folder entry, to the disk.
pub(super) fn write(path: &Path, text: &str) -> Result<(), VaultError> {
    let refuse = |e: std::io::Error| VaultError::KeyFile {
        path: path.to_owned(),
        why: format!("writing it: {e}"),
    };
    // Beside first: a crash must not leave half a key under the final name.
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(refuse)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(refuse)?;
    // A hard link fails where the name is taken; a rename would replace a key.
    fs::hard_link(&part, path).map_err(refuse)?;
    fs::remove_file(&part).map_err(refuse)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).map_err(refuse)
}

/// The text of a key file, checked as a key file is.
pub(super) fn read_text(path: &Path, place: &KeyPlace) -> Result<Zeroizing<String>, VaultError> {
    let refuse = |why: String| VaultError::KeyFile { path: path.to_owned(), why };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
        refuse(if e == rustix::io::Errno::LOOP {
            "it is a symbolic link; give the file itself".to_owned()
        } else {
            std::io::Error::from(e).to_string()
        })
    })?;
    let file = File::from(file);
    check(&file, path, place).map_err(refuse)?;
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|_| refuse("it is not a key file: not readable as text".to_owned()))?;
    Ok(text)
}

fn read(path: &Path, place: KeyPlace) -> Result<MasterKey, VaultError> {
    let text = read_text(path, &place)?;
    let (id, key) = parse(&text)
        .map_err(|why| VaultError::KeyFile { path: path.to_owned(), why: why.to_owned() })?;
    Ok(MasterKey { id, key, place })
}

fn check(file: &File, path: &Path, place: &KeyPlace) -> Result<(), String> {
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mode = meta.mode() & 0o7777;
    match place {
        // systemd grants access by an ACL, which shows as group bits; owner is root or ours.
        KeyPlace::Credential(_) if mode & 0o007 != 0 => {
            Err(format!("others may read it: mode {mode:04o}"))
        }
        KeyPlace::Credential(_) => Ok(()),
        KeyPlace::StateFile(_) => {
            if !matches!(mode, 0o400 | 0o600) {
                return Err(format!("its mode is {mode:04o}; it must be 0600 or 0400"));
            }
            let own = rustix::process::geteuid().as_raw();
            if meta.uid() != own && meta.uid() != 0 {
                return Err(format!("it belongs to uid {}; it must be {own} or root", meta.uid()));
            }
            let parent = path.parent().unwrap_or(Path::new("."));
            let parent = fs::metadata(parent).map_err(|e| e.to_string())?.mode() & 0o7777;
            if parent & 0o022 != 0 {
                return Err(format!("others may write to its folder: mode {parent:04o}"));
            }
            Ok(())
        }
    }
}

/// `crmsync-master-v1:<id 8 hex>:<base64 of 32 bytes>:<crc32 of all before, 8 hex>`.
pub(super) fn text(id: u32, key: &Key) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose_secret()));
    let head = Zeroizing::new(format!("{PREFIX}:{id:08x}:{}", encoded.as_str()));
    Zeroizing::new(format!("{}:{:08x}", head.as_str(), crc32fast::hash(head.as_bytes())))
}

/// Reads the text form; one line end after it is fine.
pub(super) fn parse(text: &str) -> Result<(u32, Key), &'static str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty");
    }
    let form = "it is not a crmsync master key (crmsync-master-v1:ID:KEY:CRC)";
    let (head, crc) = text.rsplit_once(':').ok_or(form)?;
    let mut parts = head.split(':');
    if parts.next() != Some(PREFIX) {
        return Err(form);
    }
    let (Some(id), Some(encoded), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it is cut off or has been edited");
    };
    let hex8 = |t: &str| {
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        (t.len() == 8 && t.as_bytes().iter().all(lower)).then(|| u32::from_str_radix(t, 16).ok())
    };
    let crc = hex8(crc).flatten().ok_or("it is cut off or has been edited")?;
    if crc != crc32fast::hash(head.as_bytes()) {
        return Err("its checksum is wrong: it is cut off or has been edited");
    }
    let id = hex8(id).flatten().ok_or(form)?;
    let mut key = Box::new([0u8; 32]);
    let decoded = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| form)?);
    if decoded.len() != key.len() {
        return Err(form);
    }
    key.copy_from_slice(&decoded);
    Ok((id, Key::new(key)))
}
