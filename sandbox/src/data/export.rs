//! The result of a Bulk query: rows as they were when the job ran, written as CSV in any pieces.
//!
//! Hides that nothing is copied: the rows are shared with the table, which leaves a shared row alone
//! and changes a new one; parents and formulas over them are looked up once, when the job runs. So
//! a page can be written again and again and is the same each time, whatever happens to the org.

use super::awkward::Random;
use super::csv::{self, Style};
use super::error::ApiError;
use super::filter::{Column, Context};
use super::query::{Plan, QueryResult};
use super::schema::{Field, Kind, Source};
use super::table::{Object, Row};
use super::value::{self, Val};
use super::{Access, Org};
use crate::soql::ast::{Path, Query, Select};
use crate::soql::pointed;
use jiff::Timestamp;
use std::sync::Arc;

/// In which order the rows of a query without ORDER BY come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// In none that anybody could rely on; the same data gives the same one.
    #[default]
    Scrambled,
    /// As the records were created.
    Created,
}

/// A value that a row holds itself.
#[derive(Clone, Copy, Debug)]
enum Own {
    Id,
    Deleted,
    Stamp,
    Slot(usize),
    Length(Option<usize>),
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Own(Own),
    /// The nth of the values that were looked up in other records.
    Joined(usize),
}

#[derive(Debug)]
struct Head {
    name: String,
    cell: Cell,
    text: bool,
}

type Joined = Option<(Arc<Row>, Own)>;

/// What a row of a page is to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injury {
    /// The last column is missing.
    LostColumn,
    /// A text value begins with this byte.
    Byte(u8),
}

/// Rows and columns of one result.
#[derive(Debug)]
pub struct Export {
    /// The object's API name.
    pub object: String,
    heads: Vec<Head>,
    rows: Vec<Arc<Row>>,
    /// For each row as many as there are joined columns.
    joined: Vec<Joined>,
    joins: usize,
}

impl Own {
    fn of(object: &Object, field: &Field) -> Own {
        match &field.source {
            Source::Id => Own::Id,
            Source::IsDeleted => Own::Deleted,
            Source::Stamp => Own::Stamp,
            Source::Slot(slot) => Own::Slot(*slot),
            Source::Length(of) => Own::Length(object.text_slot(of)),
            Source::Parts(_) | Source::Parent(..) => Own::Nothing,
        }
    }

    fn value(self, row: &Row) -> Val<'_> {
        match self {
            Own::Id => Val::Id(row.id),
            Own::Deleted => Val::Bool(row.deleted),
            Own::Stamp => Val::Time(row.stamp * 1000),
            Own::Slot(slot) => value::cell(&row.cells, slot),
            Own::Length(Some(slot)) => match value::cell(&row.cells, slot) {
                Val::Text(text) => Val::Int(text.chars().count() as i64),
                Val::Null
                | Val::Bool(_)
                | Val::Int(_)
                | Val::Num(_)
                | Val::Date(_)
                | Val::Time(_)
                | Val::Id(_) => Val::Int(0),
            },
            Own::Length(None) | Own::Nothing => Val::Null,
        }
    }

    fn write(self, row: &Row, out: &mut Vec<u8>) {
        match (self, self.value(row)) {
            // A length is a double, as in REST answers.
            (Own::Length(_), Val::Int(n)) => {
                out.extend_from_slice(format!("\"{n}.0\"").as_bytes());
            }
            (_, value) => csv::write(out, value),
        }
    }
}

impl Export {
    /// Rows in all.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Appends the header line.
    pub fn write_header(&self, style: Style, out: &mut Vec<u8>) {
        for (n, head) in self.heads.iter().enumerate() {
            if n > 0 {
                out.push(style.delimiter);
            }
            csv::write_text(out, &head.name);
        }
        style.end(out);
    }

    /// Appends the rows `from..to`; `ends` gets the length of `out` after each.
    pub fn write(
        &self,
        from: usize,
        to: usize,
        style: Style,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) {
        let mut offsets = Vec::new();
        for at in from..to.min(self.rows.len()) {
            self.write_row(at, style, &mut offsets, out);
            ends.push(u32::try_from(out.len()).unwrap_or(u32::MAX));
        }
    }

