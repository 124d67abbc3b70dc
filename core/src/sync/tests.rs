//! The law of replication, against a model of a source: whatever happens at the source and
//! wherever we die, once things are quiet the copy equals the source.

use super::*;
use crate::domain::{Field, FieldType, Step};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const OVERLAP: i64 = 600;

/// A version of a record: its stamp, when its transaction commits, its value (none: deleted).
#[derive(Debug, Clone)]
struct Version {
    stamp: i64,
    visible: i64,
    value: Option<u32>,
}

#[derive(Debug, Clone)]
enum Op {
    Write { key: u8, value: u32, open_for: i64 },
    HardDelete { key: u8 },
    Sleep(i64),
    Poll { calls: usize },
    Crash { calls: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0u8..40, any::<u32>(), 0i64..OVERLAP - 1)
            .prop_map(|(key, value, open_for)| Op::Write { key, value, open_for }),
        1 => (0u8..40).prop_map(|key| Op::HardDelete { key }),
        2 => (0i64..2000).prop_map(Op::Sleep),
        3 => (1usize..12).prop_map(|calls| Op::Poll { calls }),
        1 => (1usize..12).prop_map(|calls| Op::Crash { calls }),
    ]
}

#[derive(Default)]
struct World {
    now: i64,
    rows: BTreeMap<String, Vec<Version>>,
    log: Vec<(String, i64)>,
    // the replica: rows, state and sweep notes, moved together
    copy: BTreeMap<String, (u32, i64)>,
    state: Option<ObjectState>,
    seen: BTreeSet<String>,
    delete_log: bool,
}

fn time(secs: i64) -> Time {
    Time::from_second(1_700_000_000 + secs).unwrap()
}

fn secs(time: Time) -> i64 {
    time.as_second() - 1_700_000_000
}

impl World {
    fn schema(&self) -> ObjectSchema {
        let field = |name: &str| Field {
            name: name.into(),
            label: name.into(),
            kind: FieldType::Text,
            source_type: "string".into(),
            calculated: false,
        };
        ObjectSchema {
            name: "Thing".into(),
            label: "Thing".into(),
            key: "Id".into(),
            stamp: Some("Stamp".into()),
            deleted_flag: None,
            delete_log: self.delete_log,
            fields: vec![field("Id"), field("Stamp")],
        }
    }

    fn visible(&self, key: &str) -> Option<&Version> {
        self.rows.get(key)?.iter().rfind(|v| v.visible <= self.now)
    }

    fn live(&self) -> BTreeMap<String, u32> {
        self.rows.keys().filter_map(|k| Some((k.clone(), self.visible(k)?.value?))).collect()
    }

    /// One call of one task, pages of three rows, committed as the daemon does.
    fn call(&mut self, rules: &Rules, target: Time) -> bool {
        let now = time(self.now);
        let schema = self.schema();
        let mut state = self
            .state
            .clone()
            .unwrap_or_else(|| ObjectState::new(vec!["Id".into(), "Stamp".into()], now));
        if state.begin_due(&schema, rules, now) {
            self.seen.clear();
        }
        let after = match &state.sweep {
            Some(Sweep { stage: Stage::Fetch { after }, .. }) => after.clone(),
            Some(Sweep { stage: Stage::Keys { .. }, .. }) | None => None,
        };
        let missing: Vec<String> = self
            .seen
            .iter()
            .filter(|k| !self.copy.contains_key(*k) && after.as_ref().is_none_or(|a| *k > a))
            .cloned()
            .collect();
        if missing.is_empty()
            && matches!(&state.sweep, Some(s) if matches!(s.stage, Stage::Fetch { .. }))
        {
            state.fetched(None, true);
        }
        let object = Object { state: &state, schema: &schema, missing: &missing };
        let Some(planned) = plan(&[object], rules, target, now).into_iter().next() else {
            self.state = Some(state);
            return false;
        };
        let (slot, kind) = (planned.slot, planned.task.kind);
        match kind {
            TaskKind::Scan { after } => {
                let page: Vec<_> = self
                    .live()
                    .into_iter()
                    .filter(|(k, _)| after.as_ref().is_none_or(|a| k > a))
                    .take(3)
                    .collect();
                let full = page.len() == 3;
                for (k, v) in &page {
                    self.copy.insert(k.clone(), (*v, self.now));
                }
                if let Some((k, _)) = page.last() {
                    state.delivered(slot, None, Some(k.clone()));
                }
                if !full {
                    state.stepped(slot, None, &Step::Done, now);
                }
            }
            TaskKind::Window { from, to, after } => {
                let mut page: Vec<(i64, String)> = self
                    .rows
                    .keys()
                    .filter_map(|k| {
                        let v = self.visible(k)?;
                        (v.value.is_some() && v.stamp >= secs(from) && v.stamp < secs(to))
                            .then(|| (v.stamp, k.clone()))
                    })
                    .collect();
                page.sort();
                let mark = |(s, k): &(i64, String)| format!("{s:012}/{k}");
                page.retain(|p| after.as_ref().is_none_or(|a| mark(p) > *a));
                page.truncate(3);
                for (_, k) in &page {
                    let v = self.visible(k).unwrap().value.unwrap();
                    self.copy.insert(k.clone(), (v, self.now));
                }
                if let Some(p) = page.last() {
                    state.delivered(slot, Some((from, to)), Some(mark(p)));
                }
                if page.len() < 3 {
                    state.stepped(slot, Some((from, to)), &Step::Done, now);
                }
            }
            TaskKind::Deleted { from, to } => {
                let ids = self
                    .log
                    .iter()
                    .filter(|(_, t)| *t >= secs(from) && *t < secs(to))
                    .map(|(k, t)| (k.clone(), time(*t)))
                    .collect();
                // Real logs vouch for a little less than was asked.
                let covered = time(secs(to) - 7);
                let step = Step::Deleted { ids, earliest: None, covered };
                for c in state.stepped(slot, Some((from, to)), &step, now) {
                    if let Consequence::Delete(ids) = c {
                        for (k, _) in ids {
                            self.copy.remove(&k);
                        }
                    }
                }
            }
            TaskKind::Keys { after } => {
                let page: Vec<_> = self
                    .live()
                    .into_keys()
                    .filter(|k| after.as_ref().is_none_or(|a| k > a))
                    .take(3)
                    .collect();
                self.seen.extend(page.iter().cloned());
                if let Some(k) = page.last() {
                    state.delivered(slot, None, Some(k.clone()));
                }
                if page.len() < 3 {
                    let since = state.sweep.as_ref().map_or(0, |s| secs(s.started));
                    for c in state.stepped(slot, None, &Step::Done, now) {
                        if let Consequence::EndSweep { .. } = c {
                            let (seen, since) = (&self.seen, since);
                            self.copy.retain(|k, (_, at)| seen.contains(k) || *at >= since);
                        }
                    }
                }
            }
            TaskKind::Ids { ids } => {
                let live = self.live();
                for k in &ids {
                    if let Some(v) = live.get(k) {
                        self.copy.insert(k.clone(), (*v, self.now));
                    }
                }
                state.fetched(ids.last().cloned(), false);
            }
            TaskKind::Delta { .. } | TaskKind::Count { .. } | TaskKind::Job { .. } => {
                unreachable!()
            }
        }
        self.state = Some(state);
        true
    }
}

