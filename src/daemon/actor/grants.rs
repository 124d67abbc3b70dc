//! New grants: begun, proved (org, account, permissions), then sealed; or kept aside until
//! somebody says yes.
//!
//! Invariant: nothing is replaced before the new grant was proved; what waits for a yes is sealed
//! under a name of its own.

use super::effects::{Extra, refused};
use super::proof::{Proof, Proved, Reply, prove};
use super::{Actor, Answer, Message};
use crate::auth;
use crate::control::protocol::{
    Caller, ConnectionStatus, GrantReply, ReauthorizeReply, ReauthorizeRequest, Refusal,
    RefusalCode, RequestLine,
};
use crate::daemon::grant::{
    CANDIDATE, FORMER, Keys, PASSWORD, REFRESH_TOKEN, SessionError, VERIFIER,
};
use crate::provider::Session;
use crate::store::Change;
use crate::store::vault::Vault;
use crmsync_core::connection::{Event, Grant};
use crmsync_core::domain::{CredentialKind, Fault, Reason};
use crmsync_core::quota::Exempt;
use crmsync_core::reauth::{self, Attempt, Door, Request, State};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::sync::Arc;

pub(super) fn failed(what: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Failed, format!("{what}: {why}"))
}

impl Actor {
    pub(super) fn vault(&self) -> Result<Arc<Vault>, Refusal> {
        self.shared.vault.open().map_err(|e| {
            Refusal::new(RefusalCode::Unavailable, e.to_string()).hint("crmsync key status")
        })
    }

    /// The open request; a new one where an admin comes without being asked.
    pub(super) fn request_for(&self, by: &Caller) -> Request {
        if let Some(open) = self.request.as_ref().filter(|r| r.is_open()) {
            return open.clone();
        }
        let reason =
            self.state.authorization().map_or(Reason::CredentialsChanged, |(reason, ..)| reason);
        let id = format!("r{:010x}", self.shared.env.random() & 0xff_ffff_ffff);
        let text = format!("asked for by {}", by.user);
        let now = self.shared.env.now();
        let generation = self.state.generation;
        reauth::open(None, &id, &self.id, generation, &reason, &text, now).0
    }

    pub(super) fn reauthorize(
        &mut self,
        by: &Caller,
        request: ReauthorizeRequest,
        answer: Answer<ReauthorizeReply>,
    ) {
        if self.provider.credential() == CredentialKind::ClientCredentials {
            self.prove_client_credentials(by.clone(), request.as_other_account, answer);
            return;
        }
        let _ = answer.send(self.begin(by, &request));
    }

    fn begin(
        &mut self,
        by: &Caller,
        asked: &ReauthorizeRequest,
    ) -> Result<ReauthorizeReply, Refusal> {
        let what = format!("reauthorizing {}", self.name);
        let vault = self.vault()?;
        let request = self.request_for(by);
        let mut attempt = Attempt {
            started: self.shared.env.now(),
            door: Door::Secret,
            by: by.user.clone(),
            state_hash: String::new(),
            redirect: String::new(),
            as_other_account: asked.as_other_account,
        };
        let mut secrets = vec![vault.remove(&self.id, CANDIDATE)];
        let reply = if self.provider.credential() == CredentialKind::Password {
            let username = self.settings.keys.get("username").cloned().unwrap_or_default();
            ReauthorizeReply::Password { request: request.id.clone(), username }
        } else {
            let fault = |f: Fault| failed(&what, f);
            let endpoints = self
                .provider
                .oauth()
                .ok_or_else(|| failed(&what, "this provider is not authorized by a browser"))?;
            let app = self.holder.app().map_err(fault)?;
            let pinned = self.holder.identity().map_err(|e| refused(&what, &e))?;
            let hint = pinned.filter(|_| !asked.as_other_account).map(|i| i.username);
            let random = self.shared.env.secret_bytes().map_err(|e| failed(&what, e))?;
            let begun = auth::begin(&endpoints, &app, hint.as_deref(), &random).map_err(fault)?;
            attempt.door = Door::Listener;
            attempt.state_hash = hash(&begun.state);
            attempt.redirect.clone_from(&begun.redirect);
            let kept = SecretString::from(format!(
                "{} {}",
                begun.state.expose_secret(),
                begun.verifier.expose_secret()
            ));
            let sealed = vault.put(&self.id, VERIFIER, &kept).map_err(|e| failed(&what, e))?;
            secrets.push(sealed);
            ReauthorizeReply::Browser {
                request: request.id.clone(),
                url: begun.authorize_url.to_string(),
                redirect_uri: begun.redirect,
            }
        };
        let request = request.begin(attempt).map_err(|e| failed(&what, e))?;
        let change = Change {
            secrets,
            audit: vec![self.audit_line(Some(by.uid), &by.user, "reauthorize")],
            ..Change::default()
        };
        let extra = Extra { change, request: Some(request), ..Extra::default() };
        self.apply(&[], extra).map_err(|e| refused(&what, &e))?;
        Ok(reply)
    }