    fn write_row(&self, at: usize, style: Style, offsets: &mut Vec<usize>, out: &mut Vec<u8>) {
        let Some(row) = self.rows.get(at) else { return };
        value::offsets(&row.cells, offsets);
        for (n, head) in self.heads.iter().enumerate() {
            if n > 0 {
                out.push(style.delimiter);
            }
            match head.cell {
                Cell::Own(Own::Slot(slot)) => {
                    let place = offsets.get(slot);
                    csv::write(out, place.map_or(Val::Null, |at| value::read(&row.cells, *at)));
                }
                Cell::Own(own) => own.write(row, out),
                Cell::Joined(nth) => self.write_joined(at, nth, out),
            }
        }
        style.end(out);
    }

    fn write_joined(&self, at: usize, nth: usize, out: &mut Vec<u8>) {
        match self.joined.get(at * self.joins + nth) {
            Some(Some((parent, own))) => own.write(parent, out),
            Some(None) | None => csv::write(out, Val::Null),
        }
    }

    /// Appends one row with an injury; where it has no text to be hurt, the last value is.
    pub fn write_injured(&self, at: usize, style: Style, injury: Injury, out: &mut Vec<u8>) {
        let Some(row) = self.rows.get(at) else { return };
        let hurt = self.heads.iter().position(|head| {
            let Cell::Own(own @ Own::Slot(_)) = head.cell else { return false };
            head.text && own.value(row) != Val::Null
        });
        let hurt = hurt.unwrap_or(self.heads.len().saturating_sub(1));
        let kept = self.heads.len() - usize::from(injury == Injury::LostColumn);
        for (n, head) in self.heads.iter().take(kept).enumerate() {
            if n > 0 {
                out.push(style.delimiter);
            }
            let start = out.len();
            match head.cell {
                Cell::Own(own) => own.write(row, out),
                Cell::Joined(nth) => self.write_joined(at, nth, out),
            }
            if let (Injury::Byte(byte), true) = (injury, n == hurt) {
                out.insert(start + 1, byte);
            }
        }
        style.end(out);
    }
}

impl Org {
    /// Runs a Bulk query; `all` is queryAll. The rows are those committed at `now`.
    ///
    /// # Errors
    /// What [`Org::query`] refuses; besides, 400 for `count()`, OFFSET, compound and base64 fields
    /// and objects that cannot be queried.
    pub fn export(
        &self,
        query: &Query,
        soql: &str,
        all: bool,
        access: &Access,
        now: Timestamp,
        order: RowOrder,
    ) -> Result<Export, ApiError> {
        let Select::Fields(paths) = &query.select else {
            let message = "Aggregate functions are not supported in Bulk Query";
            return Err(ApiError::bad("MALFORMED_QUERY", message));
        };
        if query.offset > 0 {
            return Err(ApiError::bad("MALFORMED_QUERY", "OFFSET is not supported in Bulk Query"));
        }
        let result = self.run(soql, all, access, now, Plan::Places)?;
        let Some(object) = result.own.as_deref().or_else(|| self.object(&result.object)) else {
            return Err(ApiError::not_found());
        };
        if object.json.get("queryable").and_then(serde_json::Value::as_bool) == Some(false) {
            let message = format!("entity type {} does not support query", object.name);
            return Err(ApiError::bad("INVALID_TYPE_FOR_OPERATION", message));
        }
        let context = Context { org: self, access, query: soql, now: now.as_second() };
        let mut heads = Vec::new();
        let mut joins = Vec::new();
        for path in paths {
            let (column, field) = context.column(object, path)?;
            refuse_field(soql, path, field)?;
            let cell = match &column {
                Column::Own(_) if !matches!(field.source, Source::Parent(..)) => {
                    Cell::Own(Own::of(object, field))
                }
                Column::Own(_) | Column::Parent(..) => {
                    joins.push(column);
                    Cell::Joined(joins.len() - 1)
                }
            };
            let text = matches!(field.kind, Kind::Text) && field.ty != "picklist";
            heads.push(Head { name: header(self, object, path, field), cell, text });
        }
        let places = if query.order.is_empty() { arranged(&result, order) } else { result.rows };
        Ok(self.snapshot(object, heads, &joins, &places))
    }

