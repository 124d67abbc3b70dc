//! Proof by counts: whatever was lost or is stale is found and repaired, in bounded work.

use super::model::{rules, time};
use crate::domain::{Fault, Field, FieldType, ObjectSchema, Step, TaskKind, Time};
use crate::sync::plan::AHEAD;
use crate::sync::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: i64 = 100_000_000;

fn schema() -> ObjectSchema {
    let key = Field {
        name: "Id".into(),
        label: "Id".into(),
        kind: FieldType::Text,
        source_type: "id".into(),
        calculated: false,
    };
    ObjectSchema {
        name: "Thing".into(),
        label: "Thing".into(),
        key: "Id".into(),
        stamp: Some("Stamp".into()),
        deleted_flag: None,
        delete_log: false,
        fields: vec![key],
    }
}

/// Stamps by key, there and here; an object that is followed.
struct Pair {
    there: BTreeMap<u32, i64>,
    here: BTreeMap<u32, i64>,
    state: ObjectState,
    now: i64,
    counts: usize,
    sweeps: usize,
    mended: u64,
    scans: usize,
}

impl Pair {
    fn new(stamps: impl IntoIterator<Item = i64>) -> Self {
        let there: BTreeMap<u32, i64> = (0..).zip(stamps).collect();
        let mut state = ObjectState::new(vec!["Id".into()], time(NOW));
        state.stepped(Slot::Load, None, &Step::Done, time(NOW));
        state.deletes_covered = Some(time(NOW + 10_000_000));
        Self {
            here: there.clone(),
            there,
            state,
            now: NOW,
            counts: 0,
            sweeps: 0,
            mended: 0,
            scans: 0,
        }
    }

    fn stamps(rows: &BTreeMap<u32, i64>, from: Option<Time>, to: Time) -> u64 {
        let (from, to) = (from.map(Time::as_second), to.as_second());
        let base = time(0).as_second();
        let within = |s: &&i64| from.is_none_or(|f| f <= base + **s) && base + **s < to;
        rows.values().filter(within).count() as u64
    }

    /// Runs until a proof has ended, or for so many runs; `busy` rows change while we read.
    fn prove(&mut self, runs: usize, mut busy: impl FnMut(&mut Self)) {
        for _ in 0..runs {
            self.now += 900;
            let target = time(self.now);
            for round in 0.. {
                assert!(round < 200, "planning never ends: {:?}", self.state.proof);
                self.now += 1;
                let now = time(self.now);
                self.state.begin_due(&schema(), &rules(), now);
                if matches!(&self.state.sweep, Some(s) if matches!(s.stage, Stage::Fetch { .. })) {
                    let lost = self.there.iter().filter(|(k, _)| !self.here.contains_key(*k));
                    let lost: Vec<_> = lost.map(|(k, s)| (*k, *s)).collect();
                    self.here.extend(lost);
                    self.state.fetched(None, true);
                }
                let schema = schema();
                let object =
                    Object { state: &self.state, schema: &schema, missing: &[], job: false };
                let planned = plan(&[object], 0, &rules(), target, now);
                if planned.is_empty() {
                    break;
                }
                for p in planned {
                    busy(self);
                    self.task(p.slot, &p.task.kind);
                }
            }
            if self.state.proved.is_some() && self.state.proof.is_none() {
                return;
            }
        }
    }

    fn task(&mut self, slot: Slot, kind: &TaskKind) {
        let now = time(self.now);
        match kind {
            TaskKind::Count { from, to } => {
                self.counts += 1;
                let there = Self::stamps(&self.there, *from, to.unwrap());
                let here = Self::stamps(&self.here, *from, to.unwrap());
                let todo = self.state.counted((*from, *to), there, here, now);
                self.sweeps += todo.len();
            }
            TaskKind::Window { from, to, .. } => {
                let base = time(0).as_second();
                let (from_, to_) = (from.as_second() - base, to.as_second() - base);
                let within = |s: i64| from_ <= s && s < to_;
                for (k, s) in self.there.iter().filter(|(_, s)| within(**s)) {
                    self.mended += u64::from(slot == Slot::Mend);
                    self.here.insert(*k, *s);
                }
                self.state.stepped(slot, Some((*from, *to)), &Step::Done, now);
            }
            TaskKind::Keys { .. } => {
                let there = &self.there;
                self.here.retain(|k, _| there.contains_key(k));
                self.state.stepped(slot, None, &Step::Done, now);
            }
            TaskKind::Scan { .. } => {
                self.scans += 1;
                let there = self.there.clone();
                self.here.extend(there);
                self.state.stepped(slot, None, &Step::Done, now);
            }
            TaskKind::Delta { .. }
            | TaskKind::Deleted { .. }
            | TaskKind::Ids { .. }
            | TaskKind::Job { .. } => panic!("{kind:?} was not to be expected"),
        }
    }

    fn proved(&self) -> &Proved {
        self.state.proved.as_ref().expect("a proof has ended")
    }
}

/// Stamps as an org has them: most are young, some are years old.
fn spread(rows: i64) -> impl Iterator<Item = i64> {
    (0..rows).map(move |i| NOW - 1_000 - i * i * 90_000_000 / (rows * rows))
}

#[test]
fn equal_copies_are_proved_by_one_composite_of_counts() {
    let mut pair = Pair::new(spread(500));
    pair.prove(3, |_| {});
    let p = pair.proved();
    assert_eq!((p.rows, p.windows, p.differs, p.repaired), (500, 5, 0, 0));
    assert_eq!(pair.counts, 5);
    assert_eq!(pair.mended, 0);
    // Not again before it is due.
    pair.prove(1, |_| {});
    assert_eq!(pair.counts, 5);
}

