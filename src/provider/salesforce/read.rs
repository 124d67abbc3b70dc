//! Sends one call and turns its answer into batches.
//!
//! Hides what each task asks, and column groups joined on the key. Invariants: one request for one
//! call (a fall-back pays for its own); a position is told only with the rows before it; a refusal that is the whole
//! connection's is found before any row is delivered.

use super::faults::{self, About};
use super::fetch::{self, Fetched, Wish};
use super::page::{self, Page};
use super::soql::{self, Query};
use super::{Salesforce, bulk, deletes};
use crate::provider::rows::Wanted;
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{
    BatchBuilder, Call, Delivered, Fault, FieldType, ObjectSchema, Outcome, Schema, Step, Task,
    TaskKind,
};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// What one task of the call asks.
enum Asked {
    Queries { queries: Vec<Query>, rows: usize },
    Deletes { path: String },
    Nothing(Fault),
}

/// One part of an answer: status and body.
pub(super) type Part = (u16, String);

pub(super) async fn send(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    call: &Call,
    schema: &Schema,
    sink: mpsc::Sender<Delivered>,
) -> Result<Outcome, Failure> {
    if let [task] = call.tasks.as_slice()
        && let TaskKind::Job { read, step } = &task.kind
        && let Some(object) = schema.objects.get(&task.object)
    {
        return bulk::step(sf, ctx, task, object, (read, step), sink).await;
    }
    let asked = ask(sf, call, schema);
    let wanted: Vec<Wish> = asked.iter().flat_map(|a| wishes(sf, a)).collect();
    let mut outcome = Outcome::default();
    let (parts, together) = match fetch::parts(sf, ctx, &wanted, call.cost, &mut outcome).await? {
        Fetched::Parts { parts, together } => (parts, together),
        Fetched::Refused(answer) => {
            let about = About { object: call.tasks.first().map(|t| t.object.as_str()) };
            let fault = of_task(faults::refusal(&answer, about))?;
            outcome.steps = steps_of(&asked, &fault);
            return Ok(outcome);
        }
    };
    let mut rest = parts.as_slice();
    let mut shares: Vec<&[Part]> = Vec::new();
    for (task, asked) in call.tasks.iter().zip(&asked) {
        let count = match asked {
            Asked::Queries { queries, .. } => queries.len(),
            Asked::Deletes { .. } => 1,
            Asked::Nothing(_) => 0,
        };
        let (share, others) = rest
            .split_at_checked(count)
            .ok_or_else(|| Fault::contract("a composite answer has too few parts"))?;
        for (status, body) in share {
            // Found here, before anything is delivered.
            if *status != 200 {
                let about = About { object: Some(&task.object) };
                of_task(faults::part_refusal(*status, body.as_bytes(), about))?;
            }
        }
        shares.push(share);
        rest = others;
    }
    for (i, ((task, asked), share)) in call.tasks.iter().zip(&asked).zip(shares).enumerate() {
        let step = match asked {
            Asked::Nothing(fault) => Step::Failed(fault.clone()),
            Asked::Deletes { path } => {
                deletes::step(sf, ctx, task, path, share.first(), together, &mut outcome).await?
            }
            Asked::Queries { queries, rows } => {
                let object = schema.objects.get(&task.object);
                match object.map(|o| rows_of(task, o, queries, *rows, share)) {
                    None => Step::Failed(undescribed(task)),
                    Some(Err(fault)) => Step::Failed(fault),
                    Some(Ok((batch, step))) => {
                        if let Some((batch, position)) = batch {
                            let delivered = Delivered { task: i, batch, position };
                            if sink.send(delivered).await.is_err() {
                                return Err(Fault::passing("the reader of the rows stopped").into());
                            }
                        }
                        step
                    }
                }
            }
        };
        outcome.steps.push(step);
    }
    Ok(outcome)
}

