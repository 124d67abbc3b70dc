//! Source lines for reports, with every secret in them blotted out.
//!
//! Hides where lines begin and what looks like a secret. The masking works on the text, not on
//! the parsed tree, because a file that cannot be parsed is shown as well. Invariant: masked text
//! has the same length in bytes and the same line breaks as the original, so spans fit both.

use super::Source;
use super::near::nearest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// Longest excerpt of a line, in bytes.
const MAX_LINE: usize = 160;
/// Parts of a key's name that make its value a secret, whatever the providers say.
const SECRET_WORDS: [&str; 7] =
    ["password", "passwd", "passphrase", "secret", "token", "private_key", "api_key"];

/// A line of a file with a mark in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// From 1.
    pub line: usize,
    /// From 1, in characters of the whole line.
    pub column: usize,
    /// The line, masked, cut when very long.
    pub text: String,
    /// Byte offsets of the marker within `text`.
    pub mark: (usize, usize),
}

impl Excerpt {
    /// Whether the text begins where its line begins, so that columns can be counted in it.
    pub(super) fn is_whole(&self) -> bool {
        let before = self.text.get(..self.mark.0).unwrap_or_default();
        before.chars().count() + 1 == self.column
    }
}

/// A file's text without its secrets.
#[derive(Debug, Clone)]
pub(super) struct Masked {
    pub path: String,
    text: String,
    lines: Vec<usize>,
    /// The environment has no lines to speak of.
    pub numbered: bool,
}

