//! What an object and its fields are: read from a describe, recorded or made here.
//!
//! A describe is kept as JSON and served as it is; beside it stands what the rest of the sandbox
//! asks often. A field never leaves its place in the list: removed ones are marked `gone`, so that
//! a query that is half read does not go astray.

use serde_json::{Map, Value, json};

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
        Some(Self { name, ty, kind, source, json, gone: false })
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
        self.flag("nillable", true)
    }

    /// Whether a create must name it.
    pub fn required(&self) -> bool {
        !self.nillable()
            && self.flag("createable", false)
            && !self.flag("defaultedOnCreate", false)
            && self.kind != Kind::Boolean
    }

    /// Whether no two records may share a value.
    pub fn unique(&self) -> bool {
        self.flag("unique", false)
    }

    /// Whether a record can be named by it.
    pub fn external_id(&self) -> bool {
        self.flag("externalId", false) || self.flag("idLookup", false)
    }

    /// Formula or roll-up.
    pub fn calculated(&self) -> bool {
        self.flag("calculated", false)
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
        let n = self.json.get("length").and_then(Value::as_u64).filter(|n| *n > 0)?;
        usize::try_from(n).ok()
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

/// What a field made here is given; the rest of its keys follows from the type.
#[derive(Clone, Debug, Default)]
pub struct FieldSpec<'a> {
    /// API name.
    pub name: &'a str,
    /// Vendor's type name.
    pub ty: &'a str,
    /// Length in characters, or digits of an int.
    pub length: u32,
    /// Digits before and after the point together.
    pub precision: u32,
    /// Digits after the point.
    pub scale: u32,
    /// Objects that a lookup points to.
    pub targets: Vec<&'a str>,
    /// Its relationship name.
    pub relationship: Option<&'a str>,
    /// Picklist values.
    pub values: Vec<&'a str>,
    /// Compound field that this one is a part of.
    pub part_of: Option<&'a str>,
    /// Formula text.
    pub formula: Option<&'a str>,
    /// Must be given.
    pub required: bool,
    /// Numbered by the server.
    pub auto_number: bool,
    /// Only the server writes it.
    pub read_only: bool,
    /// External id.
    pub external_id: bool,
    /// The record's name.
    pub name_field: bool,
}

