//! Queries: joined, planned, run. The answer is a list of places, cheap enough for a cursor to hold.
//!
//! The plan: from the condition follow bounds on (`SystemModstamp`, Id) and on Id; where the wanted
//! order is one of the two that are kept sorted, the walk begins at the bound and ends at LIMIT.
//! Bounds are only ever too wide; every row walked over is put to the whole condition.

use super::error::ApiError;
use super::eval::{holds, value_of};
use super::filter::{Check, Column, Context, Lit, Test};
use super::id::Id;
use super::render::Selection;
use super::schema::Source;
use super::table::{Object, Row};
use super::value::{self, Val};
use super::{Access, Org, record_hidden};
use crate::soql::ast::{Op, Query, Select};
use crate::soql::{parse, pointed};
use jiff::Timestamp;
use std::cmp::Ordering;
use std::sync::Arc;

/// What a query found.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// `totalSize`.
    pub total: u64,
    /// The object's API name.
    pub object: String,
    pub(super) rows: Vec<u32>,
    pub(super) selection: Selection,
    /// Rows that are not the org's: the asking user's own.
    pub(super) own: Option<Arc<Object>>,
}

impl QueryResult {
    /// Rows to be read; 0 for `count()`.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

type Key = (i64, Id);
const LOWEST: Key = (i64::MIN, Id::MIN);
const HIGHEST: Key = (i64::MAX, Id::MAX);

/// Bounds that a condition sets, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    stamp: (i64, i64),
    id: (Id, Id),
    key: (Key, Key),
}

impl Bounds {
    const NONE: Self =
        Self { stamp: (i64::MIN, i64::MAX), id: (Id::MIN, Id::MAX), key: (LOWEST, HIGHEST) };

    /// Whether nothing is bounded.
    fn free(&self) -> bool {
        self.stamp == Self::NONE.stamp && self.id == Self::NONE.id && self.key == Self::NONE.key
    }

    pub(super) fn of(object: &Object, test: &Test) -> Self {
        match test {
            Test::And(list) => {
                let mut all = Self::NONE;
                for b in list.iter().map(|t| Self::of(object, t)) {
                    all.stamp = (all.stamp.0.max(b.stamp.0), all.stamp.1.min(b.stamp.1));
                    all.id = (all.id.0.max(b.id.0), all.id.1.min(b.id.1));
                    all.key = (all.key.0.max(b.key.0), all.key.1.min(b.key.1));
                }
                // Only within one second do bounds on the id bound the pair as well.
                if all.stamp.0 == all.stamp.1 {
                    all.key = (
                        all.key.0.max((all.stamp.0, all.id.0)),
                        all.key.1.min((all.stamp.0, all.id.1)),
                    );
                }
                all
            }
            Test::Or(list) => {
                let mut any: Option<Self> = None;
                for b in list.iter().map(|t| Self::of(object, t)) {
                    any = Some(any.map_or(b, |a| Self {
                        stamp: (a.stamp.0.min(b.stamp.0), a.stamp.1.max(b.stamp.1)),
                        id: (a.id.0.min(b.id.0), a.id.1.max(b.id.1)),
                        key: (a.key.0.min(b.key.0), a.key.1.max(b.key.1)),
                    }));
                }
                any.unwrap_or(Self::NONE)
            }
            Test::Leaf(Column::Own(at), Check::Compare(op, lit)) => {
                match (object.fields.get(*at).map(|f| &f.source), lit) {
                    (Some(Source::Id), Lit::Id(id)) => {
                        Self { id: range(*op, *id, Id::MIN, Id::MAX), ..Self::NONE }
                    }
                    (Some(Source::Stamp), Lit::Range(from, to)) => {
                        // Stamps are whole seconds: `from` and `to` rounded towards the wide side.
                        let (first, last) = (from.div_euclid(1000), (to - 1).div_euclid(1000));
                        let stamp = match op {
                            Op::Eq => (first, last),
                            Op::Lt => (i64::MIN, first),
                            Op::Le => (i64::MIN, last),
                            // Beyond `to - 1`: the next second, where that moment is itself a whole one.
                            Op::Gt => (last + i64::from((to - 1).rem_euclid(1000) == 0), i64::MAX),
                            Op::Ge => (first, i64::MAX),
                            Op::Ne => (i64::MIN, i64::MAX),
                        };
                        Self { stamp, key: ((stamp.0, Id::MIN), (stamp.1, Id::MAX)), ..Self::NONE }
                    }
                    _ => Self::NONE,
                }
            }
            Test::Not(_) | Test::Leaf(..) => Self::NONE,
        }
    }
}

