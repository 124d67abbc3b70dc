//! The vault as the daemon holds it: open, or closed for want of its key (degraded: socket and
//! client work, nothing syncs, nothing is deleted).

use super::env;
use crate::store::Store;
use crate::store::vault::{Vault, VaultError};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Open or closed.
pub struct VaultSlot {
    state: RwLock<Option<Arc<Vault>>>,
    store: Store,
}

impl VaultSlot {
    /// Tries to open it; why not is the second value.
    pub fn new(store: &Store) -> (Arc<Self>, Option<VaultError>) {
        let slot = Self { state: RwLock::new(None), store: store.clone() };
        let failed = slot.try_open().err();
        (Arc::new(slot), failed)
    }

    /// Where systemd put the master key, if it did.
    pub fn credential() -> Option<PathBuf> {
        let path = PathBuf::from(env::variable("CREDENTIALS_DIRECTORY")?).join("crmsync.master");
        path.exists().then_some(path)
    }

    /// Tries again.
    pub fn try_open(&self) -> Result<(), VaultError> {
        let vault = Vault::open(&self.store, Self::credential().as_deref())?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(vault));
        Ok(())
    }

    /// The open vault.
    pub fn open(&self) -> Result<Arc<Vault>, VaultError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        state.ok_or_else(|| VaultError::KeyMissing { path: self.store.dir().join("master.key") })
    }
}