    /// The browser was sent somewhere: exchange the code, then prove.
    pub(super) fn callback(
        &mut self,
        by: Caller,
        redirected: SecretString,
        answer: Answer<GrantReply>,
    ) {
        let started = self.start_exchange(&by, &redirected);
        let (attempt, code, as_other_account) = match started {
            Ok(started) => started,
            Err(refusal) => {
                let _ = answer.send(Err(refusal));
                return;
            }
        };
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        let toll = self.toll(Some(Exempt::Reauthorization));
        let objects: Vec<String> = self.settings.objects.keys().cloned().collect();
        tokio::spawn(async move {
            let result = async {
                let toll = toll.map_err(|e| Fault::passing(e.to_string()))?;
                let keys = holder.keys();
                let app = holder.app()?;
                let (http, provider) = (holder.http(), holder.provider());
                let granted = auth::exchange(&http, provider.as_ref(), &app, &attempt, &code)
                    .await
                    .map_err(|e| e.fault().clone())?;
                let Some(token) = granted.refresh else {
                    return Err(Fault::Misconfigured {
                        what: "the provider gave no refresh token: the app must be allowed the scope refresh_token (offline_access)".into(),
                    });
                };
                let credential = Some((REFRESH_TOKEN, token));
                prove(&holder, keys, toll.as_ref(), granted.session, credential, &objects).await
            }
            .await;
            let answer = Reply::Grant(answer);
            let proved = Proved { by, result, as_other_account, answer };
            let _ = own.send(Message::Proved(Box::new(proved)));
        });
    }

    fn start_exchange(
        &mut self,
        by: &Caller,
        redirected: &SecretString,
    ) -> Result<(auth::Attempt, SecretString, bool), Refusal> {
        let what = format!("reauthorizing {}", self.name);
        let again = format!("crmsync reauthorize {}", self.name);
        let no = |why: String| failed(&what, why).hint(again.clone());
        let vault = self.vault()?;
        let request = self
            .request
            .clone()
            .filter(Request::is_open)
            .ok_or_else(|| no("nobody has begun".into()))?;
        let kept = vault.get(&self.id, VERIFIER).map_err(|e| no(e.to_string()))?;
        let kept = kept.ok_or_else(|| no("nobody has begun, or it was used already".into()))?;
        let (state, verifier) =
            kept.expose_secret().split_once(' ').ok_or_else(|| no("begin again".into()))?;
        let state = SecretString::from(state);
        let begun = request
            .attempt_for(&hash(&state), self.shared.env.now())
            .map_err(|e| no(e.to_string()))?;
        let attempt = auth::Attempt {
            authorize_url: self.provider.oauth().map_or_else(
                || Err(no("this provider is not authorized by a browser".into())),
                |e| Ok(e.authorize),
            )?,
            state,
            verifier: SecretString::from(verifier),
            redirect: begun.redirect.clone(),
        };
        let as_other = begun.as_other_account;
        match auth::code_from_redirect(self.provider.as_ref(), &attempt, redirected.expose_secret())
        {
            Ok(code) => {
                // The code and its verifier are good for one try.
                let change = Change {
                    secrets: vec![vault.remove(&self.id, VERIFIER)],
                    audit: vec![self.audit_line(Some(by.uid), &by.user, "reauthorize callback")],
                    ..Change::default()
                };
                self.apply(&[], Extra { change, ..Extra::default() })
                    .map_err(|e| refused(&what, &e))?;
                Ok((attempt, code, as_other))
            }
            Err(auth::RedirectError::Refused(fault)) => {
                self.not_granted(&fault);
                Err(no(fault.to_string()))
            }
            Err(error) => Err(no(error.to_string())),
        }
    }

