//! One connection of the merged tree as a setting, with what spans several of its keys.
//!
//! Knows no provider: what a connection needs comes from the provider's spec.

use super::build::{Builder, Table, quote, toml_text};
use super::keys::{self, Section};
use super::raw::{Node, Place, Value};
use super::report::Problem;
use super::settings::{Connection, Network, Notify, Quota, Selection};
use super::shape::spec_of;
use super::show::Origin;
use super::value::{self, clip};
use crate::domain::{ConnectionName, CredentialKind, ProviderSpec, Schedule};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// All connections, and what a reload compares.
#[derive(Default)]
pub(super) struct Made {
    pub connections: BTreeMap<ConnectionName, Connection>,
    pub fingerprints: BTreeMap<ConnectionName, u64>,
    pub files: BTreeMap<ConnectionName, BTreeMap<String, String>>,
}

impl<'a> Builder<'a> {
    /// Makes every connection. `shared` are the hashes of files that the top sections name.
    pub fn connections(
        &mut self,
        notify: &Notify,
        network: &Network,
        shared: &BTreeMap<String, String>,
    ) -> Made {
        let mut made = Made::default();
        let merged = self.merged;
        let all = merged.get("connections").into_iter().flat_map(Node::entries);
        let count = all.clone().count();
        if count > super::MAX_CONNECTIONS {
            let problem = Problem::nowhere(format!("{count} connections are too many"));
            self.add(problem.allowed(format!("at most {}", super::MAX_CONNECTIONS)));
            return made;
        }
        for (text, node) in all {
            let Ok(name) = ConnectionName::parse(text) else { continue };
            if !matches!(node.value, Value::Table(_)) {
                continue;
            }
            self.files.clear();
            let connection = self.connection(&name, node, notify, network);
            let within = format!("connections.{name}.");
            let short = |(key, hash): (String, String)| {
                (key.strip_prefix(&within).map(str::to_owned).unwrap_or(key), hash)
            };
            let mut files: BTreeMap<_, _> =
                std::mem::take(&mut self.files).into_iter().map(short).collect();
            let Some(connection) = connection else { continue };
            if let (Some(_), Some(hash)) = (&network.ca_file, shared.get("network.ca_file"))
                && connection.network.ca_file == network.ca_file
            {
                files.entry("network.ca_file".to_owned()).or_insert_with(|| hash.clone());
            }
            made.fingerprints.insert(name.clone(), fingerprint(&connection, &files));
            made.files.insert(name.clone(), files);
            made.connections.insert(name, connection);
        }
        made
    }

    fn connection(
        &mut self,
        name: &ConnectionName,
        node: &'a Node,
        notify: &Notify,
        network: &Network,
    ) -> Option<Connection> {
        let path = format!("connections.{name}");
        let t = Table { path: &path, section: Section::Connection, node: Some(node) };
        if t.get("provider").is_none() {
            let known: Vec<String> = self.specs.iter().map(|s| quote(s.id)).collect();
            let problem =
                Problem::key(&node.place, format!("connection `{name}` lacks `provider`"));
            let hint = format!("provider = {}", known.first().map_or("\"…\"", String::as_str));
            self.lacks(problem.allowed(known.join(", ")).hint(hint), &node.place);
        }
        let provider = self.text(t, "provider");
        let spec = spec_of(self.merged, name.as_str(), self.specs);
        let enabled = self.leaf(t, "enabled").is_none_or(|n| n.value != Value::Flag(false));
        let auth = spec.and_then(|s| self.auth(t, s));
        let own = spec.map(|s| self.own_keys(t, name, node, s)).unwrap_or_default();
        let secrets: Vec<&str> =
            spec.map(|s| s.secrets.iter().map(|(n, _)| *n).collect()).unwrap_or_default();
        let secrets =
            secrets.into_iter().filter_map(|k| Some((k.to_owned(), self.secret(t, k)?))).collect();
        let org_id = self.text(t, "org_id");
        let callback_url = self.callback(t, spec);
        let schedule = self.schedule(t);
        let admins = self.admins(t, name, node, notify);
        let deletes = self.text(t, "deletes").unwrap_or_default();
        let schema = self.text(t, "schema").unwrap_or_default();
        let mut out = Connection {
            provider: provider.unwrap_or_default(),
            enabled,
            auth: auth.unwrap_or(CredentialKind::Password),
            keys: own,
            secrets,
            org_id,
            callback_url,
            schedule,
            admins,
            quota: Quota { pause_at: 80, resume_below: 75, own_share: None, limit: None },
            network: Network::default(),
            objects: BTreeMap::new(),
            deletes: keys::deletes(&deletes),
            erase_after: self.duration(t, "erase_after"),
            late_commit_window: self.duration(t, "late_commit_window"),
            sweep: self.duration(t, "sweep"),
            calculated: self.duration(t, "calculated"),
            prove: self.duration(t, "prove"),
            schema: keys::schema(&schema),
            alarm_after: self
                .number(t, "alarm_after")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(3),
        };
        let below = |key: &str| (format!("{path}.{key}"), t.get(key));
        let (quota_path, quota) = below("quota");
        out.quota = self.quota(Table { path: &quota_path, section: Section::Quota, node: quota });
        let (network_path, node_of_network) = below("network");
        let t_network =
            Table { path: &network_path, section: Section::Network, node: node_of_network };
        out.network = self.effective_network(t_network, network);
        out.objects = self.objects(name, node, &path);
        spec.map(|_| out)
    }

