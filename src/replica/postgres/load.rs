//! A first load: rows copied as they come into a table that has no key yet.
//!
//! Hides the `COPY` protocol's framing. Invariants: one buffer, whatever the number of rows; values
//! that do not fit are gathered for one batch at most before they are written.

use super::super::book::Plan;
use super::book::Made;
use super::change::Streamed;
use super::encode::{self, Moment};
use super::fail::Fail;
use super::link::CopyIn;
use super::odd::Odd;
use super::{Work, make, quoted};
use crate::replica::{Applied, Fed};
use crmsync_core::domain::{Batch, Time};
use std::fmt::Write as _;

/// Bytes gathered before they are handed to the connection.
const BUFFER: usize = 128 * 1024;

pub(super) fn copy(
    work: &mut Work<'_>,
    object: &str,
    fields: &[String],
    at: Time,
    next: &mut dyn FnMut() -> Fed,
) -> Result<Streamed, Fail> {
    let plan = Plan::new(work.book.table(object)?, fields)?;
    let fresh = work.book.table(object)?.made == Made::Later;
    make::table(work, object)?;
    let sql = statement(&work.book.table(object)?.name, &plan, fresh);
    let mut odd = Odd::new(object);
    let (mut total, now) = (Applied::default(), Moment::of(at));
    loop {
        let mut seq = work.seq;
        let mut copy = work.db.copy_in(&sql)?;
        let mut out = Vec::with_capacity(2 * BUFFER);
        out.extend_from_slice(encode::BEGIN);
        let end = loop {
            match next() {
                Fed::Batch(batch) => {
                    plan.check(&batch)?;
                    total.add(&rows(&plan, &batch, now, &mut seq, &mut odd, &mut out, &mut copy)?);
                }
                Fed::Abort => return Ok(None),
                Fed::Commit { state, key } => break Some((state, key)),
            }
            if odd.is_much() {
                break None;
            }
        };
        out.extend_from_slice(encode::END);
        copy.write(&out)?;
        copy.finish()?;
        work.seq = seq;
        odd.keep(work, now, None)?;
        if let Some((state, key)) = end {
            return Ok(Some((total, state, key)));
        }
    }
}

fn statement(table: &str, plan: &Plan, fresh: bool) -> String {
    let mut sql = format!("COPY {} (", quoted(table));
    for target in &plan.targets {
        let _ = write!(sql, "{}, ", quoted(&target.column));
    }
    // Nobody can have seen a table of this very transaction: its rows need no second look.
    let freeze = if fresh { ", FREEZE" } else { "" };
    let _ = write!(
        sql,
        r#""_synced_at", "_crmsync_seq", "_deleted_at") FROM STDIN (FORMAT binary{freeze})"#
    );
    sql
}

fn rows(
    plan: &Plan,
    batch: &Batch,
    now: Moment,
    seq: &mut i64,
    odd: &mut Odd,
    out: &mut Vec<u8>,
    copy: &mut CopyIn<'_>,
) -> Result<Applied, Fail> {
    let mut applied = Applied { rows: batch.rows() as u64, ..Applied::default() };
    let (columns, mut found) = (plan.width(3)?, Vec::new());
    for row in 0..batch.rows() {
        let Some(key) = plan.key(batch, row) else {
            odd.no_key(plan, batch, row);
            applied.odd += 1;
            continue;
        };
        out.extend_from_slice(&columns.to_be_bytes());
        let deleted = plan.encode(batch, row, key, now, &mut found, out);
        if !found.is_empty() {
            applied.odd += found.len() as u64;
            odd.add(plan, batch, row, key, &found);
        }
        *seq += 1;
        encode::long(out, now.0);
        encode::long(out, *seq);
        encode::moment_or_null(out, deleted);
        applied.changed += 1;
        applied.deleted += u64::from(deleted.is_some());
        if out.len() >= BUFFER {
            copy.write(out)?;
            out.clear();
        }
    }
    applied.inserted = applied.changed;
    Ok(applied)
}
