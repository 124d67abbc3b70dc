//! Describes of objects and fields that are made here, with the keys of the recorded ones.

use serde_json::{Map, Value, json};

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
