//! Start-up and shut-down, in one screen each.
//!
//! Order matters: lock and store before anything is touched, the socket before READY, the
//! supervisor last in and first out. A stop waits for runs to reach a checkpoint and for a refresh
//! on its way, 10 s at most.

use super::bell::Bell;
use super::configuration;
use super::desk::Desk;
use super::env::{self, Env};
use super::outbox;
use super::shared::Shared;
use super::supervisor::Supervisor;
use super::systemd;
use super::toll::{Held, Meters};
use super::vault::VaultSlot;
use crate::control::server::{self, Access};
use crate::replica::{Home, Server};
use crate::store::{Store, StoreError};
use anyhow::{Context, anyhow};
use crmsync_core::config::Checked;
use crmsync_core::config::settings::SecretRef;
use jiff::SignedDuration;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Exit code for a bad configuration or a newer state schema (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
/// A stop takes no longer.
const STOP_WITHIN: SignedDuration = SignedDuration::from_secs(8);
/// And this long for a mail on its way and callers of the socket; a mail cut off is sent again.
const THEN_WITHIN: Duration = Duration::from_secs(1);
/// How often old runs, mails and audit lines are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What the command line says; it wins over `[daemon]`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of `crmsync.toml` and `conf.d`.
    pub config_dir: PathBuf,
    /// State folder.
    pub state_dir: Option<PathBuf>,
    /// Folder of the replicas.
    pub replica_dir: Option<PathBuf>,
    /// Control socket.
    pub socket: Option<PathBuf>,
}

/// Why the daemon ended otherwise than by an orderly stop.
#[derive(Debug)]
pub struct Failed {
    /// Exit code.
    pub code: u8,
    /// What was being done, to what, the cause, a hint.
    pub error: anyhow::Error,
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self { code: 1, error }
    }
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Failed> {
    // First of all: a stop that comes while it starts is a stop in order, too.
    let signals = Signals::listen()?;
    let checked = configure(&options)?;
    let daemon = &checked.settings.daemon;
    let state_dir = options.state_dir.unwrap_or_else(|| daemon.state_dir.clone());
    let replica_dir = options.replica_dir.unwrap_or_else(|| daemon.replica_dir.clone());
    let socket = options.socket.unwrap_or_else(|| daemon.socket.clone());
    let clock = Env;

    let store = Store::open(&state_dir).map_err(|e| Failed {
        code: if matches!(e, StoreError::Newer { .. }) { EXIT_CONFIG } else { 1 },
        error: e.into(),
    })?;
    let replicas = replicas(&checked, replica_dir)?;
    let (vault, locked) = VaultSlot::new(&store);
    if let Some(error) = locked {
        tracing::error!(%error, "degraded: nothing syncs before the key is back");
    }
    let (meters, held) = Meters::new(store.clone(), clock);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let shared = Arc::new(Shared::new(
        clock,
        store.clone(),
        vault,
        meters,
        &checked.settings,
        replicas,
        host,
    ));
    let supervisor = Arc::new(Supervisor::new(Arc::clone(&shared)));
    supervisor.apply(checked).await.context("starting the connections")?;
    let desk = Arc::new(Desk::new(Arc::clone(&supervisor), options.config_dir));

    let stop = CancellationToken::new();
    let access = Access::new(rustix::process::getuid().as_raw(), "crmsync-view", "crmsync-admin");
    let commands: Arc<dyn crate::control::protocol::Commands> = Arc::clone(&desk) as _;
    let serving = server::serve(&socket, 0o666, commands, access, stop.clone())
        .with_context(|| format!("opening the control socket {}", socket.display()))?;
    let sending = tokio::spawn(outbox::run(Arc::clone(&shared), stop.clone()));
    let pruning = tokio::spawn(prune(Arc::clone(&shared), stop.clone()));
    let mut bell = Bell::start().await.context("starting the scheduler")?;

    systemd::ready(&desk.summary());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), socket = %socket.display(), state = %state_dir.display(), "ready");
    let result = live(&supervisor, &desk, &bell, held, signals).await;

    systemd::stopping();
    tracing::info!("stopping");
    stop.cancel();
    supervisor.stop(STOP_WITHIN).await;
    let rest = async {
        bell.stop().await;
        let _ = tokio::join!(serving, sending, pruning);
    };
    if tokio::time::timeout(THEN_WITHIN, rest).await.is_err() {
        tracing::warn!("a mail on its way or a caller of the socket was cut off by the stop");
    }
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::debug!(%error, "the socket was gone already");
    }
    tracing::info!("stopped");
    result
}

/// Where the replicas are: in the configured database, else in files of the folder, which is made.
fn replicas(checked: &Checked, folder: PathBuf) -> Result<Home, Failed> {
    let Some(database) = &checked.settings.replica else {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("making the replica folder {}", folder.display()))?;
        return Ok(Home::Folder(folder));
    };
    let password = database.password.as_ref().map(|place| match place {
        SecretRef::File(path) => path.clone(),
        SecretRef::Credential(name) => {
            let folder = env::variable("CREDENTIALS_DIRECTORY").unwrap_or_default();
            PathBuf::from(folder).join(name)
        }
    });
    Ok(Home::Database(Arc::new(Server {
        host: database.host.clone(),
        port: database.port,
        database: database.database.clone(),
        user: database.user.clone(),
        tls: database.tls,
        password,
        ca_file: database.ca_file.clone(),
        readers: database.readers.clone(),
    })))
}

fn configure(options: &Options) -> Result<Checked, Failed> {
    let bad = |error: anyhow::Error| Failed { code: EXIT_CONFIG, error };
    let loaded = configuration::load(&options.config_dir, &env::config_variables())
        .map_err(|e| bad(e.into()))?;
    for warning in loaded.result.iter().flat_map(|c| &c.warnings) {
        tracing::warn!("{}", warning.message);
    }
    loaded.result.map_err(|report| bad(anyhow!("{}", report.render(false).trim_end().to_owned())))
}

/// What the daemon is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, anyhow::Error> {
        let handler = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }
}

/// The daemon's life: bell, holds, signals; the watchdog hears only while these are served.
async fn live(
    supervisor: &Supervisor,
    desk: &Arc<Desk>,
    bell: &Bell,
    mut held: mpsc::UnboundedReceiver<Held>,
    mut signals: Signals,
) -> Result<(), Failed> {
    let dog = systemd::watchdog_interval().unwrap_or(Duration::from_secs(10));
    let mut status = String::new();
    let mut last_alive = Env.instant();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hangup.recv() => {
                // Beside the loop: a reload waits for runs that end, and the watchdog for nobody.
                let desk = Arc::clone(desk);
                tokio::spawn(async move { desk.hangup().await });
            }
            Some(change) = held.recv() => supervisor.held(&change),
            () = bell.rung() => {
                match tokio::task::block_in_place(|| supervisor.ring_due()) {
                    // The bell rang and the store answered: both are alive.
                    Ok(()) => if last_alive.elapsed() >= dog {
                        last_alive = Env.instant();
                        systemd::alive();
                        let now = desk.summary();
                        if now != status {
                            systemd::status(&now);
                            status = now;
                        }
                    },
                    Err(error) => tracing::error!(%error, "due times could not be read"),
                }
            }
        }
    }
}

async fn prune(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let (keep, now) = (shared.retention(), shared.env.now());
        if let Err(error) = tokio::task::block_in_place(|| shared.store.prune(&keep, now)) {
            tracing::warn!(%error, "old rows were not removed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
    }
}
