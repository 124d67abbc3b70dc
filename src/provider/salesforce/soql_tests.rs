use super::*;
use crmsync_core::domain::{Field, FieldType};
use proptest::prelude::*;

fn object(fields: usize) -> ObjectSchema {
    let text = |name: String| Field {
        label: name.clone(),
        name,
        kind: FieldType::Text,
        source_type: "string(255)".into(),
        calculated: false,
    };
    let mut all = vec![text("Id".into()), text("SystemModstamp".into()), text("IsDeleted".into())];
    all.extend((0..fields).map(|i| text(format!("A_rather_long_custom_field_name_{i:04}__c"))));
    ObjectSchema {
        name: "Wide__c".into(),
        label: "Wide".into(),
        key: "Id".into(),
        stamp: Some("SystemModstamp".into()),
        deleted_flag: Some("IsDeleted".into()),
        delete_log: true,
        fields: all,
    }
}

fn task(object: &ObjectSchema, kind: TaskKind) -> Task {
    let fields = object.fields.iter().map(|f| f.name.clone()).collect();
    Task { object: object.name.clone(), fields, kind }
}

fn t(text: &str) -> Time {
    text.parse().unwrap()
}

#[test]
fn texts() {
    let o = object(1);
    let from = t("2026-01-02T03:04:05.678Z");
    let to = t("2026-01-02T04:00:00Z");
    let one = |kind| {
        let q = queries(&task(&o, kind), &o).unwrap();
        assert_eq!(q.len(), 1);
        format!("{} {}", q[0].resource, q[0].soql(7))
    };
    let fields = "Id,SystemModstamp,IsDeleted,A_rather_long_custom_field_name_0000__c";
    assert_eq!(
        one(TaskKind::Scan { after: None }),
        format!("query SELECT {fields} FROM Wide__c ORDER BY Id LIMIT 7")
    );
    assert_eq!(
        one(TaskKind::Scan { after: Some("00'1\\".into()) }),
        format!("query SELECT {fields} FROM Wide__c WHERE Id > '00\\'1\\\\' ORDER BY Id LIMIT 7")
    );
    assert_eq!(
        one(TaskKind::Window { from, to, after: None }),
        format!(
            "queryAll SELECT {fields} FROM Wide__c WHERE SystemModstamp >= 2026-01-02T03:04:05.678Z \
             AND SystemModstamp < 2026-01-02T04:00:00.000Z ORDER BY SystemModstamp, Id LIMIT 7"
        )
    );
    let after = window_position("2026-01-02T03:59:59.000+0000", "001").unwrap();
    assert_eq!(after, "2026-01-02T03:59:59.000Z|001");
    assert_eq!(
        one(TaskKind::Window { from, to, after: Some(after) }),
        format!(
            "queryAll SELECT {fields} FROM Wide__c WHERE ((SystemModstamp = 2026-01-02T03:59:59.000Z \
             AND Id > '001') OR SystemModstamp > 2026-01-02T03:59:59.000Z) \
             AND SystemModstamp < 2026-01-02T04:00:00.000Z ORDER BY SystemModstamp, Id LIMIT 7"
        )
    );
    assert_eq!(
        one(TaskKind::Keys { after: None }),
        "query SELECT Id FROM Wide__c ORDER BY Id LIMIT 7"
    );
    assert_eq!(one(TaskKind::Count { from: None, to: None }), "query SELECT count() FROM Wide__c");
    assert_eq!(
        one(TaskKind::Ids { ids: vec!["1".into(), "2".into()] }),
        format!("queryAll SELECT {fields} FROM Wide__c WHERE Id IN ('1','2')")
    );
}

/// Archived rows come with the windows: what proves, sweeps and loads has to see them, too.
#[test]
fn where_rows_are_archived_all_that_live_are_asked_for() {
    let mut o = object(0);
    o.fields[2].name = "IsArchived".into();
    let bounds = (Some(t("2026-01-02T00:00:00Z")), Some(t("2026-01-03T00:00:00Z")));
    let kinds = || {
        let (from, to) = bounds;
        let after = Some("001".to_owned());
        vec![
            TaskKind::Scan { after: None },
            TaskKind::Scan { after: after.clone() },
            TaskKind::Keys { after: None },
            TaskKind::Keys { after },
            TaskKind::Count { from: None, to: None },
            TaskKind::Count { from, to },
        ]
    };
    let read = JobRead { from: bounds.0, to: bounds.1 };
    let texts = |o: &ObjectSchema| {
        let asked = kinds().into_iter().map(|kind| {
            let q = queries(&task(o, kind), o).unwrap();
            format!("{} {}", q[0].resource, q[0].soql(7))
        });
        let mut all: Vec<String> = asked.collect();
        for read in [&JobRead::default(), &read] {
            let (operation, query) =
                job(&task(o, TaskKind::Scan { after: None }), o, read).unwrap();
            all.push(format!("{operation} {query}"));
        }
        all
    };
    let fields = "Id,SystemModstamp,IsArchived";
    let within = "SystemModstamp >= 2026-01-02T00:00:00.000Z \
                  AND SystemModstamp < 2026-01-03T00:00:00.000Z";
    let alive = "FROM Wide__c WHERE IsDeleted = false";
    assert_eq!(
        texts(&o),
        [
            format!("queryAll SELECT {fields} {alive} ORDER BY Id LIMIT 7"),
            format!("queryAll SELECT {fields} {alive} AND Id > '001' ORDER BY Id LIMIT 7"),
            format!("queryAll SELECT Id {alive} ORDER BY Id LIMIT 7"),
            format!("queryAll SELECT Id {alive} AND Id > '001' ORDER BY Id LIMIT 7"),
            format!("queryAll SELECT count() {alive}"),
            format!("queryAll SELECT count() {alive} AND {within}"),
            format!("queryAll SELECT {fields} {alive}"),
            format!("queryAll SELECT {fields} {alive} AND {within}"),
        ]
    );
    // Windows bring the deleted as well, as they are.
    let (from, to) = (bounds.0.unwrap(), bounds.1.unwrap());
    let window = queries(&task(&o, TaskKind::Window { from, to, after: None }), &o).unwrap();
    assert_eq!(window[0].resource, "queryAll");
    assert!(!window[0].text.contains("IsDeleted"), "{}", window[0].text);
    // Without a flag the deleted could not be told: these are asked for as ever.
    o.deleted_flag = None;
    for text in texts(&o) {
        assert!(text.starts_with("query ") && !text.contains("IsDeleted"), "{text}");
    }
}

