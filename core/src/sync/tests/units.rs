//! Single decisions.

use super::model::time;
use crate::domain::{Field, FieldType, ObjectSchema, SchemaPolicy, Step, TaskKind};
use crate::sync::*;
use jiff::SignedDuration;

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
    assert!(s.failed(Slot::Load, &TaskKind::Scan { after: None }, &fault, now).is_some());
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

#[test]
fn deletes_are_not_known_while_keys_are_compared_because_the_log_has_a_gap() {
    let mut s = ObjectState::new(vec!["Id".into()], time(0));
    s.stepped(Slot::Load, None, &Step::Done, time(1));
    let told = Step::Deleted { ids: vec![], earliest: Some(time(50)), covered: time(100) };
    let out = s.stepped(Slot::Deleted, Some((time(0), time(100))), &told, time(100));
    assert_eq!(out, [Consequence::BeginSweep]);
    assert_eq!(s.deletes_known(), None);
    s.stepped(Slot::Sweep, None, &Step::Done, time(101));
    assert_eq!(s.deletes_known(), Some(time(100)));
}

#[test]
fn claims_are_whole_seconds_and_looks_are_finer() {
    let later = |millis| time(5).checked_add(SignedDuration::from_millis(millis)).unwrap();
    let mut s = ObjectState::new(vec!["Id".into()], time(0));
    s.stepped(Slot::Load, None, &Step::Started { job: "j".into() }, later(700));
    assert_eq!(s.phase, Phase::Load { started: time(5), after: None });
    assert_eq!(next_look([&s]), Some(later(1_000)));
}

fn schema(fields: &[(&str, FieldType)]) -> ObjectSchema {
    let field = |(name, kind): &(&str, FieldType)| Field {
        name: (*name).into(),
        label: (*name).into(),
        kind: *kind,
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
        fields: fields.iter().map(field).collect(),
    }
}

#[test]
fn a_frozen_schema_takes_in_nothing_that_comes_by_itself() {
    use FieldType::{Decimal, Text};
    let base = [("Id", Text), ("Stamp", Text), ("A", Text), ("B", Text)];
    let before = schema(&base);
    let now = schema(&[("Id", Text), ("Stamp", Text), ("A", Decimal), ("B", Text), ("C", Text)]);
    let all = |s: &ObjectSchema| s.fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    let known = all(&before);
    let read = |policy, known: Option<&[String]>, named: &str, before: Option<&ObjectSchema>| {
        fields_to_read(policy, known, all(&now), |f| f == named, before, &now)
    };
    let follow = read(SchemaPolicy::Follow, Some(&known), "", Some(&before));
    let moved = vec!["A".to_owned()];
    assert_eq!(follow, Reading { fields: all(&now), moved, ..Reading::default() });
    let first = read(SchemaPolicy::Follow, None, "", Some(&before));
    assert_eq!(first.fields, all(&now));
    let first = read(SchemaPolicy::Freeze, None, "", None);
    assert_eq!(first.fields, all(&now), "the first load takes all that there is");
    let frozen = read(SchemaPolicy::Freeze, Some(&known), "", Some(&before));
    assert_eq!(frozen.fields, ["Id", "Stamp", "B"]);
    assert_eq!((&frozen.new[..], &frozen.retyped[..]), (&["C".into()][..], &["A".into()][..]));
    // The next description is the same: nothing is told twice, and nothing sneaks in.
    let next = read(SchemaPolicy::Freeze, Some(&frozen.fields), "", Some(&now));
    assert_eq!(next, Reading { fields: frozen.fields.clone(), ..Reading::default() });
    let named = read(SchemaPolicy::Freeze, Some(&known), "C", Some(&before));
    assert_eq!(named.fields, ["Id", "Stamp", "B", "C"], "asked for by name");
    let named = read(SchemaPolicy::Freeze, Some(&known), "A", Some(&before));
    assert_eq!(named.fields, ["Id", "Stamp", "A", "B"]);
    assert_eq!(named.moved, ["A"], "followed, hence read anew in all records");
}
