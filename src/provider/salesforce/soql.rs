//! Tasks in the vendor's query language: text only, no network.
//!
//! Hides SOQL, its escapes, keyset paging and the URI limit. Invariants: the same task gives the
//! same queries, whoever asks (pricing and sending agree); every query is bounded by LIMIT and
//! resumed by key, never by a locator; no text of a record or setting gets into a query unescaped;
//! windows, scans, keys, counts and jobs agree on which rows there are, archived ones among them.

use crmsync_core::domain::{JobRead, ObjectSchema, Task, TaskKind, Time};

/// URI limit of the vendor less a margin for headers: 16,384 - 2,000 bytes.
pub const URI_ROOM: usize = 16_384 - 2_000;
/// The most that a statement may have, in characters.
const STATEMENT: usize = 100_000;
/// Path, version and LIMIT around fields and conditions.
const FRAME: usize = 200;
/// Ids in one query: 25 bytes each when encoded.
const IDS_PER_QUERY: usize = 200;
/// The most rows that one answer holds.
pub const PAGE: usize = 2_000;
/// Bytes of answer that one query of a call of several may be expected to bring.
const SHARED_ANSWER: usize = 8_000_000;
/// The same for a query that travels alone.
const WHOLE_ANSWER: usize = 32_000_000;

/// One query of a task. Several of one task are joined on the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// `query` or `queryAll`.
    pub resource: &'static str,
    /// Text without its LIMIT.
    pub text: String,
    /// Indices into the task's fields that this query reads, key included where asked for.
    pub columns: Vec<usize>,
    /// Whether pages follow, by key.
    pub paged: bool,
    /// Which slice of `Ids` it reads; queries of one slice are joined, slices follow each other.
    pub slice: usize,
}

impl Query {
    /// The whole text, with at most `rows` rows where it is paged.
    pub fn soql(&self, rows: usize) -> String {
        if self.paged { format!("{} LIMIT {rows}", self.text) } else { self.text.clone() }
    }
}

/// Rows to ask for: as many as the vendor gives, fewer for wide objects so that an answer fits,
/// halved `shrink` times after an answer that did not.
pub fn rows_per_page(columns: usize, alone: bool, shrink: u32) -> usize {
    let room = if alone { WHOLE_ANSWER } else { SHARED_ANSWER };
    let rows = (room / (columns * 40 + 100)).clamp(200, PAGE);
    (rows >> shrink.min(10)).max(1)
}

/// The queries of a task; none for the kinds that are not queries.
pub fn queries(task: &Task, object: &ObjectSchema) -> Result<Vec<Query>, String> {
    let name = identifier(&task.object)?;
    let key = identifier(&object.key)?;
    match &task.kind {
        TaskKind::Scan { after } => {
            let (resource, alive) = living(object)?;
            let filter = and([alive, beyond(key, after.as_deref())]);
            let tail = tail(filter.as_deref(), &format!(" ORDER BY {key}"));
            split(task, object, resource, name, &tail, true, 0)
        }
        TaskKind::Window { from, to, after } => {
            let stamp = object.stamp.as_deref().ok_or("it has no modification stamp")?;
            let stamp = identifier(stamp)?;
            let filter = window(key, stamp, *from, *to, after.as_deref())?;
            let tail = tail(Some(&filter), &format!(" ORDER BY {stamp}, {key}"));
            split(task, object, "queryAll", name, &tail, true, 0)
        }
        TaskKind::Keys { after } => {
            let (resource, alive) = living(object)?;
            let filter = and([alive, beyond(key, after.as_deref())]);
            let tail = tail(filter.as_deref(), &format!(" ORDER BY {key}"));
            let text = format!("SELECT {key} FROM {name}{tail}");
            Ok(vec![Query { resource, text, columns: vec![0], paged: true, slice: 0 }])
        }
        TaskKind::Ids { ids } => {
            // Deleted rows are asked for as well: "gone" and "in the bin" are different news.
            let resource = if object.deleted_flag.is_some() { "queryAll" } else { "query" };
            let mut all = Vec::new();
            for (slice, ids) in ids.chunks(IDS_PER_QUERY).enumerate() {
                let list: Vec<String> = ids.iter().map(|id| literal(id)).collect();
                let tail = tail(Some(&format!("{key} IN ({})", list.join(","))), "");
                all.extend(split(task, object, resource, name, &tail, false, slice)?);
            }
            Ok(all)
        }
        TaskKind::Count { from, to } => {
            let (resource, alive) = living(object)?;
            let filter = and([alive, bounds(object, *from, *to)?]);
            let text = format!("SELECT count() FROM {name}{}", tail(filter.as_deref(), ""));
            Ok(vec![Query { resource, text, columns: Vec::new(), paged: false, slice: 0 }])
        }
        TaskKind::Deleted { .. } | TaskKind::Job { .. } => Ok(Vec::new()),
        TaskKind::Delta { .. } => Err("this provider has no delta tokens".into()),
    }
}

/// Operation (`query` or `queryAll`) and query of a bulk job. No order and no limit: both would keep
/// the vendor from reading in parts.
pub fn job(
    task: &Task,
    object: &ObjectSchema,
    read: &JobRead,
) -> Result<(&'static str, String), String> {
    let name = identifier(&task.object)?;
    let fields = task.fields.iter().map(|f| identifier(f)).collect::<Result<Vec<_>, _>>()?;
    let (operation, alive) = living(object)?;
    let filter = and([alive, bounds(object, read.from, read.to)?]);
    let text = format!("SELECT {} FROM {name}{}", fields.join(","), tail(filter.as_deref(), ""));
    if fields.is_empty() || text.len() > STATEMENT {
        return Err(format!("its query has {} characters for {} fields", text.len(), fields.len()));
    }
    Ok((operation, text))
}

