//! One run: what is to be done is read from store and replica, done call by call, and committed
//! batch by batch.
//!
//! Hides the order of things within a run. Invariants: rows and the state that covers them are one
//! transaction; nothing is sent without the toll; cut anywhere, the next run goes on at the last
//! commit; an object that fails on its own does not stop the others.

mod calls;
mod jobs;
mod page;
mod prelude;
mod report;

pub use report::{Account, End, ObjectSummary, Report};

use super::clock::ServerClock;
use super::copy::Copy;
use super::env::Env;
use super::grant::{Holder, SessionError, SessionOrHeld};
use crate::provider::{Ctx, Failure, Provider, Ticket, Toll};
use crate::replica::{Change, ReplicaError};
use crate::store::{Store, StoreError};
use crmsync_core::config::settings::{Connection as Settings, Deletes};
use crmsync_core::connection::StopWhy;
use crmsync_core::domain::{Fault, ObjectSchema, QuotaDomain, Time, Usage};
use crmsync_core::sync::{ObjectState, Rules, Slot};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What a call on its way gets to end in once the daemon stops or the connection is put away.
const CUT_AFTER: Duration = Duration::from_secs(3);
/// No call takes longer, its turn at the quota line included: a server that sends a byte a minute
/// must not keep a worker for ever.
const LONGEST_CALL: Duration = Duration::from_mins(15);

/// Jobs of one connection at the source at the same time.
const JOBS: usize = 3;
/// A job that has no result after this time is called off.
const JOB_PATIENCE: SignedDuration = SignedDuration::from_hours(6);

/// What a run is made with.
pub struct Work {
    /// Name of the connection.
    pub name: String,
    /// Its internal id.
    pub id: String,
    /// Settings in force when the run began.
    pub settings: Arc<Settings>,
    /// The foreign system.
    pub provider: Arc<dyn Provider>,
    /// The one holder of its credential.
    pub holder: Arc<Holder>,
    /// Pays.
    pub toll: Arc<dyn Toll>,
    /// Where it is paid.
    pub domain: QuotaDomain,
    /// The replica.
    pub copy: Copy,
    /// The daemon's memory.
    pub store: Store,
    /// Clock.
    pub env: Env,
    /// The server's clock as the run before knew it.
    pub clock: Option<ServerClock>,
    /// Turns for pages of jobs.
    pub pages: Arc<Semaphore>,
    /// Pulled to stop at the next checkpoint.
    pub stop: CancellationToken,
    /// Pulled when there is no time to wait for the checkpoint: a call on its way is given up.
    pub cut: CancellationToken,
    /// Nothing but a look at a job (or a count to be repeated) is due: nobody else is polled.
    pub looks_only: bool,
    /// Usual distance of runs.
    pub interval: SignedDuration,
    /// Rows marked as deleted leave the replica when they are older than this; none: not today.
    pub erase_before: Option<Time>,
    /// What was known of the objects after the last run: rows are counted anew only where they may
    /// have changed.
    pub known: Vec<ObjectSummary>,
    /// The objects' states as last committed, for `status`.
    pub live: Live,
    /// Told of each commit.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// What a run under way shows of its objects.
pub type Live = Arc<Mutex<BTreeMap<String, ObjectState>>>;

/// A commit.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Object.
    pub object: String,
    /// Rows of it in this run.
    pub rows: u64,
    /// Of so many, roughly, where the source told.
    pub expected: Option<u64>,
    /// Calls of this run.
    pub calls: u64,
    /// Whether it belongs to a first load.
    pub loading: bool,
}

/// What somebody wished for, kept in the store until a run has taken it over. Taking it over
/// twice is harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Describe the source again.
    pub describe: bool,
    /// What our account sees may have changed: compare keys, hide what is gone.
    pub sight: bool,
    /// Release held deletes.
    pub approve: bool,
    /// Read these objects again in whole.
    pub full: BTreeSet<String>,
}

