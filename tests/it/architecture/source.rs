//! Rust source as far as the rules need it: words, strings, modules, paths.
//!
//! Hides the lexer and how a path is made absolute (`use` trees, `crate`, `self`, `super`, inline
//! modules, renamed files). Comments are no source. Invariants: every `crate::`, `super::`,
//! `self::` and foreign path of the file is found with its line; what cannot be resolved panics
//! rather than passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A word, a string or a sign, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Identifier, keyword or number.
    Word(String),
    /// Contents of a string literal as written.
    Text(String),
    /// One character; `::` is one sign.
    Sign(&'static str),
}

/// A path that the source mentions, made absolute: `["crate", "store", "vault"]`.
#[derive(Debug, Clone)]
pub struct Mention {
    /// 1-based.
    pub line: usize,
    /// `crate` first, or the name of a foreign crate.
    pub path: Vec<String>,
    /// Below `#[cfg(test)]`.
    pub test: bool,
}

/// One file.
pub struct Source {
    /// From the root of the workspace.
    pub file: PathBuf,
    /// Its module within the crate: `["store", "vault"]`; empty for `lib.rs`.
    pub module: Vec<String>,
    /// Lines of the file.
    pub lines: usize,
    /// Everything but comments, with line and whether it is a test's.
    pub tokens: Vec<(usize, Token, bool)>,
    /// Paths.
    pub mentions: Vec<Mention>,
    /// Files that this one declares as test modules (`#[cfg(test)] mod x;`).
    pub test_modules: Vec<Vec<String>>,
    /// Begins with `//!`.
    pub introduced: bool,
}

/// Every file below `root`, which is the folder of a crate's source.
pub fn read_all(workspace: &Path, root: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&workspace.join(root), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no source below {root}");
    let mut sources: Vec<Source> = files
        .iter()
        .map(|path| {
            let text =
                std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let file = path.strip_prefix(workspace).expect("below the workspace").to_path_buf();
            let inner = path.strip_prefix(workspace.join(root)).expect("below the root");
            parse(file, module_of(inner), &text)
        })
        .collect();
    let declared: BTreeSet<Vec<String>> =
        sources.iter().flat_map(|s| s.test_modules.iter().cloned()).collect();
    for source in &mut sources {
        let below = |m: &Vec<String>| source.module.starts_with(m);
        let named = source.file.to_string_lossy().ends_with("_tests.rs");
        let folder = source.module.iter().any(|m| m == "tests");
        if declared.iter().any(below) || named || folder {
            source.tokens.iter_mut().for_each(|t| t.2 = true);
            source.mentions.iter_mut().for_each(|m| m.test = true);
        }
    }
    sources
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn module_of(inner: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        inner.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|p| p == "mod" || p == "lib") {
        parts.pop();
    }
    parts
}

/// Reads one file. `module` is where it stands in its crate.
pub fn parse(file: PathBuf, module: Vec<String>, text: &str) -> Source {
    let lexed = lex(text);
    let mut source = Source {
        file,
        module,
        lines: text.lines().count(),
        tokens: Vec::new(),
        mentions: Vec::new(),
        test_modules: Vec::new(),
        introduced: text.starts_with("//!"),
    };
    // Inline modules that are open: name, depth of their brace, whether they are a test's.
    let mut open: Vec<(String, usize, bool)> = Vec::new();
    let mut depth = 0;
    // Depth at which `#[cfg(test)]` stands, until its item ends.
    let mut cfg_at: Option<usize> = None;
    let mut at = 0;
    while at < lexed.len() {
        let cfg_test = cfg_at.is_some();
        let in_test = open.iter().any(|m| m.2);
        let (line, token) = &lexed[at];
        source.tokens.push((*line, token.clone(), in_test || cfg_test));
        match token {
            Token::Sign("#") if words(&lexed[at..], &["[", "cfg", "(", "test", ")", "]"]) => {
                cfg_at = Some(depth);
            }
            Token::Sign("{") => depth += 1,
            Token::Sign("}") => {
                depth -= 1;
                if open.last().is_some_and(|m| m.1 == depth) {
                    open.pop();
                }
                if cfg_at.is_some_and(|at| depth <= at) {
                    cfg_at = None;
                }
            }
            Token::Sign(";") if cfg_at == Some(depth) => cfg_at = None,
            Token::Word(word) if word == "mod" => {
                if let (Some((_, Token::Word(name))), Some((_, sign))) =
                    (lexed.get(at + 1), lexed.get(at + 2))
                {
                    if *sign == Token::Sign("{") {
                        open.push((name.clone(), depth, cfg_test));
                    } else if *sign == Token::Sign(";") && cfg_test {
                        let mut path = source.module.clone();
                        path.extend(open.iter().map(|m| m.0.clone()));
                        path.push(name.clone());
                        source.test_modules.push(path);
                    }
                }
            }
            Token::Word(first) if begins_path(&lexed, at) => {
                let mut here = source.module.clone();
                here.extend(open.iter().map(|m| m.0.clone()));
                let mut found = Vec::new();
                tree(&lexed, at, &mut Vec::new(), &mut found);
                for (line, path) in found {
                    if let Some(path) = absolute(&here, &path) {
                        source.mentions.push(Mention { line, path, test: in_test || cfg_test });
                    } else {
                        panic!("{}:{line}: cannot resolve {first}::…", source.file.display());
                    }
                }
            }
            Token::Word(_) | Token::Text(_) | Token::Sign(_) => {}
        }
        at += 1;
    }
    source
}

