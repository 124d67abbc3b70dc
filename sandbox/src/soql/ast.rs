//! What a query says, before anybody knows whether its objects and fields exist.
//!
//! Every name carries `at`, its byte offset in the text, so that a later refusal can point at it.

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is asked for.
    pub select: Select,
    /// The object.
    pub from: Name,
    /// WHERE.
    pub filter: Option<Expr>,
    /// ORDER BY.
    pub order: Vec<OrderKey>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// OFFSET.
    pub offset: u64,
}

/// SELECT.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// `count()`
    Count,
    /// A list of fields.
    Fields(Vec<Path>),
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// As written.
    pub text: String,
    /// Byte offset in the query.
    pub at: usize,
}

/// A field, perhaps of a parent: `Account.Owner.Name`. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Relationships, then the field.
    pub parts: Vec<Name>,
}

impl Path {
    /// Where it begins.
    pub fn at(&self) -> usize {
        self.parts.first().map_or(0, |p| p.at)
    }

    /// As written.
    pub fn text(&self) -> String {
        self.parts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// ORDER BY, one key.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// The field.
    pub path: Path,
    /// DESC.
    pub descending: bool,
    /// NULLS LAST; the default is first.
    pub nulls_last: bool,
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All of them.
    And(Vec<Expr>),
    /// One of them.
    Or(Vec<Expr>),
    /// Not that.
    Not(Box<Expr>),
    /// A field against one value.
    Compare {
        /// The field.
        path: Path,
        /// How.
        op: Op,
        /// With what.
        value: Literal,
    },
    /// IN and NOT IN.
    In {
        /// The field.
        path: Path,
        /// NOT IN.
        negated: bool,
        /// The list, not empty.
        values: Vec<Literal>,
    },
    /// LIKE.
    Like {
        /// The field.
        path: Path,
        /// The pattern.
        pattern: Vec<Pat>,
    },
    /// INCLUDES and EXCLUDES.
    Includes {
        /// The field.
        path: Path,
        /// EXCLUDES.
        negated: bool,
        /// Each a set joined by `;`.
        values: Vec<String>,
    },
}

/// Comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`, `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Quoted text, escapes resolved.
    Text(String),
    /// A number as written.
    Number(String),
    /// Days since the epoch.
    Date(i64),
    /// Milliseconds since the epoch.
    DateTime(i64),
    /// `TODAY`, `LAST_N_DAYS:3`: upper-cased name and number.
    Period(super::dates::Period),
}

/// A piece of a LIKE pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pat {
    /// `%`
    Any,
    /// `_`
    One,
    /// This character, lower-cased.
    Char(char),
}
