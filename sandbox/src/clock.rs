//! Time and chance, the sandbox's only sources of both.
//!
//! The clock can be moved forward by `ctl clock`, so that idle expiry, token life, the rolling
//! quota window and the recycle bin can be rehearsed without waiting. Chance only has to be
//! unguessable enough for a rehearsal and never to repeat within one run: it is a hash over the
//! start moment, the process id and a counter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The wall clock plus an offset that only ever grows by command.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    /// The sandbox's present moment.
    #[expect(clippy::disallowed_methods, reason = "the sandbox's one reading of the wall clock")]
    pub(crate) fn now(&self) -> Timestamp {
        let wall = Timestamp::now();
        let offset = SignedDuration::from_secs(self.offset_seconds.load(Ordering::Relaxed));
        wall.checked_add(offset).unwrap_or(wall)
    }

    /// Moves the clock by so many seconds; returns the whole offset now in force.
    pub(crate) fn advance(&self, seconds: i64) -> i64 {
        // A century is beyond every expiry there is and keeps the sum inside jiff's range.
        const LIMIT: i64 = 100 * 366 * 86_400;
        let before = self.offset_seconds.load(Ordering::Relaxed);
        let after = before.saturating_add(seconds).clamp(-LIMIT, LIMIT);
        self.offset_seconds.store(after, Ordering::Relaxed);
        after
    }
}

/// A source of strings that do not repeat.
#[derive(Debug)]
pub(crate) struct Chance {
    salt: [u8; 32],
    drawn: AtomicU64,
}

impl Chance {
    /// Salts the source with the start moment and the process id.
    pub(crate) fn new(started: Timestamp) -> Chance {
        let salt = Sha256::digest(format!("{} {}", started.as_nanosecond(), std::process::id()));
        Chance { salt: salt.into(), drawn: AtomicU64::new(0) }
    }

    /// A fresh string of `length` letters and digits (at most 128).
    pub(crate) fn text(&self, length: usize) -> String {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        (0u8..4)
            .flat_map(|part| {
                let mut hash = Sha256::new();
                hash.update(self.salt);
                hash.update(number.to_le_bytes());
                hash.update([part]);
                let block: [u8; 32] = hash.finalize().into();
                block
            })
            .take(length)
            .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
            .collect()
    }
}

/// The form of every date header: `Tue, 28 Jun 2022 03:46:54 GMT`.
pub(crate) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads an HTTP date; the day may have one digit, as in a recorded request of a public client.
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim().strip_suffix("GMT")?.trim();
    let (_, text) = text.split_once(',')?;
    jiff::civil::DateTime::strptime("%d %b %Y %H:%M:%S", text.trim())
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// The form of a datetime in REST answers: `2026-01-02T17:38:59.000+0000`.
pub(crate) fn rest_datetime(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_go_there_and_back() {
        let at: Timestamp = "2022-06-28T03:46:54Z".parse().unwrap();
        assert_eq!(http_date(at), "Tue, 28 Jun 2022 03:46:54 GMT");
        assert_eq!(parse_http_date(&http_date(at)), Some(at));
        assert_eq!(
            parse_http_date("Sat, 1 Jan 2000 00:00:01 GMT"),
            Some("2000-01-01T00:00:01Z".parse().unwrap())
        );
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn chance_does_not_repeat() {
        let chance = Chance::new(Timestamp::UNIX_EPOCH);
        let drawn: std::collections::BTreeSet<String> =
            (0..1000).map(|_| chance.text(40)).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|text| text.len() == 40));
    }
}
