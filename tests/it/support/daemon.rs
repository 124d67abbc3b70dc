//! A daemon of a test: started with a configuration in a folder of its own, steered over its
//! socket and by its client program, stopped and killed by process id.

use super::browser::{self, Walk};
use super::proc::{Output, Proc, run_with};
use super::replica::{Place, Replica};
use super::sandbox::Sandbox;
use super::wait::eventually_or;
use super::{Scratch, workspace};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A daemon and its folder; what it keeps survives [`Daemon::kill9`] and [`Daemon::start_again`].
pub struct Daemon {
    proc: Option<Proc>,
    scratch: Scratch,
    place: Place,
    env: Vec<(String, String)>,
    starts: usize,
}

/// An answer of the control socket.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body as JSON; `null` when it is none.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl Reply {
    /// The JSON of a success; panics with the text otherwise.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "status {}: {}", self.status, self.text);
        self.json
    }
}

/// A section for a sandbox connection, ready to be followed by more keys of it.
pub fn salesforce(name: &str, sandbox: &Sandbox, schedule: &str) -> String {
    format!(
        "[connections.{name}]\nprovider = \"salesforce\"\nlogin_url = \"{}\"\nclient_id = \"{}\"\nschedule = \"{schedule}\"\n",
        sandbox.http, sandbox.client_id
    )
}

/// `[notify]` with quick letters by the plain way to a mail server on loopback.
pub fn notify(port: u16) -> String {
    format!(
        "[notify]\nadmins = [\"ada@example.test\"]\ngather = \"1s\"\n\n[notify.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"crmsync <crmsync@example.test>\"\n\n"
    )
}

/// `[notify]` without a mail server.
pub const NOBODY: &str = "[notify]\nadmins = [\"ada@example.test\"]\ngather = \"1s\"\n\n";

impl Daemon {
    /// Starts one with this `crmsync.toml` and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with environment variables.
    pub fn start_with(config: &str, env: &[(&str, &str)]) -> Self {
        let mut daemon = Self::prepare(config, env);
        daemon.start_again();
        daemon
    }

    /// A folder with this configuration, nothing started.
    pub fn prepare(config: &str, env: &[(&str, &str)]) -> Self {
        Self::prepare_in(Place::default(), config, env)
    }

    /// The same with its replicas in a place of another kind, which is added to the configuration.
    pub fn prepare_in(place: Place, config: &str, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let daemon = Self { proc: None, scratch: Scratch::new("daemon"), place, env, starts: 0 };
        daemon.write_config("crmsync.toml", config);
        daemon
    }

    /// Starts one with its replicas in this place and waits until it is ready.
    pub fn start_in(place: Place, config: &str) -> Self {
        let mut daemon = Self::prepare_in(place, config, &[]);
        daemon.start_again();
        daemon
    }

