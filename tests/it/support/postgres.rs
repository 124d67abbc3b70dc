//! A real PostgreSQL, and a replica in it read as a data user would: with nothing but `psql`.
//!
//! `psql` rather than a driver of Rust: it is not the library that the product uses, it is in the
//! same packages as the server, and COPY … CSV with every value quoted loses nothing (NULL is what
//! stands unquoted). Servers have a folder, a port and a socket of their own; as root they run as
//! `nobody`, which PostgreSQL wants. The shared one of a test program is ended by a watchdog when
//! the program is gone, however it went.

use super::proc::{Output, Proc, run, run_with};
use super::values::{Cell, Row};
use super::{Scratch, is_root, ports, skip};
use rustix::process::Signal;
use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The superuser, let in without a password.
pub const USER: &str = "crmtest";
const PATIENCE: Duration = Duration::from_secs(120);
/// Stands between the types of an answer and its rows.
const MARK: &str = "-=-=- rows -=-=-";

/// A running server; stopped with the value.
pub struct Server {
    proc: Option<Proc>,
    scratch: Scratch,
    settings: Vec<String>,
    port: u16,
}

/// True when the caller should return: the server is not installed (said loudly).
pub fn missing(test: &str) -> bool {
    let absent = programs().is_none() || !Path::new("/usr/bin/psql").exists();
    skip(test, absent, "needs postgresql and postgresql-client")
}

/// The newest server's programs, where Debian puts them.
fn programs() -> Option<PathBuf> {
    let version = |p: &PathBuf| p.file_name()?.to_str()?.parse::<u32>().ok();
    let all = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = all.flatten().map(|e| e.path()).max_by_key(version)?.join("bin");
    newest.join("initdb").exists().then_some(newest)
}

/// One server for all tests of a program, quick and careless (no fsync).
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = Server::start(&["fsync=off", "synchronous_commit=off"]);
        let pid = server.proc.as_ref().expect("it runs").pid();
        watch(pid, server.scratch.path());
        server
    })
}

/// A value that lives as long as the program is not dropped: somebody else must end the server.
/// The pipe that he reads ends with us.
fn watch(pid: u32, folder: &Path) {
    let script = "read -r _; kill -INT \"$1\"; n=0; \
                  while [ $n -lt 100 ] && [ -e \"$2/data/postmaster.pid\" ]; do sleep 0.1; n=$((n+1)); done; \
                  [ -n \"$KEEP\" ] || rm -rf -- \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &pid.to_string()]).arg(folder).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("starting the watchdog of PostgreSQL");
    std::mem::forget(child); // its stdin stays open until this program ends
}

