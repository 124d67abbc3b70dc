//! The token endpoint: code for grant, refresh token for access token, revocation.

use crate::provider::http::{Answer, Http, SMALL_LIMIT, SendError};
use crate::provider::{OAuthEndpoints, Provider, Session};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crmsync_core::domain::Fault;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RefreshToken, Scope, TokenUrl,
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use url::Url;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The registered app, as one connection uses it.
#[derive(Debug, Clone)]
pub struct App {
    /// `client_id`.
    pub client_id: String,
    /// Its secret, for confidential apps.
    pub client_secret: Option<SecretString>,
    /// Registered callback; compared by the provider byte by byte.
    pub redirect: String,
}

/// A code flow under way. To be kept, sealed, until the redirect comes.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where the admin's browser goes. Holds the state, no secret beyond it.
    pub authorize_url: Url,
    /// Comes back with the redirect and must be the same.
    pub state: SecretString,
    /// PKCE verifier; proves at the exchange that we began.
    pub verifier: SecretString,
    /// The callback of this attempt.
    pub redirect: String,
}

/// What a token answer brought.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Opens data calls.
    pub session: Session,
    /// A refresh token, where one came: at an exchange the grant itself, at a refresh the new one
    /// of a rotation, to be committed before the session is used.
    pub refresh: Option<SecretString>,
    /// The server's clock.
    pub server_time: Option<crmsync_core::domain::Time>,
    /// The org that the answer is of, where it says so.
    pub org: Option<String>,
}

/// Why no token came: what the caller may believe of the token that it sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The request certainly did not leave: the token is as it was.
    #[error("{0}")]
    NotSent(Fault),
    /// Answered, and no token given: the fault says whether the grant is dead or the host ill.
    #[error("{0}")]
    Refused(Fault),
    /// It left, and no readable answer came: a rotating token may have been replaced.
    #[error("{0}")]
    Unknown(Fault),
}

impl GrantError {
    /// The fault, whichever way.
    pub fn fault(&self) -> &Fault {
        match self {
            Self::NotSent(fault) | Self::Refused(fault) | Self::Unknown(fault) => fault,
        }
    }
}

fn client(endpoints: &OAuthEndpoints, app: &App) -> Result<Client, Fault> {
    let wrong = |what: &str| {
        let what = what.to_owned();
        move |e: oauth2::url::ParseError| Fault::Misconfigured { what: format!("{what}: {e}") }
    };
    let mut client = BasicClient::new(ClientId::new(app.client_id.clone()))
        .set_auth_type(AuthType::RequestBody)
        .set_auth_uri(AuthUrl::from_url(endpoints.authorize.clone()))
        .set_token_uri(TokenUrl::from_url(endpoints.token.clone()))
        .set_redirect_uri(
            RedirectUrl::new(app.redirect.clone()).map_err(wrong("callback address"))?,
        );
    if let Some(secret) = &app.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    Ok(client)
}

/// Begins a code flow with PKCE (S256). `random`: 16 bytes become the state, 32 the verifier.
/// `login_hint` names the account that is expected to come.
pub fn begin(
    endpoints: &OAuthEndpoints,
    app: &App,
    login_hint: Option<&str>,
    random: &[u8; 48],
) -> Result<Attempt, Fault> {
    let (state, verifier) = random.split_at(16);
    let state = URL_SAFE_NO_PAD.encode(state);
    let verifier = PkceCodeVerifier::new(URL_SAFE_NO_PAD.encode(verifier));
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
    let client = client(endpoints, app)?;
    let mut request = client
        .authorize_url(|| CsrfToken::new(state.clone()))
        .set_pkce_challenge(challenge)
        .add_scopes(endpoints.scopes.iter().cloned().map(Scope::new));
    for (name, value) in &endpoints.extra {
        request = request.add_extra_param(name.as_str(), value.as_str());
    }
    if let Some(hint) = login_hint {
        request = request.add_extra_param("login_hint", hint);
    }
    let (authorize_url, _) = request.url();
    Ok(Attempt {
        authorize_url,
        state: state.into(),
        verifier: verifier.into_secret().into(),
        redirect: app.redirect.clone(),
    })
}

