//! Conditions joined to the fields that they name, and their evaluation on a row.
//!
//! Joining finds every mistake (unknown field, wrong type, field that cannot be filtered), so that
//! evaluation cannot fail. Null rules are the vendor's: two-valued logic, `!=` and NOT IN hold for
//! null, `''` is null, text compares without regard to case.

use super::error::ApiError;
use super::id::Id;
use super::schema::{Field, Kind, Source};
use super::table::{Object, Row};
use super::value::{self, Val};
use super::{Access, Org};
use crate::soql::ast::{Expr, Literal, Op, Pat, Path};
use crate::soql::pointed;
use std::cmp::Ordering;

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
            Kind::Text | Kind::Multi => ("string", true),
            Kind::Id | Kind::Reference => ("string", true),
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

/// The value of a field of a row, formulas and parents included.
pub fn value_of<'a>(org: &'a Org, object: &'a Object, row: &'a Row, column: &Column) -> Val<'a> {
    match column {
        Column::Own(at) => match object.fields.get(*at) {
            Some(field) if !field.gone => field_value(org, object, row, field),
            Some(_) | None => Val::Null,
        },
        Column::Parent(lookup, ways) => {
            let Some(field) = object.fields.get(*lookup) else { return Val::Null };
            let Val::Id(id) = object.own_value(row, field) else { return Val::Null };
            for (name, column) in ways {
                let Some(parent) = org.object(name) else { continue };
                if let Some(row) = parent.find(id) {
                    return value_of(org, parent, row, column);
                }
            }
            Val::Null
        }
    }
}

/// The value of a field of this row; a formula over a parent looks the parent up.
pub fn field_value<'a>(org: &'a Org, object: &'a Object, row: &'a Row, field: &Field) -> Val<'a> {
    let Source::Parent(lookup, of) = &field.source else { return object.own_value(row, field) };
    let Some((_, lookup)) = object.field(lookup) else { return Val::Null };
    let Val::Id(id) = object.own_value(row, lookup) else { return Val::Null };
    for target in lookup.targets() {
        if let Some(parent) = org.object(target)
            && let Some(row) = parent.find(id)
        {
            return parent.field(of).map_or(Val::Null, |(_, f)| parent.own_value(row, f));
        }
    }
    Val::Null
}

/// Whether a row meets a condition.
pub fn holds(org: &Org, object: &Object, row: &Row, test: &Test) -> bool {
    match test {
        Test::And(list) => list.iter().all(|t| holds(org, object, row, t)),
        Test::Or(list) => list.iter().any(|t| holds(org, object, row, t)),
        Test::Not(inner) => !holds(org, object, row, inner),
        Test::Leaf(column, check) => {
            let value = value_of(org, object, row, column);
            match check {
                Check::Compare(op, lit) => compare(value, *op, lit),
                Check::In(negated, list) => {
                    list.iter().any(|lit| compare(value, Op::Eq, lit)) != *negated
                }
                Check::Like(pattern) => match value {
                    Val::Text(text) => like(text, pattern),
                    Val::Null
                    | Val::Bool(_)
                    | Val::Int(_)
                    | Val::Num(_)
                    | Val::Date(_)
                    | Val::Time(_)
                    | Val::Id(_) => false,
                },
                Check::Includes(negated, sets) => {
                    let Val::Text(text) = value else { return *negated };
                    let has = |one: &String| text.split(';').any(|v| v.eq_ignore_ascii_case(one));
                    sets.iter().any(|set| set.iter().all(has)) != *negated
                }
            }
        }
    }
}

fn compare(value: Val<'_>, op: Op, lit: &Lit) -> bool {
    if let Lit::Range(from, to) = lit {
        let (Val::Date(v) | Val::Time(v)) = value else { return op == Op::Ne };
        return match op {
            Op::Eq => *from <= v && v < *to,
            Op::Ne => v < *from || *to <= v,
            Op::Lt => v < *from,
            Op::Le => v < *to,
            Op::Gt => v >= *to,
            Op::Ge => v >= *from,
        };
    }
    let other = match lit {
        Lit::Null | Lit::Range(..) => Val::Null,
        Lit::Bool(b) => Val::Bool(*b),
        Lit::Num(text) => Val::Num(text),
        Lit::Text(text) => Val::Text(text),
        Lit::Id(id) => Val::Id(*id),
    };
    let null = value == Val::Null || other == Val::Null;
    let order = value::compare(value, other);
    match op {
        Op::Eq => order == Ordering::Equal,
        Op::Ne => order != Ordering::Equal,
        Op::Lt => !null && order == Ordering::Less,
        Op::Le => !null && order != Ordering::Greater,
        Op::Gt => !null && order == Ordering::Greater,
        Op::Ge => !null && order != Ordering::Less,
    }
}

/// Matches a pattern without regard to case, in time linear in text times pattern at worst.
fn like(text: &str, pattern: &[Pat]) -> bool {
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(Pat::One) => true,
            Some(Pat::Char(c)) => text.get(t) == Some(c),
            Some(Pat::Any) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            None => false,
        };
        if step {
            t += 1;
            p += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|pat| *pat == Pat::Any)
}
