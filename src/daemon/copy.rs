//! A connection's replica as the daemon holds it: opened when first needed, closed when a run is
//! over (a closed file can be read by a reader without write permission), used by one caller at
//! a time, always on a blocking thread.

use crate::replica::{self, Home, Owner, Place, Replica, ReplicaError};
use std::sync::{Arc, Mutex, PoisonError};

/// Handle on a replica that may be closed.
#[derive(Clone)]
pub struct Copy {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    name: String,
    open: Mutex<Option<Box<dyn Replica>>>,
}

impl Copy {
    /// For the connection's place; nothing is touched yet.
    pub fn new(home: &Home, connection: &str) -> Self {
        let place = home.place(connection);
        Self {
            inner: Arc::new(Inner { place, name: connection.to_owned(), open: Mutex::new(None) }),
        }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// Opens it and takes it for this owner. A replica that a lost store left behind is adopted:
    /// the epoch goes on from its own.
    pub async fn claim(&self, provider: &str, org: &str, id: &str) -> Result<(), ReplicaError> {
        let (provider, org_id, connection) = (provider.to_owned(), org.to_owned(), id.to_owned());
        self.with(move |replica| {
            let epoch = match replica.owner()? {
                Some(o) if o.connection == connection => o.epoch,
                Some(o) => o.epoch + 1,
                None => 1,
            };
            replica.claim(&Owner { provider, org_id, connection, epoch })
        })
        .await
    }

    /// Works on the open replica, opening it if need be.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Replica) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let inner = Arc::clone(&self.inner);
        aside(&self.inner.place, move || {
            let mut slot = inner.open.lock().unwrap_or_else(PoisonError::into_inner);
            let replica = match slot.take() {
                Some(replica) => slot.insert(replica),
                None => slot.insert(replica::open(&inner.place, &inner.name)?),
            };
            work(replica.as_mut())
        })
        .await
    }

    /// Closes it if it is open.
    pub async fn close(&self) -> Result<(), ReplicaError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let taken = inner.open.lock().unwrap_or_else(PoisonError::into_inner).take();
            taken.map_or(Ok(()), Replica::close)
        })
        .await
        .unwrap_or(Ok(()))
    }
}

/// Does what may block on a thread that may: a server may let us wait.
pub async fn aside<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce() -> Result<T, ReplicaError> + Send + 'static,
) -> Result<T, ReplicaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(ReplicaError::Bug {
            doing: "working on the replica".into(),
            path: place.to_string(),
            cause: e.to_string(),
        })
    })
}
