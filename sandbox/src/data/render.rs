//! Which fields a query shows, and records as JSON text.
//!
//! Text is written straight from the cells: a page of 2,000 rows builds no tree.

use super::error::ApiError;
use super::eval::field_value;
use super::filter::Context;
use super::query::QueryResult;
use super::schema::{Field, Source};
use super::table::{Object, Row};
use super::value::{self, Val, write_json, write_string};
use super::{Access, Id, Org};
use crate::soql::ast::{Name, Path};
use crate::soql::pointed;
use jiff::Timestamp;

/// What is shown of each row, in order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    /// A field by its place.
    Field(usize),
    /// The parent that a lookup points to; one selection per possible object.
    Parent { lookup: usize, key: String, ways: Vec<(String, Selection)> },
}

impl Selection {
    /// Finds the fields of a list.
    pub fn join(context: &Context<'_>, object: &Object, paths: &[Path]) -> Result<Self, ApiError> {
        let mut selection = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for path in paths {
            // Finds every mistake, with its place.
            context.column(object, path)?;
            if !seen.insert(path.text().to_lowercase()) {
                let message = format!("duplicate field selected: {}", path.text());
                return Err(ApiError::bad(
                    "INVALID_FIELD",
                    pointed(context.query, path.at(), &message),
                ));
            }
            selection.add(context, object, &path.parts);
        }
        Ok(selection)
    }

    fn add(&mut self, context: &Context<'_>, object: &Object, parts: &[Name]) {
        let Some((first, rest)) = parts.split_first() else { return };
        if rest.is_empty() {
            if let Some((at, _)) = object.field(&first.text) {
                self.items.push(Item::Field(at));
            }
            return;
        }
        let lookup = object.fields.iter().position(|f| {
            !f.gone && f.relationship().is_some_and(|r| r.eq_ignore_ascii_case(&first.text))
        });
        let Some((lookup, field)) = lookup.and_then(|at| Some((at, object.fields.get(at)?))) else {
            return;
        };
        let known = self
            .items
            .iter()
            .position(|i| matches!(i, Item::Parent { lookup: l, .. } if *l == lookup));
        let at = known.unwrap_or_else(|| {
            let key = field.relationship().unwrap_or_default().to_owned();
            let ways = field
                .targets()
                .filter_map(|t| context.org.object(t))
                .map(|o| (o.name.to_lowercase(), Self::default()))
                .collect();
            self.items.push(Item::Parent { lookup, key, ways });
            self.items.len() - 1
        });
        if let Some(Item::Parent { ways, .. }) = self.items.get_mut(at) {
            for (name, selection) in ways {
                if let Some(parent) = context.org.object(name) {
                    selection.add(context, parent, rest);
                }
            }
        }
    }
}

/// Writes rows; keeps the table of cell offsets between them.
struct Writer<'a> {
    org: &'a Org,
    version: &'a str,
}

