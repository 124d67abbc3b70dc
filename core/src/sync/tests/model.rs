//! A model of a source and of a replica: rows with versions, a log of deletes, bulk jobs with
//! fates of their own; the replica moves rows and state together, as the daemon does.

use crate::domain::{
    Fault, Field, FieldType, JobRead, JobStep, ObjectSchema, Step, Task, TaskKind, Time,
};
use crate::sync::*;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};

pub const OVERLAP: i64 = 600;
pub const SWEEP: i64 = 5_000;
const PAGE: usize = 3;

/// A version of a record: its stamp, when its transaction commits, its value (none: deleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub stamp: i64,
    pub visible: i64,
    pub value: Option<u32>,
    /// Gone from the bin too.
    pub purged: bool,
}

/// A row of the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    pub value: u32,
    pub stamp: i64,
    /// When it was written.
    pub at: i64,
    /// A value that is computed at the source and moves no stamp.
    pub computed: u32,
    /// Version (by its stamp) of a field that was added later; it moves with the stamp.
    pub noted: i64,
    pub deleted: bool,
}

/// A bulk job at the source.
#[derive(Debug, Clone)]
pub struct Bulk {
    fields: Vec<String>,
    read: JobRead,
    ready: i64,
    fails: bool,
    result: Option<Vec<String>>,
    snapshot: BTreeMap<String, Here>,
}

#[derive(Default)]
pub struct World {
    pub now: i64,
    /// The clock that we are told is behind by this.
    pub lag: i64,
    pub rows: BTreeMap<String, Vec<Version>>,
    pub computed: BTreeMap<String, u32>,
    pub log: Vec<(String, i64)>,
    pub delete_log: bool,
    pub unstamped: bool,
    pub jobs: bool,
    /// What becomes of jobs and pages, taken one by one; none left: all is well.
    pub fates: Vec<u8>,
    pub bulk: BTreeMap<String, Bulk>,
    // the replica: rows, state and sweep notes, moved together
    pub copy: BTreeMap<String, Here>,
    pub state: Option<ObjectState>,
    pub seen: BTreeSet<String>,
    /// Tasks carried out.
    pub done: usize,
    /// What they were, for the tests that look.
    pub kinds: Vec<(Slot, &'static str)>,
}

pub fn time(secs: i64) -> Time {
    Time::from_second(1_700_000_000 + secs).unwrap()
}

fn secs(time: Time) -> i64 {
    time.as_second() - 1_700_000_000
}

pub fn rules() -> Rules {
    Rules {
        overlap: SignedDuration::from_secs(OVERLAP),
        sweep_every: SignedDuration::from_secs(SWEEP),
        page: 2,
        jobs: 3,
        job_patience: SignedDuration::from_secs(900),
        prove_every: SignedDuration::from_secs(3_000),
        calculated_every: SignedDuration::from_secs(4_000),
    }
}

impl World {
    pub fn schema(&self) -> ObjectSchema {
        let field = |name: &str| Field {
            name: name.into(),
            label: name.into(),
            kind: FieldType::Text,
            source_type: "string".into(),
            calculated: name == "Sum",
        };
        ObjectSchema {
            name: "Thing".into(),
            label: "Thing".into(),
            key: "Id".into(),
            stamp: (!self.unstamped).then(|| "Stamp".into()),
            deleted_flag: None,
            delete_log: self.delete_log,
            fields: ["Id", "Stamp", "Sum", "Note"].map(field).into(),
        }
    }

    fn fields() -> Vec<String> {
        vec!["Id".into(), "Stamp".into(), "Sum".into()]
    }

    pub fn told(&self) -> Time {
        time(self.now - self.lag)
    }

    pub fn visible(&self, key: &str) -> Option<&Version> {
        self.rows.get(key)?.iter().rfind(|v| v.visible <= self.now)
    }

    /// Living rows of the source as the replica would hold them.
    pub fn live(&self) -> BTreeMap<String, Here> {
        let row = |k: &String| {
            let v = self.visible(k)?;
            let computed = self.computed.get(k).copied().unwrap_or(0);
            let (value, stamp, at) = (v.value?, v.stamp, self.now);
            Some((k.clone(), Here { value, stamp, at, computed, noted: stamp, deleted: false }))
        };
        self.rows.keys().filter_map(row).collect()
    }