    fn auth(&mut self, t: Table<'_>, spec: &ProviderSpec) -> Option<CredentialKind> {
        let default = spec.credentials.first().copied();
        let found = self.text(t, "auth");
        if let (None, Some(default)) = (&found, default) {
            self.note(t.path, "auth", quote(default.word()), Origin::Default);
        }
        let word = found.or_else(|| default.map(|d| d.word().to_owned()))?;
        spec.credentials.iter().copied().find(|c| c.word() == word)
    }

    /// The provider's own keys, defaults filled in, as text.
    fn own_keys(
        &mut self,
        t: Table<'_>,
        name: &ConnectionName,
        node: &Node,
        spec: &ProviderSpec,
    ) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for key in spec.keys {
            if t.get(key.name).is_none() {
                if let Some(default) = key.default {
                    let shown = match key.kind {
                        crate::domain::KeyKind::Number | crate::domain::KeyKind::Flag => {
                            default.to_owned()
                        }
                        crate::domain::KeyKind::Text
                        | crate::domain::KeyKind::Url
                        | crate::domain::KeyKind::OneOf(_) => quote(default),
                    };
                    self.note(t.path, key.name, shown, Origin::Default);
                    out.insert(key.name.to_owned(), default.to_owned());
                } else if key.required {
                    let message = format!("connection `{name}` lacks `{}` ({})", key.name, key.doc);
                    let value = match key.kind {
                        crate::domain::KeyKind::Url => "\"https://…\"",
                        crate::domain::KeyKind::Number => "…",
                        crate::domain::KeyKind::Flag => "true",
                        crate::domain::KeyKind::Text | crate::domain::KeyKind::OneOf(_) => "\"…\"",
                    };
                    let hint = format!("add to `[{}]`: {} = {value}", t.path, key.name);
                    self.lacks(Problem::key(&node.place, message).hint(hint), &node.place);
                }
                continue;
            }
            let Some(node) = self.leaf(t, key.name) else { continue };
            let text = match &node.value {
                Value::Text(text) => text.clone(),
                Value::Number(_)
                | Value::Flag(_)
                | Value::Decimal
                | Value::Date
                | Value::List(_)
                | Value::Table(_) => toml_text(&node.value),
            };
            out.insert(key.name.to_owned(), text);
        }
        out
    }

    fn callback(&mut self, t: Table<'_>, spec: Option<&ProviderSpec>) -> Option<String> {
        let text = self.text(t, "callback_url");
        let node = t.get("callback_url")?;
        if let Some(spec) = spec.filter(|s| s.callback.is_none()) {
            let message = format!("{} has no log-in page to come back from", spec.label);
            self.add(Problem::key(&node.place, message).hint("remove `callback_url`"));
            return None;
        }
        let url = value::url("callback_url", node).ok()?;
        if url.fragment().is_some() || url.query().is_some() {
            let message = "`callback_url` may not hold `?` or `#`";
            self.add(Problem::value(&node.place, message));
        }
        text
    }

    fn schedule(&mut self, t: Table<'_>) -> Schedule {
        let zone = self.text(t, "time_zone");
        let line = self.text(t, "schedule");
        let parsed = line.zip(zone).and_then(|(line, zone)| Schedule::parse(&line, &zone).ok());
        if let (Some(Schedule::Every(_)), Some(node)) = (&parsed, t.get("time_zone")) {
            let message = "`time_zone` has no effect on a schedule of the form `every …`";
            let hint = "remove it, or write a cron line such as \"30 2 * * *\"";
            self.add(Problem::key(&node.place, message).warning().hint(hint));
        }
        parsed.unwrap_or(Schedule::Every(SignedDuration::from_mins(15)))
    }

    fn admins(
        &mut self,
        t: Table<'_>,
        name: &ConnectionName,
        node: &Node,
        notify: &Notify,
    ) -> Vec<String> {
        if t.get("admins").is_some() {
            return self.texts(t, "admins");
        }
        let given = self.merged.get("notify").and_then(|n| n.get("admins"));
        match given {
            None => {
                let message =
                    format!("nobody would be told when `{name}` fails: it has no `admins`");
                let hint = format!(
                    "`admins = [\"ada@example.org\"]` in `[{}]`, or in `[notify]` for all",
                    t.path
                );
                self.lacks(Problem::key(&node.place, message).hint(hint), &self.merged.place);
            }
            Some(node) => {
                let origin = self.origin(&node.place);
                self.note(t.path, "admins", toml_text(&node.value), origin);
            }
        }
        notify.admins.clone()
    }

    fn quota(&mut self, t: Table<'_>) -> Quota {
        let percent = |b: &mut Self, key: &str| {
            let node = b.leaf(t, key)?;
            value::percent(key, &node).ok()
        };
        let pause_at = percent(self, "pause_at");
        let resume_below = percent(self, "resume_below");
        let own_share = percent(self, "own_share");
        let limit = self.number(t, "limit").and_then(|n| u64::try_from(n).ok());
        if let (Some(pause), Some(resume)) = (pause_at, resume_below)
            && resume >= pause
        {
            let place = t.place("resume_below").or_else(|| t.place("pause_at"));
            let message = format!(
                "`resume_below` ({resume}%) must be lower than `pause_at` ({pause}%), else a held connection would resume at once"
            );
            let hint = if pause > 1 {
                format!("e.g. resume_below = \"{}%\"", pause.saturating_sub(5).max(1))
            } else {
                "raise `pause_at`".to_owned()
            };
            self.add(Problem::value(&place.unwrap_or_default(), message).hint(hint));
        }
        Quota {
            pause_at: pause_at.unwrap_or(80),
            resume_below: resume_below.unwrap_or(75),
            own_share,
            limit,
        }
    }

    fn effective_network(&mut self, t: Table<'_>, global: &Network) -> Network {
        let own = self.network(t);
        let has = |key: &str| t.get(key).is_some();
        for key in ["proxy", "no_proxy", "ca_file"] {
            let inherited = self.merged.get("network").and_then(|n| n.get(key));
            if let (false, Some(node)) = (has(key), inherited) {
                let origin = self.origin(&node.place);
                self.note(t.path, key, toml_text(&node.value), origin);
            }
        }
        Network {
            proxy: if has("proxy") { own.proxy } else { global.proxy.clone() },
            no_proxy: if has("no_proxy") { own.no_proxy } else { global.no_proxy.clone() },
            ca_file: if has("ca_file") { own.ca_file } else { global.ca_file.clone() },
        }
    }

    fn objects(
        &mut self,
        name: &ConnectionName,
        node: &Node,
        path: &str,
    ) -> BTreeMap<String, Selection> {
        let path = format!("{path}.objects");
        let objects = node.get("objects");
        let mut out = BTreeMap::new();
        let mut spelled: BTreeMap<String, (String, Place)> = BTreeMap::new();
        for (object, node) in objects.into_iter().flat_map(Node::entries) {
            let before =
                spelled.insert(object.to_lowercase(), (object.to_owned(), node.place.clone()));
            if let Some((first, place)) = before
                && place.layer != node.place.layer
            {
                let here = (object, &node.place);
                let there = (first.as_str(), &place);
                let later = here.1.layer > there.1.layer;
                let (later, earlier) = if later { (here, there) } else { (there, here) };
                let (a, b) = (clip(later.0), clip(earlier.0));
                let message = format!("`{a}` is the object that another file calls `{b}`");
                self.add(Problem::key(later.1, message).hint("write both alike"));
            }
            let Some((selection, chosen)) = selection(node) else { continue };
            let origin = self.origin(&chosen.place);
            let shown = match &selection {
                Selection::All => quote("all"),
                Selection::Fields(_) => format!("{{ fields = {} }}", toml_text(&chosen.value)),
                Selection::Except(_) => format!("{{ except = {} }}", toml_text(&chosen.value)),
            };
            self.note(&path, object, shown, origin);
            out.insert(object.to_owned(), selection);
        }
        if objects.is_none_or(|n| n.entries().next().is_none()) {
            let place = objects.unwrap_or(node).place.clone();
            let problem =
                Problem::key(&place, format!("connection `{name}` has no objects to read"));
            let hint = format!("e.g. `[{path}]` with a line for each, such as Account = \"all\"");
            self.lacks(problem.hint(hint), &place);
        }
        out
    }
}

/// Of two words set in different layers the later one counts.
fn selection(node: &Node) -> Option<(Selection, &Node)> {
    if node.text() == Some("all") {
        return Some((Selection::All, node));
    }
    let chosen = node.entries().max_by_key(|(_, n)| n.place.layer)?;
    let (word, Node { value: Value::List(items), .. }) = chosen else { return None };
    let names = items.iter().filter_map(|n| n.text().map(str::to_owned)).collect();
    let selection =
        if word == "fields" { Selection::Fields(names) } else { Selection::Except(names) };
    Some((selection, chosen.1))
}

/// FNV-1a over the settings and the hashes of the files: stable, and no secret is needed for it.
fn fingerprint(connection: &Connection, files: &BTreeMap<String, String>) -> u64 {
    let json = serde_json::json!([connection, files]).to_string();
    json.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