    /// A password was given: log in with it, prove, then seal.
    pub(super) fn password(
        &mut self,
        by: Caller,
        password: SecretString,
        answer: Answer<GrantReply>,
    ) {
        if self.provider.credential() != CredentialKind::Password {
            let text = format!("reauthorizing {}: it has no log-in by password", self.name);
            let hint = format!("crmsync reauthorize {} prints the address to open", self.name);
            let _ = answer.send(Err(Refusal::new(RefusalCode::Conflict, text).hint(hint)));
            return;
        }
        let attempt = self.request.as_ref().and_then(|r| match &r.state {
            State::Attempting { attempt } => Some(attempt.as_other_account),
            State::Open | State::AwaitingConfirmation { .. } | State::Closed { .. } => None,
        });
        let Some(as_other_account) = attempt else {
            let text = format!("reauthorizing {}: nobody has begun", self.name);
            let hint = format!("crmsync reauthorize {}", self.name);
            let _ = answer.send(Err(Refusal::new(RefusalCode::Conflict, text).hint(hint)));
            return;
        };
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        let toll = self.toll(Some(Exempt::Reauthorization));
        let objects: Vec<String> = self.settings.objects.keys().cloned().collect();
        let user = self.settings.keys.get("username").cloned().unwrap_or_default();
        tokio::spawn(async move {
            let result = async {
                let toll = toll.map_err(|e| Fault::passing(e.to_string()))?;
                let keys = holder.keys();
                let session = holder.provider().log_in(&user, &password).await?;
                let credential = Some((PASSWORD, password));
                prove(&holder, keys, toll.as_ref(), session, credential, &objects).await
            }
            .await;
            let answer = Reply::Grant(answer);
            let _ = own.send(Message::Proved(Box::new(Proved {
                by,
                result,
                as_other_account,
                answer,
            })));
        });
    }

    pub(super) fn prove_client_credentials(
        &mut self,
        by: Caller,
        as_other_account: bool,
        answer: Answer<ReauthorizeReply>,
    ) {
        let (holder, own) = (Arc::clone(&self.holder), self.own.clone());
        let toll = self.toll(Some(Exempt::Reauthorization));
        let objects: Vec<String> = self.settings.objects.keys().cloned().collect();
        tokio::spawn(async move {
            let result = async {
                let toll = toll.map_err(|e| Fault::passing(e.to_string()))?;
                let keys = holder.keys();
                holder.drop_session().await;
                let session = holder.session().await.map_err(|e| match e {
                    SessionError::Fault(fault) => fault,
                    SessionError::Store(e) => Fault::passing(e.to_string()),
                })?;
                prove(&holder, keys, toll.as_ref(), session, None, &objects).await
            }
            .await;
            let answer = Reply::Reauthorize(answer);
            let _ = own.send(Message::Proved(Box::new(Proved {
                by,
                result,
                as_other_account,
                answer,
            })));
        });
    }

    pub(super) async fn confirm(&mut self, by: &Caller, answer: Answer<GrantReply>) {
        let done = self.try_confirm(by).await;
        let _ = answer.send(done);
    }

