use super::tests::letter;
use super::*;
use crmsync_core::config::settings::{Smtp, SmtpTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A mail server for one mail: answers `script[i]` to the i-th line that asks for an answer, and
/// returns what it was told.
fn server(script: &'static [&'static str]) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let join = std::thread::spawn(move || {
        let (mut out, _) = listener.accept().unwrap();
        out.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut lines = BufReader::new(out.try_clone().unwrap());
        let mut heard = String::new();
        let mut in_data = false;
        for answer in script {
            out.write_all(answer.as_bytes()).unwrap();
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    return heard;
                }
                heard += &line;
                if in_data && line != ".\r\n" {
                    continue;
                }
                in_data = line.starts_with("DATA");
                break;
            }
        }
        heard
    });
    (port, join)
}

pub(super) fn settings(port: u16) -> Smtp {
    Smtp {
        host: "127.0.0.1".into(),
        port,
        tls: SmtpTls::None,
        username: None,
        password: None,
        from: "crmsync@example.org".into(),
        ca_file: None,
    }
}

#[tokio::test]
async fn what_is_sent_is_what_was_stored() {
    let (port, heard) = server(&[
        "220 hi\r\n",
        "250 me\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "250 taken\r\n",
        "221 bye\r\n",
    ]);
    let mail = compose(&letter(Kind::Test { by: "root".into() })).unwrap();
    send(&settings(port), None, &mail).await.unwrap();
    let heard = heard.join().unwrap();
    assert!(heard.contains("MAIL FROM:<crmsync@example.org>"), "{heard}");
    assert!(heard.contains("RCPT TO:<ada@example.org>"));
    assert!(heard.contains(std::str::from_utf8(&mail.bytes).unwrap()));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let mail = compose(&letter(Kind::Test { by: "root".into() })).unwrap();
    let (port, _join) =
        server(&["220 hi\r\n", "250 me\r\n", "250 ok\r\n", "550 no such user\r\n", "221 bye\r\n"]);
    let e = send(&settings(port), None, &mail).await.unwrap_err();
    assert!(matches!(&e, SendError::Refused { to, .. } if to == "ada@example.org"), "{e}");
    assert!(!e.retry());

    let (port, _join) = server(&["220 hi\r\n", "250 me\r\n", "451 later\r\n", "221 bye\r\n"]);
    let e = send(&settings(port), None, &mail).await.unwrap_err();
    assert!(matches!(e, SendError::Passing { .. }), "{e}");

    let (port, _join) = server(&[
        "220 hi\r\n",
        "250-me\r\n250 AUTH PLAIN\r\n",
        "535 5.7.8 wrong\r\n",
        "221 bye\r\n",
    ]);
    let with_user = Smtp { username: Some("crm".into()), ..settings(port) };
    let e = send(&with_user, Some(&"CANARY-pw".into()), &mail).await.unwrap_err();
    assert!(matches!(e, SendError::AuthRefused { .. }), "{e}");
    assert!(!format!("{e} {e:?}").contains("CANARY"));

    let (port, _join) = server(&["220 hi\r\n", "250 me\r\n", "221 bye\r\n"]);
    let starttls = Smtp { tls: SmtpTls::Starttls, ..settings(port) };
    let e = send(&starttls, None, &mail).await.unwrap_err();
    assert!(matches!(e, SendError::Tls { .. }), "STARTTLS is not offered: {e:?}");

    let clear = Smtp { host: "mail.example.org".into(), ..settings(25) };
    let e = send(&clear, None, &mail).await.unwrap_err();
    assert!(matches!(e, SendError::Settings { .. }), "{e}");

    let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let e = send(&settings(closed), None, &mail).await.unwrap_err();
    assert!(matches!(e, SendError::Passing { .. }), "{e}");
}

/// A CA of our own and a certificate of it for `localhost`, made by openssl.
pub(super) fn certificates(dir: &Path) -> bool {
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
            -subj /CN=testca -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
            -keyout srv.key -out srv.csr
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > ext
        openssl x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
            -extfile ext -out srv.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).output();
    let made = made.is_ok_and(|o| o.status.success());
    if !made {
        eprintln!("NOT TESTED: mail over TLS (openssl is not installed or failed)");
    }
    made
}

