//! The way to the server: connecting, TLS, the session's settings, statements prepared once.
//!
//! Hides the client library and where the password comes from: it is read when a connection is
//! made and kept nowhere. Invariants: beyond this machine only TLS with a checked certificate; no
//! wait without an end; a session is set up the same way each time.

use super::super::ReplicaError;
use super::fail::{Fail, unavailable};
use postgres::config::SslMode;
use postgres::types::ToSql;
use postgres::{Client, Config, CopyInWriter, NoTls, Row, Statement};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

const CONNECTING: &str = "connecting to the replica's server";
const FROZEN: &str = "is the server stopped or overloaded? it is tried again by itself";
/// How long a connection may take to come up, its session set up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts that were given up and still wait for a server, in the whole process.
const STUCK: usize = 16;
/// After this long without an answer to what was sent, the peer is taken for dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Prepared statements kept.
const PREPARED: usize = 64;

/// A server and database, and who may read there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role; none: the name of the daemon's user.
    pub user: Option<String>,
    /// File with the password, read at each connection.
    pub password: Option<PathBuf>,
    /// PEM file with further authorities.
    pub ca_file: Option<PathBuf>,
    /// A role that may read.
    pub readers: Option<String>,
}

impl Server {
    /// A Unix socket or the loopback address: what is sent does not leave this machine.
    fn is_local(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host.starts_with('/')
            || host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
    }

    /// Connects and sets the session up for `schema`. `name` is shown in `pg_stat_activity`.
    ///
    /// On a thread of its own: the client library waits for ever for a server that takes the
    /// connection and then says nothing. Such threads end when the server speaks or goes away;
    /// until then there are at most [`STUCK`] of them.
    pub(super) fn connect(&self, schema: &str, name: &str) -> Result<Db, ReplicaError> {
        static LATE: Mutex<Vec<Weak<()>>> = Mutex::new(Vec::new());
        let late = || LATE.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |cause: &str| unavailable(&self.to_string(), CONNECTING, cause, FROZEN);
        late().retain(|attempt| attempt.strong_count() > 0);
        if late().len() >= STUCK {
            return Err(silent("earlier attempts still wait for an answer"));
        }
        let (told, done) = mpsc::channel();
        let (server, schema, name) = (self.clone(), schema.to_owned(), name.to_owned());
        let attempt = Arc::new(());
        let under_way = Arc::downgrade(&attempt);
        std::thread::spawn(move || {
            // Where nobody waits any more the session ends here.
            let _ = told.send(server.session(&schema, &name));
            drop(attempt);
        });
        done.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            late().push(under_way);
            Err(silent(&format!("it did not answer within {} s", PATIENCE.as_secs())))
        })
    }

    fn session(&self, schema: &str, name: &str) -> Result<Db, ReplicaError> {
        let path = self.to_string();
        let config = self
            .config(name)
            .map_err(|(cause, hint)| unavailable(&path, CONNECTING, &cause, hint))?;
        let client = if self.is_local() {
            config.connect(NoTls)
        } else {
            let tls = self.tls().map_err(|cause| {
                unavailable(&path, CONNECTING, &cause, "look at `ca_file` of [replica]")
            })?;
            config.connect(MakeRustlsConnect::new(tls))
        };
        let mut db = Db {
            client: client.map_err(|e| Fail::Sql(e).at(&path, CONNECTING))?,
            prepared: BTreeMap::new(),
        };
        db.begin_session(schema).map_err(|e| e.at(&path, CONNECTING))?;
        Ok(db)
    }

    fn config(&self, name: &str) -> Result<Config, (String, &'static str)> {
        let mut config = Config::new();
        config.host(self.host.trim_start_matches('[').trim_end_matches(']')).port(self.port);
        config.dbname(&self.database).application_name(&format!("crmsync {name}"));
        config.connect_timeout(PATIENCE).tcp_user_timeout(SILENCE);
        config.keepalives_idle(SILENCE).keepalives_interval(PATIENCE).keepalives_retries(3);
        config.ssl_mode(if self.is_local() { SslMode::Disable } else { SslMode::Require });
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(file) = &self.password {
            let secret = read_secret(file).map_err(|cause| {
                (cause, "the file that `password` of [replica] names must be readable for the daemon's user")
            })?;
            config.password(secret.expose_secret());
        }
        Ok(config)
    }

    fn tls(&self) -> Result<rustls::ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let more = self.ca_file.as_deref().map_or(Ok(Vec::new()), authorities)?;
        let verifier = Verifier::new_with_extra_roots(more, Arc::clone(&provider))
            .map_err(|e| e.to_string())?;
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            // The platform's own verifier, with the authorities of `ca_file` beside.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, database, user, .. } = self;
        let user = user.as_deref().map(|u| format!("{u}@")).unwrap_or_default();
        if host.starts_with('/') {
            return write!(f, "postgresql://{user}/{database}?host={host}&port={port}");
        }
        write!(f, "postgresql://{user}{host}:{port}/{database}")
    }
}