fn range<T: Copy>(op: Op, value: T, least: T, greatest: T) -> (T, T) {
    match op {
        Op::Eq => (value, value),
        Op::Lt | Op::Le => (least, value),
        Op::Gt | Op::Ge => (value, greatest),
        Op::Ne => (least, greatest),
    }
}

/// The orders that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Ids {
        backwards: bool,
    },
    Stamps {
        backwards: bool,
    },
    /// Any order, then sorted.
    All,
    /// As the rows lie.
    Places,
}

/// How the rows are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// By the kept orders, where one fits.
    Indexed,
    /// Likewise, and as the rows lie where every row has to be looked at and none has an order.
    Places,
    /// Without the kept orders; what the others are compared with.
    #[cfg_attr(not(test), allow(dead_code, reason = "the yardstick of the tests"))]
    Naive,
}

struct Sort {
    column: Column,
    descending: bool,
    nulls_last: bool,
}

fn walk(object: &Object, sort: &[Sort], bounds: &Bounds) -> Walk {
    let source = |s: &Sort| match &s.column {
        Column::Own(at) => object.fields.get(*at).map(|f| f.source.clone()),
        Column::Parent(..) => None,
    };
    let mut keys = sort.iter().map(|s| (source(s), s.descending));
    match (keys.next(), keys.next()) {
        (None, _) if bounds.stamp != Bounds::NONE.stamp && bounds.id == Bounds::NONE.id => {
            Walk::Stamps { backwards: false }
        }
        (None, _) => Walk::Ids { backwards: false },
        (Some((Some(Source::Id), backwards)), _) => Walk::Ids { backwards },
        (Some((Some(Source::Stamp), backwards)), None) => Walk::Stamps { backwards },
        (Some((Some(Source::Stamp), a)), Some((Some(Source::Id), b))) if a == b => {
            Walk::Stamps { backwards: a }
        }
        _ => Walk::All,
    }
}

impl Org {
    /// Runs a query; `all` is queryAll (deleted rows too).
    ///
    /// # Errors
    /// `MALFORMED_QUERY`, `INVALID_TYPE`, `INVALID_FIELD` and their kin, 400, each with its place.
    pub fn query(
        &self,
        soql: &str,
        all: bool,
        access: &Access,
        now: Timestamp,
    ) -> Result<QueryResult, ApiError> {
        self.run(soql, all, access, now, Plan::Indexed)
    }

    /// As [`Org::query`], by the given plan.
    pub(super) fn run(
        &self,
        soql: &str,
        all: bool,
        access: &Access,
        now: Timestamp,
        plan: Plan,
    ) -> Result<QueryResult, ApiError> {
        let query = parse(soql).map_err(|e| ApiError::bad(e.code, e.message))?;
        let found = self.object(&query.from.text).filter(|o| !access.object_hidden(&o.name));
        let Some(object) = found else {
            let message = format!(
                "sObject type '{}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names.",
                query.from.text
            );
            return Err(ApiError::bad("INVALID_TYPE", pointed(soql, query.from.at, &message)));
        };
        let own = access
            .own_rows
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&object.name))
            .map(|(_, row)| Arc::new(object.with_single_row(row)));
        let object = own.as_deref().unwrap_or(object);
        let context = Context { org: self, access, query: soql, now: now.as_second() };
        let test = query.filter.as_ref().map(|f| context.test(object, f)).transpose()?;
        let sort = sort_keys(&context, object, &query)?;
        let (selection, count_only) = match &query.select {
            Select::Count => (Selection::default(), true),
            Select::Fields(paths) => (Selection::join(&context, object, paths)?, false),
        };
        let mut run = Run {
            org: self,
            object,
            test: test.as_ref(),
            deleted: all,
            percent: if object.system { 0 } else { access.percent() },
            now: now.as_second(),
            skip: query.offset,
            take: query.limit.unwrap_or(u64::MAX),
            keep: !count_only,
            rows: Vec::new(),
            total: 0,
        };
        if count_only && !sort.is_empty() && query.limit.is_none() {
            return Err(ApiError::bad(
                "MALFORMED_QUERY",
                "Ordering not allowed in a query with count()",
            ));
        }
        run.go(&sort, plan);
        let (rows, total) = (run.rows, run.total);
        Ok(QueryResult { total, object: object.name.clone(), rows, selection, own })
    }
}

