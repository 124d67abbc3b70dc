//! Writes: create, update, delete, undelete, purge, and the tester's touch.
//!
//! All of a record's values are checked before any is stored. Every change of a record sets its
//! `SystemModstamp` to the whole second of `now`, whatever the caller sends.

use super::Org;
use super::error::ApiError;
use super::id::Id;
use super::input::{self, Owned};
use super::schema::{Field, Kind, Source};
use super::table::{Object, Row};
use super::value::{self, Val};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) type Cells = BTreeMap<usize, Owned>;

pub(super) fn slot_of(field: &Field) -> Option<usize> {
    match field.source {
        Source::Slot(slot) => Some(slot),
        Source::Id
        | Source::IsDeleted
        | Source::Stamp
        | Source::Parts(_)
        | Source::Length(_)
        | Source::Parent(..) => None,
    }
}

/// Sets a field that the server writes, where the object has it.
fn set(object: &Object, cells: &mut Cells, name: &str, value: Owned) {
    if let Some(slot) = object.field(name).and_then(|(_, f)| slot_of(f)) {
        cells.insert(slot, value);
    }
}

fn user(id: &str) -> Owned {
    Owned::Plain(Id::parse(id).map_or(Val::Null, Val::Id))
}

impl Object {
    pub(super) fn build(old: &[u8], cells: &Cells) -> Box<[u8]> {
        let borrowed = cells.iter().map(|(slot, v)| (*slot, v.val())).collect();
        Self::with_cells(old, &borrowed)
    }

    /// `Name` of people is made of their first and last names.
    pub(super) fn person_name(&self, old: &[u8], cells: &mut Cells) {
        let slot = |name: &str| self.field(name).and_then(|(_, f)| slot_of(f));
        let (Some(name), Some(last)) = (slot("Name"), slot("LastName")) else { return };
        let text = |slot: Option<usize>| {
            let slot = slot?;
            let value = cells.get(&slot).map_or_else(|| value::cell(old, slot), Owned::val);
            if let Val::Text(text) = value { Some(text.to_owned()) } else { None }
        };
        let parts: Vec<String> =
            [text(slot("FirstName")), text(Some(last))].into_iter().flatten().collect();
        if !parts.is_empty() {
            cells.insert(name, Owned::Text(parts.join(" ")));
        }
    }

    /// This object's fields with one row, for objects that answer each user with his own.
    pub(super) fn with_single_row(&self, values: &Map<String, Value>) -> Self {
        let mut one = Self {
            name: self.name.clone(),
            json: self.json.clone(),
            fields: self.fields.clone(),
            by_name: self.by_name.clone(),
            slots: self.slots,
            scatter: 1,
            system: true,
            ..Self::default()
        };
        let mut cells = Cells::new();
        for (name, value) in values {
            if let Some((_, field)) = one.field(name)
                && let (Some(slot), Ok(value)) = (slot_of(field), input::read(field, value))
            {
                cells.insert(slot, value);
            }
        }
        let id = values
            .get("Id")
            .and_then(Value::as_str)
            .and_then(Id::parse)
            .unwrap_or(Id(*b"000000000000000"));
        let cells = Self::build(&[], &cells);
        one.insert(Row { id, stamp: 0, visible_from: i64::MIN, deleted: false, cells });
        one
    }
}

impl Org {
    /// Creates a record and gives its 18-character id. `visible_from` later than `now` plays a
    /// transaction that stays open until then: the stamp is of `now`, the record shows up later.
    pub fn create(
        &mut self,
        object: &str,
        fields: &Map<String, Value>,
        now: Timestamp,
        visible_from: Option<Timestamp>,
        user_id: &str,
    ) -> Result<String, ApiError> {
        let known = self.object(object).ok_or_else(ApiError::not_found)?;
        let mut cells = self.checked(known, fields, true, None)?;
        let stamp = now.as_second();
        let object = self.object_mut(object)?;
        object.person_name(&[], &mut cells);
        let (at, who) = (Owned::Plain(Val::Time(stamp * 1000)), user(user_id));
        for (name, value) in [
            ("CreatedDate", at.clone()),
            ("LastModifiedDate", at),
            ("CreatedById", who.clone()),
            ("LastModifiedById", who.clone()),
        ] {
            set(object, &mut cells, name, value);
        }
        if let Some(slot) = object.field("OwnerId").and_then(|(_, f)| slot_of(f)) {
            cells.entry(slot).or_insert(who);
        }
        let id = object.new_id();
        let serial = object.serial;
        for field in object.fields.iter().filter(|f| !f.gone) {
            let Some(slot) = slot_of(field) else { continue };
            let auto = field.json.get("autoNumber").and_then(Value::as_bool) == Some(true);
            if field.kind == Kind::Boolean {
                cells.entry(slot).or_insert(Owned::Plain(Val::Bool(false)));
            } else if auto {
                cells.insert(slot, Owned::Text(format!("{serial:08}")));
            }
        }
        let cells = Object::build(&[], &cells);
        let visible_from = visible_from.map_or(i64::MIN, Timestamp::as_second);
        object.insert(Row { id, stamp, visible_from, deleted: false, cells });
        Ok(id.to_string())
    }