/// The describe entry of a field made here: the 57 keys of the recorded ones.
pub fn field_json(spec: &FieldSpec<'_>) -> Map<String, Value> {
    let ty = spec.ty;
    let text = matches!(
        ty,
        "string"
            | "textarea"
            | "picklist"
            | "multipicklist"
            | "combobox"
            | "email"
            | "phone"
            | "url"
            | "encryptedstring"
    );
    let number = matches!(ty, "double" | "currency" | "percent");
    let id = matches!(ty, "id" | "reference");
    let length = if id { 18 } else { spec.length };
    let long = ty == "textarea" && length > 255 || matches!(ty, "address" | "location" | "base64");
    let soap = match ty {
        "id" | "reference" => "tns:ID",
        "boolean" => "xsd:boolean",
        "int" => "xsd:int",
        "double" | "currency" | "percent" => "xsd:double",
        "date" => "xsd:date",
        "datetime" => "xsd:dateTime",
        "address" => "urn:address",
        "base64" => "xsd:base64Binary",
        _ => "xsd:string",
    };
    let system = spec.read_only
        || spec.formula.is_some()
        || spec.auto_number
        || ty == "address"
        || ty == "id";
    let custom = spec.name.ends_with("__c");
    let picklist: Vec<Value> = spec
        .values
        .iter()
        .map(|v| json!({"active": true, "defaultValue": false, "label": v, "validFor": null, "value": v}))
        .collect();
    let defaulted = spec.auto_number
        || (spec.read_only && !matches!(ty, "address"))
        || ty == "boolean"
        || spec.name == "OwnerId";
    // Two halves: the macro's depth is limited, and the recorded order is that of the alphabet.
    let first = json!({
        "aggregatable": !matches!(ty, "boolean" | "address" | "multipicklist") && !long,
        "aiPredictionField": false,
        "autoNumber": spec.auto_number,
        "byteLength": if id { 18 } else if text { length * 3 } else { 0 },
        "calculated": spec.formula.is_some(),
        "calculatedFormula": spec.formula,
        "cascadeDelete": false,
        "caseSensitive": false,
        "compoundFieldName": spec.part_of,
        "controllerName": null,
        "createable": !system,
        "custom": custom,
        "defaultValue": if ty == "boolean" { json!(false) } else { Value::Null },
        "defaultValueFormula": null,
        "defaultedOnCreate": defaulted,
        "dependentPicklist": false,
        "deprecatedAndHidden": false,
        "digits": if ty == "int" { spec.length.max(8) } else { 0 },
        "displayLocationInDecimal": false,
        "encrypted": ty == "encryptedstring",
        "externalId": spec.external_id,
        "extraTypeInfo": if ty == "textarea" { json!("plaintextarea") } else { Value::Null },
        "filterable": !long && ty != "encryptedstring",
        "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "groupable": !long && !number && !matches!(ty, "multipicklist" | "datetime" | "encryptedstring"),
        "highScaleNumber": false,
        "htmlFormatted": false,
        "idLookup": ty == "id" || spec.external_id || ty == "email",
        "inlineHelpText": null,
    });
    let second = json!({
        "label": spec.name.trim_end_matches("__c").replace('_', " "),
        "length": if ty == "int" { 0 } else { length },
        "mask": if ty == "encryptedstring" { json!("*") } else { Value::Null },
        "maskType": if ty == "encryptedstring" { json!("all") } else { Value::Null },
        "name": spec.name,
        "nameField": spec.name_field,
        "namePointing": spec.targets.len() > 1,
        "nillable": !(spec.required || ty == "boolean" || ty == "id" || defaulted),
        "permissionable": !system && !spec.required,
        "picklistValues": picklist,
        "polymorphicForeignKey": spec.targets.len() > 1,
        "precision": spec.precision,
        "queryByDistance": ty == "address",
        "referenceTargetField": null,
        "referenceTo": spec.targets,
        "relationshipName": spec.relationship,
        "relationshipOrder": null,
        "restrictedDelete": false,
        "restrictedPicklist": false,
        "scale": spec.scale,
        "searchPrefilterable": false,
        "soapType": soap,
        "sortable": !long && !matches!(ty, "multipicklist" | "encryptedstring"),
        "type": ty,
        "unique": spec.external_id,
        "updateable": !system,
        "writeRequiresMasterRead": false,
    });
    joined(first, second)
}

/// The describe of an object made here, less its fields.
pub fn object_json(name: &str, prefix: Option<&str>, custom_setting: bool) -> Map<String, Value> {
    let base = format!("/services/data/v64.0/sobjects/{name}");
    let label = name.trim_end_matches("__c").replace('_', " ");
    let custom = name.ends_with("__c");
    let first = json!({
        "actionOverrides": [], "activateable": false, "associateEntityType": null, "associateParentEntity": null,
        "childRelationships": [], "compactLayoutable": true, "createable": true, "custom": custom,
        "customSetting": custom_setting, "deepCloneable": false, "defaultImplementation": null, "deletable": true,
        "deprecatedAndHidden": false, "extendedBy": null, "extendsInterfaces": null, "feedEnabled": true,
        "hasSubtypes": false, "implementedBy": null, "implementsInterfaces": null, "isInterface": false,
    });
    let second = json!({
        "isSubtype": false, "keyPrefix": prefix, "label": label, "labelPlural": format!("{label}s"),
        "layoutable": true, "listviewable": null, "lookupLayoutable": null, "mergeable": false, "mruEnabled": true,
        "name": name, "namedLayoutInfos": [], "networkScopeFieldName": null, "queryable": true,
        "recordTypeInfos": [], "replicateable": true, "retrieveable": true, "searchLayoutable": true,
        "searchable": true, "sobjectDescribeOption": "FULL",
        "supportedScopes": [{"label": "All", "name": "everything"}], "triggerable": true, "undeletable": true,
        "updateable": true,
        "urls": {
            "compactLayouts": format!("{base}/describe/compactLayouts"), "rowTemplate": format!("{base}/{{ID}}"),
            "describe": format!("{base}/describe"), "layouts": format!("{base}/describe/layouts"), "sobject": base,
        },
    });
    joined(first, second)
}

fn joined(first: Value, second: Value) -> Map<String, Value> {
    let mut map = Map::new();
    for half in [first, second] {
        if let Value::Object(half) = half {
            map.extend(half);
        }
    }
    map
}