fn tls_server(dir: &Path) -> Arc<rustls::ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(dir.join("srv.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("srv.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Reads one line without reading further: what follows may be TLS.
fn line(from: &mut impl Read) -> String {
    let mut out = Vec::new();
    let mut byte = [0];
    while !out.ends_with(b"\r\n") && from.read(&mut byte).is_ok_and(|n| n > 0) {
        out.push(byte[0]);
    }
    String::from_utf8(out).unwrap()
}

/// A small but whole mail server for one connection; returns the log-in and the mail it took.
fn session(
    mut tcp: TcpStream,
    tls: &Arc<rustls::ServerConfig>,
    starttls: bool,
) -> (String, String) {
    tcp.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    if starttls {
        tcp.write_all(b"220 hi\r\n").unwrap();
        line(&mut tcp);
        tcp.write_all(b"250-me\r\n250 STARTTLS\r\n").unwrap();
        assert_eq!(line(&mut tcp), "STARTTLS\r\n");
        tcp.write_all(b"220 go\r\n").unwrap();
    }
    let conn = rustls::ServerConnection::new(tls.clone()).unwrap();
    let mut s = rustls::StreamOwned::new(conn, tcp);
    if !starttls && s.write_all(b"220 hi\r\n").and_then(|()| s.flush()).is_err() {
        return Default::default();
    }
    let (mut login, mut mail) = (String::new(), String::new());
    loop {
        let command = line(&mut s);
        let answer = match command.split_whitespace().next() {
            None => return (login, mail),
            Some("EHLO") => "250-me\r\n250 AUTH PLAIN\r\n",
            Some("AUTH") => {
                login = command;
                "235 welcome\r\n"
            }
            Some("DATA") => {
                s.write_all(b"354 go\r\n").and_then(|()| s.flush()).unwrap();
                loop {
                    match line(&mut s).as_str() {
                        ".\r\n" => break,
                        text => mail += text,
                    }
                }
                "250 taken\r\n"
            }
            Some(_) => "250 ok\r\n",
        };
        s.write_all(answer.as_bytes()).and_then(|()| s.flush()).unwrap();
    }
}

#[tokio::test]
async fn tls_with_our_own_ca_and_a_log_in() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return;
    }
    let tls = tls_server(dir.path());
    let mail = compose(&letter(Kind::Test { by: "root".into() })).unwrap();
    for starttls in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let smtp = Smtp {
            host: "localhost".into(),
            tls: if starttls { SmtpTls::Starttls } else { SmtpTls::Tls },
            username: Some("crm".into()),
            ca_file: Some(dir.path().join("ca.pem")),
            ..settings(listener.local_addr().unwrap().port())
        };
        let config = tls.clone();
        let server = std::thread::spawn(move || {
            let first = session(listener.accept().unwrap().0, &config, starttls);
            session(listener.accept().unwrap().0, &config, starttls);
            first
        });
        send(&smtp, Some(&"geheim".into()), &mail).await.unwrap();
        // The same server, without knowing its CA: nothing is sent.
        let stranger = Smtp { ca_file: None, ..smtp.clone() };
        let e = send(&stranger, Some(&"geheim".into()), &mail).await.unwrap_err();
        assert!(matches!(e, SendError::Tls { .. }), "{e}");
        assert!(e.retry());
        let (login, taken) = server.join().unwrap();
        assert_eq!(login, "AUTH PLAIN AGNybQBnZWhlaW0=\r\n");
        assert_eq!(taken, std::str::from_utf8(&mail.bytes).unwrap());

        let gone = Smtp { ca_file: Some(dir.path().join("no.pem")), ..smtp.clone() };
        let e = send(&gone, Some(&"geheim".into()), &mail).await.unwrap_err();
        assert!(matches!(&e, SendError::Settings { text, .. } if text.contains("no.pem")), "{e}");
        let e = send(&smtp, None, &mail).await.unwrap_err();
        assert!(matches!(e, SendError::Settings { .. }), "a user name without password: {e}");
    }
}
