//! Tasks into calls: what travels together, and its price.
//!
//! Hides the composite resource's limits: 25 parts, 5 of them queries, one call of the org's
//! limit however many parts (REST API Developer Guide, "Composite"). Invariants: pure; every task
//! exactly once and in order; a call never needs more than it was priced at; a step of a job is a
//! call of its own.

use super::soql;
use crmsync_core::domain::{Call, QuotaDomain, Schema, Task, TaskKind};

/// Parts of one composite request.
pub const MAX_PARTS: usize = 25;
/// Queries among them.
pub const MAX_QUERIES: usize = 5;
/// Every call costs one, composite or not.
const COST: u32 = 1;

/// Packs tasks into at most `budget` calls. With `deletes_alone` the org was seen to refuse its
/// delete log within a composite: each such task is a call of its own.
pub fn calls(
    tasks: &[Task],
    schema: &Schema,
    domain: &QuotaDomain,
    budget: usize,
    deletes_alone: bool,
) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut open: Vec<Task> = Vec::new();
    let (mut parts, mut queries) = (0, 0);
    for task in tasks.iter().flat_map(|task| portions(task, schema)) {
        let (p, q) = size(&task, schema);
        let full = parts + p > MAX_PARTS || queries + q > MAX_QUERIES;
        let alone = travels_alone(&task, deletes_alone)
            || open.last().is_some_and(|last| travels_alone(last, deletes_alone));
        if !open.is_empty() && (full || alone) {
            calls.push(Call {
                tasks: std::mem::take(&mut open),
                cost: COST,
                domain: domain.clone(),
            });
            (parts, queries) = (0, 0);
        }
        if calls.len() >= budget {
            return calls;
        }
        parts += p;
        queries += q;
        open.push(task);
    }
    if !open.is_empty() && calls.len() < budget {
        calls.push(Call { tasks: open, cost: COST, domain: domain.clone() });
    }
    calls
}

/// A step of a job has a resource of its own, that a composite does not take.
fn travels_alone(task: &Task, deletes_alone: bool) -> bool {
    match task.kind {
        TaskKind::Job { .. } => true,
        TaskKind::Deleted { .. } => deletes_alone,
        TaskKind::Scan { .. }
        | TaskKind::Window { .. }
        | TaskKind::Delta { .. }
        | TaskKind::Keys { .. }
        | TaskKind::Ids { .. }
        | TaskKind::Count { .. } => false,
    }
}

/// Parts and queries that a task takes. What cannot be asked takes none; sending says why.
fn size(task: &Task, schema: &Schema) -> (usize, usize) {
    if matches!(task.kind, TaskKind::Deleted { .. } | TaskKind::Job { .. }) {
        return (1, 0);
    }
    let queries = schema
        .objects
        .get(&task.object)
        .and_then(|object| soql::queries(task, object).ok())
        .map_or(0, |queries| queries.len());
    (queries, queries)
}

/// A list of ids that is too long for one call, cut so that each piece fits one.
fn portions(task: &Task, schema: &Schema) -> Vec<Task> {
    let TaskKind::Ids { ids } = &task.kind else {
        return vec![task.clone()];
    };
    let (_, whole) = size(task, schema);
    if whole <= MAX_QUERIES || ids.len() < 2 {
        return vec![task.clone()];
    }
    let (left, right) = ids.split_at(ids.len() / 2);
    [left, right]
        .into_iter()
        .flat_map(|ids| {
            let half = Task { kind: TaskKind::Ids { ids: ids.to_vec() }, ..task.clone() };
            portions(&half, schema)
        })
        .collect()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
