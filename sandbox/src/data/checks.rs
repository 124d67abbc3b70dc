//! The checks of a write: fields, types, required values, references, unique values.

use super::Org;
use super::changes::{Cells, slot_of};
use super::error::ApiError;
use super::id::Id;
use super::input::{self, Owned};
use super::schema::{Field, Kind};
use super::table::Object;
use super::value::{self, Val};
use serde_json::{Map, Value};

impl Org {
    /// Checks the values of a write; gives them by slot.
    pub(super) fn checked(
        &self,
        object: &Object,
        fields: &Map<String, Value>,
        creating: bool,
        id: Option<Id>,
    ) -> Result<Cells, ApiError> {
        let mut cells = Cells::new();
        for (name, value) in fields {
            if name == "attributes" {
                continue;
            }
            let Some((_, field)) = object.field(name) else {
                return Err(ApiError::bad(
                    "INVALID_FIELD",
                    format!("No such column '{name}' on sobject of type {}", object.name),
                ));
            };
            let allowed = if creating { field.createable() } else { field.updateable() };
            let slot = slot_of(field)
                .filter(|_| allowed)
                .ok_or_else(|| input::not_writable(&field.name))?;
            let value = input::read(field, value)?;
            self.check_reference(field, &value)?;
            Self::check_unique(object, field, slot, &value, id)?;
            if !creating && field.required() && value.val() == Val::Null {
                return Err(missing(&[&field.name]));
            }
            cells.insert(slot, value);
        }
        if creating {
            let given = |f: &&Field| {
                slot_of(f).and_then(|s| cells.get(&s)).is_some_and(|v| v.val() != Val::Null)
            };
            let required: Vec<&str> = object
                .live_fields()
                .filter(|f| {
                    f.required()
                        && !given(f)
                        && !(f.name == "Name" && object.field("LastName").is_some())
                })
                .map(|f| f.name.as_str())
                .collect();
            if !required.is_empty() {
                return Err(missing(&required));
            }
        }
        Ok(cells)
    }

    fn check_reference(&self, field: &Field, value: &Owned) -> Result<(), ApiError> {
        let Val::Id(id) = value.val() else { return Ok(()) };
        if field.kind != Kind::Reference {
            return Ok(());
        }
        let known: Vec<&Object> = field.targets().filter_map(|t| self.object(t)).collect();
        // Objects that this org lacks cannot be checked.
        if known.len() < field.targets().count() || known.is_empty() {
            return Ok(());
        }
        if !known.iter().any(|o| o.prefix().as_bytes() == id.prefix()) {
            return Err(ApiError::field(
                "MALFORMED_ID",
                format!("{}: id value of incorrect type: {id}", field.label()),
                &field.name,
            ));
        }
        match known.iter().find_map(|o| o.find(id)) {
            None => Err(ApiError::field(
                "INVALID_CROSS_REFERENCE_KEY",
                "invalid cross reference id",
                &field.name,
            )),
            Some(row) if row.deleted => {
                Err(ApiError::bad("ENTITY_IS_DELETED", "entity is deleted"))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_unique(
        object: &Object,
        field: &Field,
        slot: usize,
        value: &Owned,
        id: Option<Id>,
    ) -> Result<(), ApiError> {
        if !field.unique() || value.val() == Val::Null {
            return Ok(());
        }
        let clash = object.by_id.values().filter_map(|at| object.row(*at)).find(|row| {
            Some(row.id) != id
                && !row.deleted
                && value::compare(value::cell(&row.cells, slot), value.val()).is_eq()
        });
        match clash {
            None => Ok(()),
            Some(row) => Err(ApiError {
                status: 400,
                code: "DUPLICATE_VALUE",
                message: format!(
                    "duplicate value found: {} duplicates value on record with id: {}",
                    field.name, row.id
                ),
                fields: Vec::new(),
            }),
        }
    }
}

fn missing(names: &[&str]) -> ApiError {
    ApiError {
        status: 400,
        code: "REQUIRED_FIELD_MISSING",
        message: format!("Required fields are missing: [{}]", names.join(", ")),
        fields: names.iter().map(|n| (*n).to_owned()).collect(),
    }
}