    /// The id of a live record that is seen at `now`.
    pub(super) fn live(
        &self,
        object: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<(&Object, Id), ApiError> {
        let object = self.object(object).ok_or_else(ApiError::not_found)?;
        let id = Id::parse(id).ok_or_else(|| {
            ApiError::field(
                "MALFORMED_ID",
                format!("{} ID: id value of incorrect type: {id}", object.name),
                "Id",
            )
        })?;
        match object.find(id).filter(|r| r.shown(now.as_second())) {
            None => Err(ApiError::not_found()),
            Some(row) if row.deleted => Err(ApiError::deleted()),
            Some(_) => Ok((object, id)),
        }
    }

    /// Changes fields of a record.
    pub fn update(
        &mut self,
        object: &str,
        id: &str,
        fields: &Map<String, Value>,
        now: Timestamp,
        user_id: &str,
    ) -> Result<(), ApiError> {
        let (known, id) = self.live(object, id, now)?;
        let mut cells = self.checked(known, fields, false, Some(id))?;
        let old = known.find(id).map_or(&[][..], |r| &r.cells);
        if ["FirstName", "LastName"]
            .iter()
            .any(|n| fields.keys().any(|k| k.eq_ignore_ascii_case(n)))
        {
            known.person_name(old, &mut cells);
        }
        let stamp = now.as_second();
        set(known, &mut cells, "LastModifiedDate", Owned::Plain(Val::Time(stamp * 1000)));
        set(known, &mut cells, "LastModifiedById", user(user_id));
        let cells = Object::build(old, &cells);
        self.object_mut(object)?.change(id, |row| {
            row.cells = cells;
            row.stamp = stamp;
        });
        Ok(())
    }

    /// Puts a record into the recycle bin.
    pub fn delete(&mut self, object: &str, id: &str, now: Timestamp) -> Result<(), ApiError> {
        let (_, id) = self.live(object, id, now)?;
        let stamp = now.as_second();
        let object = self.object_mut(object)?;
        object.change(id, |row| {
            row.deleted = true;
            row.stamp = stamp;
        });
        object.deletes.insert(id, stamp);
        Ok(())
    }

    /// Takes a record out of the recycle bin, with its old id.
    pub fn undelete(&mut self, object: &str, id: &str, now: Timestamp) -> Result<(), ApiError> {
        let id = Id::parse(id).ok_or_else(ApiError::not_found)?;
        let object = self.object_mut(object)?;
        if !object.find(id).is_some_and(|r| r.deleted) {
            return Err(ApiError::bad(
                "UNDELETE_FAILED",
                format!("Entity is not in the recycle bin: {id}"),
            ));
        }
        object.deletes.remove(&id);
        let stamp = now.as_second();
        object.change(id, |row| {
            row.deleted = false;
            row.stamp = stamp;
        });
        object.free(id, stamp);
        Ok(())
    }

    /// Removes a record for good (hard delete, or a purge from the bin); the delete log keeps its id.
    pub fn purge(&mut self, object: &str, id: &str, now: Timestamp) -> Result<(), ApiError> {
        let id = Id::parse(id).ok_or_else(ApiError::not_found)?;
        let object = self.object_mut(object)?;
        object.remove(id).ok_or_else(ApiError::not_found)?;
        object.deletes.entry(id).or_insert(now.as_second());
        Ok(())
    }

    /// Purges what lies in the bin; gives how many.
    pub fn empty_bin(&mut self, object: &str) -> Result<usize, ApiError> {
        let object = self.object_mut(object)?;
        let ids: Vec<Id> =
            object.rows.iter().flatten().filter(|r| r.deleted).map(|r| r.id).collect();
        for id in &ids {
            object.remove(*id);
        }
        Ok(ids.len())
    }

    /// Up to `n` live records that are seen at `now`, those that were changed longest ago first.
    pub fn pick(&self, object: &str, n: usize, now: Timestamp) -> Result<Vec<String>, ApiError> {
        let object = self.object(object).ok_or_else(ApiError::not_found)?;
        let rows = object.by_stamp.values().filter_map(|at| object.row(*at));
        Ok(rows
            .filter(|r| !r.deleted && r.shown(now.as_second()))
            .take(n)
            .map(|r| r.id.to_string())
            .collect())
    }

    /// Changes `n` records, those that were changed longest ago: text in a field of each, and the
    /// stamp; all get the same one. Gives their ids.
    pub fn touch(
        &mut self,
        object: &str,
        n: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, ApiError> {
        let ids = self.pick(object, n, now)?;
        self.seed = self.seed.wrapping_add(1);
        let mark = self.seed;
        let stamp = now.as_second();
        let object = self.object_mut(object)?;
        let slot = ["Description", "Title", "Subject", "Name"]
            .into_iter()
            .find_map(|f| object.text_slot(f));
        let modified = object.field("LastModifiedDate").and_then(|(_, f)| slot_of(f));
        for id in ids.iter().filter_map(|id| Id::parse(id)) {
            let Some(row) = object.find(id) else { continue };
            let mut cells = Cells::new();
            if let Some(slot) = slot {
                cells.insert(slot, Owned::Text(format!("touched {mark} \u{2014} {id}")));
            }
            if let Some(slot) = modified {
                cells.insert(slot, Owned::Plain(Val::Time(stamp * 1000)));
            }
            let cells = Object::build(&row.cells, &cells);
            object.change(id, |row| {
                row.cells = cells;
                row.stamp = stamp;
            });
        }
        Ok(ids)
    }
}
