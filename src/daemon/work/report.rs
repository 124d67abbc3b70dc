//! What a run has to say when it is over.

use crate::daemon::clock::ServerClock;
use crate::replica::ReplicaError;
use crate::store::StoreError;
use crmsync_core::connection::StopWhy;
use crmsync_core::domain::Fault;
use crmsync_core::sync::ObjectState;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a run did; its lines for `log`.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Calls paid.
    pub calls: u64,
    /// Rows read.
    pub read: u64,
    /// Rows changed in the replica.
    pub changed: u64,
    /// Rows deleted or hidden.
    pub deleted: u64,
    /// Its story.
    pub lines: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// Everything that was to be done is done.
    Done,
    /// At a checkpoint.
    Stopped(StopWhy),
    /// The provider: with the fault.
    Failed(Fault),
    /// The replica.
    Replica(ReplicaError),
    /// The store.
    Store(StoreError),
}

/// All that a run has to say.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// What it did.
    pub account: Account,
    /// Objects that failed on their own.
    pub failing: BTreeMap<String, Fault>,
    /// Fields (none: the whole object) that were to be read and are not at the source.
    pub gone: BTreeSet<(String, Option<String>)>,
    /// Fields that came, or changed their type, and are not read because settings freeze them.
    pub frozen: BTreeSet<(String, String)>,
    /// Deletes held by the guard, by object; 0: no longer held.
    pub held: BTreeMap<String, u64>,
    /// State of all objects; none when the replica could not be read.
    pub objects: Option<Vec<ObjectSummary>>,
    /// What is known of the server's clock; none when nothing is.
    pub clock: Option<ServerClock>,
}

impl Report {
    /// For a run whose task died: nothing is known but that.
    pub fn died(how: &str) -> Self {
        Self {
            end: End::Failed(Fault::contract(format!("the run broke off: {how}"))),
            account: Account::default(),
            failing: BTreeMap::new(),
            gone: BTreeSet::new(),
            frozen: BTreeSet::new(),
            held: BTreeMap::new(),
            objects: None,
            clock: None,
        }
    }
}

/// What `status` shows of an object; a cache of the replica, kept in the store with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSummary {
    /// API name.
    pub name: String,
    /// Table.
    pub table: String,
    /// How far.
    pub state: ObjectState,
    /// Live rows.
    pub live: u64,
    /// Marked as deleted.
    pub deleted: u64,
    /// Hidden.
    pub hidden: u64,
    /// Values kept raw.
    pub odd: u64,
}
