//! Salesforce, by its REST and Bulk interfaces (version 64.0 unless told otherwise).
//!
//! Hides hosts, versions, SOQL, the composite resource, bulk jobs, the shapes of errors. Reads only.
//! Sources: "REST API Developer Guide" (Spring '26), "Bulk API 2.0 and Bulk API Developer Guide" and
//! recorded answers. Invariants: every data request is
//! paid for; positions are keys, never locators; a refusal is turned into a fault once, here.

mod bulk;
mod composite;
mod csv;
mod deletes;
mod describe;
mod download;
mod faults;
mod fetch;
mod identity;
#[cfg(test)]
mod live_tests;
mod oauth;
mod pack;
mod page;
mod read;
mod soql;
#[cfg(test)]
pub(crate) mod testing;

use super::http::{Answer, DATA_LIMIT, Http, SMALL_LIMIT, SendError, Stream, check_url};
use super::{Ctx, Described, Failure, Names, OAuthEndpoints, Provider, Session, Told};
use crmsync_core::domain::{
    Call, Check, CredentialKind, Delivered, Fault, Identity, KeyKind, KeySpec, Need, ObjectSchema,
    Outcome, ProviderSpec, QuotaDomain, Schema, Task, Usage,
};
use futures_util::future::BoxFuture;
use reqwest::{Method, Request, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::mpsc;
use url::Url;

const API_ENABLED: &str = "API Enabled";
const VIEW_SETUP: &str = "View Setup and Configuration";
const VIEW_ALL_USERS: &str = "View All Users";
const VIEW_ALL_DATA: &str = "View All Data";
const DAILY_LIMIT: &str = "DailyApiRequests";
const HOW: &str = "Setup > Permission Sets > System Permissions, assigned to the connected user";

/// What Salesforce needs and offers.
pub const SPEC: ProviderSpec = ProviderSpec {
    id: "salesforce",
    label: "Salesforce",
    keys: &[
        KeySpec {
            name: "login_url",
            kind: KeyKind::Url,
            required: false,
            default: Some("https://login.salesforce.com"),
            doc: "log-in host: login., test. or the org's My Domain",
        },
        KeySpec {
            name: "client_id",
            kind: KeyKind::Text,
            required: true,
            default: None,
            doc: "consumer key of the external client app",
        },
        KeySpec {
            name: "api_version",
            kind: KeyKind::Text,
            required: false,
            default: Some("64.0"),
            doc: "version of the REST and Bulk interfaces",
        },
        KeySpec {
            name: "compression",
            kind: KeyKind::Flag,
            required: false,
            default: Some("true"),
            doc: "ask for compressed answers; false costs traffic and saves processor time",
        },
    ],
    secrets: &[("client_secret", "consumer secret of the external client app, where it has one")],
    credentials: &[CredentialKind::Code, CredentialKind::ClientCredentials],
    needs: &[
        Need {
            id: "api-enabled",
            label: API_ENABLED,
            why: "without it no call works",
            how: HOW,
            required: true,
        },
        Need {
            id: "view-setup",
            label: VIEW_SETUP,
            why: "the limits are read with it",
            how: HOW,
            required: false,
        },
        Need {
            id: "view-all-users",
            label: VIEW_ALL_USERS,
            why: "owners of records are resolved with it",
            how: HOW,
            required: false,
        },
        Need {
            id: "view-all-data",
            label: VIEW_ALL_DATA,
            why: "without it only records shared with the connected user are copied",
            how: HOW,
            required: false,
        },
    ],
    daily_limit: Some((DAILY_LIMIT, None)),
    callback: Some("http://localhost:17817/oauth/cb/salesforce"),
};

/// One connection's Salesforce.
#[derive(Debug)]
pub struct Salesforce {
    http: Http,
    login: Url,
    version: String,
    credential: CredentialKind,
    compression: bool,
    /// How often the page was halved because an answer was too large.
    shrink: AtomicU32,
    /// The org refused its delete log within a composite.
    deletes_alone: AtomicBool,
}

/// A paid answer.
struct Got {
    answer: Answer,
    usage: Vec<Usage>,
}

impl Salesforce {
    /// From the checked keys of a connection.
    pub fn new(
        http: Http,
        keys: &BTreeMap<String, String>,
        credential: CredentialKind,
    ) -> Result<Self, Fault> {
        let wrong = |what: String| Fault::Misconfigured { what };
        let text = keys.get("login_url").map_or("https://login.salesforce.com", String::as_str);
        let login = Url::parse(text).map_err(|e| wrong(format!("login_url: {e}")))?;
        check_url(&login).map_err(|e| wrong(format!("login_url: {e}")))?;
        let version =
            keys.get("api_version").map_or("64.0", String::as_str).trim_start_matches('v');
        if version.parse::<f32>().is_err() || version.len() > 8 {
            return Err(wrong(format!("api_version `{version}` is not like 64.0")));
        }
        Ok(Self {
            http,
            login,
            version: version.to_owned(),
            credential,
            compression: keys.get("compression").is_none_or(|word| word != "false"),
            shrink: AtomicU32::new(0),
            deletes_alone: AtomicBool::new(false),
        })
    }

    /// Path of a data resource; also what a composite's parts are named by.
    fn data_path(&self, rest: &str) -> String {
        format!("/services/data/v{}/{rest}", self.version)
    }

    async fn get(&self, ctx: Ctx<'_>, path: &str, cost: u32) -> Result<Got, Failure> {
        let url = url(ctx.session, path)?;
        let request = self.http.request(Method::GET, url)?;
        self.pay(ctx, request, cost, DATA_LIMIT).await
    }

    async fn post<T: Serialize + Sync>(
        &self,
        ctx: Ctx<'_>,
        path: &str,
        body: &T,
        cost: u32,
    ) -> Result<Got, Failure> {
        let url = url(ctx.session, path)?;
        let request = self.http.request(Method::POST, url)?.json(body);
        self.pay(ctx, request, cost, DATA_LIMIT).await
    }

    /// A paid answer of CSV, to be read as it comes.
    async fn open<'t>(
        &self,
        ctx: Ctx<'t>,
        request: RequestBuilder,
    ) -> Result<(Stream<'t>, Vec<Usage>), SendError> {
        let request = self.build(request, ctx.session, "text/csv").map_err(SendError::NotSent)?;
        self.http.paid_stream(ctx.toll, 1, request, identity::header_usage).await
    }

    fn build(
        &self,
        request: RequestBuilder,
        session: &Session,
        accept: &'static str,
    ) -> Result<Request, Fault> {
        let mut request = request
            .bearer_auth(session.token.expose_secret())
            .header("accept", accept)
            .header("sforce-call-options", "client=crmsync");
        if !self.compression {
            request = request.header("accept-encoding", "identity");
        }
        request
            .build()
            .map_err(|e| Fault::contract(format!("building a request: {}", e.without_url())))
    }

    async fn pay(
        &self,
        ctx: Ctx<'_>,
        request: RequestBuilder,
        cost: u32,
        limit: usize,
    ) -> Result<Got, Failure> {
        let request = self.build(request, ctx.session, "application/json")?;
        match self.http.paid(ctx.toll, cost, request, limit, identity::header_usage).await {
            Ok((answer, usage)) => Ok(Got { answer, usage }),
            Err(error) => {
                if matches!(error, SendError::TooLarge(_)) {
                    self.shrink.fetch_add(1, Ordering::Relaxed);
                }
                Err(error.into())
            }
        }
    }
}