fn sort_keys(context: &Context<'_>, object: &Object, query: &Query) -> Result<Vec<Sort>, ApiError> {
    let mut out = Vec::new();
    for key in &query.order {
        let (column, field) = context.column(object, &key.path)?;
        if !field.sortable() {
            let message = format!("field '{}' can not be sorted in a query call", field.name);
            return Err(ApiError::bad(
                "MALFORMED_QUERY",
                pointed(context.query, key.path.at(), &message),
            ));
        }
        out.push(Sort { column, descending: key.descending, nulls_last: key.nulls_last });
    }
    Ok(out)
}

struct Run<'a> {
    org: &'a Org,
    object: &'a Object,
    test: Option<&'a Test>,
    deleted: bool,
    percent: u8,
    now: i64,
    skip: u64,
    take: u64,
    keep: bool,
    rows: Vec<u32>,
    total: u64,
}

impl Run<'_> {
    fn matches(&self, row: &Row) -> bool {
        row.shown(self.now)
            && (self.deleted || !row.deleted)
            && !record_hidden(row.id, self.percent)
            && self.test.is_none_or(|t| holds(self.org, self.object, row, t))
    }

    /// Takes a row that matches; false when there are enough.
    fn push(&mut self, at: u32) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return true;
        }
        if self.total >= self.take {
            return false;
        }
        self.total += 1;
        if self.keep {
            self.rows.push(at);
        }
        self.total < self.take
    }

    fn each<'i>(&mut self, places: impl Iterator<Item = &'i u32>) {
        if self.take == 0 {
            return;
        }
        for at in places {
            let fits = self.object.row(*at).is_some_and(|row| self.matches(row));
            if fits && !self.push(*at) {
                return;
            }
        }
    }

    fn go(&mut self, sort: &[Sort], plan: Plan) {
        let object = self.object;
        let bounds = match self.test {
            Some(test) if plan != Plan::Naive => Bounds::of(object, test),
            Some(_) | None => Bounds::NONE,
        };
        let walk = match plan {
            Plan::Naive => Walk::All,
            Plan::Places if sort.is_empty() && bounds.free() => Walk::Places,
            Plan::Indexed | Plan::Places => walk(object, sort, &bounds),
        };
        match walk {
            Walk::Places => {
                let places: Vec<u32> = (0..object.rows.len() as u32).collect();
                self.each(places.iter());
            }
            Walk::Ids { backwards } => {
                let (from, to) = bounds.id;
                if from > to {
                    return;
                }
                let found = object.by_id.range(from..=to).map(|(_, at)| at);
                if backwards { self.each(found.rev()) } else { self.each(found) }
            }
            Walk::Stamps { backwards } => {
                let (from, to) = bounds.key;
                if from > to {
                    return;
                }
                let found = object.by_stamp.range(from..=to).map(|(_, at)| at);
                if backwards { self.each(found.rev()) } else { self.each(found) }
            }
            Walk::All => self.sorted(sort),
        }
    }

    fn sorted(&mut self, sort: &[Sort]) {
        let mut found: Vec<(u32, &Row)> = Vec::new();
        for at in self.object.by_id.values() {
            if let Some(row) = self.object.row(*at).filter(|row| self.matches(row)) {
                found.push((*at, row));
            }
        }
        let (org, object) = (self.org, self.object);
        // The list is in the order of ids and the sort keeps it: equal keys come by id.
        found.sort_by(|(_, a), (_, b)| {
            sort.iter()
                .map(|key| {
                    ordered(
                        value_of(org, object, a, &key.column),
                        value_of(org, object, b, &key.column),
                        key,
                    )
                })
                .find(|o| *o != Ordering::Equal)
                .unwrap_or(Ordering::Equal)
        });
        if self.take > 0 {
            for (at, _) in found {
                if !self.push(at) {
                    return;
                }
            }
        }
    }
}

fn ordered(a: Val<'_>, b: Val<'_>, key: &Sort) -> Ordering {
    match (a, b) {
        (Val::Null, Val::Null) => Ordering::Equal,
        (Val::Null, _) if key.nulls_last => Ordering::Greater,
        (Val::Null, _) => Ordering::Less,
        (_, Val::Null) if key.nulls_last => Ordering::Less,
        (_, Val::Null) => Ordering::Greater,
        (a, b) if key.descending => value::compare(b, a),
        (a, b) => value::compare(a, b),
    }
}
