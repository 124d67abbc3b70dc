//! Sealed secrets: the only module that opens one.
//!
//! A random data key per connection, wrapped by the master key, seals the connection's secrets;
//! all is bound to its place by associated data. Hides formats, keys and the epoch check.
//! Invariants: a secret leaves as `SecretString` only; nothing is written here: [`Vault::put`]
//! makes a [`SecretWrite`] that goes into a [`super::Change`] with the state it belongs to; a
//! generation is never used twice; without its key sealed data is left alone.

mod error;
mod init;
mod key;
mod rows;
mod seal;

#[cfg(test)]
mod tests;

pub use error::VaultError;
pub use init::{KeyStatus, give_up_sealed, key_status, move_key, systemd_steps};
pub use key::KeyPlace;
pub use rows::SecretWrite;
pub(super) use rows::write;

use super::{Store, StoreError, unsigned};
use rows::{Op, check_key, sealed_count};
use rusqlite::OptionalExtension;
use seal::{Key, Place};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