    /// What both sides have to agree on.
    pub fn differences(&self) -> Vec<String> {
        let note = self.reads_note();
        let bare = |rows: &BTreeMap<String, Here>| -> BTreeMap<String, (u32, u32, i64)> {
            let alive = rows.iter().filter(|(_, h)| !h.deleted);
            alive
                .map(|(k, h)| (k.clone(), (h.value, h.computed, i64::from(note) * h.noted)))
                .collect()
        };
        let (there, here) = (bare(&self.live()), bare(&self.copy));
        let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        keys.into_iter()
            .filter(|k| there.get(*k) != here.get(*k))
            .map(|k| format!("{k}: there {:?}, here {:?}", there.get(k), here.get(k)))
            .collect()
    }

    fn reads_note(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.fields.iter().any(|f| f == "Note"))
    }

    /// The field that was added is read and filled.
    pub fn note_filled(&self) -> bool {
        let filling = |s: &ObjectState| s.fill.iter().any(|f| f.fields.iter().any(|n| n == "Note"));
        self.reads_note() && !self.state.as_ref().is_some_and(filling)
    }

    /// A field comes to be.
    pub fn add_note(&mut self) {
        if let Some(state) = &mut self.state
            && !state.fields.iter().any(|f| f == "Note")
        {
            let mut fields = state.fields.clone();
            fields.push("Note".into());
            state.take_fields(fields);
        }
    }

    fn fate(&mut self) -> u8 {
        self.fates.pop().unwrap_or(255)
    }

    /// One round of planning and all that it asks for, at most `calls` tasks; with `cut` the last
    /// one is answered by the source, and we die before it is committed. False: nothing to do.
    pub fn round(&mut self, rules: &Rules, target: Time, calls: usize, cut: bool) -> bool {
        let now = self.told();
        let schema = self.schema();
        let mut state = self.state.clone().unwrap_or_else(|| ObjectState::new(Self::fields(), now));
        if state.begin_due(&schema, rules, now) {
            self.seen.clear();
        }
        while let Some(slot) = state.ripe() {
            let todo = state.stepped(slot, None, &Step::Done, now);
            self.carry_out(&state, todo);
        }
        let missing = self.missing(&mut state);
        let object = Object { state: &state, schema: &schema, missing: &missing, job: self.jobs };
        let planned = plan(&[object], 0, rules, target, now);
        self.state = Some(state);
        let any = !planned.is_empty();
        for (i, planned) in planned.into_iter().take(calls).enumerate() {
            self.now += 1; // the source goes on while we read
            self.done += 1;
            let last = cut && i + 1 == calls;
            let before = last.then(|| (self.copy.clone(), self.state.clone(), self.seen.clone()));
            self.carry(planned.slot, &planned.task, now);
            if let Some((copy, state, seen)) = before {
                (self.copy, self.state, self.seen) = (copy, state, seen);
            }
        }
        any
    }

    /// Dying: what is not kept is forgotten.
    pub fn die(&mut self) {
        let again = |s: ObjectState| -> ObjectState {
            serde_json::from_str(&serde_json::to_string(&s).unwrap()).unwrap()
        };
        self.state = self.state.take().map(again);
    }

    fn missing(&mut self, state: &mut ObjectState) -> Vec<String> {
        let Some(Sweep { stage: Stage::Fetch { after }, .. }) = &state.sweep else {
            return Vec::new();
        };
        let here = |k: &String| self.copy.get(k).is_some_and(|h| !h.deleted);
        let missing: Vec<String> = self
            .seen
            .iter()
            .filter(|k| !here(k) && after.as_ref().is_none_or(|a| *k > a))
            .cloned()
            .collect();
        if missing.is_empty() {
            state.fetched(None, true);
        }
        missing
    }

    fn put(&mut self, puts: Puts, fields: &[String], rows: &BTreeMap<String, Here>) {
        for (k, row) in rows {
            match puts {
                Puts::Keys => {
                    self.seen.insert(k.clone());
                }
                Puts::Fill => {
                    if let Some(here) = self.copy.get_mut(k) {
                        if fields.iter().any(|f| f == "Sum") {
                            here.computed = row.computed;
                        }
                        if fields.iter().any(|f| f == "Note") {
                            here.noted = row.noted;
                        }
                    }
                }
                Puts::FirstLoad | Puts::Upsert => {
                    let before = self.copy.get(k).map_or(0, |h| h.noted);
                    let read = fields.iter().any(|f| f == "Note");
                    let noted = if read { row.noted } else { before };
                    self.copy.insert(k.clone(), Here { at: self.now, noted, ..*row });
                }
            }
        }
    }

