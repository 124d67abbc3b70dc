//! A line of `status` with its JSON.
//!
//! It is asked for far more often than it changes: a thousand connections are told in one copy of
//! bytes. Hides that; by its other sides it is a [`ConnectionStatus`].

use super::ConnectionStatus;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Line(Arc<Rendered>);

#[derive(Debug)]
struct Rendered {
    status: ConnectionStatus,
    /// Plain types: there is always one.
    json: Option<Box<RawValue>>,
}

impl From<ConnectionStatus> for Line {
    fn from(status: ConnectionStatus) -> Self {
        let json = to_raw_value(&status).ok();
        Self(Arc::new(Rendered { status, json }))
    }
}

impl Deref for Line {
    type Target = ConnectionStatus;

    fn deref(&self) -> &ConnectionStatus {
        &self.0.status
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Line {}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.json {
            Some(json) => json.serialize(serializer),
            None => self.0.status.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ConnectionStatus::deserialize(deserializer).map(Self::from)
    }
}

impl PartialSchema for Line {
    fn schema() -> RefOr<Schema> {
        ConnectionStatus::schema()
    }
}

impl ToSchema for Line {
    fn name() -> Cow<'static, str> {
        ConnectionStatus::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ConnectionStatus::schemas(schemas);
    }
}
