//! The whole state of one sandbox: the org's data behind a lock for many readers, everything else
//! (users, grants, meter, faults, cursors) behind a short one.
//!
//! Invariants: the two locks are never held together, and no lock is held over an await. So a
//! query over 200,000 rows does not keep a token from being refreshed.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::bulk::Bulk;
use crate::calls::CallLog;
use crate::clock::{Chance, Clock};
use crate::data::Org;
use crate::events::Events;
use crate::faults::Faults;
use crate::meter::Meter;
use crate::oauth::grants::Grants;
use crate::rest::cursors::Cursors;
use crate::users::Users;

/// The registered app.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) redirects: Vec<String>,
    /// Whether the token endpoint insists on the secret.
    pub(crate) require_secret: bool,
    /// The user client credentials run as.
    pub(crate) run_as: Option<String>,
    pub(crate) blocked: bool,
    pub(crate) installed: bool,
    /// Whether only users an admin has approved may log in (none is).
    pub(crate) admin_approved_only: bool,
}

/// Everything but the data.
#[derive(Debug)]
pub(crate) struct World {
    /// 18 characters.
    pub(crate) org_id: String,
    pub(crate) public_url: String,
    pub(crate) app: App,
    pub(crate) users: Users,
    pub(crate) grants: Grants,
    pub(crate) meter: Meter,
    pub(crate) calls: CallLog,
    pub(crate) faults: Faults,
    pub(crate) cursors: Cursors,
    pub(crate) bulk: Bulk,
    /// `active`, or why the org is none: `locked`, `suspended`.
    pub(crate) org_inactive: bool,
    pub(crate) ip_restricted: bool,
    /// Pages no longer than this, whatever is asked for.
    pub(crate) page_size: Option<usize>,
    /// Whether the usage header carries the share of the app.
    pub(crate) per_app_usage: bool,
    /// Calls of the app, for that share.
    pub(crate) app_used: u64,
    /// When the schema last changed, in whole seconds.
    pub(crate) schema_changed: Timestamp,
    /// Logins of a browser: cookie to user name.
    pub(crate) logins: Vec<(String, String)>,
}

/// One running sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) events: Events,
    /// Rings when held answers are to go.
    pub(crate) release: watch::Sender<u64>,
    org: RwLock<Org>,
    world: Mutex<World>,
    /// This sandbox, for work that outlives the request that asked for it.
    own: Weak<Sandbox>,
}

impl Sandbox {
    pub(crate) fn new(clock: Clock, org: Org, world: World) -> Arc<Sandbox> {
        let now = clock.now();
        Arc::new_cyclic(|own| Sandbox {
            own: Weak::clone(own),
            chance: Chance::new(now),
            clock,
            events: Events::new(),
            release: watch::Sender::new(0),
            org: RwLock::new(org),
            world: Mutex::new(world),
        })
    }

    /// Does some work on a thread of its own; none of the answers waits for it.
    pub(crate) fn later(&self, work: impl FnOnce(&Sandbox) + Send + 'static) {
        if let Some(own) = self.own.upgrade() {
            std::thread::spawn(move || work(&own));
        }
    }

    /// Everything but the data; never held while the data is.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data, to read.
    pub(crate) fn org(&self) -> RwLockReadGuard<'_, Org> {
        self.org.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data, to change.
    pub(crate) fn org_mut(&self) -> RwLockWriteGuard<'_, Org> {
        self.org.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl World {
    /// Notes that describes made until now are stale. The stamp is the next whole second, so that
    /// somebody who asked in this very second is not told "not modified" later on.
    pub(crate) fn schema_moved(&mut self, now: Timestamp) {
        self.schema_changed = next_second(now);
    }
}

/// The first whole second after `now`.
pub(crate) fn next_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second() + 1).unwrap_or(now)
}

/// An org id in its 18-character form.
pub(crate) fn org_id18(text: &str) -> Option<String> {
    let id = crate::data::Id::parse(text)?.to_string();
    id.starts_with("00D").then_some(id)
}
