use super::Line;
use super::bounds::Reached;
use crate::domain::{Time, Usage};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The resume probe goes at most this often.
pub const PROBE_EVERY: SignedDuration = SignedDuration::from_mins(15);
/// How many calls a stored document vouches for in advance, far from the line.
const AHEAD: u64 = 32;
/// Unanswered calls are kept apart up to this many groups; more are joined (the later mark).
const GROUPS: usize = 64;

/// The meter of one quota domain; one JSON document of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meter {
    /// Limits by the provider's name.
    pub limits: BTreeMap<String, LimitState>,
    /// Calls that have left and are not settled, by number.
    open: BTreeMap<u64, Open>,
    /// Name of the limit that every call costs; none: all of them.
    main: Option<String>,
    /// Orders starts and answers.
    tick: u64,
    /// Number of the last call.
    number: u64,
    /// Cost of all own calls ever started.
    spent: u64,
    /// Up to where the stored document vouches: after a crash `reserved - spent` may have left.
    reserved: u64,
    /// Own cost by hour since the epoch, the last 25.
    own_hours: VecDeque<(i64, u64)>,
    /// Calls above the line by name, since the hold began.
    exempt: BTreeMap<Exempt, u64>,
    /// Whether everybody waits.
    hold: Hold,
    /// Dearest call that the line refused: it decides when the hold begins and ends.
    refused: u64,
    /// When the last resume probe left.
    probed: Option<Time>,
}

/// What is known of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// Last known use by everybody. May exceed `max`.
    pub used: u64,
    /// The limit as told, or as configured where nothing was told.
    pub max: u64,
    /// When it resets, where told.
    pub resets: Option<Time>,
    /// When that was told.
    pub learned: Time,
    /// Told by the provider; else we count ourselves against a configured limit, by UTC day.
    pub told: bool,
    /// Mark of the answer that set `used`.
    mark: u64,
    /// Calls that ended without telling, by mark: they count until a later call tells.
    pub(super) unseen: VecDeque<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    cost: u64,
    started: u64,
    told: bool,
}

/// Whether everybody waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Hold {
    /// No.
    #[default]
    Free,
    /// Until every limit is below `resume_below`.
    Held {
        /// The limit that reached the line; `own share of X` where it was our own part.
        limit: String,
        /// Known use (own use for the own share) when last looked.
        used: u64,
        /// The limit.
        max: u64,
        /// Since when.
        since: Time,
        /// The next resume probe not before.
        next_probe: Time,
    },
}

/// May the call leave?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Yes, under this number. `save`: store the meter first, it vouches for no more calls.
    Go {
        /// For `told`, `settle`, `lost`.
        number: u64,
        /// Store the meter before the call leaves.
        save: bool,
    },
    /// Ask again when an open call of the domain has ended (near the line, or before the first
    /// answer, one at a time).
    Wait,
    /// The line is reached.
    Held {
        /// Which limit.
        limit: String,
        /// Known use.
        used: u64,
        /// The limit.
        max: u64,
    },
}

/// Calls that may go above the line, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exempt {
    /// At most one per [`PROBE_EVERY`].
    ResumeProbe,
    /// `crmsync test`.
    Test,
    /// Checks of a reauthorization.
    Reauthorization,
    /// `sync --despite-quota`.
    DespiteQuota,
}

/// What a meter of before the domain was known has learned; see [`Meter::hand_over`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    limits: Vec<Usage>,
    own: u64,
    exempt: BTreeMap<Exempt, u64>,
}

/// A hold began or ended: every connection of the domain is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Began.
    Held {
        /// Which limit.
        limit: String,
        /// Known use.
        used: u64,
        /// The limit.
        max: u64,
        /// The next resume probe.
        next_probe: Time,
    },
    /// Ended.
    Freed,
}

impl Meter {
    /// Asks for a scheduled call.
    pub fn start(&mut self, cost: u32, line: &Line, now: Time) -> Admission {
        self.prepare(line, now);
        let cost = u64::from(cost);
        if let Hold::Held { limit, used, max, .. } = &self.hold {
            return Admission::Held { limit: limit.clone(), used: *used, max: *max };
        }
        if let Some(Reached(limit, used, max)) = self.reached(line, now, cost.saturating_sub(1)) {
            self.refused = self.refused.max(cost);
            return Admission::Held { limit, used, max };
        }
        let open = self.open_cost();
        let near = self.near(line, now, open.saturating_add(cost));
        if open > 0 && (near || self.unknown(line)) {
            return Admission::Wait;
        }
        if self.reached(line, now, open.saturating_add(cost).saturating_sub(1)).is_some() {
            return Admission::Wait;
        }
        self.go(cost, near, now)
    }

