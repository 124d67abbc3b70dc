//! Reading documents, due times and refreshes in flight.

use super::{RefreshInFlight, Store, StoreError, micros, time, unsigned};
use crmsync_core::domain::Time;
use rusqlite::{OptionalExtension, params};

impl Store {
    /// Version and content of a document.
    pub fn doc(&self, kind: &str, key: &str) -> Result<Option<(u64, String)>, StoreError> {
        self.with("reading a document", |c| {
            c.prepare_cached("SELECT version, json FROM doc WHERE kind = ?1 AND key = ?2")?
                .query_row(params![kind, key], |r| Ok((unsigned(r.get(0)?), r.get(1)?)))
                .optional()
        })
    }

    /// All documents of a kind in key order: key, version, content.
    pub fn docs(&self, kind: &str) -> Result<Vec<(String, u64, String)>, StoreError> {
        self.with("reading documents", |c| {
            c.prepare_cached("SELECT key, version, json FROM doc WHERE kind = ?1 ORDER BY key")?
                .query_map([kind], |r| Ok((r.get(0)?, unsigned(r.get(1)?), r.get(2)?)))?
                .collect()
        })
    }

    /// Connection ids that are due at `now`, longest due first.
    pub fn due_before(&self, now: Time) -> Result<Vec<(String, Time)>, StoreError> {
        self.due_rows(micros(now))
    }

    /// All due times, soonest first.
    pub fn due_all(&self) -> Result<Vec<(String, Time)>, StoreError> {
        self.due_rows(i64::MAX)
    }

    fn due_rows(&self, until: i64) -> Result<Vec<(String, Time)>, StoreError> {
        self.with("reading due times", |c| {
            c.prepare_cached(
                "SELECT connection, at FROM due WHERE at <= ?1 ORDER BY at, connection",
            )?
            .query_map([until], |r| Ok((r.get(0)?, time(r.get(1)?))))?
            .collect()
        })
    }

    /// The soonest due time.
    pub fn next_due(&self) -> Result<Option<Time>, StoreError> {
        self.with("reading due times", |c| {
            c.prepare_cached("SELECT min(at) FROM due")?
                .query_row([], |r| Ok(r.get::<_, Option<i64>>(0)?.map(time)))
        })
    }

    /// The refresh that left and whose answer was never stored, if any. Found at a start: the
    /// daemon died in between.
    pub fn refresh_in_flight(
        &self,
        connection: &str,
    ) -> Result<Option<RefreshInFlight>, StoreError> {
        Ok(self.refreshes_in_flight()?.into_iter().find(|(id, _)| id == connection).map(|(_, f)| f))
    }

    /// All of them, by connection id.
    pub fn refreshes_in_flight(&self) -> Result<Vec<(String, RefreshInFlight)>, StoreError> {
        self.with("reading refreshes in flight", |c| {
            c.prepare_cached("SELECT connection, generation, started FROM refresh ORDER BY 1")?
                .query_map([], |r| {
                    Ok((
                        r.get(0)?,
                        RefreshInFlight {
                            generation: unsigned(r.get(1)?),
                            started: time(r.get(2)?),
                        },
                    ))
                })?
                .collect()
        })
    }
}
