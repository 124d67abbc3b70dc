//! The story in which the kills fall: an org that is loaded and followed, reloads, commands, mails
//! through a real Postfix behind a proxy, a grant that rotates.

use crate::support::daemon::{Daemon, notify, raw_api, salesforce};
use crate::support::mail::Mail;
use crate::support::postfix::Postfix;
use crate::support::replica::Source;
use crate::support::sandbox::Sandbox;
use crate::support::tcp_proxy::TcpProxy;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The connection's name.
pub const NAME: &str = "sf";
pub const ADA: &str = "ada@example.test";
/// For what a busy machine may take long over.
pub const LONG: Duration = Duration::from_secs(60);
/// Pages of the first load.
pub const PAGES: u64 = 60;
const PAGE: u64 = 25;
const OBJECTS: [&str; 3] = ["Account", "Contact", "Opportunity"];

/// What the daemon was found to have been doing, by what it left on the disk or unanswered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Load,
    Poll,
    Refresh,
    Reload,
    Mail,
    StateWrite,
}

/// Everything that takes part.
pub struct Story {
    pub daemon: Daemon,
    pub sandbox: Sandbox,
    pub post: Postfix,
    /// In front of the mail server; only what carries a letter is meant.
    pub mail: TcpProxy,
    /// How often the grant was told dead, and told good again.
    pub losses: usize,
    describes: BTreeMap<&'static str, Value>,
}

impl Story {
    /// Authorized; the first load has begun, in small pages.
    pub fn begin() -> Self {
        let accounts = format!("Account={}", PAGES * PAGE);
        let sandbox = Sandbox::start(&[
            "--rotate",
            "--records",
            &accounts,
            "--records",
            "Contact=120",
            "--records",
            "Opportunity=40",
        ]);
        let post = Postfix::start();
        let mail = TcpProxy::start(post.plain);
        mail.only("Subject: ");
        let describes = OBJECTS.iter().map(|o| (*o, sandbox.describe(o))).collect();
        let config = config(&mail, &sandbox, false);
        let daemon = Daemon::start_with(&config, &[("CRMSYNC_LOG", "debug")]);
        let mut story = Self { daemon, sandbox, post, mail, losses: 0, describes };
        story.sandbox.ctl(&["page-size", &PAGE.to_string()]);
        story.sandbox.ctl(&["slow", "ms=15"]);
        story.daemon.set_secret(NAME, "client_secret", &story.sandbox.client_secret);
        story.letter(1);
        story.authorize();
        story.losses = 1;
        story
    }

    /// The configuration file of one of two kinds: with one object more, and another schedule.
    pub fn configure(&self, more: bool) {
        let etc = self.daemon.path("etc");
        let text = config(&self.mail, &self.sandbox, more);
        let new = etc.join("crmsync.toml.new");
        std::fs::write(&new, text).expect("writing the configuration");
        std::fs::rename(new, etc.join("crmsync.toml")).expect("moving the configuration");
    }

    /// Walks the browser's way.
    pub fn authorize(&self) {
        let (user, password) = (&self.sandbox.user, &self.sandbox.password);
        self.daemon.authorize_as(NAME, user, password, false).ok();
    }

    /// Asks for a run; false when that is refused.
    pub fn ring(&self) -> bool {
        let path = format!("/v1/connections/{NAME}/sync");
        self.daemon.api("POST", &path, Some(&json!({}))).status < 300
    }

    /// Runs that have ended: the newest one's id and how often it was repeated.
    pub fn last_run(&self) -> (Value, Value) {
        let run = self.daemon.detail(NAME)["runs"][0].clone();
        (run["id"].clone(), run["repeated"].clone())
    }

    /// Whether a refresh was under way when the daemon died.
    pub fn refresh_was_out(&self) -> bool {
        let db = rusqlite::Connection::open(self.daemon.path("state/state.db")).expect("state");
        db.query_row("select count(*) from refresh", [], |row| row.get::<_, i64>(0))
            .expect("counting refreshes")
            > 0
    }

