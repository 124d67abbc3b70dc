//! One file as a tree of values, each with its place; syntax mistakes as findings.
//!
//! Hides the TOML parser. A broken file still yields what could be read of it, so that its other
//! mistakes are found in the same go. Invariant: depth is bounded by the parser (80 levels a
//! construct), so walking a tree by recursion is safe.

use super::excerpt::Masked;
use super::report::{Problem, Report};
use super::{MAX_FILE, Source};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value stands: the number of its layer, the spans of its key and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub layer: usize,
    pub key: Range<usize>,
    pub value: Range<usize>,
    /// The layer could not be read whole: what is missing there may only be illegible.
    pub torn: bool,
}

/// A value with its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What TOML can say, less what no key of ours takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// `None`: does not fit 64 bits.
    Number(Option<i64>),
    Flag(bool),
    Decimal,
    Date,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Default for Value {
    fn default() -> Self {
        Self::Table(BTreeMap::new())
    }
}

impl Value {
    /// For messages: what was found.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Decimal => "a number with a fraction",
            Self::Date => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The entries of a table; anything else has none.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> + Clone {
        let table = match &self.value {
            Value::Table(table) => Some(table),
            Value::Text(_)
            | Value::Number(_)
            | Value::Flag(_)
            | Value::Decimal
            | Value::Date
            | Value::List(_) => None,
        };
        table.into_iter().flatten().map(|(k, v)| (k.as_str(), v))
    }

    /// An entry of a table.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(key),
            Value::Text(_)
            | Value::Number(_)
            | Value::Flag(_)
            | Value::Decimal
            | Value::Date
            | Value::List(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }
}

/// Parses one file. Whatever is wrong with its syntax goes into the report.
pub(super) fn read(layer: usize, source: &Source, texts: &[Masked], report: &mut Report) -> Node {
    let torn = Place { layer, torn: true, ..Place::default() };
    let empty = Node { place: torn.clone(), ..Node::default() };
    if source.text.len() > MAX_FILE {
        let size = source.text.len() / 1024;
        let mut problem = Problem::at(layer, 0..0, format!("the file is too large: {size} KiB"))
            .allowed("at most 1024 KiB")
            .hint("move connections into files of their own under `conf.d`");
        problem.span = None;
        report.add(texts, problem);
        return empty;
    }
    if let Some(at) = source.not_utf8 {
        let problem = Problem::at(layer, at..at + 3, "the file is not UTF-8 from here on")
            .hint("save it as UTF-8, e.g. `iconv -f latin1 -t utf-8 OLD > NEW`");
        report.add(texts, problem);
        return empty;
    }
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let torn = Place { torn: !errors.is_empty(), ..torn };
    for error in errors {
        if report.is_full() {
            report.left_out += 1;
            continue;
        }
        let span = error.span().unwrap_or(0..0);
        report.add(texts, syntax(layer, &source.text, span, error.message()));
    }
    let value = Value::Table(entries(&torn, table.into_inner()));
    Node { place: torn, value }
}

fn syntax(layer: usize, text: &str, span: Range<usize>, message: &str) -> Problem {
    // The parser's words for the commonest slips say less than they know.
    let said = match message {
        _ if message.starts_with("invalid basic string") => "a text without its closing `\"`",
        _ if message.starts_with("string values must be quoted") => "a text without quotes",
        _ => message,
    };
    let problem = Problem::at(layer, span.clone(), format!("not valid TOML: {said}"));
    let lower = message.to_lowercase();
    if lower.contains("duplicate key") {
        let name = text.get(span).unwrap_or_default().trim();
        let mut problem = problem.hint("keep one of the two");
        problem.message = format!("`{name}` stands here for the second time");
        return problem;
    }
    if lower.contains("string") || lower.contains("quot") {
        return problem.hint("texts stand between double quotes: key = \"text\"");
    }
    if lower.contains("recurs") {
        return problem.hint("nothing in the configuration is nested that deep");
    }
    problem.hint("a line is `key = value`, `[section]` or `# a comment`")
}

fn entries(layer: &Place, table: DeTable<'_>) -> BTreeMap<String, Node> {
    let node = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let key: Spanned<std::borrow::Cow<'_, str>> = key;
        let span = key.span();
        (key.into_inner().into_owned(), node(layer, span, value))
    };
    table.into_iter().map(node).collect()
}

fn node(layer: &Place, key: Range<usize>, value: Spanned<DeValue<'_>>) -> Node {
    let place = Place { key: key.clone(), value: value.span(), ..*layer };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => Value::Number(i64::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Float(_) => Value::Decimal,
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| node(layer, key.clone(), item)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(layer, table)),
    };
    Node { place, value }
}

/// A default from the tables of keys.
pub(super) fn literal(text: &str) -> Value {
    DeValue::parse(text).map_or(Value::Decimal, |value| {
        node(&Place { layer: usize::MAX, ..Place::default() }, 0..0, value).value
    })
}