fn ask(sf: &Salesforce, call: &Call, schema: &Schema) -> Vec<Asked> {
    let alone = call.tasks.len() == 1;
    let shrink = sf.shrink.load(Ordering::Relaxed);
    call.tasks
        .iter()
        .map(|task| {
            let Some(object) = schema.objects.get(&task.object) else {
                return Asked::Nothing(undescribed(task));
            };
            if let TaskKind::Deleted { from, to } = task.kind {
                return Asked::Deletes { path: deletes::path(sf, &task.object, from, to) };
            }
            if let TaskKind::Job { .. } = task.kind {
                let what = format!("{}: a job travels alone", task.object);
                return Asked::Nothing(Fault::contract(what));
            }
            match soql::queries(task, object) {
                Err(why) => Asked::Nothing(Fault::contract(format!("{}: {why}", task.object))),
                Ok(queries) if queries.len() > super::pack::MAX_QUERIES => {
                    Asked::Nothing(Fault::Misconfigured {
                        what: format!(
                            "{} has too many fields for one call; hint: select fewer",
                            task.object
                        ),
                    })
                }
                Ok(queries) => {
                    let rows = match task.kind {
                        TaskKind::Keys { .. } => soql::PAGE,
                        TaskKind::Scan { .. }
                        | TaskKind::Window { .. }
                        | TaskKind::Ids { .. }
                        | TaskKind::Delta { .. }
                        | TaskKind::Deleted { .. }
                        | TaskKind::Count { .. }
                        | TaskKind::Job { .. } => {
                            soql::rows_per_page(task.fields.len(), alone, shrink)
                        }
                    };
                    Asked::Queries { queries, rows }
                }
            }
        })
        .collect()
}

fn wishes(sf: &Salesforce, asked: &Asked) -> Vec<Wish> {
    match asked {
        Asked::Nothing(_) => Vec::new(),
        Asked::Deletes { path } => vec![Wish { path: path.clone(), of_deletes: true }],
        Asked::Queries { queries, rows } => queries
            .iter()
            .map(|q| format!("{}?q={}", q.resource, soql::encode(&q.soql(*rows))))
            .map(|path| Wish { path: sf.data_path(&path), of_deletes: false })
            .collect(),
    }
}

fn undescribed(task: &Task) -> Fault {
    Fault::contract(format!("{} was never described", task.object))
}

fn steps_of(asked: &[Asked], fault: &Fault) -> Vec<Step> {
    asked
        .iter()
        .map(|a| {
            Step::Failed(match a {
                Asked::Nothing(own) => own.clone(),
                Asked::Queries { .. } | Asked::Deletes { .. } => fault.clone(),
            })
        })
        .collect()
}

/// Splits failures: what concerns one task alone comes back, the rest ends the call.
pub(super) fn of_task(failure: Failure) -> Result<Fault, Failure> {
    let Failure::Fault(fault) = failure else {
        return Err(failure);
    };
    match fault {
        Fault::SchemaMoved { .. }
        | Fault::Denied { .. }
        | Fault::CursorLost { .. }
        | Fault::Conflict { .. }
        | Fault::RecordRefused { .. }
        | Fault::Contract { .. }
        | Fault::Passing { .. } => Ok(fault),
        Fault::QuotaReached { .. }
        | Fault::NeedsAuthorization { .. }
        | Fault::Misconfigured { .. }
        | Fault::AddressNotAllowed { .. }
        | Fault::Suspended { .. } => Err(fault.into()),
    }
}

pub(super) fn text(body: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(body).map_err(|e| Fault::contract(format!("an answer is not UTF-8: {e}")))
}

type Filled = (Option<(crmsync_core::domain::Batch, Option<String>)>, Step);

fn rows_of(
    task: &Task,
    object: &ObjectSchema,
    queries: &[Query],
    limit: usize,
    share: &[Part],
) -> Result<Filled, Fault> {
    for (status, body) in share {
        if *status != 200 {
            let about = About { object: Some(&task.object) };
            return Err(of_task(faults::part_refusal(*status, body.as_bytes(), about))
                .unwrap_or_else(|_| Fault::contract("a part failed")));
        }
    }
    let bad = |e: String| Fault::contract(format!("reading {}: {e}", task.object));
    if let TaskKind::Count { .. } = task.kind {
        let wanted = Wanted {
            cells: Vec::new(),
            width: 0,
            key: &object.key,
            key_column: None,
            stamp: None,
            ignored: "attributes",
            value: page::value,
        };
        let body = share.first().map_or("", |(_, body)| body.as_str());
        let page = page::read(body, &wanted).map_err(bad)?;
        return Ok((None, Step::Counted(page.total)));
    }
    if let ([query], [(_, body)]) = (queries, share) {
        let wanted = wanted(task, object, query, false);
        let page = page::read(body, &wanted).map_err(bad)?;
        let rows = page.batch.rows();
        if rows == 0 && !page.done && query.paged {
            return Err(Fault::contract(format!(
                "{}: an empty page that is not the last",
                task.object
            )));
        }
        let more = query.paged && (!page.done || rows >= limit);
        let position = position(task, page.last);
        if more && position.is_none() {
            return Err(Fault::contract(format!("{}: the last row has no stamp", task.object)));
        }
        let batch = (rows > 0).then_some((page.batch, position));
        return Ok((batch, if more { Step::More } else { Step::Done }));
    }
    let mut pages = Vec::new();
    for (query, (_, body)) in queries.iter().zip(share) {
        let wanted = wanted(task, object, query, true);
        pages.push(page::read(body, &wanted).map_err(bad)?);
    }
    join(task, queries, &pages, limit)
}

