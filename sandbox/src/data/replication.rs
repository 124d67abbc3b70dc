//! getUpdated, getDeleted and the approximate count.
//!
//! Rules of the REST guide: seconds are cut off, start before end by a minute at least, updates of
//! 30 days, deletes of 15, at most 600,000 ids, and a `latestDateCovered` that does not pass a
//! transaction which is still open.

use super::error::ApiError;
use super::id::Id;
use super::table::Object;
use super::value::datetime_text;
use super::{Access, Org, record_hidden};
use jiff::Timestamp;
use serde_json::{Value, json};

const DAY: i64 = 86_400;
const MAX_IDS: usize = 600_000;

/// Cuts both ends to minutes and checks them.
fn window(start: Timestamp, end: Timestamp, now: i64, days: i64) -> Result<(i64, i64), ApiError> {
    let minute = |t: Timestamp| t.as_second().div_euclid(60) * 60;
    let (from, to) = (minute(start), minute(end));
    let refuse = |message: &str| Err(ApiError::bad("INVALID_REPLICATION_DATE", message));
    if start >= end {
        return refuse("startDate must be before endDate");
    }
    if to - from < 60 {
        return refuse("endDate must be at least one minute greater than startDate");
    }
    // The start is cut to its minute, and so is the bound.
    if from < (now - days * DAY).div_euclid(60) * 60 {
        return refuse(&format!("startDate cannot be more than {days} days ago"));
    }
    if from > now {
        return refuse("startDate must not be in the future");
    }
    Ok((from, to))
}

fn text(second: i64) -> String {
    datetime_text(second * 1000)
}

fn covered(object: &Object, to: i64, now: i64) -> i64 {
    let open =
        object.late.iter().filter(|(commit, _)| *commit > now).map(|(_, stamp)| *stamp).min();
    to.min(now).min(open.unwrap_or(i64::MAX)).div_euclid(60) * 60
}

fn ids(list: Vec<Id>) -> Result<Vec<Id>, ApiError> {
    if list.len() > MAX_IDS {
        return Err(ApiError::bad(
            "EXCEEDED_ID_LIMIT",
            "the number of ids exceeds 600,000; narrow the time span",
        ));
    }
    Ok(list)
}

impl Org {
    fn replicated(&self, object: &str, access: &Access) -> Result<&Object, ApiError> {
        let object = self.visible(object, access)?;
        if object.json.get("replicateable").and_then(Value::as_bool) == Some(false) {
            return Err(ApiError::bad(
                "INVALID_TYPE",
                format!("entity {} is not replicateable", object.name),
            ));
        }
        Ok(object)
    }

    /// The body of `GET /sobjects/{object}/updated/`.
    pub fn get_updated(
        &self,
        object: &str,
        start: Timestamp,
        end: Timestamp,
        now: Timestamp,
        access: &Access,
    ) -> Result<Value, ApiError> {
        let object = self.replicated(object, access)?;
        let now = now.as_second();
        let (from, to) = window(start, end, now, 30)?;
        let percent = if object.system { 0 } else { access.percent() };
        let found = object
            .by_stamp
            .range((from, Id::MIN)..(to, Id::MIN))
            .filter_map(|(_, at)| object.row(*at))
            .filter(|r| r.shown(now) && !r.deleted && !record_hidden(r.id, percent))
            .map(|r| r.id)
            .collect();
        let list: Vec<String> = ids(found)?.iter().map(ToString::to_string).collect();
        Ok(json!({ "ids": list, "latestDateCovered": text(covered(object, to, now)) }))
    }

    /// The body of `GET /sobjects/{object}/deleted/`: soft and hard deletes.
    pub fn get_deleted(
        &self,
        object: &str,
        start: Timestamp,
        end: Timestamp,
        now: Timestamp,
        access: &Access,
    ) -> Result<Value, ApiError> {
        let object = self.replicated(object, access)?;
        let now = now.as_second();
        let (from, to) = window(start, end, now, 15)?;
        let percent = if object.system { 0 } else { access.percent() };
        let earliest = (now - 15 * DAY).max(object.deletes_from);
        let mut found: Vec<(i64, Id)> = object
            .deletes
            .iter()
            .map(|(id, at)| (*at, *id))
            .filter(|(at, id)| {
                from <= *at && *at < to && *at >= earliest && !record_hidden(*id, percent)
            })
            .collect();
        found.sort_unstable();
        ids(found.iter().map(|(_, id)| *id).collect())?;
        let list: Vec<Value> = found
            .iter()
            .map(|(at, id)| json!({ "id": id.to_string(), "deletedDate": text(*at) }))
            .collect();
        Ok(json!({
            "deletedRecords": list,
            "earliestDateAvailable": text(earliest.div_euclid(60) * 60),
            "latestDateCovered": text(covered(object, to, now)),
        }))
    }

    /// Forgets deletes before a time, as the vendor does with an oversized log.
    pub fn trim_delete_log(&mut self, object: &str, before: Timestamp) -> Result<(), ApiError> {
        let object = self.object_mut(object)?;
        object.deletes_from = object.deletes_from.max(before.as_second());
        let from = object.deletes_from;
        object.deletes.retain(|_, at| *at >= from);
        Ok(())
    }

    /// Live records seen at `now`, for `limits/recordCount`. `None` for an unknown object.
    pub fn record_count(&self, object: &str, now: Timestamp) -> Option<u64> {
        let object = self.object(object)?;
        let rows = object.rows.iter().flatten();
        Some(rows.filter(|r| !r.deleted && r.shown(now.as_second())).count() as u64)
    }
}
