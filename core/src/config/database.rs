//! `postgresql://user@host:5432/database`: the address of the replica's database.
//!
//! Hides the two forms of a host (a name, or a Unix socket's folder as `?host=/run/postgresql`).
//! Invariant: no password in the text; nothing of an address is silently ignored.

use super::raw::Node;
use super::report::Problem;
use super::value::{clip, text};
use url::Url;

const EXAMPLE: &str = "postgresql://crmsync@db.example.org:5432/crm";
const LOCAL: &str = "postgresql:///crm?host=/run/postgresql";

/// The parts of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: Option<String>,
}

pub(super) fn address(key: &str, node: &Node) -> Result<Address, Problem> {
    let text = text(key, node)?;
    let bad = |why: String| Problem::value(&node.place, format!("`{key}`: {why}"));
    let allowed = format!("{EXAMPLE}, or {LOCAL}");
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(bad(format!("`{}` is not an address of a database", clip(scheme(text))))
            .allowed(allowed));
    }
    let url = Url::parse(text).map_err(|e| bad(format!("not a URL: {e}")).allowed(&*allowed))?;
    let parameters: Vec<(String, String)> =
        url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    if url.password().is_some() || parameters.iter().any(|(k, _)| k.contains("pass")) {
        return Err(bad("a URL may not carry a password".into()).hint(
            "take it out of the URL: password = { file = \"/etc/crmsync/replica.password\" }",
        ));
    }
    let mut host = url.host_str().map(str::to_owned).filter(|h| !h.is_empty());
    let (mut port, mut user) = (url.port(), plain(url.username()));
    for (name, value) in parameters {
        match name.as_str() {
            "host" if host.is_none() => host = Some(value),
            "port" if port.is_none() && value.parse::<u16>().is_ok_and(|p| p > 0) => {
                port = value.parse().ok();
            }
            "user" if user.is_none() => user = Some(value),
            _ => {
                let why = format!("`{}` cannot stand in it", clip(&name));
                return Err(bad(why).allowed("host, port and user behind `?`, each once").hint(
                    "TLS with a checked certificate is always used beyond this machine; `ca_file` names further authorities",
                ));
            }
        }
    }
    let database = plain(url.path().trim_start_matches('/')).filter(|d| !d.contains('/'));
    let Some(database) = database else {
        return Err(bad("the URL names no database".into()).allowed(allowed));
    };
    let Some(host) = host else {
        return Err(bad("the URL names no host".into())
            .allowed(allowed)
            .hint(format!("for the server of this machine: {key} = \"{LOCAL}\"")));
    };
    if host.contains(',') || host.contains('/') && !host.starts_with('/') {
        return Err(
            bad(format!("`{}` is not one host or an absolute path", clip(&host))).allowed(allowed)
        );
    }
    Ok(Address { host, port: port.unwrap_or(5432), database, user })
}

/// What stands before `://`: the rest may hold a secret.
fn scheme(text: &str) -> &str {
    text.split_once("://").map_or("the text", |(scheme, _)| scheme)
}

/// Percent signs undone; `None` if nothing is left.
fn plain(text: &str) -> Option<String> {
    let query = format!("x={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(query.as_bytes()).next()?.1.into_owned();
    (!decoded.is_empty()).then_some(decoded)
}
