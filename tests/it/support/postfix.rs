//! A real Postfix of one's own: configuration, queue and data in a scratch folder, free ports,
//! nothing of the system's mail touched. Needs root (Postfix drops its rights by itself).
//!
//! Three doors: submission (STARTTLS, then AUTH, both required), smtps (TLS from the first byte,
//! AUTH required) and a plain one for tests about refusing. Everything for `example.test` ends as
//! files in one Maildir; the recipient is in `Delivered-To`. Nothing leaves the machine.

use super::certs::{self, Certs};
use super::mail::Mail;
use super::proc::{Proc, Stream, run, run_with};
use super::wait::{START, eventually_or};
use super::{Scratch, is_root, ports, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The login that submission and smtps accept.
pub const LOGIN: &str = "daemon@example.test";
/// Its password.
pub const PASSWORD: &str = "mail-Pa55word";
/// A recipient that is refused for good (550).
pub const REFUSED: &str = "refused@example.test";
/// A recipient that is put off (450).
pub const BUSY: &str = "busy@example.test";

/// A running server and its folder.
pub struct Postfix {
    proc: Option<Proc>,
    scratch: Scratch,
    /// Port of the plain door: no TLS asked for, no AUTH offered.
    pub plain: u16,
    /// Port with STARTTLS and AUTH, both required.
    pub submission: u16,
    /// Port with TLS from the first byte, AUTH required.
    pub smtps: u16,
    /// The authority a client must trust, and the server's own files. The server is `localhost`.
    pub certs: Certs,
}

/// True when the caller should return: no Postfix here, or no right to start one (said loudly).
pub fn missing(test: &str) -> bool {
    let absent = !Path::new("/usr/sbin/postfix").exists() || saslpasswd().is_none();
    skip(
        test,
        absent || !is_root(),
        "needs root, and the packages postfix, sasl2-bin, libsasl2-modules",
    )
}

fn saslpasswd() -> Option<&'static str> {
    ["/usr/sbin/saslpasswd2", "/usr/bin/saslpasswd2"].into_iter().find(|p| Path::new(p).exists())
}

impl Postfix {
    /// Sets one up and starts it.
    pub fn start() -> Self {
        let scratch = Scratch::new("postfix");
        let certs = certs::make(scratch.path(), &["localhost", "127.0.0.1"]);
        let mut server = Self {
            proc: None,
            plain: ports::free_port(),
            submission: ports::free_port(),
            smtps: ports::free_port(),
            certs,
            scratch,
        };
        server.write_configuration();
        server.resume();
        server
    }

    fn dir(&self) -> &Path {
        self.scratch.path()
    }

    fn conf(&self) -> PathBuf {
        self.dir().join("conf")
    }

    fn write_configuration(&self) {
        let dir = self.dir();
        for folder in ["conf", "queue", "data", "mail"] {
            fs::create_dir_all(dir.join(folder)).expect("making Postfix's folders");
        }
        let db = dir.join("sasldb2");
        let mut command = Command::new(saslpasswd().expect("checked before"));
        command.args(["-p", "-c", "-u", "example.test", "-f"]).arg(&db).arg("daemon");
        run_with(command, PASSWORD.as_bytes(), START).ok();
        chown("postfix", &db);
        chown("postfix", &dir.join("data"));
        chown("nobody", &dir.join("mail"));
        let d = dir.display();
        // Debian's Postfix looks for it below its own configuration, whatever main.cf says
        self.scratch.write(
            "conf/sasl/smtpd.conf",
            &format!(
                "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n\
                 sasldb_path: {d}/sasldb2\n"
            ),
        );
        self.scratch.write("conf/main.cf", &main_cf(dir, &self.certs));
        self.scratch.write("conf/master.cf", &self.master_cf());
    }

    fn master_cf(&self) -> String {
        let mut text = format!(
            "127.0.0.1:{} inet n - n - - smtpd\n\
             127.0.0.1:{} inet n - n - - smtpd\n  -o smtpd_tls_security_level=encrypt\n  \
             -o smtpd_sasl_auth_enable=yes\n  -o smtpd_tls_auth_only=yes\n  \
             -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n\
             127.0.0.1:{} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n  \
             -o smtpd_sasl_auth_enable=yes\n  \
             -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n",
            self.plain, self.submission, self.smtps
        );
        for (service, program, wake, most) in [
            ("pickup", "pickup", "60", "1"),
            ("cleanup", "cleanup", "-", "0"),
            ("qmgr", "qmgr", "1", "1"),
            ("tlsmgr", "tlsmgr", "1000?", "1"),
            ("rewrite", "trivial-rewrite", "-", "-"),
            ("bounce", "bounce", "-", "0"),
            ("defer", "bounce", "-", "0"),
            ("trace", "bounce", "-", "0"),
            ("verify", "verify", "-", "1"),
            ("flush", "flush", "1000?", "0"),
            ("proxymap", "proxymap", "-", "-"),
            ("proxywrite", "proxymap", "-", "1"),
            ("error", "error", "-", "-"),
            ("retry", "error", "-", "-"),
            ("discard", "discard", "-", "-"),
            ("anvil", "anvil", "-", "1"),
        ] {
            // those that a local user talks to have their socket in `public`, the others in `private`
            let private = match service {
                "pickup" | "cleanup" | "qmgr" | "flush" => "n",
                _ => "-",
            };
            text += &format!("{service} unix {private} - n {wake} {most} {program}\n");
        }
        // virtual needs its rights to become the owner of a mailbox
        text += "virtual unix - n n - - virtual\npostlog unix-dgram n - n - 1 postlogd\n";
        text
    }

