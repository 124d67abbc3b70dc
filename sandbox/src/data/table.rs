//! An object's records and the two orders in which replication reads them.
//!
//! Rows keep their place for ever: a purged one leaves a hole, so a place held by a query stays
//! true. `by_id` and `by_stamp` hold every row that is not purged, those of open transactions too;
//! who reads asks [`Row::shown`].

use super::id::Id;
use super::schema::{Field, Kind, Source, link_compounds};
use super::value::{self, Val};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One record. Times are seconds since the epoch.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its id.
    pub id: Id,
    /// `SystemModstamp`.
    pub stamp: i64,
    /// The commit of the transaction that made it; nobody sees it before.
    pub visible_from: i64,
    /// In the recycle bin.
    pub deleted: bool,
    /// Cells by slot.
    pub cells: Box<[u8]>,
}

impl Row {
    /// Whether its transaction is over at `now`.
    pub fn shown(&self, now: i64) -> bool {
        self.visible_from <= now
    }
}

/// An object with its records.
#[derive(Debug, Default)]
pub struct Object {
    /// API name.
    pub name: String,
    /// The describe less `fields`.
    pub json: Map<String, Value>,
    /// The entry in describeGlobal where one was recorded.
    pub global: Option<Map<String, Value>>,
    /// Key prefix where no describe tells one.
    pub spare_prefix: Option<String>,
    /// Every field there ever was, in the order of the describe.
    pub fields: Vec<Field>,
    /// Lower-cased name to place in `fields`; only those that are there.
    pub by_name: HashMap<String, usize>,
    /// Slots in use.
    pub slots: usize,
    /// All rows; holes are purged ones. Shared with the results of jobs, which keep the row of then.
    pub rows: Vec<Option<Arc<Row>>>,
    /// Rows by id.
    pub by_id: BTreeMap<Id, u32>,
    /// Rows by stamp, then id.
    pub by_stamp: BTreeMap<(i64, Id), u32>,
    /// Deletes by id, with when; for getDeleted.
    pub deletes: BTreeMap<Id, i64>,
    /// Commits that came or come later than their stamps, as (commit, stamp).
    pub late: Vec<(i64, i64)>,
    /// Deletes before this second are forgotten.
    pub deletes_from: i64,
    /// Records numbered so far, for ids and auto-numbers.
    pub serial: u64,
    /// Multiplier that scatters ids; 1 keeps them ascending.
    pub scatter: u64,
    /// Rows that belong to the org itself: everybody sees them.
    pub system: bool,
}

/// Serials are scattered in this field; a prime above any number of records.
const SCATTER_MODULUS: u64 = 1_000_000_007;

/// The id of the nth record; `scatter` 1 keeps the order.
pub fn scattered(prefix: &str, scatter: u64, n: u64) -> Id {
    Id::from_serial(prefix, (n % SCATTER_MODULUS) * scatter % SCATTER_MODULUS)
}

impl Object {
    /// An object from its describe.
    pub fn from_describe(mut json: Map<String, Value>) -> Option<Self> {
        let name = json.get("name")?.as_str()?.to_owned();
        let Some(Value::Array(list)) = json.shift_remove("fields") else { return None };
        let mut object = Self { name, json, scatter: 1, deletes_from: i64::MIN, ..Self::default() };
        for entry in list {
            if let Value::Object(entry) = entry {
                object.push_field(entry);
            }
        }
        link_compounds(&mut object.fields);
        Some(object)
    }

    /// Adds a field behind the others and gives its place.
    pub fn push_field(&mut self, json: Map<String, Value>) -> Option<usize> {
        let field = Field::from_json(json, self.slots)?;
        if matches!(field.source, Source::Slot(_)) {
            self.slots += 1;
        }
        let at = self.fields.len();
        self.by_name.insert(field.name.to_lowercase(), at);
        self.fields.push(field);
        Some(at)
    }

