//! What the tester changes about objects: fields come, go and change type; system objects come in.

use super::Org;
use super::error::ApiError;
use super::id::Id;
use super::input;
use super::made::{FieldSpec, field_json, object_json};
use super::schema::{Field, Source, link_compounds};
use super::table::{Object, Row};
use super::value::Val;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A field of a type, with sizes that fit it.
fn spec<'a>(name: &'a str, ty: &'a str) -> FieldSpec<'a> {
    let (length, precision, scale) = match ty {
        "email" => (80, 0, 0),
        "phone" => (40, 0, 0),
        "currency" => (0, 18, 2),
        "double" => (0, 18, 4),
        "percent" => (0, 5, 2),
        "int" => (9, 0, 0),
        "boolean" | "date" | "datetime" | "id" | "reference" => (0, 0, 0),
        _ => (255, 0, 0),
    };
    let values = if ty.ends_with("picklist") { vec!["One", "Two", "Three"] } else { Vec::new() };
    FieldSpec { name, ty, length, precision, scale, values, ..FieldSpec::default() }
}

const TYPES: [&str; 18] = [
    "string",
    "textarea",
    "picklist",
    "multipicklist",
    "combobox",
    "reference",
    "boolean",
    "currency",
    "int",
    "double",
    "percent",
    "phone",
    "date",
    "datetime",
    "url",
    "email",
    "encryptedstring",
    "id",
];

fn known(ty: &str) -> Result<(), ApiError> {
    if TYPES.contains(&ty) {
        return Ok(());
    }
    Err(ApiError::bad(
        "INVALID_TYPE",
        format!("unknown field type '{ty}'; known: {}", TYPES.join(", ")),
    ))
}

impl Org {
    /// Adds a field (empty in all records) behind the others; one that had been removed comes back
    /// with its values if the type is the same.
    pub fn add_field(
        &mut self,
        object: &str,
        name: &str,
        ty: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        known(ty)?;
        let object = self.object_mut(object)?;
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good {
            return Err(ApiError::bad("INVALID_FIELD", format!("'{name}' is no field name")));
        }
        if object.field(name).is_some() {
            return Err(ApiError::bad(
                "DUPLICATE_VALUE",
                format!("field {name} exists on {}", object.name),
            ));
        }
        let removed = object
            .fields
            .iter()
            .position(|f| f.gone && f.ty == ty && f.name.eq_ignore_ascii_case(name));
        match removed.and_then(|at| Some((at, object.fields.get_mut(at)?))) {
            Some((at, field)) => {
                field.gone = false;
                object.by_name.insert(name.to_lowercase(), at);
            }
            None => {
                object.push_field(field_json(&spec(name, ty)));
            }
        }
        link_compounds(&mut object.fields);
        self.schema_changed = now.as_second();
        Ok(())
    }

    /// Removes a field from describes and queries.
    pub fn remove_field(
        &mut self,
        object: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let object = self.object_mut(object)?;
        let Some(at) = object.by_name.remove(&name.to_lowercase()) else {
            return Err(ApiError::bad(
                "INVALID_FIELD",
                format!("No such column '{name}' on sobject of type {}", object.name),
            ));
        };
        if let Some(field) = object.fields.get_mut(at) {
            field.gone = true;
        }
        link_compounds(&mut object.fields);
        self.schema_changed = now.as_second();
        Ok(())
    }

