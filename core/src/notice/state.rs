use super::QuietHours;
use crate::domain::{Concern, Time};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Closed conditions that `list` still shows.
const PAST: usize = 20;
/// Told once, then forgotten by itself.
const KEEP_ONCE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The conditions of one connection; one JSON document of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// The connection's id, part of every letter's id.
    pub connection: String,
    /// How many conditions were ever opened.
    openings: u64,
    conditions: Vec<Condition>,
    past: Vec<Condition>,
}

/// One opening of a concern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Number of the opening, unique within the connection.
    pub number: u64,
    /// What.
    pub concern: Concern,
    /// In plain words; follows the newest `raise`.
    pub text: String,
    /// Since when.
    pub opened: Time,
    /// How far its telling has come.
    pub stage: Stage,
}

/// How far the telling of a condition has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Stage {
    /// Open, not told yet.
    Gathering,
    /// Ended before it was told; comes back as the same opening within the window.
    Lapsed {
        /// When it ended.
        at: Time,
    },
    /// Open and told.
    Told(Told),
    /// Ended after it was told; recovery is told after the window.
    Ending {
        /// What was told.
        told: Told,
        /// When it ended.
        at: Time,
    },
    /// Over.
    Closed {
        /// When it ended.
        at: Time,
        /// Whether a letter of recovery went.
        recovery: bool,
        /// When the problem letter was written, if one was.
        #[serde(default)]
        told: Option<Time>,
    },
}

impl Stage {
    /// When the problem letter was written, if one was.
    #[must_use]
    pub fn told(&self) -> Option<Time> {
        match self {
            Self::Gathering | Self::Lapsed { .. } => None,
            Self::Told(told) | Self::Ending { told, .. } => Some(told.at),
            Self::Closed { told, .. } => *told,
        }
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Time> {
        match self {
            Self::Gathering | Self::Told(_) => None,
            Self::Lapsed { at } | Self::Ending { at, .. } | Self::Closed { at, .. } => Some(*at),
        }
    }
}

/// What was told of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The problem letter.
    pub at: Time,
    /// The last letter, reminders included.
    pub last: Time,
    /// Reminders so far.
    pub reminders: u32,
}

/// By which rules it is told: `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Gathering window.
    pub gather: SignedDuration,
    /// Intervals between letters of one condition; the last repeats; none: no reminders.
    pub remind: Vec<SignedDuration>,
    /// When only needs-authorization is mailed.
    pub quiet_hours: Option<QuietHours>,
    /// More conditions than this in one letter make it a digest.
    pub digest_above: u32,
}

/// A letter to the connection's admins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Stable and unique (connection, openings, kind, number): becomes the Message-ID.
    pub id: String,
    /// What sort.
    pub kind: LetterKind,
    /// What it is about, oldest first; at least one.
    pub conditions: Vec<Condition>,
    /// Too many for one paragraph each.
    pub digest: bool,
}

/// Sorts of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "n", rename_all = "kebab-case")]
pub enum LetterKind {
    /// Something is wrong.
    Problem,
    /// It still is; the how-manieth.
    Reminder(u32),
    /// It is over.
    Recovery,
}

fn plus(t: Time, d: SignedDuration) -> Time {
    t.checked_add(d).unwrap_or(Time::MAX)
}

/// Told once: no reminder, no recovery.
fn once(concern: &Concern) -> bool {
    matches!(concern, Concern::FieldRemoved { .. } | Concern::Expiring { .. })
}

impl Notices {
    /// For a connection without conditions.
    pub fn new(connection: impl Into<String>) -> Self {
        Self { connection: connection.into(), ..Self::default() }
    }

