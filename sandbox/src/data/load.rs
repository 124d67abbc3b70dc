//! Recorded data: describes and records as they lie in a folder.
//!
//! Describes are served as recorded. Records get the fields that the describe has; what they lack
//! (ids, stamps, owners) is made up from their number, the same at each start. An object without a
//! describe gets one from its records. What was left out, and why, is told to the caller.

use super::Org;
use super::id::Id;
use super::input::{self, Owned};
use super::schema::{Kind, Source, link_compounds};
use super::shape;
use super::table::{Object, Row};
use super::value::Val;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// 2024-01-01: records without a stamp are written from here on, forty a second.
const BASE: i64 = 1_704_067_200;

/// A record of a file.
pub(super) struct Raw {
    pub(super) object: String,
    pub(super) fields: Map<String, Value>,
    reference: Option<String>,
    file: usize,
    id: Option<Id>,
}

#[derive(Default)]
struct Loader {
    report: Vec<String>,
    files: Vec<PathBuf>,
    records: Vec<Raw>,
}

fn sorted_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() { todo.push(path) } else { out.push(path) }
        }
    }
    out.sort();
    out
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|s| s.to_str()).unwrap_or_default()
}

fn json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {} as JSON", path.display()))
}

impl Org {
    /// Loads a folder of recordings (`describe/`, `describe_minified/`, `global/`, `records/`,
    /// `bulk2/ingest*.csv`). Objects that are there already are left alone. Gives the lines of a
    /// report: what was loaded, what was left out and why.
    ///
    /// # Errors
    /// The folder holds no describe, or a file cannot be read.
    pub fn load_dir(&mut self, dir: &Path) -> Result<Vec<String>> {
        let mut loader = Loader::default();
        loader.describes(self, dir)?;
        if loader.report.is_empty() {
            bail!(
                "loading {}: no describe/*.json there; hint: name the folder that holds describe/ and records/",
                dir.display()
            );
        }
        let mut files = sorted_files(&dir.join("records"));
        files.extend(
            sorted_files(&dir.join("bulk2")).into_iter().filter(|p| stem(p).starts_with("ingest")),
        );
        for file in files {
            let ext = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_owned();
            loader.files.push(file.clone());
            match ext.as_str() {
                "json" => loader.tree(&file)?,
                "csv" => loader.csv(self, &file)?,
                _ => {
                    loader.report.push(format!("skipped {}: neither JSON nor CSV", file.display()));
                }
            }
        }
        loader.store(self);
        Ok(loader.report)
    }
}

impl Loader {
    fn describes(&mut self, org: &mut Org, dir: &Path) -> Result<()> {
        let global = dir.join("global").join("describeGlobal.json");
        let global = if global.is_file() { json(&global)? } else { Value::Null };
        let entries = global.get("sobjects").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut files = sorted_files(&dir.join("describe"));
        // Of two describes of one object the file that bears its name counts.
        files.sort_by_key(|p| stem(p).contains('_') && !stem(p).ends_with("__c"));
        files.extend(sorted_files(&dir.join("describe_minified")));
        let mut before: BTreeSet<String> = org.objects.keys().cloned().collect();
        for file in files {
            let Value::Object(map) = json(&file)? else { continue };
            let Some(mut object) = Object::from_describe(map) else {
                self.report.push(format!("skipped {}: no describe", file.display()));
                continue;
            };
            let key = object.name.to_lowercase();
            if !before.insert(key.clone()) {
                self.report.push(format!(
                    "skipped {}: another describe of {} is served",
                    file.display(),
                    object.name
                ));
                continue;
            }
            object.global = entries
                .iter()
                .find(|e| e["name"] == object.name.as_str())
                .and_then(Value::as_object)
                .cloned();
            object.spare_prefix = Some(format!("z{:02}", before.len() % 100));
            self.report.push(format!("describe {}: {} fields", object.name, object.fields.len()));
            org.objects.insert(key, object);
        }
        let unserved = entries
            .iter()
            .filter(|e| !e["name"].as_str().is_some_and(|n| before.contains(&n.to_lowercase())))
            .count();
        if unserved > 0 {
            self.report.push(format!(
                "skipped {unserved} entries of describeGlobal: no describe of them was recorded"
            ));
        }
        org.schema_changed = org.schema_changed.max(BASE);
        Ok(())
    }