/// The run's toll, with a count of what was paid.
struct Counted {
    toll: Arc<dyn Toll>,
    paid: AtomicU64,
}

impl Toll for Counted {
    fn reserve(&self, cost: u32) -> BoxFuture<'_, Result<Ticket, Failure>> {
        Box::pin(async move {
            let ticket = self.toll.reserve(cost).await?;
            self.paid.fetch_add(u64::from(cost), Ordering::Relaxed);
            Ok(ticket)
        })
    }

    fn told(&self, ticket: &Ticket, usage: &[Usage]) {
        self.toll.told(ticket, usage);
    }

    fn settle(&self, ticket: Ticket) {
        self.toll.settle(ticket);
    }
}

/// Why a run goes no further.
enum Stop {
    Cancelled,
    Quota,
    Fault(Fault),
    Replica(ReplicaError),
    Store(StoreError),
}

impl From<ReplicaError> for Stop {
    fn from(e: ReplicaError) -> Self {
        Self::Replica(e)
    }
}

impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<SessionError> for Stop {
    fn from(e: SessionError) -> Self {
        match e {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Store(e) => Self::Store(e),
        }
    }
}

impl From<SessionOrHeld> for Stop {
    fn from(e: SessionOrHeld) -> Self {
        match e {
            SessionOrHeld::Held => Self::Quota,
            SessionOrHeld::Fault(fault) => Self::Fault(fault),
            SessionOrHeld::Store(e) => Self::Store(e),
        }
    }
}

/// A run under way.
struct Run {
    work: Work,
    toll: Arc<Counted>,
    clock: ServerClock,
    rules: Rules,
    schemas: BTreeMap<String, ObjectSchema>,
    states: BTreeMap<String, ObjectState>,
    rows: BTreeMap<String, u64>,
    /// Roughly how many records objects have; see [`Provider::sizes`].
    sizes: BTreeMap<String, u64>,
    sizes_asked: bool,
    /// Objects whose rows may have changed in this run.
    touched: BTreeSet<String>,
    account: Account,
    failing: BTreeMap<String, Fault>,
    gone: BTreeSet<(String, Option<String>)>,
    /// Fields that are not read because the settings freeze what is read.
    frozen: BTreeSet<(String, String)>,
    /// Descriptions that were replaced since the tables were last laid out by them.
    before: BTreeMap<String, ObjectSchema>,
    held: BTreeMap<String, u64>,
    /// Fields that the source refused although its description names them; not asked for again
    /// before the description is read anew by the clock or by somebody's wish. Lower case.
    refused: BTreeSet<(String, String)>,
    /// Objects that the source said are gone, and places that it said are lost, in this run: what
    /// it says twice of the same is this object's trouble, not a reason to ask for ever.
    said_gone: BTreeSet<String>,
    /// See `said_gone`.
    said_lost: BTreeSet<(String, Slot)>,
    /// Who answers was asked in this run, because keys are compared in it.
    compared_by_us: bool,
    /// The replica's states were read: before, nothing can be said of its objects.
    states_read: bool,
}

impl Work {
    /// Does it. Never panics, never returns early without a report.
    pub async fn run(self) -> Report {
        let rules = rules(&self.settings);
        let toll = Counted { toll: Arc::clone(&self.toll), paid: AtomicU64::new(0) };
        let mut run = Run {
            toll: Arc::new(toll),
            clock: self.clock.map_or_else(|| ServerClock::new(self.env), ServerClock::next),
            work: self,
            rules,
            schemas: BTreeMap::new(),
            states: BTreeMap::new(),
            rows: BTreeMap::new(),
            sizes: BTreeMap::new(),
            sizes_asked: false,
            touched: BTreeSet::new(),
            account: Account::default(),
            failing: BTreeMap::new(),
            gone: BTreeSet::new(),
            frozen: BTreeSet::new(),
            before: BTreeMap::new(),
            held: BTreeMap::new(),
            refused: BTreeSet::new(),
            said_gone: BTreeSet::new(),
            said_lost: BTreeSet::new(),
            compared_by_us: false,
            states_read: false,
        };
        let ended = run.all().await;
        let end = match ended {
            Ok(()) => End::Done,
            Err(Stop::Cancelled) => End::Stopped(StopWhy::Pause),
            Err(Stop::Quota) => End::Stopped(StopWhy::Quota),
            Err(Stop::Fault(fault)) => End::Failed(fault),
            Err(Stop::Replica(e)) => End::Replica(e),
            Err(Stop::Store(e)) => End::Store(e),
        };
        run.report(end).await
    }
}

