//! One connection as it lives: a task that owns its state and is the only one to change it.
//!
//! Whatever happens (bell, command, reload, quota, end of a run) comes through its mailbox, goes
//! through `core::connection::step`, is stored with its effects in one transaction, and is then
//! carried out. Invariants: what is in memory is what is in the store; at most one run; an effect
//! that could not be stored is not carried out.

mod asks;
mod effects;
mod findings;
mod grants;
mod letters;
mod probes;
mod proof;
mod runs;
mod subject;
pub mod view;

use super::clock::ServerClock;
use super::copy::Copy;
use super::grant::{Holder, Use};
use super::shared::Shared;
use super::toll::{Gate, Member};
use super::work::{Live, ObjectSummary, Report};
use crate::control::protocol::{
    Caller, ConnectionDetail, ConnectionStatus, GrantReply, Line, PauseRequest, ReauthorizeReply,
    ReauthorizeRequest, Refusal, RefusalCode, RequestLine, RunLine, SyncRequest,
};
use crate::provider::Provider;
use crate::provider::http::Http;
use crate::store::{Change, StoreError};
use crmsync_core::config::settings::Connection as Settings;
use crmsync_core::connection::{self, Connection, Event, Rules};
use crmsync_core::domain::{ConnectionName, Identity, QuotaDomain, Time};
use crmsync_core::notice::Notices;
use crmsync_core::reauth::Request;
use crmsync_core::{quota, schedule};
use jiff::SignedDuration;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A wake that finds nothing to do must not become a loop.
const BETWEEN_WAKES: Duration = Duration::from_millis(200);

/// When a probe is sent anew whose result could not be stored.
const PROBE_ANEW: SignedDuration = SignedDuration::from_secs(60);

/// A connection that does not tell its status within this time is shown as it was.
const STATUS_WITHIN: Duration = Duration::from_millis(500);

/// A reply that somebody waits for.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What can come into the mailbox.
pub enum Message {
    /// Something happened.
    Event(Event),
    /// The bell found it due.
    Due(Time),
    /// The quota domain's hold.
    Quota(quota::Change),
    /// Settings changed.
    Configure(Box<Parts>),
    /// It left the configuration.
    Retire(oneshot::Sender<()>),
    /// The run is over.
    RunOver(String, Box<Report>),
    /// A probe of the grant of this generation has ended.
    Probed(u64, Result<(), crmsync_core::domain::Fault>),
    /// Somebody saw that what our account may see has changed.
    SightChanged,
    /// A resume probe has ended; a refusal of the credential is told.
    ResumeProbed(Option<crmsync_core::domain::Fault>),
    /// A new grant was got and looked at.
    Proved(Box<proof::Proved>),
    /// Status for people.
    Status(oneshot::Sender<ConnectionStatus>),
    /// Everything for people.
    Detail(Box<Answer<ConnectionDetail>>),
    /// With what the source can be asked.
    Subject(Answer<super::testing::Subject>),
    /// `crmsync sync`.
    Sync(Caller, SyncRequest, Answer<RunLine>),
    /// `crmsync pause`.
    Pause(Caller, PauseRequest, Answer<ConnectionStatus>),
    /// `crmsync resume`.
    Resume(Caller, Answer<ConnectionStatus>),
    /// `crmsync approve`.
    Approve(Caller, Answer<ConnectionStatus>),
    /// `crmsync disconnect`.
    Disconnect(Caller, Answer<ConnectionStatus>),
    /// `crmsync reauthorize`.
    Reauthorize(Caller, ReauthorizeRequest, Answer<ReauthorizeReply>),
    /// Where the browser was sent.
    Callback(Caller, SecretString, Answer<GrantReply>),
    /// A password was given.
    Password(Caller, SecretString, Answer<GrantReply>),
    /// `crmsync reauthorize confirm`.
    Confirm(Caller, Answer<GrantReply>),
    /// `crmsync reauthorize reject`.
    Reject(Caller, Answer<RequestLine>),
    /// `crmsync secret set`.
    SetSecret(Caller, String, SecretString, Answer<()>),
    /// The daemon stops: end the run at a checkpoint, then answer.
    Shutdown(oneshot::Sender<()>),
}