impl Server {
    /// A fresh cluster with these settings (`name=value`) beside the defaults.
    pub fn start(settings: &[&str]) -> Self {
        let scratch = Scratch::new("postgres");
        let mut server = Self {
            proc: None,
            scratch,
            settings: settings.iter().map(|s| (*s).to_owned()).collect(),
            port: ports::free_port(),
        };
        give(server.scratch.path());
        let mut command = server.command("initdb");
        command.args(["-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]);
        run(command, PATIENCE).ok();
        server.restart();
        server
    }

    /// One of its programs on its data, as the user that may.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().expect("PostgreSQL").join(program));
        command.arg("-D").arg(self.scratch.path().join("data"));
        command.current_dir(self.scratch.path()).env("LC_ALL", "C.UTF-8");
        if let Some((uid, gid)) = nobody() {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts it (again) on the same port and data, and waits until it answers.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = self.command("postgres");
        let socket = format!("unix_socket_directories={}", self.scratch.path().display());
        let port = format!("port={}", self.port);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=300", &port, &socket] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let proc = Proc::start("postgres", command, self.scratch.path());
        proc.wait_line_after(0, super::wait::START, "PostgreSQL is ready", |_, line| {
            line.ends_with("database system is ready to accept connections")
        });
        self.proc = Some(proc);
    }

    /// Stops it in order; connections are ended and then refused.
    pub fn stop(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.signal(Signal::INT); // "fast": waits for nobody
            proc.wait_exit(PATIENCE);
        }
    }

    /// `kill -9` of the server; its children go by themselves.
    pub fn kill9(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.kill9();
        }
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.proc.as_ref().expect("PostgreSQL runs").pid()
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its Unix socket, for `host=`.
    pub fn socket_folder(&self) -> &Path {
        self.scratch.path()
    }

    /// What it has logged so far, for failures.
    pub fn log(&self) -> String {
        self.proc.as_ref().map(|p| p.lines().join("\n")).unwrap_or_default()
    }

    /// An empty database under a new name.
    pub fn create(&self) -> Database {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.admin().sql(&format!("create database {name}"));
        Database { port: self.port, name, entry: None }
    }

    /// Takes a database away, whoever is connected.
    pub fn drop_database(&self, database: &Database) {
        self.admin().sql(&format!("drop database {} with (force)", database.name));
    }

    /// Makes a database again that was taken away, empty.
    pub fn create_again(&self, database: &Database) {
        self.admin().sql(&format!("create database {}", database.name));
    }

    fn admin(&self) -> Database {
        Database { port: self.port, name: "postgres".to_owned(), entry: None }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes it the server's own, who may be somebody else.
pub fn give(path: &Path) {
    if let Some((uid, gid)) = nobody() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("giving a file to nobody");
    }
}

/// User and group for a server that root starts.
fn nobody() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("nobody").ok().flatten().expect("a user nobody");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// A database of a server.
#[derive(Clone, Debug)]
pub struct Database {
    port: u16,
    name: String,
    /// How a daemon gets in, where that is not the way of the tests.
    entry: Option<String>,
}

impl Database {
    /// `postgres://USER@127.0.0.1:PORT/NAME`
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// The same for a daemon that gets in by these lines of `[replica]`; `HERE` in them stands for
    /// `127.0.0.1:PORT/NAME`.
    pub fn entered_by(self, lines: &str) -> Self {
        let here = format!("127.0.0.1:{}/{}", self.port, self.name);
        Self { entry: Some(lines.replace("HERE", &here)), ..self }
    }

    /// The lines of `[replica]`.
    pub fn entry(&self) -> String {
        self.entry.clone().unwrap_or_else(|| format!("url = \"{}\"\n", self.url()))
    }

    /// A schema of it; it need not exist yet.
    pub fn schema(&self, name: &str) -> Schema {
        Schema { database: self.clone(), name: name.to_owned() }
    }

    /// Statements, each of which must succeed; what `psql` prints.
    pub fn sql(&self, script: &str) -> String {
        self.psql("public", script).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Any script of `psql` with names looked up in `schema`; its output or its complaint.
    fn psql(&self, schema: &str, script: &str) -> Result<String, String> {
        let mut command = Command::new("/usr/bin/psql");
        command.args(["-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-f", "-"]);
        let options = format!("-c search_path=\"{schema}\" -c timezone=UTC -c datestyle=ISO");
        command.env("PGOPTIONS", options).env("PGCLIENTENCODING", "UTF8");
        let Output { code, out, err } = run_with(command, script.as_bytes(), PATIENCE);
        if code == 0 { Ok(out) } else { Err(err) }
    }
}

/// A schema, asked by a new connection for each question (the writer goes on meanwhile).
pub struct Schema {
    database: Database,
    name: String,
}

impl Schema {
    /// Whether it is there.
    pub fn exists(&self) -> bool {
        let sql = format!("select 1 from pg_namespace where nspname = '{}'", self.name);
        !self.query(&sql).expect("asking for a schema").is_empty()
    }

    /// Any `select`, or the server's refusal.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, String> {
        let script = format!(
            "{sql} \\gdesc\n\\echo {MARK}\nCOPY ({sql}) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *);\n"
        );
        let out = self.database.psql(&self.name, &script)?;
        let (types, rows) = out.split_once(&format!("{MARK}\n")).ok_or("no rows were printed")?;
        let types: Vec<String> =
            csv(types).into_iter().skip(1).filter_map(|r| r[1].clone()).collect();
        let mut rows = csv(rows).into_iter();
        let names: Vec<String> = rows.next().unwrap_or_default().into_iter().flatten().collect();
        let row = |values: Vec<Option<String>>| {
            let cells = types.iter().zip(values).map(|(kind, value)| cell(kind, value));
            names.iter().cloned().zip(cells).collect()
        };
        Ok(rows.map(row).collect())
    }

    /// Changes as its owner could make them.
    pub fn tamper(&self, statements: &[String]) {
        let script = format!("{};", statements.join(";\n"));
        self.database.psql(&self.name, &script).unwrap_or_else(|e| panic!("{script}: {e}"));
    }

    /// The schema goes with everything in it.
    pub fn lose(&self) {
        self.database.sql(&format!("drop schema \"{}\" cascade", self.name));
    }

    /// Every index of the schema agrees with its table (PostgreSQL's own `amcheck`).
    pub fn assert_intact(&self) {
        self.database.sql(&format!(
            "create extension if not exists amcheck schema public;
             select bt_index_check(c.oid, true) from pg_class c join pg_am a on a.oid = c.relam
             where a.amname = 'btree' and c.relkind = 'i' and c.relnamespace = '\"{}\"'::regnamespace",
            self.name
        ));
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {} of {}", self.name, self.database.url())
    }
}

/// A value with the type that `psql` names.
fn cell(kind: &str, value: Option<String>) -> Cell {
    let Some(text) = value else { return Cell::Null };
    let plain = kind.split('(').next().unwrap_or(kind).trim();
    match plain {
        "text" | "character varying" | "name" | "\"char\"" => Cell::Text(text),
        "smallint" | "integer" | "bigint" => Cell::Int(text.parse().expect("a whole number")),
        "real" | "double precision" => Cell::Real(text.parse().expect("a number")),
        "numeric" => Cell::Numeric(text),
        "boolean" => Cell::Bool(text == "t"),
        "date" => Cell::Date(text),
        "timestamp with time zone" => Cell::Timestamp(instant(&text)),
        other => Cell::Other(other.to_owned(), text),
    }
}

/// `2026-01-02 17:38:59.5+00` as `2026-01-02T17:38:59.500Z`; digits below the millisecond stay.
fn instant(text: &str) -> String {
    let Some(utc) = text.strip_suffix("+00") else { return text.to_owned() };
    let (whole, part) = utc.split_once('.').unwrap_or((utc, ""));
    format!("{}.{part:0<3}Z", whole.replace(' ', "T"))
}

/// Records of CSV; an empty value without quotes is null.
fn csv(text: &str) -> Vec<Vec<Option<String>>> {
    let (mut records, mut record) = (vec![], vec![]);
    let (mut value, mut quoted, mut inside) = (String::new(), false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                chars.next();
                value.push('"');
            }
            '"' => {
                inside = !inside;
                quoted = true;
            }
            ',' | '\n' if !inside => {
                let value = std::mem::take(&mut value);
                record.push((quoted || !value.is_empty()).then_some(value));
                quoted = false;
                if c == '\n' {
                    records.push(std::mem::take(&mut record));
                }
            }
            other => value.push(other),
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_with_everything_in_them_are_read() {
        let text = "a,\"b\"\"c\n,d\",,\"\"\nx,y,z,\"é\"\n";
        let some = |t: &str| Some(t.to_owned());
        let expected = [some("a"), some("b\"c\n,d"), None, some("")];
        assert_eq!(csv(text)[0], expected);
        assert_eq!(csv(text)[1], ["x", "y", "z", "é"].map(some));
        assert_eq!(csv(text).len(), 2);
    }

    #[test]
    fn instants_look_as_in_sqlite() {
        assert_eq!(instant("2026-01-02 17:38:59+00"), "2026-01-02T17:38:59.000Z");
        assert_eq!(instant("2026-01-02 17:38:59.5+00"), "2026-01-02T17:38:59.500Z");
        assert_eq!(instant("0044-03-15 12:00:00+00 BC"), "0044-03-15 12:00:00+00 BC");
    }
}