/// Exchanges the code of a redirect for a grant. A code is good for one try.
pub async fn exchange(
    http: &Http,
    provider: &dyn Provider,
    app: &App,
    attempt: &Attempt,
    code: &SecretString,
) -> Result<Granted, GrantError> {
    let client = client(&endpoints(provider)?, app).map_err(GrantError::NotSent)?;
    let redirect = RedirectUrl::new(attempt.redirect.clone()).map_err(|e| {
        GrantError::NotSent(Fault::Misconfigured { what: format!("callback address: {e}") })
    })?;
    let wire = Wire::new(http);
    // The answer is judged by `granted`, from what went over the wire; see there.
    let _parsed = client
        .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.expose_secret().to_owned()))
        .set_redirect_uri(Cow::Owned(redirect))
        .request_async(&wire)
        .await;
    granted(provider, wire)
}

/// One refresh. The caller has committed "refresh in flight" before, and commits a new refresh
/// token before it uses the session.
pub async fn refresh(
    http: &Http,
    provider: &dyn Provider,
    app: &App,
    token: &SecretString,
) -> Result<Granted, GrantError> {
    let client = client(&endpoints(provider)?, app).map_err(GrantError::NotSent)?;
    let token = RefreshToken::new(token.expose_secret().to_owned());
    let wire = Wire::new(http);
    let _parsed = client.exchange_refresh_token(&token).request_async(&wire).await;
    granted(provider, wire)
}

/// A session without a person: the app's own user.
pub async fn client_credentials(
    http: &Http,
    provider: &dyn Provider,
    app: &App,
) -> Result<Granted, GrantError> {
    let client = client(&endpoints(provider)?, app).map_err(GrantError::NotSent)?;
    let wire = Wire::new(http);
    let _parsed = client.exchange_client_credentials().request_async(&wire).await;
    granted(provider, wire)
}

/// Takes a token back at the provider. A token that is not known there is revoked already.
pub async fn revoke(
    http: &Http,
    provider: &dyn Provider,
    app: &App,
    token: &SecretString,
) -> Result<(), GrantError> {
    let Some(url) = endpoints(provider)?.revoke else {
        return Ok(());
    };
    // By hand: the crate refuses to revoke over http, also at loopback where the rehearsal is.
    let mut form = vec![("token", token.expose_secret()), ("client_id", app.client_id.as_str())];
    form.extend(app.client_secret.as_ref().map(|s| ("client_secret", s.expose_secret())));
    let request = http.request(Method::POST, url).map_err(GrantError::NotSent)?.form(&form);
    let request = request.build().map_err(|e| {
        let e = e.without_url();
        GrantError::NotSent(Fault::contract(format!("building a revocation: {e}")))
    })?;
    let answer = answered(http.send(request, SMALL_LIMIT).await)?;
    if answer.is_ok() && !answer.is_html() {
        return Ok(());
    }
    if let Some(fault) = answer.passing() {
        return Err(GrantError::Refused(fault));
    }
    let sent = form.iter().filter(|(name, _)| *name != "client_id");
    let sent: Vec<SecretString> = sent.map(|(_, v)| SecretString::from((*v).to_owned())).collect();
    let (error, description) = oauth_error(&answer, &sent);
    match error.as_str() {
        "invalid_token" | "unsupported_token_type" | "invalid_grant" => Ok(()),
        _ => Err(GrantError::Refused(provider.token_fault(answer.status, &error, &description))),
    }
}

fn endpoints(provider: &dyn Provider) -> Result<OAuthEndpoints, GrantError> {
    provider.oauth().ok_or_else(|| {
        let what = format!("{} does not use OAuth", provider.spec().label);
        GrantError::NotSent(Fault::Misconfigured { what })
    })
}

/// Carries the crate's requests over our client, and keeps the answer.
///
/// The crate's own reading of answers is passed over on purpose: it refuses answers without
/// `token_type`, drops the provider's further fields, and puts whole bodies into its errors.
struct Wire<'a> {
    http: &'a Http,
    answer: Mutex<Option<Result<Answer, SendError>>>,
    /// What was sent and must not come back in a text.
    sent: Mutex<Vec<SecretString>>,
}

/// Fields of a token request that are secrets.
const SECRET_FIELDS: [&str; 4] = ["client_secret", "refresh_token", "code", "code_verifier"];

/// Told to the crate; the real error is kept in [`Wire`].
#[derive(Debug, thiserror::Error)]
#[error("kept aside")]
struct Kept;