#[test]
fn wide_objects_are_read_in_groups_that_fit_and_can_be_joined() {
    let o = object(900);
    let window = TaskKind::Window {
        from: t("2026-01-01T00:00:00Z"),
        to: t("2026-01-02T00:00:00Z"),
        after: Some("2026-01-01T00:00:00.000Z|001000000000001AAA".into()),
    };
    for kind in [TaskKind::Scan { after: None }, window] {
        let task = task(&o, kind);
        let all = queries(&task, &o).unwrap();
        assert!((3..=5).contains(&all.len()), "{}", all.len());
        let mut seen: Vec<usize> = all.iter().flat_map(|q| q.columns.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..task.fields.len()).collect::<Vec<_>>());
        for q in &all {
            assert!(encode(&q.soql(2000)).len() <= URI_ROOM - 100);
            assert!(q.text.starts_with("SELECT Id,SystemModstamp,"));
        }
    }
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let mut o = object(1);
    let bad = Task {
        object: "A B".into(),
        fields: Vec::new(),
        kind: TaskKind::Count { from: None, to: None },
    };
    assert!(queries(&bad, &o).is_err());
    let mut hostile = task(&o, TaskKind::Scan { after: None });
    hostile.fields.push("Name FROM User--".into());
    assert!(queries(&hostile, &o).unwrap_err().contains("is not a name"));
    assert!(queries(&task(&o, TaskKind::Delta { token: None }), &o).is_err());
    o.stamp = None;
    let (from, to) = (t("2026-01-01T00:00:00Z"), t("2026-01-02T00:00:00Z"));
    assert!(queries(&task(&o, TaskKind::Window { from, to, after: None }), &o).is_err());
    let o = object(1);
    for after in ["", "x|1", "2026-01-01T00:00:00Z", "1' OR Id > '|1"] {
        let kind = TaskKind::Window { from, to, after: Some(after.into()) };
        assert!(queries(&task(&o, kind), &o).is_err(), "{after}");
    }
}

#[test]
fn times_of_the_vendor_are_read() {
    let stamp = t("2026-01-02T17:38:59Z");
    for text in
        ["2026-01-02T17:38:59.000+0000", "2026-01-02T17:38:59.000Z", "2026-01-02T18:38:59+01:00"]
    {
        assert_eq!(parse_datetime(text), Some(stamp), "{text}");
    }
    for text in ["", "2026", "yesterday", "2026-13-02T17:38:59.000+0000"] {
        assert_eq!(parse_datetime(text), None, "{text}");
    }
}

#[test]
fn pages_shrink_with_width_and_after_trouble() {
    assert_eq!(rows_per_page(60, false, 0), PAGE);
    assert_eq!(rows_per_page(800, true, 0), 996);
    assert!(rows_per_page(800, false, 0) < 400);
    assert_eq!(rows_per_page(60, true, 1), 1000);
    assert_eq!(rows_per_page(60, true, 99), 1);
}

proptest! {
    /// A literal reads back to its text by the vendor's escapes, and never ends early.
    #[test]
    fn literals_hold_any_text(text in "\\PC{0,40}|[\\x00-\\x7f]{0,20}") {
        let quoted = literal(&text);
        let inner = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\'')).unwrap();
        let mut back = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            prop_assert_ne!(c, '\'');
            back.push(if c == '\\' {
                match chars.next().unwrap() {
                    'n' => '\n', 'r' => '\r', 't' => '\t', 'b' => '\u{8}', 'f' => '\u{c}', c => c,
                }
            } else { c });
        }
        prop_assert_eq!(back, text);
    }

    #[test]
    fn encoding_survives_a_reader(text in "\\PC{0,60}") {
        let query = format!("q={}", encode(&text));
        let (_, back) = url::form_urlencoded::parse(query.as_bytes()).next().unwrap();
        prop_assert_eq!(back.as_ref(), text.as_str());
    }

    #[test]
    fn times_round_trip(secs in 0i64..4_000_000_000) {
        let at = Time::from_second(secs).unwrap();
        prop_assert_eq!(parse_datetime(&datetime(at)), Some(at));
    }
}
