//! The one HTTP client of the daemon: every request to a foreign system leaves here.
//!
//! Hides reqwest, TLS, proxies, time limits, and how a broken exchange looks. Invariants: https
//! only, but to loopback; no redirect is followed; bodies are bounded or streamed; the toll
//! is paid around every costed request; no fault text holds a URL query, a header or a body.

mod answer;

use super::{Failure, Ticket, Toll};
use answer::read;
pub use answer::{Answer, Head, Stream};
use crmsync_core::domain::{Fault, Usage};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Certificate, Client, Method, NoProxy, Proxy, Request, RequestBuilder, redirect};
use secrecy::SecretString;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::{Host, Url};

/// The most that one answer with data may hold, unpacked: 64 MiB.
pub const DATA_LIMIT: usize = 64 << 20;
/// The most that an answer of a token endpoint or a small question may hold: 1 MiB.
pub const SMALL_LIMIT: usize = 1 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// To the head of an answer, and between two pieces of its body.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How the network is reached; `[network]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// `http://host:port`; without it the environment's proxy.
    pub proxy: Option<String>,
    /// Hosts and suffixes that bypass it. Loopback always does.
    pub no_proxy: Vec<String>,
    /// PEM file with CAs beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why a client could not be made: all of it is configuration.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file cannot be read.
    #[error("reading CA file {path}: {cause}; hint: it must be readable by the daemon's user")]
    CaFile {
        /// Which.
        path: PathBuf,
        /// The system's text.
        cause: std::io::Error,
    },
    /// No certificate in it.
    #[error("CA file {path}: {cause}; hint: PEM with BEGIN CERTIFICATE is expected")]
    CaText {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// Not an address.
    #[error("proxy: {cause}; hint: http://host:port is expected")]
    Proxy {
        /// What is wrong.
        cause: String,
    },
    /// TLS or the resolver could not be set up.
    #[error("setting up the HTTP client: {cause}; hint: are the system's CA certificates there?")]
    Setup {
        /// What is wrong.
        cause: String,
    },
}

/// A client; cheap to clone, to be shared by all connections of one [`Network`].
#[derive(Debug, Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    /// Without any proxy, for loopback; made when first needed.
    direct: OnceLock<Client>,
    certs: Vec<Certificate>,
    /// How long a server may be silent.
    patience: Duration,
}

/// A request that brought no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// It certainly did not leave: name, connection, TLS.
    NotSent(Fault),
    /// It may have been acted upon: the answer is missing or was cut.
    Unanswered(Fault),
    /// The answer is larger than allowed.
    TooLarge(Fault),
    /// The toll held it back; it was not sent.
    Held,
}

impl SendError {
    /// What went wrong, for a request that is on its way.
    pub fn fault(self) -> Fault {
        match self {
            Self::NotSent(fault) | Self::Unanswered(fault) | Self::TooLarge(fault) => fault,
            Self::Held => Fault::passing("the call was held back"),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Held => Self::Held,
            SendError::NotSent(f) | SendError::Unanswered(f) | SendError::TooLarge(f) => {
                Self::Fault(f)
            }
        }
    }
}