fn read_secret(file: &Path) -> Result<SecretString, String> {
    std::fs::read_to_string(file)
        .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
        .map_err(|e| format!("reading the password from {}: {e}", file.display()))
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |e: &dyn std::fmt::Display| format!("reading {}: {e}", file.display());
    CertificateDer::pem_file_iter(file)
        .map_err(|e| bad(&e))?
        .collect::<Result<_, _>>()
        .map_err(|e| bad(&e))
}

/// An open session.
pub(super) struct Db {
    client: Client,
    prepared: BTreeMap<String, Statement>,
}

impl Db {
    fn begin_session(&mut self, schema: &str) -> Result<(), Fail> {
        // Rows and cursor fall back together if the server crashes, so no commit waits for its
        // disk. Plans are made for the values at hand: a table that was empty when a statement was
        // prepared may have millions of rows now. A run that waits for its source holds a
        // transaction open, and may.
        self.batch(&format!(
            "SET search_path = {}, pg_catalog, pg_temp; SET synchronous_commit = off;
             SET standard_conforming_strings = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO';
             SET client_min_messages = warning; SET plan_cache_mode = force_custom_plan;
             SET lock_timeout = '10s'; SET statement_timeout = '10min';
             SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = off;",
            super::quoted(schema)
        ))?;
        let row = self.client.query_one(
            "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('server_version_num')::int",
            &[],
        )?;
        let (encoding, version): (String, i32) = (row.get(0), row.get(1));
        let refused = |cause: String, hint: &str| {
            Err(Fail::Said(unavailable("the database", CONNECTING, &cause, hint)))
        };
        if encoding != "UTF8" {
            let cause = format!("its encoding is {encoding}");
            return refused(
                cause,
                "make the database anew: createdb --encoding UTF8 --template template0 NAME",
            );
        }
        if version < 120_000 {
            return refused(
                format!("its version is {version}"),
                "PostgreSQL 12 or newer is needed",
            );
        }
        Ok(())
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Fail> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        if self.prepared.len() >= PREPARED {
            self.prepared.clear();
        }
        let statement = self.client.prepare(sql)?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// After tables changed.
    pub(super) fn unprepare(&mut self) {
        self.prepared.clear();
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fail> {
        let statement = self.prepare(sql)?;
        Ok(self.client.query(&statement, params)?)
    }

    pub(super) fn execute(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fail> {
        let statement = self.prepare(sql)?;
        Ok(self.client.execute(&statement, params)?)
    }

    /// A count.
    pub(super) fn count(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Fail> {
        let statement = self.prepare(sql)?;
        let n: i64 = self.client.query_one(&statement, params)?.get(0);
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Begins a copy into a table.
    pub(super) fn copy_in(&mut self, sql: &str) -> Result<CopyInWriter<'_>, Fail> {
        let statement = self.prepare(sql)?;
        Ok(self.client.copy_in(&statement)?)
    }

    /// Statements without parameters or rows.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Fail> {
        Ok(self.client.batch_execute(sql)?)
    }
}
