//! Sealing: subkeys, associated data, padding, the blob. Pure but for the nonce.
//!
//! Every ciphertext is bound to instance, table, row, column and generation: moved anywhere else
//! it does not open. The format byte leads, so that another algorithm can follow.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use zeroize::Zeroizing;

/// 32 bytes that are wiped when dropped and never printed.
pub(super) type Key = SecretBox<[u8; 32]>;

const FORMAT: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
const HEAD: usize = 1 + 4 + NONCE;
const PAD: usize = 64;

/// What a ciphertext is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) instance: &'a [u8; 16],
    pub(super) table: &'static str,
    pub(super) row: &'a str,
    pub(super) column: &'a str,
    pub(super) generation: u64,
}

impl Place<'_> {
    /// `"crmsync/ad/v1" 0 instance lp(table) lp(row) lp(column) u64(generation)`, big-endian.
    fn associated(&self) -> Vec<u8> {
        let mut ad = b"crmsync/ad/v1\0".to_vec();
        ad.extend_from_slice(self.instance);
        for part in [self.table, self.row, self.column] {
            // Names are bounded far below 64 KiB; a longer one could only fail to open.
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            ad.extend_from_slice(&len.to_be_bytes());
            ad.extend_from_slice(part.as_bytes());
        }
        ad.extend_from_slice(&self.generation.to_be_bytes());
        ad
    }
}

/// A subkey of the master key for one purpose. `None` cannot happen at this length.
pub(super) fn subkey(master: &Key, instance: &[u8; 16], info: &str) -> Option<Key> {
    let hk = Hkdf::<Sha256>::new(Some(instance), master.expose_secret());
    let mut key = Box::new([0u8; 32]);
    hk.expand(info.as_bytes(), &mut key[..]).ok()?;
    Some(Key::new(key))
}

/// MAC of the instance id under its own subkey, kept in clear: tells a wrong key at once.
pub(super) fn key_check(master: &Key, instance: &[u8; 16]) -> Option<[u8; 32]> {
    let key = subkey(master, instance, "crmsync key-check v1")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    mac.update(instance);
    Some(mac.finalize().into_bytes().into())
}

/// Seals with a fresh random nonce.
pub(super) fn seal(key: &Key, key_id: u32, place: &Place<'_>, plain: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0u8; NONCE];
    getrandom::fill(&mut nonce).ok()?;
    seal_with(key, key_id, place, plain, &nonce)
}

fn seal_with(
    key: &Key,
    key_id: u32,
    place: &Place<'_>,
    plain: &[u8],
    nonce: &[u8; NONCE],
) -> Option<Vec<u8>> {
    let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).ok()?;
    let ad = place.associated();
    let sealed = cipher.encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad: &ad }).ok()?;
    let mut blob = Vec::with_capacity(HEAD + sealed.len());
    blob.push(FORMAT);
    blob.extend_from_slice(&key_id.to_be_bytes());
    blob.extend_from_slice(nonce);
    blob.extend_from_slice(&sealed);
    Some(blob)
}

/// Opens; `None` if anything at all differs from how it was sealed.
pub(super) fn open(
    key: &Key,
    key_id: u32,
    place: &Place<'_>,
    blob: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    if blob.len() < HEAD + TAG || blob.first() != Some(&FORMAT) || key_id_of(blob) != Some(key_id) {
        return None;
    }
    let (head, sealed) = blob.split_at_checked(HEAD)?;
    let nonce: [u8; NONCE] = head.get(5..)?.try_into().ok()?;
    let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).ok()?;
    let ad = place.associated();
    cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: &ad }).ok().map(Zeroizing::new)
}

/// The id of the key that a blob says it was sealed with.
pub(super) fn key_id_of(blob: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(blob.get(1..5)?.try_into().ok()?))
}

/// ISO 7816-4: `0x80`, then zeros up to a multiple of 64, so that a length tells no password.
pub(super) fn pad(plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = (plain.len() / PAD + 1) * PAD;
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    out.extend_from_slice(plain);
    out.push(0x80);
    out.resize(len, 0);
    out
}

/// The inverse.
pub(super) fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|b| *b != 0)?;
    (padded.get(end) == Some(&0x80)).then(|| padded.get(..end)).flatten()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