impl Masked {
    /// Masks the values of all keys that are called like a secret, and user names in URLs.
    pub fn new(source: &Source, secrets: &BTreeSet<&str>) -> Self {
        let mut bytes = source.text.clone().into_bytes();
        for range in secret_ranges(&source.text, secrets) {
            for byte in bytes.get_mut(range).into_iter().flatten() {
                if *byte != b'\n' && *byte != b'\r' {
                    *byte = b'*';
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { path: source.path.clone(), text, lines, numbered: true }
    }

    /// Variables, one a line, whose secrets are hidden already.
    pub fn environment(source: &Source) -> Self {
        Self { numbered: false, ..Self::new(source, &BTreeSet::new()) }
    }

    /// Whether a variable is called like a secret.
    pub fn is_secret(name: &str, secrets: &BTreeSet<&str>) -> bool {
        let name = name.to_lowercase();
        let place = name.ends_with("__file") || name.ends_with("__credential");
        let said = |word: &&str| name.contains(*word);
        !place && (secrets.iter().any(said) || SECRET_WORDS.iter().any(said))
    }

    /// The masked text of a span.
    pub fn slice(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// Number of the line, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// The line where a span begins; the marker ends with the line.
    pub fn excerpt(&self, span: Range<usize>) -> Excerpt {
        let start = floor(&self.text, span.start);
        let line = self.line(start);
        let from = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let whole = self.text.get(from..).unwrap_or_default();
        let whole = whole.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let mark = floor(whole, start - from);
        let end = floor(whole, span.end.saturating_sub(from)).max(mark);
        let column = whole.get(..mark).unwrap_or_default().chars().count() + 1;
        let cut = if whole.len() > MAX_LINE { floor(whole, mark.saturating_sub(40)) } else { 0 };
        let shown = whole.get(cut..).unwrap_or_default();
        let shown = shown.get(..floor(shown, MAX_LINE)).unwrap_or_default();
        let mark = (mark - cut, (end - cut).min(shown.len()));
        Excerpt { line, column, text: shown.to_owned(), mark }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn secret_ranges(text: &str, secrets: &BTreeSet<&str>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut done = 0;
    for (at, _) in text.match_indices('=') {
        // No key is longer; looking further back would make one long line cost its square.
        let from = floor(text, at.saturating_sub(400));
        if at < done || !is_secret_key(text.get(from..at).unwrap_or_default(), secrets) {
            continue;
        }
        if let Some(range) = value_range(text, at + 1) {
            done = range.end;
            out.push(range);
        }
    }
    out.extend(bare_lines(text, secrets));
    for (at, _) in text.match_indices("://") {
        let from = at + 3;
        let rest = text.get(from..).unwrap_or_default();
        let end = rest.find(['"', '\'', '/', '\n', ' ', ',']).unwrap_or(rest.len());
        if let Some(user) = rest.get(..end).and_then(|authority| authority.rfind('@')) {
            out.push(from..from + user);
        }
    }
    out
}

/// Whether a key is called like a secret, or nearly so.
fn says_secret(name: &str, secrets: &BTreeSet<&str>) -> bool {
    let known = || secrets.iter().copied().chain(SECRET_WORDS);
    known().any(|word| name.contains(word)) || (name.len() > 2 && nearest(name, known()).is_some())
}

/// Whether the key that ends here is called like a secret; `password.file` is not.
fn is_secret_key(before: &str, secrets: &BTreeSet<&str>) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let key = line.rsplit(['{', ',', '=']).next().unwrap_or_default().to_lowercase();
    let part = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    let last = key.rsplit('.').next().map(part).unwrap_or_default();
    last != "file"
        && last != "credential"
        && key.split('.').map(part).any(|k| says_secret(&k, secrets))
}

/// Lines that begin with the name of a secret and go on without `=`: that character is what is
/// missing. Where nothing follows on the line, the value may stand on the next.
fn bare_lines(text: &str, secrets: &BTreeSet<&str>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let from = start;
        start += line.len();
        if out.last().is_some_and(|r| from < r.end) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let key = first_key(line.trim_start());
        let name = key.to_lowercase();
        if !says_secret(name.trim_matches(['"', '\'']), secrets) {
            continue;
        }
        let after = from + indent + key.len();
        let rest = text.get(after..).unwrap_or_default();
        let value = after + (rest.len() - rest.trim_start().len());
        let rest = rest.trim_start();
        let same_line = value < start;
        let place = rest.strip_prefix('.').map(str::trim_start);
        let place = place.is_some_and(|r| r.starts_with("file") || r.starts_with("credential"));
        if place || (same_line && rest.starts_with('=')) {
            continue;
        }
        // The value may stick to the name.
        let known = secrets.iter().copied().chain(SECRET_WORDS);
        let stuck = known.filter_map(|word| name.find(word).map(|at| at + word.len())).max();
        let begin = stuck.map_or(value, |at| (from + indent + at).min(value));
        out.push(begin..value + rest.find('\n').unwrap_or(rest.len()));
    }
    out
}

/// The first key of a line, quotes included.
fn first_key(line: &str) -> &str {
    let quoted = line.starts_with(['"', '\'']);
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let len = if quoted {
        line.char_indices().skip(1).find(|(_, c)| *c == '"' || *c == '\'').map(|(i, _)| i + 1)
    } else {
        line.find(|c| !bare(c))
    };
    line.get(..len.unwrap_or(line.len())).unwrap_or_default()
}

/// The value after a `=`: up to its end where that can be seen, else the rest of the line. Of a
/// table only `file` and `credential` are no secret.
fn value_range(text: &str, after: usize) -> Option<Range<usize>> {
    let rest = text.get(after..)?;
    let from = after + (rest.len() - rest.trim_start().len());
    let rest = rest.trim_start();
    let until = |len: Option<usize>| Some(from..from + len.unwrap_or(rest.len()));
    if let Some(inner) = rest.strip_prefix('{') {
        let table = inner.split('}').next().unwrap_or_default();
        let key = table.split('=').next().unwrap_or_default().trim();
        let place = (key == "file" || key == "credential") && table.matches('=').count() == 1;
        if place && ends(inner, table.len() + 1) {
            return None;
        }
        return until(rest.match_indices('}').find(|(i, _)| ends(rest, i + 1)).map(|(i, _)| i));
    }
    if rest.starts_with('[') {
        return until(rest.match_indices(']').find(|(i, _)| ends(rest, i + 1)).map(|(i, _)| i));
    }
    for quote in ["\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let len = inner.find(quote).filter(|i| ends(inner, i + 3)).unwrap_or(inner.len());
            return Some(from + 3..from + 3 + len);
        }
    }
    let line = rest.get(..rest.find('\n').unwrap_or(rest.len()))?;
    for quote in ['"', '\''] {
        if let Some(inner) = line.strip_prefix(quote) {
            let mut escaped = false;
            let end = inner.char_indices().find(|(_, c)| {
                let ends = *c == quote && !escaped;
                escaped = quote == '"' && *c == '\\' && !escaped;
                ends
            });
            let len = end.map(|(i, _)| i).filter(|i| ends(inner, i + 1)).unwrap_or(inner.len());
            return Some(from + 1..from + 1 + len);
        }
    }
    Some(from..from + line.len())
}

/// Whether a value that ends here is followed by what may follow a value.
fn ends(text: &str, at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default().trim_start_matches([' ', '\t', '\r']);
    rest.is_empty() || rest.starts_with(['\n', '#', ',', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Masked::new(&Source::new("x", text), &BTreeSet::from(["pin", "client_secret"])).text
    }

    #[test]
    fn secrets_are_blotted_out() {
        assert_eq!(masked("client_secret = \"a\\\"b\" # x"), "client_secret = \"****\" # x");
        assert_eq!(masked("password=abc\nx = 1"), "password=***\nx = 1");
        assert_eq!(masked("pin = 'é"), "pin = '**");
        assert_eq!(masked("a.token = \"\"\"x\ny\"\"\""), "a.token = \"\"\"*\n*\"\"\"");
        assert_eq!(masked("password = { file = \"/x\" }"), "password = { file = \"/x\" }");
        assert_eq!(masked("password = { value = \"x\" }"), "password = **************}");
        assert_eq!(masked("password = \"a\"b\" # x"), "password = \"********");
        assert_eq!(masked("client_secrt = \"x\""), "client_secrt = \"*\"");
        assert_eq!(masked("  password \"x\"\na"), "  password****\na");
        assert_eq!(masked("password\n = \"x\"\na"), "password\n******\na");
        assert_eq!(masked("password =\n\"x\"\na"), "password =\n\"*\"\na");
        assert_eq!(masked("password.file = \"/x\""), "password.file = \"/x\"");
        assert_eq!(masked("admins = [\"secret@x\"]"), "admins = [\"secret@x\"]");
        assert_eq!(masked("p = \"http://u:p@h:1/\""), "p = \"http://***@h:1/\"");
        assert_eq!(masked("name = \"x\""), "name = \"x\"");
    }

    #[test]
    fn an_excerpt_fits_its_line() {
        let m = Masked::new(&Source::new("x", "a = 1\r\nbé = \"long\nc"), &BTreeSet::new());
        let e = m.excerpt(13..40);
        assert_eq!((e.line, e.column, e.text.as_str()), (2, 6, "bé = \"long"));
        assert_eq!(e.mark, (6, 11));
        let end = m.excerpt(900..901);
        assert_eq!((end.line, end.text.as_str()), (3, "c"));
    }
}
