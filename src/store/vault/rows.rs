//! What of the vault stands in the database: sealed rows and the key check.

use super::key::MasterKey;
use super::{VaultError, seal};
use crate::store::{Store, StoreError, signed, unsigned};
use rusqlite::{OptionalExtension, Transaction, params};

/// A secret to write or remove, already sealed. Goes into `Change::secrets`.
#[derive(Clone)]
pub struct SecretWrite {
    pub(super) connection: String,
    pub(super) name: String,
    pub(super) op: Op,
}

#[derive(Clone)]
pub(super) enum Op {
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

    pub(in crate::store) fn describe(&self) -> String {
        format!("{}/{}", self.connection, self.name)
    }
}

impl std::fmt::Debug for SecretWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let op = if matches!(self.op, Op::Put { .. }) { "put" } else { "remove" };
        write!(f, "SecretWrite({op} {})", self.describe())
    }
}

pub(super) fn sealed_count(store: &Store) -> Result<u64, StoreError> {
    store.with("counting secrets", |c| {
        c.query_row("SELECT count(*) FROM secret", [], |r| Ok(unsigned(r.get(0)?)))
    })
}

/// Compares the key with the check value in the store. While nothing is sealed any key is taken,
/// and what was wrapped by another goes.
pub(super) fn check_key(store: &Store, master: &MasterKey, sealed: bool) -> Result<(), VaultError> {
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
pub(super) fn check_row(store: &Store) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
    let row: Option<Vec<u8>> = store.with("reading the key check", |c| {
        c.query_row("SELECT value FROM meta WHERE key = 'key_check'", [], |r| r.get(0)).optional()
    })?;
    Ok(row.and_then(|row| {
        let (id, value) = row.split_at_checked(4)?;
        Some((u32::from_be_bytes(id.try_into().ok()?), value.to_vec()))
    }))
}

/// Removes every sealed secret and data key, and the key check. What was
/// sealed before does not open under the next key, so generations may begin again.
pub(super) fn remove_sealed(store: &Store) -> Result<(), StoreError> {
    const WHAT: &str = "giving up sealed secrets";
    let mut db = store.lock();
    store.transaction(&mut db, WHAT, |tx| {
        tx.execute_batch(
            "DELETE FROM secret; DELETE FROM dek; DELETE FROM meta WHERE key = 'key_check'",
        )
        .and_then(|()| crate::store::epoch::count(tx))
        .map_err(|e| store.sql(WHAT, &e))
    })?;
    store.write_epoch(&mut db);
    Ok(())
}

/// Applies a write inside the change's transaction. `false`: a newer one was stored meanwhile.
pub(in crate::store) fn write(tx: &Transaction<'_>, write: &SecretWrite) -> rusqlite::Result<bool> {
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
