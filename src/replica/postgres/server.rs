//! A server and database: how it is addressed, dialled, and whether it answers.
//!
//! Hides the client library's settings, TLS, and where the password comes from: it is read when a
//! connection is made and kept nowhere. Invariants: beyond this machine only TLS with a checked
//! certificate, to this machine where it is asked for; no secret in a text.

use super::fail::{Fail, unavailable};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use secrecy::{ExposeSecret, SecretString};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) const CONNECTING: &str = "connecting to the replica's server";
/// After this long without an acknowledgement of what was sent, the network's peer is dead.
const SILENCE: Duration = Duration::from_secs(60);

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
    /// TLS is demanded of a server of this machine, too.
    pub tls: bool,
    /// File with the password, read at each connection.
    pub password: Option<PathBuf>,
    /// PEM file with further authorities.
    pub ca_file: Option<PathBuf>,
    /// A role that may read.
    pub readers: Option<String>,
}

/// Carries what a client says and hears; works while it is polled, ends with the connection.
pub(super) type Traffic = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Server {
    /// A Unix socket or the loopback address: what is sent does not leave this machine.
    fn is_local(&self) -> bool {
        let host = self.bare_host();
        host.starts_with('/')
            || host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Connects; who wants an end of the waiting sets it. `name` is shown in `pg_stat_activity`.
    pub(super) async fn dial(&self, name: &str) -> Result<(Client, Traffic), Fail> {
        let said = |(cause, hint): (String, &str)| {
            Fail::Said(unavailable(&self.to_string(), CONNECTING, &cause, hint))
        };
        let config = self.config(name).map_err(said)?;
        if !self.tls && self.is_local() {
            let (client, connection) = config.connect(NoTls).await?;
            return Ok((client, Box::pin(connection)));
        }
        let tls = self.tls().map_err(|cause| said((cause, "look at `ca_file` of [replica]")))?;
        let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
        Ok((client, Box::pin(connection)))
    }

    /// Whether somebody who dials now is answered; a refusal is an answer, too.
    pub(super) async fn answers(&self, within: Duration) -> bool {
        let hello = async {
            match self.dial("is anybody there").await {
                Ok((client, traffic)) => {
                    drop(client);
                    let _ = traffic.await;
                    true
                }
                Err(fail) => !fail.is_unreached(),
            }
        };
        timeout(within, hello).await.unwrap_or(false)
    }

    fn config(&self, name: &str) -> Result<Config, (String, &'static str)> {
        let mut config = Config::new();
        config.host(self.bare_host()).port(self.port);
        config.dbname(&self.database).application_name(format!("crmsync {name}"));
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        config.keepalives_interval(SILENCE / 6).keepalives_retries(3);
        let plain = !self.tls && self.is_local();
        config.ssl_mode(if plain { SslMode::Disable } else { SslMode::Require });
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
