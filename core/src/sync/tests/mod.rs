//! The law of replication, against a model of a source: whatever happens at the source and
//! wherever we die, once things are quiet the copy equals the source.

mod jobs;
mod model;
mod proofs;
mod troubles;
mod units;

use super::{Slot, next_look};
use model::{OVERLAP, SWEEP, Version, World, rules, time};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Write { key: u8, value: u32, open_for: i64 },
    Compute { key: u8, value: u32 },
    AddField,
    SoftDelete { key: u8 },
    HardDelete { key: u8 },
    Sleep(i64),
    Poll { calls: usize },
    Crash { calls: usize, cut: bool },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0u8..40, any::<u32>(), 0i64..OVERLAP - 1)
            .prop_map(|(key, value, open_for)| Op::Write { key, value, open_for }),
        1 => (0u8..40, any::<u32>()).prop_map(|(key, value)| Op::Compute { key, value }),
        1 => Just(Op::AddField),
        1 => (0u8..40).prop_map(|key| Op::SoftDelete { key }),
        1 => (0u8..40).prop_map(|key| Op::HardDelete { key }),
        2 => (0i64..2000).prop_map(Op::Sleep),
        3 => (1usize..12).prop_map(|calls| Op::Poll { calls }),
        1 => (1usize..12, any::<bool>()).prop_map(|(calls, cut)| Op::Crash { calls, cut }),
    ]
}

impl World {
    /// Something happens.
    fn happens(&mut self, op: Op) -> Result<(), TestCaseError> {
        self.now += 1;
        let now = self.now;
        let name = |key: u8| format!("k{key:02}");
        match op {
            Op::Write { key, value, open_for } => {
                let key = name(key);
                // Ids are never used again, and one record has one open transaction at a time. A
                // write to one in the bin takes it out again.
                let gone = self.log.iter().any(|(k, _)| *k == key);
                let row = self.rows.entry(key).or_default();
                if !gone && row.iter().all(|v| v.visible <= now) {
                    let (visible, value) = (now + open_for, Some(value));
                    row.push(Version { stamp: now, visible, value, purged: false });
                }
            }
            Op::Compute { key, value } => drop(self.computed.insert(name(key), value)),
            Op::AddField => self.add_note(),
            // Without a stamp the log is all that tells of it.
            Op::SoftDelete { key } => self.delete(&name(key), self.unstamped && self.delete_log),
            Op::HardDelete { key } => self.delete(&name(key), true),
            Op::Sleep(s) => self.now += s,
            Op::Poll { calls } => self.run(calls, false)?,
            Op::Crash { calls, cut } => {
                self.run(calls, cut)?;
                self.die();
            }
        }
        Ok(())
    }

    fn delete(&mut self, key: &str, purged: bool) {
        let now = self.now;
        if let Some(v) = self.rows.get_mut(key)
            && v.iter().all(|v| v.visible <= now)
            && v.last().is_some_and(|v| v.value.is_some())
        {
            v.push(Version { stamp: now, visible: now, value: None, purged });
            if purged {
                self.log.push((key.to_owned(), now));
            }
        }
    }

    /// A run, ended after so many rounds; what it claims is checked at each commit.
    fn run(&mut self, rounds: usize, cut: bool) -> Result<(), TestCaseError> {
        let target = self.told();
        for i in 0..rounds {
            let more = self.round(&rules(), target, 4, cut && i + 1 == rounds);
            self.claims_no_more_than_it_has()?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Every change whose transaction was in before the time we claim is here, or a later one.
    fn claims_no_more_than_it_has(&self) -> Result<(), TestCaseError> {
        let Some(t) = self.state.as_ref().and_then(super::ObjectState::caught_up) else {
            return Ok(());
        };
        for (key, versions) in &self.rows {
            let before = versions.iter().rposition(|v| time(v.visible) < t && time(v.stamp) < t);
            let purged = self.log.iter().any(|(k, _)| k == key);
            let Some(at) = before.filter(|_| !purged) else { continue };
            let v = versions[at];
            // Deleted by now: a sweep may know it before we claim it.
            let deleted = versions[at..].iter().any(|v| v.value.is_none() && v.visible <= self.now);
            match (v.value, self.copy.get(key)) {
                (_, None) if deleted => {}
                (_, Some(_)) if self.unstamped => {}
                (_, Some(here))
                    if here.stamp >= v.stamp
                        && (here.deleted || !self.note_filled() || here.noted >= v.stamp) => {}
                (value, here) => {
                    // Unstamped: deleted (and undeleted) ones are the sweep's matter.
                    let moved = self.unstamped && versions.iter().any(|v| v.value.is_none());
                    prop_assert!(moved, "{key} to {t}: there {value:?}, here {here:?}");
                }
            }
        }
        Ok(())
    }

    /// Rounds until nothing is left to be done, looks included.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..80 {
            let target = self.told();
            let mut n = 0;
            while self.round(&rules(), target, 100, false) {
                n += 1;
                prop_assert!(n < 300, "planning never ends: {:?}", self.state);
            }
            let Some(next) = next_look(self.state.as_ref()) else { return Ok(()) };
            let wait = next.duration_since(self.told()).as_secs().max(0) + 1;
            self.now += wait;
        }
        prop_assert!(false, "it never comes to rest: {:?}", self.state);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_copy_equals_the_source_once_quiet(
        ops in prop::collection::vec(op(), 1..120),
        fates in prop::collection::vec(any::<u8>(), 0..60),
        delete_log: bool,
        unstamped in prop::bool::weighted(0.2),
        jobs: bool,
        lag in 0i64..3,
    ) {
        let mut w = World { lag, delete_log, unstamped, jobs, fates, ..World::default() };
        for op in ops {
            w.happens(op)?;
        }
        w.fates.clear();
        w.now += 10_000; // every transaction is committed, a sweep is due
        for _ in 0..3 {
            w.settle()?;
            w.now += SWEEP + 1_000;
        }
        w.settle()?;
        w.now += 60; // a proof that waited for the sweep
        w.settle()?;
        prop_assert_eq!(w.differences(), Vec::<String>::new());
        let state = w.state.clone().unwrap();
        prop_assert!(state.caught_up().is_some());
        prop_assert_eq!(state.differs(), None);
        if !unstamped {
            prop_assert!(state.proved.is_some_and(|p| p.unproved.is_none()), "it was proved");
        }
        // Nothing moves: a poll asks for changes and deletes, once, and for nothing else.
        w.now += 60;
        w.kinds.clear();
        w.settle()?;
        let expected: &[Slot] = match (unstamped, delete_log) {
            (true, false) => &[],
            (true, true) => &[Slot::Deleted],
            (false, false) => &[Slot::Window],
            (false, true) => &[Slot::Window, Slot::Deleted],
        };
        // Of a window with rows in its overlap there may be several pages.
        w.kinds.dedup();
        let slots: Vec<Slot> = w.kinds.iter().map(|k| k.0).collect();
        prop_assert_eq!(slots, expected);
    }
}
