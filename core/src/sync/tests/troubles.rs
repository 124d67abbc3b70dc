//! What fails again and again: it is counted, found another way, and nothing rings for it for ever.

use super::model::{rules, time};
use crate::domain::{Fault, Field, FieldType, JobStep, ObjectSchema, Step, TaskKind, Time};
use crate::sync::plan::AHEAD;
use crate::sync::*;

fn schema() -> ObjectSchema {
    let field = |name: &str| Field {
        name: name.into(),
        label: name.into(),
        kind: FieldType::Text,
        source_type: String::new(),
        calculated: false,
    };
    ObjectSchema {
        name: "Thing".into(),
        label: "Thing".into(),
        key: "Id".into(),
        stamp: Some("Stamp".into()),
        deleted_flag: None,
        delete_log: true,
        fields: vec![field("Id"), field("A")],
    }
}

fn tasks(state: &mut ObjectState, target: Time, now: Time) -> Vec<Planned> {
    let schema = schema();
    state.begin_due(&schema, &rules(), now);
    plan(&[Object { state, schema: &schema, missing: &[], job: true }], 0, &rules(), target, now)
}

fn slots(state: &mut ObjectState, target: Time, now: Time) -> Vec<Slot> {
    tasks(state, target, now).into_iter().map(|p| p.slot).collect()
}

fn new() -> ObjectState {
    ObjectState::new(vec!["Id".into(), "A".into()], time(0))
}

fn increment(s: &mut ObjectState, now: Time) {
    let to = now.checked_add(AHEAD).unwrap();
    s.stepped(Slot::Window, Some((now, to)), &Step::Done, now);
}

/// Followed, caught up to `time(1_000)`, with a proof begun.
fn proving() -> ObjectState {
    let mut s = new();
    s.stepped(Slot::Load, None, &Step::Done, time(1));
    increment(&mut s, time(1_000));
    s.deletes_covered = Some(time(1_000));
    s.begin_due(&schema(), &rules(), time(1_000));
    assert!(s.proof.is_some());
    s
}

fn counts(s: &mut ObjectState, now: Time) -> Vec<(Option<Time>, Option<Time>)> {
    let window = |p: Planned| {
        let TaskKind::Count { from, to } = p.task.kind else { return None };
        Some((from, to))
    };
    tasks(s, Time::MIN, now).into_iter().filter_map(window).collect()
}

fn denied() -> Fault {
    Fault::Denied { object: None, field: None, permission: "no".into() }
}

#[test]
fn a_step_of_a_job_that_is_refused_three_times_is_not_asked_for_again() {
    let refused = Fault::RecordRefused { why: "no".into() };
    for fault in [denied(), Fault::Conflict { record: "1".into() }, refused, Fault::contract("?")] {
        let mut s = new();
        s.stepped(Slot::Load, None, &Step::Started { job: "750".into() }, time(0));
        for _ in 0..3 {
            let now = next_look([&s]).unwrap();
            let look = tasks(&mut s, Time::MIN, now).remove(0).task.kind;
            assert!(matches!(look, TaskKind::Job { step: JobStep::Look { .. }, .. }));
            assert!(s.failed(Slot::Load, &look, &fault, now).is_some());
            assert!(next_look([&s]).is_none_or(|next| next > now), "it moves on");
        }
        assert_eq!(slots(&mut s, Time::MIN, time(9)), [Slot::Part], "{fault:?}");
        assert_eq!(next_look([&s]), None);
    }
}

#[test]
fn a_job_that_names_a_lost_field_is_asked_for_without_it() {
    let mut s = new();
    s.stepped(Slot::Load, None, &Step::Started { job: "750".into() }, time(0));
    let look = tasks(&mut s, Time::MIN, time(1)).remove(0).task.kind;
    let moved = Fault::SchemaMoved { object: "Thing".into(), field: Some("A".into()) };
    assert!(s.failed(Slot::Load, &look, &moved, time(1)).is_some());
    let next = tasks(&mut s, Time::MIN, time(1)).remove(0).task;
    assert_eq!(next.fields, ["Id"]);
    assert!(matches!(next.kind, TaskKind::Job { step: JobStep::Start, .. }));
}

