//! Values of rows, and conditions put to them.
//!
//! Null rules are the vendor's: two-valued logic, `!=` and NOT IN hold for null, `''` is null, text
//! compares without regard to case. Nothing here can fail.

use super::Org;
use super::filter::{Check, Column, Lit, Test};
use super::schema::{Field, Source};
use super::table::{Object, Row};
use super::value::{self, Val};
use crate::soql::ast::{Op, Pat};
use std::cmp::Ordering;

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
