//! One daemon, a sandbox for each connection, a real mail server with a mailbox for each: many
//! causes are provoked at once, each told by the status, the client's exit code and its mails.

use crate::support::daemon::{Daemon, salesforce};
use crate::support::postfix::{self, LOGIN, PASSWORD, Postfix};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// How long an effect may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// See the module.
pub struct Lab {
    /// The daemon.
    pub daemon: Daemon,
    /// By name of the connection.
    pub boxes: BTreeMap<String, Sandbox>,
    /// Mails for `NAME@example.test`.
    pub postfix: Postfix,
}

/// True when the caller should return: there is no mail server to be had here.
pub fn missing(test: &str) -> bool {
    postfix::missing(test)
}

/// `[notify]` by STARTTLS with a log-in; the password lies in a file of the server's folder.
pub fn notify(postfix: &Postfix) -> String {
    let file = postfix.certs.ca.with_file_name("smtp.password");
    std::fs::write(&file, PASSWORD).expect("writing the mail password");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("hiding the mail password");
    format!(
        "[notify]\nadmins = [\"ada@example.test\"]\ngather = \"1s\"\n\n[notify.smtp]\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nusername = \"{LOGIN}\"\npassword = {{ file = \"{}\" }}\nca_file = \"{}\"\nfrom = \"crmsync <daemon@example.test>\"\n\n",
        postfix.submission,
        file.display(),
        postfix.certs.ca.display()
    )
}

/// A Salesforce connection with a mailbox of its own and two objects.
pub fn section(name: &str, sandbox: &Sandbox, schedule: &str) -> String {
    let mut text = salesforce(name, sandbox, schedule);
    let _ = write!(
        text,
        "admins = [\"{name}@example.test\"]\n\n[connections.{name}.objects]\nAccount = \"all\"\nContact = \"all\"\n\n"
    );
    text
}

impl Lab {
    /// Starts all of it: one sandbox for each name, with flags of its own; every connection is
    /// authorized and loaded.
    pub fn start(schedule: &str, names: &[(&str, &[&str])], env: &[(&str, &str)]) -> Self {
        let postfix = Postfix::start();
        let mut boxes = BTreeMap::new();
        let mut config = notify(&postfix);
        for (name, flags) in names {
            let mut args = vec!["--records", "Account=20", "--records", "Contact=10"];
            args.extend(*flags);
            let sandbox = Sandbox::start(&args);
            config += &section(name, &sandbox, schedule);
            boxes.insert((*name).to_owned(), sandbox);
        }
        let daemon = Daemon::start_with(&config, env);
        let lab = Self { daemon, boxes, postfix };
        for (name, _) in names {
            lab.status_is(name, "Error", "never authorized", "crmsync reauthorize", true);
        }
        // Each was told once that it was never authorized; its recovery is told too.
        for (name, _) in names {
            lab.wait_mails(name, "needs authorization: never authorized", 1);
        }
        for (name, sandbox) in &lab.boxes {
            lab.daemon.authorize(name, sandbox);
        }
        for name in lab.boxes.keys() {
            lab.daemon.wait_reason(name, "Active", "idle");
        }
        for name in lab.boxes.keys() {
            lab.wait_mails(name, "again", 1);
        }
        lab
    }

    /// The sandbox of a connection.
    pub fn sandbox(&self, name: &str) -> &Sandbox {
        &self.boxes[name]
    }

    /// Asks for a run without waiting for it; whatever the answer.
    pub fn ring(&self, name: &str) {
        let path = format!("/v1/connections/{name}/sync");
        self.daemon.api("POST", &path, Some(&json!({})));
    }

    /// Waits for word and reason, and looks at hint and exit code.
    pub fn status_is(&self, name: &str, word: &str, reason: &str, hint: &str, auth: bool) -> Value {
        let status = self.daemon.wait_reason(name, word, reason);
        assert!(
            status["hint"].as_str().unwrap_or_default().contains(hint),
            "the hint says what to type next: {status:#}"
        );
        assert_eq!(status["needs_authorization"], auth, "{status:#}");
        let said = self.daemon.cli(&["status", name, "--json"]);
        assert_eq!(said.code, if auth { 4 } else { 0 }, "{}\n{}", said.out, said.err);
        let json: Value = serde_json::from_str(&said.out).expect("status --json is JSON");
        assert!(
            json.to_string().contains(reason) && json.to_string().contains(word),
            "the client tells the same: {json:#}"
        );
        status
    }

    /// Mails of a connection whose subject contains the text.
    pub fn mails(&self, name: &str, subject: &str) -> Vec<crate::support::mail::Mail> {
        let mut mails = self.postfix.mails_to(&format!("{name}@example.test"));
        mails.retain(|m| m.subject().contains(subject));
        mails
    }

    /// Waits until there are as many.
    pub fn wait_mails(&self, name: &str, subject: &str, n: usize) {
        // Longer than the minute that a refused grant is given.
        eventually_or(SOON * 2, &format!("{n} mails to {name} about {subject:?}"), || {
            let have = self.mails(name, subject).len();
            if have >= n { Ok(()) } else { Err(self.subjects(name).join("\n")) }
        });
    }

    /// Every subject that reached a connection's mailbox, in order.
    pub fn subjects(&self, name: &str) -> Vec<String> {
        let mails = self.postfix.mails_to(&format!("{name}@example.test"));
        mails.iter().map(|m| m.subject().to_owned()).collect()
    }

    /// Panics unless the mailbox holds exactly these, by their beginnings, in this order. The
    /// first two of every lab (never authorized, and its end) are understood.
    pub fn assert_mails(&self, name: &str, wanted: &[&str]) {
        let first = ["needs authorization: never authorized", "again"];
        let all: Vec<&str> = first.iter().chain(wanted).copied().collect();
        let have = self.subjects(name);
        let same = have.len() == all.len() && have.iter().zip(&all).all(|(h, w)| h.contains(w));
        assert!(same, "mails of {name}: {have:#?}\nwanted: {all:#?}");
    }

    /// Writes the whole configuration anew, with a change, and reloads it.
    pub fn reload(&self, change: impl Fn(String) -> String) {
        let file = self.daemon.path("etc/crmsync.toml");
        let old = std::fs::read_to_string(&file).expect("reading the configuration");
        self.daemon.write_config("crmsync.toml", &change(old));
        self.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    }

    /// The replica's copy of both objects is the source's.
    pub fn assert_complete(&self, name: &str) {
        for object in ["Account", "Contact"] {
            let source = self.sandbox(name).source(object, &[]);
            self.daemon.replica(name).assert_same(&object.to_lowercase(), &source);
        }
    }
}

/// Replaces the one occurrence of a text; panics where there is none.
pub fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not in\n{text}");
    text.replacen(old, new, 1)
}

/// The library that fakes the clock of a program, where it is installed.
pub fn faketime() -> Option<&'static str> {
    [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
}

/// Asks for runs until every change before this moment is in the copy. (`Daemon::catch_up` waits
/// for the deletes' time as well, which the vendor tells by the minute.)
pub fn caught_up(daemon: &Daemon, name: &str) {
    let now = jiff::Timestamp::now().as_second();
    eventually_or(SOON, &format!("{name} has what was changed"), || {
        daemon.sync(name);
        let status = daemon.status(name);
        let to = status["caught_up_to"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        if to.is_some_and(|to| to.as_second() > now) { Ok(()) } else { Err(format!("{status:#}")) }
    });
}