/// What a connection is made of by its configuration; a reload makes new ones.
pub struct Parts {
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// The foreign system.
    pub provider: Arc<dyn Provider>,
    /// The HTTP client of its network.
    pub http: Http,
    /// Hashes of the files that the settings name, by key.
    pub files: BTreeMap<String, String>,
}

impl Parts {
    fn current(&self) -> Use {
        Use {
            provider: Arc::clone(&self.provider),
            http: self.http.clone(),
            settings: Arc::clone(&self.settings),
        }
    }
}

/// What others may do with a connection.
#[derive(Clone)]
pub struct Handle {
    /// Internal id.
    pub id: String,
    mailbox: mpsc::UnboundedSender<Message>,
    /// The status as last published, for whoever cannot wait.
    shown: Shown,
}

/// The status as last published.
type Shown = Arc<std::sync::Mutex<Option<Line>>>;

impl Handle {
    /// Sends; a connection that is gone takes nothing.
    pub fn send(&self, message: Message) {
        let _ = self.mailbox.send(message);
    }

    /// Sends and waits for the answer.
    pub async fn ask<T>(&self, message: impl FnOnce(Answer<T>) -> Message) -> Result<T, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.send(message(answer));
        reply.await.unwrap_or_else(|_| {
            Err(Refusal::new(RefusalCode::Unavailable, "the connection is being put away"))
        })
    }

    /// Its line of `status`; none when it is being put away. One that waits for its provider
    /// (a revocation, a refresh) is shown as it was: nobody's status waits for a network.
    pub async fn status(&self) -> Option<ConnectionStatus> {
        let (answer, reply) = oneshot::channel();
        self.send(Message::Status(answer));
        match tokio::time::timeout(STATUS_WITHIN, reply).await {
            Ok(reply) => reply.ok(),
            Err(_) => self.line().map(|line| ConnectionStatus::clone(&line)),
        }
    }

    /// Its line as it stood after the last thing that happened to it. For the whole table: a
    /// thousand connections are not woken to say what they said before.
    pub fn line(&self) -> Option<Line> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A run under way.
struct Running {
    id: String,
    stop: CancellationToken,
    cut: CancellationToken,
    /// Of the grant that it began with.
    generation: u64,
    why: Option<connection::StopWhy>,
    started: Time,
    cause: &'static str,
    /// It only looks at jobs.
    looks_only: bool,
    /// How far it is.
    live: Live,
}

/// The task's own.
pub struct Actor {
    shared: Arc<Shared>,
    name: ConnectionName,
    id: String,
    created: Time,
    settings: Arc<Settings>,
    provider: Arc<dyn Provider>,
    holder: Arc<Holder>,
    copy: Copy,
    /// Hashes of the files that its settings name.
    files: BTreeMap<String, String>,
    gate: Option<Arc<Gate>>,
    state: Connection,
    version: u64,
    notices: Notices,
    notices_version: u64,
    request: Option<Request>,
    request_version: u64,
    summary: Vec<ObjectSummary>,
    running: Option<Running>,
    /// Name of the next run, where somebody waits for it.
    next_run: Option<String>,
    probe_at: Option<Time>,
    probing: bool,
    /// When this connection last sent (or tried to send) a resume probe.
    resume_tried: Option<Time>,
    /// When a failed store is tried again; none once it has taken something.
    store_retry: Option<Time>,
    next_due: Option<Time>,
    last_status: Option<Line>,
    /// For handles: a copy of it.
    shown: Shown,
    modified: Time,
    modified_by: String,
    /// Who asked for what is being done, for the audit log.
    caller: Option<Caller>,
    /// The server's clock as the last run knew it.
    clock: Option<ServerClock>,
    /// When rows were last erased.
    erased: Option<Time>,
    /// Why the next run starts, for its log.
    cause: &'static str,
    /// The run that is to start has nothing but looks at jobs to do.
    looks_only: bool,
    /// The schedule rang while such a run was under way.
    rang: bool,
    mailbox: mpsc::UnboundedReceiver<Message>,
    own: mpsc::UnboundedSender<Message>,
}