    /// A call that may go above the line; counted, and shown by name. `None`: a resume probe that
    /// comes too early.
    pub fn exempt(&mut self, cost: u32, why: Exempt, now: Time) -> Option<Admission> {
        if why == Exempt::ResumeProbe {
            if !self.probe_due(now) {
                return None;
            }
            self.probed = Some(now);
            if let Hold::Held { next_probe, .. } = &mut self.hold {
                *next_probe = plus(now, PROBE_EVERY);
            }
        }
        *self.exempt.entry(why).or_default() += u64::from(cost);
        // Near the line by definition: no block in advance.
        Some(self.go(u64::from(cost), true, now))
    }

    /// Whether a resume probe may leave now.
    pub fn probe_due(&self, now: Time) -> bool {
        let due = match &self.hold {
            Hold::Free => false,
            Hold::Held { next_probe, .. } => *next_probe <= now,
        };
        due && self.probed.is_none_or(|at| plus(at, PROBE_EVERY) <= now)
    }

    /// An answer tells. Unknown numbers (settled or of before a crash) may only raise the use.
    pub fn told(&mut self, number: u64, usage: &[Usage], now: Time) {
        self.tick += 1;
        let tick = self.tick;
        let started = self.open.get(&number).map_or(0, |o| o.started);
        for u in usage.iter().take(1000) {
            let state = self.limits.entry(u.limit.clone()).or_insert_with(|| LimitState {
                used: 0,
                max: u.max,
                resets: None,
                learned: now,
                told: true,
                mark: 0,
                unseen: VecDeque::new(),
            });
            // Our own count gives way to the provider's.
            let first = !state.told || state.mark == 0;
            if first || started > state.mark || u.used > state.used {
                state.used =
                    if first || started > state.mark { u.used } else { u.used.max(state.used) };
                state.mark = tick;
                state.max = u.max;
                state.resets = u.resets;
                state.learned = now;
                state.told = true;
            }
            state.unseen.retain(|(mark, _)| *mark > started);
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.told |= !usage.is_empty();
        }
    }

    /// The call has ended. One that told nothing counts until a later one tells.
    pub fn settle(&mut self, number: u64) {
        self.tick += 1;
        if let Some(open) = self.open.remove(&number)
            && !open.told
        {
            self.unseen(open.cost);
        }
    }

    /// No answer came: it counts until a later one tells.
    pub fn lost(&mut self, number: u64) {
        self.settle(number);
    }

    /// The provider refused because the limit is used up, whatever we believed.
    pub fn exhausted(&mut self, limit: &str, resets: Option<Time>, now: Time) {
        self.tick += 1;
        let tick = self.tick;
        let state = self.limits.entry(limit.to_owned()).or_insert_with(|| LimitState {
            used: 1,
            max: 1,
            resets,
            learned: now,
            told: true,
            mark: tick,
            unseen: VecDeque::new(),
        });
        state.used = state.used.max(state.max);
        state.mark = tick;
        state.learned = now;
        if resets.is_some() {
            state.resets = resets;
        }
    }

    /// After a restart: calls that were open, and those that a stored document vouched for in
    /// advance, count until an answer says otherwise.
    pub fn recovered_after_crash(&mut self, now: Time) {
        let open = self.open_cost();
        self.open.clear();
        self.tick += 1;
        let ahead = self.reserved.saturating_sub(self.spent);
        self.spent = self.spent.max(self.reserved);
        self.own(ahead, now);
        let lost = open.saturating_add(ahead);
        if lost > 0 {
            self.unseen(lost);
        }
    }

    /// Before an orderly end, with no call open: nothing is vouched for in advance any more.
    pub fn close(&mut self) {
        self.reserved = self.spent;
    }

    /// Gives away what was learned and spent, so that it counts once: the calls of a first
    /// authorization are made before anybody knows whose limit they cost.
    pub fn hand_over(&mut self, now: Time) -> Learned {
        let told = self.limits.iter().filter(|(_, state)| state.told);
        let limits = told
            .map(|(limit, s)| {
                let (limit, used) = (limit.clone(), s.known());
                Usage { limit, used, max: s.max, resets: s.resets }
            })
            .collect();
        let own = self.own_day(now);
        self.own_hours.clear();
        Learned { limits, own, exempt: std::mem::take(&mut self.exempt) }
    }

    /// Takes over what the other meter knew. Its answers may be older than ours: they only raise.
    pub fn take_over(&mut self, learned: Learned, now: Time) {
        self.told(0, &learned.limits, now);
        if learned.own > 0 {
            self.spent = self.spent.saturating_add(learned.own);
            self.reserved = self.reserved.max(self.spent);
            self.own(learned.own, now);
        }
        for (why, calls) in learned.exempt {
            *self.exempt.entry(why).or_default() += calls;
        }
    }