    fn snapshot(
        &self,
        object: &Object,
        heads: Vec<Head>,
        joins: &[Column],
        places: &[u32],
    ) -> Export {
        let mut rows = Vec::with_capacity(places.len());
        let mut joined = Vec::with_capacity(places.len() * joins.len());
        for at in places {
            let Some(Some(row)) = object.rows.get(*at as usize) else { continue };
            rows.push(Arc::clone(row));
            joined.extend(joins.iter().map(|column| self.joined(object, row, column)));
        }
        Export { object: object.name.clone(), heads, rows, joined, joins: joins.len() }
    }

    /// The record that holds the value of a column, and which of its values it is.
    fn joined(&self, object: &Object, row: &Arc<Row>, column: &Column) -> Joined {
        match column {
            Column::Own(at) => {
                let field = object.fields.get(*at)?;
                let Source::Parent(lookup, of) = &field.source else {
                    return Some((Arc::clone(row), Own::of(object, field)));
                };
                let (_, lookup) = object.field(lookup)?;
                let Val::Id(id) = object.own_value(row, lookup) else { return None };
                lookup.targets().find_map(|target| {
                    let parent = self.object(target)?;
                    let row = parent.share(id)?;
                    Some((row, Own::of(parent, parent.field(of)?.1)))
                })
            }
            Column::Parent(lookup, ways) => {
                let Val::Id(id) = object.own_value(row, object.fields.get(*lookup)?) else {
                    return None;
                };
                ways.iter().find_map(|(name, column)| {
                    let parent = self.object(name)?;
                    self.joined(parent, &parent.share(id)?, column)
                })
            }
        }
    }
}

fn refuse_field(soql: &str, path: &Path, field: &Field) -> Result<(), ApiError> {
    let message = match (field.kind, field.ty.as_str()) {
        (Kind::Compound, _) => "Selecting compound data not supported in Bulk Query",
        (_, "base64") => "Binary field not supported in Bulk Query",
        _ => return Ok(()),
    };
    let mut error = ApiError::bad("FEATURENOTENABLED", message);
    if field.ty == "base64" {
        error.message = pointed(soql, path.at(), message);
    }
    Err(error)
}

/// The column's name: the names of the describe, whatever the case in the query.
fn header(org: &Org, object: &Object, path: &Path, field: &Field) -> String {
    let mut names = Vec::new();
    let mut at = Some(object);
    for part in path.parts.iter().take(path.parts.len().saturating_sub(1)) {
        let lookup = at.and_then(|object| {
            let mut fields = object.live_fields();
            fields.find(|f| f.relationship().is_some_and(|r| r.eq_ignore_ascii_case(&part.text)))
        });
        names.push(lookup.and_then(Field::relationship).unwrap_or(&part.text));
        at = lookup.and_then(|lookup| lookup.targets().find_map(|target| org.object(target)));
    }
    names.push(&field.name);
    names.join(".")
}

/// Longest run of rows that stay together when they are scrambled.
const RUN: u64 = 97;

fn arranged(result: &QueryResult, order: RowOrder) -> Vec<u32> {
    let mut places = result.rows.clone();
    places.sort_unstable();
    if order == RowOrder::Created {
        return places;
    }
    // Whole runs change places, every other one is turned round: neighbours stay in the cache.
    let mut random = Random::new(result.total, &result.object, 0);
    let mut runs = Vec::new();
    let mut rest = places.as_slice();
    while !rest.is_empty() {
        let size = (random.below(RUN) as usize + 1).min(rest.len()).min(places.len().div_ceil(3));
        let (run, after) = rest.split_at(size);
        runs.push(run);
        rest = after;
    }
    for at in (1..runs.len()).rev() {
        runs.swap(at, random.below(at as u64) as usize);
    }
    let mut out = Vec::with_capacity(places.len());
    for (n, run) in runs.into_iter().enumerate() {
        if n % 2 == 0 { out.extend(run.iter().rev()) } else { out.extend(run) }
    }
    out
}