impl Actor {
    /// Reads its state from the store and starts the task.
    pub fn start(
        shared: &Arc<Shared>,
        name: &ConnectionName,
        id: &str,
        created: Time,
        parts: Parts,
    ) -> Result<Handle, StoreError> {
        let (own, mailbox) = mpsc::unbounded_channel();
        let store = &shared.store;
        let read = |kind: &str| store.doc(kind, id);
        let (version, state) = parsed::<Connection>(read("connection")?);
        let (notices_version, notices) = parsed::<Notices>(read("notices")?);
        let (request_version, request) = parsed::<Option<Request>>(read("request")?);
        let (_, summary) = parsed::<Vec<ObjectSummary>>(read("summary")?);
        let holder = Arc::new(Holder::new(
            id,
            name.as_str(),
            parts.current(),
            store.clone(),
            Arc::clone(&shared.vault),
            shared.env,
        ));
        let notices = if notices_version == 0 { Notices::new(id) } else { notices };
        let (facts, _) = holder.facts()?;
        let mut actor = Self {
            copy: Copy::new(&shared.replicas, name.as_str()),
            shared: Arc::clone(shared),
            name: name.clone(),
            id: id.to_owned(),
            created,
            settings: parts.settings,
            provider: parts.provider,
            holder,
            files: parts.files,
            gate: None,
            state,
            version,
            notices,
            notices_version,
            request,
            request_version,
            summary,
            running: None,
            next_run: None,
            probe_at: None,
            probing: false,
            resume_tried: None,
            store_retry: None,
            next_due: None,
            last_status: None,
            shown: Arc::default(),
            modified: facts.granted.unwrap_or(created),
            modified_by: facts.by,
            caller: None,
            clock: None,
            erased: None,
            cause: "schedule",
            looks_only: false,
            rang: false,
            mailbox,
            own: own.clone(),
        };
        if let Some(identity) = &facts.identity {
            actor.join(identity)?;
        }
        let mut events = vec![Event::Started];
        events.push(Event::Configured { enabled: actor.settings.enabled });
        match shared.vault.open() {
            Ok(_) => events.push(Event::KeyBack),
            Err(e) => events.push(Event::KeyMissing { text: e.to_string() }),
        }
        actor.take(&events, Change::default());
        actor.schedule_first();
        actor.look_at_quota();
        actor.show();
        let shown = Arc::clone(&actor.shown);
        tokio::spawn(actor.live());
        Ok(Handle { id: id.to_owned(), mailbox: own, shown })
    }

    fn rules(&self) -> Rules {
        let now = self.shared.env.now();
        let interval = schedule::interval(&self.settings.schedule, now);
        let rotates = match self.provider.credential() {
            crmsync_core::domain::CredentialKind::Code => {
                self.holder.facts().map_or(true, |f| f.0.rotates != Some(false))
            }
            crmsync_core::domain::CredentialKind::ClientCredentials
            | crmsync_core::domain::CredentialKind::Password => false,
        };
        Rules::new(rotates, interval, self.settings.alarm_after, schedule::seed(self.name.as_str()))
    }

    /// Where calls count while the org is not known.
    fn no_domain(&self) -> QuotaDomain {
        QuotaDomain(format!("unknown:{}", self.id))
    }

    /// Joins the quota domain of the org.
    fn join(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let domain = self.provider.domain(identity);
        if self.gate.as_ref().is_some_and(|g| *g.domain() != domain)
            && let Some(old) = self.gate.take()
        {
            old.leave(&self.id);
        }
        let gate = self.shared.meters.gate(&domain)?;
        let q = &self.settings.quota;
        let settings = quota::Settings {
            pause_at: q.pause_at,
            resume_below: q.resume_below,
            own_share: q.own_share,
            limit: q.limit,
        };
        let admins = if self.settings.enabled { self.settings.admins.clone() } else { Vec::new() };
        let member = Member { name: self.name.to_string(), settings, admins };
        gate.join(&self.id, member, self.provider.spec().daily_limit);
        if self.gate.replace(Arc::clone(&gate)).is_none()
            && let Some(before) = self.shared.meters.in_use(&self.no_domain())
        {
            // The calls of a first authorization came before anybody knew the domain.
            gate.take_over(&before);
        }
        Ok(())
    }