    /// `{"records": [{"attributes": {"type", "referenceId"}, …}]}`, children inside their parents.
    fn tree(&mut self, file: &Path) -> Result<()> {
        let tree = json(file)?;
        let Some(list) = tree.get("records").and_then(Value::as_array) else {
            self.report.push(format!("skipped {}: no records in it", file.display()));
            return Ok(());
        };
        let before = self.records.len();
        self.branch(list, None);
        self.report.push(format!("{}: {} records", file.display(), self.records.len() - before));
        Ok(())
    }

    fn branch(&mut self, list: &[Value], parent: Option<(&str, &str)>) {
        for record in list {
            let Some(record) = record.as_object() else { continue };
            let attributes = record.get("attributes");
            let text = |key: &str| {
                attributes.and_then(|a| a.get(key)).and_then(Value::as_str).map(str::to_owned)
            };
            let Some(object) = text("type") else { continue };
            let reference = text("referenceId");
            let mut fields = record.clone();
            fields.shift_remove("attributes");
            if let Some((parent, reference)) = parent {
                fields.insert(format!("{parent}Id"), Value::String(format!("@{reference}")));
            }
            let children: Vec<Value> = fields
                .values()
                .filter_map(|v| v.get("records")?.as_array())
                .flatten()
                .cloned()
                .collect();
            fields.retain(|_, v| v.get("records").is_none());
            let file = self.files.len().saturating_sub(1);
            self.records.push(Raw {
                object: object.clone(),
                fields,
                reference: reference.clone(),
                file,
                id: None,
            });
            self.branch(&children, reference.as_deref().map(|r| (object.as_str(), r)));
        }
    }

    fn csv(&mut self, org: &Org, file: &Path) -> Result<()> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        // Old exports are Latin-1, whose bytes are the first code points.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
        let header = text.lines().next().unwrap_or_default();
        let delimiter = if header.contains('`') { b'`' } else { b',' };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(text.as_bytes());
        let headers: Vec<String> = reader
            .headers()
            .with_context(|| format!("reading {}", file.display()))?
            .iter()
            .map(str::to_owned)
            .collect();
        let mut rows = Vec::new();
        for row in reader.records() {
            rows.push(row.with_context(|| format!("reading {}", file.display()))?);
        }
        let id_column = headers.iter().position(|h| h.eq_ignore_ascii_case("id"));
        let first_id = rows.first().and_then(|r| Id::parse(r.get(id_column?)?));
        let by_id = first_id
            .and_then(|id| org.objects.values().find(|o| o.prefix().as_bytes() == id.prefix()));
        let name = stem(file).to_lowercase();
        let by_name = || {
            org.objects
                .iter()
                .filter(|(key, _)| name.contains(key.as_str()))
                .max_by_key(|(key, _)| key.len())
                .map(|(_, o)| o)
        };
        let by_fields =
            || org.object("Account").filter(|o| headers.iter().all(|h| o.field(h).is_some()));
        let Some(object) = by_id.or_else(by_name).or_else(by_fields) else {
            self.report
                .push(format!("skipped {}: cannot tell which object it holds", file.display()));
            return Ok(());
        };
        for row in &rows {
            let fields: Map<String, Value> = headers
                .iter()
                .zip(row)
                .map(|(h, v)| (h.clone(), Value::String(v.to_owned())))
                .collect();
            self.records.push(Raw {
                object: object.name.clone(),
                fields,
                reference: None,
                file: self.files.len() - 1,
                id: None,
            });
        }
        self.report.push(format!("{}: {} records of {}", file.display(), rows.len(), object.name));
        Ok(())
    }

    fn store(&mut self, org: &mut Org) {
        self.missing_objects(org);
        let mut references: BTreeMap<(usize, String), Id> = BTreeMap::new();
        let mut folders: BTreeMap<(PathBuf, String), Id> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut records = std::mem::take(&mut self.records);
        let mut twice = 0;
        for raw in &mut records {
            let Some(object) = org.objects.get_mut(&raw.object.to_lowercase()) else { continue };
            let given = raw
                .fields
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case("id"))
                .and_then(|(_, v)| Id::parse(v.as_str()?));
            let id = given.unwrap_or_else(|| object.new_id());
            if !taken.insert(id) || object.by_id.contains_key(&id) {
                twice += 1;
                continue;
            }
            raw.id = Some(id);
            if let Some(reference) = &raw.reference {
                let folder = self
                    .files
                    .get(raw.file)
                    .and_then(|f| f.parent())
                    .unwrap_or(Path::new(""))
                    .to_owned();
                references.insert((raw.file, reference.clone()), id);
                folders.entry((folder, reference.clone())).or_insert(id);
            }
        }
        if twice > 0 {
            self.report.push(format!(
                "skipped {twice} records: their ids had been loaded from another file"
            ));
        }
        let mut dropped: BTreeMap<(usize, String), usize> = BTreeMap::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (n, raw) in records.iter().enumerate() {
            let Some(id) = raw.id else { continue };
            let folder = self
                .files
                .get(raw.file)
                .and_then(|f| f.parent())
                .unwrap_or(Path::new(""))
                .to_owned();
            let resolve = |r: &str| {
                references
                    .get(&(raw.file, r.to_owned()))
                    .or_else(|| folders.get(&(folder.clone(), r.to_owned())))
                    .copied()
            };
            let owner = org.users.first().copied().unwrap_or_else(|| Id::from_serial("005", 1));
            let Some(object) = org.objects.get_mut(&raw.object.to_lowercase()) else { continue };
            let row = make_row(object, raw, id, n, owner, resolve, &mut |field| {
                *dropped.entry((raw.file, field.to_owned())).or_default() += 1;
            });
            object.insert(row);
            *counts.entry(object.name.clone()).or_default() += 1;
        }
        for ((file, field), n) in dropped {
            let file = self.files.get(file).map(|f| f.display().to_string()).unwrap_or_default();
            self.report.push(format!("skipped {n} values of {field} in {file}: the describe has no such field, or the value does not fit it"));
        }
        self.report.extend(counts.iter().map(|(name, n)| format!("{name}: {n} records served")));
    }

    /// Objects that only records tell of.
    fn missing_objects(&mut self, org: &mut Org) {
        let mut names: Vec<String> = Vec::new();
        for raw in &self.records {
            if org.object(&raw.object).is_none() && !names.contains(&raw.object) {
                names.push(raw.object.clone());
            }
        }
        for (n, name) in names.iter().enumerate() {
            let rows: Vec<&Raw> = self.records.iter().filter(|r| r.object == *name).collect();
            let target = |reference: &str| {
                self.records
                    .iter()
                    .find(|r| r.reference.as_deref() == Some(reference))
                    .map(|r| r.object.clone())
            };
            let Some(mut object) = shape::from_records(name, &format!("a9{n}"), &rows, target)
            else {
                continue;
            };
            link_compounds(&mut object.fields);
            self.report.push(format!(
                "describe {name}: made from its {} records, {} fields",
                rows.len(),
                object.fields.len()
            ));
            org.objects.insert(name.to_lowercase(), object);
        }
    }
}