impl Run {
    async fn all(&mut self) -> Result<(), Stop> {
        // Stopped while it waited for its turn: nothing is refreshed, opened or asked.
        self.go_on()?;
        self.prepare().await?;
        let mut polled = self.server_now().await?;
        let mut target = if self.work.looks_only { Time::MIN } else { polled };
        loop {
            self.go_on()?;
            let whole = self.server_now().await?;
            // A long load must not let the other objects grow stale, whatever it began with.
            if whole.duration_since(polled) >= self.work.interval {
                (polled, target) = (whole, whole);
            }
            // Looks at jobs are due by the fraction of a second.
            let now = self.clock.moment().map_or(whole, |now| now.max(whole));
            let more = match self.round(target, now).await {
                // Whoever fails a second time would fail for ever.
                Err(Stop::Replica(error)) => self.spare(error).await?,
                more => more?,
            };
            if !more {
                return self.erase().await;
            }
        }
    }

    /// Plans and does what is planned. Returns whether there was anything.
    async fn round(&mut self, target: Time, now: Time) -> Result<bool, Stop> {
        let planned = self.plan(target, now).await?;
        self.work.live.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.states);
        self.do_calls(&planned, now).await?;
        Ok(!planned.is_empty())
    }

    /// A checkpoint.
    fn go_on(&self) -> Result<(), Stop> {
        if self.work.stop.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Rows that were deleted at the source long enough ago leave the replica.
    async fn erase(&mut self) -> Result<(), Stop> {
        let before = match self.work.settings.deletes {
            // Rows that came with the deletion flag are only marked by the merge.
            Deletes::Remove => Some(Time::MAX),
            Deletes::Mark => self.work.erase_before,
        };
        if let Some(before) = before {
            let erased = self.work.copy.with(move |r| r.write(&[Change::Erase { before }])).await?;
            let rows: u64 = erased.iter().map(|a| a.changed).sum();
            if rows > 0 {
                self.touched.extend(self.states.keys().cloned());
                self.say(format!("{rows} deleted rows have left the replica"));
            }
        }
        Ok(())
    }

    /// The server's clock; asks for it where no answer has told it yet.
    async fn server_now(&mut self) -> Result<Time, Stop> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        let provider = Arc::clone(&self.work.provider);
        let told = self.ask(move |ctx| provider_clock(&provider, ctx)).await?;
        self.clock.tell(told);
        // A server that tells no time: ours, less the overlap.
        let ours = self.work.env.now().checked_sub(self.work.settings.late_commit_window);
        Ok(self.clock.now().or(ours.ok()).unwrap_or(Time::UNIX_EPOCH))
    }

    /// Asks something beside the path of the data: with a session, once more after a renewed one.
    async fn ask<T>(
        &mut self,
        question: impl for<'a> Fn(Ctx<'a>) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Stop> {
        let mut session = self.work.holder.session().await?;
        for attempt in 0..2 {
            let ctx = Ctx { session: &session, toll: self.toll.as_ref() };
            match patiently(&self.work.cut, question(ctx)).await? {
                Ok(value) => return Ok(value),
                Err(Failure::Held) => return Err(Stop::Quota),
                Err(Failure::Fault(fault)) => return Err(Stop::Fault(fault)),
                Err(Failure::SessionDead(text)) if attempt == 0 => {
                    session = self.work.holder.renew(&session, &text).await?;
                }
                Err(Failure::SessionDead(text)) => {
                    return Err(Stop::Fault(Fault::passing(format!(
                        "a session that was just made is refused: {text}"
                    ))));
                }
            }
        }
        Err(Stop::Fault(Fault::contract("no answer")))
    }

    fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        tracing::debug!(connection = %self.work.name, "{line}");
        // A run's story is for people: bounded.
        if self.account.lines.len() < 200 {
            self.account.lines.push(line);
        }
    }

    async fn report(mut self, end: End) -> Report {
        let objects = match end {
            End::Replica(_) => None,
            // It ended before the replica was looked at: what was known of it still holds.
            _ if !self.states_read => None,
            End::Done | End::Stopped(_) | End::Failed(_) | End::Store(_) => {
                self.summary().await.ok()
            }
        };
        if let Err(error) = self.work.copy.close().await {
            tracing::warn!(connection = %self.work.name, %error, "closing the replica");
        }
        self.account.calls = self.toll.paid.load(Ordering::Relaxed);
        Report {
            end,
            account: self.account,
            failing: self.failing,
            gone: self.gone,
            frozen: self.frozen,
            held: self.held,
            objects,
            clock: self.clock.moment().map(|_| self.clock),
        }
    }

    async fn summary(&mut self) -> Result<Vec<ObjectSummary>, ReplicaError> {
        let states = self.states.clone();
        let mut known: BTreeMap<String, ObjectSummary> =
            std::mem::take(&mut self.work.known).into_iter().map(|o| (o.name.clone(), o)).collect();
        known.retain(|name, _| !self.touched.contains(name));
        self.work
            .copy
            .with(move |replica| {
                states
                    .into_iter()
                    .map(|(name, state)| {
                        if let Some(known) = known.remove(&name) {
                            return Ok(ObjectSummary { state, ..known });
                        }
                        let counts = replica.counts(&name)?;
                        Ok(ObjectSummary {
                            table: replica.table_name(&name).unwrap_or_default(),
                            odd: replica.odd_count(&name)?,
                            live: counts.live,
                            deleted: counts.deleted,
                            hidden: counts.hidden,
                            name,
                            state,
                        })
                    })
                    .collect()
            })
            .await
    }
}