    /// Gives a field another type under the same name; values that do not fit become null. Stamps
    /// stay as they are, as at the vendor.
    pub fn retype_field(
        &mut self,
        object: &str,
        name: &str,
        ty: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        known(ty)?;
        let object = self.object_mut(object)?;
        let missing = || ApiError::bad("INVALID_FIELD", format!("No such column '{name}'"));
        let (at, old) = object.field(name).map(|(at, f)| (at, f.clone())).ok_or_else(missing)?;
        let Source::Slot(slot) = old.source else {
            return Err(ApiError::bad(
                "INVALID_FIELD",
                format!("field {} cannot change its type", old.name),
            ));
        };
        let Some(new) = Field::from_json(field_json(&spec(&old.name, ty)), slot) else {
            return Err(missing());
        };
        for at in 0..object.rows.len() {
            let Some(row) = object.rows.get(at).and_then(Option::as_deref) else { continue };
            let text = match object.own_value(row, &old) {
                Val::Null => continue,
                Val::Text(text) | Val::Num(text) => Value::String(text.to_owned()),
                value @ (Val::Bool(_) | Val::Int(_) | Val::Date(_) | Val::Time(_) | Val::Id(_)) => {
                    let mut out = Vec::new();
                    super::value::write_json(&mut out, value);
                    match serde_json::from_slice(&out) {
                        Ok(Value::String(text)) => Value::String(text),
                        Ok(other) => Value::String(other.to_string()),
                        Err(_) => Value::Null,
                    }
                }
            };
            let value = input::read(&new, &text);
            let value = value.as_ref().map_or(Val::Null, input::Owned::val);
            let cells = Object::with_cells(&row.cells, &BTreeMap::from([(slot, value)]));
            if let Some(row) = object.rows.get_mut(at).and_then(Option::as_mut) {
                Arc::make_mut(row).cells = cells;
            }
        }
        if let Some(field) = object.fields.get_mut(at) {
            *field = new;
        }
        self.schema_changed = now.as_second();
        Ok(())
    }

    /// Registers an object of the org itself (User, Organization, `UserPermissionAccess`, …) with
    /// its fields as (name, type) and its rows, or replaces the rows of one that is there (rows are
    /// known again by `Id`; fields that it lacks are added, those of a recorded describe stay).
    /// Rows that changed get the stamp of `now`. `Id` is made where a row has none. Everybody sees
    /// these rows, whatever share of the records is hidden from him.
    pub fn put_system_rows(
        &mut self,
        object: &str,
        prefix: &str,
        fields: &[(&str, &str)],
        rows: &[Map<String, Value>],
        now: Timestamp,
    ) {
        let key = object.to_lowercase();
        let table = self.objects.entry(key).or_insert_with(|| {
            let mut json = object_json(object, Some(prefix), false);
            for key in ["createable", "deletable", "undeletable"] {
                json.insert(key.to_owned(), Value::Bool(false));
            }
            Object {
                name: object.to_owned(),
                json,
                scatter: 1,
                deletes_from: i64::MIN,
                ..Object::default()
            }
        });
        table.system = true;
        let mut grown = false;
        for (name, ty) in [("Id", "id")].iter().chain(fields) {
            if table.field(name).is_none() {
                let (relationship, targets) = match (*ty, name.strip_suffix("Id")) {
                    ("reference", Some(stem)) => (Some(stem), vec![target_of(stem)]),
                    _ => (None, Vec::new()),
                };
                let spec = FieldSpec {
                    relationship,
                    targets,
                    name_field: *name == "Name",
                    ..spec(name, ty)
                };
                table.push_field(field_json(&spec));
                grown = true;
            }
        }
        let stamp = now.as_second();
        let mut kept = Vec::new();
        for values in rows {
            let given = values.get("Id").and_then(Value::as_str).and_then(Id::parse);
            let id = given.unwrap_or_else(|| table.new_id());
            let mut cells = BTreeMap::new();
            for (name, value) in values {
                if let Some((_, field)) = table.field(name)
                    && let (Source::Slot(slot), Ok(value)) =
                        (&field.source, input::read(field, value))
                {
                    cells.insert(*slot, value);
                }
            }
            let stamp = values
                .get("SystemModstamp")
                .and_then(Value::as_str)
                .and_then(crate::soql::dates::datetime)
                .map_or(stamp, |ms| ms.div_euclid(1000));
            let cells = Object::build(&[], &cells);
            kept.push(id);
            match table.find(id) {
                Some(row) if row.cells == cells && !row.deleted => {}
                Some(_) => {
                    table.change(id, |row| {
                        *row = Row { id, stamp, visible_from: i64::MIN, deleted: false, cells }
                    });
                }
                None => {
                    table.insert(Row { id, stamp, visible_from: i64::MIN, deleted: false, cells });
                }
            }
        }
        let gone: Vec<Id> = table.by_id.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in gone {
            table.remove(id);
        }
        if grown {
            self.schema_changed = self.schema_changed.max(stamp);
        }
    }
}

/// Lookups of system objects by their customary names.
fn target_of(stem: &str) -> &str {
    match stem {
        "Assignee" | "CreatedBy" | "LastModifiedBy" | "Owner" | "Manager" => "User",
        other => other,
    }
}
