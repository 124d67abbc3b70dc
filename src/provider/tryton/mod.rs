//! Tryton, series 6.0, by JSON-RPC.
//!
//! Hides the protocol, sessions, `__class__` values, domains. Reads only. Invariants: one log-in
//! per attempt, for the server counts wrong ones and then refuses right ones too; a session
//! outlives a changed password, so only a fresh log-in proves the credential. No limit is told.

#[cfg(test)]
mod live_tests;
mod model;
mod read;
mod rpc;
mod value;

use super::http::{Http, SMALL_LIMIT, check_url, host_of};
use super::{Ctx, Described, Failure, Names, OAuthEndpoints, Provider, Session, Told};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crmsync_core::domain::{
    Call, Check, CheckOutcome, CredentialKind, Delivered, Fault, Identity, KeyKind, KeySpec, Need,
    Outcome, ProviderSpec, QuotaDomain, Reason, Schema, Task, Usage,
};
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use rpc::About;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc;
use url::Url;

/// What Tryton needs and offers.
pub const SPEC: ProviderSpec = ProviderSpec {
    id: "tryton",
    label: "Tryton",
    keys: &[
        KeySpec {
            name: "url",
            kind: KeyKind::Url,
            required: true,
            default: None,
            doc: "address of the server, without the database",
        },
        KeySpec {
            name: "database",
            kind: KeyKind::Text,
            required: true,
            default: None,
            doc: "name of the database",
        },
        KeySpec {
            name: "username",
            kind: KeyKind::Text,
            required: true,
            default: None,
            doc: "log-in name",
        },
        KeySpec {
            name: "company",
            kind: KeyKind::Number,
            required: false,
            default: None,
            doc: "id of the company whose records are read; default: the user's own",
        },
    ],
    secrets: &[("password", "password of the user")],
    credentials: &[CredentialKind::Password],
    needs: &[Need {
        id: "read",
        label: "read access",
        why: "records are copied with it",
        how: "Administration > Users > Access Permissions of the user's groups",
        required: true,
    }],
    daily_limit: None,
    callback: None,
};

/// One connection's Tryton.
#[derive(Debug)]
pub struct Tryton {
    http: Http,
    /// Of the database.
    endpoint: Url,
    database: String,
    company: Option<i64>,
    /// The user's own company, learned at log-in; 0 is none. Records of a company are invisible
    /// without it in the context, so an empty list would look like deletion.
    own_company: AtomicI64,
}

impl Tryton {
    /// From the checked keys of a connection.
    pub fn new(http: Http, keys: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let wrong = |what: String| Fault::Misconfigured { what };
        let text = keys.get("url").ok_or_else(|| wrong("url is missing".into()))?;
        let database = keys.get("database").ok_or_else(|| wrong("database is missing".into()))?;
        let mut endpoint = Url::parse(text).map_err(|e| wrong(format!("url: {e}")))?;
        check_url(&endpoint).map_err(|e| wrong(format!("url: {e}")))?;
        endpoint
            .path_segments_mut()
            .map_err(|()| wrong("url cannot be a base".into()))?
            .pop_if_empty()
            .extend([database.as_str(), ""]);
        let company = keys
            .get("company")
            .map(|text| {
                text.parse().map_err(|_| wrong(format!("company `{text}` is not a number")))
            })
            .transpose()?;
        Ok(Self {
            http,
            endpoint,
            database: database.clone(),
            company,
            own_company: AtomicI64::new(0),
        })
    }

    fn context(&self) -> Value {
        let own = self.own_company.load(Ordering::Relaxed);
        match self.company.or((own > 0).then_some(own)) {
            Some(company) => json!({"active_test": false, "company": company}),
            None => json!({"active_test": false}),
        }
    }

