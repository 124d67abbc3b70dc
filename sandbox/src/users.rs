//! The users of the org, what each may do and what each may see.
//!
//! Two are there from the start: ada, an administrator who sees everything, and bob, who has the
//! API but neither View Setup, View All Users nor View All Data, and sees four records in five.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::data::Access;

/// Permissions that can be switched, by the name of their column in `UserPermissionAccess`.
pub(crate) const PERMISSIONS: [&str; 4] = [
    "PermissionsApiEnabled",
    "PermissionsViewSetup",
    "PermissionsViewAllUsers",
    "PermissionsViewAllData",
];

/// The password both users start with.
pub(crate) const PASSWORD: &str = "Sandbox-2026";

/// One user.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) username: String,
    #[serde(skip)]
    pub(crate) password: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) active: bool,
    pub(crate) frozen: bool,
    pub(crate) permissions: BTreeSet<&'static str>,
    pub(crate) hidden_objects: BTreeSet<String>,
    pub(crate) hidden_fields: BTreeSet<(String, String)>,
    pub(crate) hidden_percent: u8,
    pub(crate) profile_id: String,
    pub(crate) profile_name: String,
    pub(crate) role_id: String,
    pub(crate) password_changed: Timestamp,
    /// When what this user may see last changed; a describe newer than this may answer 304.
    #[serde(skip)]
    pub(crate) sight_changed: Timestamp,
}

impl User {
    pub(crate) fn may(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }

    /// What this user sees of the data.
    pub(crate) fn access(&self) -> Access {
        Access {
            hidden_objects: self.hidden_objects.clone(),
            hidden_fields: self.hidden_fields.clone(),
            hidden_percent: self.hidden_percent,
            view_all: self.may("PermissionsViewAllData"),
            own_rows: [(
                String::from("UserPermissionAccess"),
                crate::rest::system_rows::own_permissions(self),
            )]
            .into(),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

/// The users by lower-cased name.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: BTreeMap<String, User>,
}

impl Users {
    pub(crate) fn new(now: Timestamp) -> Users {
        let user = |n: u8, name: &str, last: &str, permissions: &[&'static str]| User {
            id: format!("00500000000000{n}AAA"),
            username: format!("{name}@example.com"),
            password: PASSWORD.to_owned(),
            first_name: format!("{}{}", name[..1].to_uppercase(), &name[1..]),
            last_name: last.to_owned(),
            active: true,
            frozen: false,
            permissions: permissions.iter().copied().collect(),
            hidden_objects: BTreeSet::new(),
            hidden_fields: BTreeSet::new(),
            hidden_percent: 0,
            profile_id: format!("00e00000000000{n}AAA"),
            profile_name: String::from("System Administrator"),
            role_id: format!("00E00000000000{n}EAA"),
            password_changed: now,
            sight_changed: now,
        };
        let ada = user(1, "ada", "Admin", &PERMISSIONS);
        let mut bob = user(2, "bob", "Lesser", &PERMISSIONS[..1]);
        bob.hidden_percent = 20;
        bob.profile_name = String::from("Standard User");
        Users {
            by_name: [ada, bob].into_iter().map(|user| (user.username.clone(), user)).collect(),
        }
    }

    /// By user name (`ada` is enough for `ada@example.com`) or by id, 15 or 18 characters.
    pub(crate) fn get(&self, name: &str) -> Option<&User> {
        let lower = name.to_ascii_lowercase();
        self.by_name
            .get(&lower)
            .or_else(|| self.by_name.get(&format!("{lower}@example.com")))
            .or_else(|| self.all().find(|user| same_id(&user.id, name)))
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut User> {
        let key = self.get(name)?.username.clone();
        self.by_name.get_mut(&key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &User> {
        self.by_name.values()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut User> {
        self.by_name.values_mut()
    }
}

/// Whether two ids, of 15 or 18 characters, name the same record.
pub(crate) fn same_id(left: &str, right: &str) -> bool {
    let head = |id: &str| id.get(..15).map(str::to_owned);
    (left.len() == 15 || left.len() == 18)
        && (right.len() == 15 || right.len() == 18)
        && head(left).is_some()
        && head(left) == head(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_either_form_of_id() {
        let users = Users::new(Timestamp::UNIX_EPOCH);
        let ada = users.get("ADA@example.com").unwrap();
        assert_eq!(ada.id.len(), 18);
        assert_eq!(users.get("ada").unwrap().id, ada.id);
        assert_eq!(users.get(&ada.id[..15]).unwrap().id, ada.id);
        assert!(users.get("eve").is_none());
        assert!(!users.get("bob").unwrap().may("PermissionsViewSetup"));
    }
}