    /// A field that is there, by name in any case.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        let at = *self.by_name.get(&name.to_lowercase())?;
        Some((at, self.fields.get(at)?))
    }

    /// The fields that are there.
    pub fn live_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|f| !f.gone)
    }

    /// Key prefix of ids.
    pub fn prefix(&self) -> &str {
        let told = |map: &Map<String, Value>| map.get("keyPrefix")?.as_str().map(str::len);
        let from = if told(&self.json).is_some() { Some(&self.json) } else { self.global.as_ref() };
        from.and_then(|map| map.get("keyPrefix")?.as_str())
            .or(self.spare_prefix.as_deref())
            .unwrap_or("000")
    }

    /// The row at a place.
    pub fn row(&self, at: u32) -> Option<&Row> {
        self.rows.get(at as usize)?.as_deref()
    }

    /// The row with an id, to be kept as it is now.
    pub fn share(&self, id: Id) -> Option<Arc<Row>> {
        self.rows.get(*self.by_id.get(&id)? as usize)?.clone()
    }

    /// The row with an id.
    pub fn find(&self, id: Id) -> Option<&Row> {
        self.row(*self.by_id.get(&id)?)
    }

    /// An id never given before.
    pub fn new_id(&mut self) -> Id {
        loop {
            self.serial += 1;
            let id = scattered(self.prefix(), self.scatter, self.serial);
            if !self.by_id.contains_key(&id) && !self.deletes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a row; false where the id is taken.
    pub fn insert(&mut self, row: Row) -> bool {
        let Ok(at) = u32::try_from(self.rows.len()) else { return false };
        if self.by_id.contains_key(&row.id) {
            return false;
        }
        if row.visible_from > row.stamp {
            self.late.push((row.visible_from, row.stamp));
        }
        self.by_id.insert(row.id, at);
        self.by_stamp.insert((row.stamp, row.id), at);
        self.rows.push(Some(Arc::new(row)));
        true
    }

    /// Takes the first rows, numbered from 1, in one go; their ids differ.
    pub fn fill(&mut self, rows: Vec<Row>) {
        self.serial = rows.len() as u64;
        let places = || rows.iter().zip(0_u32..);
        self.by_id = places().map(|(row, at)| (row.id, at)).collect();
        self.by_stamp = places().map(|(row, at)| ((row.stamp, row.id), at)).collect();
        self.rows = rows.into_iter().map(|row| Some(Arc::new(row))).collect();
    }

    /// Changes a row and keeps the orders; false where there is none.
    pub fn change(&mut self, id: Id, change: impl FnOnce(&mut Row)) -> bool {
        let Some(at) = self.by_id.get(&id).copied() else { return false };
        let Some(row) = self.rows.get_mut(at as usize).and_then(Option::as_mut) else {
            return false;
        };
        let row = Arc::make_mut(row);
        let before = row.stamp;
        change(row);
        row.id = id;
        if row.stamp != before {
            self.by_stamp.remove(&(before, id));
            self.by_stamp.insert((row.stamp, id), at);
        }
        true
    }

    /// Removes a row for good.
    pub fn remove(&mut self, id: Id) -> Option<Arc<Row>> {
        let at = self.by_id.remove(&id)?;
        let row = self.rows.get_mut(at as usize)?.take()?;
        self.by_stamp.remove(&(row.stamp, id));
        Some(row)
    }

    /// The value of a field that needs no other record.
    pub fn own_value<'a>(&self, row: &'a Row, field: &Field) -> Val<'a> {
        match &field.source {
            Source::Id => Val::Id(row.id),
            Source::IsDeleted => Val::Bool(row.deleted),
            Source::Stamp => Val::Time(row.stamp * 1000),
            Source::Slot(slot) => value::cell(&row.cells, *slot),
            Source::Parts(_) | Source::Parent(..) => Val::Null,
            Source::Length(of) => match self.field(of).map(|(_, f)| &f.source) {
                Some(Source::Slot(slot)) => match value::cell(&row.cells, *slot) {
                    Val::Text(text) => Val::Int(text.chars().count() as i64),
                    Val::Null
                    | Val::Bool(_)
                    | Val::Int(_)
                    | Val::Num(_)
                    | Val::Date(_)
                    | Val::Time(_)
                    | Val::Id(_) => Val::Int(0),
                },
                Some(
                    Source::Id
                    | Source::IsDeleted
                    | Source::Stamp
                    | Source::Parts(_)
                    | Source::Length(_)
                    | Source::Parent(..),
                )
                | None => Val::Null,
            },
        }
    }

    /// New cells for a row: the old ones with some slots replaced.
    pub fn with_cells(old: &[u8], set: &BTreeMap<usize, Val<'_>>) -> Box<[u8]> {
        let mut offsets = Vec::new();
        value::offsets(old, &mut offsets);
        let last = set.keys().next_back().map_or(0, |n| n + 1).max(offsets.len());
        let mut out = Vec::with_capacity(old.len() + 32);
        for slot in 0..last {
            let own = || offsets.get(slot).map_or(Val::Null, |at| value::read(old, *at));
            value::put(&mut out, set.get(&slot).copied().unwrap_or_else(own));
        }
        out.into_boxed_slice()
    }

    /// Whether a value of this field is text in a slot.
    pub fn text_slot(&self, name: &str) -> Option<usize> {
        let (_, field) = self.field(name)?;
        match field.source {
            Source::Slot(slot) if field.kind == Kind::Text => Some(slot),
            Source::Slot(_)
            | Source::Id
            | Source::IsDeleted
            | Source::Stamp
            | Source::Parts(_)
            | Source::Length(_)
            | Source::Parent(..) => None,
        }
    }
}
