//! The org's data: objects, fields, records, and what the vendor's read and write calls do to them.
//!
//! Hides how records are stored, indexed and queried; offers answers in the vendor's shapes.
//! Invariants: nothing here asks the clock (each call is told `now`); a modification stamp is the
//! whole second of `now`; a record whose transaction is still open at `now` is seen by no read; a
//! purged record is gone but for its entry in the delete log; places and ids are never given twice.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "places, digits and lengths are far below the bounds"
)]

mod admin;
mod awkward;
mod catalog;
mod changes;
mod checks;
mod csv;
mod describe;
mod error;
mod eval;
mod export;
mod filter;
mod generate;
mod id;
mod input;
mod load;
mod made;
mod merge;
mod query;
mod render;
mod replication;
mod schema;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use csv::Style;
pub use error::ApiError;
pub use export::{Export, Injury, RowOrder};
pub use generate::{GenSpec, IdOrder};
pub use id::Id;
pub use query::QueryResult;

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use table::Object;

/// What the calling user may see. Names count without regard to case.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Objects he does not have at all.
    pub hidden_objects: BTreeSet<String>,
    /// (object, field) that field-level security takes from him.
    pub hidden_fields: BTreeSet<(String, String)>,
    /// Share of the records that are not shared with him; a stable hash of the id decides which.
    pub hidden_percent: u8,
    /// "View All Data": overrides `hidden_percent`.
    pub view_all: bool,
    /// Objects that answer each user with one row of his own (`UserPermissionAccess`), by name:
    /// field to value. The object must have been registered by [`Org::put_system_rows`] (rows may
    /// be empty there).
    pub own_rows: BTreeMap<String, Map<String, Value>>,
}

impl Access {
    /// Sees everything.
    pub fn full() -> Self {
        Self { view_all: true, ..Self::default() }
    }

    fn object_hidden(&self, object: &str) -> bool {
        self.hidden_objects.iter().any(|o| o.eq_ignore_ascii_case(object))
    }

    fn field_hidden(&self, object: &str, field: &str) -> bool {
        self.hidden_fields
            .iter()
            .any(|(o, f)| o.eq_ignore_ascii_case(object) && f.eq_ignore_ascii_case(field))
    }

    fn percent(&self) -> u8 {
        if self.view_all { 0 } else { self.hidden_percent }
    }
}

/// Whether a record lies in the share that a user does not see.
fn record_hidden(id: Id, percent: u8) -> bool {
    percent > 0 && id.hash() % 100 < u64::from(percent)
}

/// An org's data.
#[derive(Debug, Default)]
pub struct Org {
    /// Objects by lower-cased name.
    objects: BTreeMap<String, Object>,
    /// When a describe last changed, in seconds.
    schema_changed: i64,
    /// Users that records are given to.
    users: Vec<Id>,
    /// Seed of what is made up later (touches).
    seed: u64,
}

impl Org {
    fn object(&self, name: &str) -> Option<&Object> {
        if let Some(object) = self.objects.get(name) {
            return Some(object);
        }
        self.objects.get(&name.to_lowercase())
    }

    /// The object, if there is one that this user may see; else the 404 of the sobjects resource.
    fn visible(&self, name: &str, access: &Access) -> Result<&Object, ApiError> {
        self.object(name).filter(|o| !access.object_hidden(&o.name)).ok_or_else(ApiError::not_found)
    }

    fn object_mut(&mut self, name: &str) -> Result<&mut Object, ApiError> {
        self.objects.get_mut(&name.to_lowercase()).ok_or_else(ApiError::not_found)
    }

    /// When an object or a field last came, went or changed; for `If-Modified-Since`.
    pub fn last_schema_change(&self) -> Timestamp {
        Timestamp::from_second(self.schema_changed).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Names of all objects, sorted without regard to case.
    pub fn object_names(&self) -> Vec<String> {
        self.objects.values().map(|o| o.name.clone()).collect()
    }
}
