//! The objects that can be made up, as a table: one field a line.
//!
//! A line is `Name type [option…]` with options `len=`, `prec=`, `scale=`, `ref=A|B`, `rel=`,
//! `vals=a|b` (spaces as `+`), `part=Compound`, `calc=FORMULA`, `req`, `auto`, `ro`, `ext`, `name`.
//! System fields are put around them.

use super::made::{FieldSpec, field_json, object_json};
use super::schema::{Source, link_compounds};
use super::table::Object;

const ADDRESS: &str = "
@Street textarea len=255 part=@Address
@City string len=40 part=@Address
@State string len=80 part=@Address
@PostalCode string len=20 part=@Address
@Country string len=80 part=@Address
@Latitude double prec=18 scale=15 part=@Address
@Longitude double prec=18 scale=15 part=@Address
@GeocodeAccuracy picklist len=40 vals=Address|Block|City|Unknown part=@Address
@Address address
";

const CUSTOM: &str = "
Notes__c textarea len=32000
Regions__c multipicklist len=4099 vals=North|South|East|West|Overseas+&+Islands
Contract_Start__c date
Last_Contacted__c datetime
Score__c double prec=16 scale=4
Discount__c percent prec=5 scale=2
Budget__c currency prec=18 scale=2
Rank__c double prec=18 scale=0
Verified__c boolean
Ext_Key__c string len=40 ext
Number__c string len=30 auto
Name_Length__c double prec=18 scale=0 calc=LEN(Name)
";

