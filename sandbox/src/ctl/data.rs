//! Verbs that change the data: records touched, made, deleted, purged; fields added, removed,
//! retyped.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Done;
use super::args::Args;
use crate::data::{Access, ApiError};
use crate::sandbox::Sandbox;

const MOST: u64 = 1_000_000;

/// Runs the verb if it is one of these.
pub(super) fn run(sandbox: &Sandbox, verb: &str, args: &mut Args) -> Option<Done> {
    Some(match verb {
        "field" => field(sandbox, args),
        "touch" => touch(sandbox, args),
        "create" => create(sandbox, args, false),
        "late-commit" => create(sandbox, args, true),
        "delete" => delete(sandbox, args),
        "undelete" => undelete(sandbox, args),
        "merge" => merge(sandbox, args),
        "purge" => purge(sandbox, args),
        "empty-bin" => empty_bin(sandbox, args),
        "trim-delete-log" => trim_delete_log(sandbox, args),
        _ => return None,
    })
}

fn said(error: &ApiError) -> String {
    error.to_string()
}

fn field(sandbox: &Sandbox, args: &mut Args) -> Done {
    let what = args.next("add|remove|retype")?;
    let (object, name) = (args.next("OBJECT")?, args.next("FIELD")?);
    let kind = match what.as_str() {
        "add" | "retype" => args.next("TYPE")?,
        "remove" => String::new(),
        other => return Err(format!("expected add, remove or retype, not '{other}'")),
    };
    args.nothing_left()?;
    let now = sandbox.now();
    let mut org = sandbox.org_mut();
    match what.as_str() {
        "add" => org.add_field(&object, &name, &kind, now),
        "retype" => org.retype_field(&object, &name, &kind, now),
        _ => org.remove_field(&object, &name, now),
    }
    .map_err(|error| said(&error))?;
    drop(org);
    sandbox.world().schema_moved(now);
    Ok(json!({"ok": true}))
}

/// `OBJECT N`, or `OBJECT ids=A,B`.
fn object_and_number(args: &mut Args) -> Result<(String, usize), String> {
    let object = args.next("OBJECT")?;
    let n = args.next_number("N")?;
    if n > MOST {
        return Err(format!("{n} records at once are too many; at most {MOST}"));
    }
    Ok((object, usize::try_from(n).unwrap_or(0)))
}

fn ids_or_number(args: &mut Args) -> Result<(String, Option<Vec<String>>, usize), String> {
    let chosen = args.named("ids").or_else(|| args.named("id"));
    if let Some(list) = chosen {
        let object = args.next("OBJECT")?;
        let ids = list.split(',').map(|id| id.trim().to_owned()).collect();
        args.nothing_left()?;
        return Ok((object, Some(ids), 0));
    }
    let (object, n) = object_and_number(args)?;
    args.nothing_left()?;
    Ok((object, None, n))
}

fn touch(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (object, n) = object_and_number(args)?;
    args.nothing_left()?;
    let ids = sandbox.org_mut().touch(&object, n, sandbox.now()).map_err(|error| said(&error))?;
    Ok(json!({"touched": ids.len(), "ids": ids}))
}

/// The least a new record needs: a value for every field that must have one.
fn least_fields(describe: &Value, number: usize) -> Map<String, Value> {
    let fields = describe.get("fields").and_then(Value::as_array);
    let mut record = Map::new();
    for field in fields.into_iter().flatten() {
        let flag = |name: &str| field.get(name).and_then(Value::as_bool) == Some(true);
        let name = field.get("name").and_then(Value::as_str).unwrap_or("");
        let wanted = flag("createable")
            && (!flag("nillable") && !flag("defaultedOnCreate") || flag("nameField"));
        if !wanted {
            continue;
        }
        let value = match field.get("type").and_then(Value::as_str).unwrap_or("") {
            "boolean" => json!(false),
            "int" | "double" | "currency" | "percent" => json!(number),
            "date" => json!("2026-01-31"),
            "datetime" => json!("2026-01-31T00:00:00Z"),
            "email" => json!(format!("made{number}@example.com")),
            "picklist" => {
                let values = field.get("picklistValues").and_then(Value::as_array);
                match values.and_then(|values| values.first()?.get("value").cloned()) {
                    Some(value) => value,
                    None => continue,
                }
            }
            "reference" => continue,
            _ => json!(format!("Made by ctl {number}")),
        };
        record.insert(name.to_owned(), value);
    }
    record
}

fn create(sandbox: &Sandbox, args: &mut Args, late: bool) -> Done {
    let seconds =
        if late { args.number("seconds")?.ok_or("argument seconds= is missing")? } else { 0 };
    let (object, n) = object_and_number(args)?;
    args.nothing_left()?;
    let user = first_user(sandbox);
    let mut org = sandbox.org_mut();
    let describe = org.describe(&object, &Access::full()).map_err(|error| said(&error))?;
    let now = sandbox.now();
    let visible_from = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok())
        .ok_or_else(|| format!("seconds={seconds} is too far away"))?;
    let mut ids = Vec::with_capacity(n);
    for number in 1..=n {
        let fields = least_fields(&describe, number);
        let id = org
            .create(&object, &fields, now, late.then_some(visible_from), &user)
            .map_err(|error| said(&error))?;
        ids.push(id);
    }
    Ok(json!({"created": ids.len(), "ids": ids, "visible_from": visible_from.to_string()}))
}

