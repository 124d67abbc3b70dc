//! Counters of everything that happens, and waiting for one of them to reach a number, so that no
//! test has to sleep for luck.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Named counters with a bell. Names are made by the sandbox, never by a client.
#[derive(Debug)]
pub(crate) struct Events {
    counters: Mutex<BTreeMap<String, u64>>,
    bell: watch::Sender<u64>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { counters: Mutex::new(BTreeMap::new()), bell: watch::Sender::new(0) }
    }

    /// Counts one and rings.
    pub(crate) fn count(&self, kind: &str) {
        {
            let mut counters = self.lock();
            match counters.get_mut(kind) {
                Some(n) => *n += 1,
                None => {
                    counters.insert(kind.to_owned(), 1);
                }
            }
        }
        self.bell.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// All counters by name.
    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    /// Sets every counter to nought.
    pub(crate) fn reset(&self) {
        self.lock().clear();
        self.bell.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Waits until `kind` has been counted `count` times; returns the number it saw last, which
    /// is smaller only when the time was up.
    pub(crate) async fn wait(&self, kind: &str, count: u64, timeout: Duration) -> u64 {
        let mut bell = self.bell.subscribe();
        let reached = async {
            loop {
                bell.borrow_and_update();
                let seen = self.get(kind);
                if seen >= count || bell.changed().await.is_err() {
                    return seen;
                }
            }
        };
        match tokio::time::timeout(timeout, reached).await {
            Ok(seen) => seen,
            Err(_) => self.get(kind),
        }
    }

    fn get(&self, kind: &str) -> u64 {
        self.lock().get(kind).copied().unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn waiting_ends_with_the_event_or_with_the_time() {
        let events = Arc::new(Events::new());
        assert_eq!(events.wait("held", 1, Duration::from_millis(5)).await, 0);
        let waiter = Arc::clone(&events);
        let waiting =
            tokio::spawn(async move { waiter.wait("held", 2, Duration::from_secs(20)).await });
        events.count("held");
        events.count("call");
        events.count("held");
        assert_eq!(waiting.await.unwrap(), 2);
    }
}
