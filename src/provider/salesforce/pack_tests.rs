#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crmsync_core::domain::{Field, FieldType, JobRead, JobStep, ObjectSchema, Time};
use proptest::prelude::*;

fn schema(objects: usize) -> Schema {
    let mut schema = Schema::default();
    for i in 0..objects {
        // Every fourth object is so wide that it takes several queries.
        let width = if i % 4 == 3 { 700 } else { 5 };
        let field = |name: String| Field {
            label: name.clone(),
            name,
            kind: FieldType::Text,
            source_type: "string".into(),
            calculated: false,
        };
        let mut fields = vec![field("Id".into()), field("SystemModstamp".into())];
        fields
            .extend((0..width).map(|f| field(format!("Some_custom_field_of_a_length_{f:03}__c"))));
        let name = format!("O{i}__c");
        schema.objects.insert(
            name.clone(),
            ObjectSchema {
                label: name.clone(),
                name,
                key: "Id".into(),
                stamp: Some("SystemModstamp".into()),
                deleted_flag: None,
                delete_log: true,
                fields,
            },
        );
    }
    schema
}

fn task(schema: &Schema, object: usize, kind: TaskKind) -> Task {
    let name = format!("O{object}__c");
    let fields = schema
        .objects
        .get(&name)
        .map_or_else(Vec::new, |o| o.fields.iter().map(|f| f.name.clone()).collect());
    Task { object: name, fields, kind }
}

fn kinds() -> impl Strategy<Value = TaskKind> {
    let (from, to): (Time, Time) =
        ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-02T00:00:00Z".parse().unwrap());
    prop_oneof![
        Just(TaskKind::Scan { after: None }),
        Just(TaskKind::Window { from, to, after: None }),
        Just(TaskKind::Deleted { from, to }),
        Just(TaskKind::Keys { after: Some("001".into()) }),
        Just(TaskKind::Count { from: None, to: None }),
        Just(TaskKind::Job { read: JobRead::default(), step: JobStep::Start }),
        (1usize..1500)
            .prop_map(|n| TaskKind::Ids { ids: (0..n).map(|i| format!("{i:018}")).collect() }),
    ]
}

/// Tasks flattened so that cut lists of ids can be compared with what was asked.
fn flat<'a>(tasks: impl Iterator<Item = &'a Task>) -> Vec<(String, String)> {
    tasks
        .flat_map(|t| match &t.kind {
            TaskKind::Ids { ids } => {
                ids.iter().map(|id| (t.object.clone(), id.clone())).collect::<Vec<_>>()
            }
            kind => vec![(t.object.clone(), format!("{kind:?}"))],
        })
        .collect()
}

#[test]
fn a_poll_of_20_objects_costs_4_calls() {
    let mut schema = schema(0);
    let small = super::tests::schema(1);
    for i in 0..20 {
        let mut o = small.objects["O0__c"].clone();
        o.name = format!("O{i}__c");
        schema.objects.insert(o.name.clone(), o);
    }
    let from: Time = "2026-01-01T00:00:00Z".parse().unwrap();
    let to: Time = "2026-01-01T00:15:00Z".parse().unwrap();
    let domain = QuotaDomain("salesforce:1".into());
    let window = |i| task(&schema, i, TaskKind::Window { from, to, after: None });
    let deleted = |i| task(&schema, i, TaskKind::Deleted { from, to });
    let interleaved: Vec<Task> = (0..20).flat_map(|i| [window(i), deleted(i)]).collect();
    let grouped: Vec<Task> = (0..20).map(window).chain((0..20).map(deleted)).collect();
    for tasks in [interleaved, grouped] {
        let made = calls(&tasks, &schema, &domain, usize::MAX, false);
        assert_eq!(made.len(), 4);
        assert_eq!(made.iter().map(|c| c.cost).sum::<u32>(), 4);
    }
    // An org that refuses the delete log within a composite pays for each.
    let windows_then_deletes: Vec<Task> = (0..20).map(window).chain((0..20).map(deleted)).collect();
    assert_eq!(calls(&windows_then_deletes, &schema, &domain, usize::MAX, true).len(), 24);
}

#[test]
fn counts_pack_like_queries_and_share_with_windows() {
    let schema = schema(3);
    let from: Time = "2026-01-01T00:00:00Z".parse().unwrap();
    let domain = QuotaDomain("salesforce:1".into());
    let window = task(&schema, 0, TaskKind::Window { from, to: from, after: None });
    let count = |i: usize| task(&schema, i % 3, TaskKind::Count { from: Some(from), to: None });
    let tasks: Vec<Task> = std::iter::once(window).chain((0..9).map(count)).collect();
    let sizes: Vec<usize> =
        calls(&tasks, &schema, &domain, 9, false).iter().map(|c| c.tasks.len()).collect();
    assert_eq!(sizes, [5, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_task_once_in_order_and_within_the_limits(
        asked in proptest::collection::vec((0usize..9, kinds()), 0..30),
        budget in 0usize..40,
        deletes_alone: bool,
    ) {
        // O8 was never described.
        let schema = schema(8);
        let domain = QuotaDomain("salesforce:1".into());
        let tasks: Vec<Task> =
            asked.into_iter().map(|(o, kind)| task(&schema, o, kind)).collect();
        let made = calls(&tasks, &schema, &domain, usize::MAX, deletes_alone);
        prop_assert_eq!(flat(made.iter().flat_map(|c| &c.tasks)), flat(tasks.iter()));
        for call in &made {
            prop_assert_eq!(call.cost, 1);
            prop_assert!(!call.tasks.is_empty());
            let sizes: Vec<_> = call.tasks.iter().map(|t| size(t, &schema)).collect();
            prop_assert!(sizes.iter().map(|s| s.0).sum::<usize>() <= MAX_PARTS);
            prop_assert!(sizes.iter().map(|s| s.1).sum::<usize>() <= MAX_QUERIES);
            let jobs = call.tasks.iter().filter(|t| matches!(t.kind, TaskKind::Job { .. }));
            prop_assert!(jobs.count() == 0 || call.tasks.len() == 1);
            if deletes_alone {
                let d = call.tasks.iter().filter(|t| matches!(t.kind, TaskKind::Deleted { .. }));
                prop_assert!(d.count() == 0 || call.tasks.len() == 1);
            }
        }
        let cut = calls(&tasks, &schema, &domain, budget, deletes_alone);
        prop_assert_eq!(&cut[..], &made[..budget.min(made.len())]);
    }
}