    /// Conditions that are open now, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(|c| matches!(c.stage, Stage::Gathering | Stage::Told(_)))
    }

    /// Open ones and the last that ended, oldest first, for `crmsync notices`.
    pub fn list(&self) -> impl Iterator<Item = &Condition> {
        self.past.iter().chain(&self.conditions)
    }

    /// A concern holds. Raised while open it only takes the newer text.
    pub fn raise(&mut self, concern: &Concern, text: &str, now: Time, rules: &Rules) {
        self.tidy(now, rules);
        if let Some(c) = self.conditions.iter_mut().find(|c| c.concern == *concern) {
            text.clone_into(&mut c.text);
            c.stage = match c.stage.clone() {
                Stage::Lapsed { .. } => Stage::Gathering,
                Stage::Ending { told, .. } => Stage::Told(told),
                stage @ (Stage::Gathering | Stage::Told(_) | Stage::Closed { .. }) => stage,
            };
            return;
        }
        self.openings += 1;
        self.conditions.push(Condition {
            number: self.openings,
            concern: concern.clone(),
            text: text.to_owned(),
            opened: now,
            stage: Stage::Gathering,
        });
    }

    /// A concern holds no longer.
    pub fn clear(&mut self, concern: &Concern, now: Time) {
        if let Some(c) = self.conditions.iter_mut().find(|c| c.concern == *concern) {
            c.stage = match c.stage.clone() {
                Stage::Gathering => Stage::Lapsed { at: now },
                Stage::Told(told) => Stage::Ending { told, at: now },
                stage @ (Stage::Lapsed { .. } | Stage::Ending { .. } | Stage::Closed { .. }) => {
                    stage
                }
            };
        }
    }

    /// Everything ends without a word: the connection was put away.
    pub fn withdraw_all(&mut self, now: Time) {
        for mut c in std::mem::take(&mut self.conditions) {
            c.stage = Stage::Closed { at: now, recovery: false, told: c.stage.told() };
            self.bury(c);
        }
    }

    /// The letters that are due, marked as told in `self`: store both in one transaction.
    pub fn due(&mut self, now: Time, rules: &Rules) -> Vec<Letter> {
        self.tidy(now, rules);
        let quiet = rules.quiet_hours.as_ref().and_then(|q| q.end(now)).is_some();
        let may = |c: &Condition| !quiet || c.concern == Concern::NeedsAuthorization;
        let mut letters = Vec::new();
        letters.extend(self.problems(now, rules, may));
        letters.extend(self.reminders(now, rules, may));
        letters.extend(self.recoveries(now, rules, may));
        letters
    }

    /// When `due` should be asked again, if ever.
    pub fn next_wake(&self, now: Time, rules: &Rules) -> Option<Time> {
        self.conditions
            .iter()
            .filter_map(|c| {
                let at = match &c.stage {
                    Stage::Gathering => plus(c.opened, rules.gather),
                    Stage::Told(told) => reminder_at(c, *told, rules)?,
                    Stage::Ending { .. } if once(&c.concern) => return None,
                    Stage::Ending { at, .. } => plus(*at, rules.gather),
                    Stage::Lapsed { .. } | Stage::Closed { .. } => return None,
                }
                .max(now);
                if c.concern == Concern::NeedsAuthorization {
                    return Some(at);
                }
                Some(rules.quiet_hours.as_ref().and_then(|q| q.end(at)).unwrap_or(at))
            })
            .min()
    }

    /// The window begins with the first condition; what is open at its end goes into one letter.
    fn problems(
        &mut self,
        now: Time,
        rules: &Rules,
        may: impl Fn(&Condition) -> bool,
    ) -> Option<Letter> {
        let waits = |c: &Condition| matches!(c.stage, Stage::Gathering) && may(c);
        if !self.conditions.iter().any(|c| waits(c) && plus(c.opened, rules.gather) <= now) {
            return None;
        }
        let mut told = Vec::new();
        for c in self.conditions.iter_mut().filter(|c| waits(c)) {
            c.stage = Stage::Told(Told { at: now, last: now, reminders: 0 });
            told.push(c.clone());
        }
        self.letter(LetterKind::Problem, told, rules)
    }

    fn reminders(
        &mut self,
        now: Time,
        rules: &Rules,
        may: impl Fn(&Condition) -> bool,
    ) -> Option<Letter> {
        let mut told = Vec::new();
        let mut n = 0;
        for c in self.conditions.iter_mut().filter(|c| may(c)) {
            let Stage::Told(mut t) = c.stage.clone() else { continue };
            if reminder_at(c, t, rules).is_some_and(|at| at <= now) {
                t.reminders = t.reminders.saturating_add(1);
                t.last = now;
                n = n.max(t.reminders);
                c.stage = Stage::Told(t);
                told.push(c.clone());
            }
        }
        self.letter(LetterKind::Reminder(n), told, rules)
    }

    fn recoveries(
        &mut self,
        now: Time,
        rules: &Rules,
        may: impl Fn(&Condition) -> bool,
    ) -> Option<Letter> {
        let over = |c: &Condition| match &c.stage {
            Stage::Ending { at, .. } => {
                !once(&c.concern) && plus(*at, rules.gather) <= now && may(c)
            }
            Stage::Gathering | Stage::Lapsed { .. } | Stage::Told(_) | Stage::Closed { .. } => {
                false
            }
        };
        let (ended, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.conditions).into_iter().partition(over);
        self.conditions = kept;
        for c in &ended {
            if let Stage::Ending { at, told } = c.stage {
                let stage = Stage::Closed { at, recovery: true, told: Some(told.at) };
                self.bury(Condition { stage, ..c.clone() });
            }
        }
        self.letter(LetterKind::Recovery, ended, rules)
    }

    fn letter(
        &self,
        kind: LetterKind,
        conditions: Vec<Condition>,
        rules: &Rules,
    ) -> Option<Letter> {
        let first = conditions.first()?;
        let (word, n) = match kind {
            LetterKind::Problem => ("problem", 0),
            LetterKind::Reminder(n) => ("reminder", n),
            LetterKind::Recovery => ("recovery", 0),
        };
        // The opening's time is part of it: numbers begin again when a store is lost.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut feed = |text: &str| {
            for b in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        feed(&self.connection);
        for c in &conditions {
            feed(c.concern.word());
            feed(&format!("{} {}", c.number, c.opened.as_nanosecond()));
        }
        let id = format!("{}.{}.{word}-{n}.{hash:016x}", self.connection, first.number);
        let digest = conditions.len() > usize::try_from(rules.digest_above).unwrap_or(usize::MAX);
        Some(Letter { id, kind, conditions, digest })
    }

    /// Drops what ended untold and is out of its window, and told-once ones after a month.
    fn tidy(&mut self, now: Time, rules: &Rules) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.conditions).into_iter().partition(|c| match &c.stage {
                Stage::Lapsed { at } => plus(*at, rules.gather) <= now,
                Stage::Told(told) => once(&c.concern) && plus(told.at, KEEP_ONCE) <= now,
                Stage::Ending { .. } => once(&c.concern),
                Stage::Gathering | Stage::Closed { .. } => false,
            });
        self.conditions = kept;
        for mut c in gone {
            let at = c.stage.ended().unwrap_or(now);
            c.stage = Stage::Closed { at, recovery: false, told: c.stage.told() };
            self.bury(c);
        }
    }

    fn bury(&mut self, c: Condition) {
        if self.past.len() >= PAST {
            self.past.remove(0);
        }
        self.past.push(c);
    }
}

fn reminder_at(c: &Condition, told: Told, rules: &Rules) -> Option<Time> {
    if once(&c.concern) {
        return None;
    }
    let last = rules.remind.len().checked_sub(1)?;
    let n = usize::try_from(told.reminders).unwrap_or(usize::MAX).min(last);
    // A zero interval in hand-made rules must not become a storm.
    let wait = (*rules.remind.get(n)?).max(SignedDuration::from_mins(1));
    Some(plus(told.last, wait))
}