impl Writer<'_> {
    fn attributes(&self, out: &mut Vec<u8>, object: &Object, row: &Row) {
        out.extend_from_slice(b"{\"attributes\":{\"type\":\"");
        out.extend_from_slice(object.name.as_bytes());
        out.extend_from_slice(b"\",\"url\":\"/services/data/");
        out.extend_from_slice(self.version.as_bytes());
        out.extend_from_slice(b"/sobjects/");
        out.extend_from_slice(object.name.as_bytes());
        out.push(b'/');
        out.extend_from_slice(&row.id.long());
        out.extend_from_slice(b"\"}");
    }

    fn record(&self, out: &mut Vec<u8>, object: &Object, row: &Row, selection: &Selection) {
        self.attributes(out, object, row);
        let mut offsets = Vec::new();
        if selection.items.len() > 4 {
            value::offsets(&row.cells, &mut offsets);
        }
        for item in &selection.items {
            out.push(b',');
            match item {
                Item::Field(at) => {
                    let Some(field) = object.fields.get(*at) else { continue };
                    key(out, &field.name);
                    match field.source {
                        Source::Slot(slot) if !offsets.is_empty() && !field.gone => {
                            let value = offsets
                                .get(slot)
                                .map_or(Val::Null, |at| value::read(&row.cells, *at));
                            write_json(out, value);
                        }
                        Source::Slot(_)
                        | Source::Id
                        | Source::IsDeleted
                        | Source::Stamp
                        | Source::Parts(_)
                        | Source::Length(_)
                        | Source::Parent(..) => {
                            write_field(out, self.org, object, row, field);
                        }
                    }
                }
                Item::Parent { lookup, key: name, ways } => {
                    key(out, name);
                    let id = object.fields.get(*lookup).map(|f| object.own_value(row, f));
                    let parent = match id {
                        Some(Val::Id(id)) => ways.iter().find_map(|(name, selection)| {
                            let parent = self.org.object(name)?;
                            Some((parent, parent.find(id)?, selection))
                        }),
                        Some(
                            Val::Null
                            | Val::Bool(_)
                            | Val::Int(_)
                            | Val::Num(_)
                            | Val::Text(_)
                            | Val::Date(_)
                            | Val::Time(_),
                        )
                        | None => None,
                    };
                    match parent {
                        Some((parent, row, selection)) => self.record(out, parent, row, selection),
                        None => out.extend_from_slice(b"null"),
                    }
                }
            }
        }
        out.push(b'}');
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A field's value; a compound one as an object of its parts, or null where all are null.
fn write_field(out: &mut Vec<u8>, org: &Org, object: &Object, row: &Row, field: &Field) {
    let Source::Parts(parts) = &field.source else {
        let value = if field.gone { Val::Null } else { field_value(org, object, row, field) };
        // LEN() counts, but its field is a double.
        if let (Val::Int(n), "double") = (value, field.ty.as_str()) {
            out.extend_from_slice(format!("{n}.0").as_bytes());
            return;
        }
        return write_json(out, value);
    };
    let values: Vec<(&str, Val<'_>)> = parts
        .iter()
        .filter_map(|(key, name)| {
            Some((key.as_str(), object.own_value(row, object.field(name)?.1)))
        })
        .collect();
    if values.iter().all(|(_, v)| *v == Val::Null) {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'{');
    for (i, (name, value)) in values.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        key(out, name);
        write_json(out, value);
    }
    out.push(b'}');
}

impl Org {
    /// Appends the records `from..to` of a result as JSON, separated by commas. Values are those of
    /// now; records purged since the query are left out. `version` is `v64.0`.
    pub fn render(
        &self,
        result: &QueryResult,
        from: usize,
        to: usize,
        out: &mut Vec<u8>,
        version: &str,
    ) {
        let Some(object) = result.own.as_deref().or_else(|| self.object(&result.object)) else {
            return;
        };
        let writer = Writer { org: self, version };
        let mut first = true;
        let to = to.min(result.rows.len());
        for at in result.rows.get(from..to).unwrap_or_default() {
            let Some(row) = object.row(*at) else { continue };
            if !first {
                out.push(b',');
            }
            first = false;
            writer.record(out, object, row, &result.selection);
        }
    }

    /// One record: `GET /sobjects/{object}/{id}`, with all fields where `fields` is empty.
    ///
    /// # Errors
    /// 404 `NOT_FOUND`, 404 `ENTITY_IS_DELETED`, 400 `INVALID_FIELD`, 400 `MALFORMED_ID`.
    pub fn get_record(
        &self,
        object: &str,
        id: &str,
        fields: &[&str],
        access: &Access,
        now: Timestamp,
        version: &str,
    ) -> Result<Vec<u8>, ApiError> {
        let object = self.visible(object, access)?;
        let id = Id::parse(id).ok_or_else(ApiError::not_found)?;
        let percent = if object.system { 0 } else { access.percent() };
        let row = object
            .find(id)
            .filter(|r| r.shown(now.as_second()) && !super::record_hidden(r.id, percent))
            .ok_or_else(ApiError::not_found)?;
        if row.deleted {
            return Err(ApiError::deleted());
        }
        let mut selection = Selection::default();
        let seen = |f: &Field| !access.field_hidden(&object.name, &f.name);
        if fields.is_empty() {
            let all = object.fields.iter().enumerate().filter(|(_, f)| !f.gone && seen(f));
            selection.items = all.map(|(at, _)| Item::Field(at)).collect();
        }
        for name in fields {
            let (at, _) = object.field(name).filter(|(_, f)| seen(f)).ok_or_else(|| {
                ApiError::bad(
                    "INVALID_FIELD",
                    format!("No such column '{name}' on sobject of type {}", object.name),
                )
            })?;
            selection.items.push(Item::Field(at));
        }
        let mut out = Vec::new();
        Writer { org: self, version }.record(&mut out, object, row, &selection);
        Ok(out)
    }

    /// Appends every record of an object, one JSON object a line, every field of the describe in
    /// its order, with the values that the REST API would show. Deleted ones are there, purged ones
    /// and those of transactions open at `now` are not. Nothing for an unknown object.
    pub fn dump(&self, object: &str, now: Timestamp, out: &mut Vec<u8>) {
        let Some(object) = self.object(object) else { return };
        let rows = object.by_id.values().filter_map(|at| object.row(*at));
        for row in rows.filter(|r| r.shown(now.as_second())) {
            for (i, field) in object.live_fields().enumerate() {
                out.push(if i == 0 { b'{' } else { b',' });
                let mut name = Vec::new();
                write_string(&mut name, &field.name);
                out.extend_from_slice(&name);
                out.push(b':');
                write_field(out, self, object, row, field);
            }
            out.extend_from_slice(b"}\n");
        }
    }
}