    async fn live(mut self) {
        let mut rested = self.shared.env.instant();
        loop {
            self.show();
            let wake = self.wake_in(rested);
            tokio::select! {
                message = self.mailbox.recv() => match message {
                    Some(Message::Shutdown(done)) => {
                        self.shut_down().await;
                        self.hide();
                        let _ = done.send(());
                        return;
                    }
                    Some(Message::Retire(done)) => {
                        self.take(&[Event::Retired], Change::default());
                        self.end_run().await;
                        self.holder.close().await;
                        if let Some(gate) = &self.gate {
                            gate.leave(&self.id);
                        }
                        self.hide();
                        let _ = done.send(());
                        return;
                    }
                    Some(message) => self.receive(message).await,
                    None => return,
                },
                () = tokio::time::sleep(wake) => {
                    self.wake();
                    rested = self.shared.env.instant() + BETWEEN_WAKES;
                }
            }
        }
    }

    /// Leaves its line for [`Handle::line`].
    fn show(&self) {
        let status = self.status();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_deref() != Some(&status) {
            *shown = Some(status.into());
        }
    }

    /// Nothing is to be shown of a connection that is put away.
    fn hide(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long it may sleep when nothing comes. Counted from the last wake, not from the last
    /// message: whoever asks for the status all the time must not keep it from waking.
    fn wake_in(&self, rested: Instant) -> Duration {
        let now = self.shared.env.now();
        let rules = self.rules();
        let held = self.gate.as_ref().and_then(|g| match g.held() {
            Some(quota::Change::Held { next_probe, .. }) => Some(next_probe),
            Some(quota::Change::Freed) | None => None,
        });
        // A probe that did not come about (dead grant, paused, nobody answers) must not keep it
        // awake: the meter goes on saying that one is due.
        let probe_of_hold = held
            .filter(|_| matches!(self.state.hold, connection::QuotaHold::Held { .. }))
            .filter(|_| self.may_probe_hold())
            .map(|at| self.resume_again().map_or(at, |again| again.max(at)));
        let at = [
            connection::next_wake(&self.state, now, &rules),
            self.notices.next_wake(now, &self.shared.notice_rules()),
            self.probe_at.filter(|_| !self.probing),
            self.store_retry,
            probe_of_hold,
            self.look_at(now),
        ]
        .into_iter()
        .flatten()
        .min();
        let least = rested.saturating_duration_since(self.shared.env.instant());
        let most = Duration::from_secs(3600);
        at.map_or(most, |at| {
            Duration::try_from(at.duration_since(now)).unwrap_or_default().clamp(least, most)
        })
    }

    fn wake(&mut self) {
        let now = self.shared.env.now();
        if self.probe_at.is_some_and(|at| at <= now) && !self.probing {
            self.probe();
        }
        self.look_at_quota();
        self.tend_grant();
        let looks = self.look_at(now).is_some_and(|at| at <= now);
        let tries =
            connection::next_wake(&self.state, now, &self.rules()).is_some_and(|at| at <= now);
        let rings = looks || tries;
        self.cause = if tries { "retry" } else { "job" };
        self.looks_only = looks && !tries;
        // Without a reason of the connection's own only letters are looked at.
        self.take(if rings { &[Event::Due] } else { &[] }, Change::default());
        self.looks_only = false;
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.take(&[event], Change::default()),
            Message::Due(due) => self.due(due),
            Message::Quota(change) => self.quota(change),
            Message::Configure(parts) => self.configure(*parts),
            Message::RunOver(id, report) => self.run_over(&id, *report),
            Message::Probed(generation, result) => {
                self.probing = false;
                self.probe_at = None;
                // Of a grant that was replaced meanwhile it says nothing.
                if generation == self.state.generation {
                    self.take(&[Event::ProbeResult(result)], Change::default());
                }
                if matches!(self.state.grant, connection::Grant::Suspect { .. })
                    && self.probe_at.is_none()
                {
                    // What it told could not be stored: a suspect grant is never left alone.
                    self.probe_at = self.shared.env.now().checked_add(PROBE_ANEW).ok();
                }
            }
            Message::SightChanged => match self.holder.forget_check() {
                // The run looks for itself, and compares keys before it says `caught up`.
                Ok(()) => {
                    self.cause = "changed permissions";
                    self.take(&[Event::Due], Change::default());
                }
                Err(error) => self.not_stored(&error),
            },
            Message::ResumeProbed(refused) => {
                self.probing = false;
                if let Some(fault) = refused {
                    // The latch: whoever refuses the credential is not asked again.
                    self.take(&[Event::ProbeResult(Err(fault))], Change::default());
                }
                self.look_at_quota();
            }
            Message::Proved(proved) => self.proved(*proved).await,
            Message::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Message::Detail(answer) => {
                let _ = answer.send(self.detail());
            }
            Message::Subject(answer) => {
                let _ = answer.send(self.subject());
            }
            Message::Sync(by, request, answer) => self.sync(&by, request, answer),
            Message::Pause(by, request, answer) => self.pause(&by, request, answer),
            Message::Resume(by, answer) => {
                let event = Event::Resumed { by: by.user.clone() };
                self.command(&by, "resume", event, answer);
            }
            Message::Approve(by, answer) => self.approve(&by, answer),
            Message::Disconnect(by, answer) => self.disconnect(&by, answer).await,
            Message::Reauthorize(by, request, answer) => self.reauthorize(&by, request, answer),
            Message::Callback(by, redirected, answer) => self.callback(by, redirected, answer),
            Message::Password(by, password, answer) => self.password(by, password, answer),
            Message::Confirm(by, answer) => self.confirm(&by, answer).await,
            Message::Reject(by, answer) => self.reject(&by, answer),
            Message::SetSecret(by, key, value, answer) => {
                let _ = answer.send(self.set_secret(&by, &key, &value).await);
            }
            Message::Retire(_) | Message::Shutdown(_) => {}
        }
    }

