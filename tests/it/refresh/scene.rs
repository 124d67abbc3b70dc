//! A connection whose token endpoint stands behind a proxy: the sandbox's own with rotation, or a
//! real `oidc-provider`, whose tokens a gate lets through to the sandbox's data.

use crate::support::browser::{self, Walk};
use crate::support::daemon::{Daemon, notify};
use crate::support::gate::Gate;
use crate::support::mail::Mail;
use crate::support::oidc::{self, Oidc};
use crate::support::ports;
use crate::support::postfix::Postfix;
use crate::support::sandbox::Sandbox;
use crate::support::tcp_proxy::{Mode, TcpProxy};
use serde_json::{Value, json};
use std::time::Duration;

/// The connection's name.
pub const NAME: &str = "sf";
/// The only request that the proxy's switches apply to.
const TOKEN: &str = "POST /services/oauth2/token";
const ADA: &str = "ada@example.test";
/// For what a busy machine may take long over.
pub const LONG: Duration = Duration::from_secs(60);

/// Whose grant it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Issuer {
    /// The sandbox with `--rotate`.
    Sandbox,
    /// `oidc-provider`.
    Oidc,
}

/// Everything that a test of refreshing needs, authorized and loaded.
pub struct Scene {
    pub daemon: Daemon,
    pub sandbox: Sandbox,
    pub oidc: Option<(Oidc, Gate)>,
    pub proxy: TcpProxy,
    pub post: Postfix,
}

impl Scene {
    /// Ready to be used: loaded, idle, no mail yet.
    pub fn new(issuer: Issuer) -> Self {
        let scene = Self::unauthorized(issuer, &[]);
        scene.begin();
        scene
    }

    /// The daemon runs with this environment; nobody has authorized the connection yet.
    pub fn unauthorized(issuer: Issuer, env: &[(&str, &str)]) -> Self {
        let (sandbox, oidc, proxy, post) = Self::servers(issuer);
        let config = Self::config(&proxy, &sandbox, oidc.is_some(), &post);
        let daemon = Daemon::start_with(&config, env);
        Self { daemon, sandbox, oidc, proxy, post }
    }

    /// The same with a daemon that was only prepared, so that its folder can be.
    pub fn prepared(issuer: Issuer, folder: impl FnOnce(&Daemon)) -> Self {
        let (sandbox, oidc, proxy, post) = Self::servers(issuer);
        let config = Self::config(&proxy, &sandbox, oidc.is_some(), &post);
        let mut daemon = Daemon::prepare(&config, &[]);
        folder(&daemon);
        daemon.start_again();
        Self { daemon, sandbox, oidc, proxy, post }
    }

    fn servers(issuer: Issuer) -> (Sandbox, Option<(Oidc, Gate)>, TcpProxy, Postfix) {
        let sandbox =
            Sandbox::start(&["--rotate", "--records", "Account=60", "--records", "Contact=20"]);
        let (oidc, proxy) = match issuer {
            Issuer::Sandbox => (None, TcpProxy::start(sandbox.port())),
            Issuer::Oidc => {
                let port = ports::free_port();
                let proxy = TcpProxy::start(port);
                let oidc = Oidc::start_as(port, &proxy.url(), &[]);
                let gate = Gate::start(&oidc, &sandbox);
                let url = gate.url();
                oidc.extra(&json!({ "instance_url": url, "id": format!("{url}/id/org/user") }));
                (Some((oidc, gate)), proxy)
            }
        };
        proxy.only(TOKEN);
        (sandbox, oidc, proxy, Postfix::start())
    }

    fn config(proxy: &TcpProxy, sandbox: &Sandbox, oidc: bool, post: &Postfix) -> String {
        let client = if oidc { oidc::CLIENT_ID } else { &sandbox.client_id };
        format!(
            "{}[connections.{NAME}]\nprovider = \"salesforce\"\nlogin_url = \"{}\"\nclient_id = \"{client}\"\nschedule = \"every 1h\"\n\n[connections.{NAME}.objects]\nAccount = \"all\"\n",
            notify(post.plain),
            proxy.url()
        )
    }

    /// First authorization and load.
    pub fn begin(&self) {
        let secret = match &self.oidc {
            Some(_) => oidc::CLIENT_SECRET,
            None => &self.sandbox.client_secret,
        };
        self.daemon.set_secret(NAME, "client_secret", secret);
        // told that it was never authorized, before it is: then the mails can be counted
        self.post.wait_mails(ADA, 1, LONG);
        self.authorize();
        self.daemon.wait_reason(NAME, "Active", "idle");
        self.same();
        self.post.wait_mails(ADA, 2, LONG);
    }

