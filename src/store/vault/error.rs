use crate::store::StoreError;
use std::path::PathBuf;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Secrets are sealed, but there is no key. Degraded: nothing is deleted, no new key is made.
    #[error(
        "opening the vault: secrets are sealed, but the master key is missing (looked for the credential crmsync.master and {})\n\
         hint: put the key back and restart; `crmsync key status` says more, also what to do if it is lost",
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
