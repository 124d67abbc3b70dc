//! Conditions joined to the fields that they name.
//!
//! Joining finds every mistake (unknown field, wrong type, field that cannot be filtered), so that
//! evaluation (`eval`) cannot fail.

use super::error::ApiError;
use super::id::Id;
use super::schema::{Field, Kind};
use super::table::Object;
use super::{Access, Org};
use crate::soql::ast::{Expr, Literal, Op, Pat, Path};
use crate::soql::pointed;

/// How a field is reached from a row.
#[derive(Debug, Clone)]
pub enum Column {
    /// A field of the row.
    Own(usize),
    /// A field of the record that a lookup of the row points to; one way per possible object.
    Parent(usize, Vec<(String, Column)>),
}

/// A literal fit for its field.
#[derive(Debug, Clone)]
pub enum Lit {
    /// null, or empty text
    Null,
    /// boolean
    Bool(bool),
    /// number text
    Num(String),
    /// text
    Text(String),
    /// id
    Id(Id),
    /// from, and behind the last: days or milliseconds
    Range(i64, i64),
}

/// What must hold.
#[derive(Debug, Clone)]
pub enum Check {
    /// Comparison.
    Compare(Op, Lit),
    /// In the list (or not).
    In(bool, Vec<Lit>),
    /// LIKE.
    Like(Vec<Pat>),
    /// INCLUDES (or EXCLUDES).
    Includes(bool, Vec<Vec<String>>),
}

/// A condition ready to be evaluated.
#[derive(Debug, Clone)]
pub enum Test {
    /// All.
    And(Vec<Test>),
    /// One.
    Or(Vec<Test>),
    /// Not.
    Not(Box<Test>),
    /// A field.
    Leaf(Column, Check),
}

/// What joining needs to know.
pub struct Context<'a> {
    /// The org.
    pub org: &'a Org,
    /// The asking user.
    pub access: &'a Access,
    /// The query, to point at.
    pub query: &'a str,
    /// Now, in seconds.
    pub now: i64,
}