    async fn try_confirm(&mut self, by: &Caller) -> Result<GrantReply, Refusal> {
        let what = format!("confirming the account of {}", self.name);
        let now = self.shared.env.now();
        let conflict =
            |e: reauth::RequestError| Refusal::new(RefusalCode::Conflict, format!("{what}: {e}"));
        let request = self.request.clone().ok_or_else(|| failed(&what, "nothing waits"))?;
        let (_, identity) = request.confirm(&by.user, now).map_err(conflict)?;
        let vault = self.vault()?;
        let name = match self.provider.credential() {
            CredentialKind::Code => Some(REFRESH_TOKEN),
            CredentialKind::Password => Some(PASSWORD),
            CredentialKind::ClientCredentials => None,
        };
        let credential = match name {
            Some(name) => {
                let kept = vault.get(&self.id, CANDIDATE).map_err(|e| failed(&what, e))?;
                Some((name, kept.ok_or_else(|| failed(&what, "its grant is no longer kept"))?))
            }
            None => None,
        };
        let pinned = self.holder.identity().map_err(|e| refused(&what, &e))?;
        let proof = {
            Proof {
                // Empty: who answers is looked at again before the first run reads anything.
                keys: Keys::new(),
                session: Session {
                    token: SecretString::from(""),
                    base: url::Url::parse(&identity.address).map_err(|e| failed(&what, e))?,
                    username: None,
                },
                identity: identity.clone(),
                credential,
                missing: Vec::new(),
            }
        };
        let holder = Arc::clone(&self.holder);
        let mut rest = holder.rest().await;
        self.join(&identity).map_err(|e| refused(&what, &e))?;
        self.become_granted(&what, &vault, by, &proof, pinned.as_ref())?;
        rest.forget();
        Ok(GrantReply::Authorized {
            account: identity.username,
            org: identity.org_name.unwrap_or(identity.org_id),
        })
    }

    pub(super) fn reject(&mut self, by: &Caller, answer: Answer<RequestLine>) {
        let done = self.try_reject(by);
        let _ = answer.send(done);
    }

    fn try_reject(&mut self, by: &Caller) -> Result<RequestLine, Refusal> {
        let what = format!("rejecting the account of {}", self.name);
        let request = self.request.clone().ok_or_else(|| failed(&what, "nothing waits"))?;
        let request = request
            .reject(&by.user)
            .map_err(|e| Refusal::new(RefusalCode::Conflict, format!("{what}: {e}")))?;
        let vault = self.vault()?;
        let kept = vault.get(&self.id, CANDIDATE).map_err(|e| failed(&what, e))?;
        let change =
            Change { secrets: vec![vault.remove(&self.id, CANDIDATE)], ..Change::default() };
        let event = Event::UnconfirmedRejected { by: by.user.clone() };
        let extra = Extra { change, request: Some(request.clone()), ..Extra::default() };
        self.apply_for(by, &[event], extra).map_err(|e| refused(&what, &e))?;
        if self.provider.credential() == CredentialKind::Code
            && let Some(token) = kept
        {
            self.revoke_token(token);
        }
        Ok(super::view::request_line(&self.name, &request))
    }

    pub(super) fn revoke_quietly(&self, proof: &Proof) {
        if let Some((REFRESH_TOKEN, token)) = &proof.credential {
            self.revoke_token(token.clone());
        }
    }

    /// Takes a grant back that was never taken into use; one try, for nothing depends on it.
    pub(super) fn revoke_token(&self, token: SecretString) {
        let (holder, name) = (Arc::clone(&self.holder), self.name.to_string());
        tokio::spawn(async move {
            let Ok(app) = holder.app() else { return };
            let (http, provider) = (holder.http(), holder.provider());
            if let Err(error) = auth::revoke(&http, provider.as_ref(), &app, &token).await {
                tracing::warn!(connection = %name, %error, "an unused grant was not revoked");
            }
        });
    }

    pub(super) async fn disconnect(&mut self, by: &Caller, answer: Answer<ConnectionStatus>) {
        let _ = answer.send(self.try_disconnect(by).await);
    }

