//! The rows an org has about itself: users, the organization, profiles, permissions. They follow
//! from the sandbox's users and are put into the data anew whenever a user changes, so that every
//! query of the dossier's section 8 runs through the same engine as all others.

use serde_json::{Map, Value, json};

use crate::clock::rest_datetime;
use crate::sandbox::Sandbox;
use crate::users::{PERMISSIONS, User};

const USER: &[(&str, &str)] = &[
    ("Username", "string"),
    ("FirstName", "string"),
    ("LastName", "string"),
    ("Name", "string"),
    ("Email", "email"),
    ("Alias", "string"),
    ("IsActive", "boolean"),
    ("ProfileId", "reference"),
    ("UserRoleId", "reference"),
    ("UserType", "picklist"),
    ("LastPasswordChangeDate", "datetime"),
    ("TimeZoneSidKey", "string"),
    ("LocaleSidKey", "string"),
    ("LanguageLocaleKey", "string"),
];
const ORGANIZATION: &[(&str, &str)] = &[
    ("Name", "string"),
    ("Country", "string"),
    ("OrganizationType", "picklist"),
    ("InstanceName", "string"),
    ("IsSandbox", "boolean"),
    ("IsReadOnly", "boolean"),
    ("NamespacePrefix", "string"),
    ("TrialExpirationDate", "datetime"),
    ("LanguageLocaleKey", "string"),
    ("DefaultLocaleSidKey", "string"),
    ("TimeZoneSidKey", "string"),
];
const NAMED: &[(&str, &str)] = &[("Name", "string")];
const ASSIGNMENT: &[(&str, &str)] =
    &[("AssigneeId", "reference"), ("PermissionSetId", "reference")];
const LOGIN: &[(&str, &str)] =
    &[("UserId", "reference"), ("IsFrozen", "boolean"), ("IsPasswordLocked", "boolean")];

const OBJECT_PERMISSIONS: &[(&str, &str)] = &[
    ("ParentId", "reference"),
    ("SobjectType", "string"),
    ("PermissionsRead", "boolean"),
    ("PermissionsCreate", "boolean"),
    ("PermissionsEdit", "boolean"),
    ("PermissionsDelete", "boolean"),
    ("PermissionsViewAllRecords", "boolean"),
];

/// The same text with the letters of the id's check suffix where it has 15 characters.
fn id(text: &str) -> String {
    crate::data::Id::parse(text).map_or_else(|| text.to_owned(), |id| id.to_string())
}

/// `n`th row of a table of made-up ids.
fn row_id(prefix: &str, user: &User) -> String {
    let number = user.id.get(3..15).unwrap_or("000000000000");
    id(&format!("{prefix}{number}"))
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn permission_fields() -> Vec<(&'static str, &'static str)> {
    PERMISSIONS.iter().map(|name| (*name, "boolean")).collect()
}

/// The one row of `UserPermissionAccess` that this user sees.
pub(crate) fn own_permissions(user: &User) -> Map<String, Value> {
    PERMISSIONS
        .iter()
        .map(|name| ((*name).to_owned(), json!(user.may(name))))
        .chain([(String::from("Id"), json!(id("000000000000000")))])
        .collect()
}

/// Puts all of them into the data.
pub(crate) fn put(sandbox: &Sandbox) {
    let (users, org_id) = {
        let world = sandbox.world();
        let users: Vec<User> = world.users.all().cloned().collect();
        (users, world.org_id.clone())
    };
    let now = sandbox.now();
    let each = |row: &dyn Fn(&User) -> Value| -> Vec<Map<String, Value>> {
        users.iter().map(|user| object(&row(user))).collect()
    };
    let mut sets = vec![
        ("Name", "string"),
        ("Label", "string"),
        ("IsOwnedByProfile", "boolean"),
        ("ProfileId", "reference"),
    ];
    sets.extend(permission_fields());
    let mut profile = NAMED.to_vec();
    profile.extend(permission_fields());

    let mut org = sandbox.org_mut();
    let rows = each(&|user| {
        json!({
            "Id": user.id, "Username": user.username, "Name": user.name(), "FirstName": user.first_name,
            "LastName": user.last_name, "Email": user.username, "Alias": user.first_name.to_lowercase(),
            "IsActive": user.active, "ProfileId": user.profile_id, "UserRoleId": user.role_id,
            "UserType": "Standard", "LastPasswordChangeDate": rest_datetime(user.password_changed),
            "TimeZoneSidKey": "America/Los_Angeles", "LocaleSidKey": "en_US", "LanguageLocaleKey": "en_US",
        })
    });
    org.put_system_rows("User", "005", USER, &rows, now);
    let organization = json!({
        "Id": org_id, "Name": "Sandbox Trading", "Country": "US", "OrganizationType": "Developer Edition",
        "InstanceName": "CS1", "IsSandbox": false, "IsReadOnly": false, "LanguageLocaleKey": "en_US",
        "DefaultLocaleSidKey": "en_US", "TimeZoneSidKey": "America/Los_Angeles",
    });
    org.put_system_rows("Organization", "00D", ORGANIZATION, &[object(&organization)], now);
    let mut profiles = each(&|user| {
        let mut row = json!({"Id": user.profile_id, "Name": user.profile_name});
        for name in PERMISSIONS {
            row[name] = json!(user.may(name));
        }
        row
    });
    profiles.dedup_by(|a, b| a.get("Id") == b.get("Id"));
    org.put_system_rows("Profile", "00e", &profile, &profiles, now);
    let rows = each(&|user| json!({"Id": user.role_id, "Name": "Sync"}));
    org.put_system_rows("UserRole", "00E", NAMED, &rows, now);
    let rows = each(
        &|user| json!({"Id": row_id("0Yw", user), "UserId": user.id, "IsFrozen": user.frozen, "IsPasswordLocked": false}),
    );
    org.put_system_rows("UserLogin", "0Yw", LOGIN, &rows, now);
    let rows = each(&|user| {
        let mut row = json!({
            "Id": row_id("0PS", user), "Name": format!("X{}", user.profile_id), "Label": user.profile_name,
            "IsOwnedByProfile": true, "ProfileId": user.profile_id,
        });
        for name in PERMISSIONS {
            row[name] = json!(user.may(name));
        }
        row
    });
    org.put_system_rows("PermissionSet", "0PS", &sets, &rows, now);
    let rows = each(
        &|user| json!({"Id": row_id("0Pa", user), "AssigneeId": user.id, "PermissionSetId": row_id("0PS", user)}),
    );
    org.put_system_rows("PermissionSetAssignment", "0Pa", ASSIGNMENT, &rows, now);
    let objects = org.object_names();
    let mut rows = Vec::new();
    for user in &users {
        for (n, name) in objects.iter().enumerate() {
            let own = user.id.get(10..15).unwrap_or("00000");
            let seen = !user.hidden_objects.contains(&name.to_lowercase());
            rows.push(object(&json!({
                "Id": id(&format!("110{n:07}{own}")), "ParentId": row_id("0PS", user),
                "SobjectType": name, "PermissionsRead": seen, "PermissionsCreate": seen,
                "PermissionsEdit": seen, "PermissionsDelete": seen,
                "PermissionsViewAllRecords": seen && user.may("PermissionsViewAllData"),
            })));
        }
    }
    org.put_system_rows("ObjectPermissions", "110", OBJECT_PERMISSIONS, &rows, now);
    org.put_system_rows("UserPermissionAccess", "000", &permission_fields(), &[], now);
}
