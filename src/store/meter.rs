//! Usage of a quota domain over time, for plots: by the minute for a day, by the hour for 90.
//! The meter that decides about calls is a document; this is only its history. Also pruning.

use super::{Store, StoreError, micros, signed, time, unsigned};
use crmsync_core::config::settings::Retention;
use crmsync_core::domain::Time;
use jiff::SignedDuration;
use rusqlite::params;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const SECOND_US: i64 = 1_000_000;
const MINUTES_KEPT: SignedDuration = SignedDuration::from_hours(24);
const HOURS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
const RUNS_KEPT_AT_LEAST: u32 = 100;

/// What was used in a minute or an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterPoint {
    /// Begin of the interval.
    pub at: Time,
    /// Its width in seconds: 60 or 3600.
    pub width: u32,
    /// Own calls in it.
    pub own: u64,
    /// Highest known use of the domain's limit by everybody in it.
    pub used: Option<u64>,
    /// The limit as last told in it.
    pub max: Option<u64>,
}

impl Store {
    /// Adds `own` calls to the minute of `at` and notes what the provider told last.
    pub fn record_usage(
        &self,
        domain: &str,
        at: Time,
        own: u64,
        used: Option<u64>,
        max: Option<u64>,
    ) -> Result<(), StoreError> {
        self.with("storing usage", |c| {
            c.prepare_cached(
                "INSERT INTO meter (domain, at, width, own, used, max)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (domain, width, at) DO UPDATE SET own = own + excluded.own,
                   used = max(ifnull(used, 0), ifnull(excluded.used, used)),
                   max = ifnull(excluded.max, max)",
            )?
            .execute(params![
                domain,
                floor(micros(at), MINUTE),
                MINUTE,
                signed(own),
                used.map(signed),
                max.map(signed)
            ])
            .map(drop)
        })
    }

    /// The points of a domain that begin in `from <= at < to`, oldest first; hours where minutes
    /// are no longer kept.
    pub fn plot(&self, domain: &str, from: Time, to: Time) -> Result<Vec<MeterPoint>, StoreError> {
        self.look("reading usage", |c| {
            c.prepare_cached(
                "SELECT at, width, own, used, max FROM meter
                 WHERE domain = ?1 AND at >= ?2 AND at < ?3 ORDER BY at, width DESC",
            )?
            .query_map(params![domain, micros(from), micros(to)], |r| {
                Ok(MeterPoint {
                    at: time(r.get(0)?),
                    width: r.get(1)?,
                    own: unsigned(r.get(2)?),
                    used: r.get::<_, Option<i64>>(3)?.map(unsigned),
                    max: r.get::<_, Option<i64>>(4)?.map(unsigned),
                })
            })?
            .collect()
        })
    }

    /// Removes what is older than its retention and folds old minutes of usage into hours. Mails
    /// that are still on their way are never removed, nor the last 100 runs of a connection.
    pub fn prune(&self, keep: &Retention, now: Time) -> Result<(), StoreError> {
        let before = |d: SignedDuration| micros(now.checked_sub(d).unwrap_or(Time::MIN));
        let mut db = self.lock();
        self.transaction(&mut db, "pruning", |tx| {
            prune_all(
                tx,
                before(keep.runs),
                before(keep.audit),
                before(keep.mails),
                floor(before(MINUTES_KEPT), HOUR),
                before(HOURS_KEPT),
            )
            .map_err(|e| self.sql("pruning", &e))
        })
    }
}

fn prune_all(
    tx: &rusqlite::Transaction<'_>,
    runs: i64,
    audit: i64,
    mails: i64,
    minutes: i64,
    hours: i64,
) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM run WHERE ended < ?1 AND id NOT IN (
           SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY connection ORDER BY id DESC)
                           AS n FROM run) WHERE n <= ?2)",
        params![runs, RUNS_KEPT_AT_LEAST],
    )?;
    tx.execute("DELETE FROM audit WHERE at < ?1", [audit])?;
    tx.execute("DELETE FROM mail WHERE state <> 'queued' AND ended < ?1", [mails])?;
    tx.execute(
        // `WHERE true`: SQLite asks for it before ON CONFLICT behind a SELECT.
        "INSERT INTO meter (domain, at, width, own, used, max)
           SELECT domain, at - at % ?2, ?3, sum(own), max(used), max(max) FROM meter
           WHERE width = ?4 AND at < ?1 GROUP BY domain, at - at % ?2
         ON CONFLICT (domain, width, at) DO UPDATE SET own = own + excluded.own,
           used = max(ifnull(used, 0), ifnull(excluded.used, used)), max = ifnull(excluded.max, max)",
        params![minutes, HOUR * SECOND_US, HOUR, MINUTE],
    )?;
    tx.execute("DELETE FROM meter WHERE width = ?2 AND at < ?1", params![minutes, MINUTE])?;
    tx.execute("DELETE FROM meter WHERE at < ?1", [hours])?;
    Ok(())
}

fn floor(micros: i64, width: i64) -> i64 {
    micros - micros.rem_euclid(width * SECOND_US)
}
