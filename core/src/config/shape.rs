//! One layer against the tables of keys: unknown names, wrong types, values out of bounds.
//!
//! Each layer is checked by itself, so that a mistake is found also where a later file overrides
//! it. The merged tree is only asked which provider a connection has, since the line that says so
//! may stand in another file.

use super::excerpt::Masked;
use super::keys::{Entry, Key, Kind, Section};
use super::near::nearest;
use super::raw::{Node, Value};
use super::report::{Problem, Report};
use super::value::{self, clip};
use crate::domain::{ConnectionName, ProviderSpec};
use std::collections::{BTreeMap, BTreeSet};

/// What a layer is checked against.
pub(super) struct Shape<'a> {
    pub specs: &'a [&'static ProviderSpec],
    pub merged: &'a Node,
    pub texts: &'a [Masked],
}

/// The spec of a connection's provider.
pub(super) fn spec_of(
    merged: &Node,
    connection: &str,
    specs: &[&'static ProviderSpec],
) -> Option<&'static ProviderSpec> {
    let id = merged.get("connections")?.get(connection)?.get("provider")?.text()?;
    specs.iter().copied().find(|spec| spec.id == id)
}

/// What stands around a key.
#[derive(Clone, Copy)]
struct Here<'a> {
    section: Section,
    path: &'a str,
    connection: Option<&'a str>,
    spec: Option<&'static ProviderSpec>,
}

impl Shape<'_> {
    /// Reports every mistake of one layer.
    pub fn check(&self, tree: &Node, report: &mut Report) {
        let root = Here { section: Section::Root, path: "", connection: None, spec: None };
        self.table(root, tree, report);
    }

    fn table(&self, here: Here<'_>, node: &Node, report: &mut Report) {
        if here.section == Section::Connections {
            return self.connections(here, node, report);
        }
        if here.section == Section::Objects {
            return objects(here, node, &mut |p| report.add(self.texts, p));
        }
        for (name, child) in node.entries() {
            match here.section.entry(name, here.spec) {
                Some(Entry::Table(section)) => {
                    let path = join(here.path, name);
                    let inner = Here { section, path: &path, ..here };
                    if self.is_table(&path, name, child, report) {
                        self.table(inner, child, report);
                    }
                }
                Some(Entry::Leaf(key)) => {
                    for problem in self.leaf(here, &key, child) {
                        report.add(self.texts, problem);
                    }
                }
                // Looking for what was meant is the dearest check there is.
                None if report.is_full() => report.left_out += 1,
                None => {
                    if let Some(problem) = self.unknown(here, name, child) {
                        report.add(self.texts, problem);
                    }
                }
            }
        }
    }

    fn is_table(&self, path: &str, name: &str, node: &Node, report: &mut Report) -> bool {
        let ok = matches!(node.value, Value::Table(_));
        if !ok {
            let kind = node.value.kind();
            let problem = Problem::value(&node.place, format!("`{name}` is a table, not {kind}"));
            report.add(self.texts, problem.hint(format!("begin it with `[{path}]`")));
        }
        ok
    }

    fn connections(&self, here: Here<'_>, node: &Node, report: &mut Report) {
        for (name, child) in node.entries() {
            let path = join(here.path, name);
            if ConnectionName::parse(name).is_err() {
                report.add(self.texts, bad_name(name, child));
            }
            if self.is_table(&path, name, child, report) {
                let inner = Here {
                    section: Section::Connection,
                    path: &path,
                    connection: Some(name),
                    spec: spec_of(self.merged, name, self.specs),
                };
                self.table(inner, child, report);
            }
        }
    }

    fn leaf(&self, here: Here<'_>, key: &Key, node: &Node) -> Vec<Problem> {
        match key.kind {
            Kind::Secret => {
                let file = self.texts.get(node.place.layer).is_none_or(|t| t.numbered);
                secret(here, key.name, node, file)
            }
            Kind::Provider => self.provider(key.name, node).err().into_iter().collect(),
            Kind::Auth => {
                let words: Option<Vec<_>> =
                    here.spec.map(|s| s.credentials.iter().map(|c| c.word()).collect());
                let checked = value::text(key.name, node).and_then(|text| match words {
                    Some(words) if !words.contains(&text) => {
                        Err(value::word_problem(key.name, node, text, &words))
                    }
                    _ => Ok(()),
                });
                checked.err().into_iter().collect()
            }
            Kind::Text
            | Kind::Flag
            | Kind::Number(..)
            | Kind::Duration(..)
            | Kind::Durations(..)
            | Kind::Percent
            | Kind::Mails
            | Kind::Sender
            | Kind::Texts
            | Kind::Url
            | Kind::Proxy
            | Kind::Path
            | Kind::File
            | Kind::OneOf(_)
            | Kind::Schedule
            | Kind::Zone
            | Kind::Database
            | Kind::QuietHours => value::check(key.kind, key.name, node),
        }
    }

    fn provider(&self, key: &str, node: &Node) -> Result<(), Problem> {
        let ids: Vec<&'static str> = self.specs.iter().map(|s| s.id).collect();
        let text = value::text(key, node)?;
        if ids.contains(&text) {
            return Ok(());
        }
        let mut problem = value::word_problem(key, node, text, &ids);
        problem.message = format!("provider `{}` is not known", clip(text));
        Err(problem)
    }

    fn unknown(&self, here: Here<'_>, name: &str, node: &Node) -> Option<Problem> {
        let connection = here.section == Section::Connection;
        let mut names = here.section.names(here.spec);
        if connection && here.spec.is_none() {
            // The provider is the mistake; its keys cannot be judged before that is put right.
            let theirs: Vec<_> =
                self.specs.iter().flat_map(|s| Section::Connection.names(Some(s))).collect();
            if theirs.contains(&name) {
                return None;
            }
            names = theirs;
        }
        let inside =
            if here.path.is_empty() { String::new() } else { format!(" in `[{}]`", here.path) };
        let problem = Problem::key(&node.place, format!("unknown key `{}`{inside}", clip(name)));
        if let Some(near) = nearest(name, names.iter().copied()) {
            return Some(problem.hint(format!("did you mean `{near}`?")));
        }
        if connection && let Some(other) = self.specs.iter().find(|s| theirs(s, name)) {
            let mine = here.spec.map_or("this provider", |s| s.label);
            return Some(
                problem.hint(format!("`{name}` is a key of {}, not of {mine}", other.label)),
            );
        }
        let elsewhere = match SECTIONS.iter().find(|(_, s)| s.names(None).contains(&name)) {
            Some((header, section)) if *section != here.section => Some(header),
            _ => None,
        };
        names.sort_unstable();
        names.dedup();
        Some(match elsewhere {
            Some(header) => problem.hint(format!("`{name}` belongs in `[{header}]`")),
            None => problem.allowed(names.join(", ")),
        })
    }
}