    /// Walks the browser's way.
    pub fn authorize(&self) {
        let path = format!("/v1/connections/{NAME}/reauthorize");
        let begun = self.daemon.api("POST", &path, Some(&json!({}))).ok();
        let url = begun["url"].as_str().expect("an address to open");
        let who =
            Walk { user: &self.sandbox.user, password: &self.sandbox.password, approve: true };
        let redirected = browser::walk(url, &who).unwrap_or_else(|s| panic!("{url}: {s:?}"));
        let request = begun["request"].as_str().expect("a request");
        let body = json!({ "value": redirected });
        self.daemon.api("POST", &format!("/v1/requests/{request}/callback"), Some(&body)).ok();
    }

    /// Refreshes that reached the token endpoint, as it counts them itself.
    pub fn attempts(&self) -> u64 {
        match &self.oidc {
            None => self.sandbox.counter("token:refresh_token"),
            Some((oidc, _)) => {
                let counts = oidc.counts();
                let of = |what: &str| counts[what].as_u64().unwrap_or(0);
                of("refresh_token.granted") + of("refresh_token.refused")
            }
        }
    }

    /// Asks for a run and does not wait for it.
    pub fn ring(&self) {
        let path = format!("/v1/connections/{NAME}/sync");
        self.daemon.api("POST", &path, Some(&json!({}))).ok();
    }

    /// The open request, if there is one.
    pub fn request(&self) -> Value {
        self.daemon.detail(NAME)["request"].clone()
    }

    /// Waits for that many mails, and no more than that.
    pub fn expect_mails(&self, n: usize) -> Vec<Mail> {
        let mails = self.post.wait_mails(ADA, n, LONG);
        let subjects: Vec<_> = mails.iter().map(Mail::subject).collect();
        assert_eq!(mails.len(), n, "more mails than there should be: {subjects:#?}");
        mails
    }

    /// The replica equals the source.
    pub fn same(&self) {
        self.daemon.replica(NAME).assert_same("account", &self.sandbox.source("Account", &[]));
    }

    /// A daemon that lives anew has no session: the next call needs a refresh.
    pub fn restart(&mut self) {
        self.daemon.stop();
        self.daemon.start_again();
    }

    /// kill -9, whatever it had on the wire is gone, then a new life.
    pub fn kill(&mut self) {
        self.daemon.kill9();
        self.proxy.cut_all();
        self.proxy.set(Mode::Pass);
    }

    /// A run that finds everything in order, and brings a change of the source.
    pub fn goes_on(&self) {
        self.sandbox.ctl(&["touch", "Account", "3"]);
        let run = self.daemon.sync(NAME);
        assert_eq!(run["outcome"], "done", "{run:#}");
        assert!(self.request().is_null(), "{:#}", self.request());
        let status = self.daemon.status(NAME);
        assert_eq!((&status["status"], &status["reason"]), (&json!("Active"), &json!("idle")));
    }

    /// The grant is told lost: one request with its reason, no further try, one mail; then
    /// somebody authorizes, and it catches up. `mails` had come before.
    pub fn lost_and_found(&self, mails: usize) {
        let reason = "grant lost while it rotated";
        let status = self.daemon.wait_reason(NAME, "Error", reason);
        assert_eq!(status["needs_authorization"], true, "{status:#}");
        let (request, tried) = (self.request(), self.attempts());
        assert_eq!(request["state"], "open", "{request:#}");
        assert_eq!(request["reason"], reason, "{request:#}");
        let path = format!("/v1/connections/{NAME}/sync");
        let refused = self.daemon.api("POST", &path, Some(&json!({})));
        assert!(refused.status >= 400, "a sync is refused while it is dead: {refused:?}");
        let told = self.expect_mails(mails + 1);
        let mail = &told[mails];
        assert!(mail.body.contains("rotated") || mail.subject().contains("rotated"), "{mail:?}");
        assert_eq!(self.attempts(), tried, "a dead grant is not tried again");
        assert_eq!(self.request()["id"], request["id"], "still the one request");
        self.sandbox.ctl(&["touch", "Account", "5"]);
        self.authorize();
        self.daemon.wait_reason(NAME, "Active", "idle");
        self.daemon.follow(NAME);
        self.same();
        assert!(self.request().is_null(), "the request is closed");
        self.expect_mails(mails + 2);
    }
}
