//! Text to tokens. Numbers, dates and datetimes are one run of characters, told apart here.

use super::SoqlError;
use super::ast::Pat;
use super::dates;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A word.
    Word(String),
    /// Quoted text with its escapes resolved, and as a pattern for LIKE.
    Text(String, Vec<Pat>),
    /// A number.
    Number(String),
    /// Days.
    Date(i64),
    /// Milliseconds.
    DateTime(i64),
    /// `( ) , . : = != < <= > >=`; `<>` comes as `!=`.
    Sign(&'static str),
    /// The end.
    End,
}

/// A token, the bytes it stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// What.
    pub token: Token,
    /// From where.
    pub from: usize,
    /// Up to where.
    pub to: usize,
}

const SIGNS: [(&str, &str); 12] = [
    ("<>", "!="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("<", "<"),
    (">", ">"),
    ("=", "="),
    ("(", "("),
    (")", ")"),
    (",", ","),
    (".", "."),
    (":", ":"),
];

/// Splits a query.
pub fn tokens(query: &str) -> Result<Vec<Placed>, SoqlError> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = query.get(at..).and_then(|rest| rest.chars().next()) {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let rest = query.get(at..).unwrap_or_default();
        let (token, len) = if c == '\'' {
            text(query, at)?
        } else if c.is_ascii_alphabetic() || c == '_' {
            let len = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Word(rest.get(..len).unwrap_or_default().to_owned()), len)
        } else if c.is_ascii_digit() || (matches!(c, '-' | '+' | '.') && number_follows(rest)) {
            let len =
                run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | ':'));
            (number(query, at, rest.get(..len).unwrap_or_default())?, len)
        } else if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            (Token::Sign(token), sign.len())
        } else {
            let message = format!(
                "line {}:{} no viable alternative at character '{c}'",
                row(query, at),
                column(query, at)
            );
            return Err(SoqlError::at(query, at, &message));
        };
        out.push(Placed { token, from: at, to: at + len });
        at += len;
    }
    out.push(Placed { token: Token::End, from: query.len(), to: query.len() });
    Ok(out)
}

fn row(query: &str, at: usize) -> usize {
    query.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn column(query: &str, at: usize) -> usize {
    query.get(..at).unwrap_or_default().rsplit('\n').next().map_or(0, |l| l.chars().count())
}

fn run(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

fn number_follows(rest: &str) -> bool {
    rest.chars().skip(1).find(|c| *c != '.').is_some_and(|c| c.is_ascii_digit())
}

fn number(query: &str, at: usize, text: &str) -> Result<Token, SoqlError> {
    if let Some(days) = dates::date(text) {
        return Ok(Token::Date(days));
    }
    if let Some(ms) = dates::datetime(text) {
        return Ok(Token::DateTime(ms));
    }
    let plain = text.trim_start_matches(['+', '-']);
    let signs = text.len() - plain.len();
    let digits = plain.bytes().any(|b| b.is_ascii_digit());
    let good = digits
        && signs <= 1
        && plain.bytes().all(|b| {
            b.is_ascii_digit() || b == b'.' || b == b'e' || b == b'E' || b == b'-' || b == b'+'
        });
    match plain.parse::<f64>() {
        Ok(n) if good && n.is_finite() => {
            Ok(Token::Number(text.trim_start_matches('+').to_owned()))
        }
        Ok(_) | Err(_) => Err(SoqlError::at(query, at, &format!("unexpected token: '{text}'"))),
    }
}

/// Quoted text: SOQL's escapes, and in patterns `%`, `_`, `\%`, `\_`.
fn text(query: &str, at: usize) -> Result<(Token, usize), SoqlError> {
    let body = query.get(at + 1..).unwrap_or_default();
    let mut plain = String::new();
    let mut pattern = Vec::new();
    let mut chars = body.char_indices();
    let push = |plain: &mut String, pattern: &mut Vec<Pat>, c: char| {
        plain.push(c);
        pattern.extend(c.to_lowercase().map(Pat::Char));
    };
    while let Some((i, c)) = chars.next() {
        match c {
            '\'' => return Ok((Token::Text(plain, pattern), i + 2)),
            '%' => {
                plain.push(c);
                pattern.push(Pat::Any);
            }
            '_' => {
                plain.push(c);
                pattern.push(Pat::One);
            }
            '\\' => {
                let Some((_, escape)) = chars.next() else { break };
                let c = match escape {
                    'n' | 'N' => '\n',
                    'r' | 'R' => '\r',
                    't' | 'T' => '\t',
                    'b' | 'B' => '\u{8}',
                    'f' | 'F' => '\u{c}',
                    '\\' | '\'' | '"' => escape,
                    '%' | '_' => {
                        // Outside of patterns the backslash means nothing here.
                        plain.push(escape);
                        pattern.push(Pat::Char(escape));
                        continue;
                    }
                    'u' => {
                        let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                        match code.and_then(char::from_u32) {
                            Some(c) => c,
                            None => return Err(illegal(query, at + 1 + i, &format!("\\u{hex}"))),
                        }
                    }
                    _ => return Err(illegal(query, at + 1 + i, &format!("\\{escape}"))),
                };
                push(&mut plain, &mut pattern, c);
            }
            _ => push(&mut plain, &mut pattern, c),
        }
    }
    let message = format!(
        "line {}:{} mismatched character '<EOF>' expecting '''",
        row(query, query.len()),
        column(query, query.len())
    );
    Err(SoqlError::at(query, at, &message))
}

fn illegal(query: &str, at: usize, sequence: &str) -> SoqlError {
    SoqlError::at(
        query,
        at,
        &format!(
            "Invalid string literal. Illegal character sequence '{sequence}' in string literal."
        ),
    )
}
