//! The life of a job: looks, turns, deadlines, and every way it goes wrong.

use super::model::{rules, time};
use crate::domain::{
    Fault, Field, FieldType, JobRead, JobStep, ObjectSchema, Step, Task, TaskKind, Time,
};
use crate::sync::*;
use jiff::SignedDuration;

fn schema(name: &str, stamped: bool) -> ObjectSchema {
    let field = |name: &str| Field {
        name: name.into(),
        label: name.into(),
        kind: FieldType::Text,
        source_type: String::new(),
        calculated: false,
    };
    ObjectSchema {
        name: name.into(),
        label: name.into(),
        key: "Id".into(),
        stamp: stamped.then(|| "Stamp".into()),
        deleted_flag: None,
        delete_log: stamped,
        fields: vec![field("Id"), field("A")],
    }
}

/// A task whose kind decides nothing.
const SCAN: TaskKind = TaskKind::Scan { after: None };

fn new() -> ObjectState {
    ObjectState::new(vec!["Id".into(), "A".into()], time(0))
}

fn planned(state: &mut ObjectState, stamped: bool, now: Time) -> Vec<Planned> {
    let schema = schema("Thing", stamped);
    state.begin_due(&schema, &rules(), now);
    let object = Object { state, schema: &schema, missing: &[], job: true };
    plan(&[object], 0, &rules(), now, now)
}

/// The only task there is.
fn only(state: &mut ObjectState, now: Time) -> Planned {
    let mut tasks = planned(state, true, now);
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0)
}

fn step(state: &mut ObjectState, now: Time) -> (JobRead, JobStep) {
    let TaskKind::Job { read, step } = only(state, now).task.kind else { panic!("no job") };
    (read, step)
}

fn started() -> Step {
    Step::Started { job: "64.0/750".into() }
}

fn lost(too_much: bool) -> Step {
    Step::JobLost { why: "expired".into(), too_much }
}

/// A job whose result is ready.
fn ready() -> ObjectState {
    let mut s = new();
    s.stepped(Slot::Load, None, &started(), time(1));
    s.stepped(Slot::Load, None, &Step::Ready { rows: Some(5) }, time(2));
    s
}

#[test]
fn looks_come_at_growing_distances_and_only_when_due() {
    let mut s = new();
    assert_eq!(step(&mut s, time(0)), (JobRead::default(), JobStep::Start));
    let mut now = time(0);
    s.stepped(Slot::Load, None, &started(), now);
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(planned(&mut s, true, now), [], "not due yet");
        let next = next_look([&s]).unwrap();
        waits.push(next.duration_since(now).as_millis());
        now = next;
        assert_eq!(step(&mut s, now).1, JobStep::Look { job: "64.0/750".into() });
        s.stepped(Slot::Load, None, &Step::Running { says: "InProgress".into() }, now);
    }
    assert_eq!(waits, [300, 600, 1200, 2400, 4800, 9600, 19200, 30000, 30000]);
    let waiting = s.waits(&rules()).unwrap();
    assert_eq!((waiting.since, &waiting.says[..]), (Some(time(0)), "InProgress"));
    assert_eq!(waiting.gives_up, Some(time(900)));
}

#[test]
fn the_last_page_ends_the_load_and_asks_for_the_key() {
    let mut s = ready();
    assert_eq!(s.puts(Slot::Load, &only(&mut s.clone(), time(2)).task.kind), Puts::FirstLoad);
    let page = |next: Option<&str>| Step::Page { rows: 3, next: next.map(str::to_owned) };
    assert_eq!(s.stepped(Slot::Load, None, &page(Some("x")), time(3)), []);
    let JobStep::Page { locator, tries, .. } = step(&mut s, time(3)).1 else { panic!() };
    assert_eq!((locator.as_deref(), tries), (Some("x"), 0));
    assert_eq!(s.stepped(Slot::Load, None, &page(None), time(4)), [Consequence::Key]);
    // The load's time is that before the job was asked for, not that of the object's beginning.
    assert!(matches!(s.phase, Phase::Follow { covered, settled: false, .. } if covered == time(1)));
    assert_eq!((s.job, next_look([])), (None, None));
}

