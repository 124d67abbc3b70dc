//! What all parts of the daemon share: handles, no decisions.

use super::env::Env;
use super::toll::Meters;
use super::vault::VaultSlot;
use crate::control::protocol::Event;
use crate::replica::Home;
use crate::store::Store;
use crmsync_core::config::settings::{Notify as NotifySettings, Retention, Settings};
use crmsync_core::domain::Time;
use crmsync_core::notice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Notify, Semaphore, broadcast};

/// Shared by supervisor, connections, commands and outbox.
pub struct Shared {
    /// Clock and chance.
    pub env: Env,
    /// The daemon's memory.
    pub store: Store,
    /// Sealed secrets.
    pub vault: Arc<VaultSlot>,
    /// Quota.
    pub meters: Arc<Meters>,
    /// For `watch` and `--follow`.
    pub events: broadcast::Sender<Event>,
    /// Runs at the same time.
    pub workers: Arc<Semaphore>,
    /// Pages of jobs that are fetched at the same time, of all connections: each holds some
    /// megabytes, and two keep two processors busy.
    pub pages: Arc<Semaphore>,
    /// Rung when a mail was stored.
    pub outbox: Notify,
    /// Where replicas are.
    pub replicas: Home,
    /// When the daemon started.
    pub started: Time,
    /// This host's name, for mails.
    pub host: String,
    /// Counts configurations taken over.
    pub generation: AtomicU64,
    notify: RwLock<Arc<NotifySettings>>,
    retention: RwLock<Retention>,
}

/// See [`Shared::pages`].
const PAGES: usize = 3;

impl Shared {
    /// From its parts.
    pub fn new(
        env: Env,
        store: Store,
        vault: Arc<VaultSlot>,
        meters: Arc<Meters>,
        settings: &Settings,
        replicas: Home,
        host: String,
    ) -> Self {
        let workers = usize::try_from(settings.daemon.workers).unwrap_or(8).max(1);
        Self {
            env,
            store,
            vault,
            meters,
            events: broadcast::channel(1024).0,
            workers: Arc::new(Semaphore::new(workers)),
            pages: Arc::new(Semaphore::new(PAGES)),
            outbox: Notify::new(),
            replicas,
            started: env.now(),
            host,
            generation: AtomicU64::new(0),
            notify: RwLock::new(Arc::new(settings.notify.clone())),
            retention: RwLock::new(settings.retention.clone()),
        }
    }

    /// `[notify]` in force.
    pub fn notify(&self) -> Arc<NotifySettings> {
        Arc::clone(&self.notify.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A reload changed `[notify]`.
    pub fn set_notify(&self, settings: &NotifySettings) {
        *self.notify.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.clone());
        self.outbox.notify_one();
    }

    /// `[retention]` in force.
    pub fn retention(&self) -> Retention {
        self.retention.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A reload changed `[retention]`; it counts from the next hourly round on.
    pub fn set_retention(&self, settings: &Retention) {
        *self.retention.write().unwrap_or_else(PoisonError::into_inner) = settings.clone();
    }

    /// By which rules conditions are told.
    pub fn notice_rules(&self) -> notice::Rules {
        let n = self.notify();
        notice::Rules {
            gather: n.gather,
            remind: n.remind.clone(),
            quiet_hours: n.quiet_hours.as_ref().map(|q| notice::QuietHours {
                from: q.from,
                to: q.to,
                zone: q.zone.clone(),
            }),
            digest_above: n.digest_above,
        }
    }

    /// Tells whoever listens; nobody listening is fine.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The configuration's number.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}