    /// Starts the server again after [`Postfix::down`]: same ports, same queue.
    pub fn resume(&mut self) {
        let mut check = Command::new("/usr/sbin/postfix");
        check.arg("-c").arg(self.conf()).arg("check");
        run(check, START).ok();
        let mut master = Command::new("/usr/lib/postfix/sbin/master");
        // -d: stays our child, hence stops with us
        master.arg("-c").arg(self.conf()).arg("-d").current_dir(self.dir());
        self.proc = Some(Proc::start("postfix", master, self.dir()));
        for port in [self.plain, self.submission, self.smtps] {
            ports::wait_listening(port, "Postfix");
        }
    }

    /// Mail is down: connections are refused.
    pub fn down(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.terminate(Duration::from_secs(10));
        }
    }

    /// What the server says of its own work.
    pub fn log(&self) -> String {
        let mut text = fs::read_to_string(self.dir().join("maillog")).unwrap_or_default();
        if let Some(proc) = &self.proc {
            text += &fs::read_to_string(proc.log_file(Stream::Err)).unwrap_or_default();
        }
        text
    }

    /// All mails delivered so far, in the order of their arrival.
    pub fn mails(&self) -> Vec<Mail> {
        let folder = self.dir().join("mail/all/new");
        let mut names: Vec<_> = fs::read_dir(&folder)
            .map(|list| list.filter_map(Result::ok).map(|e| e.path()).collect())
            .unwrap_or_default();
        names.sort_by_key(|path: &PathBuf| arrival(path));
        names.iter().map(|path| Mail::read(path)).collect()
    }

    /// The mails delivered to one address.
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.mails().into_iter().filter(|m| m.header("delivered-to") == Some(address)).collect()
    }

    /// Waits until at least `n` mails have been delivered to the address and returns them all.
    pub fn wait_mails(&self, address: &str, n: usize, deadline: Duration) -> Vec<Mail> {
        eventually_or(deadline, &format!("{n} mails for {address}"), || {
            let mails = self.mails_to(address);
            if mails.len() >= n { Ok(mails) } else { Err(self.tail(mails.len())) }
        })
    }

    fn tail(&self, have: usize) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "{have} there; the server's log:\n{}",
            lines[lines.len().saturating_sub(20)..].join("\n")
        )
    }
}

fn main_cf(dir: &Path, certs: &Certs) -> String {
    let d = dir.display();
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {d}/queue\ndata_directory = {d}/data\n\
         maillog_file = {d}/maillog\nmaillog_file_prefixes = {d}\n\
         myhostname = mail.example.test\nmyorigin = example.test\nmydestination =\n\
         mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         smtpd_peername_lookup = no\nsmtpd_banner = mail.example.test ESMTP\n\
         alias_maps =\nalias_database =\nlocal_recipient_maps =\n\
         local_transport = error:there are no local users\n\
         default_transport = error:outside mail is off\nrelay_transport = error:no relay\n\
         virtual_mailbox_domains = example.test\nvirtual_mailbox_base = {d}/mail\n\
         virtual_mailbox_maps = static:all/\nvirtual_uid_maps = static:{uid}\n\
         virtual_gid_maps = static:{uid}\n\
         smtpd_recipient_restrictions = check_recipient_access inline:{{ \
         {{{REFUSED} = 550 5.1.1 no such person}}, {{{BUSY} = 450 4.2.0 mailbox is busy}} }}, \
         permit_mynetworks, reject\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n\
         smtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\n\
         smtpd_sasl_local_domain = example.test\nsmtpd_sasl_security_options = noanonymous\n\
         smtpd_tls_cert_file = {cert}\nsmtpd_tls_key_file = {key}\nsmtpd_tls_loglevel = 1\n\
         smtpd_client_connection_rate_limit = 0\nsmtpd_client_connection_count_limit = 0\n\
         recipient_delimiter = +\nqueue_run_delay = 2s\nminimal_backoff_time = 1s\n\
         maximal_backoff_time = 4s\n",
        uid = user_id("nobody"),
        cert = certs.cert.display(),
        key = certs.key.display(),
    )
}

fn user_id(name: &str) -> u32 {
    let user = nix::unistd::User::from_name(name).expect("reading the user database");
    user.unwrap_or_else(|| panic!("no user {name}")).uid.as_raw()
}

fn chown(user: &str, path: &Path) {
    std::os::unix::fs::chown(path, Some(user_id(user)), None)
        .unwrap_or_else(|e| panic!("giving {} to {user}: {e}", path.display()));
}

/// Seconds and microseconds of a Maildir name, `SECONDS.Vdev-Iinode-Mmicroseconds.host`.
fn arrival(path: &Path) -> (u64, u64) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let number = |text: &str| -> u64 {
        text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    (number(&name), name.split_once('M').map_or(0, |(_, rest)| number(rest)))
}
