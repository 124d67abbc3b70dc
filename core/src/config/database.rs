//! `postgresql://user@host:5432/database`: the address of the replica's database.
//!
//! Hides the two forms of a host (a name, or a Unix socket's folder as `?host=/run/postgresql`).
//! Invariant: no password in the text; nothing of an address is silently ignored.

use super::raw::Node;
use super::report::Problem;
use super::value::{clip, text};
use url::Url;

const EXAMPLE: &str = "postgresql://crmsync@db.example.org:5432/crm";
const CHECKED: &str = "TLS with a checked certificate is always used beyond this machine, with `?sslmode=verify-full` to this machine, too; `ca_file` names further authorities";
const LOCAL: &str = "postgresql:///crm?host=/run/postgresql";

/// The parts of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: Option<String>,
    /// TLS to this machine, too.
    pub tls: bool,
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
    let (mut port, mut user, mut tls) = (url.port(), plain(url.username()), false);
    for (name, value) in parameters {
        match name.as_str() {
            "host" if host.is_none() => host = Some(value),
            "port" if port.is_none() && value.parse::<u16>().is_ok_and(|p| p > 0) => {
                port = value.parse().ok();
            }
            "user" if user.is_none() => user = Some(value),
            // Both are the same here: a certificate is always checked.
            "sslmode" if matches!(&*value, "require" | "verify-full") => tls = true,
            "sslmode" => {
                let why = format!("`sslmode={}` cannot stand in it", clip(&value));
                return Err(bad(why).allowed("sslmode=verify-full").hint(CHECKED));
            }
            _ => {
                let why = format!("`{}` cannot stand in it", clip(&name));
                let allowed = "host, port, user and sslmode behind `?`, each once";
                return Err(bad(why).allowed(allowed).hint(CHECKED));
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
    if tls && host.starts_with('/') {
        return Err(bad("no TLS is spoken over a Unix socket".into())
            .hint("name the host, or leave `sslmode` out: a socket does not leave the machine"));
    }
    Ok(Address { host, port: port.unwrap_or(5432), database, user, tls })
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