/// What planning depends on.
pub fn rules(settings: &Settings) -> Rules {
    Rules {
        overlap: settings.late_commit_window,
        sweep_every: settings.sweep,
        page: 200,
        jobs: JOBS,
        job_patience: JOB_PATIENCE,
        prove_every: settings.prove,
        calculated_every: settings.calculated,
    }
}

/// Waits for a call, but not for ever. A call that is given up counts as lost; what it delivered
/// is committed or not, with its position. Never put a refresh in here: its answer is waited for.
async fn patiently<T>(cut: &CancellationToken, call: impl Future<Output = T>) -> Result<T, Stop> {
    let given_up = async {
        cut.cancelled().await;
        tokio::time::sleep(CUT_AFTER).await;
    };
    tokio::select! {
        biased;
        value = call => Ok(value),
        () = given_up => Err(Stop::Cancelled),
        () = tokio::time::sleep(LONGEST_CALL) => {
            let text = format!("a call did not end within {} min", LONGEST_CALL.as_secs() / 60);
            Err(Stop::Fault(Fault::passing(text)))
        }
    }
}

fn provider_clock<'a>(
    provider: &Arc<dyn Provider>,
    ctx: Ctx<'a>,
) -> BoxFuture<'a, Result<Option<Time>, Failure>> {
    let provider = Arc::clone(provider);
    Box::pin(async move { Ok(provider.clock(ctx).await?.server_time) })
}
