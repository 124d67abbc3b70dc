use super::Phase;
use crate::domain::{Concern, Fault, Reason, Time};
use std::collections::BTreeMap;

/// What can happen to a connection. Bells carry no input: the step looks at the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The configuration names it.
    Configured {
        /// `enabled`.
        enabled: bool,
    },
    /// What its runs are made with has changed (objects, address, secrets …): what failed before
    /// may work now, and a run under way is followed by another.
    SettingsChanged,
    /// The configuration no longer names it.
    Retired,
    /// The daemon has started; no run of before is alive.
    Started,
    /// The daemon stops.
    Shutdown,
    /// The bell: schedule, `WakeAt`, or anything else that says "look".
    Due,
    /// `crmsync sync`.
    SyncRequested {
        /// By whom.
        by: String,
        /// `--despite-quota`.
        despite_quota: bool,
    },
    /// A run begins (answer to `StartRun`).
    RunStarted {
        /// Its id.
        id: String,
        /// What it does first.
        phase: Phase,
    },
    /// The run got on (a batch is committed); seldom is enough, e.g. once a minute. Keeps the
    /// alarm quiet during a first load that takes hours.
    Progress,
    /// The run does something else now.
    Phase(Phase),
    /// The run is over.
    RunFinished {
        /// Its id, as in `RunStarted`.
        id: String,
        /// How it went.
        result: RunResult,
    },
    /// `crmsync pause`.
    Paused {
        /// By whom.
        by: String,
        /// Ends by itself then.
        until: Option<Time>,
        /// Why.
        note: Option<String>,
    },
    /// `crmsync resume`.
    Resumed {
        /// By whom.
        by: String,
    },
    /// The pause's end may have come (`Due` finds it too).
    PauseOver,
    /// The meter reached the line.
    QuotaHeld {
        /// Which limit.
        limit: String,
        /// Known use.
        used: u64,
        /// The limit.
        max: u64,
        /// When the meter looks again.
        next_probe: Option<Time>,
    },
    /// The meter is below `resume_below` again.
    QuotaFree,
    /// A new grant is proved (org, account, permissions) and sealed.
    Granted {
        /// By whom, through which door.
        by: String,
    },
    /// A new grant of another account was proved and waits for confirmation.
    GrantUnconfirmed {
        /// Account pinned.
        expected: String,
        /// Account found.
        found: String,
    },
    /// The waiting account was rejected (or a new attempt made it void).
    UnconfirmedRejected {
        /// By whom.
        by: String,
    },
    /// A documented refusal of the credential, from whatever call.
    Rejected {
        /// Why.
        reason: Reason,
        /// The provider's text, without secrets.
        text: String,
    },
    /// `crmsync disconnect`.
    Disconnected {
        /// By whom.
        by: String,
    },
    /// A refresh or an authenticated probe (identity and permissions as pinned) came back.
    ProbeResult(Result<(), Fault>),
    /// After a crash within a refresh the old token was tried once and refused.
    RefreshLost {
        /// The provider's text.
        text: String,
    },
    /// The replica cannot be opened or written.
    ReplicaFailed {
        /// The database's text.
        text: String,
    },
    /// It can again.
    ReplicaBack,
    /// No room.
    DiskFull {
        /// Folder and the system's text.
        text: String,
    },
    /// Room again.
    DiskBack,
    /// Sealed secrets without their key.
    KeyMissing {
        /// Where it was looked for.
        text: String,
    },
    /// The key is there.
    KeyBack,
    /// The guard held deletes of an object.
    DeletesHeld {
        /// Object.
        object: String,
        /// Rows.
        count: u64,
    },
    /// `crmsync approve`.
    DeletesApproved {
        /// By whom.
        by: String,
    },
    /// A hold of one object went away by itself (the rows are there again).
    DeletesGone {
        /// Object.
        object: String,
    },
    /// Counts differ from the source.
    Differs {
        /// Object.
        object: String,
        /// How, for people.
        text: String,
    },
    /// They agree again.
    Agrees {
        /// Object.
        object: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunResult {
    /// Through.
    Done {
        /// The connection's time (oldest of its objects), if known.
        caught_up_to: Option<Time>,
        /// A first load is not complete yet.
        loading: bool,
        /// Objects that failed on their own (`Denied`, `SchemaMoved`, ...), all of them.
        objects: BTreeMap<String, Fault>,
    },
    /// Stopped at a checkpoint; neither success nor failure.
    Stopped(StopWhy),
    /// Nothing of it worked, or it broke off.
    Failed(Fault),
}

/// Why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWhy {
    /// The line.
    Quota,
    /// An admin.
    Pause,
    /// The configuration: disabled, retired or changed.
    Configuration,
    /// The grant is no longer good.
    Authorization,
    /// Key, disk or replica.
    Host,
    /// The daemon stops.
    Shutdown,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// A new grant was proved.
    Granted,
    /// The old one turned out to work.
    WorksAgain,
    /// The connection was disabled.
    Disabled,
    /// The connection left the configuration.
    Retired,
}

/// What the shell is to do. Carried out at least once: a second time must be harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start a run; answer with `RunStarted`, then `RunFinished`.
    StartRun {
        /// May go above the quota line.
        despite_quota: bool,
    },
    /// Stop the run at its next checkpoint.
    StopRun(StopWhy),
    /// Try the credential once at that time, then `ProbeResult`.
    ProbeGrantAt(Time),
    /// Open the reauthorization request of this generation, unless it is open.
    OpenRequest {
        /// Generation of the grant that died.
        generation: u64,
        /// Why.
        reason: Reason,
        /// The provider's text.
        text: String,
    },
    /// Close the open request, if one.
    CloseRequest(Closed),
    /// Tell somebody, by the rules of `notice`.
    Raise {
        /// What.
        concern: Concern,
        /// In plain words.
        text: String,
    },
    /// It is over.
    Clear(Concern),
    /// All conditions of the connection end without a word: it was put away, not cured.
    WithdrawAll,
    /// One line for the audit log.
    Audit {
        /// By whom; `crmsync` for itself.
        by: String,
        /// What.
        text: String,
    },
    /// The asker of `SyncRequested` is told no.
    Refuse(Refusal),
    /// Ring `Due` at that time at the latest. The last one wins.
    WakeAt(Time),
}

/// Why a wished-for run does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// In the configuration.
    #[error("it is disabled in the configuration")]
    Disabled,
    /// By an admin.
    #[error("it is paused by {by}")]
    Paused {
        /// By whom.
        by: String,
    },
    /// No good grant.
    #[error("it needs authorization: {0}")]
    NeedsAuthorization(Reason),
    /// The line.
    #[error("the quota line is reached ({limit} {used}/{max})")]
    QuotaHeld {
        /// Which limit.
        limit: String,
        /// Known use.
        used: u64,
        /// The limit.
        max: u64,
    },
    /// No master key.
    #[error("the master key is missing")]
    KeyMissing,
}

impl Refusal {
    /// What to type next.
    pub fn hint(&self, name: &str) -> String {
        match self {
            Self::Disabled => {
                format!("set `enabled = true` in [connections.{name}], then `crmsync reload`")
            }
            Self::Paused { .. } => format!("crmsync resume {name}"),
            Self::NeedsAuthorization(_) => format!("crmsync reauthorize {name}"),
            Self::QuotaHeld { .. } => format!("crmsync sync {name} --despite-quota"),
            Self::KeyMissing => "crmsync key status".to_owned(),
        }
    }
}
