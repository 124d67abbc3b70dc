//! Everything that knows a foreign system. This file is the seam; one folder per provider behind it.
//!
//! Hides URLs, JSON, query languages, error texts. Invariants: `calls` is pure and prices exactly;
//! every HTTP request with a cost passes the [`Toll`] before it leaves; every failure becomes a
//! [`Failure`] once; nothing here stores anything.

pub mod http;
mod rows;
pub mod salesforce;
#[cfg(test)]
pub(crate) mod test_server;
pub mod tryton;

use crmsync_core::domain::{
    Call, Check, CredentialKind, Delivered, Fault, Identity, ObjectSchema, Outcome, ProviderSpec,
    QuotaDomain, Schema, Task, Time, Usage,
};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use url::Url;

/// Every provider's spec, in the order of the manual.
pub const SPECS: &[&ProviderSpec] = &[&salesforce::SPEC, &tryton::SPEC];

/// The spec of a provider by the word in the configuration.
pub fn spec(id: &str) -> Option<&'static ProviderSpec> {
    SPECS.iter().find(|spec| spec.id == id).copied()
}

/// Makes the provider of a connection from its checked keys (defaults filled in).
pub fn open(
    id: &str,
    keys: &BTreeMap<String, String>,
    credential: CredentialKind,
    http: http::Http,
) -> Result<Arc<dyn Provider>, Fault> {
    match id {
        "salesforce" => Ok(Arc::new(salesforce::Salesforce::new(http, keys, credential)?)),
        "tryton" => Ok(Arc::new(tryton::Tryton::new(http, keys)?)),
        _ => Err(Fault::Misconfigured { what: format!("provider `{id}` is not known") }),
    }
}

/// What opens data calls: made by a log-in or a token answer, kept in memory only.
#[derive(Debug, Clone)]
pub struct Session {
    /// Access token or session key.
    pub token: SecretString,
    /// Base address of data calls.
    pub base: Url,
    /// Log-in name, where the provider needs it beside the token.
    pub username: Option<String>,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The session died in the way that a refresh (or log-in) cures: do it once, repeat once.
    SessionDead(String),
    /// The toll held the call back; it was not sent.
    Held,
    /// All else.
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Pays for calls. Implemented by the daemon over the domain's meter.
pub trait Toll: Send + Sync {
    /// Waits for its turn and reserves `cost` calls. `Err(Held)`: nothing may be sent.
    fn reserve(&self, cost: u32) -> BoxFuture<'_, Result<Ticket, Failure>>;
    /// Usage as told by an answer's headers; called as soon as they are in.
    fn told(&self, ticket: &Ticket, usage: &[Usage]);
    /// The answer has ended. Never called for a call without an answer: it counts until told otherwise.
    fn settle(&self, ticket: Ticket);
}

/// A paid call on its way. Dropped without [`Toll::settle`] it counts as lost: the meter is told
/// by the guard, and the call counts until an answer says otherwise.
pub struct Ticket {
    /// Number of the call in its domain, in order of starting.
    pub number: u64,
    /// What was reserved.
    pub cost: u32,
    lost: Option<Box<dyn FnOnce() + Send>>,
}

impl Ticket {
    /// `lost` runs if the ticket is dropped before it is settled.
    pub fn new(number: u64, cost: u32, lost: impl FnOnce() + Send + 'static) -> Self {
        Self { number, cost, lost: Some(Box::new(lost)) }
    }

    /// For [`Toll::settle`]: the guard is off.
    pub fn settled(mut self) -> u64 {
        self.lost = None;
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            lost();
        }
    }
}

/// What a call is made with.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// Opens the door.
    pub session: &'a Session,
    /// Pays.
    pub toll: &'a dyn Toll,
}

/// An answer beside the path of the data, with the server's clock (`Date`) where it was told.
#[derive(Debug, Clone)]
pub struct Told<T> {
    /// What was asked.
    pub value: T,
    /// The server's clock, whole seconds.
    pub server_time: Option<Time>,
}

