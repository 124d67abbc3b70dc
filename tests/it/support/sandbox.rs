//! The sandbox program as a server of a test: started with flags, steered over its control routes,
//! read through its dump. Everything is asked over HTTP; no code of the sandbox is linked.

use super::http::{self, Answer};
use super::proc::{Proc, run};
use super::replica::Source;
use super::{Scratch, workspace};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// A running sandbox and what its ready line said.
pub struct Sandbox {
    proc: Proc,
    scratch: Scratch,
    /// The whole ready line.
    pub ready: Value,
    /// `http://127.0.0.1:PORT`
    pub http: String,
    /// `https://…`, when it was started with a certificate.
    pub https: Option<String>,
    /// The org's id.
    pub org_id: String,
    /// The default client's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The default user's login.
    pub user: String,
    /// His password.
    pub password: String,
}

/// The program: `CRMSYNC_SANDBOX_BIN`, else the one of this workspace, brought up to date once
/// for each test program (a test of one package builds no programs of another).
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if let Some(path) = std::env::var_os("CRMSYNC_SANDBOX_BIN") {
        return path.into();
    }
    // …/target/PROFILE/deps/it-HASH -> …/target/PROFILE/crmsync-sandbox
    let exe = std::env::current_exe().expect("the test program's path");
    let folder = exe.ancestors().nth(2).expect("a folder of the profile").to_path_buf();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // of the whole workspace: with `-p` the dependencies would be built again, with fewer features
    command.args(["build", "--quiet", "--workspace", "--bin", "crmsync-sandbox"]);
    command.current_dir(workspace());
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    run(command, Duration::from_secs(900)).ok();
    folder.join("crmsync-sandbox")
}

impl Sandbox {
    /// `crmsync-sandbox serve --listen 127.0.0.1:0 ARGS…`, ready to be used.
    pub fn start(args: &[&str]) -> Self {
        let scratch = Scratch::new("sandbox");
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args).current_dir(scratch.path());
        let proc = Proc::start("sandbox", command, scratch.path());
        let line = proc.wait_line_after(0, super::wait::START, "the ready line", |stream, line| {
            stream == super::proc::Stream::Out && line.starts_with('{')
        });
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        Self {
            http: text("http"),
            https: ready["https"].as_str().map(str::to_owned),
            org_id: text("org_id"),
            client_id: text("client_id"),
            client_secret: text("client_secret"),
            user: text("user"),
            password: text("password"),
            proc,
            scratch,
            ready,
        }
    }

    /// The port of the plain address, for a proxy in front of it.
    pub fn port(&self) -> u16 {
        url::Url::parse(&self.http).ok().and_then(|u| u.port()).expect("a port in the address")
    }

    /// The process, to kill or to wait for lines.
    pub fn proc(&mut self) -> &mut Proc {
        &mut self.proc
    }

    /// Its folder, with its logs.
    pub fn dir(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// One control verb with its arguments as on the command line, `name=value` for named ones:
    /// `ctl(&["delete", "Account", "5"])`, `ctl(&["quota", "used=11999"])`.
    pub fn ctl(&self, words: &[&str]) -> Value {
        let answer = self.try_ctl(words);
        assert_eq!(answer.status, 200, "ctl {words:?}: {}", answer.text());
        answer.json()
    }

    /// Like [`Sandbox::ctl`], whatever the answer.
    pub fn try_ctl(&self, words: &[&str]) -> Answer {
        let (verb, args) = words.split_first().expect("a verb");
        let fields: Vec<_> = args.iter().map(|w| named(w).unwrap_or(("arg", w))).collect();
        http::post_form(&format!("{}/_sandbox/{verb}", self.http), &[], &fields)
    }

    /// A describe as the source gives it, under a token of the client-credentials flow. It counts
    /// as a call like any other: take it before the calls that a test counts.
    pub fn describe(&self, object: &str) -> Value {
        self.data("GET", &format!("sobjects/{object}/describe"), b"").expect(200).json()
    }

    /// Changes a record as its users would; a call like any other.
    pub fn update(&self, object: &str, id: &str, fields: &Value) {
        let body = fields.to_string();
        self.data("PATCH", &format!("sobjects/{object}/{id}"), body.as_bytes()).expect(204);
    }

    /// The same, whatever the answer.
    pub fn try_update(&self, object: &str, id: &str, fields: &Value) -> Answer {
        self.data("PATCH", &format!("sobjects/{object}/{id}"), fields.to_string().as_bytes())
    }

    fn data(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
        ];
        let address = format!("{}/services/oauth2/token", self.http);
        let granted = http::post_form(&address, &[], &fields).expect(200).json();
        let token = granted["access_token"].as_str().expect("an access token");
        let address = format!("{}/services/data/v64.0/{path}", self.http);
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        http::request(method, &address, &headers, body)
    }

    /// What the replica of an object is compared with: all fields, or the `selected` ones.
    pub fn source(&self, object: &str, selected: &[&str]) -> Source {
        Source::salesforce(&self.describe(object), selected, self.dump(object))
    }

    /// Counters of every kind of call since the start or the last reset.
    pub fn counters(&self) -> Value {
        self.ctl(&["counters"])
    }

    /// One counter; 0 when there is none of that name yet.
    pub fn counter(&self, kind: &str) -> u64 {
        self.counters()[kind].as_u64().unwrap_or(0)
    }

    /// Waits, on the sandbox's side and by event, until a counter has reached a number.
    pub fn wait_counter(&self, kind: &str, count: u64) {
        let (kind, count) = (format!("kind={kind}"), format!("count={count}"));
        let said = self.ctl(&["wait", &kind, &count, "timeout=30"]);
        assert_eq!(said["reached"], true, "{said}; counters: {}", self.counters());
    }

    /// Every record of an object, soft-deleted ones included, as the source has it.
    pub fn dump(&self, object: &str) -> Vec<Map<String, Value>> {
        let answer = self.try_ctl(&["dump", object]).expect(200);
        let text = answer.text();
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line)
                    .unwrap_or_else(|e| panic!("a line of the dump: {e}"));
                raw.into_iter().map(|(name, value)| (name, exact(&value))).collect()
            })
            .collect()
    }
}

/// A value with its numbers as texts: money must not pass through a double on its way here.
fn exact(raw: &RawValue) -> Value {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Value::String(text.to_owned()),
        _ => serde_json::from_str(text).unwrap_or_else(|e| panic!("a value of the dump: {e}")),
    }
}

/// `name=value` where the name is a bare word; everything else is positional.
fn named(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let bare = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    bare.then_some((name, value))
}
