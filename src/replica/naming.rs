//! Names of tables and columns from the source's names.
//!
//! Hides the rules: lower case, everything outside `[a-z0-9_]` is `_`, at most [`MAX`] bytes (the
//! limit of PostgreSQL), and a suffix from the original name where two would be one. Invariant:
//! the same original gets the same suffix everywhere; names once given are kept by the layout.

use std::collections::BTreeSet;

/// Longest name in bytes.
pub const MAX: usize = 63;

/// Columns that crmsync adds to every table.
pub const OWN_COLUMNS: [&str; 4] = ["_synced_at", "_deleted_at", "_hidden_at", "_crmsync_seq"];

/// The plain name, before collisions are looked at.
pub fn plain(original: &str) -> String {
    let mut name: String = original
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_') => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() || name.starts_with("_crmsync_") || name.starts_with("sqlite_") {
        // Neither our own tables nor the database's may be shadowed.
        name.insert(0, '_');
    }
    name
}

/// A name for `original` that is not yet `taken`. The first comer has the plain name.
pub fn unique(original: &str, taken: &BTreeSet<String>) -> String {
    let name = plain(original);
    if name.len() <= MAX && !taken.contains(&name) {
        return name;
    }
    let mut suffix = format!("_{:08x}", crc32fast::hash(original.as_bytes()));
    let mut again = 1_u32;
    loop {
        let candidate = with_suffix(&name, &suffix);
        if !taken.contains(&candidate) {
            return candidate;
        }
        again += 1;
        suffix = format!("_{:08x}_{again}", crc32fast::hash(original.as_bytes()));
    }
}

/// `name` cut so that the suffix fits behind it. Both are ASCII.
fn with_suffix(name: &str, suffix: &str) -> String {
    let keep = name.len().min(MAX - suffix.len());
    format!("{}{suffix}", name.get(..keep).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_ascii() {
        assert_eq!(plain("Account"), "account");
        assert_eq!(plain("Größe (m²)__c"), "gr__e__m____c");
        assert_eq!(plain("party.party"), "party_party");
        assert_eq!(plain(""), "_");
        assert_eq!(plain("_crmsync_meta"), "__crmsync_meta");
        assert_eq!(plain("sqlite_master"), "_sqlite_master");
    }

    #[test]
    fn collisions_and_long_names_get_a_stable_suffix() {
        let mut taken = BTreeSet::new();
        let a = unique("A.b", &taken);
        taken.insert(a.clone());
        let b = unique("A-b", &taken);
        taken.insert(b.clone());
        let c = unique("a_b", &taken);
        assert_eq!(a, "a_b");
        assert!(b.starts_with("a_b_") && c.starts_with("a_b_") && b != c, "{b} {c}");
        assert_eq!(b, unique("A-b", &BTreeSet::from(["a_b".to_owned()])));
        let long = "X".repeat(200);
        let name = unique(&long, &BTreeSet::new());
        assert_eq!(name.len(), MAX);
        assert_ne!(name, unique(&format!("{long}y"), &BTreeSet::new()));
        let second = unique(&long, &BTreeSet::from([name.clone()]));
        assert!(second != name && second.len() == MAX);
    }
}