#[test]
fn a_start_that_is_not_understood_three_times_ends_in_queries() {
    let mut s = new();
    for _ in 0..3 {
        let start = tasks(&mut s, time(1), time(1)).remove(0).task.kind;
        assert!(matches!(start, TaskKind::Job { step: JobStep::Start, .. }));
        assert!(s.failed(Slot::Load, &start, &Fault::contract("<html>"), time(1)).is_some());
    }
    assert_eq!(tasks(&mut s, time(1), time(1))[0].task.kind, TaskKind::Scan { after: None });
    assert_eq!(s.no_job.as_ref().unwrap().why, "<html>");
    // A page of queries that cannot be read is not taken for one.
    let mut s = new();
    let scan = TaskKind::Scan { after: None };
    assert!(s.failed(Slot::Load, &scan, &Fault::contract("?"), time(1)).is_none());
    assert_eq!(s.job, None);
}

#[test]
fn a_call_off_that_breaks_off_again_and_again_is_left() {
    let mut s = new();
    s.stepped(Slot::Load, None, &Step::Started { job: "750".into() }, time(0));
    let abort = tasks(&mut s, Time::MIN, time(900)).remove(0).task.kind;
    assert!(matches!(abort, TaskKind::Job { step: JobStep::Abort { .. }, .. }));
    for _ in 0..5 {
        assert!(s.failed(Slot::Load, &abort, &Fault::passing("503"), time(901)).is_none());
    }
    let next = tasks(&mut s, Time::MIN, time(901)).remove(0).task.kind;
    assert!(matches!(next, TaskKind::Job { step: JobStep::Start, .. }));
}

#[test]
fn an_object_that_fails_on_its_own_rings_for_no_proof() {
    for slot in [Slot::Window, Slot::Deleted] {
        let mut s = proving();
        let window = counts(&mut s, time(1_001))[0];
        s.counted(window, 5, 3, time(1_001));
        assert_eq!(next_look([&s]), Some(time(1_003)));
        let kind = TaskKind::Window { from: time(0), to: time(1), after: None };
        assert!(s.failed(slot, &kind, &denied(), time(1_003)).is_none(), "the run names it");
        assert_eq!((next_look([&s]), &s.proof), (None, &None));
        assert!(s.proved.as_ref().unwrap().unproved.is_some());
        increment(&mut s, time(2_000));
        s.begin_due(&schema(), &rules(), time(2_000));
        assert_eq!(s.proof, None, "not at once");
        increment(&mut s, time(4_500));
        s.begin_due(&schema(), &rules(), time(4_500));
        assert!(s.proof.is_some(), "at its regular time");
    }
}

#[test]
fn a_run_that_is_rung_for_looks_reads_no_changes_but_what_others_wait_for() {
    let mut s = proving();
    for window in counts(&mut s, time(1_001)) {
        s.counted(window, 0, 0, time(1_001));
    }
    assert_eq!(slots(&mut s, time(1_400), time(1_400)), [Slot::Window, Slot::Deleted]);
    assert_eq!(slots(&mut s, Time::MIN, time(1_400)), []);
    // Nor does it go on with a window that was begun.
    let bounds = Some((time(400), time(90_000)));
    s.delivered(Slot::Window, bounds, Some("p".into()));
    assert_eq!(slots(&mut s, Time::MIN, time(1_400)), []);
    assert_eq!(slots(&mut s, time(1_400), time(1_400)), [Slot::Window, Slot::Deleted]);
    // After a load.
    let mut s = new();
    s.stepped(Slot::Load, None, &Step::Done, time(1));
    assert_eq!(slots(&mut s, Time::MIN, time(5)), [Slot::Window]);
    // A doubted window; what rings can be served.
    let mut s = proving();
    let window = counts(&mut s, time(1_001))[0];
    s.counted(window, 5, 3, time(1_001));
    let due = next_look([&s]).unwrap();
    assert!(!slots(&mut s, Time::MIN, time(1_002)).contains(&Slot::Window));
    let TaskKind::Window { to, .. } = tasks(&mut s, Time::MIN, due)[0].task.kind else { panic!() };
    s.stepped(Slot::Window, Some((due, to)), &Step::Done, due);
    assert_eq!(next_look([&s]), None);
    assert!(counts(&mut s, due).contains(&window));
}