    fn carry_out(&mut self, state: &ObjectState, todo: Vec<Consequence>) {
        for consequence in todo {
            match consequence {
                Consequence::Delete(ids) => {
                    for (k, t) in ids {
                        // One that changed since was undeleted.
                        if self.copy.get(&k).is_some_and(|h| h.stamp <= secs(t)) {
                            self.copy.remove(&k);
                        }
                    }
                }
                Consequence::EndSweep { .. } => {
                    let since = state.sweep.as_ref().map_or(0, |s| secs(s.started));
                    let seen = &self.seen;
                    self.copy.retain(|k, h| seen.contains(k) || h.deleted || h.at >= since);
                }
                Consequence::BeginSweep => self.seen.clear(),
                Consequence::Key => {}
            }
        }
    }

    /// Carries out a task and commits what came of it.
    fn carry(&mut self, slot: Slot, task: &Task, now: Time) {
        let mut state = self.state.take().unwrap();
        let puts = state.puts(slot, &task.kind);
        let bounds = match &task.kind {
            TaskKind::Window { from, to, .. } | TaskKind::Deleted { from, to } => {
                Some((*from, *to))
            }
            TaskKind::Scan { .. }
            | TaskKind::Delta { .. }
            | TaskKind::Keys { .. }
            | TaskKind::Ids { .. }
            | TaskKind::Count { .. }
            | TaskKind::Job { .. } => None,
        };
        let (kind, step) = match &task.kind {
            TaskKind::Scan { after } | TaskKind::Keys { after } => {
                let rows = self.live().into_iter().filter(|(k, _)| after.as_ref() < Some(k));
                let page: BTreeMap<_, _> = rows.take(PAGE).collect();
                self.put(puts, &task.fields, &page);
                if let Some(k) = page.keys().last() {
                    state.delivered(slot, None, Some(k.clone()));
                }
                ("scan", if page.len() < PAGE { Step::Done } else { Step::More })
            }
            TaskKind::Window { from, to, after } => {
                let (page, full) = self.window(secs(*from), secs(*to), after.as_ref());
                for (_, _, k) in &page {
                    let v = *self.visible(k).unwrap();
                    // In the bin: told with its flag.
                    let (stamp, at) = (v.stamp, self.now);
                    let binned =
                        Here { value: 0, stamp, at, computed: 0, noted: stamp, deleted: true };
                    let here = self.live().get(k).copied().unwrap_or(binned);
                    self.put(puts, &task.fields, &BTreeMap::from([(k.clone(), here)]));
                }
                if let Some((mark, _, _)) = page.last() {
                    state.delivered(slot, bounds, Some(mark.clone()));
                }
                ("window", if full { Step::More } else { Step::Done })
            }
            TaskKind::Deleted { from, to } => {
                let within = |t: &i64| *t >= secs(*from) && *t < secs(*to);
                let ids = self.log.iter().filter(|(_, t)| within(t));
                let ids = ids.map(|(k, t)| (k.clone(), time(*t))).collect();
                // Real logs vouch for a little less than was asked.
                let covered = time(secs(*to) - 7);
                ("deleted", Step::Deleted { ids, earliest: None, covered })
            }
            TaskKind::Ids { ids } => {
                let live = self.live();
                let rows = ids.iter().filter_map(|k| Some((k.clone(), *live.get(k)?))).collect();
                self.put(puts, &task.fields, &rows);
                state.fetched(ids.last().cloned(), false);
                ("ids", Step::Done)
            }
            TaskKind::Count { from, to } => {
                let within =
                    |s: i64| from.is_none_or(|t| secs(t) <= s) && to.is_none_or(|t| s < secs(t));
                let there = self.live().values().filter(|h| within(h.stamp)).count() as u64;
                let here = self.copy.values().filter(|h| !h.deleted && within(h.stamp));
                let here = here.count() as u64;
                let todo = state.counted((*from, *to), there, here, self.told());
                self.carry_out(&state, todo);
                ("count", Step::Counted(there))
            }
            TaskKind::Job { read, step } => self.job(read, step, task, puts, &state),
            TaskKind::Delta { .. } => unreachable!(),
        };
        self.kinds.push((slot, kind));
        if let Step::Failed(fault) = &step {
            let todo = state.failed(slot, &task.kind, fault, now).unwrap_or_default();
            self.carry_out(&state, todo);
        } else if !matches!(step, Step::More) {
            let todo = state.stepped(slot, bounds, &step, now);
            self.carry_out(&state, todo);
        }
        self.state = Some(state);
    }

