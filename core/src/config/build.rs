//! The merged tree as settings: defaults filled in, origins noted, what spans several keys checked.
//!
//! Values of single keys have been checked where they stand (`shape`); one that is wrong reads as
//! its default here and is not reported again. Invariant: settings made beside a reported error
//! are thrown away by the caller.

use super::database::{self, Address};
use super::excerpt::Masked;
use super::keys::{self, Key, Kind, Section};
use super::raw::{self, Node, Place, Value};
use super::report::{Problem, Report};
use super::settings::{
    Daemon, Database, Network, Notify, QuietHours, Retention, SecretRef, Smtp, SmtpTls,
};
use super::shape::join;
use super::show::{Origin, Origins, Shown};
use super::value::{self, is_loopback};
use super::{Checked, Facts, Settings};
use crate::domain::ProviderSpec;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads values out of the merged tree and remembers what it saw.
pub(super) struct Builder<'a> {
    pub merged: &'a Node,
    pub texts: &'a [Masked],
    pub specs: &'a [&'static ProviderSpec],
    pub facts: &'a dyn Facts,
    pub report: &'a mut Report,
    pub origins: Origins,
    /// Hashes of files named by what is being built, by dotted key.
    pub files: BTreeMap<String, String>,
    pub credentials: BTreeMap<String, String>,
}

/// One table of the merged tree, which may be absent.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub path: &'a str,
    pub section: Section,
    pub node: Option<&'a Node>,
}

impl<'a> Table<'a> {
    pub fn place(&self, key: &str) -> Option<Place> {
        self.get(key).map(|n| n.place.clone())
    }

    fn known(&self, key: &str) -> Option<Key> {
        self.section.keys().iter().find(|k| k.name == key).copied()
    }

    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|n| n.get(key))
    }
}