const SECTIONS: [(&str, Section); 8] = [
    ("notify.smtp", Section::Smtp),
    ("notify", Section::Notify),
    ("daemon", Section::Daemon),
    ("replica", Section::Replica),
    ("network", Section::Network),
    ("retention", Section::Retention),
    ("connections.NAME.quota", Section::Quota),
    ("connections.NAME", Section::Connection),
];

fn theirs(spec: &ProviderSpec, name: &str) -> bool {
    spec.keys.iter().any(|k| k.name == name) || spec.secrets.iter().any(|(n, _)| *n == name)
}

/// A dotted path, with quotes where TOML wants them.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain = !name.is_empty() && name.chars().all(bare);
    let name = match name.len() {
        _ if plain => name.to_owned(),
        0..=200 if !name.contains(char::is_control) => super::build::quote(name),
        _ => format!("\"{}\"", clip(name)),
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

fn bad_name(name: &str, node: &Node) -> Problem {
    let better: String = clip(name)
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let better: String = better.trim_matches('-').chars().take(41).collect();
    let problem = Problem::key(&node.place, format!("`{}` cannot name a connection", clip(name)))
        .allowed("a-z, 0-9 and -, beginning with a letter or digit, 41 characters at most");
    if ConnectionName::parse(&better).is_ok() {
        problem.hint(format!("e.g. `[connections.{better}]`"))
    } else {
        problem
    }
}

fn secret(here: Here<'_>, key: &str, node: &Node, in_file: bool) -> Vec<Problem> {
    let away = if in_file { "remove the line" } else { "unset the variable" };
    let how = match here.connection {
        Some(name) => format!(
            "{away} and type `crmsync secret set {} {key}`, or keep it in a file: {key} = {{ file = \"/etc/crmsync/…\" }}",
            clip(name)
        ),
        None => format!(
            "{away}, put it into a file that only root and crmsync can read, and write {key} = {{ file = \"/etc/crmsync/…\" }}"
        ),
    };
    let Value::Table(table) = &node.value else {
        let problem = Problem::value(
            &node.place,
            format!("`{key}` is a secret and may not stand in the configuration"),
        );
        return vec![problem.hint(how)];
    };
    let mut out = Vec::new();
    for (name, child) in table {
        match name.as_str() {
            "file" => out.extend(value::check(Kind::Path, "file", child)),
            "credential" => out.extend(
                value::text("credential", child)
                    .and_then(|text| {
                        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                        if text.chars().all(ok) && !text.starts_with('.') && text.len() <= 255 {
                            return Ok(());
                        }
                        Err(Problem::value(
                            &child.place,
                            format!("`{}` is not a credential's name", clip(text)),
                        )
                        .allowed("letters, digits, `.`, `_` and `-`"))
                    })
                    .err(),
            ),
            // Marked at the secret itself and not named: the odd key may be the secret, or stand
            // on its line.
            _ => out.push(
                Problem::key(&node.place, format!("`{key}` holds a key that is not known here"))
                    .allowed("file, credential")
                    .hint(how.clone()),
            ),
        }
    }
    let both = table.contains_key("file") && table.contains_key("credential");
    if both || table.is_empty() {
        out.push(
            Problem::value(
                &node.place,
                format!("`{key}` names {} place", if both { "more than one" } else { "no" }),
            )
            .allowed("{ file = \"…\" } or { credential = \"…\" }"),
        );
    }
    out
}

fn objects(here: Here<'_>, node: &Node, add: &mut dyn FnMut(Problem)) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, child) in node.entries() {
        if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            add(Problem::key(&child.place, format!("`{}` cannot name an object", clip(name))));
            continue;
        }
        if let Some(first) = seen.insert(name.to_lowercase(), name) {
            let message = format!("`{first}` and `{name}` are the same object");
            add(Problem::key(&child.place, message).hint("keep one of the two"));
        }
        selection(here, name, child, add);
    }
}

