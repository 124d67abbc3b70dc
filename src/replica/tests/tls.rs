//! TLS and passwords, with a real server that has certificates of an authority of the test.
//!
//! Whatever is refused says what to do, and nothing that is said has a password in it.

use super::*;
use crate::replica::postgres::Postgres;
use crate::replica::{ReplicaError, Server};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const PASSWORD: &str = "correct horse battery";
/// The socket is the tests' own way in; the network is open to TLS with a password alone.
const HBA: &str = "local all crmtest trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// An authority `ca.pem` and a certificate of it for that name or address, by openssl.
fn certificates(dir: &Path, name: &str) -> bool {
    const SCRIPT: &str = r#"
      set -e; new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
      openssl req -x509 $new -days 30 -subj "/CN=authority of a test" -keyout ca.key -out ca.pem
      openssl req $new -subj /CN=server -keyout server.key -out server.csr
      printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$1" > server.ext
      openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
        -extfile server.ext -out server.pem"#;
    let made = Command::new("sh").args(["-c", SCRIPT, "sh", name]).current_dir(dir).output();
    let done = made.as_ref().is_ok_and(|out| out.status.success());
    if !done {
        eprintln!("NOT TESTED: TLS to PostgreSQL (openssl is not installed or failed: {made:?})");
    }
    done
}

/// A server with such a certificate, and a role that needs its password.
struct Scene {
    own: server::Postgres,
    /// As it is to be addressed.
    server: Server,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(alt_name: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if !certificates(dir.path(), alt_name) {
            return None;
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("hba"), HBA).unwrap();
        std::fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let key = at("server.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        server::give(&key);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let setting = |key: &str, name: &str| format!("{key}={}", at(name).display());
        let files = [
            setting("ssl_cert_file", "server.pem"),
            setting("ssl_key_file", "server.key"),
            setting("hba_file", "hba"),
        ];
        let more = ["fsync=off", "listen_addresses=127.0.0.1", "ssl=on"];
        let options: Vec<&str> = more
            .into_iter()
            .chain(files.iter().map(String::as_str))
            .flat_map(|o| ["-c", o])
            .collect();
        let own = server::Postgres::start_at(port, &options)?;
        server::client_at(&own.socket, port)
            .batch_execute(&format!(
                "SET password_encryption = 'scram-sha-256'; CREATE ROLE sync LOGIN PASSWORD '{PASSWORD}';
                 GRANT ALL ON DATABASE postgres TO sync"
            ))
            .unwrap();
        let server = Server {
            host: "localhost".into(),
            port,
            database: "postgres".into(),
            user: Some("sync".into()),
            tls: true,
            password: Some(at("password")),
            ca_file: Some(at("ca.pem")),
            readers: None,
        };
        Some(Self { own, server, dir })
    }

    fn sql(&self, sql: &str) -> Vec<postgres::Row> {
        server::client_at(&self.own.socket, self.server.port).query(sql, &[]).unwrap()
    }
}

/// The refusal, which has these words in it and no password.
fn refuses(server: &Server, words: &[&str]) {
    let told = Postgres::open(server, "sf", "sf").err().expect("a refusal");
    assert!(matches!(told, ReplicaError::Unavailable { .. }), "{told:?}");
    let text = format!("{told}\n{told:?}");
    let at = format!("postgresql://sync@{}:{}/postgres", server.host, server.port);
    for words in words.iter().copied().chain([at.as_str()]) {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
}

#[test]
fn the_right_password_over_tls_with_a_known_authority_is_let_in() {
    let Some(scene) = Scene::new("DNS:localhost,IP:127.0.0.1") else { return };
    for host in ["localhost", "127.0.0.1"] {
        let server = Server { host: host.into(), ..scene.server.clone() };
        let mut replica = Postgres::open(&server, "sf", "sf").unwrap();
        replica.claim(&owner()).unwrap();
        let row = scene.sql(
            "SELECT s.version, a.usename::text FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
             WHERE s.ssl AND a.application_name = 'crmsync sf'",
        );
        assert_eq!((row[0].get(0), row[0].get(1)), ("TLSv1.3", "sync"));
        replica
            .lay_out(&schema("Account", &KINDS), &names(&KINDS), t("2024-05-01T10:00:00Z"))
            .unwrap();
        Box::new(replica).close().unwrap();
    }
}

#[test]
fn a_wrong_a_missing_and_a_changed_password_are_told() {
    let Some(scene) = Scene::new("DNS:localhost") else { return };
    let file = scene.dir.path().join("password");
    let wrong =
        ["password authentication failed", "28P01", "hint: look at `password` in [replica]"];
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "wrong").unwrap();
    refuses(&scene.server, &wrong);
    let none = Server { password: None, ..scene.server.clone() };
    refuses(&none, &["hint: the server asks for a password: set `password` in [replica]"]);
    let gone = Server { password: Some("/no/such/file".into()), ..scene.server.clone() };
    refuses(&gone, &["reading the password from /no/such/file", "must be readable"]);
    std::fs::write(&file, good).unwrap();
    let mut replica = Postgres::open(&scene.server, "sf", "sf").unwrap();
    replica.claim(&owner()).unwrap();
    // A session outlives its password; the next one does not.
    scene.sql("ALTER ROLE sync PASSWORD 'another'");
    assert!(replica.states().is_ok());
    refuses(&scene.server, &wrong);
    std::fs::write(&file, "another").unwrap();
    Postgres::open(&scene.server, "sf", "sf").unwrap();
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_no_password() {
    let Some(scene) = Scene::new("DNS:db.example.org") else { return };
    let stranger =
        ["certificate not valid for name", "db.example.org", "hint: is it the right server"];
    refuses(&scene.server, &stranger);
    let unknown = Server { ca_file: None, ..scene.server.clone() };
    refuses(&unknown, &["UnknownIssuer", "name the authority of its certificate in `ca_file`"]);
    let other = tempfile::tempdir().unwrap();
    assert!(certificates(other.path(), "DNS:localhost"));
    let wrong = Server { ca_file: Some(other.path().join("ca.pem")), ..scene.server.clone() };
    refuses(&wrong, &["name the authority of its certificate in `ca_file`"]);
    let none = Server { ca_file: Some(other.path().join("no.pem")), ..scene.server.clone() };
    refuses(&none, &["reading", "no.pem", "hint: look at `ca_file` of [replica]"]);
    let tries = scene.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'sync'");
    assert!(tries.is_empty());
}

#[test]
fn without_tls_nothing_is_said_where_it_is_demanded_and_the_other_way_round() {
    let Some(scene) = Scene::new("DNS:localhost") else { return };
    // The server wants TLS, and is on this machine: nobody has asked for it.
    let plain = Server { tls: false, ..scene.server.clone() };
    refuses(&plain, &["no encryption", "28000", "write `?sslmode=verify-full`"]);
    // It is demanded, and the server has none.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"];
    let Some(_bare) = server::Postgres::start_at(port, &options) else { return };
    let bare = Server { port, ..scene.server.clone() };
    refuses(&bare, &["server does not support TLS", "hint: turn `ssl` on at the server"]);
}