fn url(session: &Session, path: &str) -> Result<Url, Fault> {
    session.base.join(path).map_err(|e| Fault::contract(format!("address of a call: {e}")))
}

impl Provider for Salesforce {
    fn spec(&self) -> &'static ProviderSpec {
        &SPEC
    }

    fn domain(&self, identity: &Identity) -> QuotaDomain {
        QuotaDomain(format!("salesforce:{}", identity.org_id))
    }

    fn calls(
        &self,
        tasks: &[Task],
        schema: &Schema,
        domain: &QuotaDomain,
        budget: usize,
    ) -> Vec<Call> {
        let alone = self.deletes_alone.load(Ordering::Relaxed);
        pack::calls(tasks, schema, domain, budget, alone)
    }

    fn send<'a>(
        &'a self,
        ctx: Ctx<'a>,
        call: &'a Call,
        schema: &'a Schema,
        sink: mpsc::Sender<Delivered>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(read::send(self, ctx, call, schema, sink))
    }

    fn identify<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Identity>, Failure>> {
        Box::pin(identity::identify(self, ctx))
    }

    fn objects<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Names>, Failure>> {
        Box::pin(describe::objects(self, ctx))
    }

    fn describe<'a>(
        &'a self,
        ctx: Ctx<'a>,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Described>, Failure>> {
        Box::pin(describe::describe(self, ctx, objects))
    }

    fn sizes<'a>(
        &'a self,
        ctx: Ctx<'a>,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<BTreeMap<String, u64>>, Failure>> {
        Box::pin(describe::sizes(self, ctx, objects))
    }

    fn job_pays(&self, object: &ObjectSchema, fields: &[String], rows: u64) -> bool {
        bulk::pays(object, fields, rows)
    }

    fn checks<'a>(
        &'a self,
        ctx: Ctx<'a>,
        identity: &'a Identity,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Vec<Check>>, Failure>> {
        Box::pin(identity::checks(self, ctx, identity, objects))
    }

    fn usage<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Vec<Usage>>, Failure>> {
        Box::pin(identity::usage(self, ctx))
    }

    fn clock<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<()>, Failure>> {
        Box::pin(async move {
            // The list of versions needs no log-in and is not counted.
            let url = url(ctx.session, "/services/data/")?;
            let request =
                self.http.request(Method::GET, url)?.build().map_err(|e| {
                    Fault::contract(format!("building a request: {}", e.without_url()))
                })?;
            let answer = self.http.send(request, SMALL_LIMIT).await.map_err(Failure::from)?;
            if let Some(fault) = answer.passing() {
                return Err(fault.into());
            }
            Ok(Told { value: (), server_time: answer.server_time() })
        })
    }

    fn oauth(&self) -> Option<OAuthEndpoints> {
        let at = |path: &str| self.login.join(path).ok();
        Some(OAuthEndpoints {
            authorize: at("/services/oauth2/authorize")?,
            token: at("/services/oauth2/token")?,
            revoke: at("/services/oauth2/revoke"),
            scopes: ["api", "refresh_token", "id"].map(str::to_owned).to_vec(),
            // Else an admin may silently reconnect as somebody else's browser session.
            extra: vec![("prompt".into(), "login".into())],
        })
    }

    fn token_fault(&self, status: u16, error: &str, description: &str) -> Fault {
        oauth::token_fault(status, error, description)
    }

    /// `id` is the identity address, `https://HOST/id/ORG/USER`.
    fn org_of(&self, answer: &serde_json::Value) -> Option<String> {
        let address = Url::parse(answer.get("id")?.as_str()?).ok()?;
        let mut parts = address.path_segments()?;
        let org = parts.by_ref().skip_while(|part| *part != "id").nth(1)?;
        (org.starts_with("00D") && matches!(org.len(), 15 | 18)).then(|| org.to_owned())
    }

    fn session(&self, answer: &serde_json::Value) -> Result<Session, Fault> {
        let word = |name: &str| {
            answer
                .get(name)
                .and_then(serde_json::Value::as_str)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Fault::contract(format!("the token answer has no {name}")))
        };
        let token = SecretString::from(word("access_token")?.to_owned());
        let base = Url::parse(word("instance_url")?)
            .map_err(|e| Fault::contract(format!("instance_url of the token answer: {e}")))?;
        check_url(&base).map_err(Fault::contract)?;
        Ok(Session { token, base, username: None })
    }

    fn log_in<'a>(
        &'a self,
        _username: &'a str,
        _password: &'a SecretString,
    ) -> BoxFuture<'a, Result<Session, Fault>> {
        Box::pin(std::future::ready(Err(Fault::Misconfigured {
            what:
                "Salesforce has no log-in by password; hint: set auth to code or client-credentials"
                    .into(),
        })))
    }

    fn credential(&self) -> CredentialKind {
        self.credential
    }
}
