//! Open query cursors: what `nextRecordsUrl` leads to.
//!
//! A cursor holds the ids of its rows, not their values: a later page shows the values of then. It
//! lives two days by the sandbox's clock; there are never more than 256, the oldest goes first.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Chance;
use crate::data::QueryResult;

const LIFE_SECONDS: i64 = 2 * 86_400;
const OPEN: usize = 256;

#[derive(Debug)]
struct Cursor {
    locator: String,
    user: String,
    made: Timestamp,
    result: Arc<QueryResult>,
}

/// The cursors of all users.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: VecDeque<Cursor>,
}

impl Cursors {
    /// Opens a cursor; the locator is 18 characters and begins with `01g`.
    pub(crate) fn open(
        &mut self,
        chance: &Chance,
        now: Timestamp,
        user: &str,
        result: Arc<QueryResult>,
    ) -> String {
        let locator = format!("01g{}", chance.text(15));
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Cursor {
            locator: locator.clone(),
            user: user.to_owned(),
            made: now,
            result,
        });
        locator
    }

    /// The result behind a locator of this user, while it lives.
    pub(crate) fn find(
        &self,
        now: Timestamp,
        user: &str,
        locator: &str,
    ) -> Option<Arc<QueryResult>> {
        self.open
            .iter()
            .find(|cursor| cursor.locator == locator && cursor.user == user)
            .filter(|cursor| now.as_second() - cursor.made.as_second() <= LIFE_SECONDS)
            .map(|cursor| Arc::clone(&cursor.result))
    }

    /// Expires them all; returns how many there were.
    pub(crate) fn expire(&mut self) -> usize {
        std::mem::take(&mut self.open).len()
    }
}