impl<'c> oauth2::AsyncHttpClient<'c> for Wire<'_> {
    type Error = Kept;
    type Future = futures_util::future::BoxFuture<'c, Result<HttpResponse, Kept>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl<'a> Wire<'a> {
    fn new(http: &'a Http) -> Self {
        Self { http, answer: Mutex::new(None), sent: Mutex::default() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Kept> {
        let answer = self.carry(request).await;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Err(Kept)
    }

    async fn carry(&self, request: HttpRequest) -> Result<Answer, SendError> {
        let (parts, body) = request.into_parts();
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) =
            url::form_urlencoded::parse(&body)
                .filter(|(name, _)| SECRET_FIELDS.contains(&name.as_ref()))
                .map(|(_, value)| SecretString::from(value.into_owned()))
                .collect();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|e| SendError::NotSent(Fault::contract(format!("token address: {e}"))))?;
        let request = self
            .http
            .request(parts.method, url)
            .map_err(SendError::NotSent)?
            .headers(parts.headers)
            .body(body)
            .build()
            .map_err(|e| {
                SendError::NotSent(Fault::contract(format!(
                    "building a token request: {}",
                    e.without_url()
                )))
            })?;
        self.http.send(request, SMALL_LIMIT).await
    }

    /// The answer, and the secrets that were sent for it.
    fn answer(self) -> Result<(Answer, Vec<SecretString>), GrantError> {
        let secrets = self.sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        match self.answer.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(sent) => Ok((answered(sent)?, secrets)),
            None => {
                Err(GrantError::NotSent(Fault::contract("the token request could not be prepared")))
            }
        }
    }
}

fn answered(sent: Result<Answer, SendError>) -> Result<Answer, GrantError> {
    sent.map_err(|error| match error {
        SendError::NotSent(fault) => GrantError::NotSent(fault),
        SendError::Unanswered(fault) | SendError::TooLarge(fault) => GrantError::Unknown(fault),
        SendError::Held => GrantError::NotSent(Fault::contract("a token request was held")),
    })
}

fn granted(provider: &dyn Provider, wire: Wire<'_>) -> Result<Granted, GrantError> {
    let (answer, sent) = wire.answer()?;
    if !answer.is_ok() {
        // A gateway speaks for a server that may have acted.
        if matches!(answer.status, 502 | 504) {
            let fault = answer.passing().unwrap_or_else(|| Fault::passing("bad gateway"));
            return Err(GrantError::Unknown(fault));
        }
        return Err(GrantError::Refused(refused(provider, &answer, &sent)));
    }
    let unreadable = |why: String| {
        GrantError::Unknown(Fault::contract(format!("{}: the token answer {why}", answer.host)))
    };
    if answer.is_html() {
        let fault = answer.passing().unwrap_or_else(|| Fault::passing("an HTML page"));
        return Err(GrantError::Unknown(fault));
    }
    // No text of the body in the error: it may be half a token.
    let value: Value = serde_json::from_slice(&answer.body).map_err(|e| {
        unreadable(format!("is not JSON (line {}, column {})", e.line(), e.column()))
    })?;
    if value.get("error").is_some() && value.get("access_token").is_none() {
        return Err(GrantError::Refused(refused(provider, &answer, &sent)));
    }
    let session = provider.session(&value).map_err(GrantError::Unknown)?;
    let refresh = value
        .get("refresh_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty())
        .map(|token| SecretString::from(token.to_owned()));
    let org = provider.org_of(&value);
    Ok(Granted { session, refresh, server_time: answer.server_time(), org })
}

fn refused(provider: &dyn Provider, answer: &Answer, sent: &[SecretString]) -> Fault {
    if let Some(fault) = answer.passing() {
        return fault;
    }
    let (error, description) = oauth_error(answer, sent);
    if error.is_empty() {
        return Fault::contract(format!(
            "{}: the token endpoint answered {} without an OAuth error",
            answer.host, answer.status
        ));
    }
    provider.token_fault(answer.status, &error, &description)
}

/// Error and description. There are servers that repeat what they were sent: that goes.
fn oauth_error(answer: &Answer, sent: &[SecretString]) -> (String, String) {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let word = |name: &str| {
        let text = value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        sent.iter()
            .map(ExposeSecret::expose_secret)
            .filter(|secret| !secret.is_empty())
            .fold(text, |text, secret| text.replace(secret, "[secret]"))
    };
    (word("error"), word("error_description"))
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