fn first_user(sandbox: &Sandbox) -> String {
    let world = sandbox.world();
    let first = world.users.all().next();
    first.map(|user| user.id.clone()).unwrap_or_default()
}

fn delete(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (object, ids, n) = ids_or_number(args)?;
    let now = sandbox.now();
    let mut org = sandbox.org_mut();
    let ids = match ids {
        Some(ids) => ids,
        None => org.pick(&object, n, now).map_err(|error| said(&error))?,
    };
    for id in &ids {
        org.delete(&object, id, now).map_err(|error| said(&error))?;
    }
    Ok(json!({"deleted": ids.len(), "ids": ids}))
}

/// Ids in the recycle bin, by the same query a client would use.
fn in_bin(sandbox: &Sandbox, object: &str, n: usize) -> Result<Vec<String>, String> {
    let org = sandbox.org();
    let soql = format!("SELECT Id FROM {object} WHERE IsDeleted = true LIMIT {n}");
    let result =
        org.query(&soql, true, &Access::full(), sandbox.now()).map_err(|error| said(&error))?;
    let mut rendered = vec![b'['];
    org.render(&result, 0, result.len(), &mut rendered, "v64.0");
    rendered.push(b']');
    let rows: Vec<Value> = serde_json::from_slice(&rendered).map_err(|error| error.to_string())?;
    Ok(rows.iter().filter_map(|row| Some(row.get("Id")?.as_str()?.to_owned())).collect())
}

fn undelete(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (object, ids, n) = ids_or_number(args)?;
    let ids = match ids {
        Some(ids) => ids,
        None => in_bin(sandbox, &object, n)?,
    };
    let now = sandbox.now();
    let mut org = sandbox.org_mut();
    for id in &ids {
        org.undelete(&object, id, now).map_err(|error| said(&error))?;
    }
    Ok(json!({"undeleted": ids.len(), "ids": ids}))
}

/// `OBJECT N` merges N pairs of those changed longest ago, `OBJECT winner=A losers=B,C` these.
fn merge(sandbox: &Sandbox, args: &mut Args) -> Done {
    let winner = args.named("winner");
    let now = sandbox.now();
    let pairs: Vec<(String, String)>;
    let object;
    if let Some(winner) = winner {
        let losers = args.named("losers").ok_or("argument losers= is missing")?;
        object = args.next("OBJECT")?;
        args.nothing_left()?;
        let pair = |loser: &str| (winner.clone(), loser.trim().to_owned());
        pairs = losers.split(',').map(pair).collect();
    } else {
        let n;
        (object, n) = object_and_number(args)?;
        args.nothing_left()?;
        let ids = sandbox.org().pick(&object, 2 * n, now).map_err(|error| said(&error))?;
        let pair = |two: &[String]| Some((two.first()?.clone(), two.get(1)?.clone()));
        pairs = ids.chunks(2).filter_map(pair).collect();
    }
    let mut org = sandbox.org_mut();
    let mut moved = 0;
    for (winner, loser) in &pairs {
        moved += org.merge(&object, winner, loser, now).map_err(|error| said(&error))?;
    }
    let pairs: Vec<Value> =
        pairs.iter().map(|(winner, loser)| json!({"winner": winner, "loser": loser})).collect();
    Ok(json!({"merged": pairs.len(), "pairs": pairs, "moved": moved}))
}

/// Hard delete: those in the bin first, then living ones; the delete log keeps their ids.
fn purge(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (object, ids, n) = ids_or_number(args)?;
    let ids = if let Some(ids) = ids {
        ids
    } else {
        let mut ids = if n == 0 { Vec::new() } else { in_bin(sandbox, &object, n)? };
        let more = sandbox
            .org()
            .pick(&object, n - ids.len().min(n), sandbox.now())
            .map_err(|error| said(&error))?;
        ids.extend(more);
        ids
    };
    let now = sandbox.now();
    let mut org = sandbox.org_mut();
    let unique: BTreeSet<&String> = ids.iter().collect();
    for id in unique {
        org.purge(&object, id, now).map_err(|error| said(&error))?;
    }
    Ok(json!({"purged": ids.len(), "ids": ids}))
}

fn empty_bin(sandbox: &Sandbox, args: &mut Args) -> Done {
    let object = args.maybe();
    args.nothing_left()?;
    let mut org = sandbox.org_mut();
    let objects = object.map_or_else(|| org.object_names(), |object| vec![object]);
    let mut purged = 0;
    for object in objects {
        purged += org.empty_bin(&object).map_err(|error| said(&error))?;
    }
    Ok(json!({"purged": purged}))
}

fn trim_delete_log(sandbox: &Sandbox, args: &mut Args) -> Done {
    let object = args.next("OBJECT")?;
    let before = match args.named("before") {
        Some(text) => {
            text.parse::<Timestamp>().map_err(|error| format!("before={text}: {error}"))?
        }
        None => sandbox.now(),
    };
    args.nothing_left()?;
    sandbox.org_mut().trim_delete_log(&object, before).map_err(|error| said(&error))?;
    Ok(json!({"earliest": before.to_string()}))
}
