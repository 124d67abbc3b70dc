use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a value is to be kept. The provider maps its own types here; the replica maps these to
/// columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldType {
    /// Any text, ids and picklists included.
    Text,
    /// `true` or `false`.
    Boolean,
    /// Whole number that fits 64 bits.
    Integer,
    /// Decimal number whose text is to survive exactly (money, percent, numbers with scale).
    Decimal,
    /// `YYYY-MM-DD`.
    Date,
    /// Time of day, `HH:MM:SS.sss`.
    TimeOfDay,
    /// Instant; any ISO 8601 form with offset, `+0000` included.
    DateTime,
    /// A structured value kept as JSON text.
    Json,
}

/// A field of an object at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// API name, in the source's own case.
    pub name: String,
    /// Label for people.
    pub label: String,
    /// How it is kept.
    pub kind: FieldType,
    /// The source's own type word, with length or precision and scale, e.g. `currency(18,2)`.
    pub source_type: String,
    /// Computed at the source: its change does not move the modification stamp.
    #[serde(default)]
    pub calculated: bool,
}

/// An object (table) at the source, with the fields our account may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSchema {
    /// API name.
    pub name: String,
    /// Label for people.
    pub label: String,
    /// Name of the key field.
    pub key: String,
    /// Field that holds the modification stamp, where there is one.
    #[serde(default)]
    pub stamp: Option<String>,
    /// Field that says a record is in the recycle bin, where there is one.
    #[serde(default)]
    pub deleted_flag: Option<String>,
    /// Whether the source keeps a log of hard deletes for it.
    #[serde(default)]
    pub delete_log: bool,
    /// Fields that can be read, in the source's order; key, stamp and flag included.
    pub fields: Vec<Field>,
}

impl ObjectSchema {
    /// The field of that name, letter case ignored.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }

    /// Names that are always read: key, stamp, creation and deletion flag, as far as they exist.
    pub fn system_fields(&self) -> impl Iterator<Item = &str> {
        [Some(self.key.as_str()), self.stamp.as_deref(), self.deleted_flag.as_deref()]
            .into_iter()
            .flatten()
    }
}

/// What becomes of changes of the source's description.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchemaPolicy {
    /// New fields are read and filled, a type that moved widens the column or gets one beside it.
    #[default]
    Follow,
    /// The fields that are read stay as they are: new ones and ones whose type moved are told and
    /// not read. Fields that vanish are told as under `Follow`.
    Freeze,
}

/// What the provider's calls need to know of the source: the described objects, by API name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Objects by API name.
    pub objects: BTreeMap<String, ObjectSchema>,
}