/// Whether the tokens after the first are these words and signs.
fn words(tokens: &[(usize, Token)], wanted: &[&str]) -> bool {
    tokens.len() > wanted.len()
        && tokens[1..].iter().zip(wanted).all(|((_, t), w)| match t {
            Token::Word(word) => word == w,
            Token::Sign(sign) => sign == w,
            Token::Text(_) => false,
        })
}

/// A word before `::` that is not itself behind one.
fn begins_path(tokens: &[(usize, Token)], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| &tokens[i].1);
    let after = tokens.get(at + 1).map(|t| &t.1);
    // Inside the braces of a `use` tree the whole path was told by the tree's beginning.
    after == Some(&Token::Sign("::"))
        && before != Some(&Token::Sign("::"))
        && !inside_tree(tokens, at)
}

fn inside_tree(tokens: &[(usize, Token)], at: usize) -> bool {
    let mut nested = 0;
    for i in (0..at).rev() {
        match &tokens[i].1 {
            Token::Sign("}") => nested += 1,
            Token::Sign("{") if nested > 0 => nested -= 1,
            Token::Sign("{") => {
                return i > 0 && tokens[i - 1].1 == Token::Sign("::");
            }
            Token::Sign(";") if nested == 0 => return false,
            Token::Word(_) | Token::Text(_) | Token::Sign(_) => {}
        }
    }
    false
}

/// All paths of a tree that begins here; returns where it ends.
fn tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    let line = tokens[at].0;
    loop {
        match tokens.get(at).map(|t| &t.1) {
            Some(Token::Word(word)) => {
                prefix.push(word.clone());
                at += 1;
            }
            Some(Token::Sign("*")) => at += 1,
            Some(Token::Sign("{")) => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.1 != Token::Sign("}")) {
                    at = tree(tokens, at, prefix, found).max(at);
                    while matches!(tokens.get(at), Some((_, Token::Sign(",") | Token::Word(_)))) {
                        // a comma, or `as name`
                        let comma = tokens[at].1 == Token::Sign(",");
                        at += 1;
                        if comma {
                            break;
                        }
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            Some(Token::Text(_) | Token::Sign(_)) | None => break,
        }
        if tokens.get(at).map(|t| &t.1) == Some(&Token::Sign("::")) {
            at += 1;
        } else {
            break;
        }
    }
    if prefix.len() > depth {
        found.push((line, prefix.clone()));
    }
    prefix.truncate(depth);
    at
}

/// From the crate's root, or a foreign crate's name first. `None`: above the root.
fn absolute(here: &[String], path: &[String]) -> Option<Vec<String>> {
    let full = |module: &[String], rest: &[String]| {
        let mut out = vec!["crate".to_owned()];
        out.extend_from_slice(module);
        out.extend(rest.iter().filter(|p| *p != "self").cloned());
        out
    };
    match path[0].as_str() {
        "crate" => Some(full(&[], &path[1..])),
        "self" => Some(full(here, &path[1..])),
        "super" => {
            let ups = path.iter().take_while(|p| *p == "super").count();
            let kept = here.len().checked_sub(ups)?;
            Some(full(&here[..kept], &path[ups..]))
        }
        _ => Some(path.to_vec()),
    }
}

const SIGNS: &[&str] = &[
    "{", "}", "(", ")", "[", "]", ";", ",", "#", "*", "<", ">", "=", ":", ".", "&", "|", "!", "?",
    "+", "-", "/", "%", "^", "@", "$", "~", "'",
];