    /// An unpaid question, at log-in only. The status of the answer comes with its result.
    async fn ask(
        &self,
        method: &str,
        params: Value,
        token: Option<&SecretString>,
    ) -> Result<String, Failure> {
        let mut request = self.http.request(Method::POST, self.endpoint.clone())?;
        if let Some(token) = token {
            let mut header = HeaderValue::from_str(&format!("Session {}", token.expose_secret()))
                .map_err(|_| Fault::contract("a session key that is no header"))?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let request =
            request
                .json(&json!({"id": 1, "method": method, "params": params}))
                .build()
                .map_err(|e| Fault::contract(format!("building a request: {}", e.without_url())))?;
        let answer = self.http.send(request, SMALL_LIMIT).await.map_err(Failure::from)?;
        rpc::result(answer, About::default())
    }

    async fn open(&self, username: &str, password: &SecretString) -> Result<Session, Fault> {
        let params = json!([username, {"password": password.expose_secret()}]);
        let credentials = || Fault::NeedsAuthorization {
            reason: Reason::CredentialsChanged,
            text: format!(
                "the server refused the log-in of {username}; it says so of a changed password, a deactivated user and an unknown one alike"
            ),
        };
        let result =
            self.ask("common.db.login", params, None).await.map_err(|failure| match failure {
                Failure::SessionDead(_) => credentials(),
                Failure::Fault(fault) => fault,
                Failure::Held => Fault::passing("the log-in was held"),
            })?;
        // The session key must not get into a text, so the parser's words are not passed on.
        let answer: Option<Vec<Value>> = serde_json::from_str(&result)
            .map_err(|_| Fault::contract("the log-in's answer is not [user, session]"))?;
        let Some(answer) = answer else {
            return Err(credentials());
        };
        let (Some(uid), Some(key)) =
            (answer.first().and_then(Value::as_i64), answer.get(1).and_then(Value::as_str))
        else {
            return Err(Fault::contract("the log-in's answer is not [user, session]"));
        };
        let token = SecretString::from(STANDARD.encode(format!("{username}:{uid}:{key}")));
        if self.company.is_none() {
            let params = json!([true, {}]);
            let result = self.ask("model.res.user.get_preferences", params, Some(&token)).await;
            let preferences = result.ok().and_then(|r| serde_json::from_str::<Value>(&r).ok());
            let company = preferences.and_then(|p| p.get("company")?.as_i64()).unwrap_or(0);
            self.own_company.store(company, Ordering::Relaxed);
        }
        Ok(Session { token, base: self.endpoint.clone(), username: Some(username.to_owned()) })
    }

    async fn who(&self, ctx: Ctx<'_>) -> Result<Told<Identity>, Failure> {
        #[derive(Deserialize)]
        struct User {
            login: String,
            #[serde(default)]
            active: Value,
            #[serde(default)]
            company: Value,
            #[serde(default)]
            groups: Vec<i64>,
        }
        let uid =
            user_id(ctx.session).ok_or_else(|| Fault::contract("a session that names no user"))?;
        // `company` exists only where that module is active.
        let mut fields = vec!["login", "active", "groups"];
        if self.own_company.load(Ordering::Relaxed) > 0 {
            fields.push("company");
        }
        let about = About { object: Some("res.user"), fields: &[] };
        let params = json!([[uid], fields, self.context()]);
        let got = rpc::call(self, ctx, "model.res.user.read", params, about).await?;
        let users: Vec<User> = serde_json::from_str(&got.result)
            .map_err(|e| Fault::contract(format!("reading the own user: {e}")))?;
        let user =
            users.into_iter().next().ok_or_else(|| Fault::contract("the own user is not there"))?;
        if user.active == json!(false) || user.active == json!(0) {
            return Err(Fault::NeedsAuthorization {
                reason: Reason::UserDeactivated,
                text: format!("user {} is not active", user.login),
            }
            .into());
        }
        let mut groups: Vec<String> = user.groups.iter().map(i64::to_string).collect();
        groups.sort();
        let mut sight = BTreeMap::from([("groups".to_owned(), groups.join(","))]);
        let company = self.company.map_or(user.company, |c| json!(c));
        if !company.is_null() {
            sight.insert("company".to_owned(), company.to_string());
        }
        let identity = Identity {
            // The database has no id of its own that users may read: its address stands for it.
            org_id: format!("{}/{}", host_of(&self.endpoint), self.database),
            org_name: Some(self.database.clone()),
            user_id: uid.to_string(),
            username: user.login,
            address: self.endpoint.as_str().to_owned(),
            sight,
        };
        Ok(Told { value: identity, server_time: got.server_time })
    }
}

/// The user's number out of `user:uid:session`; a log-in name may hold colons.
fn user_id(session: &Session) -> Option<i64> {
    let text = STANDARD.decode(session.token.expose_secret()).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.rsplit(':').nth(1)?.parse().ok()
}

impl Provider for Tryton {
    fn spec(&self) -> &'static ProviderSpec {
        &SPEC
    }

    fn domain(&self, identity: &Identity) -> QuotaDomain {
        QuotaDomain(format!("tryton:{}", identity.org_id))
    }

