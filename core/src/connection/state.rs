use crate::domain::{Problem, Reason, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a connection; one JSON document of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Time of the first event; the fallback of every "since".
    pub born: Option<Time>,
    /// What the configuration says.
    pub configured: Configured,
    /// What an admin said.
    pub pause: Pause,
    /// The right to call at all.
    pub grant: Grant,
    /// Counts grants: +1 with each. A request belongs to one generation.
    pub generation: u64,
    /// What the last runs met at the provider.
    pub trouble: Trouble,
    /// The replica cannot be written.
    pub replica: Option<HostTrouble>,
    /// No room.
    pub disk: Option<HostTrouble>,
    /// Sealed secrets without their key.
    pub key: Option<HostTrouble>,
    /// The quota domain's hold, as told by the meter.
    pub hold: QuotaHold,
    /// What is going on now.
    pub activity: Activity,
    /// A first load is not complete yet.
    pub loading: bool,
    /// Deletes held for approval, rows by object.
    pub deletes_held: BTreeMap<String, u64>,
    /// Objects whose copy differs from the source, with how.
    pub differs: BTreeMap<String, String>,
    /// Objects that fail on their own while the others go on.
    pub objects: BTreeMap<String, ObjectTrouble>,
    /// End of the last successful run.
    pub last_success: Option<Time>,
    /// The replica holds everything up to here.
    pub caught_up_to: Option<Time>,
    /// Failed runs since the last success.
    pub failures: u32,
    /// The independent alarm.
    pub alarm: Alarm,
    /// Somebody asked for a sync while one was running.
    pub again: Again,
}

/// What the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Configured {
    /// Shall run.
    #[default]
    Enabled,
    /// `enabled = false`.
    Disabled {
        /// Since when.
        since: Time,
    },
    /// No longer in the configuration; the grant stays sealed and unused.
    Retired {
        /// Since when.
        since: Time,
    },
}

/// What an admin said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Pause {
    /// Not paused.
    #[default]
    No,
    /// Paused; everything is kept.
    Paused {
        /// By whom.
        by: String,
        /// Since when.
        since: Time,
        /// Ends by itself then.
        until: Option<Time>,
        /// Why, in the admin's words.
        note: Option<String>,
    },
}

/// The right to call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Grant {
    /// None was ever given.
    #[default]
    Never,
    /// Usable.
    Good {
        /// Since when (granted, or proved again).
        since: Time,
    },
    /// Refused once; no call until one probe at `probe_at` has told.
    Suspect {
        /// The refusal.
        reason: Reason,
        /// The provider's text.
        text: String,
        /// When it was refused.
        since: Time,
        /// When it is tried once more.
        probe_at: Time,
    },
    /// Known dead: a request is open.
    Dead {
        /// Why.
        reason: Reason,
        /// The provider's text.
        text: String,
        /// Since when.
        since: Time,
    },
    /// A new grant of another account waits for an explicit yes; the old one is dead.
    Unconfirmed {
        /// Account pinned so far.
        expected: String,
        /// Account that answered.
        found: String,
        /// Since when.
        since: Time,
        /// What was wrong before: it holds again if the new account is rejected.
        before: Reason,
        /// The text that went with it.
        before_text: String,
    },
}

/// What the last runs met at the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Passing faults, nobody is told.
    Retrying {
        /// The last fault.
        what: String,
        /// The first one.
        since: Time,
        /// How many in a row.
        attempts: u32,
        /// Not before.
        next: Time,
    },
    /// Somebody must look; still tried, slowly.
    Problem {
        /// What.
        problem: Problem,
        /// Since when.
        since: Time,
        /// How many tries in a row failed.
        attempts: u32,
        /// Not before.
        next: Time,
    },
}

/// Trouble of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTrouble {
    /// The system's text.
    pub text: String,
    /// Since when.
    pub since: Time,
    /// Tries since.
    pub attempts: u32,
    /// The next try (a run) not before.
    pub next: Time,
}

/// One object that fails on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectTrouble {
    /// The fault's text.
    pub text: String,
    /// Since when.
    pub since: Time,
}

