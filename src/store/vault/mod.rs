//! Sealed secrets: the only module that opens one.
//!
//! A random data key per connection, wrapped by the master key, seals the connection's secrets;
//! all is bound to its place by associated data. Hides formats, keys and the epoch check.
//! Invariants: a secret leaves as `SecretString` only; nothing is written here: [`Vault::put`]
//! makes a [`SecretWrite`] that goes into a [`super::Change`] with the state it belongs to; a
//! generation is never used twice; without its key sealed data is left alone.

mod init;
mod key;
mod seal;

#[cfg(test)]
mod tests;

pub use init::{KeyStatus, key_status, move_key, systemd_steps};
pub use key::KeyPlace;

use super::{Store, StoreError, signed, unsigned};
use key::MasterKey;
use rusqlite::{OptionalExtension, Transaction, params};
use seal::{Key, Place};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Secrets are sealed, but there is no key. Degraded: nothing is deleted, no new key is made.
    #[error(
        "opening the vault: secrets are sealed, but the master key is missing (looked for the credential crmsync.master and {})\n\
         hint: put the key back and restart; if it is lost, `crmsync key status` says what to do",
        path.display()
    )]
    KeyMissing {
        /// The key file's place in the state folder.
        path: PathBuf,
    },
    /// There is a key, but secrets were sealed with another.
    #[error(
        "opening the vault: the key in {} (id {found:08x}) is not the one that sealed the secrets (id {expected:08x})\n\
         hint: put the right key there and restart",
        path.display()
    )]
    WrongKey {
        /// Where the key was found.
        path: PathBuf,
        /// Id of the key that is needed.
        expected: u32,
        /// Id of the key that is there.
        found: u32,
    },
    /// The key file is refused.
    #[error("using the key file {}: {why}\nhint: it must be a regular file of the daemon's user or root, mode 0600", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The secret does not open: damaged, or put there from elsewhere.
    #[error(
        "opening secret `{name}` of connection {connection}: it does not open: damaged, or moved there from elsewhere\n\
         hint: authorize the connection again"
    )]
    DoesNotOpen {
        /// Connection id.
        connection: String,
        /// Name of the secret.
        name: String,
    },
    /// An older version of the secret was put back into the database.
    #[error(
        "opening secret `{name}` of connection {connection}: it is older than the last one written (generation {found} after {expected})\n\
         hint: somebody changed the database; authorize the connection again"
    )]
    Older {
        /// Connection id.
        connection: String,
        /// Name of the secret.
        name: String,
        /// Generation in the database.
        found: u64,
        /// Generation that was reached.
        expected: u64,
    },
    /// The kernel gave no random bytes, or the cipher refused: nothing was sealed.
    #[error("sealing secret `{name}`: the system gave no random bytes")]
    NotSealed {
        /// Name of the secret.
        name: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The open vault; clones share it.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    master_id: u32,
    wrap: Key,
    place: KeyPlace,
    chains: Mutex<BTreeMap<String, Chain>>,
}

/// What is known of a connection's data key.
struct Chain {
    dek_id: u32,
    dek: Key,
    wrapped: Vec<u8>,
    /// Last generation given away, stored or not.
    generation: u64,
}

/// A secret to write or remove, already sealed. Goes into `Change::secrets`.
#[derive(Clone)]
pub struct SecretWrite {
    connection: String,
    name: String,
    op: Op,
}

#[derive(Clone)]
enum Op {
    Put { generation: u64, blob: Vec<u8>, dek_id: u32, wrapped: Vec<u8> },
    Remove,
}

impl SecretWrite {
    /// The generation this write will have; `None` when it removes.
    pub fn generation(&self) -> Option<u64> {
        match &self.op {
            Op::Put { generation, .. } => Some(*generation),
            Op::Remove => None,
        }
    }

    pub(super) fn describe(&self) -> String {
        format!("{}/{}", self.connection, self.name)
    }
}