/// Objects: API name and label.
pub type Names = Vec<(String, String)>;

/// Objects by the name they were asked for; `None` is not there, or not visible.
pub type Described = BTreeMap<String, Option<ObjectSchema>>;

/// Addresses and words of an OAuth provider.
#[derive(Debug, Clone)]
pub struct OAuthEndpoints {
    /// Where the admin's browser goes.
    pub authorize: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token: Url,
    /// Where tokens are revoked.
    pub revoke: Option<Url>,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// Further parameters of the authorize address, e.g. `prompt=login`.
    pub extra: Vec<(String, String)>,
}

/// One foreign system, as one connection sees it.
pub trait Provider: Send + Sync + 'static {
    /// What it needs and offers.
    fn spec(&self) -> &'static ProviderSpec;

    /// Where the calls of this org are paid.
    fn domain(&self, identity: &Identity) -> QuotaDomain;

    /// Packs tasks into calls, in order, at most `budget` calls. Pure.
    fn calls(
        &self,
        tasks: &[Task],
        schema: &Schema,
        domain: &QuotaDomain,
        budget: usize,
    ) -> Vec<Call>;

    /// Sends one call; batches go into the sink as they are read.
    fn send<'a>(
        &'a self,
        ctx: Ctx<'a>,
        call: &'a Call,
        schema: &'a Schema,
        sink: mpsc::Sender<Delivered>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;

    /// Who answers. One call.
    fn identify<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Identity>, Failure>>;

    /// Names and labels of the objects this account may read.
    fn objects<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Names>, Failure>>;

    /// Describes objects; one that is not there (or not visible) is `None`, one that is there and
    /// refused is left out.
    fn describe<'a>(
        &'a self,
        ctx: Ctx<'a>,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Described>, Failure>>;

    /// How many records objects have, roughly: to choose between queries and jobs, and for
    /// progress. It proves nothing. At most one call; objects it cannot tell of are left out.
    fn sizes<'a>(
        &'a self,
        ctx: Ctx<'a>,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<BTreeMap<String, u64>>, Failure>>;

    /// Whether reading so many records of an object costs less by a job than by queries. Pure.
    fn job_pays(&self, object: &ObjectSchema, fields: &[String], rows: u64) -> bool;

    /// The field that stands in for the modification stamp of a record that was never modified;
    /// none: every record has its stamp.
    fn stamp_of_new(&self) -> Option<&'static str> {
        None
    }

    /// The checks of `test` beyond reachability: identity facts, permissions, each object, quota.
    fn checks<'a>(
        &'a self,
        ctx: Ctx<'a>,
        identity: &'a Identity,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Vec<Check>>, Failure>>;

    /// Reads the limits, at most one call: the resume probe.
    fn usage<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Vec<Usage>>, Failure>>;

    /// The server's clock, by a call that costs nothing where there is one.
    fn clock<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<()>, Failure>>;

    /// OAuth addresses, for providers that use it.
    fn oauth(&self) -> Option<OAuthEndpoints>;

    /// Turns a refusal of the token endpoint into a fault. `body` is the whole answer,
    /// `error`/`description` as far as it was OAuth's JSON.
    fn token_fault(&self, status: u16, error: &str, description: &str) -> Fault;

    /// The org that a token answer's JSON says it is of, where it says so.
    fn org_of(&self, _answer: &serde_json::Value) -> Option<String> {
        None
    }

    /// The session out of a token answer's JSON (address, token).
    fn session(&self, answer: &serde_json::Value) -> Result<Session, Fault>;

    /// Logs in with user name and password. One attempt, never repeated.
    fn log_in<'a>(
        &'a self,
        username: &'a str,
        password: &'a SecretString,
    ) -> BoxFuture<'a, Result<Session, Fault>>;

    /// How a connection of these settings is authorized, if it differs from the spec's default.
    fn credential(&self) -> CredentialKind;
}