impl Context<'_> {
    fn refuse<T>(&self, code: &'static str, at: usize, message: &str) -> Result<T, ApiError> {
        Err(ApiError::bad(code, pointed(self.query, at, message)))
    }

    /// Finds a field, through parents where the path has several parts.
    pub fn column<'o>(
        &'o self,
        object: &'o Object,
        path: &Path,
    ) -> Result<(Column, &'o Field), ApiError> {
        self.hop(object, path, 0)
    }

    fn hop<'o>(
        &'o self,
        object: &'o Object,
        path: &Path,
        depth: usize,
    ) -> Result<(Column, &'o Field), ApiError> {
        let Some(part) = path.parts.get(depth) else {
            return self.refuse("MALFORMED_QUERY", path.at(), "empty field path");
        };
        if depth + 1 == path.parts.len() {
            let found = object
                .field(&part.text)
                .filter(|(_, f)| !self.access.field_hidden(&object.name, &f.name));
            return match found {
                Some((at, field)) => Ok((Column::Own(at), field)),
                None => self.refuse("INVALID_FIELD", part.at, &format!(
                    "No such column '{}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names.",
                    part.text, object.name
                )),
            };
        }
        let lookup = object.fields.iter().position(|f| {
            !f.gone
                && f.relationship().is_some_and(|r| r.eq_ignore_ascii_case(&part.text))
                && !self.access.field_hidden(&object.name, &f.name)
        });
        let unknown = || {
            self.refuse("INVALID_FIELD", part.at, &format!(
            "Didn't understand relationship '{}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names.",
            part.text
        ))
        };
        let Some((at, field)) = lookup.and_then(|at| Some((at, object.fields.get(at)?))) else {
            return unknown();
        };
        let mut ways = Vec::new();
        let mut first = None;
        let mut refusal = None;
        for target in field.targets() {
            let Some(parent) =
                self.org.object(target).filter(|o| !self.access.object_hidden(&o.name))
            else {
                continue;
            };
            match self.hop(parent, path, depth + 1) {
                Ok((column, field)) => {
                    ways.push((parent.name.to_lowercase(), column));
                    first.get_or_insert(field);
                }
                Err(error) => {
                    refusal.get_or_insert(error);
                }
            }
        }
        match (first, refusal) {
            (Some(field), _) => Ok((Column::Parent(at, ways), field)),
            (None, Some(error)) => Err(error),
            (None, None) => unknown(),
        }
    }

    /// Joins a condition.
    pub fn test(&self, object: &Object, expr: &Expr) -> Result<Test, ApiError> {
        let all = |list: &[Expr]| {
            list.iter().map(|e| self.test(object, e)).collect::<Result<Vec<_>, _>>()
        };
        match expr {
            Expr::And(list) => Ok(Test::And(all(list)?)),
            Expr::Or(list) => Ok(Test::Or(all(list)?)),
            Expr::Not(inner) => Ok(Test::Not(Box::new(self.test(object, inner)?))),
            Expr::Compare { path, op, value } => {
                let (column, field) = self.filterable(object, path)?;
                let lit = self.literal(field, path, value)?;
                let equality = matches!(op, Op::Eq | Op::Ne);
                if !equality && matches!(field.kind, Kind::Boolean | Kind::Multi) {
                    return self.refuse(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at(),
                        &format!("invalid operator on {} field", field.ty),
                    );
                }
                if !equality && matches!(lit, Lit::Null) && !matches!(field.kind, Kind::Text) {
                    return self.refuse(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at(),
                        &format!("invalid operator with null on {} field", field.ty),
                    );
                }
                Ok(Test::Leaf(column, Check::Compare(*op, lit)))
            }
            Expr::In { path, negated, values } => {
                let (column, field) = self.filterable(object, path)?;
                let list = values
                    .iter()
                    .map(|v| self.literal(field, path, v))
                    .collect::<Result<_, _>>()?;
                Ok(Test::Leaf(column, Check::In(*negated, list)))
            }
            Expr::Like { path, pattern } => {
                let (column, field) = self.filterable(object, path)?;
                if field.kind != Kind::Text {
                    return self.refuse(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at(),
                        &format!("invalid operator on {} field", field.ty),
                    );
                }
                Ok(Test::Leaf(column, Check::Like(pattern.clone())))
            }
            Expr::Includes { path, negated, values } => {
                let (column, field) = self.filterable(object, path)?;
                if field.kind != Kind::Multi {
                    return self.refuse(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at(),
                        "INCLUDES and EXCLUDES operators are only valid on multipicklist field",
                    );
                }
                let sets =
                    values.iter().map(|v| v.split(';').map(str::to_owned).collect()).collect();
                Ok(Test::Leaf(column, Check::Includes(*negated, sets)))
            }
        }
    }

    fn filterable<'o>(
        &'o self,
        object: &'o Object,
        path: &Path,
    ) -> Result<(Column, &'o Field), ApiError> {
        let (column, field) = self.column(object, path)?;
        if field.filterable() {
            return Ok((column, field));
        }
        self.refuse(
            "INVALID_FIELD",
            path.at(),
            &format!("field '{}' can not be filtered in a query call", field.name),
        )
    }

    fn literal(&self, field: &Field, path: &Path, literal: &Literal) -> Result<Lit, ApiError> {
        const DAY: i64 = 86_400_000;
        let fit = match (field.kind, literal) {
            (_, Literal::Null) => Some(Lit::Null),
            (Kind::Text | Kind::Multi | Kind::Reference, Literal::Text(text))
                if text.is_empty() =>
            {
                Some(Lit::Null)
            }
            (Kind::Text | Kind::Multi, Literal::Text(text)) => Some(Lit::Text(text.clone())),
            (Kind::Id | Kind::Reference, Literal::Text(text)) => {
                let Some(id) = Id::parse(text) else {
                    let shown: String = text.chars().take(80).collect();
                    return self.refuse(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at(),
                        &format!("invalid ID field: {shown}"),
                    );
                };
                Some(Lit::Id(id))
            }
            (Kind::Boolean, Literal::Bool(b)) => Some(Lit::Bool(*b)),
            (Kind::Int | Kind::Decimal, Literal::Number(text)) => Some(Lit::Num(text.clone())),
            (Kind::Date, Literal::Date(days)) => Some(Lit::Range(*days, days + 1)),
            (Kind::Date, Literal::Period(period)) => {
                let (from, to) = period.days(self.now);
                Some(Lit::Range(from, to))
            }
            (Kind::DateTime, Literal::DateTime(ms)) => Some(Lit::Range(*ms, ms + 1)),
            (Kind::DateTime, Literal::Period(period)) => {
                let (from, to) = period.days(self.now);
                Some(Lit::Range(from * DAY, to * DAY))
            }
            _ => None,
        };
        if let Some(lit) = fit {
            return Ok(lit);
        }
        let (ty, quoted) = match field.kind {
            Kind::Text | Kind::Multi | Kind::Id | Kind::Reference => ("string", true),
            Kind::DateTime => ("dateTime", false),
            Kind::Decimal => ("double", false),
            Kind::Int => ("int", false),
            Kind::Boolean => ("boolean", false),
            Kind::Date => ("date", false),
            Kind::Compound | Kind::Opaque => (field.ty.as_str(), false),
        };
        let was_quoted = matches!(literal, Literal::Text(_));
        let hint = match (quoted, was_quoted) {
            (true, false) => " and should be enclosed in quotes",
            (false, true) => " and should not be enclosed in quotes",
            (true, true) | (false, false) => "",
        };
        self.refuse(
            "INVALID_FIELD",
            path.at(),
            &format!(
                "value of filter criterion for field '{}' must be of type {ty}{hint}",
                field.name
            ),
        )
    }
}