impl std::fmt::Debug for SecretWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let op = if matches!(self.op, Op::Put { .. }) { "put" } else { "remove" };
        write!(f, "SecretWrite({op} {})", self.describe())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens with the key from the systemd credential file, if there is one, else from
    /// `STATE/master.key`, which is made while nothing is sealed yet. Checks the key before any
    /// sealed row is touched.
    pub fn open(store: &Store, credential: Option<&Path>) -> Result<Self, VaultError> {
        let sealed = sealed_count(store)? > 0;
        let master = match key::find(credential, store.dir())? {
            Some(master) => master,
            None if sealed => {
                return Err(VaultError::KeyMissing { path: key::state_file(store.dir()) });
            }
            None => key::make(store.dir())?,
        };
        check_key(store, &master, sealed)?;
        let wrap = seal::subkey(&master.key, &store.instance_id(), "crmsync wrap v1")
            .ok_or_else(|| VaultError::NotSealed { name: "wrap".into() })?;
        Ok(Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                master_id: master.id,
                wrap,
                place: master.place,
                chains: Mutex::default(),
            }),
        })
    }

    /// Seals a secret under the next generation of its connection (by id). Nothing is stored
    /// until the write has been applied.
    pub fn put(
        &self,
        connection: &str,
        name: &str,
        secret: &SecretString,
    ) -> Result<SecretWrite, VaultError> {
        let store = &self.inner.store;
        let mut chains = self.inner.chains.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.load(connection)?;
        // The row decides: after `forget` or a restored database what memory knows is void.
        let reached = chains.get(connection).map_or(0, |c| c.generation);
        let mut chain = match (chains.remove(connection), stored) {
            (Some(known), Some(row)) if known.dek_id == row.dek_id => known,
            (_, Some(row)) => row,
            (Some(known), None) => known,
            (None, None) => self.fresh(connection)?,
        };
        let least = store.lock().epoch.least(connection, name);
        chain.generation = chain.generation.max(reached).max(least) + 1;
        let place = self.secret_place(connection, name, chain.generation);
        let padded = seal::pad(secret.expose_secret().as_bytes());
        let blob = seal::seal(&chain.dek, chain.dek_id, &place, &padded)
            .ok_or_else(|| VaultError::NotSealed { name: name.to_owned() })?;
        let op = Op::Put {
            generation: chain.generation,
            blob,
            dek_id: chain.dek_id,
            wrapped: chain.wrapped.clone(),
        };
        chains.insert(connection.to_owned(), chain);
        Ok(SecretWrite { connection: connection.to_owned(), name: name.to_owned(), op })
    }

    /// Removes a secret, when applied.
    pub fn remove(&self, connection: &str, name: &str) -> SecretWrite {
        SecretWrite { connection: connection.to_owned(), name: name.to_owned(), op: Op::Remove }
    }

    /// Opens a secret; `None` if there is none of that name.
    pub fn get(&self, connection: &str, name: &str) -> Result<Option<SecretString>, VaultError> {
        let Some((generation, blob)) = self.row(connection, name)? else {
            return Ok(None);
        };
        let expected = self.inner.store.lock().epoch.least(connection, name);
        if generation < expected {
            return Err(VaultError::Older {
                connection: connection.to_owned(),
                name: name.to_owned(),
                found: generation,
                expected,
            });
        }
        let refuse =
            || VaultError::DoesNotOpen { connection: connection.to_owned(), name: name.to_owned() };
        let chain = self.load(connection)?.ok_or_else(refuse)?;
        let place = self.secret_place(connection, name, generation);
        let padded = seal::open(&chain.dek, chain.dek_id, &place, &blob).ok_or_else(refuse)?;
        let plain = seal::unpad(&padded).ok_or_else(refuse)?;
        let text = std::str::from_utf8(plain).map_err(|_| refuse())?;
        Ok(Some(SecretString::from(text)))
    }

    /// Generation of a stored secret: what a refresh in flight names.
    pub fn generation(&self, connection: &str, name: &str) -> Result<Option<u64>, VaultError> {
        Ok(self.row(connection, name)?.map(|(generation, _)| generation))
    }

    /// Names of the secrets of a connection.
    pub fn names(&self, connection: &str) -> Result<Vec<String>, VaultError> {
        Ok(self.inner.store.with("listing secrets", |c| {
            c.prepare_cached("SELECT name FROM secret WHERE connection = ?1 ORDER BY name")?
                .query_map([connection], |r| r.get(0))?
                .collect()
        })?)
    }

    /// Removes all secrets of a connection, when applied. Its generations go on.
    pub fn forget(&self, connection: &str) -> Result<Vec<SecretWrite>, VaultError> {
        Ok(self.names(connection)?.iter().map(|name| self.remove(connection, name)).collect())
    }

    /// Where the key in use was found.
    pub fn key_place(&self) -> &KeyPlace {
        &self.inner.place
    }

    fn row(&self, connection: &str, name: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.inner.store.with("reading a secret", |c| {
            c.prepare_cached(
                "SELECT generation, blob FROM secret WHERE connection = ?1 AND name = ?2",
            )?
            .query_row([connection, name], |r| Ok((unsigned(r.get(0)?), r.get(1)?)))
            .optional()
        })
    }

    fn load(&self, connection: &str) -> Result<Option<Chain>, VaultError> {
        let row: Option<(i64, i64, Vec<u8>)> =
            self.inner.store.with("reading a data key", |c| {
                c.prepare_cached(
                    "SELECT dek_id, generation, wrapped FROM dek WHERE connection = ?1",
                )?
                .query_row([connection], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()
            })?;
        let Some((dek_id, generation, wrapped)) = row else { return Ok(None) };
        let refuse = || VaultError::DoesNotOpen {
            connection: connection.to_owned(),
            name: "data key".to_owned(),
        };
        let dek_id = u32::try_from(dek_id).map_err(|_| refuse())?;
        let instance = self.inner.store.instance_id();
        let place = dek_place(&instance, connection, dek_id);
        let plain = seal::open(&self.inner.wrap, self.inner.master_id, &place, &wrapped)
            .ok_or_else(refuse)?;
        let mut dek = Box::new([0u8; 32]);
        if plain.len() != dek.len() {
            return Err(refuse());
        }
        dek.copy_from_slice(&plain);
        Ok(Some(Chain { dek_id, dek: Key::new(dek), wrapped, generation: unsigned(generation) }))
    }

    fn fresh(&self, connection: &str) -> Result<Chain, VaultError> {
        let refuse = || VaultError::NotSealed { name: "data key".to_owned() };
        let mut dek = Box::new([0u8; 32]);
        let mut id = [0u8; 4];
        getrandom::fill(&mut dek[..])
            .and_then(|()| getrandom::fill(&mut id))
            .map_err(|_| refuse())?;
        let dek_id = u32::from_be_bytes(id);
        let instance = self.inner.store.instance_id();
        let place = dek_place(&instance, connection, dek_id);
        let wrapped = seal::seal(&self.inner.wrap, self.inner.master_id, &place, &dek[..])
            .ok_or_else(refuse)?;
        Ok(Chain { dek_id, dek: Key::new(dek), wrapped, generation: 0 })
    }

    fn secret_place<'a>(
        &'a self,
        connection: &'a str,
        name: &'a str,
        generation: u64,
    ) -> Place<'a> {
        Place {
            instance: &self.inner.store.inner.instance,
            table: "connection_secret",
            row: connection,
            column: name,
            generation,
        }
    }
}

