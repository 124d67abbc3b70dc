//! Tokens to a tree, by recursive descent.

use super::SoqlError;
use super::ast::{Expr, Literal, Name, Op, OrderKey, Path, Query, Select};
use super::dates::Period;
use super::lexer::{Placed, Token, tokens};

/// Longest statement [REST API Developer Guide, SOQL limits].
const MAX_LENGTH: usize = 100_000;
/// Deepest nesting of parentheses and NOT.
const MAX_DEPTH: usize = 64;
/// Relationships in one path [SOQL limits].
const MAX_HOPS: usize = 5;
/// Largest OFFSET.
const MAX_OFFSET: u64 = 2000;

const RESERVED: [&str; 20] = [
    "and", "asc", "desc", "excludes", "first", "from", "group", "having", "in", "includes", "last",
    "like", "limit", "not", "null", "nulls", "or", "select", "where", "with",
];

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Placed>,
    next: usize,
    end: Placed,
}

/// Reads a query. Errors carry the vendor's code and the place.
pub fn parse(query: &str) -> Result<Query, SoqlError> {
    if query.chars().count() > MAX_LENGTH {
        return Err(SoqlError {
            code: "MALFORMED_QUERY",
            message: format!("SOQL statements cannot be longer than {MAX_LENGTH} characters."),
        });
    }
    let tokens = tokens(query)?;
    let end = Placed { token: Token::End, from: query.len(), to: query.len() };
    Parser { query, tokens, next: 0, end }.query()
}

