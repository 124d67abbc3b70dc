//! A replica in a PostgreSQL as sites have it: over the network, by TLS with a certificate of the
//! site's own authority, with a password that somebody changes one day.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::postgres::{Database, Server, give, missing};
use crate::support::replica::Place;
use crate::support::sandbox::Sandbox;
use crate::support::{Scratch, certs};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const FIRST: &str = "first-Secret-of-the-replica";
const SECOND: &str = "second-Secret-of-the-replica";
const HBA: &str =
    "host all crmtest 127.0.0.1/32 trust\nhostssl all sync 127.0.0.1/32 scram-sha-256\n";

/// A server that lets `sync` in by TLS and password alone, and its database.
fn server(scratch: &Scratch) -> (Server, Database) {
    let certs = certs::make(scratch.path(), &["127.0.0.1"]);
    std::fs::set_permissions(&certs.key, std::fs::Permissions::from_mode(0o600)).expect("the key");
    give(&certs.key);
    let file = |key: &str, path: &Path| format!("{key}={}", path.display());
    let settings = [
        "fsync=off".to_owned(),
        "ssl=on".to_owned(),
        "log_connections=on".to_owned(),
        file("ssl_cert_file", &certs.cert),
        file("ssl_key_file", &certs.key),
        file("hba_file", &scratch.write("hba", HBA)),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(&settings);
    let database = server.create();
    database.sql(&format!(
        "set password_encryption = 'scram-sha-256'; create role sync login password '{FIRST}';
         do $$ begin execute format('grant all on database %I to sync', current_database()); end $$"
    ));
    let password = scratch.write("password", &format!("{FIRST}\n"));
    let entry = format!(
        "url = \"postgresql://sync@HERE?sslmode=verify-full\"\npassword = {{ file = \"{}\" }}\nca_file = \"{}\"\n",
        password.display(),
        certs.ca.display()
    );
    (server, database.entered_by(&entry))
}

/// Neither password is anywhere where people look.
fn silent(daemon: &mut Daemon) {
    let mut seen = vec![daemon.detail("sf").to_string(), daemon.cli(&["config", "show"]).out];
    seen.extend(daemon.proc().lines());
    seen.push(daemon.cli(&["log", "sf"]).out);
    seen.push(daemon.api("GET", "/v1/notices?name=sf", None).text);
    let pid = daemon.proc().pid();
    for name in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).expect("the process");
        seen.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in seen {
        assert!(!text.contains(FIRST) && !text.contains(SECOND), "{text}");
    }
}

#[test]
fn a_load_over_tls_and_a_password_that_changes_meanwhile() {
    if missing("a replica over TLS") {
        return;
    }
    let scratch = Scratch::new("tls");
    let (server, database) = server(&scratch);
    let sandbox = Sandbox::start(&["--records", "Account=300"]);
    let section = salesforce("sf", &sandbox, "every 1h");
    let config = format!("{NOBODY}{section}\n[connections.sf.objects]\nAccount = \"all\"\n");
    let mut daemon = Daemon::start_in(Place::Postgres(database.clone()), &config);
    let etc = daemon.path("etc").display().to_string();
    daemon.cli(&["check", "--config", &etc]).ok();
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    daemon.cli(&["test", "sf"]).ok();
    let same = |daemon: &Daemon| {
        daemon.replica("sf").assert_same("account", &sandbox.source("Account", &[]));
    };
    same(&daemon);
    let log = server.log();
    assert!(log.contains("authorized: user=sync") && log.contains("SSL enabled"), "{log}");
    silent(&mut daemon);

    database.sql(&format!("alter role sync password '{SECOND}'"));
    let id = sandbox.dump("Account")[0]["Id"].as_str().expect("an id").to_owned();
    sandbox.update("Account", &id, &json!({ "Phone": "changed meanwhile" }));
    daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({}))).ok();
    let told = daemon.wait_reason("sf", "Error", "replica unavailable").to_string();
    assert!(told.contains("password authentication failed for user"), "{told}");
    assert!(told.contains("look at `password` in [replica]"), "{told}");
    silent(&mut daemon);

    scratch.write("password", &format!("{SECOND}\n"));
    daemon.cli(&["reload", "--wait"]).ok();
    daemon.follow("sf");
    same(&daemon);
    silent(&mut daemon);
    daemon.stop();
}
