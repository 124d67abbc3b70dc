//! "Did you mean": the known word nearest to a typed one.

/// The nearest of `known` by edits (insert, delete, replace, swap of neighbours), if it is near
/// enough to be meant: a third of the word, one edit at least.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Every key of every file is held against the words for secrets: lengths first, they are cheap.
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    let mut known =
        known.into_iter().filter(|name| name.len().abs_diff(word.len()) <= limit).peekable();
    known.peek()?;
    let typed: Vec<char> = word.to_lowercase().replace('-', "_").chars().take(64).collect();
    known
        .map(|name| (edits(&typed, name), name))
        .filter(|(n, _)| *n <= limit)
        .min_by_key(|(n, name)| (*n, *name))
        .map(|(_, name)| name)
}

fn edits(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().replace('-', "_").chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut n = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                n = n.min(before[j - 1] + 1);
            }
            row.push(n);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["schedule", "admins", "objects", "time_zone"];
        assert_eq!(nearest("shedule", known), Some("schedule"));
        assert_eq!(nearest("shcedule", known), Some("schedule"));
        assert_eq!(nearest("time-zone", known), Some("time_zone"));
        assert_eq!(nearest("Admin", known), Some("admins"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