/// Makes the settings. Problems go into the report.
pub(super) fn build(
    merged: &Node,
    texts: &[Masked],
    specs: &[&'static ProviderSpec],
    facts: &dyn Facts,
    report: &mut Report,
) -> Checked {
    let mut b = Builder {
        merged,
        texts,
        specs,
        facts,
        report,
        origins: Origins::default(),
        files: BTreeMap::new(),
        credentials: BTreeMap::new(),
    };
    let daemon = b.daemon();
    let replica = b.replica();
    let notify = b.notify();
    let network = b.network(Table {
        path: "network",
        section: Section::Network,
        node: merged.get("network"),
    });
    let retention = b.retention();
    let shared_files = std::mem::take(&mut b.files);
    let made = b.connections(&notify, &network, &shared_files);
    Checked {
        settings: Settings {
            daemon,
            replica,
            notify,
            network,
            retention,
            connections: made.connections,
        },
        warnings: Vec::new(),
        fingerprints: made.fingerprints,
        files: made.files,
        shared_files,
        credentials: b.credentials,
        origins: b.origins,
    }
}

impl<'a> Builder<'a> {
    fn daemon(&mut self) -> Daemon {
        let t = self.top("daemon", Section::Daemon);
        Daemon {
            state_dir: self.path(t, "state_dir"),
            replica_dir: self.path(t, "replica_dir"),
            socket: self.path(t, "socket"),
            workers: u32::try_from(self.number(t, "workers").unwrap_or(8)).unwrap_or(8),
        }
    }

    fn replica(&mut self) -> Option<Database> {
        let t = self.top("replica", Section::Replica);
        let password = self.secret(t, "password");
        let (readers, ca_file) = (self.text(t, "readers"), self.file(t, "ca_file"));
        if let (None, Some(node)) = (t.get("url"), t.node)
            && node.entries().next().is_some()
        {
            let hint = "url = \"postgresql://crmsync@db.example.org/crm\"; without [replica] the data goes into SQLite files";
            let problem = Problem::key(&node.place, "`[replica]` lacks `url`").hint(hint);
            self.lacks(problem, &node.place);
        }
        let address = self.leaf(t, "url").and_then(|node| database::address("url", &node).ok())?;
        let Address { host, port, database, user, tls } = address;
        Some(Database { host, port, database, user, tls, password, readers, ca_file })
    }

    fn notify(&mut self) -> Notify {
        let t = self.top("notify", Section::Notify);
        let admins = self.texts(t, "admins");
        let gather = self.duration(t, "gather");
        let remind = self.durations(t, "remind");
        let zone = self.text(t, "time_zone").unwrap_or_else(|| "UTC".into());
        let quiet_hours = self
            .leaf(t, "quiet_hours")
            .and_then(|node| value::quiet_hours("quiet_hours", &node).ok())
            .map(|(from, to)| QuietHours { from, to, zone });
        let digest_above = self.number(t, "digest_above").and_then(|n| u32::try_from(n).ok());
        let smtp = t.get("smtp").and_then(|node| self.smtp(node));
        Notify {
            admins,
            gather,
            remind,
            quiet_hours,
            digest_above: digest_above.unwrap_or(5),
            smtp,
        }
    }

    fn smtp(&mut self, node: &'a Node) -> Option<Smtp> {
        let t = Table { path: "notify.smtp", section: Section::Smtp, node: Some(node) };
        let host = self.required(t, "host", "host = \"mail.example.org\"");
        let tls = self.text(t, "tls").map_or(SmtpTls::Starttls, |w| keys::smtp_tls(&w));
        let default = match tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        };
        let port = self.number(t, "port").and_then(|n| u16::try_from(n).ok());
        if port.is_none() {
            self.note(t.path, "port", default.to_string(), Origin::Default);
        }
        let from = self.required(t, "from", "from = \"crmsync <crmsync@example.org>\"");
        let username = self.text(t, "username");
        let password = self.secret(t, "password");
        let ca_file = self.file(t, "ca_file");
        if let (SmtpTls::None, Some(place), Some(host)) = (tls, t.place("tls"), &host)
            && !is_loopback(host)
        {
            let message = format!("mails to `{}` would travel unencrypted", value::clip(host));
            let hint = "tls = \"starttls\" (port 587) or tls = \"tls\" (port 465)";
            self.add(
                Problem::value(&place, message).allowed("\"none\" only to localhost").hint(hint),
            );
        }
        let pair = [("username", "password"), ("password", "username")];
        for (there, missing) in pair {
            if let (Some(node), None) = (t.get(there), t.get(missing)) {
                let message = format!("`{there}` stands here without `{missing}`");
                let hint = if missing == "password" {
                    "password = { file = \"/etc/crmsync/…\" }, or remove the line for a server without log-in"
                } else {
                    "username = \"…\""
                };
                self.add(Problem::key(&node.place, message).hint(hint));
            }
        }
        Some(Smtp {
            host: host?,
            port: port.unwrap_or(default),
            tls,
            username,
            password,
            from: from?,
            ca_file,
        })
    }

    pub fn network(&mut self, t: Table<'_>) -> Network {
        Network {
            proxy: self.text(t, "proxy"),
            no_proxy: self.texts(t, "no_proxy"),
            ca_file: self.file(t, "ca_file"),
        }
    }

    fn retention(&mut self) -> Retention {
        let t = self.top("retention", Section::Retention);
        Retention {
            runs: self.duration(t, "runs"),
            audit: self.duration(t, "audit"),
            mails: self.duration(t, "mails"),
        }
    }

    fn top(&self, path: &'static str, section: Section) -> Table<'a> {
        Table { path, section, node: self.merged.get(path) }
    }

    pub fn add(&mut self, problem: Problem) {
        self.report.add(self.texts, problem);
    }

    /// Something is missing: not said of a table in a file that could not be read whole.
    pub fn lacks(&mut self, problem: Problem, table: &Place) {
        if !table.torn {
            self.add(problem);
        }
    }

    pub fn note(&mut self, section: &str, key: &str, value: String, origin: Origin) {
        let (section, key) = (section.to_owned(), join("", key));
        self.origins.0.push(Shown { section, key, value, origin });
    }

    pub fn origin(&self, place: &Place) -> Origin {
        match self.texts.get(place.layer) {
            Some(text) if text.numbered => {
                Origin::File { path: text.path.clone(), line: text.line(place.key.start) }
            }
            Some(text) => Origin::Env(text.slice(place.key.clone()).to_owned()),
            None => Origin::Default,
        }
    }

    /// The value that is set, else the default; noted either way.
    pub fn leaf(&mut self, t: Table<'_>, key: &str) -> Option<Node> {
        if let Some(node) = t.get(key) {
            let origin = self.origin(&node.place);
            self.note(t.path, key, toml_text(&node.value), origin);
            return Some(node.clone());
        }
        let default = t.known(key).and_then(|k| k.default)?;
        self.note(t.path, key, default.to_owned(), Origin::Default);
        Some(default_node(default))
    }

    /// A text that passes the check of its kind.
    pub fn text(&mut self, t: Table<'_>, key: &str) -> Option<String> {
        let node = self.leaf(t, key)?;
        let kind = t.known(key).map_or(Kind::Text, |k| k.kind);
        if !value::check(kind, key, &node).is_empty() {
            return None;
        }
        node.text().map(str::to_owned)
    }

    fn required(&mut self, t: Table<'_>, key: &str, hint: &str) -> Option<String> {
        if let (None, Some(node)) = (t.get(key), t.node) {
            let message = format!("`[{}]` lacks `{key}`", t.path);
            self.lacks(Problem::key(&node.place, message).hint(hint), &node.place);
        }
        self.text(t, key)
    }

    pub fn number(&mut self, t: Table<'_>, key: &str) -> Option<i64> {
        let node = self.leaf(t, key)?;
        if let Value::Number(n) = node.value { n } else { None }
    }

    pub fn duration(&mut self, t: Table<'_>, key: &str) -> SignedDuration {
        let read = |node: &Node| value::duration(key, node, 0, i64::MAX / 2).ok();
        let found = self.leaf(t, key).as_ref().and_then(read);
        let default = || read(&default_node(t.known(key).and_then(|k| k.default)?));
        found.or_else(default).unwrap_or_default()
    }

    fn durations(&mut self, t: Table<'_>, key: &str) -> Vec<SignedDuration> {
        let node = self.leaf(t, key);
        let read = |item: &Node| value::duration(key, item, 0, i64::MAX / 2).ok();
        items(node.as_ref()).iter().filter_map(read).collect()
    }

    pub fn texts(&mut self, t: Table<'_>, key: &str) -> Vec<String> {
        let node = self.leaf(t, key);
        items(node.as_ref()).iter().filter_map(|n| n.text().map(str::to_owned)).collect()
    }

    fn path(&mut self, t: Table<'_>, key: &str) -> PathBuf {
        self.text(t, key).unwrap_or_default().into()
    }

    /// A file that must be readable; its bytes count as part of the configuration.
    pub fn file(&mut self, t: Table<'_>, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(t, key)?);
        let place = t.place(key)?;
        self.read(t, key, &path, &place);
        Some(path)
    }

    fn read(&mut self, t: Table<'_>, key: &str, path: &Path, place: &Place) {
        match self.facts.file_hash(path) {
            Ok(hash) => drop(self.files.insert(format!("{}.{key}", t.path), hash)),
            Err(why) => {
                let shown = value::clip(&path.to_string_lossy());
                let message = format!("`{key}`: cannot read `{shown}`: {}", value::clip(&why));
                let hint = if why.contains("no such file") {
                    format!(
                        "make it, and paste its content: install -m 0640 -o root -g crmsync /dev/stdin {shown}"
                    )
                } else {
                    format!(
                        "the daemon's user must be able to read it: chown root:crmsync {shown}; chmod 0640 {shown}"
                    )
                };
                self.add(Problem::value(place, message).hint(hint));
            }
        }
    }

    /// Where a secret is kept. Of two places named in different layers the later one counts.
    pub fn secret(&mut self, t: Table<'_>, key: &str) -> Option<SecretRef> {
        let node = t.get(key)?;
        let named = |word| node.get(word).filter(|n| n.text().is_some());
        let both =
            [named("file").map(|n| ("file", n)), named("credential").map(|n| ("credential", n))];
        let (word, chosen) = both.into_iter().flatten().max_by_key(|(_, n)| n.place.layer)?;
        let text = chosen.text()?.to_owned();
        let origin = self.origin(&chosen.place);
        self.note(t.path, key, format!("{{ {word} = {} }}", quote(&text)), origin);
        if word == "file" {
            let path = PathBuf::from(text);
            if path.is_absolute() {
                self.read(t, key, &path, &chosen.place);
            }
            return Some(SecretRef::File(path));
        }
        let unit =
            format!("`LoadCredential={text}:/path/of/the/file` in a drop-in of crmsyncd.service");
        match self.facts.credential_exists(&text) {
            Some(true) => {}
            Some(false) => {
                let message =
                    format!("`{key}`: credential `{}` was not handed over", value::clip(&text));
                let hint =
                    format!("needs a restart: write {unit}, then `systemctl restart crmsyncd`");
                self.add(Problem::value(&chosen.place, message).hint(hint));
            }
            None => {
                let message =
                    format!("`{key}`: only the daemon can see credential `{}`", value::clip(&text));
                let hint = format!("make sure of {unit}");
                self.add(Problem::value(&chosen.place, message).warning().hint(hint));
            }
        }
        let dotted = format!("{}.{key}", t.path);
        self.credentials.entry(text.clone()).or_insert(dotted);
        Some(SecretRef::Credential(text))
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    if let Some(Node { value: Value::List(items), .. }) = node { items } else { &[] }
}

fn default_node(text: &str) -> Node {
    Node { place: Place { layer: usize::MAX, ..Place::default() }, value: raw::literal(text) }
}

pub(super) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A value as TOML.
pub(super) fn toml_text(value: &Value) -> String {
    match value {
        Value::Text(text) => quote(text),
        Value::Number(n) => n.unwrap_or_default().to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Decimal | Value::Date => String::new(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|n| toml_text(&n.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let entry =
                |(k, n): (&String, &Node)| format!("{} = {}", join("", k), toml_text(&n.value));
            let entries: Vec<String> = table.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}