#[test]
fn a_sweep_by_job_ends_in_a_step_of_its_own() {
    let mut s = new();
    s.stepped(Slot::Load, None, &Step::Done, time(1));
    s.begin_sweep(SweepReason::LogGap, time(2));
    s.stepped(Slot::Sweep, None, &started(), time(3));
    assert_eq!(s.job.as_ref().unwrap().fields, ["Id"]);
    s.stepped(Slot::Sweep, None, &Step::Ready { rows: None }, time(4));
    assert_eq!(s.ripe(), None);
    assert_eq!(s.stepped(Slot::Sweep, None, &Step::Page { rows: 1, next: None }, time(5)), []);
    assert_eq!(s.ripe(), Some(Slot::Sweep));
    let todo = s.stepped(Slot::Sweep, None, &Step::Done, time(5));
    assert_eq!(todo, [Consequence::EndSweep { hide: false, approved: false }]);
    assert_eq!((s.ripe(), s.job), (None, None));
}

#[test]
fn a_lost_job_is_asked_for_again_and_after_three_narrowed() {
    let mut s = ready();
    for _ in 0..2 {
        s.stepped(Slot::Load, None, &lost(false), time(3));
        assert_eq!(step(&mut s, time(3)), (JobRead::default(), JobStep::Start));
        s.stepped(Slot::Load, None, &started(), time(4));
    }
    s.stepped(Slot::Load, None, &lost(false), time(5));
    let (read, asked) = step(&mut s, time(5));
    assert_eq!((read.from, read.to.is_some(), asked), (None, true, JobStep::Start));
    assert_eq!(s.job.as_ref().unwrap().parts.len(), 2);
}

#[test]
fn what_is_too_much_is_halved_to_a_day_and_then_read_by_queries() {
    let mut s = ready();
    let (mut halvings, mut widths) = (0, Vec::new());
    let part = loop {
        s.stepped(Slot::Load, None, &lost(true), time(5));
        let next = only(&mut s, time(5));
        if let TaskKind::Window { from, to, .. } = next.task.kind {
            break (next.slot, from, to);
        }
        let TaskKind::Job { read, .. } = next.task.kind else { panic!("no job") };
        widths.push(read.to.unwrap());
        halvings += 1;
        assert!(halvings < 20);
        s.stepped(Slot::Load, None, &started(), time(5));
    };
    assert!(widths.windows(2).all(|w| w[1] < w[0]), "each is narrower");
    assert_eq!((part.0, part.1), (Slot::Part, Time::UNIX_EPOCH));
    s.delivered(Slot::Part, Some((part.1, part.2)), Some("p".into()));
    let TaskKind::Window { after, .. } = only(&mut s, time(6)).task.kind else { panic!() };
    assert_eq!(after.as_deref(), Some("p"), "it goes on where it was");
    s.stepped(Slot::Part, Some((part.1, part.2)), &Step::Done, time(7));
    // The rest of the parts go by jobs again; the last one is open above.
    assert_eq!(step(&mut s, time(7)).0.from, Some(part.2));
    let parts = &s.job.as_ref().unwrap().parts;
    assert_eq!(parts.last().unwrap().to, None);
    assert!(parts.windows(2).all(|w| w[0].to == w[1].from), "no gap: {parts:?}");
}

#[test]
fn without_a_stamp_what_fails_goes_by_queries_from_the_beginning() {
    let mut s = ready();
    s.stepped(Slot::Load, None, &lost(true), time(5));
    let tasks = planned(&mut s, false, time(5));
    assert!(matches!(tasks[..], [Planned { slot: Slot::Load, ref task }]
        if task.kind == TaskKind::Scan { after: None }));
    assert_eq!(s.no_job.as_ref().unwrap().why, "expired");
    assert_eq!(s.stepped(Slot::Load, None, &Step::Done, time(6)), [Consequence::Key]);
}

#[test]
fn a_page_is_tried_three_times_and_then_its_part_is_read_by_queries() {
    let mut s = ready();
    for tries in 0..3 {
        let JobStep::Page { tries: t, .. } = step(&mut s, time(3)).1 else { panic!() };
        assert_eq!(t, tries);
        assert!(s.failed(Slot::Load, &SCAN, &Fault::contract("cut short"), time(3)).is_some());
    }
    assert_eq!(only(&mut s, time(3)).slot, Slot::Part);
    // What cannot be read by queries either is the caller's to name.
    assert!(s.failed(Slot::Part, &SCAN, &Fault::contract("again"), time(3)).is_none());
}

#[test]
fn cut_downloads_count_only_when_they_come_in_fives() {
    let mut s = ready();
    for _ in 0..4 {
        assert!(s.failed(Slot::Load, &SCAN, &Fault::passing("reset"), time(3)).is_none());
    }
    let page = |next: &str| Step::Page { rows: 3, next: Some(next.into()) };
    s.stepped(Slot::Load, None, &page("x"), time(3));
    assert_eq!(s.job.as_ref().unwrap().cuts, 0, "there was progress");
    for _ in 0..15 {
        assert_eq!(only(&mut s, time(3)).slot, Slot::Load);
        s.failed(Slot::Load, &SCAN, &Fault::passing("reset"), time(3));
    }
    assert_eq!(only(&mut s, time(3)).slot, Slot::Part);
}