    /// Looks whether the hold begins or ends; call it after every `told`, `settle`, changed
    /// setting, and at `next_look`.
    pub fn judge(&mut self, line: &Line, now: Time) -> Option<Change> {
        self.prepare(line, now);
        let more = self.refused.saturating_sub(1);
        match self.hold.clone() {
            Hold::Free => {
                let Reached(limit, used, max) = self.reached(line, now, more)?;
                let next_probe = plus(now, PROBE_EVERY);
                self.exempt.clear();
                self.hold = Hold::Held { limit: limit.clone(), used, max, since: now, next_probe };
                Some(Change::Held { limit, used, max, next_probe })
            }
            Hold::Held { since, next_probe, .. } => {
                if let Some(Reached(limit, used, max)) = self.above_resume(line, now, more) {
                    self.hold = Hold::Held { limit, used, max, since, next_probe };
                    return None;
                }
                self.hold = Hold::Free;
                self.refused = 0;
                Some(Change::Freed)
            }
        }
    }

    /// When `judge` should be asked at the latest, if nothing else happens.
    pub fn next_look(&self) -> Option<Time> {
        match &self.hold {
            Hold::Free => None,
            Hold::Held { limit, next_probe, .. } => {
                let resets = self.limits.get(limit).and_then(|s| s.resets);
                Some(resets.map_or(*next_probe, |at| at.min(*next_probe)))
            }
        }
    }

    /// Whether everybody waits.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Cost of the calls that have left and are not settled.
    pub fn open_cost(&self) -> u64 {
        self.open.values().fold(0, |sum, o| sum.saturating_add(o.cost))
    }

    /// Own cost in the last 24 hours (by whole hours, the current one included).
    pub fn own_day(&self, now: Time) -> u64 {
        let first = hour(now) - 23;
        self.own_hours.iter().filter(|(h, _)| *h >= first).map(|(_, n)| n).sum()
    }

    /// Own calls ever started, for plots.
    pub fn own_total(&self) -> u64 {
        self.spent
    }

    /// Calls above the line by name, since the hold began.
    pub fn exempt_calls(&self) -> &BTreeMap<Exempt, u64> {
        &self.exempt
    }

    fn go(&mut self, cost: u64, near: bool, now: Time) -> Admission {
        self.tick += 1;
        self.number += 1;
        self.spent = self.spent.saturating_add(cost);
        self.own(cost, now);
        self.open.insert(self.number, Open { cost, started: self.tick, told: false });
        let save = self.spent > self.reserved;
        if save {
            self.reserved = self.spent.saturating_add(if near { 0 } else { AHEAD });
        }
        Admission::Go { number: self.number, save }
    }

    /// Makes the configured limit known and starts anew what has reset.
    fn prepare(&mut self, line: &Line, now: Time) {
        self.main = line.main_name().map(str::to_owned);
        if let (Some(name), Some(max)) = (line.main_name(), line.limit) {
            let state = self.limits.entry(name.to_owned()).or_insert_with(|| LimitState {
                used: 0,
                max,
                resets: Some(next_day(now)),
                learned: now,
                told: false,
                mark: 0,
                unseen: VecDeque::new(),
            });
            if !state.told {
                state.max = max;
            }
        }
        let tick = self.tick;
        for state in self.limits.values_mut() {
            if state.resets.is_some_and(|at| at <= now) {
                // What is open now counts in the new window.
                state.used = 0;
                state.mark = tick;
                state.unseen.clear();
                state.resets = (!state.told).then(|| next_day(now));
                state.learned = now;
            }
        }
    }

    fn unseen(&mut self, cost: u64) {
        let tick = self.tick;
        let main = self.main.as_deref();
        let charged = self.limits.iter_mut().filter(|(name, _)| main.is_none_or(|m| m == *name));
        for (_, state) in charged {
            if !state.told {
                state.used = state.used.saturating_add(cost);
                continue;
            }
            if state.unseen.len() >= GROUPS
                && let Some((mark, last)) = state.unseen.back_mut()
            {
                *mark = tick;
                *last = last.saturating_add(cost);
            } else {
                state.unseen.push_back((tick, cost));
            }
        }
    }

    fn own(&mut self, cost: u64, now: Time) {
        let this = hour(now);
        match self.own_hours.back_mut() {
            Some((h, n)) if *h >= this => *n = n.saturating_add(cost),
            _ => self.own_hours.push_back((this, cost)),
        }
        while self.own_hours.len() > 25 {
            self.own_hours.pop_front();
        }
    }
}

fn plus(t: Time, d: SignedDuration) -> Time {
    t.checked_add(d).unwrap_or(Time::MAX)
}

fn hour(t: Time) -> i64 {
    t.as_second().div_euclid(3600)
}

fn next_day(now: Time) -> Time {
    let next = (now.as_second().div_euclid(86_400) + 1) * 86_400;
    Time::from_second(next).unwrap_or(Time::MAX)
}
