//! What an admin of a given system should know about a cause, beyond the general text.
//!
//! The only place of the mails with vendors' words. Source: the providers' own help pages, as
//! collected for their error texts; wordings of menus are those of 2026.

use super::Condition;
use crmsync_core::domain::{Problem, Reason};

/// Further sentences on the cause, and where to click, if there is something to say.
pub(super) fn note(provider: &str, what: &Condition) -> Option<&'static str> {
    match (provider, what) {
        ("salesforce", Condition::NeedsAuthorization(reason)) => salesforce(reason),
        ("salesforce", Condition::Problem(Problem::AddressNotAllowed { .. })) => Some(
            "Salesforce checks login hours and login IP ranges of the user's profile (Setup > \
             Profiles > Login Hours, Login IP Ranges), and the IP policy of the app. crmsync tries \
             again every hour, as hours may open by themselves.",
        ),
        ("salesforce", Condition::Problem(Problem::OrgSuspended { .. })) => Some(
            "Salesforce says that the organization is locked, closed or has expired. Only its \
             owner can settle that with Salesforce.",
        ),
        ("tryton", Condition::NeedsAuthorization(reason)) => tryton(reason),
        _ => None,
    }
}

fn salesforce(reason: &Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::GrantRevoked | Reason::GrantExpired => {
            "Salesforce gives the same answer in several cases: somebody pressed Revoke or Block \
             (Setup > Connected Apps OAuth Usage), the app's refresh token policy ended the grant, \
             the app was deleted, or the same user authorized the same app elsewhere: Salesforce \
             keeps five grants per user and app, and the sixth ends the oldest. If crmsync runs in \
             more than one place, give each place an app or a user of its own."
        }
        Reason::UserDeactivated => {
            "Look at Setup > Users > Users. A frozen or deactivated user cannot be used; a user \
             made for integrations does not leave with a person."
        }
        Reason::AppBlocked => {
            "Setup > Connected Apps OAuth Usage: choose Install (or Unblock) beside the app; for an \
             external client app: Setup > External Client App Manager. Since September 2025 only \
             users with the permission Approve Uninstalled Connected Apps can authorize an app \
             that is not installed."
        }
        Reason::PermissionsMissing { .. } => {
            "They are switched on in a permission set of the connected user: Setup > Permission \
             Sets > System Permissions or Object Settings, then Manage Assignments."
        }
        Reason::ClientSecretExpired => {
            "The current one is shown at Setup > App Manager > the app > Manage Consumer Details."
        }
        Reason::NeverAuthorized
        | Reason::GrantLostWhileRotating
        | Reason::CredentialsChanged
        | Reason::WrongOrg { .. }
        | Reason::WrongAccount { .. }
        | Reason::DisconnectedByAdmin => return None,
    })
}

fn tryton(reason: &Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::CredentialsChanged => {
            "Tryton does not tell a wrong password from a user that is gone: look at \
             Administration > Users > Users that the user exists and is active."
        }
        Reason::UserDeactivated => "Look at Administration > Users > Users, field Active.",
        Reason::PermissionsMissing { .. } => {
            "Access rights are given to groups: Administration > Users > Groups, tab Access \
             Permissions; then add the user to the group."
        }
        Reason::NeverAuthorized
        | Reason::GrantRevoked
        | Reason::GrantExpired
        | Reason::GrantLostWhileRotating
        | Reason::AppBlocked
        | Reason::WrongOrg { .. }
        | Reason::WrongAccount { .. }
        | Reason::DisconnectedByAdmin
        | Reason::ClientSecretExpired => return None,
    })
}
