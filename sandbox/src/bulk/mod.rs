//! Bulk API 2.0 query jobs: what they are, how they age, and the trouble they can be given.
//!
//! Hides that nothing runs by itself: a job's state follows from the clock whenever somebody looks,
//! so that moving the clock moves the jobs. The rows are fixed when the job is created. Invariants:
//! a job belongs to its user; its results need the API version it was made with; seven days after
//! its end nothing of it is left; the memory for results written ahead is bounded.

mod corrupt;
mod job;
mod results;
mod rules;
mod switches;

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use corrupt::Form;
pub(crate) use job::{Job, Spec, State};
pub(crate) use results::{Page, Results};
pub(crate) use switches::{GIVEN_UP, NextFail, Spoil, Switches, TooMuch};

use crate::data::{ApiError, Id, RowOrder};
use crate::meter::Meter;
use crate::soql::ast::Query;

/// The type of result pages.
pub(crate) const CSV: &str = "text/csv;charset=UTF-8";
/// `DailyBulkV2QueryJobs` of the dossier's section 3.6.
const DAILY_JOBS: u64 = 10_000;

/// All jobs of the org.
#[derive(Debug)]
pub(crate) struct Bulk {
    /// In the order of creation.
    jobs: Vec<Job>,
    made: u64,
    /// Jobs of the last 24 hours against their limit.
    pub(crate) daily: Meter,
    pub(crate) switches: Switches,
    /// Results that are held in memory, the oldest first, with their bytes.
    held: VecDeque<(Arc<Results>, usize)>,
    /// Bytes of results that may be held in memory.
    memory: usize,
}

impl Bulk {
    /// `memory` is the bytes of results that may be held.
    pub(crate) fn new(memory: usize, row_order: RowOrder) -> Bulk {
        Bulk {
            jobs: Vec::new(),
            made: 0,
            daily: Meter::new(DAILY_JOBS),
            switches: Switches { row_order, ..Switches::default() },
            held: VecDeque::new(),
            memory,
        }
    }

    /// Bytes that the results of one job may take in memory.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether Bulk takes this query at all.
    ///
    /// # Errors
    /// 400 in the vendor's words, or in those the tester chose.
    pub(crate) fn allows(&self, query: &Query) -> Result<(), ApiError> {
        let object = &query.from.text;
        if rules::rest_only(object) {
            return Err(not_in_bulk(object));
        }
        self.switches.allow(query)
    }

    /// Counts a job against the daily limit.
    ///
    /// # Errors
    /// 400 `LIMIT_EXCEEDED`.
    pub(crate) fn charge(&mut self, now: Timestamp) -> Result<(), ApiError> {
        if self.daily.charge(now, 1) {
            return Ok(());
        }
        let (used, max) = self.daily.usage(now);
        let message =
            format!("Max bulk v2 query jobs ({max}) per 24 hrs has been reached ({used})");
        Err(ApiError::bad("LIMIT_EXCEEDED", message))
    }

    /// Adds a job; whether it will fail is decided now.
    pub(crate) fn add(&mut self, spec: Spec, query: &Query, now: Timestamp) -> &mut Job {
        self.made += 1;
        let id = Id::from_serial("750", self.made).to_string();
        let fate = self.switches.fate(query, &spec, now);
        let ordered = !query.order.is_empty() || query.limit.is_some();
        self.jobs.push(Job::new(id, spec, fate, &self.switches, ordered, now));
        let last = self.jobs.len() - 1;
        &mut self.jobs[last]
    }

    /// Notes that results have been written ahead, and makes room by forgetting the oldest.
    pub(crate) fn hold(&mut self, results: Arc<Results>, bytes: usize) {
        self.held.push_back((results, bytes));
        // What only this list still knows belongs to a job that is gone.
        self.held.retain(|(results, _)| Arc::strong_count(results) > 1);
        let mut sum: usize = self.held.iter().map(|(_, bytes)| bytes).sum();
        while sum > self.memory {
            let Some((oldest, bytes)) = self.held.pop_front() else { break };
            oldest.forget();
            sum -= bytes;
        }
    }

    /// Lets time pass: jobs end, and those ended long ago go.
    pub(crate) fn age(&mut self, now: Timestamp) {
        let stuck = self.switches.stuck;
        for job in &mut self.jobs {
            job.age(now, stuck);
        }
        self.drop_where(|job| job.expired(now));
    }

    /// The job, if it is there and the user's own.
    pub(crate) fn find(&mut self, id: &str, user: &str, now: Timestamp) -> Option<&mut Job> {
        self.age(now);
        let id = Id::parse(id)?.to_string();
        self.jobs.iter_mut().find(|job| job.id == id && job.spec.user == user)
    }

    /// The user's jobs, oldest first.
    pub(crate) fn list(&mut self, user: &str, now: Timestamp) -> impl Iterator<Item = &Job> {
        self.age(now);
        self.jobs.iter().filter(move |job| job.spec.user == user)
    }

    /// Removes a job and what it holds.
    pub(crate) fn remove(&mut self, id: &str) {
        self.drop_where(|job| job.id == id);
    }

    /// Expires the results of the ended jobs (or of one); returns how many.
    pub(crate) fn expire(&mut self, id: Option<&str>, now: Timestamp) -> usize {
        self.age(now);
        let id = id.and_then(Id::parse).map(|id| id.to_string());
        let before = self.jobs.len();
        self.drop_where(|job| job.state().ended() && id.as_ref().is_none_or(|id| *id == job.id));
        before - self.jobs.len()
    }

    /// Sets nothing any more but the order of rows.
    pub(crate) fn clear(&mut self, now: Timestamp) {
        let row_order = self.switches.row_order;
        self.switches = Switches { row_order, ..Switches::default() };
        self.unstick(now);
    }

    /// Lets jobs that could not end go on from now.
    pub(crate) fn unstick(&mut self, now: Timestamp) {
        for job in self.jobs.iter_mut().filter(|job| !job.state().ended()) {
            job.postpone(now);
        }
    }

    fn drop_where(&mut self, gone: impl Fn(&Job) -> bool) {
        self.jobs.retain(|job| !gone(job));
        self.held.retain(|(results, _)| Arc::strong_count(results) > 1);
    }
}

fn not_in_bulk(object: &str) -> ApiError {
    ApiError::bad("INVALIDENTITY", format!("Entity '{object}' is not supported by the Bulk API."))
}

#[cfg(test)]
mod tests;