    /// Starts the program (again) in the same folder and waits until its socket answers.
    pub fn start_again(&mut self) {
        self.launch();
        eventually_or(Duration::from_secs(30), "the daemon is ready", || {
            if !self.proc().is_running() {
                let lines = self.proc().lines().join("\n");
                panic!("the daemon ended while starting:\n{lines}");
            }
            match self.try_api("GET", "/v1/status", None) {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Starts the program without waiting for anything.
    pub fn launch(&mut self) {
        let mut command = Command::new(program("crmsyncd"));
        command.arg("--config").arg(self.path("etc"));
        command.arg("--state-dir").arg(self.path("state"));
        command.arg("--replica-dir").arg(self.path("replica"));
        command.arg("--socket").arg(self.socket());
        command.env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        self.starts += 1;
        let logs = self.path(&format!("log-{}", self.starts));
        std::fs::create_dir_all(&logs).expect("making a folder for logs");
        self.proc = Some(Proc::start("crmsyncd", command, &logs));
    }

    /// The running program.
    pub fn proc(&mut self) -> &mut Proc {
        self.proc.as_mut().expect("the daemon was started")
    }

    /// How often it was started; the log of the last start is in the folder `log-N`.
    pub fn starts(&self) -> usize {
        self.starts
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    /// Writes `crmsync.toml` (or another file below the configuration folder). In the first, the
    /// place of the replicas is added.
    pub fn write_config(&self, name: &str, text: &str) {
        let place = if name == "crmsync.toml" { self.place.config() } else { String::new() };
        self.scratch.write(&format!("etc/{name}"), &format!("{text}{place}"));
    }

    /// The replica of a connection.
    pub fn replica(&self, name: &str) -> Replica {
        self.place.replica(&self.path("replica"), name)
    }

    /// Takes the replica of a connection away with its whole place, while it may be in use.
    pub fn lose_place(&self, name: &str) {
        self.place.lose(&self.path("replica"), name);
    }

    /// Stops it in order; panics unless it ends with status 0 within 12 s.
    pub fn stop(&mut self) {
        let status = self.proc().terminate(Duration::from_secs(12));
        assert!(status.success(), "the daemon stopped with {status}");
        self.proc = None;
    }

    /// kill -9.
    pub fn kill9(&mut self) {
        self.proc().kill9();
        self.proc = None;
    }

    /// Asks the control socket; errors are those of the connection.
    pub fn try_api(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Reply> {
        raw_api(&self.socket(), method, path, body)
    }

    /// Asks the control socket.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.try_api(method, path, body)
            .unwrap_or_else(|e| panic!("{method} {path} at the control socket: {e}"))
    }

    /// Runs the client program against this daemon.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, b"")
    }

    /// The same with standard input.
    pub fn cli_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(program("crmsync"));
        command.arg("--socket").arg(self.socket()).args(args);
        command.env_remove("CRMSYNC_SOCKET").env("TZ", "UTC");
        run_with(command, input, Duration::from_secs(120))
    }

    /// `status NAME` as JSON: the connection's line.
    pub fn status(&self, name: &str) -> Value {
        let reply = self.api("GET", &format!("/v1/status?name={name}"), None).ok();
        reply["connections"][0].clone()
    }

    /// Everything of a connection.
    pub fn detail(&self, name: &str) -> Value {
        self.api("GET", &format!("/v1/connections/{name}"), None).ok()
    }

    /// Waits until the connection's line is as wished; says what it was at the deadline.
    pub fn wait_status(&self, name: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
        eventually_or(Duration::from_secs(60), what, || {
            let status = self.status(name);
            if wish(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// Waits for a status word and a reason that begins so.
    pub fn wait_reason(&self, name: &str, word: &str, reason: &str) -> Value {
        self.wait_status(name, &format!("{name} is {word}: {reason}"), |s| {
            s["status"] == word && s["reason"].as_str().is_some_and(|r| r.starts_with(reason))
        })
    }

    /// Asks for runs until the connection, deletes included, has caught up past this moment (by
    /// this host's clock, which the servers of a test share). A change of this second is only
    /// vouched for when the second is over.
    pub fn catch_up(&self, name: &str) -> Value {
        self.catch_up_by(name, &["caught_up_to", "deletes_to"])
    }

    /// The same for changes alone: the source's log of deletes covers whole minutes only, so that
    /// waiting for it may take one.
    pub fn follow(&self, name: &str) -> Value {
        self.catch_up_by(name, &["caught_up_to"])
    }

    fn catch_up_by(&self, name: &str, times: &[&str]) -> Value {
        let now = jiff::Timestamp::now();
        eventually_or(Duration::from_secs(120), &format!("{name} catches up to now"), || {
            self.sync(name);
            let status = self.status(name);
            let past = |key: &str| {
                status[key]
                    .as_str()
                    .and_then(|t| t.parse::<jiff::Timestamp>().ok())
                    .is_some_and(|t| t.as_second() > now.as_second())
            };
            if times.iter().all(|key| past(key)) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// Asks for a run now and waits for its end; the run's line.
    pub fn sync(&self, name: &str) -> Value {
        self.sync_with(name, &json!({}))
    }

    /// The same with wishes: `{"full": true}` reads everything again and compares keys.
    pub fn sync_with(&self, name: &str, wishes: &Value) -> Value {
        let before = self.last_run(name);
        self.api("POST", &format!("/v1/connections/{name}/sync"), Some(wishes)).ok();
        eventually_or(Duration::from_secs(120), &format!("the run of {name} ends"), || {
            let detail = self.detail(name);
            let run = detail["runs"][0].clone();
            let fresh = (run["id"].clone(), run["repeated"].clone()) != before && !run.is_null();
            let idle =
                detail["status"]["reason"] != "syncing" && detail["status"]["reason"] != "loading";
            if fresh && idle { Ok(run) } else { Err(format!("{detail:#}")) }
        })
    }

    fn last_run(&self, name: &str) -> (Value, Value) {
        let run = self.detail(name)["runs"][0].clone();
        (run["id"].clone(), run["repeated"].clone())
    }

    /// Sets the app's secret, walks the browser's way, hands the redirect in.
    pub fn authorize(&self, name: &str, sandbox: &Sandbox) -> Value {
        self.set_secret(name, "client_secret", &sandbox.client_secret);
        self.authorize_as(name, &sandbox.user, &sandbox.password, false).ok()
    }

    /// The same as another user; the last answer as it came.
    pub fn authorize_as(&self, name: &str, user: &str, password: &str, other: bool) -> Reply {
        let begun = self
            .api(
                "POST",
                &format!("/v1/connections/{name}/reauthorize"),
                Some(&json!({ "as_other_account": other })),
            )
            .ok();
        let url = begun["url"].as_str().expect("an address to open");
        let redirected = browser::walk(url, &Walk { user, password, approve: true })
            .unwrap_or_else(|stuck| panic!("walking {url}: {stuck:?}"));
        let request = begun["request"].as_str().expect("a request");
        let body = json!({ "value": redirected });
        self.api("POST", &format!("/v1/requests/{request}/callback"), Some(&body))
    }

    /// Authorizes a password system.
    pub fn log_in(&self, name: &str, password: &str) -> Reply {
        let path = format!("/v1/connections/{name}/reauthorize");
        let begun = self.api("POST", &path, Some(&json!({}))).ok();
        let request = begun["request"].as_str().expect("a request");
        let body = json!({ "value": password });
        self.api("POST", &format!("/v1/requests/{request}/password"), Some(&body))
    }

    /// `secret set`.
    pub fn set_secret(&self, name: &str, key: &str, value: &str) {
        let path = format!("/v1/connections/{name}/secrets/{key}");
        self.api("PUT", &path, Some(&json!({ "value": value }))).ok();
    }
}

/// One request over a Unix socket.
pub fn raw_api(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<Reply> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: crmsync\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw_bytes(socket, format!("{head}{body}").as_bytes())?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {text:?}")))?;
    let json = serde_json::from_str(body).unwrap_or(Value::Null);
    Ok(Reply { status, json, text: body.to_owned() })
}

/// One of the programs: the one that was built with the tests, or that of `CRMSYNC_BIN_DIR`.
pub fn program(name: &str) -> PathBuf {
    let built = match name {
        "crmsyncd" => env!("CARGO_BIN_EXE_crmsyncd"),
        _ => env!("CARGO_BIN_EXE_crmsync"),
    };
    match std::env::var_os("CRMSYNC_BIN_DIR") {
        Some(folder) => Path::new(&folder).join(name),
        None => built.into(),
    }
}

/// Writes bytes to a Unix socket and reads until it closes.
pub fn raw_bytes(socket: &Path, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // A server that refuses early may close before it has read all of it.
    let written = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if answer.is_empty() => return Err(e),
        Err(_) => {}
    }
    if answer.is_empty() {
        written?;
    }
    Ok(answer)
}

/// The folder with the shipped examples, for tests that start them.
pub fn examples() -> PathBuf {
    workspace().join("config/examples")
}
