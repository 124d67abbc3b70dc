//! The `OpenAPI` document, made from the handlers' own attributes; `docs/openapi.json` is its
//! committed copy, compared by a test (`CRMSYNC_WRITE_OPENAPI=1 cargo test openapi` renews it).

use super::server::{events, handlers};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "crmsync control socket",
        version = "1",
        description = "HTTP/1.1 and JSON on the Unix socket of crmsyncd. Times are RFC 3339 in UTC, durations whole seconds. Who may do what is decided by the caller's uid: members of crmsync-view may use `look`, members of crmsync-admin, root and the daemon's own user everything.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "look", description = "Changes nothing"),
        (name = "change", description = "Written to the audit log with uid and command")
    ),
    paths(
        handlers::status,
        handlers::connections,
        handlers::detail,
        handlers::sync,
        handlers::pause,
        handlers::resume,
        handlers::test,
        handlers::reauthorize,
        handlers::disconnect,
        handlers::approve,
        handlers::forget,
        handlers::rename,
        handlers::set_secret,
        handlers::fields,
        handlers::runs,
        handlers::run,
        handlers::callback,
        handlers::password,
        handlers::confirm,
        handlers::reject,
        handlers::notices,
        handlers::mails,
        handlers::audit,
        handlers::quota,
        handlers::config,
        handlers::reload,
        handlers::notify_test,
        handlers::key,
        events::events,
        events::openapi,
    )
)]
struct Document;

/// The document, for people: indented, with a line break at its end.
pub fn document() -> serde_json::Result<String> {
    let mut text = Document::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn openapi_is_committed_as_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let made = document().unwrap();
        if crate::daemon::env::variable("CRMSYNC_WRITE_OPENAPI").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        let hint = "docs/openapi.json is old: CRMSYNC_WRITE_OPENAPI=1 cargo test openapi";
        assert!(committed == made, "{hint}");
    }

    #[test]
    fn openapi_holds_every_route_and_no_other() {
        let json = serde_json::to_value(Document::openapi()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                described.insert(format!("{method} {path}"));
                let tag = if method == "get" { "look" } else { "change" };
                assert_eq!(operation["tags"][0], tag, "{method} {path}");
            }
        }
        let table = crate::control::server::routes::table();
        let served: BTreeSet<String> =
            table.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
        assert_eq!(described, served);
    }
}
