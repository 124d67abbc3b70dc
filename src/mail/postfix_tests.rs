//! A real Postfix, from a configuration of its own in a temporary folder.

use super::send_tests::{certificates, settings};
use super::tests::letter;
use super::*;
use crmsync_core::config::settings::{Smtp, SmtpTls};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

struct Postfix {
    dir: TempDir,
    port: u16,
}

impl Postfix {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        let installed = Path::new("/usr/sbin/postfix").exists();
        if !installed || !rustix::process::geteuid().is_root() || !certificates(here) {
            eprintln!("NOT TESTED: mail through a real Postfix (not installed, or not root)");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = here.display();
        let script = format!(
            "set -e; cd {at}; chmod 755 .; mkdir conf queue data mail
            chown postfix data; chmod 700 data; chown mail mail
            cat > conf/main.cf <<E
compatibility_level = 3.6
queue_directory = {at}/queue
data_directory = {at}/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost.localdomain
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_maps = inline:{{ {{ada@example.org = ada/}} }}
virtual_mailbox_base = {at}/mail
virtual_uid_maps = static:8
virtual_gid_maps = static:8
virtual_minimum_uid = 8
default_transport = error:outside mail is off
alias_maps =
maillog_file = {at}/log
maillog_file_prefixes = {at}
smtpd_tls_cert_file = {at}/srv.pem
smtpd_tls_key_file = {at}/srv.key
smtpd_tls_security_level = encrypt
smtpd_peername_lookup = no
E
            cat > conf/master.cf <<E
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
E
            postfix -c {at}/conf start"
        );
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        let postfix = Self { dir, port };
        assert!(out.status.success(), "{out:?}\n{}", postfix.log());
        postfix.wait("the port", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(postfix)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        // Counted, not clocked: 600 looks, 50 ms apart.
        for _ in 0..600 {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{what} did not come within 30 s\n{}", self.log());
    }

    fn arrived(&self) -> Vec<PathBuf> {
        let new = fs::read_dir(self.dir.path().join("mail/ada/new"));
        new.map(|d| d.map(|e| e.unwrap().path()).collect()).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let conf = self.dir.path().join("conf");
        let _ = Command::new("postfix").arg("-c").arg(conf).arg("stop").output();
    }
}

#[tokio::test]
async fn a_real_postfix_takes_and_refuses() {
    let Some(postfix) = Postfix::start() else { return };
    let smtp = Smtp {
        host: "localhost".into(),
        tls: SmtpTls::Starttls,
        ca_file: Some(postfix.dir.path().join("ca.pem")),
        ..settings(postfix.port)
    };
    let mail = compose(&letter(Kind::Test { by: "Ärztin".into() })).unwrap();
    // Sent twice, as after a crash: both arrive with one Message-ID and the same text.
    for _ in 0..2 {
        send(&smtp, None, &mail).await.unwrap();
    }
    let files = postfix.wait("the mails", || {
        let files = postfix.arrived();
        (files.len() == 2).then_some(files)
    });
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let sent = String::from_utf8(mail.bytes.clone()).unwrap().replace("\r\n", "\n");
        assert!(text.ends_with(&sent), "{text}\n---\n{sent}");
        assert!(text.contains("with ESMTPS id"), "{text}");
    }
    let nobody =
        Letter { to: "nobody@example.org".into(), ..letter(Kind::Test { by: "x".into() }) };
    let e = send(&smtp, None, &compose(&nobody).unwrap()).await.unwrap_err();
    assert!(matches!(&e, SendError::Refused { text, .. } if text.contains("nobody")), "{e}");
    let clear = Smtp { tls: SmtpTls::None, ..smtp };
    let e = send(&clear, None, &mail).await.unwrap_err();
    assert!(matches!(e, SendError::Tls { .. }), "STARTTLS is asked for first: {e}");
}