/// In how many queries these fields are read.
pub fn groups(object: &ObjectSchema, fields: &[String]) -> usize {
    let kind = TaskKind::Scan { after: Some("0".repeat(18)) };
    let task = Task { object: object.name.clone(), fields: fields.to_vec(), kind };
    queries(&task, object).map_or(0, |queries| queries.len())
}

/// How to ask for the rows that are not in the bin: by which resource, and on what condition.
/// `query` leaves out archived activities ("REST API Developer Guide", resource `queryAll`), which
/// the windows bring: where rows are archived they have to be asked for as well.
fn living(object: &ObjectSchema) -> Result<(&'static str, Option<String>), String> {
    match &object.deleted_flag {
        Some(flag) if object.field("IsArchived").is_some() => {
            Ok(("queryAll", Some(format!("{} = false", identifier(flag)?))))
        }
        Some(_) | None => Ok(("query", None)),
    }
}

/// Rows after a key.
fn beyond(key: &str, after: Option<&str>) -> Option<String> {
    after.map(|id| format!("{key} > {}", literal(id)))
}

/// All of the conditions there are.
fn and(conditions: [Option<String>; 2]) -> Option<String> {
    conditions.into_iter().flatten().reduce(|all, one| format!("{all} AND {one}"))
}

/// `from <= stamp < to`, as far as there are bounds.
fn bounds(
    object: &ObjectSchema,
    from: Option<Time>,
    to: Option<Time>,
) -> Result<Option<String>, String> {
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let stamp = object.stamp.as_deref().ok_or("it has no modification stamp")?;
    let stamp = identifier(stamp)?;
    let from = from.map(|t| format!("{stamp} >= {}", datetime(t)));
    let to = to.map(|t| format!("{stamp} < {}", datetime(t)));
    Ok(and([from, to]))
}

/// Groups of columns that each fit one query. Each group reads key and stamp, to be joined by.
fn split(
    task: &Task,
    object: &ObjectSchema,
    resource: &'static str,
    name: &str,
    tail: &str,
    paged: bool,
    slice: usize,
) -> Result<Vec<Query>, String> {
    let mut fixed = vec![object.key.as_str()];
    fixed.extend(object.stamp.as_deref());
    let fixed_cost: usize = fixed.iter().map(|f| encode(f).len() + 1).sum();
    let room = URI_ROOM
        .checked_sub(FRAME + encode(tail).len() + encode(name).len() + fixed_cost)
        .ok_or("its condition does not fit one query")?;
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = 0;
    for (i, field) in task.fields.iter().enumerate() {
        if fixed.iter().any(|f| f.eq_ignore_ascii_case(field)) {
            groups[0].push(i);
            continue;
        }
        let cost = encode(identifier(field)?).len() + 1;
        if used + cost > room && !groups.last().is_some_and(Vec::is_empty) {
            groups.push(Vec::new());
            used = 0;
        }
        used += cost;
        if let Some(group) = groups.last_mut() {
            group.push(i);
        }
    }
    let make = |columns: Vec<usize>| {
        let others = columns
            .iter()
            .map(|i| task.fields[*i].as_str())
            .filter(|f| !fixed.iter().any(|x| x.eq_ignore_ascii_case(f)));
        let list: Vec<&str> = fixed.iter().copied().chain(others).collect();
        let text = format!("SELECT {} FROM {name}{tail}", list.join(","));
        Query { resource, text, columns, paged, slice }
    };
    Ok(groups.into_iter().map(make).collect())
}

fn tail(filter: Option<&str>, order: &str) -> String {
    filter.map_or_else(|| order.to_owned(), |filter| format!(" WHERE {filter}{order}"))
}

/// `from <= stamp < to`, from a position on. Equal stamps are told apart by the key.
fn window(
    key: &str,
    stamp: &str,
    from: Time,
    to: Time,
    after: Option<&str>,
) -> Result<String, String> {
    let to = datetime(to);
    let Some(after) = after else {
        return Ok(format!("{stamp} >= {} AND {stamp} < {to}", datetime(from)));
    };
    let (at, id) = after.split_once('|').ok_or("its position is not of this provider")?;
    let at: Time = at.parse().map_err(|_| "its position is not of this provider")?;
    let at = datetime(at);
    Ok(format!(
        "(({stamp} = {at} AND {key} > {}) OR {stamp} > {at}) AND {stamp} < {to}",
        literal(id)
    ))
}

/// Position after a row of a `Window`.
pub fn window_position(stamp: &str, id: &str) -> Option<String> {
    Some(format!("{}|{id}", datetime(parse_datetime(stamp)?)))
}

/// A name that may stand in a query unquoted.
fn identifier(name: &str) -> Result<&str, String> {
    let fine = !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fine { Ok(name) } else { Err(format!("`{name}` is not a name of this provider")) }
}

/// A quoted string of SOQL.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// `YYYY-MM-DDTHH:MM:SS.sssZ`, cut to milliseconds.
pub fn datetime(t: Time) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The vendor's `2026-01-02T17:38:59.000+0000`, and RFC 3339.
pub fn parse_datetime(text: &str) -> Option<Time> {
    Time::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok().or_else(|| text.parse().ok())
}

/// A value in a URI's query: only what must be is encoded, for the room is small.
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => {
                out.push(char::from(b));
            }
            b' ' => out.push('+'),
            b => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "soql_tests.rs"]
mod tests;