#[test]
fn a_count_that_is_cut_off_is_tried_by_halves_and_then_given_up() {
    let mut s = proving();
    let slow = *counts(&mut s, time(1_001)).last().unwrap();
    let mut now = 1_001;
    for tries in 1..=3 {
        let asked = counts(&mut s, time(now));
        let window = *asked.iter().find(|w| w.1 <= slow.1 && w.0.is_none()).unwrap();
        let kind = TaskKind::Count { from: window.0, to: window.1 };
        assert!(s.failed(Slot::Proof, &kind, &Fault::passing("timeout"), time(now)).is_some());
        assert_eq!(s.proof.is_none(), tries == 3);
        assert_eq!(counts(&mut s, time(now)), [], "after the next increment");
        for w in asked {
            s.counted(w, 0, 0, time(now));
        }
        now += 100;
        increment(&mut s, time(now));
    }
    assert_eq!(s.proved.as_ref().unwrap().unproved.as_deref(), Some("timeout"));
    let kind = TaskKind::Count { from: None, to: None };
    let late = s.failed(Slot::Proof, &kind, &Fault::passing("timeout"), time(now));
    assert!(late.is_some(), "the others of that call hold up nothing either");
}

#[test]
fn a_repair_that_breaks_off_at_the_same_place_is_halved() {
    let mut s = proving();
    let window = *counts(&mut s, time(1_001)).last().unwrap();
    for now in [1_001, 1_010] {
        s.counted(window, 9_000, 8_999, time(now));
        increment(&mut s, time(now + 5));
        s.begin_due(&schema(), &rules(), time(now + 5));
    }
    // Its halves differ, are no leaf, and nothing can be cut any more: as if all were leaves.
    let half = *counts(&mut s, time(1_016)).iter().find(|w| w.0.is_none()).unwrap();
    s.counted(half, 10, 9, time(1_016));
    let mend = |s: &mut ObjectState| {
        let all = tasks(s, Time::MIN, time(1_016));
        all.into_iter().filter(|p| p.slot == Slot::Mend).map(|p| p.task.kind).collect::<Vec<_>>()
    };
    let kind = mend(&mut s).remove(0);
    let passing = Fault::passing("timeout");
    assert!(s.failed(Slot::Mend, &kind, &passing, time(1_016)).is_none());
    assert!(s.failed(Slot::Mend, &kind, &passing, time(1_016)).is_none());
    assert!(s.failed(Slot::Mend, &kind, &passing, time(1_016)).is_some());
    assert_eq!(mend(&mut s).len(), 2);
}

#[test]
fn counts_come_last_and_jobs_of_objects_that_fail_keep_their_turn() {
    let (mut s, load) = (proving(), new());
    s.take_fields(vec!["Id".into(), "A".into(), "B".into()]);
    let schema = schema();
    let object = |state, job| Object { state, schema: &schema, missing: &[], job };
    let slots = |objects: &[Object<'_>], elsewhere| {
        let all = plan(objects, elsewhere, &rules(), Time::MIN, time(1_001));
        all.into_iter().map(|p| p.slot).collect::<Vec<_>>()
    };
    let all = slots(&[object(&s, false), object(&load, false)], 0);
    assert_eq!(all[..2], [Slot::Load, Slot::Fill]);
    assert!(all.len() > 2 && all[2..].iter().all(|s| *s == Slot::Proof), "{all:?}");
    assert_eq!(slots(&[object(&load, true)], 2), [Slot::Load]);
    assert_eq!(slots(&[object(&load, true)], 3), []);
}

#[test]
fn deletes_told_during_a_whole_re_read_are_asked_for_again() {
    let mut s = new();
    s.deletes_covered = Some(time(900));
    s.deletes_asked = Some(time(900));
    s.phase = Phase::Reread { started: time(500), after: None, covered: time(100) };
    // A page of its job may hold a row that was deleted since it was asked for.
    s.stepped(Slot::Load, None, &Step::Done, time(901));
    let asked = tasks(&mut s, time(900), time(901)).into_iter().find(|p| p.slot == Slot::Deleted);
    let Some(TaskKind::Deleted { from, .. }) = asked.map(|p| p.task.kind) else { panic!() };
    assert_eq!(from, time(500));
}