    /// Revokes at the provider, then forgets the credential. Where the provider cannot be reached
    /// nothing is called any more, and the credential is kept so that it can be tried again.
    async fn try_disconnect(&mut self, by: &Caller) -> Result<ConnectionStatus, Refusal> {
        let what = format!("disconnecting {}", self.name);
        let vault = self.vault()?;
        let event = Event::Disconnected { by: by.user.clone() };
        self.apply_for(by, &[event], Extra::default()).map_err(|e| refused(&what, &e))?;
        // A run on its last call could refresh meanwhile: the token that is revoked is the last.
        let holder = Arc::clone(&self.holder);
        let mut rest = holder.rest().await;
        rest.forget();
        if self.provider.credential() == CredentialKind::Code
            && let Some(token) = vault.get(&self.id, REFRESH_TOKEN).map_err(|e| failed(&what, e))?
        {
            let app = self.holder.app().map_err(|e| failed(&what, e))?;
            let provider = self.provider.as_ref();
            if let Err(error) = auth::revoke(&self.holder.http(), provider, &app, &token).await {
                return Err(failed(&what, format!(
                    "no call is made any more, but the grant could not be revoked at the provider: {error}"
                ))
                .hint(format!("crmsync disconnect {} (tries again)", self.name)));
            }
        }
        let secrets = [REFRESH_TOKEN, PASSWORD, FORMER, CANDIDATE, VERIFIER]
            .map(|name| vault.remove(&self.id, name))
            .into();
        let change =
            Change { secrets, refresh: vec![(self.id.clone(), None)], ..Change::default() };
        self.apply(&[], Extra { change, ..Extra::default() }).map_err(|e| refused(&what, &e))?;
        Ok(self.status())
    }

    pub(super) async fn set_secret(
        &mut self,
        by: &Caller,
        key: &str,
        value: &SecretString,
    ) -> Result<(), Refusal> {
        let what = format!("setting secret {key} of {}", self.name);
        let known = self.provider.spec().secrets;
        if !known.iter().any(|(name, _)| *name == key) {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(Refusal::new(
                RefusalCode::Invalid,
                format!("{what}: there is no such secret"),
            )
            .hint(format!("its secrets are: {}", names.join(", "))));
        }
        if self.settings.secrets.contains_key(key) {
            return Err(Refusal::new(
                RefusalCode::Conflict,
                format!("{what}: the configuration names a file or credential for it"),
            )
            .hint("change that file and reload, or take the key out of the configuration"));
        }
        if value.expose_secret().is_empty() {
            return Err(Refusal::new(RefusalCode::Invalid, format!("{what}: it is empty")));
        }
        let vault = self.vault()?;
        let sealed = vault.put(&self.id, key, value).map_err(|e| failed(&what, e))?;
        let change = Change {
            secrets: vec![sealed],
            audit: vec![self.audit_line(Some(by.uid), &by.user, &format!("secret set {key}"))],
            ..Change::default()
        };
        self.apply(&[], Extra { change, ..Extra::default() }).map_err(|e| refused(&what, &e))?;
        self.holder.drop_session().await;
        self.try_credential();
        Ok(())
    }

    /// A secret or setting has changed: a credential that was refused may work again. One that
    /// rotates is shown again only where not it, but the app's secret was refused.
    pub(super) fn try_credential(&mut self) {
        let (Grant::Dead { reason, .. } | Grant::Suspect { reason, .. }) = &self.state.grant else {
            return;
        };
        let safe = *reason == Reason::ClientSecretExpired || !self.rules().rotates;
        if safe && !self.probing && self.holder.identity().is_ok_and(|i| i.is_some()) {
            self.probe();
        }
    }

    /// The grant has worked in a whole run: the former one is no longer needed.
    pub(super) fn holder_worked(&self, extra: &mut Extra) {
        let Ok(vault) = self.shared.vault.open() else { return };
        if vault.names(&self.id).is_ok_and(|names| names.iter().any(|n| n == FORMER)) {
            extra.change.secrets.push(vault.remove(&self.id, FORMER));
        }
    }
}

fn hash(state: &SecretString) -> String {
    let digest = Sha256::digest(state.expose_secret().as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
