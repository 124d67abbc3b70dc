//! Changes and streamed batches carried out in an open transaction, and what they are called.

use super::fail::Fail;
use super::{Work, load, make, merge, sweep, tables};
use crate::replica::{Applied, Change, Fed, Into, Mode};
use crmsync_core::domain::{Batch, Time};

/// What was streamed, and the state and key of its commit; `None` if it was aborted.
pub(super) type Streamed = Option<(Applied, String, bool)>;

pub(super) fn streamed(
    work: &mut Work<'_>,
    object: &str,
    fields: &[String],
    into: Into,
    at: Time,
    next: &mut dyn FnMut() -> Fed,
) -> Result<Streamed, Fail> {
    if into == Into::FirstLoad && !work.book.table(object)?.made.has_key() {
        return load::copy(work, object, fields, at, next);
    }
    let mut total = Applied::default();
    loop {
        match next() {
            Fed::Batch(batch) => total.add(&merged(work, object, fields, into, &batch, at)?),
            Fed::Commit { state, key } => return Ok(Some((total, state, key))),
            Fed::Abort => return Ok(None),
        }
    }
}

fn merged(
    work: &mut Work<'_>,
    object: &str,
    fields: &[String],
    into: Into,
    batch: &Batch,
    at: Time,
) -> Result<Applied, Fail> {
    match into {
        Into::FirstLoad => merge::merge(work, object, fields, batch, Mode::Upsert, at),
        Into::Rows(mode) => merge::merge(work, object, fields, batch, mode, at),
        Into::SweepKeys => sweep::keys(work, object, batch),
    }
}

pub(super) fn one(work: &mut Work<'_>, change: &Change<'_>) -> Result<Applied, Fail> {
    match *change {
        Change::Rows { object, fields, batch, mode, at } => {
            merge::merge(work, object, fields, batch, mode, at)
        }
        Change::State { object, state } => tables::state(work, object, state),
        Change::Deleted { object, ids, policy, at } => {
            sweep::deleted(work, object, ids, policy, at)
        }
        Change::SweepBegin { object } => sweep::begin(work, object),
        Change::SweepKeys { object, batch } => sweep::keys(work, object, batch),
        Change::SweepEnd { object, as_, guard, at } => sweep::end(work, object, as_, guard, at),
        Change::Key { object } => make::keyed(work, object).map(|()| Applied::default()),
        Change::Forget { object } => tables::forget(work, object),
        Change::Erase { before } => sweep::erase(work, before),
    }
}

/// The object on whose table it works.
pub(super) fn whose_table<'a>(change: &Change<'a>) -> Option<&'a str> {
    match *change {
        Change::Rows { object, .. }
        | Change::Deleted { object, .. }
        | Change::SweepEnd { object, .. }
        | Change::Key { object }
        | Change::Forget { object } => Some(object),
        Change::State { .. }
        | Change::SweepBegin { .. }
        | Change::SweepKeys { .. }
        | Change::Erase { .. } => None,
    }
}
