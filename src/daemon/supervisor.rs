//! The connections as a whole: made from settings, rung when due, changed by a reload.
//!
//! Invariants: a reload that fails changes nothing; what did not change is not touched; a
//! connection that leaves the configuration stops and keeps its grant.

use super::actor::{Actor, Handle, Message, Parts};
use super::copy::aside;
use super::shared::Shared;
use super::toll::Held;
use crate::control::protocol::{Event, Line, ReloadReply};
use crate::provider::{self, http};
use crate::replica;
use crate::store::{Change, Doc, StoreError};
use crmsync_core::config::settings::Connection as Settings;
use crmsync_core::config::{self, Checked};
use crmsync_core::domain::{ConnectionName, Fault, Time};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Why a configuration was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Only a restart can change these.
    #[error("reloading: these keys need a restart: {}\nhint: systemctl restart crmsyncd", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// A connection cannot be made.
    #[error("reloading: connection {name}: {why}")]
    Connection {
        /// Which.
        name: ConnectionName,
        /// Why.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All connections.
pub struct Supervisor {
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// Clients by network, shared by the connections that use it.
    clients: Mutex<BTreeMap<String, http::Http>>,
}

struct Inner {
    connections: BTreeMap<ConnectionName, Handle>,
    checked: Option<Checked>,
}

impl Supervisor {
    /// Without connections; [`Supervisor::apply`] makes them.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            inner: Mutex::new(Inner { connections: BTreeMap::new(), checked: None }),
            reloading: tokio::sync::Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// What all share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a connection.
    pub fn handle(&self, name: &ConnectionName) -> Option<Handle> {
        self.lock().connections.get(name).cloned()
    }

    /// All handles, by name.
    pub fn handles(&self) -> Vec<(ConnectionName, Handle)> {
        self.lock().connections.iter().map(|(n, h)| (n.clone(), h.clone())).collect()
    }

    /// A line for each connection that is not being put away, by name.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().connections.values().filter_map(Handle::line).collect()
    }

    /// The configuration in force.
    pub fn checked(&self) -> Option<Checked> {
        self.lock().checked.clone()
    }

    fn client(&self, settings: &Settings) -> Result<http::Http, String> {
        let network = http::Network {
            proxy: settings.network.proxy.clone(),
            no_proxy: settings.network.no_proxy.clone(),
            ca_file: settings.network.ca_file.clone(),
        };
        // The CA file's content belongs to it: a renewed file makes a new client.
        let ca = network.ca_file.as_ref().map(|p| std::fs::read(p).unwrap_or_default());
        let key = format!("{network:?} {:?}", ca.map(|c| crc32fast::hash(&c)));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = http::Http::new(&network).map_err(|e| e.to_string())?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn parts(&self, settings: &Settings, files: BTreeMap<String, String>) -> Result<Parts, String> {
        let http = self.client(settings)?;
        let provider =
            provider::open(&settings.provider, &settings.keys, settings.auth, http.clone())
                .map_err(|e: Fault| e.to_string())?;
        Ok(Parts { settings: Arc::new(settings.clone()), provider, http, files })
    }

    /// Takes a checked configuration over; at the start, or by a reload.
    pub async fn apply(&self, new: Checked) -> Result<ReloadReply, ReloadError> {
        let _one = self.reloading.lock().await;
        let old = self.checked();
        let plan = match &old {
            Some(old) => config::diff(old, &new),
            None => config::Plan {
                added: new.settings.connections.keys().cloned().collect(),
                ..config::Plan::default()
            },
        };
        if !plan.needs_restart.is_empty() {
            return Err(ReloadError::NeedsRestart(plan.needs_restart));
        }
        // Everything that can fail comes before the first change.
        let mut made = BTreeMap::new();
        for name in plan.added.iter().chain(plan.changed.keys()) {
            let Some(settings) = new.settings.connections.get(name) else { continue };
            let files = new.files.get(name).cloned().unwrap_or_default();
            let parts = self
                .parts(settings, files)
                .map_err(|why| ReloadError::Connection { name: name.clone(), why })?;
            made.insert(name.clone(), parts);
        }
        let now = self.shared.env.now();
        let mut ids = BTreeMap::new();
        for name in &plan.added {
            ids.insert(name.clone(), self.shared.store.connection_id(name.as_str(), now)?);
        }
        if plan.notify_changed {
            self.shared.set_notify(&new.settings.notify);
        }
        if plan.retention_changed {
            self.shared.set_retention(&new.settings.retention);
        }
        let warnings = new.warnings.iter().map(|w| w.message.clone()).collect();
        for name in &plan.removed {
            let handle = self.lock().connections.remove(name);
            if let Some(handle) = handle {
                let (done, gone) = oneshot::channel();
                handle.send(Message::Retire(done));
                let _ = gone.await;
                if let Err(error) = self.shared.store.retire(&handle.id, now) {
                    tracing::error!(connection = %name, %error, "retiring a connection");
                }
                tracing::info!(connection = %name, "{name} left the configuration; its grant stays sealed and unused");
            }
        }
        if old.is_none() {
            // Taken out while the daemon was down.
            for row in self.shared.store.connections()? {
                let named = new.settings.connections.keys().any(|n| n.as_str() == row.name);
                if !named && row.retired.is_none() {
                    self.shared.store.retire(&row.id, now)?;
                }
            }
        }
        let created: BTreeMap<String, Time> =
            self.shared.store.connections()?.into_iter().map(|c| (c.id, c.created)).collect();
        for (name, parts) in made {
            let running = self.lock().connections.get(&name).cloned();
            match running {
                Some(handle) => handle.send(Message::Configure(Box::new(parts))),
                None => {
                    let id = ids.remove(&name).unwrap_or_default();
                    if let Err(error) = self.finish_move(&id, &name).await {
                        tracing::error!(connection = %name, %error, "moving the replica after a rename");
                    }
                    let born = created.get(&id).copied().unwrap_or(now);
                    let handle = Actor::start(&self.shared, &name, &id, born, parts)?;
                    self.lock().connections.insert(name, handle);
                }
            }
        }
        self.lock().checked = Some(new);
        let generation = self.shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.tell(Event::Reloaded { generation });
        Ok(ReloadReply {
            added: plan.added.iter().map(ToString::to_string).collect(),
            removed: plan.removed.iter().map(ToString::to_string).collect(),
            changed: plan.changed.into_iter().map(|(n, c)| (n.to_string(), c)).collect(),
            untouched: plan.untouched.len(),
            warnings,
        })
    }

    /// Rings every connection that is due.
    pub fn ring_due(&self) -> Result<(), StoreError> {
        let now = self.shared.env.now();
        let due = self.shared.store.due_before(now)?;
        if due.is_empty() {
            return Ok(());
        }
        let inner = self.lock();
        for (id, at) in due {
            // A due time of before the start is spread over five minutes by the connection itself.
            if let Some(handle) = inner.connections.values().find(|h| h.id == id) {
                handle.send(Message::Due(at));
            }
        }
        Ok(())
    }

    /// A hold began or ended: all connections of the domain are told.
    pub fn held(&self, held: &Held) {
        let Ok(gate) = self.shared.meters.gate(&held.domain) else { return };
        let members = gate.members();
        for (_, handle) in self.handles() {
            if members.contains(&handle.id) {
                handle.send(Message::Quota(held.change.clone()));
            }
        }
    }

    /// Stops all connections at their next checkpoint; at most `within`.
    pub async fn stop(&self, within: SignedDuration) {
        let handles: Vec<Handle> = {
            let mut inner = self.lock();
            std::mem::take(&mut inner.connections).into_values().collect()
        };
        let mut ends = Vec::new();
        for handle in handles {
            let (done, end) = oneshot::channel();
            handle.send(Message::Shutdown(done));
            ends.push(end);
        }
        let all = futures_util::future::join_all(ends);
        let within = std::time::Duration::try_from(within).unwrap_or_default();
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(
                "some runs did not reach a checkpoint in time; they go on at their last commit"
            );
        }
        for gate in self.shared.meters.all() {
            if let Err(error) = gate.close() {
                tracing::warn!(%error, "storing a meter");
            }
        }
    }

    /// Notes (or, with none, forgets) that a connection's replica still has its place under an
    /// earlier name.
    pub fn note_move(&self, id: &str, from: Option<&ConnectionName>) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let version = store.doc("move", id)?.map_or(0, |d| d.0);
        let change = match from {
            Some(from) => Change {
                docs: vec![Doc { kind: "move", key: id.into(), version, json: json(from) }],
                ..Change::default()
            },
            None => Change { drop_docs: vec![("move", id.into())], ..Change::default() },
        };
        store.apply(change)
    }

    /// Brings a replica after a rename of its connection; doing it twice is harmless.
    pub async fn finish_move(&self, id: &str, to: &ConnectionName) -> Result<(), String> {
        let noted = self.shared.store.doc("move", id).map_err(|e| e.to_string())?;
        let Some((_, text)) = noted else { return Ok(()) };
        let from: String = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let replicas = &self.shared.replicas;
        let (old, new) = (replicas.place(&from), replicas.place(to.as_str()));
        aside(&replicas.place(&from), move || replica::rename(&old, &new))
            .await
            .map_err(|e| e.to_string())?;
        self.note_move(id, None).map_err(|e| e.to_string())
    }

    /// Takes a connection out, for `rename`: the caller stops it.
    pub fn forget_handle(&self, name: &ConnectionName) -> Option<Handle> {
        self.lock().connections.remove(name)
    }

    /// A connection was stopped and is not started again here: the next reload takes it for new.
    pub fn not_running(&self, name: &ConnectionName) {
        if let Some(checked) = &mut self.lock().checked {
            checked.settings.connections.remove(name);
            checked.fingerprints.remove(name);
        }
    }

    /// A connection has another name in the store now. It rests until the configuration names it
    /// so; until then it counts as retired.
    pub fn renamed(&self, from: &ConnectionName, to: &ConnectionName) -> Result<(), StoreError> {
        self.not_running(from);
        let now = self.shared.env.now();
        let all = self.shared.store.connections()?;
        match all.into_iter().find(|c| c.name == to.as_str()) {
            Some(row) => self.shared.store.retire(&row.id, now),
            None => Ok(()),
        }
    }
}

/// A name as the store keeps it.
fn json(name: &ConnectionName) -> String {
    serde_json::Value::from(name.as_str()).to_string()
}