impl Parser<'_> {
    fn peek(&self) -> &Placed {
        self.tokens.get(self.next).unwrap_or(&self.end)
    }

    fn take(&mut self) -> Placed {
        let placed = self.peek().clone();
        self.next += 1;
        placed
    }

    fn unexpected<T>(&self) -> Result<T, SoqlError> {
        let placed = self.peek();
        let text = match &placed.token {
            Token::End => "<EOF>",
            Token::Word(_)
            | Token::Text(..)
            | Token::Number(_)
            | Token::Date(_)
            | Token::DateTime(_)
            | Token::Sign(_) => self.query.get(placed.from..placed.to).unwrap_or_default(),
        };
        let text: String = text.chars().take(80).collect();
        Err(SoqlError::at(self.query, placed.from, &format!("unexpected token: '{text}'")))
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().token, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    fn word(&mut self, word: &str) -> bool {
        let there = self.is_word(word);
        self.next += usize::from(there);
        there
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SoqlError> {
        if self.word(word) { Ok(()) } else { self.unexpected() }
    }

    fn sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek().token, Token::Sign(s) if s == sign);
        self.next += usize::from(there);
        there
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), SoqlError> {
        if self.sign(sign) { Ok(()) } else { self.unexpected() }
    }

    fn name(&mut self, reserved: bool) -> Result<Name, SoqlError> {
        let placed = self.peek().clone();
        match placed.token {
            Token::Word(text) if !reserved || !RESERVED.contains(&text.to_lowercase().as_str()) => {
                self.next += 1;
                Ok(Name { text, at: placed.from })
            }
            Token::Word(_)
            | Token::Text(..)
            | Token::Number(_)
            | Token::Date(_)
            | Token::DateTime(_)
            | Token::Sign(_)
            | Token::End => self.unexpected(),
        }
    }

    fn query(&mut self) -> Result<Query, SoqlError> {
        self.expect_word("select")?;
        let select = self.select()?;
        self.expect_word("from")?;
        let from = self.name(false)?;
        let filter = if self.word("where") { Some(self.condition(0)?) } else { None };
        let order = if self.word("order") { self.order()? } else { Vec::new() };
        let limit = if self.word("limit") { Some(self.count()?) } else { None };
        let offset_at = self.peek().from;
        let offset = if self.word("offset") { self.count()? } else { 0 };
        if offset > MAX_OFFSET {
            let mut error = SoqlError::at(
                self.query,
                offset_at,
                &format!("Maximum SOQL offset allowed is {MAX_OFFSET}"),
            );
            error.code = "NUMBER_OUTSIDE_VALID_RANGE";
            return Err(error);
        }
        if self.peek().token != Token::End {
            return self.unexpected();
        }
        Ok(Query { select, from, filter, order, limit, offset })
    }

    fn select(&mut self) -> Result<Select, SoqlError> {
        let mut list = Vec::new();
        loop {
            let before = self.next;
            let path = self.path()?;
            if self.sign("(") {
                let single = list.is_empty() && path.parts.len() == 1;
                if single && path.text().eq_ignore_ascii_case("count") && self.sign(")") {
                    // count() stands alone; a comma behind it is refused by the caller's FROM.
                    return Ok(Select::Count);
                }
                self.next = before + path.parts.len() * 2 - 1;
                return self.unexpected();
            }
            list.push(path);
            if !self.sign(",") {
                return Ok(Select::Fields(list));
            }
        }
    }

    fn path(&mut self) -> Result<Path, SoqlError> {
        let mut parts = vec![self.name(true)?];
        while self.sign(".") {
            if parts.len() > MAX_HOPS {
                let at = self.peek().from;
                return Err(SoqlError::at(
                    self.query,
                    at,
                    &format!("maximum depth of relationships in a path is {MAX_HOPS}"),
                ));
            }
            parts.push(self.name(false)?);
        }
        Ok(Path { parts })
    }

    fn order(&mut self) -> Result<Vec<OrderKey>, SoqlError> {
        self.expect_word("by")?;
        let mut keys = Vec::new();
        loop {
            let path = self.path()?;
            let descending = !self.word("asc") && self.word("desc");
            let mut nulls_last = false;
            if self.word("nulls") {
                nulls_last = self.word("last");
                if !nulls_last {
                    self.expect_word("first")?;
                }
            }
            keys.push(OrderKey { path, descending, nulls_last });
            if !self.sign(",") {
                return Ok(keys);
            }
        }
    }

    fn count(&mut self) -> Result<u64, SoqlError> {
        let number = match &self.peek().token {
            Token::Number(text) => text.parse::<u32>().ok(),
            Token::Word(_)
            | Token::Text(..)
            | Token::Date(_)
            | Token::DateTime(_)
            | Token::Sign(_)
            | Token::End => None,
        };
        match number {
            Some(n) => {
                self.next += 1;
                Ok(u64::from(n))
            }
            None => self.unexpected(),
        }
    }

    /// `term {AND term}` or `term {OR term}`.
    fn condition(&mut self, depth: usize) -> Result<Expr, SoqlError> {
        let first = self.term(depth)?;
        let all = self.is_word("and");
        let word = if all { "and" } else { "or" };
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut list = vec![first];
        while self.word(word) {
            list.push(self.term(depth)?);
        }
        if self.is_word("and") || self.is_word("or") {
            return self.unexpected();
        }
        Ok(if all { Expr::And(list) } else { Expr::Or(list) })
    }

    fn term(&mut self, depth: usize) -> Result<Expr, SoqlError> {
        if depth >= MAX_DEPTH {
            return Err(SoqlError::at(self.query, self.peek().from, "query is nested too deeply"));
        }
        if self.word("not") {
            return Ok(Expr::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.sign("(") {
            let inner = self.condition(depth + 1)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, SoqlError> {
        let path = self.path()?;
        if self.word("not") {
            self.expect_word("in")?;
            return Ok(Expr::In { path, negated: true, values: self.list()? });
        }
        if self.word("in") {
            return Ok(Expr::In { path, negated: false, values: self.list()? });
        }
        if self.word("like") {
            let placed = self.take();
            return match placed.token {
                Token::Text(_, pattern) => Ok(Expr::Like { path, pattern }),
                Token::Word(_)
                | Token::Number(_)
                | Token::Date(_)
                | Token::DateTime(_)
                | Token::Sign(_)
                | Token::End => {
                    self.next -= 1;
                    self.unexpected()
                }
            };
        }
        let excludes = self.is_word("excludes");
        if excludes || self.is_word("includes") {
            self.next += 1;
            let values = self.text_list()?;
            return Ok(Expr::Includes { path, negated: excludes, values });
        }
        let op = match self.peek().token {
            Token::Sign("=") => Op::Eq,
            Token::Sign("!=") => Op::Ne,
            Token::Sign("<") => Op::Lt,
            Token::Sign("<=") => Op::Le,
            Token::Sign(">") => Op::Gt,
            Token::Sign(">=") => Op::Ge,
            Token::Sign(_)
            | Token::Word(_)
            | Token::Text(..)
            | Token::Number(_)
            | Token::Date(_)
            | Token::DateTime(_)
            | Token::End => return self.unexpected(),
        };
        self.next += 1;
        Ok(Expr::Compare { path, op, value: self.literal()? })
    }

    fn list(&mut self) -> Result<Vec<Literal>, SoqlError> {
        self.expect_sign("(")?;
        let mut values = vec![self.literal()?];
        while self.sign(",") {
            values.push(self.literal()?);
        }
        self.expect_sign(")")?;
        Ok(values)
    }

    fn text_list(&mut self) -> Result<Vec<String>, SoqlError> {
        let from = self.next;
        let list = self.list()?;
        let mut out = Vec::new();
        for (i, value) in list.into_iter().enumerate() {
            if let Literal::Text(text) = value {
                out.push(text);
            } else {
                self.next = from + 1 + i * 2;
                return self.unexpected();
            }
        }
        Ok(out)
    }

    fn literal(&mut self) -> Result<Literal, SoqlError> {
        let placed = self.peek().clone();
        let literal = match placed.token {
            Token::Text(text, _) => Literal::Text(text),
            Token::Number(text) => Literal::Number(text),
            Token::Date(days) => Literal::Date(days),
            Token::DateTime(ms) => Literal::DateTime(ms),
            Token::Word(word) => match word.to_lowercase().as_str() {
                "null" => Literal::Null,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                _ => return self.period(&word),
            },
            Token::Sign(_) | Token::End => return self.unexpected(),
        };
        self.next += 1;
        Ok(literal)
    }

    /// `TODAY`, `LAST_N_DAYS:30`.
    fn period(&mut self, word: &str) -> Result<Literal, SoqlError> {
        let numbered = self.tokens.get(self.next + 1).is_some_and(|p| p.token == Token::Sign(":"));
        if !numbered {
            return match Period::named(word) {
                Some(period) => {
                    self.next += 1;
                    Ok(Literal::Period(period))
                }
                None => self.unexpected(),
            };
        }
        let n = match self.tokens.get(self.next + 2).map(|p| &p.token) {
            Some(Token::Number(text)) => text.parse::<u32>().ok(),
            Some(
                Token::Word(_)
                | Token::Text(..)
                | Token::Date(_)
                | Token::DateTime(_)
                | Token::Sign(_)
                | Token::End,
            )
            | None => None,
        };
        match n.and_then(|n| Period::counted(word, n)) {
            Some(period) => {
                self.next += 3;
                Ok(Literal::Period(period))
            }
            None => self.unexpected(),
        }
    }
}