/// The hold of the quota domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum QuotaHold {
    /// Below the line.
    #[default]
    Free,
    /// At or above the line.
    Held {
        /// The provider's name of the limit.
        limit: String,
        /// Known use; 0 with `max` 0: the provider said only that it is used up.
        used: u64,
        /// The limit; 0: not known.
        max: u64,
        /// Since when.
        since: Time,
        /// When the meter looks again at the latest.
        next_probe: Option<Time>,
    },
}

/// What is going on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Activity {
    /// Nothing.
    #[default]
    Idle,
    /// `StartRun` was asked for, `RunStarted` has not come yet.
    Starting {
        /// Since when.
        since: Time,
        /// Started above the quota line by an explicit wish.
        despite_quota: bool,
    },
    /// A run.
    Running {
        /// Its id.
        id: String,
        /// Since when.
        since: Time,
        /// What it does.
        phase: Phase,
        /// Started above the quota line by an explicit wish.
        despite_quota: bool,
    },
}

/// What a run does, as `status` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reads increments.
    Syncing,
    /// First load.
    Loading,
    /// Increments after an outage.
    CatchingUp,
}

/// Whether a run follows the one that is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// By the schedule.
    #[default]
    No,
    /// At once.
    Yes,
    /// At once, above the quota line if need be.
    DespiteQuota,
}

/// "No success for N intervals", whatever the cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Alarm {
    /// Success is not expected (no grant, paused, disabled, or the cause is told already).
    #[default]
    Off,
    /// Counting from here.
    Watching {
        /// Last success, or when it became possible.
        from: Time,
    },
    /// Told.
    Raised {
        /// When.
        since: Time,
        /// What it counted from.
        from: Time,
    },
}

/// What decides the steps of one connection; made from its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The credential is replaced at each use: a refusal is final at once.
    pub rotates: bool,
    /// Usual distance of two runs.
    pub interval: SignedDuration,
    /// Intervals without success that raise the alarm (never before `alarm_least`).
    pub alarm_after: u32,
    /// The alarm's least time, 1 h.
    pub alarm_least: SignedDuration,
    /// Seed of the jitter, e.g. `schedule::seed(name)`.
    pub seed: u64,
    /// Between first refusal and the one probe, 60 s.
    pub probe_after: SignedDuration,
    /// First wait after a passing fault, 30 s.
    pub backoff_least: SignedDuration,
    /// Longest wait after a passing fault, 1 h.
    pub backoff_most: SignedDuration,
    /// Distance of tries while somebody must look, 1 h.
    pub slow_retry: SignedDuration,
}

impl Rules {
    /// The documented numbers.
    pub fn new(rotates: bool, interval: SignedDuration, alarm_after: u32, seed: u64) -> Self {
        Self {
            rotates,
            interval,
            alarm_after,
            alarm_least: SignedDuration::from_hours(1),
            seed,
            probe_after: SignedDuration::from_secs(60),
            backoff_least: SignedDuration::from_secs(30),
            backoff_most: SignedDuration::from_hours(1),
            slow_retry: SignedDuration::from_hours(1),
        }
    }

    /// How long without success until the alarm.
    pub fn alarm_time(&self) -> SignedDuration {
        let n = i32::try_from(self.alarm_after.max(1)).unwrap_or(i32::MAX);
        self.interval.checked_mul(n).unwrap_or(SignedDuration::MAX).max(self.alarm_least)
    }
}

impl Connection {
    /// Whether a run is going on or about to.
    pub fn busy(&self) -> bool {
        !matches!(self.activity, Activity::Idle)
    }

    /// Whether the grant forbids every call.
    pub fn latched(&self) -> bool {
        !matches!(self.grant, Grant::Good { .. })
    }

    /// The reason why somebody must authorize, with the provider's text and since when; `None`
    /// with a good grant.
    pub fn authorization(&self) -> Option<(Reason, &str, Option<Time>)> {
        match &self.grant {
            Grant::Good { .. } => None,
            Grant::Never => Some((Reason::NeverAuthorized, "", self.born)),
            Grant::Suspect { reason, text, since, .. } | Grant::Dead { reason, text, since } => {
                Some((reason.clone(), text, Some(*since)))
            }
            Grant::Unconfirmed { expected, found, since, before_text, .. } => Some((
                Reason::WrongAccount { expected: expected.clone(), found: found.clone() },
                before_text,
                Some(*since),
            )),
        }
    }
}
