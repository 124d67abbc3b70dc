//! The meters of all quota domains, and the toll that every costed call passes.
//!
//! The decisions are `core::quota`'s; here they are shared between the connections of a domain,
//! waited for, and stored. Invariants: a call leaves only after the meter that vouches for it is
//! on the disk; whoever waits near the line is woken by the end of the call before.

use super::env::Env;
use crate::provider::{Failure, Ticket, Toll};
use crate::store::{Change as StoreChange, Doc, Store, StoreError};
use crmsync_core::domain::{Fault, QuotaDomain, Time, Usage};
use crmsync_core::quota::{self, Admission, Exempt, Line, Meter, Report};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// A hold began or ended.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where.
    pub domain: QuotaDomain,
    /// What.
    pub change: quota::Change,
}

/// All meters.
pub struct Meters {
    store: Store,
    env: Env,
    gates: Mutex<BTreeMap<QuotaDomain, Arc<Gate>>>,
    changes: mpsc::UnboundedSender<Held>,
}

/// One domain.
pub struct Gate {
    domain: QuotaDomain,
    store: Store,
    env: Env,
    changes: mpsc::UnboundedSender<Held>,
    moved: Notify,
    inner: Mutex<Inner>,
}

/// A connection of a domain.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it asks of the line.
    pub settings: quota::Settings,
    /// Who is told of a hold in its name; nobody while it is disabled.
    pub admins: Vec<String>,
}

struct Inner {
    meter: Meter,
    version: u64,
    /// By connection id; the line is the lowest of their settings.
    members: BTreeMap<String, Member>,
    main: Option<(String, Option<u64>)>,
    line: Line,
    /// Own calls since the last point of the plot, and when that was.
    unplotted: u64,
    plotted: Option<Time>,
}

impl Meters {
    /// Nothing is read before a domain is asked for. Holds are told to the receiver.
    pub fn new(store: Store, env: Env) -> (Arc<Self>, mpsc::UnboundedReceiver<Held>) {
        let (changes, told) = mpsc::unbounded_channel();
        (Arc::new(Self { store, env, gates: Mutex::default(), changes }), told)
    }