    fn calls(
        &self,
        tasks: &[Task],
        _schema: &Schema,
        domain: &QuotaDomain,
        budget: usize,
    ) -> Vec<Call> {
        tasks
            .iter()
            .take(budget)
            .map(|task| Call { tasks: vec![task.clone()], cost: 1, domain: domain.clone() })
            .collect()
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
        Box::pin(self.who(ctx))
    }

    fn objects<'a>(&'a self, ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Names>, Failure>> {
        Box::pin(model::objects(self, ctx))
    }

    fn describe<'a>(
        &'a self,
        ctx: Ctx<'a>,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Described>, Failure>> {
        Box::pin(model::describe(self, ctx, objects))
    }

    fn sizes<'a>(
        &'a self,
        _ctx: Ctx<'a>,
        _objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<BTreeMap<String, u64>>, Failure>> {
        Box::pin(std::future::ready(Ok(Told { value: BTreeMap::new(), server_time: None })))
    }

    fn stamp_of_new(&self) -> Option<&'static str> {
        Some("create_date")
    }

    fn job_pays(
        &self,
        _object: &crmsync_core::domain::ObjectSchema,
        _fields: &[String],
        _rows: u64,
    ) -> bool {
        false
    }

    fn checks<'a>(
        &'a self,
        ctx: Ctx<'a>,
        identity: &'a Identity,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Told<Vec<Check>>, Failure>> {
        Box::pin(async move {
            let mut server_time = None;
            let mut checks = vec![Check {
                id: "account".into(),
                label: "account".into(),
                outcome: CheckOutcome::Pass {
                    detail: format!("{} at {}", identity.username, identity.address),
                },
            }];
            for object in objects {
                let about = About { object: Some(object), fields: &[] };
                let params = json!([[], 0, 1, null, self.context()]);
                let asked = if value::is_model(object) {
                    rpc::call(self, ctx, &format!("model.{object}.search"), params, about).await
                } else {
                    Err(Fault::contract(format!("`{object}` is no model's name")).into())
                };
                let outcome = match asked {
                    Ok(got) => {
                        server_time = got.server_time;
                        CheckOutcome::Pass { detail: "can be read".into() }
                    }
                    Err(Failure::Fault(
                        fault @ (Fault::Denied { .. } | Fault::SchemaMoved { .. }),
                    )) => CheckOutcome::Fail {
                        detail: format!("{fault}; hint: {}", SPEC.needs[0].how),
                        required: true,
                    },
                    Err(Failure::Fault(
                        fault @ (Fault::Passing { .. } | Fault::Contract { .. }),
                    )) => CheckOutcome::Unknown { detail: fault.to_string() },
                    Err(other) => return Err(other),
                };
                let id = format!("read:{object}");
                checks.push(Check { id, label: format!("read {object}"), outcome });
            }
            Ok(Told { value: checks, server_time })
        })
    }

    fn usage<'a>(&'a self, _ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<Vec<Usage>>, Failure>> {
        Box::pin(std::future::ready(Ok(Told { value: Vec::new(), server_time: None })))
    }

    fn clock<'a>(&'a self, _ctx: Ctx<'a>) -> BoxFuture<'a, Result<Told<()>, Failure>> {
        Box::pin(async move {
            // Any page tells `Date`, a missing one as well.
            let mut url = self.endpoint.clone();
            url.set_path("/");
            let request =
                self.http.request(Method::GET, url)?.build().map_err(|e| {
                    Fault::contract(format!("building a request: {}", e.without_url()))
                })?;
            let answer = self.http.send(request, SMALL_LIMIT).await.map_err(Failure::from)?;
            Ok(Told { value: (), server_time: answer.server_time() })
        })
    }

    fn oauth(&self) -> Option<OAuthEndpoints> {
        None
    }

    fn token_fault(&self, status: u16, error: &str, _description: &str) -> Fault {
        Fault::contract(format!("Tryton has no token endpoint, yet it answered {status} {error}"))
    }

    fn session(&self, _answer: &Value) -> Result<Session, Fault> {
        Err(Fault::contract("Tryton has no token answers"))
    }

    fn log_in<'a>(
        &'a self,
        username: &'a str,
        password: &'a SecretString,
    ) -> BoxFuture<'a, Result<Session, Fault>> {
        Box::pin(self.open(username, password))
    }

    fn credential(&self) -> CredentialKind {
        CredentialKind::Password
    }
}