fn rules() -> Rules {
    Rules {
        overlap: SignedDuration::from_secs(OVERLAP),
        sweep_every: SignedDuration::from_secs(5000),
        page: 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_copy_equals_the_source_once_quiet(ops in prop::collection::vec(op(), 1..120), delete_log: bool) {
        let mut w = World { delete_log, ..World::default() };
        let rules = rules();
        for op in ops {
            w.now += 1;
            match op {
                Op::Write { key, value, open_for } => {
                    let key = format!("k{key:02}");
                    // Ids are never used again, and one record has one open transaction at a time.
                    let gone = w.log.iter().any(|(k, _)| *k == key);
                    let open = w.rows.get(&key).is_some_and(|v| v.iter().any(|v| v.visible > w.now));
                    if !gone && !open {
                        let (stamp, visible) = (w.now, w.now + open_for);
                        w.rows.entry(key).or_default().push(Version { stamp, visible, value: Some(value) });
                    }
                }
                Op::HardDelete { key } => {
                    let key = format!("k{key:02}");
                    let now = w.now;
                    if let Some(v) = w.rows.get_mut(&key) && v.iter().all(|v| v.visible <= now) && v.last().is_some_and(|v| v.value.is_some()) {
                        v.push(Version { stamp: now, visible: now, value: None });
                        w.log.push((key, now));
                    }
                }
                Op::Sleep(s) => w.now += s,
                Op::Poll { calls } => {
                    let target = time(w.now);
                    for _ in 0..calls {
                        w.now += 1; // the source goes on while we read
                        if !w.call(&rules, target) { break; }
                    }
                }
                // Dying mid-run: whatever was not committed with its rows is gone, which is
                // nothing, because rows and state move together.
                Op::Crash { calls } => {
                    let target = time(w.now);
                    for _ in 0..calls { w.call(&rules, target); }
                    w.state = w.state.clone().map(|s| serde_json::from_str(&serde_json::to_string(&s).unwrap()).unwrap());
                }
            }
        }
        w.now += 10_000; // every transaction is committed, a sweep is due
        for _ in 0..3 {
            let target = time(w.now);
            let mut n = 0;
            while w.call(&rules, target) {
                n += 1;
                prop_assert!(n < 500, "planning never ends: {:?}", w.state);
            }
            w.now += 6_000;
        }
        let copy: BTreeMap<String, u32> = w.copy.iter().map(|(k, v)| (k.clone(), v.0)).collect();
        prop_assert_eq!(copy, w.live());
        prop_assert!(w.state.unwrap().caught_up().is_some());
    }
}

#[test]
fn new_fields_are_filled_and_lost_ones_leave() {
    let now = time(0);
    let mut s = ObjectState::new(vec!["Id".into(), "A".into()], now);
    assert!(s.take_fields(vec!["Id".into(), "A".into(), "B".into()]).contains(&"B".to_string()));
    assert_eq!(s.fill, None, "nothing is here yet, so nothing is to be filled");
    s.delivered(Slot::Load, None, Some("k".into()));
    s.take_fields(vec!["Id".into(), "A".into(), "B".into(), "C".into()]);
    assert_eq!(s.fill.as_ref().unwrap().fields, ["C"]);
    let fault = crate::domain::Fault::SchemaMoved { object: "X".into(), field: Some("C".into()) };
    assert!(s.failed(Slot::Load, &fault, now).is_some());
    assert_eq!(s.fill, None);
    assert_eq!(s.fields, ["Id", "A", "B"]);
}

#[test]
fn a_sweep_after_a_change_of_sight_never_becomes_one_that_deletes() {
    let mut s = ObjectState::new(vec!["Id".into()], time(0));
    s.stepped(Slot::Load, None, &Step::Done, time(1));
    s.begin_sweep(SweepReason::Sight, time(2));
    s.begin_sweep(SweepReason::LogGap, time(3));
    assert!(s.caught_up().is_none());
    let out = s.stepped(Slot::Sweep, None, &Step::Done, time(4));
    assert!(matches!(out[..], [Consequence::EndSweep { hide: true, approved: false }]));
}
