//! All layers as one tree: a later layer overrides single keys of an earlier one.
//!
//! The laying over is done by the `config` crate. It keeps no places and would coerce types when
//! asked for them, so types have been looked at before, values are taken as they are, and the
//! places are looked up by path. Only known sections are handed over: `config` reads a first
//! key as a path expression, in which `a[999999999]` makes a list of that length.
//! Invariant: a leaf's place is that of the last layer that sets it; a table's, of the first.

use super::raw::{Node, Place, Value};
use config::{Config, ConfigError, Map, ValueKind};
use std::collections::BTreeMap;

/// The sections at the top of a file.
pub(super) const SECTIONS: [&str; 6] =
    ["connections", "daemon", "network", "notify", "replica", "retention"];

#[derive(Debug, Clone)]
struct Layer(Map<String, config::Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Lays the trees over each other, the weakest first.
pub(super) fn merge(trees: &[Node]) -> Node {
    let mut builder = Config::builder();
    let mut places = Places::default();
    for tree in trees {
        let known = tree.entries().filter(|(key, _)| SECTIONS.contains(key));
        builder = builder.add_source(Layer(known.map(|(k, n)| (k.to_owned(), give(n))).collect()));
        places.note(tree);
    }
    let merged = builder.build().and_then(|c| config::Source::collect(&c));
    // Nothing in a layer can fail: no file is read and no type is asked for.
    let table = merged.unwrap_or_default();
    let value = ValueKind::Table(table);
    // Torn as a whole when any layer is: what is missing may stand there.
    let torn = trees.iter().any(|tree| tree.place.torn);
    let place = Place { torn, ..Place::default() };
    Node { place, value: take(value, Some(&places)) }
}

fn give(node: &Node) -> config::Value {
    let kind = match &node.value {
        Value::Text(text) => ValueKind::String(text.clone()),
        Value::Number(Some(n)) => ValueKind::I64(*n),
        Value::Flag(flag) => ValueKind::Boolean(*flag),
        // Reported where it stands; the key counts as given.
        Value::Number(None) | Value::Decimal | Value::Date => ValueKind::Nil,
        Value::List(items) => ValueKind::Array(items.iter().map(give).collect()),
        Value::Table(_) => {
            ValueKind::Table(node.entries().map(|(k, n)| (k.to_owned(), give(n))).collect())
        }
    };
    config::Value::new(None, kind)
}

fn take(kind: ValueKind, places: Option<&Places>) -> Value {
    match kind {
        ValueKind::Boolean(flag) => Value::Flag(flag),
        ValueKind::I64(n) => Value::Number(Some(n)),
        ValueKind::U64(n) => Value::Number(i64::try_from(n).ok()),
        ValueKind::I128(n) => Value::Number(i64::try_from(n).ok()),
        ValueKind::U128(n) => Value::Number(i64::try_from(n).ok()),
        ValueKind::Float(_) | ValueKind::Nil => Value::Decimal,
        ValueKind::String(text) => Value::Text(text),
        ValueKind::Array(items) => {
            let node = |item: config::Value| {
                let place = places.map(|p| p.place.clone()).unwrap_or_default();
                Node { place, value: take(item.kind, None) }
            };
            Value::List(items.into_iter().map(node).collect())
        }
        ValueKind::Table(table) => {
            let node = |(key, value): (String, config::Value)| {
                let below = places.and_then(|p| p.below.get(&key));
                let place = below.map(|p| p.place.clone()).unwrap_or_default();
                (key, Node { place, value: take(value.kind, below) })
            };
            Value::Table(table.into_iter().map(node).collect())
        }
    }
}

/// Where each path is set, over all layers.
#[derive(Debug, Default)]
struct Places {
    place: Place,
    seen: bool,
    below: BTreeMap<String, Places>,
}

impl Places {
    fn note(&mut self, node: &Node) {
        let table = matches!(node.value, Value::Table(_));
        if !(table && self.seen) {
            self.place = node.place.clone();
            self.seen = true;
        }
        for (key, child) in node.entries() {
            self.below.entry(key.to_owned()).or_default().note(child);
        }
    }
}
