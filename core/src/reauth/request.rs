use crate::domain::{Identity, Reason, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How long a started attempt may wait for its redirect.
pub const ATTEMPT_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// A request for a new grant; one document of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// For people and commands; given by the shell, unique.
    pub id: String,
    /// The connection's id in the store.
    pub connection: String,
    /// Generation of the grant that is to be replaced. With `connection` the request's key.
    pub generation: u64,
    /// Why.
    pub reason: Reason,
    /// The provider's text.
    pub text: String,
    /// When it was opened.
    pub opened: Time,
    /// How many attempts were started.
    pub attempts: u32,
    /// Why the last attempt did not help, for people.
    pub last_failure: Option<String>,
    /// Where it stands.
    pub state: State,
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// Nobody has begun.
    Open,
    /// Somebody is at it.
    Attempting {
        /// The attempt.
        attempt: Attempt,
    },
    /// Another account was proved; its grant is sealed aside until somebody says yes or no.
    AwaitingConfirmation {
        /// Who answered.
        candidate: Box<Identity>,
        /// Log-in name pinned so far.
        expected: String,
        /// Since when.
        since: Time,
        /// Who did it.
        by: String,
    },
    /// Over.
    Closed {
        /// How.
        how: How,
        /// When.
        when: Time,
    },
}

/// One try to get a grant. Holds no secret: of `state` only a hash, the verifier is in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub started: Time,
    /// Through which door.
    pub door: Door,
    /// By whom.
    pub by: String,
    /// Hash of the `state` parameter; empty where there is none (password).
    pub state_hash: String,
    /// The redirect address sent, compared byte by byte.
    pub redirect: String,
    /// `--as-other-account`: another account of the same org is wanted.
    pub as_other_account: bool,
}

/// Which way somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// `crmsync reauthorize` with its listener.
    Listener,
    /// `crmsync reauthorize --paste`.
    Paste,
    /// A password or secret was given.
    Secret,
    /// The link of a mail.
    Link,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum How {
    /// A new grant was proved and sealed.
    Granted {
        /// By whom.
        by: String,
    },
    /// The old grant works again.
    WorksAgain,
    /// The connection was disabled, retired or forgotten.
    PutAway,
}

/// Why a transition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is over.
    #[error("request {id} is closed already; hint: crmsync status shows the open one")]
    Closed {
        /// Its id.
        id: String,
    },
    /// The redirect belongs to no living attempt.
    #[error(
        "the answer does not belong to the attempt in progress (or came after {minutes} minutes); hint: start again with crmsync reauthorize"
    )]
    StrangeState {
        /// How long an attempt lives.
        minutes: i64,
    },
    /// Nothing waits for confirmation.
    #[error("request {id} waits for no confirmation; hint: crmsync status shows what it waits for")]
    NothingToConfirm {
        /// Its id.
        id: String,
    },
}

/// Opens a request, unless `existing` has the connection's one: the same key opens once (reason
/// and text follow the newer fact while nobody is at it). A request of an older generation, or
/// one that is closed, gives way to a new one under `id`.
/// Returns the request to store, and the older one, closed, if it was open.
pub fn open(
    existing: Option<&Request>,
    id: &str,
    connection: &str,
    generation: u64,
    reason: &Reason,
    text: &str,
    now: Time,
) -> (Request, Option<Request>) {
    if let Some(old) = existing
        && old.is_open()
        && old.connection == connection
        && old.generation == generation
    {
        let mut kept = old.clone();
        // While a confirmation is awaited the reason says so; what was wrong before stays told.
        if !matches!(reason, Reason::WrongAccount { .. }) {
            kept.reason = reason.clone();
            text.clone_into(&mut kept.text);
        }
        return (kept, None);
    }
    let new = Request {
        id: id.to_owned(),
        connection: connection.to_owned(),
        generation,
        reason: reason.clone(),
        text: text.to_owned(),
        opened: now,
        attempts: 0,
        last_failure: None,
        state: State::Open,
    };
    let superseded = existing.filter(|old| old.is_open()).map(|old| {
        let mut old = old.clone();
        old.state = State::Closed { how: How::PutAway, when: now };
        old
    });
    (new, superseded)
}

impl Request {
    /// Whether it still waits for a grant.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    fn must_be_open(&self) -> Result<(), RequestError> {
        if self.is_open() { Ok(()) } else { Err(RequestError::Closed { id: self.id.clone() }) }
    }

    /// Somebody begins; an older attempt or a waiting candidate is void from now on (the shell
    /// drops a candidate's sealed grant).
    pub fn begin(&self, attempt: Attempt) -> Result<Self, RequestError> {
        self.must_be_open()?;
        let attempts = self.attempts.saturating_add(1);
        Ok(Self { attempts, state: State::Attempting { attempt }, ..self.clone() })
    }

    /// The attempt that a redirect with this hash of `state` belongs to; refused when it is
    /// another one, or too old.
    pub fn attempt_for(&self, state_hash: &str, now: Time) -> Result<&Attempt, RequestError> {
        self.must_be_open()?;
        match &self.state {
            State::Attempting { attempt }
                if attempt.state_hash == state_hash
                    && now.duration_since(attempt.started) <= ATTEMPT_LIFE =>
            {
                Ok(attempt)
            }
            State::Attempting { .. }
            | State::Open
            | State::AwaitingConfirmation { .. }
            | State::Closed { .. } => {
                Err(RequestError::StrangeState { minutes: ATTEMPT_LIFE.as_mins() })
            }
        }
    }

    /// The attempt did not help (refused, wrong org, permissions missing): open as before.
    pub fn failed(&self, why: &str) -> Result<Self, RequestError> {
        self.must_be_open()?;
        Ok(Self { last_failure: Some(why.to_owned()), state: State::Open, ..self.clone() })
    }

    /// Another account was proved.
    pub fn candidate(
        &self,
        found: Identity,
        expected: &str,
        by: &str,
        now: Time,
    ) -> Result<Self, RequestError> {
        self.must_be_open()?;
        let (expected, by) = (expected.to_owned(), by.to_owned());
        let candidate = Box::new(found);
        let state = State::AwaitingConfirmation { candidate, expected, since: now, by };
        Ok(Self { state, ..self.clone() })
    }

    /// `reauthorize confirm`: the candidate is the account from now on; the request is closed.
    pub fn confirm(&self, by: &str, now: Time) -> Result<(Self, Identity), RequestError> {
        self.must_be_open()?;
        match &self.state {
            State::AwaitingConfirmation { candidate, .. } => {
                Ok((self.close(How::Granted { by: by.to_owned() }, now), (**candidate).clone()))
            }
            State::Open | State::Attempting { .. } | State::Closed { .. } => {
                Err(RequestError::NothingToConfirm { id: self.id.clone() })
            }
        }
    }

    /// `reauthorize reject`: open as before.
    pub fn reject(&self, by: &str) -> Result<Self, RequestError> {
        self.must_be_open()?;
        match &self.state {
            State::AwaitingConfirmation { candidate, .. } => {
                self.failed(&format!("{} was rejected by {by}", candidate.username))
            }
            State::Open | State::Attempting { .. } | State::Closed { .. } => {
                Err(RequestError::NothingToConfirm { id: self.id.clone() })
            }
        }
    }

    /// Closes it; closing a closed one changes nothing.
    #[must_use]
    pub fn close(&self, how: How, now: Time) -> Self {
        if !self.is_open() {
            return self.clone();
        }
        Self { state: State::Closed { how, when: now }, ..self.clone() }
    }
}
