//! The sandbox's own record of the data calls: what each client knew of the quota when it called.
//!
//! For every data call it writes down the usage that the last *finished* answer to the same client
//! carried at the moment the call arrived, and how many of that client's calls were open then. So
//! a test can tell from outside whether a scheduled call started at or above a line. An answer is
//! finished when its last byte has been handed to the connection; a dropped or cut one carries
//! nothing. The record is a ring: the oldest calls go first.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

const KEPT: usize = 200_000;
const CLIENTS: usize = 10_000;

/// Used and maximum, as an answer carried them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    pub(crate) used: u64,
    pub(crate) max: u64,
}

/// One data call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// Number in order of arrival, from 1.
    pub(crate) seq: u64,
    /// What was asked for: `query`, `describe`, `composite` ...
    pub(crate) kind: String,
    /// Path and query, cut after 300 bytes.
    pub(crate) path: String,
    /// What it cost of the quota.
    pub(crate) cost: u64,
    /// `Sforce-Call-Options: client=`, else the grant's id.
    pub(crate) client: String,
    /// What the last finished answer to this client said; none before the first.
    pub(crate) usage_seen_before: Option<Usage>,
    /// How long before the arrival that answer was finished, in microseconds.
    pub(crate) seen_ago_us: Option<i64>,
    /// How many other calls of this client were open at the arrival.
    pub(crate) open_before: u64,
    /// The usage this call's own answer carries.
    pub(crate) usage_after: Usage,
    /// HTTP status; 0 while it is worked on.
    pub(crate) status: u16,
    /// Whether the whole answer was handed to the connection.
    pub(crate) delivered: bool,
    pub(crate) started: Timestamp,
    pub(crate) finished: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Client {
    open: u64,
    seen: Option<(Usage, Timestamp)>,
}

/// All calls since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    last: u64,
    open: BTreeMap<u64, Call>,
    finished: VecDeque<Call>,
    clients: BTreeMap<String, Client>,
}

impl CallLog {
    /// Writes down an arrival; the number is to be given back to the other two functions.
    pub(crate) fn arrive(
        &mut self,
        now: Timestamp,
        client: &str,
        kind: &str,
        path: &str,
        cost: u64,
    ) -> u64 {
        self.last += 1;
        if self.clients.len() >= CLIENTS {
            self.clients.retain(|_, client| client.open > 0);
        }
        let known = self.clients.entry(client.to_owned()).or_default();
        let call = Call {
            seq: self.last,
            kind: kind.to_owned(),
            path: path.chars().take(300).collect(),
            cost,
            client: client.to_owned(),
            usage_seen_before: known.seen.map(|(usage, _)| usage),
            seen_ago_us: known.seen.map(|(_, at)| now.as_microsecond() - at.as_microsecond()),
            open_before: known.open,
            usage_after: Usage { used: 0, max: 0 },
            status: 0,
            delivered: false,
            started: now,
            finished: None,
        };
        known.open += 1;
        self.open.insert(self.last, call);
        self.last
    }

    /// Notes what the answer will say.
    pub(crate) fn answered(&mut self, seq: u64, status: u16, usage: Usage) {
        if let Some(call) = self.open.get_mut(&seq) {
            call.status = status;
            call.usage_after = usage;
        }
    }

    /// Notes that the answer has left, or that it never will.
    pub(crate) fn finish(&mut self, seq: u64, now: Timestamp, delivered: bool) {
        let Some(mut call) = self.open.remove(&seq) else {
            return;
        };
        call.finished = Some(now);
        call.delivered = delivered;
        let client = self.clients.entry(call.client.clone()).or_default();
        client.open = client.open.saturating_sub(1);
        if delivered {
            client.seen = Some((call.usage_after, now));
        }
        if self.finished.len() >= KEPT {
            self.finished.pop_front();
        }
        self.finished.push_back(call);
    }

    /// The finished calls after this number, in order of finishing.
    pub(crate) fn since(&self, seq: u64) -> impl Iterator<Item = &Call> {
        self.finished.iter().filter(move |call| call.seq > seq)
    }

    /// Forgets the finished calls; what clients have seen stays, and so do open calls.
    pub(crate) fn reset(&mut self) {
        self.finished.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micro: i64) -> Timestamp {
        Timestamp::from_microsecond(micro).unwrap()
    }

    #[test]
    fn a_call_knows_what_the_last_finished_answer_carried() {
        let mut log = CallLog::default();
        let first = log.arrive(at(0), "a", "query", "/q", 1);
        let second = log.arrive(at(1), "a", "query", "/q", 1);
        log.answered(first, 200, Usage { used: 2, max: 10 });
        log.answered(second, 200, Usage { used: 1, max: 10 });
        log.finish(first, at(5), true);
        let third = log.arrive(at(9), "a", "query", "/q", 1);
        let other = log.arrive(at(9), "b", "query", "/q", 1);
        log.finish(second, at(10), false);
        log.finish(third, at(10), true);
        log.finish(other, at(10), true);
        let calls: Vec<&Call> = log.since(0).collect();
        assert_eq!(calls[1].open_before, 1);
        assert_eq!(calls[1].usage_seen_before, None);
        assert!(!calls[1].delivered);
        assert_eq!(calls[2].usage_seen_before, Some(Usage { used: 2, max: 10 }));
        assert_eq!(calls[2].seen_ago_us, Some(4));
        assert_eq!(calls[2].open_before, 1, "the second call was still open");
        assert_eq!(calls[3].usage_seen_before, None, "another client");
        assert_eq!(log.since(second).count(), 2);
    }
}