fn selection(here: Here<'_>, name: &str, node: &Node, add: &mut dyn FnMut(Problem)) {
    let allowed = "\"all\", { fields = [\"…\"] } or { except = [\"…\"] }";
    let key = clip(name);
    match &node.value {
        Value::Text(text) if text == "all" => {}
        Value::Table(table) if !table.is_empty() => {
            for (word, child) in table {
                if word == "fields" || word == "except" {
                    fields(word, child, add);
                } else {
                    let message =
                        format!("unknown key `{}` in `{}`", clip(word), join(here.path, name));
                    let problem = Problem::key(&child.place, message).allowed(allowed);
                    add(match nearest(word, ["fields", "except"]) {
                        Some(near) => problem.hint(format!("did you mean `{near}`?")),
                        None => problem,
                    });
                }
            }
            if table.contains_key("fields") && table.contains_key("except") {
                let message = format!("`{key}` has both `fields` and `except`");
                add(Problem::value(&node.place, message).hint("keep one of the two"));
            }
        }
        Value::List(_) => {
            let message = format!("`{key}` takes a selection, not a list");
            let hint = format!("{} = {{ fields = [\"…\"] }}", join("", name));
            add(Problem::value(&node.place, message).allowed(allowed).hint(hint));
        }
        Value::Text(text) => {
            let message = format!("`{key}` cannot be `{}`", clip(text));
            add(Problem::value(&node.place, message).allowed(allowed));
        }
        Value::Table(_) => {
            let message = format!("`{key}` selects nothing");
            add(Problem::value(&node.place, message).allowed(allowed));
        }
        Value::Number(_) | Value::Flag(_) | Value::Decimal | Value::Date => {
            let message = format!("`{key}` takes a selection, not {}", node.value.kind());
            add(Problem::value(&node.place, message).allowed(allowed));
        }
    }
}

fn fields(word: &str, node: &Node, add: &mut dyn FnMut(Problem)) {
    if let Value::List(items) = &node.value
        && items.is_empty()
    {
        let problem = Problem::value(&node.place, format!("`{word}` is an empty list"));
        return add(
            problem.hint("name at least one field; `\"all\"` reads every field of an object")
        );
    }
    let problems = value::check(Kind::Texts, word, node);
    let clean = problems.is_empty();
    problems.into_iter().for_each(&mut *add);
    let Value::List(items) = &node.value else { return };
    let mut seen = BTreeSet::new();
    for item in items.iter().filter(|_| clean) {
        let text = item.text().unwrap_or_default();
        if !seen.insert(text.to_lowercase()) {
            add(Problem::value(&item.place, format!("field `{}` stands here twice", clip(text))));
        }
    }
}
