use crmsync_core::domain::{Problem, Reason, Time};

/// All that a mail is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Identifies the letter for ever: left side of its Message-ID (letters, digits, `.`, `-`).
    /// The same change of state and receiver must come with the same id.
    pub id: String,
    /// Right side of the Message-ID: `Store::instance_hex`.
    pub instance: String,
    /// When it is written: its `Date`.
    pub at: Time,
    /// Sender as configured: `crmsync <crmsync@example.org>`.
    pub from: String,
    /// Exactly one receiver.
    pub to: String,
    /// Name of this host, for people.
    pub host: String,
    /// Message-ID of the mail that opened the matter to the same receiver: reminders and the
    /// recovery stand in its thread.
    pub thread: Option<String>,
    /// What it says.
    pub kind: Kind,
}

/// The kinds of mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong, and somebody should act.
    Problem {
        /// Where.
        facts: Facts,
        /// What.
        what: Condition,
        /// The provider's own words, quoted.
        said: Option<String>,
    },
    /// It is still wrong.
    Reminder {
        /// Where.
        facts: Facts,
        /// What.
        what: Condition,
        /// 1 for the first reminder.
        number: u32,
        /// When the next one comes, if one does.
        next: Option<Time>,
    },
    /// It is over.
    Recovery {
        /// Where; `since` is when the trouble began.
        facts: Facts,
        /// What it had been.
        was: Condition,
        /// What ended it, e.g. `reauthorized by root on the server`, `by itself`.
        how: String,
    },
    /// Held at the line of the quota.
    QuotaPause {
        /// Where.
        facts: Facts,
        /// How much.
        quota: QuotaFacts,
    },
    /// Going on below the line.
    QuotaResume {
        /// Where; `since` is when it was held.
        facts: Facts,
        /// How much.
        quota: QuotaFacts,
    },
    /// `crmsync notify test`.
    Test {
        /// Who asked, e.g. `root`.
        by: String,
    },
    /// Several at once.
    Digest {
        /// Each with its own next step.
        entries: Vec<Entry>,
        /// Label of a provider most of whose connections failed together.
        outage: Option<String>,
    },
}

/// One line of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub facts: Facts,
    /// What.
    pub what: Condition,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A new authorization cures it.
    NeedsAuthorization(Reason),
    /// A new authorization does not.
    Problem(Problem),
    /// Worth knowing while it goes on: deletes held, no success for long, a field is gone.
    Notice {
        /// A few words: `deletes held for approval`.
        title: String,
        /// What happened, in plain words.
        text: String,
        /// What to do, a step each.
        steps: Vec<String>,
    },
}

/// Which connection, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Connection name.
    pub name: String,
    /// Provider's id: `salesforce`.
    pub provider: String,
    /// Provider's label: `Salesforce`.
    pub label: String,
    /// Name and id of the org, as far as known.
    pub org: Option<String>,
    /// Log-in name of the account, as far as known.
    pub account: Option<String>,
    /// Since when.
    pub since: Time,
    /// Id of the open reauthorization request, for `reauthorize confirm|reject ID`.
    pub request: Option<String>,
    /// Objects concerned: those that are not being synced.
    pub objects: Vec<String>,
    /// The copy is complete up to here.
    pub caught_up_to: Option<Time>,
}

/// Use of the limit that holds a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaFacts {
    /// The provider's name of the limit.
    pub limit: String,
    /// Used by everybody.
    pub used: u64,
    /// Of them by crmsync.
    pub own: u64,
    /// The limit.
    pub max: u64,
    /// Percent at which syncing stops.
    pub pause_at: u8,
    /// Percent under which it goes on.
    pub resume_below: u8,
    /// When that is expected.
    pub expected: Option<Time>,
    /// Names of the other connections that share the limit and are held with this one.
    pub also: Vec<String>,
}