    /// Rows of the largest object that the replica has.
    pub fn rows(&self) -> i64 {
        let rows = self.daemon.replica(NAME).try_query("select count(*) as n from account");
        match rows.as_deref() {
            Ok([row]) => match row.get("n") {
                Some(crate::support::values::Cell::Int(n)) => *n,
                other => panic!("{other:?}"),
            },
            _ => 0,
        }
    }

    /// Mails by their Message-ID, each list the copies of one.
    pub fn letters(&self) -> BTreeMap<String, Vec<Mail>> {
        let mut all: BTreeMap<String, Vec<Mail>> = BTreeMap::new();
        for mail in self.post.mails_to(ADA) {
            all.entry(mail.message_id().to_owned()).or_default().push(mail);
        }
        all
    }

    /// Waits until so many different letters have come.
    pub fn letter(&self, n: usize) {
        crate::support::wait::eventually_or(LONG, &format!("letter {n} comes"), || {
            let letters = self.letters();
            if letters.len() >= n { Ok(()) } else { Err(format!("{} came", letters.len())) }
        });
    }

    /// Somebody authorizes a connection that was told dead; both letters come.
    pub fn authorize_again(&mut self) {
        self.letter(2 * self.losses + 1);
        self.authorize();
        self.losses += 1;
        self.letter(2 * self.losses);
    }

    /// The daemon lives again: it is brought to idle, and equals the source.
    pub fn recover(&mut self) -> bool {
        let mut lost = false;
        let state = self.daemon.status(NAME);
        if state["needs_authorization"] == false {
            self.daemon.sync(NAME);
        }
        let state = self.daemon.status(NAME);
        if state["needs_authorization"] == true {
            lost = true;
            self.authorize_again();
        }
        self.daemon.follow(NAME);
        self.same();
        lost
    }

    /// The replica equals the source, value by value.
    pub fn same(&self) {
        let replica = self.daemon.replica(NAME);
        for object in &OBJECTS[..2] {
            let source =
                Source::salesforce(&self.describes[object], &[], self.sandbox.dump(object));
            replica.assert_same(&object.to_lowercase(), &source);
        }
    }

    /// The same for all objects, and the file is sound.
    pub fn all_same(&self) {
        self.same();
        let object = OBJECTS[2];
        let source = Source::salesforce(&self.describes[object], &[], self.sandbox.dump(object));
        self.daemon.replica(NAME).assert_same(&object.to_lowercase(), &source);
        self.daemon.replica(NAME).assert_intact();
    }

    /// Asks one thing after the other, each built by `next` from its number, until an answer
    /// stays out; the numbers of the last that was answered well, and of the one that was not.
    pub fn until_death(
        &self,
        next: impl Fn(&Path, usize) -> std::io::Result<u16> + Send + 'static,
    ) -> std::thread::JoinHandle<(Option<usize>, usize)> {
        let socket = self.daemon.socket();
        std::thread::spawn(move || {
            let mut done = None;
            for n in 0.. {
                match next(&socket, n) {
                    Ok(status) => {
                        assert!(status < 300, "asking for {n} was answered {status}");
                        done = Some(n);
                    }
                    Err(_) => return (done, n),
                }
            }
            unreachable!("the numbers do not end")
        })
    }
}

/// One command at a socket; an error when no answer comes.
pub fn command(socket: &Path, path: &str) -> std::io::Result<u16> {
    raw_api(socket, "POST", path, Some(&json!({}))).map(|reply| reply.status)
}

/// The text of `crmsync.toml`.
pub fn config(mail: &TcpProxy, sandbox: &Sandbox, more: bool) -> String {
    let schedule = if more { "every 2h" } else { "every 1h" };
    let last = if more { "Opportunity = \"all\"\n" } else { "" };
    format!(
        "{}{}\n[connections.{NAME}.objects]\nAccount = \"all\"\nContact = \"all\"\n{last}",
        notify(mail.port()),
        salesforce(NAME, sandbox, schedule)
    )
}
