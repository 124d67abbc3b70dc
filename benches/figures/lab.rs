//! Sandbox and daemon of a measurement: limits high, compression off, a grant without a browser.

use crate::support::Scratch;
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::http;
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// For whatever may take long.
pub const LONG: Duration = Duration::from_secs(1800);
/// Both sides read what is sent as it is.
const PLAIN: &str = "compression = false\n";

/// A size, which an environment variable makes another for a quick try.
pub fn size(name: &str, usual: usize) -> usize {
    let name = format!("CRMSYNC_BENCH_{name}");
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}

/// A source with a daemon's worth of limits.
pub struct Lab {
    /// The source.
    pub sandbox: Sandbox,
    secret: PathBuf,
    _scratch: Scratch,
}

impl Lab {
    /// A sandbox with these flags beside high limits.
    pub fn start(flags: &[&str]) -> Self {
        let sandbox = Sandbox::start(&[&["--quota-max", "100000000"], flags].concat());
        let scratch = Scratch::new("figures");
        let secret = scratch.write("client.secret", &sandbox.client_secret);
        Self { sandbox, secret, _scratch: scratch }
    }

    /// A connection with its objects (lines of TOML).
    pub fn connection(&self, name: &str, schedule: &str, objects: &[String]) -> String {
        let mut text = format!(
            "[connections.{name}]\nprovider = \"salesforce\"\nlogin_url = \"{}\"\nclient_id = \"{}\"\n\
             schedule = \"{schedule}\"\nauth = \"client-credentials\"\n\
             client_secret = {{ file = \"{}\" }}\n",
            self.sandbox.http,
            self.sandbox.client_id,
            self.secret.display()
        );
        if knows_compression() {
            text.push_str(PLAIN);
        }
        let _ = writeln!(text, "\n[connections.{name}.objects]");
        for object in objects {
            let _ = writeln!(text, "{object}");
        }
        text
    }

    /// An access token, as `curl` needs it.
    pub fn token(&self) -> String {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.sandbox.client_id.as_str()),
            ("client_secret", self.sandbox.client_secret.as_str()),
        ];
        let address = format!("{}/services/oauth2/token", self.sandbox.http);
        let granted = http::post_form(&address, &[], &fields).expect(200).json();
        granted["access_token"].as_str().expect("an access token").to_owned()
    }

    /// The finished data calls since the counters were reset.
    pub fn calls(&self) -> Vec<Call> {
        let all = self.sandbox.ctl(&["calls"]);
        let list = all.as_array().cloned().or_else(|| all["calls"].as_array().cloned());
        list.unwrap_or_else(|| panic!("no list of calls: {all}")).iter().map(Call::of).collect()
    }
}

/// The configuration before its connections.
pub fn head() -> &'static str {
    NOBODY
}

/// A data call as the sandbox saw it.
#[derive(Debug)]
pub struct Call {
    /// What it asked for.
    pub kind: String,
    /// What it counted as.
    pub cost: u64,
    /// Its arrival.
    pub started: Timestamp,
    /// When the answer had left.
    pub finished: Timestamp,
}

impl Call {
    fn of(value: &Value) -> Self {
        let time = |key: &str| -> Timestamp {
            value[key].as_str().and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{value}"))
        };
        Self {
            kind: value["kind"].as_str().unwrap_or_default().to_owned(),
            cost: value["cost"].as_u64().unwrap_or(1),
            started: time("started"),
            finished: time("finished"),
        }
    }
}

/// Calls by kind.
pub fn by_kind(calls: &[Call]) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for call in calls {
        *kinds.entry(call.kind.clone()).or_default() += call.cost;
    }
    kinds
}

/// Gives a connection its grant; its first run starts by itself.
pub fn authorize(daemon: &Daemon, name: &str) {
    daemon.api("POST", &format!("/v1/connections/{name}/reauthorize"), Some(&json!({}))).ok();
}

/// Waits until so many connections are idle.
pub fn idle(daemon: &Daemon, wanted: usize) {
    eventually_or(LONG, "all connections are idle", || {
        let status = daemon.api("GET", "/v1/status", None).ok();
        let all = status["connections"].as_array().cloned().unwrap_or_default();
        let idle = all.iter().filter(|c| c["reason"] == "idle").count();
        if idle == wanted {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200)); // looking must not be what is measured
        Err(format!("{idle} of {wanted}"))
    });
}

/// Waits until an object of a connection is loaded; looks fifty times a second.
pub fn loaded(daemon: &Daemon, connection: &str, object: &str) -> Timestamp {
    eventually_or(LONG, "the object is loaded", || {
        let detail = daemon.detail(connection);
        let objects = detail["objects"].as_array().cloned().unwrap_or_default();
        let phase = objects.iter().find(|o| o["name"] == object).map(|o| o["phase"].clone());
        assert_ne!(detail["status"]["state"], "Error", "the connection failed: {detail:#}");
        match phase {
            Some(phase) if phase == "following" => Ok(Timestamp::now()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Seconds from one moment to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Whether this build has the key yet.
fn knows_compression() -> bool {
    include_str!("../../config/crmsync.toml").contains("#compression =")
}
