//! The address that the provider sent the admin's browser to: pasted, or seen by the listener.

use super::Attempt;
use crate::provider::Provider;
use crate::provider::http::excerpt;
use crmsync_core::domain::Fault;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;
use url::Url;

/// Longer is no redirect.
const LONGEST: usize = 16_384;

/// Why a redirect brings no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Not an address, or not one with a code.
    #[error(
        "{what}; hint: paste the whole address that the browser ended at, it holds code= and state="
    )]
    Form {
        /// What is wrong.
        what: &'static str,
    },
    /// Of another attempt, or forged.
    #[error(
        "the redirect belongs to another attempt (state differs); hint: begin again, and use the newest link"
    )]
    State,
    /// RFC 9207: another server answered.
    #[error("the redirect comes from another server ({found}) than the one that was asked")]
    Issuer {
        /// What `iss` says.
        found: String,
    },
    /// The provider or the person said no.
    #[error("{0}")]
    Refused(Fault),
}

/// The code in a redirected address (or its query alone). State, and issuer where told, are
/// compared first, so a stranger's error cannot end our attempt. Decoded once: codes of some
/// providers end in `==`, sent as `%3D%3D`.
pub fn code_from_redirect(
    provider: &dyn Provider,
    attempt: &Attempt,
    text: &str,
) -> Result<SecretString, RedirectError> {
    let text = text.trim().trim_matches(['"', '\'', '<', '>']);
    if text.len() > LONGEST {
        return Err(RedirectError::Form { what: "the text is too long" });
    }
    let query = if let Ok(url) = Url::parse(text) {
        url.query().map(str::to_owned)
    } else {
        let query = text.split_once('?').map_or(text, |(_, query)| query);
        Some(query.split('#').next().unwrap_or(query).to_owned())
    };
    let query = query.ok_or(RedirectError::Form { what: "the address has no parameters" })?;
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if words.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(RedirectError::Form { what: "a parameter stands twice" });
        }
    }
    let state =
        words.get("state").ok_or(RedirectError::Form { what: "there is no state in it" })?;
    let same: bool = state.as_bytes().ct_eq(attempt.state.expose_secret().as_bytes()).into();
    if !same {
        return Err(RedirectError::State);
    }
    if let Some(issuer) = words.get("iss") {
        let asked = attempt.authorize_url.origin();
        if !Url::parse(issuer).is_ok_and(|url| url.origin() == asked) {
            return Err(RedirectError::Issuer { found: excerpt(issuer) });
        }
    }
    if let Some(error) = words.get("error") {
        let description = words.get("error_description").map_or("", String::as_str);
        return Err(RedirectError::Refused(provider.token_fault(400, error, description)));
    }
    let code = words.remove("code").filter(|code| !code.is_empty());
    code.map(SecretString::from).ok_or(RedirectError::Form { what: "there is no code in it" })
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