#[test]
fn an_object_with_many_rows_is_counted_in_finer_windows() {
    let mut pair = Pair::new(spread(20_000));
    pair.prove(3, |_| {});
    assert_eq!((pair.proved().rows, pair.counts), (20_000, 15));
    pair.state.proved.as_mut().unwrap().at = time(0);
    pair.prove(3, |_| {});
    assert_eq!(pair.counts, 25, "known to be many: finely at once");
}

#[test]
fn what_moves_while_we_count_is_no_difference() {
    let mut pair = Pair::new(spread(20_000));
    let mut next = 7;
    // Old rows change between the increment and the counts.
    pair.prove(20, |pair| {
        next = (next * 31 + 11) % 20_000;
        pair.there.insert(next, pair.now);
    });
    let p = pair.proved();
    assert_eq!((p.differs, pair.sweeps), (0, 0), "{p:?}");
}

/// Rows that are changed all the time leave the windows that are counted, at each count some.
#[test]
fn steady_changes_are_no_difference_and_cost_no_repair() {
    let mut pair = Pair::new(spread(20_000));
    let mut next = 0;
    pair.prove(30, |pair| {
        for _ in 0..50 {
            next = (next + 7_919) % 20_000;
            pair.there.insert(next, pair.now);
        }
    });
    let p = pair.proved();
    assert_eq!((p.differs, pair.sweeps, pair.scans, pair.mended), (0, 0, 0, 0), "{p:?}");
}

#[test]
fn what_differs_all_over_is_read_again_in_whole_once_and_then_told() {
    let mut pair = Pair::new((0..200_000i64).map(|i| NOW - 1_000 - i * 450));
    let now = time(NOW);
    let to = now.checked_add(AHEAD).unwrap();
    pair.state.stepped(Slot::Window, Some((now, to)), &Step::Done, now);
    pair.here.retain(|k, _| k % 7 != 0);
    pair.prove(30, |_| {});
    assert!(pair.proved().reread && pair.scans <= 1, "{:?}", pair.proved());
    pair.state.proof = None;
    pair.prove(1, |_| {});
    pair.prove(30, |_| {});
    assert_eq!(pair.here, pair.there);
    let p = pair.proved();
    assert_eq!((p.differs, &p.unproved, p.rows), (0, &None, 200_000));
    assert_eq!((pair.scans, pair.sweeps), (1, 1));
}

#[test]
fn a_source_that_does_not_count_proves_nothing_and_says_so() {
    let mut pair = Pair::new(spread(10));
    pair.prove(0, |_| {});
    pair.now += 900;
    let now = time(pair.now);
    let to = now.checked_add(AHEAD).unwrap();
    pair.state.stepped(Slot::Window, Some((now, to)), &Step::Done, now);
    pair.state.begin_due(&schema(), &rules(), now);
    assert!(pair.state.proof.is_some());
    let fault = Fault::contract("no count");
    let count = TaskKind::Count { from: None, to: None };
    assert!(pair.state.failed(Slot::Proof, &count, &fault, now).is_some());
    assert!(pair.proved().unproved.is_some());
    assert_eq!(pair.state.proof, None);
}

/// Damage that no window can hide: young rows are missing or have an old stamp here, and what
/// should not be here is old.
#[derive(Debug, Clone)]
enum Damage {
    Lost,
    Stale(i64),
    Ghost(i64),
}

fn damage() -> impl Strategy<Value = (u32, Damage)> {
    let old = 40_000_000i64..90_000_000;
    let kind = prop_oneof![
        3 => Just(Damage::Lost),
        2 => old.clone().prop_map(Damage::Stale),
        1 => old.prop_map(Damage::Ghost),
    ];
    (0u32..4_000, kind)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn damage_is_found_and_repaired_in_bounded_work(
        damage in prop::collection::vec(damage(), 1..8),
        rows in prop_oneof![Just(200i64), Just(4_000), Just(12_000)],
    ) {
        let mut pair = Pair::new(spread(rows));
        // The first increment is in, so that it does not repair by itself.
        let now = time(NOW);
        let to = now.checked_add(AHEAD).unwrap();
        pair.state.stepped(Slot::Window, Some((now, to)), &Step::Done, now);
        let young = u32::try_from(rows * 3 / 100).unwrap();
        let (mut stale, mut ghosts) = (0u64, 0u64);
        for (k, damage) in damage {
            let k = k % young;
            match damage {
                Damage::Lost => {
                    stale -= u64::from(pair.here.remove(&k).is_some_and(|s| s < NOW - 40_000_000));
                }
                Damage::Stale(by) => if let Some(s) = pair.here.get_mut(&k) {
                    stale += u64::from(*s > NOW - 40_000_000);
                    *s = NOW - 1_000 - by;
                },
                Damage::Ghost(age) => {
                    let new = pair.here.insert(1_000_000 + k, NOW - 1_000 - age).is_none();
                    ghosts += u64::from(new);
                }
            }
        }
        let lost = pair.there.keys().filter(|k| !pair.here.contains_key(*k)).count() as u64;
        pair.prove(20, |_| {});
        prop_assert_eq!(&pair.here, &pair.there);
        let p = pair.proved().clone();
        prop_assert_eq!((p.repaired, p.differs), (lost + stale + ghosts, 0));
        prop_assert_eq!(pair.sweeps, usize::from(ghosts > 0), "keys are compared only for ghosts");
        prop_assert!(pair.counts <= 60, "{} counts", pair.counts);
        prop_assert!(pair.mended <= u64::try_from(rows).unwrap(), "{} rows read", pair.mended);
    }
}