    /// New settings. A run under way goes on with the old ones unless they matter to it.
    fn configure(&mut self, parts: Parts) {
        let old = Arc::clone(&self.settings);
        let fresh = old.keys != parts.settings.keys
            || old.provider != parts.settings.provider
            || old.auth != parts.settings.auth
            || old.network != parts.settings.network
            || old.secrets != parts.settings.secrets;
        self.holder.change(parts.current(), fresh);
        self.provider = parts.provider;
        self.settings = parts.settings;
        self.modified = self.shared.env.now();
        "configuration".clone_into(&mut self.modified_by);
        if let Ok(Some(identity)) = self.holder.identity()
            && let Err(error) = self.join(&identity)
        {
            tracing::warn!(connection = %self.name, %error, "joining the quota domain");
        }
        let needs_new_run = old.objects != self.settings.objects
            || old.keys != self.settings.keys
            || old.provider != self.settings.provider
            || old.network != self.settings.network
            || old.secrets != self.settings.secrets
            || self.files != parts.files;
        self.files = parts.files;
        if needs_new_run {
            self.cancel_run(connection::StopWhy::Configuration);
        }
        if old.schedule != self.settings.schedule {
            self.reschedule(Change::default());
        }
        let enabled = self.settings.enabled;
        let mut events = vec![Event::Configured { enabled }];
        if needs_new_run && enabled {
            self.wish(|w| w.describe = true);
            events.push(Event::SettingsChanged);
        }
        self.cause = "reload";
        self.take(&events, Change::default());
        if needs_new_run && enabled {
            self.try_credential();
        }
    }
}

fn parsed<T: Default + serde::de::DeserializeOwned>(doc: Option<(u64, String)>) -> (u64, T) {
    match doc {
        Some((version, text)) => match serde_json::from_str(&text) {
            Ok(value) => (version, value),
            Err(error) => {
                // Written by ourselves: only a mistake of ours or a damaged disk comes here.
                tracing::error!(%error, "a document of the store is unreadable; starting afresh");
                (version, T::default())
            }
        },
        None => (0, T::default()),
    }
}
