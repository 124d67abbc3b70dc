//! JSON-RPC as Tryton 6.0 speaks it: log-in, session header, errors in the body of a 200.

use crate::support::http::{self, Answer};
use crate::support::wait::eventually_or;
use base64::Engine as _;
use serde_json::{Value, json};
use std::time::Duration;

/// Somebody else's transaction takes no longer.
const FREE: Duration = Duration::from_secs(20);

/// A session of one user.
pub struct Rpc {
    url: String,
    auth: String,
    /// The context sent with every call.
    pub context: Value,
}

/// A call that was refused: by its status, or by an error in the body of a 200.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error of the body, or the body itself.
    pub error: Value,
}

impl Rpc {
    /// Logs in; 401 for a wrong password or an inactive user, 429 after several wrong ones.
    pub fn login(base: &str, db: &str, user: &str, password: &str) -> Result<Self, Refusal> {
        let url = format!("{base}/{db}/");
        let body = json!({"id": 1, "method": "common.db.login",
                          "params": [user, {"password": password}]});
        let session = result(&http::post_json(&url, &[], &body))?;
        let (uid, key) = (&session[0], session[1].as_str().unwrap_or_default());
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{uid}:{key}"));
        Ok(Self { url, auth: format!("Session {auth}"), context: json!({}) })
    }

    /// The value of the header that carries the session.
    pub fn authorization(&self) -> &str {
        &self.auth
    }

    /// One call; the context is appended to the parameters.
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value, Refusal> {
        let mut params = params.to_vec();
        params.push(self.context.clone());
        let body = json!({"id": 1, "method": method, "params": params});
        let ask = || result(&http::post_json(&self.url, &[("authorization", &self.auth)], &body));
        // Its database is a file: who comes while another one writes is refused, and nothing done.
        eventually_or(FREE, "Tryton's file is free", || match ask() {
            Err(refusal) if refusal.error.to_string().contains("locked") => {
                Err(refusal.error.to_string())
            }
            done => Ok(done),
        })
    }
}

fn result(answer: &Answer) -> Result<Value, Refusal> {
    let refusal = |error| Refusal { status: answer.status, error };
    if answer.status != 200 {
        return Err(refusal(Value::String(answer.text())));
    }
    let mut body = answer.json();
    match body.get("error") {
        Some(error) => Err(refusal(error.clone())),
        None => Ok(body["result"].take()),
    }
}

/// A decimal in Tryton's JSON.
pub fn decimal(text: &str) -> Value {
    json!({"__class__": "Decimal", "decimal": text})
}

/// A date in Tryton's JSON, from `YYYY-MM-DD`.
pub fn date(text: &str) -> Value {
    let parts: Vec<u16> = text.split('-').map(|p| p.parse().expect("a date")).collect();
    json!({"__class__": "date", "year": parts[0], "month": parts[1], "day": parts[2]})
}
