//! describeGlobal and describe, as one user sees them.
//!
//! Recorded describes are served as recorded, less what the user may not see.

use super::made::object_json;
use super::table::Object;
use super::{Access, ApiError, Org};
use serde_json::{Map, Value, json};

/// Keys of a describe that describeGlobal repeats, in the recorded order.
const GLOBAL_KEYS: [&str; 28] = [
    "activateable",
    "associateEntityType",
    "associateParentEntity",
    "createable",
    "custom",
    "customSetting",
    "deepCloneable",
    "deletable",
    "deprecatedAndHidden",
    "feedEnabled",
    "hasSubtypes",
    "isInterface",
    "isSubtype",
    "keyPrefix",
    "label",
    "labelPlural",
    "layoutable",
    "mergeable",
    "mruEnabled",
    "name",
    "queryable",
    "replicateable",
    "retrieveable",
    "searchable",
    "triggerable",
    "undeletable",
    "updateable",
    "urls",
];

fn global_entry(object: &Object) -> Value {
    if let Some(recorded) = &object.global {
        return Value::Object(recorded.clone());
    }
    // The short recordings lack most keys: what they do not say is as in an object made here.
    let fallback = object_json(&object.name, None, false);
    let mut entry = Map::new();
    for key in GLOBAL_KEYS {
        let value =
            object.json.get(key).or_else(|| fallback.get(key)).cloned().unwrap_or(Value::Null);
        entry.insert(key.to_owned(), value);
    }
    Value::Object(entry)
}

impl Org {
    /// The body of `GET /sobjects/`: the objects that this user may see, by name.
    pub fn describe_global(&self, access: &Access) -> Value {
        let list: Vec<Value> = self
            .objects
            .values()
            .filter(|o| !access.object_hidden(&o.name))
            .map(global_entry)
            .collect();
        json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list })
    }

    /// The body of `GET /sobjects/{object}/describe`; hidden fields are simply missing.
    /// 404 `NOT_FOUND` where the object is not there or hidden.
    pub fn describe(&self, object: &str, access: &Access) -> Result<Value, ApiError> {
        let object = self.visible(object, access)?;
        let fields: Vec<Value> = object
            .live_fields()
            .filter(|f| !access.field_hidden(&object.name, &f.name))
            .map(|f| Value::Object(f.json.clone()))
            .collect();
        let mut body = object.json.clone();
        body.insert("fields".to_owned(), Value::Array(fields));
        Ok(Value::Object(body))
    }

    /// The entry of describeGlobal, which `GET /sobjects/{object}` shows as `objectDescribe`.
    pub fn object_entry(&self, object: &str, access: &Access) -> Result<Value, ApiError> {
        self.visible(object, access).map(global_entry)
    }
}