fn make_row(
    object: &Object,
    raw: &Raw,
    id: Id,
    n: usize,
    owner: Id,
    resolve: impl Fn(&str) -> Option<Id>,
    drop: &mut dyn FnMut(&str),
) -> Row {
    let mut cells: BTreeMap<usize, Owned> = BTreeMap::new();
    let mut stamp = BASE + n as i64 / 40;
    let mut deleted = false;
    for (name, value) in &raw.fields {
        let empty = value.is_null() || value.as_str() == Some("");
        let Some((_, field)) = object.field(name) else {
            if !empty {
                drop(name);
            }
            continue;
        };
        let linked = value
            .as_str()
            .and_then(|v| v.strip_prefix('@'))
            .filter(|_| field.kind == Kind::Reference)
            .and_then(&resolve);
        let read = match linked {
            Some(id) => Ok(Owned::Plain(Val::Id(id))),
            None => input::read_unchecked(field, value),
        };
        match (read, &field.source) {
            (Ok(value), Source::Slot(slot)) => {
                cells.insert(*slot, value);
            }
            (Ok(value), Source::Stamp) => {
                if let Val::Time(ms) = value.val() {
                    stamp = ms.div_euclid(1000);
                }
            }
            (Ok(value), Source::IsDeleted) => deleted = value.val() == Val::Bool(true),
            (Ok(_), Source::Id) => {}
            (Ok(_), Source::Parts(_) | Source::Length(_) | Source::Parent(..)) | (Err(_), _) => {
                drop(name);
            }
        }
    }
    let at = Owned::Plain(Val::Time(stamp * 1000));
    let who = Owned::Plain(Val::Id(owner));
    for field in object.live_fields() {
        let Source::Slot(slot) = field.source else { continue };
        let value = match field.name.as_str() {
            "CreatedDate" | "LastModifiedDate" => at.clone(),
            "CreatedById" | "LastModifiedById" | "OwnerId" => who.clone(),
            _ if field.kind == Kind::Boolean => Owned::Plain(Val::Bool(false)),
            _ => continue,
        };
        cells.entry(slot).or_insert(value);
    }
    object.person_name(&[], &mut cells);
    Row { id, stamp, visible_from: i64::MIN, deleted, cells: Object::build(&[], &cells) }
}
