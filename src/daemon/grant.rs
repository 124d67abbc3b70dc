//! The one holder of a connection's credential: sessions are handed out here, and nowhere else is
//! a credential refreshed, so that one refresh is under way at a time.
//!
//! Invariants: before a refresh leaves, a row says so (no commit, no request: a full disk burns no
//! grant); a rotated token is on the disk before the access token that came with it is used; a
//! refresh that has begun is brought to its end, whoever asked for it and has gone since; a reload
//! goes on with the same slot; a credential is never destroyed because of an error; nothing
//! refreshes unless a call needs it.

mod identity;

pub use identity::SessionOrHeld;

use super::env::{self, Env};
use super::vault::VaultSlot;
use crate::auth::{self, App, GrantError};
use crate::provider::http::Http;
use crate::provider::{Provider, Session};
use crate::store::{Change, Doc, RefreshInFlight, Store, StoreError};
use crmsync_core::config::settings::{Connection as Settings, SecretRef};
use crmsync_core::domain::{CredentialKind, Fault, Identity, Reason, Time};
use crmsync_core::reauth::{self, Verdict};
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How often identity and sight are looked at again; password systems log in anew for it, because
/// there a session outlives a changed password.
const CHECK_AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Names of secrets in the vault.
pub const REFRESH_TOKEN: &str = "refresh_token";
/// Password of password systems.
pub const PASSWORD: &str = "password";
/// The OAuth app's secret.
pub const CLIENT_SECRET: &str = "client_secret";
/// The credential before the last reauthorization, kept until the new one has worked.
pub const FORMER: &str = "former_credential";
/// A new grant of another account, waiting for a yes.
pub const CANDIDATE: &str = "candidate_credential";
/// PKCE verifier of the attempt under way.
pub const VERIFIER: &str = "pkce_verifier";

/// What is known of a grant beside its secret; a document of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantFacts {
    /// Who answers with it; the pin.
    pub identity: Option<Identity>,
    /// Whether its refresh token is replaced at each use; unknown before the first refresh.
    pub rotates: Option<bool>,
    /// When it was given.
    pub granted: Option<Time>,
    /// By whom.
    pub by: String,
    /// When identity and sight were last looked at.
    pub checked: Option<Time>,
    /// With which keys of the settings: other ones may lead to another system.
    pub checked_with: Keys,
    /// When it was last used to make a session.
    pub used: Option<Time>,
}

/// Keys of a connection's provider, as configured: address, database, app. No secrets.
pub type Keys = BTreeMap<String, String>;

/// Why there is no session.
#[derive(Debug)]
pub enum SessionError {
    /// The provider, or no credential.
    Fault(Fault),
    /// Ours: nothing was sent, or what came is kept in memory and stored before anything else.
    Store(StoreError),
}

impl From<StoreError> for SessionError {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<Fault> for SessionError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a look at the identity brought.
#[derive(Debug, Default)]
pub struct Checked {
    /// Who answers, as far as known.
    pub identity: Option<Identity>,
    /// The server's clock, if it was asked.
    pub server_time: Option<Time>,
}

/// What a credential is used with; a reload makes a new one.
#[derive(Clone)]
pub struct Use {
    /// The foreign system.
    pub provider: Arc<dyn Provider>,
    /// The HTTP client of its network.
    pub http: Http,
    /// Settings in force.
    pub settings: Arc<Settings>,
}

/// See the module.
pub struct Holder {
    id: String,
    name: String,
    /// With a stamp that changes with what a session depends on: one of before is not used.
    current: RwLock<(Use, u64)>,
    store: Store,
    vault: Arc<VaultSlot>,
    env: Env,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    session: Option<Session>,
    /// The holder's stamp when that session was made.
    stamp: u64,
    /// A rotated token that the disk did not take: stored before anything else is done.
    unsaved: Option<SecretString>,
    /// The connection is put away: no session is made any more.
    closed: bool,
}

impl Slot {
    fn put(&mut self, session: Session, stamp: u64) {
        self.session = Some(session);
        self.stamp = stamp;
    }

    fn usable(&self, stamp: u64) -> Option<&Session> {
        self.session.as_ref().filter(|_| self.stamp == stamp)
    }
}

/// The holder at rest: no refresh is under way, and none begins before this is dropped.
pub struct Resting {
    slot: OwnedMutexGuard<Slot>,
    stamp: u64,
}

impl Resting {
    /// Takes over a session that was just proved together with its grant.
    pub fn take(&mut self, session: Session) {
        let stamp = self.stamp;
        self.slot.put(session, stamp);
        self.slot.unsaved = None;
    }

