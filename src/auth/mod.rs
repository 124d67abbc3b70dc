//! Grants: how a connection gets what opens its data calls, and gives it back.
//!
//! Hides OAuth 2 (crate `oauth2`) over our one HTTP client, and tells apart what a refresh's
//! failure means for the stored token. Invariants: one request per attempt, never repeated here;
//! no body, code, verifier or token in any text; nothing is stored here: the caller commits.

mod grant;
#[cfg(test)]
mod live_tests;
mod redirect;

pub use grant::{
    App, Attempt, GrantError, Granted, begin, client_credentials, exchange, refresh, revoke,
};
pub use redirect::{RedirectError, code_from_redirect};

use crate::provider::{Provider, Session};
use crmsync_core::domain::Fault;
use secrecy::SecretString;

/// Logs in with user name and password: one attempt, never repeated, for a second wrong one may
/// lock the account.
pub async fn log_in(
    provider: &dyn Provider,
    username: &str,
    password: &SecretString,
) -> Result<Session, Fault> {
    provider.log_in(username, password).await
}