impl Http {
    /// Reads the CA file; builds the client. Blocking file IO of a few KiB.
    pub fn new(network: &Network) -> Result<Self, HttpError> {
        let certs = match &network.ca_file {
            None => Vec::new(),
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|cause| HttpError::CaFile { path: path.clone(), cause })?;
                let text = |cause: String| HttpError::CaText { path: path.clone(), cause };
                let certs = Certificate::from_pem_bundle(&pem).map_err(|e| text(root_cause(&e)))?;
                if certs.is_empty() {
                    return Err(text("no certificate in it".into()));
                }
                certs
            }
        };
        let mut builder = builder(&certs);
        if let Some(proxy) = &network.proxy {
            let mut bypass = network.no_proxy.clone();
            bypass.extend(["localhost", "127.0.0.0/8", "::1"].map(str::to_owned));
            let proxy = Proxy::all(proxy.as_str())
                .map_err(|e| HttpError::Proxy { cause: root_cause(&e.without_url()) })?
                .no_proxy(NoProxy::from_string(&bypass.join(",")));
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|e| HttpError::Setup { cause: root_cause(&e) })?;
        let (direct, patience) = (OnceLock::new(), READ_TIMEOUT);
        Ok(Self { inner: Arc::new(Inner { client, direct, certs, patience }) })
    }

    /// Begins a request. Refuses anything but https, save to loopback.
    pub fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Fault> {
        check_url(&url).map_err(|what| Fault::Misconfigured { what })?;
        Ok(self.client_for(&url)?.request(method, url))
    }

    fn client_for(&self, url: &Url) -> Result<&Client, Fault> {
        if !is_loopback(url) {
            return Ok(&self.inner.client);
        }
        if let Some(client) = self.inner.direct.get() {
            return Ok(client);
        }
        let client = builder(&self.inner.certs).no_proxy().build().map_err(|e| {
            Fault::Misconfigured { what: format!("setting up the HTTP client: {}", root_cause(&e)) }
        })?;
        Ok(self.inner.direct.get_or_init(|| client))
    }

    /// Sends a request that costs nothing and reads the whole answer, at most `limit` bytes.
    pub async fn send(&self, request: Request, limit: usize) -> Result<Answer, SendError> {
        let bearer = bearer(&request);
        let opened = self.open(request).await?;
        read(opened, limit, self.inner.patience).await.map(|answer| answer.without(bearer.as_ref()))
    }

    /// Sends a request that costs `cost` calls and reads the whole answer, at most `limit` bytes;
    /// else as [`Http::paid_stream`].
    pub async fn paid(
        &self,
        toll: &dyn Toll,
        cost: u32,
        request: Request,
        limit: usize,
        usage: fn(&HeaderMap) -> Vec<Usage>,
    ) -> Result<(Answer, Vec<Usage>), SendError> {
        let (stream, told) = self.paid_stream(toll, cost, request, usage).await?;
        Ok((stream.whole(limit).await?, told))
    }

    /// Sends a request that costs `cost` calls: reserves before it leaves, tells what the headers
    /// say as soon as they are in. The body is handed out as it comes: no limit of bytes, no time
    /// limit but the one between two reads. The ticket is settled when the body has ended. Without
    /// an answer, or without its end, it is dropped, so that the call counts until the provider
    /// says otherwise.
    pub async fn paid_stream<'t>(
        &self,
        toll: &'t dyn Toll,
        cost: u32,
        request: Request,
        usage: fn(&HeaderMap) -> Vec<Usage>,
    ) -> Result<(Stream<'t>, Vec<Usage>), SendError> {
        let ticket: Ticket = toll.reserve(cost).await.map_err(|failure| match failure {
            Failure::Held => SendError::Held,
            Failure::SessionDead(what) => SendError::NotSent(Fault::passing(what)),
            Failure::Fault(fault) => SendError::NotSent(fault),
        })?;
        let bearer = bearer(&request);
        let (host, mut response) = self.open(request).await?;
        let head = Head {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            host,
        };
        let told = usage(&head.headers);
        toll.told(&ticket, &told);
        let (ticket, patience) = (Some(ticket), self.inner.patience);
        Ok((Stream { head, response, bearer, toll, ticket, patience }, told))
    }

    async fn open(&self, request: Request) -> Result<(String, reqwest::Response), SendError> {
        let host = host_of(request.url());
        let client = self.client_for(request.url()).map_err(SendError::NotSent)?;
        let patience = self.inner.patience;
        let Ok(sent) = tokio::time::timeout(patience, client.execute(request)).await else {
            return Err(SendError::Unanswered(silent(&host, patience)));
        };
        match sent {
            Ok(response) => Ok((host, response)),
            Err(error) => {
                let never_left = error.is_connect() || error.is_builder();
                let fault = network_fault(&host, error);
                Err(if never_left {
                    SendError::NotSent(fault)
                } else {
                    SendError::Unanswered(fault)
                })
            }
        }
    }
}

fn builder(certs: &[Certificate]) -> reqwest::ClientBuilder {
    let mut builder = Client::builder()
        .user_agent(concat!("crmsync/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // A request is never sent twice behind our back: a call has a price, a refresh a token.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .referer(false);
    if !certs.is_empty() {
        builder = builder.tls_certs_merge(certs.iter().cloned());
    }
    builder
}

/// The token in `Authorization`.
fn bearer(request: &Request) -> Option<SecretString> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let token = value.split_once(' ').map_or(value, |(_, token)| token);
    (!token.is_empty()).then(|| SecretString::from(token.to_owned()))
}

/// Refuses addresses that would carry a secret in clear text.
pub fn check_url(url: &Url) -> Result<(), String> {
    if url.host().is_none() || url.cannot_be_a_base() {
        return Err("an address without a host; hint: https://HOST is expected".into());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        scheme => Err(format!(
            "address {scheme}://{} is not https; hint: http is allowed to loopback only",
            host_of(url)
        )),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// `host` or `host:port`.
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Cuts foreign text to what a person reads, and to one line.
pub fn excerpt(text: &str) -> String {
    const MOST: usize = 400;
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > MOST {
            let cut = (0..=MOST).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
            out.truncate(cut);
            out.push('…');
            break;
        }
    }
    out.retain(|c| !c.is_control());
    out
}

fn network_fault(host: &str, error: reqwest::Error) -> Fault {
    let kind = if error.is_dns() {
        "name lookup failed"
    } else if error.is_timeout() && error.is_connect() {
        "connecting took too long"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "connecting failed"
    } else if error.is_body() || error.is_decode() {
        "the answer was cut"
    } else {
        "the connection broke"
    };
    let cause = root_cause(&error.without_url());
    Fault::passing(format!("{host}: {kind}: {cause}"))
}

fn silent(host: &str, patience: Duration) -> Fault {
    Fault::passing(format!("{host}: no answer in time: silent for {} s", patience.as_secs()))
}

/// The last text of the chain: the system's or TLS's own word. reqwest's own texts may name the
/// address, so only its sources speak.
fn root_cause(error: &reqwest::Error) -> String {
    let mut last: Option<&dyn std::error::Error> = error.source();
    while let Some(next) = last.and_then(std::error::Error::source) {
        last = Some(next);
    }
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