    /// A page of a window, deleted rows among it: mark, stamp, key.
    fn window(
        &self,
        from: i64,
        to: i64,
        after: Option<&String>,
    ) -> (Vec<(String, i64, String)>, bool) {
        let row = |k: &String| {
            let v = self.visible(k)?;
            (!v.purged && v.stamp >= from && v.stamp < to)
                .then(|| (format!("{:012}/{k}", v.stamp + 4_000_000_000), v.stamp, k.clone()))
        };
        let mut page: Vec<_> = self.rows.keys().filter_map(row).collect();
        page.sort();
        page.retain(|p| after.is_none_or(|a| p.0 > *a));
        let full = page.len() >= PAGE;
        page.truncate(PAGE);
        (page, full)
    }

    /// The source's side of a job.
    fn job(
        &mut self,
        read: &JobRead,
        step: &JobStep,
        task: &Task,
        puts: Puts,
        state: &ObjectState,
    ) -> (&'static str, Step) {
        let lost = |too_much| Step::JobLost { why: "lost".into(), too_much };
        let fate = self.fate();
        match step {
            JobStep::Start => {
                let step = match fate {
                    0..8 => Step::NoJob { why: "not by jobs".into() },
                    8..16 => Step::Failed(Fault::passing("503")),
                    _ => {
                        let job = format!("job{}", self.bulk.len());
                        let slow = if fate < 40 { 2_000 } else { i64::from(fate % 8) };
                        let bulk = Bulk {
                            fields: task.fields.clone(),
                            read: read.clone(),
                            ready: self.now + slow,
                            fails: (40..90).contains(&fate),
                            result: None,
                            snapshot: BTreeMap::new(),
                        };
                        self.bulk.insert(job.clone(), bulk);
                        Step::Started { job }
                    }
                };
                ("start", step)
            }
            JobStep::Look { job } => ("look", self.look(job, fate)),
            JobStep::Page { job, locator, .. } => {
                let step = match fate {
                    0..20 => Step::Failed(Fault::contract("row 7 has 3 columns of 4")),
                    20..40 => Step::Failed(Fault::passing("cut")),
                    40..50 => lost(false),
                    _ => self.page(job, locator.as_deref(), puts, state),
                };
                ("page", step)
            }
            JobStep::Abort { job } => {
                self.bulk.remove(job);
                ("abort", if fate < 30 { lost(false) } else { Step::Done })
            }
        }
    }

    fn look(&mut self, job: &str, fate: u8) -> Step {
        let (now, live) = (self.now, self.live());
        let Some(bulk) = self.bulk.get_mut(job) else {
            return Step::JobLost { why: "404".into(), too_much: false };
        };
        if fate < 10 {
            return Step::JobLost { why: "aborted".into(), too_much: false };
        }
        if bulk.ready > now {
            return Step::Running { says: "InProgress".into() };
        }
        if bulk.fails {
            return Step::JobLost { why: "failed after 15 retries".into(), too_much: true };
        }
        if bulk.result.is_none() {
            let within = |h: &Here| {
                bulk.read.from.is_none_or(|t| secs(t) <= h.stamp)
                    && bulk.read.to.is_none_or(|t| h.stamp < secs(t))
            };
            bulk.snapshot = live.into_iter().filter(|(_, h)| within(h)).collect();
            // In no promised order.
            let mut keys: Vec<String> = bulk.snapshot.keys().cloned().collect();
            keys.sort_by_key(|k| k.chars().rev().collect::<String>());
            bulk.result = Some(keys);
        }
        Step::Ready { rows: Some(bulk.snapshot.len() as u64) }
    }

    fn page(&mut self, job: &str, locator: Option<&str>, puts: Puts, state: &ObjectState) -> Step {
        let Some(bulk) = self.bulk.get(job) else {
            return Step::JobLost { why: "404".into(), too_much: false };
        };
        let asked = &state.job.as_ref().unwrap().fields;
        assert_eq!(&bulk.fields, asked, "the same at each step");
        let from: usize = locator.map_or(0, |l| l.parse().unwrap());
        let keys = bulk.result.clone().unwrap();
        let page: BTreeMap<_, _> =
            keys.iter().skip(from).take(PAGE).map(|k| (k.clone(), bulk.snapshot[k])).collect();
        let (fields, next) = (bulk.fields.clone(), from + PAGE);
        self.put(puts, &fields, &page);
        Step::Page { rows: page.len() as u64, next: (next < keys.len()).then(|| next.to_string()) }
    }
}