/// (object, key prefix, fields)
const OBJECTS: [(&str, &str, &str); 10] = [
    ("Account", "001", "
MasterRecordId reference ref=Account rel=MasterRecord ro
Name string len=255 req name
Type picklist len=40 vals=Prospect|Customer+-+Direct|Customer+-+Channel|Technology+Partner|Other
ParentId reference ref=Account rel=Parent
*Billing
Phone phone len=40
Fax phone len=40
AccountNumber string len=40
Website url len=255
Industry picklist len=40 vals=Agriculture|Banking|Biotechnology|Energy|Media
AnnualRevenue currency prec=18 scale=0
NumberOfEmployees int len=8
Description textarea len=32000
Rating picklist len=40 vals=Hot|Warm|Cold
Tax_Id__c encryptedstring len=80
+"),
    ("Contact", "003", "
MasterRecordId reference ref=Contact rel=MasterRecord ro
AccountId reference ref=Account rel=Account
LastName string len=80 req
FirstName string len=40
Salutation picklist len=40 vals=Mr.|Ms.|Dr.|Prof.
Name string len=121 ro name
*Mailing
Phone phone len=40
MobilePhone phone len=40
ReportsToId reference ref=Contact rel=ReportsTo
Email email len=80
Title string len=128
Department string len=80
LeadSource picklist len=40 vals=Web|Phone+Inquiry|Partner+Referral|Other
Birthdate date
Description textarea len=32000
HasOptedOutOfEmail boolean
Account_Name__c string len=1300 calc=Account.Name
+"),
    ("Lead", "00Q", "
MasterRecordId reference ref=Lead rel=MasterRecord ro
LastName string len=80 req
FirstName string len=40
Salutation picklist len=40 vals=Mr.|Ms.|Dr.|Prof.
Name string len=121 ro name
Title string len=128
Company string len=255 req
*-
Phone phone len=40
Email email len=80
Website url len=255
Description textarea len=32000
LeadSource picklist len=40 vals=Web|Phone+Inquiry|Partner+Referral|Other
Status picklist len=40 vals=Open+-+Not+Contacted|Working+-+Contacted|Closed+-+Converted
Industry picklist len=40 vals=Agriculture|Banking|Biotechnology|Energy|Media
AnnualRevenue currency prec=18 scale=0
NumberOfEmployees int len=8
IsConverted boolean ro
ConvertedDate date ro
+"),
    ("Opportunity", "006", "
AccountId reference ref=Account rel=Account
Name string len=120 req name
Description textarea len=32000
StageName picklist len=40 vals=Prospecting|Qualification|Proposal/Price+Quote|Closed+Won|Closed+Lost req
Amount currency prec=18 scale=2
Probability percent prec=3 scale=0
ExpectedRevenue currency prec=18 scale=2 ro
TotalOpportunityQuantity double prec=18 scale=2
CloseDate date req
Type picklist len=40 vals=New+Business|Existing+Business
NextStep string len=255
LeadSource picklist len=40 vals=Web|Phone+Inquiry|Partner+Referral|Other
IsClosed boolean ro
IsWon boolean ro
CampaignId reference ref=Campaign rel=Campaign
ContactId reference ref=Contact rel=Contact
FiscalYear int len=9 ro
Account_Name__c string len=1300 calc=Account.Name
+"),
    ("Case", "500", "
CaseNumber string len=30 auto name
ContactId reference ref=Contact rel=Contact
AccountId reference ref=Account rel=Account
ParentId reference ref=Case rel=Parent
SuppliedName string len=80
SuppliedEmail email len=80
SuppliedPhone string len=40
Type picklist len=40 vals=Mechanical|Electrical|Electronic|Other
Status picklist len=40 vals=New|Working|Escalated|Closed
Reason picklist len=40 vals=Installation|Breakdown|Other
Origin picklist len=40 vals=Phone|Email|Web
Subject string len=255
Priority picklist len=40 vals=High|Medium|Low
Description textarea len=32000
IsClosed boolean ro
ClosedDate datetime ro
IsEscalated boolean
Account_Name__c string len=1300 calc=Account.Name
Case_Cost__c currency prec=18 scale=2
Case_Notes__c textarea len=32000
Regions__c multipicklist len=4099 vals=North|South|East|West
Due__c date
Effort__c double prec=10 scale=3
"),
    ("Task", "00T", "
WhoId reference ref=Contact|Lead rel=Who
WhatId reference ref=Account|Opportunity|Case rel=What
Subject combobox len=255 vals=Call|Email|Send+Letter|Other
ActivityDate date
Status picklist len=40 vals=Not+Started|In+Progress|Completed
Priority picklist len=40 vals=High|Normal|Low
IsHighPriority boolean ro
AccountId reference ref=Account rel=Account ro
Description textarea len=32000
IsClosed boolean ro
IsArchived boolean ro
CallDurationInSeconds int len=8
CallDisposition string len=255
ReminderDateTime datetime
IsReminderSet boolean
Cost__c currency prec=18 scale=2
Effort__c double prec=10 scale=3
Tags__c multipicklist len=4099 vals=Red|Green|Blue
Account_Name__c string len=1300 calc=Account.Name
Link__c url len=255
"),
    ("Campaign", "701", "
Name string len=80 req name
ParentId reference ref=Campaign rel=Parent
Type picklist len=40 vals=Conference|Webinar|Email|Other
Status picklist len=255 vals=Planned|In+Progress|Completed|Aborted
StartDate date
EndDate date
ExpectedRevenue currency prec=18 scale=0
BudgetedCost currency prec=18 scale=0
ActualCost currency prec=18 scale=0
ExpectedResponse percent prec=10 scale=2
NumberSent double prec=18 scale=0
IsActive boolean
Description textarea len=32000
+"),
    ("Product2", "01t", "
Name string len=255 req name
ProductCode string len=255
Description textarea len=4000
IsActive boolean
Family picklist len=40 vals=Hardware|Software|None
ExternalId string len=255
DisplayUrl url len=1000
QuantityUnitOfMeasure picklist len=40 vals=Each|Box|Kilogram
StockKeepingUnit string len=180
+"),
    ("User", "005", "
Username string len=80 req
LastName string len=80 req
FirstName string len=40
Name string len=121 ro name
Email email len=128
IsActive boolean
UserType picklist len=40 vals=Standard|PowerPartner
"),
// For measurements: 30 fields of every type, about 435 bytes of CSV a record, nothing very long.
("Bench__c", "aZZ", "
Name string len=80 req name
Ext_Key__c string len=40 ext
Number__c string len=30 auto
Account__c reference ref=Account rel=Account__r
Category__c picklist len=255 vals=Hardware|Software|Services|Training+and+Support
Status__c picklist len=255 vals=Open|Working|Closed
Regions__c multipicklist len=4099 vals=North|South|East|West
Amount__c currency prec=18 scale=2
Budget__c currency prec=18 scale=2
Score__c double prec=16 scale=4
Discount__c percent prec=5 scale=2
Quantity__c int len=9
Rank__c double prec=18 scale=0
Verified__c boolean
Archived__c boolean
Start__c date
End__c date
Last_Contacted__c datetime
Email__c email len=80
Phone__c phone len=40
Website__c url len=255
Description__c textarea len=255
"),
];

const GENERIC: &str = "
Name string len=80 name
Description__c textarea len=32000
Category__c picklist len=255 vals=A|B|C
Amount__c currency prec=18 scale=2
Quantity__c int len=9
Contact_Email__c email len=80
Contact_Phone__c phone len=40
Link__c url len=255
Account__c reference ref=Account rel=Account__r
Parent__c reference ref=@ rel=Parent__r
+";

/// Key prefix of the nth custom object: a00, a01, …
fn custom_prefix(n: usize) -> String {
    let place = |n: usize| char::from_digit((n % 36) as u32, 36).unwrap_or('0');
    format!("a{}{}", place(n / 36), place(n))
}

/// An empty object by name; `n` tells custom ones apart. Names outside the table get the generic
/// fields.
pub fn object(name: &str, n: usize) -> Option<Object> {
    let known = OBJECTS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    let (name, prefix, table) = match known {
        Some((name, prefix, table)) => (*name, (*prefix).to_owned(), *table),
        None => (name, custom_prefix(n), GENERIC),
    };
    let mut text = "Id id ro\nIsDeleted boolean ro\n".to_owned();
    for line in table.lines() {
        match (line.trim(), line.strip_prefix('*')) {
            ("+", _) => text.push_str(CUSTOM),
            (_, Some(stem)) => text.push_str(&ADDRESS.replace('@', stem.trim_matches('-'))),
            (line, None) => text.push_str(line),
        }
        text.push('\n');
    }
    if name != "User" && name != "Product2" {
        text.push_str("OwnerId reference ref=User rel=Owner\n");
    }
    text.push_str(
        "CreatedDate datetime ro\nCreatedById reference ref=User rel=CreatedBy ro\n\
         LastModifiedDate datetime ro\nLastModifiedById reference ref=User rel=LastModifiedBy ro\nSystemModstamp datetime ro\n",
    );
    let mut object = Object::from_describe({
        let mut json = object_json(name, Some(&prefix), false);
        json.insert("fields".to_owned(), serde_json::Value::Array(Vec::new()));
        json
    })?;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        push_line(&mut object, line, name);
    }
    link_compounds(&mut object.fields);
    Some(object)
}

fn push_line(object: &mut Object, line: &str, own_name: &str) {
    let line = line.replace("ref=@", &format!("ref={own_name}"));
    let mut words = line.split_whitespace();
    let (Some(name), Some(ty)) = (words.next(), words.next()) else { return };
    let mut spec = FieldSpec { name, ty, ..FieldSpec::default() };
    let mut values: Vec<String> = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = value.parse().unwrap_or(0);
        match key {
            "len" => spec.length = number,
            "prec" => spec.precision = number,
            "scale" => spec.scale = number,
            "ref" => spec.targets = value.split('|').collect(),
            "rel" => spec.relationship = Some(value),
            "vals" => values = value.split('|').map(|v| v.replace('+', " ")).collect(),
            "part" => spec.part_of = Some(value),
            "calc" => spec.formula = Some(value),
            "req" => spec.required = true,
            "auto" => spec.auto_number = true,
            "ro" => spec.read_only = true,
            "ext" => spec.external_id = true,
            "name" => spec.name_field = true,
            _ => {}
        }
    }
    spec.values = values.iter().map(String::as_str).collect();
    let mut json = field_json(&spec);
    // What the server writes only at times may well be empty.
    if spec.read_only
        && matches!(
            name,
            "MasterRecordId"
                | "ConvertedDate"
                | "ClosedDate"
                | "ExpectedRevenue"
                | "AccountId"
                | "FiscalYear"
        )
    {
        json.insert("nillable".to_owned(), true.into());
        json.insert("defaultedOnCreate".to_owned(), false.into());
    }
    let at = object.push_field(json);
    let source = match spec.formula {
        Some(formula) if formula.starts_with("LEN(") => Source::Length("Name".to_owned()),
        Some(formula) => match formula.split_once('.') {
            Some((parent, field)) => Source::Parent(format!("{parent}Id"), field.to_owned()),
            None => return,
        },
        None => return,
    };
    if let Some(field) = at.and_then(|at| object.fields.get_mut(at)) {
        field.source = source;
    }
}