fn dek_place<'a>(instance: &'a [u8; 16], connection: &'a str, dek_id: u32) -> Place<'a> {
    Place { instance, table: "dek", row: connection, column: "", generation: dek_id.into() }
}

fn sealed_count(store: &Store) -> Result<u64, StoreError> {
    store.with("counting secrets", |c| {
        c.query_row("SELECT count(*) FROM secret", [], |r| Ok(unsigned(r.get(0)?)))
    })
}

/// Compares the key with the check value in the store. While nothing is sealed any key is taken,
/// and what was wrapped by another goes.
fn check_key(store: &Store, master: &MasterKey, sealed: bool) -> Result<(), VaultError> {
    use subtle::ConstantTimeEq;
    let value = seal::key_check(&master.key, &store.instance_id())
        .ok_or_else(|| VaultError::NotSealed { name: "key check".into() })?;
    let known = check_row(store)?;
    match known {
        Some((id, known)) if known.ct_eq(&value).into() && id == master.id => Ok(()),
        Some((expected, _)) if sealed => Err(VaultError::WrongKey {
            path: master.place.path().to_owned(),
            expected,
            found: master.id,
        }),
        Some(_) | None => {
            let mut row = master.id.to_be_bytes().to_vec();
            row.extend_from_slice(&value);
            Ok(store.with("storing the key check", |c| {
                c.execute("DELETE FROM dek", [])?;
                c.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES ('key_check', ?1)",
                    [row],
                )
                .map(drop)
            })?)
        }
    }
}

/// Id and check value of the key that sealed what is sealed.
fn check_row(store: &Store) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
    let row: Option<Vec<u8>> = store.with("reading the key check", |c| {
        c.query_row("SELECT value FROM meta WHERE key = 'key_check'", [], |r| r.get(0)).optional()
    })?;
    Ok(row.and_then(|row| {
        let (id, value) = row.split_at_checked(4)?;
        Some((u32::from_be_bytes(id.try_into().ok()?), value.to_vec()))
    }))
}

/// Applies a write inside the change's transaction. `false`: a newer one was stored meanwhile.
pub(super) fn write(tx: &Transaction<'_>, write: &SecretWrite) -> rusqlite::Result<bool> {
    match &write.op {
        Op::Remove => {
            tx.prepare_cached("DELETE FROM secret WHERE connection = ?1 AND name = ?2")?
                .execute([&write.connection, &write.name])?;
            Ok(true)
        }
        Op::Put { generation, blob, dek_id, wrapped } => {
            let generation = signed(*generation);
            let same_key = tx
                .prepare_cached(
                    "INSERT INTO dek (connection, dek_id, generation, wrapped)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (connection) DO UPDATE SET
                       generation = max(generation, excluded.generation)
                     WHERE dek_id = excluded.dek_id",
                )?
                .execute(params![write.connection, dek_id, generation, wrapped])?;
            let newer = tx
                .prepare_cached(
                    "INSERT INTO secret (connection, name, generation, blob)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (connection, name) DO UPDATE SET
                       generation = excluded.generation, blob = excluded.blob
                     WHERE generation < excluded.generation",
                )?
                .execute(params![write.connection, write.name, generation, blob])?;
            Ok(same_key > 0 && newer > 0)
        }
    }
}