    /// The gate of a domain; its meter comes from the store at first, with calls of before a
    /// crash counted until an answer says otherwise.
    pub fn gate(&self, domain: &QuotaDomain) -> Result<Arc<Gate>, StoreError> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(domain) {
            return Ok(Arc::clone(gate));
        }
        let (version, mut meter) = match self.store.doc("meter", &domain.0)? {
            Some((version, text)) => (version, serde_json::from_str(&text).unwrap_or_default()),
            None => (0, Meter::default()),
        };
        if version > 0 {
            meter.recovered_after_crash(self.env.now());
        }
        let gate = Arc::new(Gate {
            domain: domain.clone(),
            store: self.store.clone(),
            env: self.env,
            changes: self.changes.clone(),
            moved: Notify::new(),
            inner: Mutex::new(Inner {
                meter,
                version,
                members: BTreeMap::new(),
                main: None,
                line: quota::line(&[], None),
                unplotted: 0,
                plotted: None,
            }),
        });
        gates.insert(domain.clone(), Arc::clone(&gate));
        Ok(gate)
    }

    /// The gate of a domain, if it is in use.
    pub fn in_use(&self, domain: &QuotaDomain) -> Option<Arc<Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned()
    }

    /// All gates in use.
    pub fn all(&self) -> Vec<Arc<Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The domain.
    pub fn domain(&self) -> &QuotaDomain {
        &self.domain
    }

    /// A connection joins the domain, or its settings changed.
    pub fn join(&self, id: &str, member: Member, main: Option<(&str, Option<u64>)>) {
        let mut inner = self.lock();
        inner.members.insert(id.to_owned(), member);
        inner.main = main.map(|(name, max)| (name.to_owned(), max));
        self.relined(&mut inner);
    }

    /// A connection leaves the domain.
    pub fn leave(&self, id: &str) {
        let mut inner = self.lock();
        inner.members.remove(id);
        self.relined(&mut inner);
    }

    fn relined(&self, inner: &mut Inner) {
        let settings: Vec<quota::Settings> =
            inner.members.values().map(|m| m.settings.clone()).collect();
        let main = inner.main.clone();
        inner.line = quota::line(&settings, main.as_ref().map(|(n, m)| (n.as_str(), *m)));
        self.judge(inner);
    }

    /// Ids of the connections that share it.
    pub fn members(&self) -> Vec<String> {
        self.lock().members.keys().cloned().collect()
    }

    /// Names of the connections that share it, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lock().members.values().map(|m| m.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Which connection tells this receiver of a hold: a hold is one matter, however many share
    /// the domain.
    pub fn speaker(&self, to: &str) -> Option<String> {
        let inner = self.lock();
        let told = inner.members.values().filter(|m| m.admins.iter().any(|a| a == to));
        told.map(|m| m.name.clone()).min()
    }

    /// What was spent and learned while nobody knew whose limit it costs counts here from now on.
    pub fn take_over(&self, before: &Self) {
        let now = self.env.now();
        let learned = before.lock().meter.hand_over(now);
        let mut inner = self.lock();
        inner.meter.take_over(learned, now);
        self.judge(&mut inner);
    }

    /// What is known, for people.
    pub fn report(&self) -> Report {
        let inner = self.lock();
        inner.meter.report(&inner.line, self.env.now())
    }

    /// Name of the limit that every call costs.
    pub fn main_limit(&self) -> Option<String> {
        self.lock().line.main_name().map(str::to_owned)
    }

    /// Whether a resume probe may leave now.
    pub fn probe_due(&self) -> bool {
        let mut inner = self.lock();
        // A limit that resets by the clock, or that we count ourselves, frees without a probe.
        self.judge(&mut inner);
        inner.meter.probe_due(self.env.now())
    }

    /// The provider refused because a limit is used up, whatever we believed.
    pub fn exhausted(&self, limit: &str, resets: Option<Time>) {
        let mut inner = self.lock();
        inner.meter.exhausted(limit, resets, self.env.now());
        self.judge(&mut inner);
    }

    /// Whether everybody waits.
    pub fn held(&self) -> Option<quota::Change> {
        let mut inner = self.lock();
        let report = inner.meter.report(&inner.line, self.env.now());
        let _ = &mut inner;
        match report.hold {
            quota::Hold::Free => None,
            quota::Hold::Held { limit, used, max, next_probe, .. } => {
                Some(quota::Change::Held { limit, used, max, next_probe })
            }
        }
    }

    /// Stores the meter so that nothing is vouched for in advance any more: an orderly end.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.meter.close();
        self.save(&mut inner)?;
        self.plot(&mut inner, true);
        Ok(())
    }

    fn save(&self, inner: &mut Inner) -> Result<(), StoreError> {
        let json = serde_json::to_string(&inner.meter).unwrap_or_default();
        let doc = Doc { kind: "meter", key: self.domain.0.clone(), version: inner.version, json };
        self.store.apply(StoreChange { docs: vec![doc], ..StoreChange::default() })?;
        inner.version += 1;
        Ok(())
    }

    fn judge(&self, inner: &mut Inner) {
        let line = inner.line.clone();
        let Some(change) = inner.meter.judge(&line, self.env.now()) else { return };
        if let Err(error) = self.save(inner) {
            // The connections are told all the same; the next judgement stores it.
            tracing::warn!(domain = %self.domain.0, %error, "storing the meter");
        }
        let _ = self.changes.send(Held { domain: self.domain.clone(), change });
    }

    /// A point of the day's plot, once a minute at most.
    fn plot(&self, inner: &mut Inner, now_please: bool) {
        let now = self.env.now();
        let due = inner.plotted.is_none_or(|at| now.duration_since(at).as_secs() >= 60);
        if !(due || now_please) || inner.unplotted == 0 {
            return;
        }
        let report = inner.meter.report(&inner.line, now);
        let main = inner.line.main_name();
        let limit = report.limits.iter().find(|l| Some(l.limit.as_str()) == main);
        let (used, max) = (limit.map(|l| l.used), limit.map(|l| l.max));
        let own = std::mem::take(&mut inner.unplotted);
        inner.plotted = Some(now);
        if let Err(error) = self.store.record_usage(&self.domain.0, now, own, used, max) {
            tracing::debug!(%error, "a point of the plot was not stored");
        }
    }

    /// One try to reserve: the ticket's number, or wait, or held.
    fn admit(&self, cost: u32, exempt: Option<Exempt>) -> Result<Option<u64>, Failure> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let now = self.env.now();
        let admission = match exempt {
            Some(why) => inner.meter.exempt(cost, why, now).ok_or(Failure::Held)?,
            None => inner.meter.start(cost, &inner.line, now),
        };
        match admission {
            Admission::Go { number, save } => {
                inner.unplotted += u64::from(cost);
                if save && let Err(error) = tokio::task::block_in_place(|| self.save(inner)) {
                    inner.meter.lost(number);
                    return Err(Failure::Fault(Fault::passing(format!(
                        "the call was not made, for it could not be noted: {error}"
                    ))));
                }
                Ok(Some(number))
            }
            Admission::Wait => Ok(None),
            Admission::Held { .. } => {
                self.judge(inner);
                Err(Failure::Held)
            }
        }
    }
}

/// The toll of one purpose at one gate.
pub struct Purpose {
    gate: Arc<Gate>,
    exempt: Option<Exempt>,
}

impl Purpose {
    /// Scheduled work: stops at the line.
    pub fn scheduled(gate: Arc<Gate>) -> Self {
        Self { gate, exempt: None }
    }

    /// Allowed above the line; counted and shown by name.
    pub fn exempt(gate: Arc<Gate>, why: Exempt) -> Self {
        Self { gate, exempt: Some(why) }
    }
}

impl Toll for Purpose {
    fn reserve(&self, cost: u32) -> BoxFuture<'_, Result<Ticket, Failure>> {
        Box::pin(async move {
            loop {
                // Registered before the look, so that an end in between is not missed.
                let moved = self.gate.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if let Some(number) = self.gate.admit(cost, self.exempt)? {
                    let gate = Arc::clone(&self.gate);
                    return Ok(Ticket::new(number, cost, move || gate.lost(number)));
                }
                moved.await;
            }
        })
    }

    fn told(&self, ticket: &Ticket, usage: &[Usage]) {
        let mut inner = self.gate.lock();
        inner.meter.told(ticket.number, usage, self.gate.env.now());
        self.gate.judge(&mut inner);
    }

    fn settle(&self, ticket: Ticket) {
        let number = ticket.settled();
        let mut inner = self.gate.lock();
        inner.meter.settle(number);
        self.gate.judge(&mut inner);
        self.gate.plot(&mut inner, false);
        drop(inner);
        self.gate.moved.notify_waiters();
    }
}

impl Gate {
    fn lost(&self, number: u64) {
        let mut inner = self.lock();
        inner.meter.lost(number);
        self.judge(&mut inner);
        drop(inner);
        self.moved.notify_waiters();
    }
}