fn lex(text: &str) -> Vec<(usize, Token)> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut out) = (0, 1, Vec::new());
    let rest = |at: usize| &bytes[at..];
    while at < bytes.len() {
        let begin = at;
        let byte = bytes[at];
        let mut token = None;
        if rest(at).starts_with(b"//") {
            at += rest(at).iter().position(|b| *b == b'\n').unwrap_or(rest(at).len());
        } else if rest(at).starts_with(b"/*") {
            let end = text[at..].find("*/").expect("a comment ends");
            at += end + 2;
        } else if let Some((from, to, end)) = string(text, at) {
            token = Some(Token::Text(text[from..to].to_owned()));
            at = end;
        } else if byte == b'\'' {
            at = after_quote(bytes, at);
        } else if rest(at).starts_with(b"::") {
            token = Some(Token::Sign("::"));
            at += 2;
        } else if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
            let end = rest(at)
                .iter()
                .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80))
                .unwrap_or(rest(at).len());
            token = Some(Token::Word(text[at..at + end].to_owned()));
            at += end;
        } else {
            token = SIGNS.iter().find(|s| s.as_bytes()[0] == byte).map(|s| Token::Sign(s));
            at += 1;
        }
        if let Some(token) = token {
            out.push((line, token));
        }
        line += text[begin..at].matches('\n').count();
    }
    out
}

/// A string literal that begins here: beginning and end of its contents, and where it ends.
fn string(text: &str, at: usize) -> Option<(usize, usize, usize)> {
    let bytes = text.as_bytes();
    let mut open = at;
    while open < at + 2 && matches!(bytes.get(open), Some(b'r' | b'b' | b'c')) {
        open += 1;
    }
    let hashes = bytes[open..].iter().take_while(|b| **b == b'#').count();
    let raw = bytes[at..open].contains(&b'r');
    if bytes.get(open + hashes) != Some(&b'"') || (hashes > 0 && !raw) {
        return None;
    }
    let from = open + hashes + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        let to = from + text[from..].find(&close).expect("a raw string ends");
        return Some((from, to, to + close.len()));
    }
    let mut to = from;
    while bytes[to] != b'"' {
        to += if bytes[to] == b'\\' { 2 } else { 1 };
    }
    Some((from, to, to + 1))
}

/// Behind a character literal, or behind the quote of a lifetime.
fn after_quote(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        return at + 3 + bytes[at + 3..].iter().position(|b| *b == b'\'').expect("its end") + 1;
    }
    let end = bytes[at + 1..].iter().take(5).position(|b| *b == b'\'');
    match end {
        Some(end) if end == 1 || (end > 1 && bytes[at + 1] >= 0x80) => at + end + 2,
        Some(_) | None => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Token, parse};
    use std::path::PathBuf;

    fn mentions(text: &str) -> Vec<(usize, String, bool)> {
        let module = vec!["daemon".to_owned(), "run".to_owned()];
        let source = parse(PathBuf::from("x.rs"), module, text);
        source.mentions.iter().map(|m| (m.line, m.path.join("::"), m.test)).collect()
    }

    fn found(line: usize, path: &str, test: bool) -> (usize, String, bool) {
        (line, path.to_owned(), test)
    }

    #[test]
    fn trees_and_relative_paths_are_resolved() {
        let text = "use crate::{store::{self, vault::Vault as V}, mail};\nuse super::toll::Gate;\nfn f() { super::super::provider::open(); a::b::c() }\n";
        assert_eq!(
            mentions(text),
            vec![
                found(1, "crate::store", false),
                found(1, "crate::store::vault::Vault", false),
                found(1, "crate::mail", false),
                found(2, "crate::daemon::toll::Gate", false),
                found(3, "crate::provider::open", false),
                found(3, "a::b::c", false),
            ]
        );
    }

    #[test]
    fn comments_strings_and_lifetimes_are_no_paths() {
        let text = "// crate::a::b\n/* crate::c::d */ fn f<'a>(x: &'a str) { let _ = ('\\'', '\"', \"crate::e::f\", r#\"crate::\"g\"::h\"#, 'ä'); crate::i::j(); }";
        assert_eq!(mentions(text), vec![found(2, "crate::i::j", false)]);
    }

    #[test]
    fn test_modules_are_known_and_end() {
        let text = "#[cfg(test)]\nmod tests {\n  use super::super::mail::x;\n fn f() { if a { b } }\n}\nuse crate::store::Y;\n#[cfg(test)]\nmod far;\n#[cfg(test)]\nuse crate::auth::Z;\nuse crate::web::W;\n";
        assert_eq!(
            mentions(text),
            vec![
                found(3, "crate::daemon::mail::x", true),
                found(6, "crate::store::Y", false),
                found(10, "crate::auth::Z", true),
                found(11, "crate::web::W", false),
            ]
        );
        let source = parse(PathBuf::from("x.rs"), vec!["a".into()], text);
        assert_eq!(source.test_modules, vec![vec!["a".to_owned(), "far".to_owned()]]);
        assert!(source.tokens.contains(&(1, Token::Word("test".into()), true)));
    }
}