fn wanted<'a>(task: &'a Task, object: &'a ObjectSchema, query: &Query, joined: bool) -> Wanted<'a> {
    // Keys are asked without fields: one column.
    if let TaskKind::Keys { .. } = task.kind {
        let cells = vec![(object.key.as_str(), 0, FieldType::Text)];
        return Wanted {
            cells,
            width: 1,
            key: &object.key,
            key_column: None,
            stamp: None,
            ignored: "attributes",
            value: page::value,
        };
    }
    let cells = query.columns.iter().enumerate().filter_map(|(place, i)| {
        let name = task.fields.get(*i)?;
        let kind = object.field(name).map_or(FieldType::Text, |f| f.kind);
        // Parts to be joined carry key and stamp first.
        Some((name.as_str(), if joined { place + 2 } else { *i }, kind))
    });
    let cells: Vec<_> = cells.collect();
    let width = if joined { cells.len() + 2 } else { task.fields.len() };
    let stamp = object.stamp.as_deref().map(|s| (s, joined.then_some(1)));
    Wanted {
        cells,
        width,
        key: &object.key,
        key_column: joined.then_some(0),
        stamp,
        ignored: "attributes",
        value: page::value,
    }
}

fn position(task: &Task, last: Option<(String, Option<String>)>) -> Option<String> {
    let (id, stamp) = last?;
    match task.kind {
        TaskKind::Window { .. } => soql::window_position(&stamp?, &id),
        TaskKind::Scan { .. } | TaskKind::Keys { .. } => Some(id),
        TaskKind::Ids { .. }
        | TaskKind::Delta { .. }
        | TaskKind::Deleted { .. }
        | TaskKind::Count { .. }
        | TaskKind::Job { .. } => None,
    }
}

/// Joins the column groups of a wide object on the key. A row that is not in every part with the
/// same stamp changed between two of them: it is left out, for the next window brings it. The
/// position is the last row of the first part that all parts have, so no row is passed over that
/// a part had not reached.
fn join(task: &Task, queries: &[Query], pages: &[Page], limit: usize) -> Result<Filled, Fault> {
    let mut out = BatchBuilder::new(task.fields.len());
    let slices = queries.iter().map(|q| q.slice).max().map_or(0, |s| s + 1);
    let paged = queries.first().is_some_and(|q| q.paged);
    let more = paged && pages.iter().any(|p| !p.done || p.batch.rows() >= limit);
    let mut last = None;
    let mut first_rows = 0;
    for slice in 0..slices {
        let parts: Vec<(&Query, &Page)> =
            queries.iter().zip(pages).filter(|(q, _)| q.slice == slice).collect();
        let Some((_, first)) = parts.first() else { continue };
        first_rows += first.batch.rows();
        let others: Vec<HashMap<&str, usize>> = parts[1..]
            .iter()
            .map(|(_, page)| {
                let b = &page.batch;
                (0..b.rows()).filter_map(|row| Some((b.key(row)?, row))).collect()
            })
            .collect();
        for row in 0..first.batch.rows() {
            let Some(key) = first.batch.key(row) else { continue };
            let places: Vec<usize> =
                others.iter().filter_map(|part| part.get(key).copied()).collect();
            if places.len() != others.len() {
                continue;
            }
            let stamp = first.batch.get(row, 1);
            last = Some((key.to_owned(), stamp.map(str::to_owned)));
            let rows: Vec<usize> = std::iter::once(row).chain(places).collect();
            let same = |(part, row): (&(&Query, &Page), &usize)| part.1.batch.get(*row, 1) == stamp;
            if !parts.iter().zip(&rows).all(same) {
                continue;
            }
            out.row();
            for ((query, page), row) in parts.iter().zip(&rows) {
                for (place, column) in query.columns.iter().enumerate() {
                    if let Some(text) = page.batch.get(*row, place + 2) {
                        out.set(*column, text);
                    }
                }
            }
        }
    }
    let step = if more { Step::More } else { Step::Done };
    let position = position(task, last);
    if more && position.is_none() {
        return Err(Fault::passing(format!(
            "{}: {first_rows} rows changed while they were read in parts",
            task.object
        )));
    }
    let batch = out.finish();
    // A page may hold nothing but moving rows: its position still counts.
    Ok(((batch.rows() > 0 || position.is_some()).then_some((batch, position)), step))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