#[test]
fn a_job_that_takes_too_long_is_called_off_and_narrowed() {
    let mut s = new();
    s.stepped(Slot::Load, None, &started(), time(0));
    assert_eq!(step(&mut s, time(899)).1, JobStep::Look { job: "64.0/750".into() });
    assert_eq!(step(&mut s, time(900)).1, JobStep::Abort { job: "64.0/750".into() });
    s.stepped(Slot::Load, None, &Step::Done, time(900));
    assert!(matches!(s.phase, Phase::Load { .. }), "the load did not end with it");
    assert!(step(&mut s, time(900)).0.to.is_some());
}

#[test]
fn a_refusal_is_believed_for_a_week_or_until_the_fields_change() {
    let refused = || {
        let mut s = new();
        s.stepped(Slot::Load, None, &Step::NoJob { why: "not supported".into() }, time(0));
        s
    };
    let scan = TaskKind::Scan { after: None };
    let mut s = refused();
    assert_eq!(only(&mut s, time(6 * 86_400)).task.kind, scan);
    assert_eq!(step(&mut s, time(7 * 86_400)).1, JobStep::Start);
    let mut s = refused();
    s.take_fields(vec!["Id".into(), "A".into()]);
    assert_eq!(only(&mut s, time(1)).task.kind, scan);
    s.take_fields(vec!["Id".into()]);
    assert_eq!(step(&mut s, time(1)).1, JobStep::Start);
}

#[test]
fn a_changed_list_of_fields_begins_the_job_anew_unless_pages_are_in() {
    let fields = || vec!["Id".to_owned(), "A".into(), "B".into()];
    let mut s = ready();
    s.take_fields(fields());
    assert!(matches!(step(&mut s, time(3)).1, JobStep::Abort { .. }));
    // Whatever the source says to that.
    assert!(s.failed(Slot::Load, &SCAN, &Fault::contract("404"), time(3)).is_some());
    assert_eq!(only(&mut s, time(3)).task.fields, fields());

    let mut s = ready();
    s.stepped(Slot::Load, None, &Step::Page { rows: 3, next: Some("x".into()) }, time(3));
    s.take_fields(fields());
    let page = only(&mut s, time(3)).task;
    assert_eq!(page.fields, ["Id", "A"], "the same at each of its steps");
    assert_eq!(s.fill.as_ref().unwrap().fields, ["B"]);
}

#[test]
fn a_field_refused_at_the_start_is_left_out() {
    let mut s = new();
    let moved = Fault::SchemaMoved { object: "Thing".into(), field: Some("A".into()) };
    assert!(s.failed(Slot::Load, &SCAN, &moved, time(0)).is_some());
    let Task { fields, kind, .. } = only(&mut s, time(0)).task;
    assert_eq!(fields, ["Id"]);
    assert!(matches!(kind, TaskKind::Job { step: JobStep::Start, .. }));
}

#[test]
fn jobs_take_turns_and_hold_nothing_else_back() {
    let schemas: Vec<ObjectSchema> = ["A", "B", "C", "D"].map(|n| schema(n, true)).into();
    let mut states: Vec<ObjectState> = (0..4).map(|_| new()).collect();
    let tasks = |states: &[ObjectState], now: Time| {
        let objects: Vec<Object<'_>> = states
            .iter()
            .zip(&schemas)
            .map(|(state, schema)| Object { state, schema, missing: &[], job: true })
            .collect();
        let names = |p: Planned| (p.task.object, p.slot);
        plan(&objects, 0, &rules(), now, now).into_iter().map(names).collect::<Vec<_>>()
    };
    let load = |n: &str| (n.to_owned(), Slot::Load);
    assert_eq!(tasks(&states, time(0)), [load("A"), load("B"), load("C")]);
    for s in states.iter_mut().take(3) {
        s.stepped(Slot::Load, None, &started(), time(0));
    }
    assert_eq!(tasks(&states, time(0)), [], "the fourth waits for its turn");
    assert_eq!(states[3].waits(&rules()).unwrap().since, None);
    // An object that is followed goes on while jobs are waited for.
    states[1] = new();
    states[1].stepped(Slot::Load, None, &Step::Done, time(0));
    assert_eq!(tasks(&states, time(0)), [("B".to_owned(), Slot::Window), load("D")]);
    let soon = time(0).checked_add(SignedDuration::from_millis(300)).unwrap();
    assert_eq!(next_look(&states), Some(soon));
}