    /// Forgets the session: the next call makes a new one.
    pub fn forget(&mut self) {
        self.slot.session = None;
        self.slot.unsaved = None;
    }
}

impl Holder {
    /// For one connection; nothing is opened or sent yet.
    pub fn new(
        id: &str,
        name: &str,
        current: Use,
        store: Store,
        vault: Arc<VaultSlot>,
        env: Env,
    ) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            current: RwLock::new((current, 0)),
            store,
            vault,
            env,
            slot: Arc::default(),
        }
    }

    /// A reload changed what the credential is used with. The holder stays the same, so that a
    /// refresh under way stays the only one. `fresh`: sessions of before are of another place.
    pub fn change(&self, new: Use, fresh: bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (new, current.1 + u64::from(fresh));
    }

    fn current(&self) -> Use {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn stamp(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The foreign system.
    pub fn provider(&self) -> Arc<dyn Provider> {
        self.current().provider
    }

    /// The HTTP client of its network.
    pub fn http(&self) -> Http {
        self.current().http
    }

    fn settings(&self) -> Arc<Settings> {
        self.current().settings
    }

    /// The OAuth app as this connection uses it.
    pub fn app(&self) -> Result<App, Fault> {
        let settings = self.settings();
        let client_id = settings.keys.get("client_id").cloned().unwrap_or_default();
        let fixed = self.provider().spec().callback.unwrap_or_default();
        Ok(App {
            client_id,
            client_secret: self.secret(CLIENT_SECRET)?,
            redirect: settings.callback_url.clone().unwrap_or_else(|| fixed.to_owned()),
        })
    }

    /// Facts of the grant and their version in the store.
    pub fn facts(&self) -> Result<(GrantFacts, u64), StoreError> {
        Ok(match self.store.doc("grant", &self.id)? {
            Some((version, text)) => (serde_json::from_str(&text).unwrap_or_default(), version),
            None => (GrantFacts::default(), 0),
        })
    }

    /// The pinned identity.
    pub fn identity(&self) -> Result<Option<Identity>, StoreError> {
        Ok(self.facts()?.0.identity)
    }

    /// The document that stores these facts.
    pub fn facts_doc(&self, facts: &GrantFacts, version: u64) -> Doc {
        let json = serde_json::to_string(facts).unwrap_or_default();
        Doc { kind: "grant", key: self.id.clone(), version, json }
    }

    /// A secret: from the file or credential that the configuration names, else from the vault.
    pub fn secret(&self, key: &str) -> Result<Option<SecretString>, Fault> {
        let named = self.settings().secrets.get(key).cloned();
        let read = |path: std::path::PathBuf| {
            std::fs::read_to_string(&path)
                .map(|t| Some(SecretString::from(t.trim_end_matches(['\r', '\n']).to_owned())))
                .map_err(|e| Fault::Misconfigured {
                    what: format!("reading {key} from {}: {e}", path.display()),
                })
        };
        match named {
            Some(SecretRef::File(path)) => read(path),
            Some(SecretRef::Credential(name)) => {
                let folder = env::variable("CREDENTIALS_DIRECTORY").unwrap_or_default();
                read(std::path::Path::new(&folder).join(name))
            }
            None => self
                .vault
                .open()
                .and_then(|vault| vault.get(&self.id, key))
                .map_err(|e| Fault::Misconfigured { what: e.to_string() }),
        }
    }

    /// The session in use, made now if there is none.
    pub async fn session(self: &Arc<Self>) -> Result<Session, SessionError> {
        let slot = Arc::clone(&self.slot).lock_owned().await;
        if slot.unsaved.is_none()
            && let Some(session) = slot.usable(self.stamp())
        {
            return Ok(session.clone());
        }
        self.make_whole(slot).await
    }

    /// A session in place of one that the provider refused. Whoever comes second finds the one
    /// that the first made.
    pub async fn renew(
        self: &Arc<Self>,
        dead: &Session,
        why: &str,
    ) -> Result<Session, SessionError> {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if let Some(session) = slot.usable(self.stamp())
            && session.token.expose_secret() != dead.token.expose_secret()
        {
            return Ok(session.clone());
        }
        tracing::debug!(connection = %self.name, why, "the session is over");
        slot.session = None;
        self.make_whole(slot).await
    }

    /// Forgets the session: the next call makes a new one.
    pub async fn drop_session(&self) {
        self.slot.lock().await.session = None;
    }

    /// Waits for the refresh under way, if one is, and keeps others from beginning: whoever
    /// replaces or removes a credential does it meanwhile.
    pub async fn rest(&self) -> Resting {
        let slot = Arc::clone(&self.slot).lock_owned().await;
        Resting { slot, stamp: self.stamp() }
    }

    /// The keys in force.
    pub fn keys(&self) -> Keys {
        self.settings().keys.clone()
    }

    /// The connection is put away: waits for a refresh on its way, lets none begin after it.
    pub async fn close(&self) {
        let mut slot = self.slot.lock().await;
        slot.closed = true;
        if let Some(token) = slot.unsaved.clone() {
            match self.save_rotated(&token) {
                Ok(()) => slot.unsaved = None,
                Err(error) => {
                    tracing::error!(connection = %self.name, ?error, "a rotated grant could not be stored before the end");
                }
            }
        }
    }

    /// As a task of its own: whoever asked may go away (a client that hangs up), the answer of a
    /// refresh that has left must still be stored.
    async fn make_whole(
        self: &Arc<Self>,
        mut slot: OwnedMutexGuard<Slot>,
    ) -> Result<Session, SessionError> {
        let own = Arc::clone(self);
        let made = tokio::spawn(async move { own.make(&mut slot).await }).await;
        made.unwrap_or_else(|e| {
            Err(Fault::contract(format!("making a session broke off: {e}")).into())
        })
    }

    async fn make(&self, slot: &mut Slot) -> Result<Session, SessionError> {
        if slot.closed {
            return Err(Fault::passing("the connection is being put away").into());
        }
        if let Some(token) = slot.unsaved.clone() {
            self.save_rotated(&token)?;
            slot.unsaved = None;
            if let Some(session) = slot.usable(self.stamp()) {
                return Ok(session.clone());
            }
        }
        let stamp = self.stamp();
        let session = match self.provider().credential() {
            CredentialKind::Code => self.refresh(slot).await?,
            CredentialKind::ClientCredentials => self.client_credentials().await?,
            CredentialKind::Password => self.log_in().await?,
        };
        slot.put(session.clone(), stamp);
        Ok(session)
    }

    fn never(&self, what: &str) -> SessionError {
        let text = format!("no {what} is stored for {}", self.name);
        Fault::NeedsAuthorization { reason: Reason::NeverAuthorized, text }.into()
    }

    async fn client_credentials(&self) -> Result<Session, SessionError> {
        let app = self.app()?;
        if app.client_secret.is_none() {
            return Err(self.never(CLIENT_SECRET));
        }
        match auth::client_credentials(&self.http(), self.provider().as_ref(), &app).await {
            Ok(granted) => {
                self.same_org(&self.facts()?.0, granted.org)?;
                Ok(granted.session)
            }
            Err(e) => Err(e.fault().clone().into()),
        }
    }

    /// A token answer of another org than the pinned one is refused before it is used: the same
    /// log-in can lead elsewhere from one day to the next (a sandbox that was refreshed).
    fn same_org(&self, facts: &GrantFacts, found: Option<String>) -> Result<(), Fault> {
        let (Some(pinned), Some(org_id)) = (&facts.identity, found) else { return Ok(()) };
        let found = Identity { org_id, ..pinned.clone() };
        let org = self.settings().org_id.clone();
        match reauth::judge(Some(pinned), org.as_deref(), &found, false) {
            verdict @ Verdict::OtherOrg { .. } => Err(Fault::NeedsAuthorization {
                text: format!("{} now leads to org {}", found.username, found.org_id),
                reason: verdict.reason().unwrap_or(Reason::GrantRevoked),
            }),
            Verdict::Same
            | Verdict::FirstTime
            | Verdict::ChangedAsAsked { .. }
            | Verdict::OtherAccount { .. } => Ok(()),
        }
    }

    async fn log_in(&self) -> Result<Session, SessionError> {
        let Some(password) = self.secret(PASSWORD)? else { return Err(self.never(PASSWORD)) };
        let user = self.settings().keys.get("username").cloned().unwrap_or_default();
        Ok(self.provider().log_in(&user, &password).await?)
    }

    async fn refresh(&self, slot: &mut Slot) -> Result<Session, SessionError> {
        let vault = self.vault.open().map_err(|e| Fault::Misconfigured { what: e.to_string() })?;
        let sealed =
            |e: crate::store::vault::VaultError| Fault::Misconfigured { what: e.to_string() };
        let Some(token) = vault.get(&self.id, REFRESH_TOKEN).map_err(sealed)? else {
            return Err(self.never("grant"));
        };
        let generation =
            vault.generation(&self.id, REFRESH_TOKEN).map_err(sealed)?.unwrap_or_default();
        let app = self.app()?;
        let (facts, _) = self.facts()?;
        // A row of before: we died, or heard nothing, after an earlier request had left.
        let unanswered =
            self.store.refresh_in_flight(&self.id)?.is_some_and(|row| row.generation == generation);
        let row = RefreshInFlight { generation, started: self.env.now() };
        self.mark(Some(row))?;
        let may_rotate = facts.rotates != Some(false);
        tracing::debug!(connection = %self.name, generation, again = unanswered, "a refresh leaves");
        match auth::refresh(&self.http(), self.provider().as_ref(), &app, &token).await {
            Ok(answer) => {
                match answer.refresh {
                    Some(new) => {
                        // Kept in memory should the disk refuse: nothing is lost while we live.
                        slot.put(answer.session.clone(), self.stamp());
                        slot.unsaved = Some(new.clone());
                        self.save_rotated(&new)?;
                        slot.unsaved = None;
                    }
                    None => self.save_used(facts.rotates.is_none())?,
                }
                // The token is kept, but nothing of another org is read with it.
                if let Err(fault) = self.same_org(&facts, answer.org) {
                    slot.session = None;
                    return Err(fault.into());
                }
                Ok(answer.session)
            }
            Err(GrantError::NotSent(fault)) => {
                if !unanswered {
                    self.mark(None)?;
                }
                Err(fault.into())
            }
            // The token may be spent: the row stays, and says so to whoever tries next.
            Err(GrantError::Unknown(fault)) => Err(fault.into()),
            Err(GrantError::Refused(fault @ Fault::Passing { .. })) if may_rotate => {
                Err(fault.into())
            }
            Err(GrantError::Refused(fault)) => {
                self.mark(None)?;
                Err(lost_or(fault, unanswered && may_rotate).into())
            }
        }
    }

    /// Notes (or clears) that a refresh is on its way.
    fn mark(&self, row: Option<RefreshInFlight>) -> Result<(), StoreError> {
        let refresh = vec![(self.id.clone(), row)];
        tokio::task::block_in_place(|| self.store.apply(Change { refresh, ..Change::default() }))
    }

    fn save_rotated(&self, token: &SecretString) -> Result<(), SessionError> {
        let vault = self.vault.open().map_err(|e| Fault::Misconfigured { what: e.to_string() })?;
        let write = vault
            .put(&self.id, REFRESH_TOKEN, token)
            .map_err(|e| Fault::Misconfigured { what: e.to_string() })?;
        let now = self.env.now();
        self.change_facts(|facts, change| {
            facts.rotates = Some(true);
            facts.used = Some(now);
            change.secrets.push(write.clone());
            change.refresh.push((self.id.clone(), None));
            Ok(())
        })?;
        Ok(())
    }

    /// Changes the facts and whatever belongs to it, together. A document that somebody else
    /// wrote meanwhile (the connection, a run) is read again.
    fn change_facts(
        &self,
        edit: impl Fn(&mut GrantFacts, &mut Change) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            let (mut facts, version) = self.facts()?;
            let mut change = Change::default();
            edit(&mut facts, &mut change)?;
            change.docs.push(self.facts_doc(&facts, version));
            match tokio::task::block_in_place(|| self.store.apply(change)) {
                Err(StoreError::Stale { .. }) if tries < 5 => tries += 1,
                done => return done,
            }
        }
    }

    fn save_used(&self, first: bool) -> Result<(), StoreError> {
        let (facts, _) = self.facts()?;
        let now = self.env.now();
        // The time of use is only wanted by the day: no need to write it at each refresh.
        let old = facts.used.is_none_or(|t| now.duration_since(t) > SignedDuration::from_hours(1));
        if !(first || old) {
            return self.mark(None);
        }
        self.change_facts(|facts, change| {
            facts.rotates = Some(false);
            facts.used = Some(now);
            change.refresh.push((self.id.clone(), None));
            Ok(())
        })
    }
}

/// A refusal after an unanswered refresh has a reason of its own: we may have lost the new token.
fn lost_or(fault: Fault, unanswered: bool) -> Fault {
    if let Fault::NeedsAuthorization { reason: Reason::GrantRevoked | Reason::GrantExpired, text } =
        &fault
        && unanswered
    {
        let (reason, text) = (Reason::GrantLostWhileRotating, text.clone());
        return Fault::NeedsAuthorization { reason, text };
    }
    fault
}
