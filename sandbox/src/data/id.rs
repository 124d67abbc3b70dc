//! Record ids: 15 case-sensitive characters, written with 3 more that encode their case.
//!
//! Inside only the 15 are kept; every answer carries 18, every request may carry either length.

use std::fmt;

/// A record id, ordered by bytes (the order in which `ORDER BY Id` answers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 15]);

const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Id {
    /// The least and the greatest value in the order, for ranges.
    pub const MIN: Self = Self([0; 15]);
    /// See [`Id::MIN`].
    pub const MAX: Self = Self([0xff; 15]);

    /// Reads 15 characters, or 18 whose suffix fits (its letters in either case).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !(bytes.len() == 15 || bytes.len() == 18) || !bytes.iter().all(u8::is_ascii_alphanumeric)
        {
            return None;
        }
        let (head, tail) = bytes.split_at_checked(15)?;
        let id = Self(head.try_into().ok()?);
        (tail.is_empty() || tail.eq_ignore_ascii_case(&id.suffix())).then_some(id)
    }

    /// Makes an id from a key prefix and a serial number below 62^9.
    pub fn from_serial(prefix: &str, serial: u64) -> Self {
        let mut id = *b"000Dn0000000000";
        for (to, from) in id.iter_mut().zip(prefix.bytes().take(3)) {
            *to = from;
        }
        let mut rest = serial;
        for place in id.iter_mut().skip(6).rev() {
            *place = usize::try_from(rest % 62)
                .ok()
                .and_then(|i| BASE62.get(i))
                .copied()
                .unwrap_or(b'0');
            rest /= 62;
        }
        Self(id)
    }

    /// The three check characters: each holds the case of five characters, first in the lowest bit.
    pub fn suffix(&self) -> [u8; 3] {
        let mut out = *b"AAA";
        for (place, five) in out.iter_mut().zip(self.0.chunks(5)) {
            let bits = five
                .iter()
                .enumerate()
                .fold(0_usize, |bits, (i, c)| bits | (usize::from(c.is_ascii_uppercase()) << i));
            *place = SUFFIX.get(bits).copied().unwrap_or(b'A');
        }
        out
    }

    /// The 3 characters that tell the object.
    pub fn prefix(&self) -> &[u8] {
        self.0.get(..3).unwrap_or_default()
    }

    /// A stable number from the id, evenly spread; decides what a user with less sight sees.
    pub fn hash(&self) -> u64 {
        self.0.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The 18 bytes of the long form.
    pub fn long(&self) -> [u8; 18] {
        let mut out = [0; 18];
        for (to, from) in out.iter_mut().zip(self.0.iter().chain(&self.suffix())) {
            *to = *from;
        }
        out
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let long = self.long();
        f.write_str(std::str::from_utf8(&long).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffix_of_ids_seen_in_the_wild() {
        // The long forms are taken from recorded answers.
        for long in
            ["001x0000002xLCVAA2", "01254000001upcKAAQ", "701E0000000JuFHIA0", "a00D0000008pQRAIA2"]
        {
            let id = Id::parse(&long[..15]).unwrap();
            assert_eq!(id.to_string(), long);
            assert_eq!(Id::parse(long), Some(id));
        }
    }

    #[test]
    fn wrong_suffix_length_or_character_is_no_id() {
        for bad in [
            "",
            "001x0000002xLCVAA3",
            "001x0000002xLC",
            "001x0000002xLC-",
            "001x0000002xLCVA",
            "é01x0000002xLC",
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn serials_keep_their_order() {
        let ids: Vec<Id> = (0..5000).map(|n| Id::from_serial("001", n * 37)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| Id::parse(&id.to_string()) == Some(*id)));
    }
}
