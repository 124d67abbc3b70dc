//! The environment as the topmost layer: `CRMSYNC_CONNECTIONS__SF_PROD__SCHEDULE="every 5m"`.
//!
//! `config::Environment` lowers every name and cannot know that `sf_prod` is `sf-prod` nor that
//! `ACCOUNT` is `Account`; so names are matched here against the tables of keys and the names
//! that the files hold. Invariants: a variable overrides, it never invents a connection or an
//! object; two variables never set one key; a secret's value is not kept.

use super::Source;
use super::excerpt::Masked;
use super::keys::{Entry, Kind, Section};
use super::near::nearest;
use super::raw::{Node, Place, Value};
use super::report::Problem;
use super::value::clip;
use crate::domain::ProviderSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const PREFIX: &str = "CRMSYNC_";

/// What the environment overrides.
pub(super) struct Overrides {
    pub text: Masked,
    pub problems: Vec<Problem>,
    pub tree: Node,
}

/// Where a variable leads.
struct Target {
    path: Vec<String>,
    kind: Kind,
}

/// Reads the variables that name a key (`CRMSYNC_` and at least one `__`).
pub(super) fn read(
    env: &BTreeMap<String, String>,
    layer: usize,
    trees: &[Node],
    specs: &[&'static ProviderSpec],
    secrets: &BTreeSet<&str>,
) -> Overrides {
    let place = Place { layer, ..Place::default() };
    let mut tree = Node { place, ..Node::default() };
    let (mut text, mut problems) = (String::new(), Vec::new());
    for (name, value) in env {
        let upper = name.to_uppercase();
        let Some(rest) = upper.strip_prefix(PREFIX) else { continue };
        let from = text.len();
        let hidden = Masked::is_secret(&upper, secrets);
        let shown = if hidden { "***".to_owned() } else { value.replace(['\n', '\r'], " ") };
        let (key, at) = (from..from + name.len(), from + name.len() + 1);
        let place = Place { layer, key, value: at..at + shown.len(), torn: false };
        let found = if rest.contains("__") {
            resolve(rest, trees, specs).map_err(|p| p.problem(&place, name))
        } else if let Some(problem) = single(rest, &place, name) {
            Err(problem)
        } else {
            continue;
        };
        let _ = writeln!(text, "{name}={shown}");
        match found {
            Ok(target) => {
                let node =
                    Node { value: convert(target.kind, value, &place), place: place.clone() };
                if !put(&mut tree, &target.path, node) {
                    let message = format!("`{name}` sets a key that another variable sets too");
                    problems.push(Problem::key(&place, message).hint("unset one of the two"));
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    Overrides { text: Masked::environment(&Source::new("environment", text)), problems, tree }
}

/// A variable with one `_` where two were meant.
fn single(rest: &str, place: &Place, name: &str) -> Option<Problem> {
    let (section, _) = Section::Root.tables().iter().find(|(section, _)| {
        let section = section.to_uppercase();
        rest.strip_prefix(section.as_str()).is_some_and(|r| r.starts_with('_'))
    })?;
    let key = rest.get(section.len() + 1..).unwrap_or_default();
    let message = format!("`{name}` looks like a key of `[{section}]` but is not read");
    let hint = format!("two underscores between levels: {PREFIX}{}__{key}", section.to_uppercase());
    Some(Problem::key(place, message).warning().hint(hint))
}

/// Where the way through the sections ended.
struct Lost {
    before: Vec<String>,
    segment: String,
    /// What follows, as written.
    after: String,
    names: Vec<String>,
}

impl Lost {
    fn problem(self, place: &Place, variable: &str) -> Problem {
        let under = self.before.join(".");
        let inside = if under.is_empty() { String::new() } else { format!(" in `[{under}]`") };
        let what = if under == "connections" { "connection" } else { "key" };
        if self.segment.is_empty() {
            let message = format!("`{variable}` names a table, not a key");
            let hint = "add two underscores and the key";
            return Problem::key(place, message).allowed(self.names.join(", ")).hint(hint);
        }
        let message = format!("`{variable}`: no {what} `{}`{inside}", clip(&self.segment));
        let problem = Problem::key(place, message);
        match nearest(&self.segment, self.names.iter().map(String::as_str)) {
            Some(near) => {
                let way: Vec<String> =
                    self.before.iter().map(String::as_str).chain([near]).map(spell).collect();
                problem.hint(format!(
                    "did you mean {PREFIX}{}{}?",
                    way.join("__").to_uppercase(),
                    self.after
                ))
            }
            _ if what == "connection" => problem
                .hint("a variable can only override what a file begins: add the connection there"),
            _ => problem.allowed(self.names.iter().map(|n| clip(n)).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A name as it stands in a variable, in lower case.
fn spell(name: &str) -> String {
    let lower = name.to_lowercase();
    lower.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

fn resolve(rest: &str, trees: &[Node], specs: &[&'static ProviderSpec]) -> Result<Target, Lost> {
    let mut path: Vec<String> = Vec::new();
    let mut section = Section::Root;
    let mut kind = None;
    let mut after = rest;
    for segment in rest.split("__") {
        after = after.get(segment.len()..).unwrap_or_default();
        let follows = after;
        after = after.strip_prefix("__").unwrap_or_default();
        let segment = segment.to_lowercase();
        let names: Vec<String> = match kind {
            // Below a leaf: the places of a secret.
            Some(Kind::Secret) => ["file", "credential"].map(str::to_owned).to_vec(),
            Some(_) => Vec::new(),
            None => names(section, &path, trees, specs),
        };
        let Some(name) = names.iter().find(|n| spell(n) == segment) else {
            return Err(Lost { before: path, segment, after: clip(follows), names });
        };
        let in_object = section == Section::Objects && path.len() == 4;
        kind = match (section, kind) {
            (_, Some(_)) => Some(Kind::Text),
            (Section::Objects, None) if in_object => Some(Kind::Texts),
            (Section::Connections, None) => {
                section = Section::Connection;
                None
            }
            (Section::Objects, None) => None,
            (_, None) => match entry(section, name, specs) {
                Some(Entry::Table(inner)) => {
                    section = inner;
                    None
                }
                Some(Entry::Leaf(key)) => Some(key.kind),
                None => None,
            },
        };
        path.push(name.clone());
    }
    // `…__OBJECTS__ACCOUNT=all`
    if kind.is_none() && section == Section::Objects && path.len() == 4 {
        kind = Some(Kind::Text);
    }
    if let Some(kind) = kind {
        return Ok(Target { path, kind });
    }
    let names = names(section, &path, trees, specs);
    Err(Lost { before: path, segment: String::new(), after: String::new(), names })
}

fn entry(section: Section, name: &str, specs: &[&'static ProviderSpec]) -> Option<Entry> {
    section.entry(name, None).or_else(|| specs.iter().find_map(|s| section.entry(name, Some(s))))
}

/// What may come next: keys, or the names that the files hold.
fn names(
    section: Section,
    path: &[String],
    trees: &[Node],
    specs: &[&'static ProviderSpec],
) -> Vec<String> {
    if section == Section::Objects && path.len() == 4 {
        return ["fields", "except"].map(str::to_owned).to_vec();
    }
    if matches!(section, Section::Connections | Section::Objects) {
        let mut out = BTreeSet::new();
        for tree in trees {
            let node = path.iter().try_fold(tree, |node, key| node.get(key));
            out.extend(node.into_iter().flat_map(Node::entries).map(|(k, _)| k.to_owned()));
        }
        return out.into_iter().collect();
    }
    let own = section.names(None);
    let theirs = specs.iter().flat_map(|s| section.names(Some(s)));
    own.into_iter().chain(theirs).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Variables are texts; what a key takes tells how to read one.
fn convert(kind: Kind, value: &str, place: &Place) -> Value {
    let text = || Value::Text(value.to_owned());
    match kind {
        Kind::Flag => value.trim().parse().map_or_else(|_| text(), Value::Flag),
        Kind::Number(..) => {
            value.trim().parse().map_or_else(|_| text(), |n| Value::Number(Some(n)))
        }
        Kind::Mails | Kind::Texts | Kind::Durations(..) => {
            let item = |part: &str| Node {
                place: place.clone(),
                value: Value::Text(part.trim().to_owned()),
            };
            Value::List(value.split(',').map(item).collect())
        }
        Kind::Text
        | Kind::Duration(..)
        | Kind::Percent
        | Kind::Sender
        | Kind::Url
        | Kind::Proxy
        | Kind::Path
        | Kind::File
        | Kind::OneOf(_)
        | Kind::Schedule
        | Kind::Zone
        | Kind::QuietHours
        | Kind::Secret
        | Kind::Database
        | Kind::Provider
        | Kind::Auth => text(),
    }
}

/// Sets a leaf; `false` when it, or something above or below it, is set already.
fn put(tree: &mut Node, path: &[String], node: Node) -> bool {
    let Value::Table(table) = &mut tree.value else { return false };
    match path {
        [] => false,
        [last] => table.insert(last.clone(), node).is_none(),
        [first, rest @ ..] => {
            let place = node.place.clone();
            let inner =
                table.entry(first.clone()).or_insert_with(|| Node { place, ..Node::default() });
            put(inner, rest, node)
        }
    }
}
