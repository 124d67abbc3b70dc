//! SOQL: text to a tree, by a grammar and nothing else.
//!
//! Offers [`parse`]; hides the tokens. A query is understood whole or refused with its place: no
//! part is ever skipped. Depth and length are bounded, so that no text can exhaust the stack.
//!
//! Grammar: `SELECT (count() | path {, path}) FROM name [WHERE cond] [ORDER BY path [ASC|DESC]
//! [NULLS FIRST|LAST] {, …}] [LIMIT n] [OFFSET n]`, where AND and OR do not mix without
//! parentheses (the vendor's rule).

pub mod ast;
pub mod dates;
mod lexer;
mod parser;

pub use parser::parse;

/// A query that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SoqlError {
    /// `MALFORMED_QUERY`, or the vendor's code for the case.
    pub code: &'static str,
    /// The vendor's text, with the place.
    pub message: String,
}

impl SoqlError {
    fn at(query: &str, at: usize, message: &str) -> Self {
        Self { code: "MALFORMED_QUERY", message: pointed(query, at, message) }
    }
}

/// How much of a long line is shown on either side of the place.
const SHOWN: usize = 60;

/// A message under the line that it is about, as recorded:
/// `\nselect count() from XYZZY\n                    ^\nERROR at Row:1:Column:21\n…`.
pub fn pointed(query: &str, at: usize, message: &str) -> String {
    let mut at = at.min(query.len());
    while !query.is_char_boundary(at) {
        at -= 1;
    }
    let before = query.get(..at).unwrap_or_default();
    let after = query.get(at..).unwrap_or_default();
    let row = before.matches('\n').count() + 1;
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split('\n').next().unwrap_or_default();
    let column = line_before.chars().count();
    let left: String = line_before.chars().skip(column.saturating_sub(SHOWN)).collect();
    let right: String = line_after.chars().take(SHOWN).collect();
    let pad = " ".repeat(left.chars().count());
    format!("\n{left}{right}\n{pad}^\nERROR at Row:{row}:Column:{}\n{message}", column + 1)
}

#[cfg(test)]
mod tests;
