//! What an object and its fields are: read from a describe, recorded or made here.
//!
//! A describe is kept as JSON and served as it is; beside it stands what the rest of the sandbox
//! asks often. A field never leaves its place in the list: removed ones are marked `gone`, so that
//! a query that is half read does not go astray.

use serde_json::{Map, Value};

/// How values of a field are stored and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The record's own id.
    Id,
    /// The id of another record.
    Reference,
    /// Every textual type, picklists too.
    Text,
    /// Several values joined by `;`.
    Multi,
    /// `boolean`
    Boolean,
    /// `int`, `long`
    Int,
    /// `double`, `currency`, `percent`
    Decimal,
    /// `date`
    Date,
    /// `datetime`
    DateTime,
    /// `address`, `location`: made of other fields.
    Compound,
    /// What can be shown but not filtered (`base64`, `time`, `complexvalue`, …).
    Opaque,
}

impl Kind {
    fn of(ty: &str) -> Self {
        match ty {
            "id" => Self::Id,
            "reference" => Self::Reference,
            "multipicklist" => Self::Multi,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Int,
            "double" | "currency" | "percent" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "address" | "location" => Self::Compound,
            "base64" | "time" | "complexvalue" | "json" | "datacategorygroupreference" => {
                Self::Opaque
            }
            _ => Self::Text,
        }
    }
}

/// Where a field's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The row itself.
    Id,
    /// The row's deletion mark.
    IsDeleted,
    /// The row's modification stamp.
    Stamp,
    /// A cell of the row.
    Slot(usize),
    /// Other fields, as (key in the answer's object, field name).
    Parts(Vec<(String, String)>),
    /// Formula `LEN(field)`.
    Length(String),
    /// Formula `Relationship.Field`, as (lookup field, field of the parent); changes with the
    /// parent and leaves this record's stamp alone.
    Parent(String, String),
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    /// API name.
    pub name: String,
    /// Vendor's type name.
    pub ty: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// See [`Source`].
    pub source: Source,
    /// The entry of `fields` in the describe.
    pub json: Map<String, Value>,
    /// Removed since.
    pub gone: bool,
    /// What the describe says and is asked at every record.
    pub facts: Facts,
}

/// See [`Field::facts`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Numbered by the server.
    pub auto: bool,
    nillable: bool,
    required: bool,
    external: bool,
    length: Option<usize>,
}

impl Field {
    /// Reads an entry of a describe; `slot` is where its values will lie.
    pub fn from_json(json: Map<String, Value>, slot: usize) -> Option<Self> {
        let name = json.get("name")?.as_str()?.to_owned();
        let ty = json.get("type")?.as_str()?.to_owned();
        let kind = Kind::of(&ty);
        let source = match name.as_str() {
            "Id" => Source::Id,
            "IsDeleted" => Source::IsDeleted,
            "SystemModstamp" => Source::Stamp,
            _ => Source::Slot(slot),
        };
        let mut field = Self { name, ty, kind, source, json, gone: false, facts: Facts::default() };
        field.facts = Facts {
            auto: field.flag("autoNumber", false),
            nillable: field.flag("nillable", true),
            required: !field.flag("nillable", true)
                && field.flag("createable", false)
                && !field.flag("defaultedOnCreate", false)
                && kind != Kind::Boolean,
            external: field.flag("externalId", false) || field.flag("idLookup", false),
            length: field
                .json
                .get("length")
                .and_then(Value::as_u64)
                .filter(|n| *n > 0)
                .and_then(|n| usize::try_from(n).ok()),
        };
        Some(field)
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.json.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Whether WHERE may use it.
    pub fn filterable(&self) -> bool {
        self.flag("filterable", true) && !matches!(self.kind, Kind::Compound | Kind::Opaque)
    }

    /// Whether ORDER BY may use it.
    pub fn sortable(&self) -> bool {
        self.flag("sortable", true) && !matches!(self.kind, Kind::Compound | Kind::Opaque)
    }

    /// Whether a create may set it. A describe without the key (the short recordings) allows it.
    pub fn createable(&self) -> bool {
        self.flag("createable", !self.is_system())
    }

    /// Whether an update may set it.
    pub fn updateable(&self) -> bool {
        self.flag("updateable", !self.is_system())
    }

    /// Whether null is a value.
    pub fn nillable(&self) -> bool {
        self.facts.nillable
    }

    /// Whether a create must name it.
    pub fn required(&self) -> bool {
        self.facts.required
    }

    /// Whether no two records may share a value.
    pub fn unique(&self) -> bool {
        self.flag("unique", false)
    }

    /// Whether a record can be named by it.
    pub fn external_id(&self) -> bool {
        self.facts.external
    }

    /// Only listed picklist values.
    pub fn restricted(&self) -> bool {
        self.flag("restrictedPicklist", false)
    }

    /// Label for messages.
    pub fn label(&self) -> &str {
        self.json.get("label").and_then(Value::as_str).unwrap_or(&self.name)
    }

    /// Greatest length in characters, if there is one.
    pub fn length(&self) -> Option<usize> {
        self.facts.length
    }

    /// Active picklist values.
    pub fn picklist(&self) -> impl Iterator<Item = &str> {
        let values = self.json.get("picklistValues").and_then(Value::as_array);
        values.into_iter().flatten().filter_map(|v| v.get("value")?.as_str())
    }

    /// Objects that a lookup points to.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let values = self.json.get("referenceTo").and_then(Value::as_array);
        values.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The name by which queries reach the parent.
    pub fn relationship(&self) -> Option<&str> {
        self.json.get("relationshipName").and_then(Value::as_str)
    }

    /// The compound field that this one is a part of.
    pub fn compound(&self) -> Option<&str> {
        self.json.get("compoundFieldName").and_then(Value::as_str)
    }

    /// Fields that the server alone writes.
    pub fn is_system(&self) -> bool {
        [
            "Id",
            "IsDeleted",
            "CreatedDate",
            "CreatedById",
            "LastModifiedDate",
            "LastModifiedById",
            "SystemModstamp",
        ]
        .contains(&self.name.as_str())
    }
}

/// Joins the parts of compound fields to them, by the describe's `compoundFieldName`.
pub fn link_compounds(fields: &mut [Field]) {
    let parts: Vec<(String, String)> = fields
        .iter()
        .filter(|f| !f.gone)
        .filter_map(|f| Some((f.compound()?.to_owned(), f.name.clone())))
        .collect();
    for field in fields.iter_mut().filter(|f| f.kind == Kind::Compound) {
        let stem = field.name.strip_suffix("Address").unwrap_or(&field.name).to_owned();
        let mut own: Vec<(String, String)> = parts
            .iter()
            .filter(|(compound, name)| *compound == field.name && *name != field.name)
            .map(|(_, name)| (part_key(name, &stem), name.clone()))
            .collect();
        // Recorded answers list the keys of an address by the alphabet.
        own.sort();
        field.source = Source::Parts(own);
    }
}

fn part_key(name: &str, stem: &str) -> String {
    let rest = name.strip_prefix(stem).filter(|r| !r.is_empty()).unwrap_or(name);
    let rest = rest.trim_end_matches("__s").rsplit("__").next().unwrap_or(rest);
    let mut chars = rest.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}
