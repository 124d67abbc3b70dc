//! Laws over any input, and the figures of a large org.

use super::super::query::Plan;
use super::super::schema::Source;
use super::super::value::datetime_text;
use super::*;
use proptest::prelude::*;

fn some_stamp() -> impl Strategy<Value = String> {
    let stamps: Vec<String> = org()
        .object("Account")
        .unwrap()
        .by_stamp
        .keys()
        .step_by(23)
        .map(|(s, _)| datetime_text(s * 1000))
        .collect();
    (prop::sample::select(stamps), any::<bool>())
        .prop_map(|(s, frac)| if frac { s.replace(".000", ".500") } else { s })
}

fn some_id() -> impl Strategy<Value = String> {
    prop::sample::select(
        org()
            .object("Account")
            .unwrap()
            .by_id
            .keys()
            .step_by(17)
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    )
}

pub(super) fn condition() -> impl Strategy<Value = String> {
    let op = || prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (op(), some_stamp()).prop_map(|(op, s)| format!("SystemModstamp {op} {s}")),
        (op(), some_id()).prop_map(|(op, id)| format!("Id {op} '{id}'")),
        Just("Name LIKE '%a%'".to_owned()),
        Just("Rating = null".to_owned()),
        (some_stamp(), some_id()).prop_map(|(s, id)| format!(
            "((SystemModstamp = {s} AND Id > '{id}') OR SystemModstamp > {s})"
        )),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|l| format!("({})", l.join(" AND "))),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|l| format!("({})", l.join(" OR "))),
            inner.prop_map(|e| format!("(NOT {e})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_kept_orders_change_no_answer(
        condition in condition(),
        order in prop::sample::select(vec!["", " ORDER BY Id", " ORDER BY Id DESC", " ORDER BY SystemModstamp, Id", " ORDER BY SystemModstamp DESC, Id DESC", " ORDER BY SystemModstamp", " ORDER BY Name, Id"]),
        limit in prop::sample::select(vec!["", " LIMIT 7"]),
    ) {
        // Without an order any rows will do, so a limit says nothing there.
        let limit = if order.is_empty() { "" } else { limit };
        let soql = format!("SELECT Id FROM Account WHERE {condition}{order}{limit}");
        let fast = org().run(&soql, true, &Access::full(), now(), Plan::Indexed).unwrap();
        let slow = org().run(&soql, true, &Access::full(), now(), Plan::Naive).unwrap();
        let (mut fast, mut slow) = (fast.rows, slow.rows);
        if order.is_empty() {
            fast.sort_unstable();
            slow.sort_unstable();
        }
        prop_assert_eq!(fast, slow, "{}", soql);
    }

    #[test]
    fn any_query_text_is_answered(text in ".{0,60}") {
        let _ = org().query(&text, false, &Access::full(), now());
        let _ = org().query(&format!("SELECT Id FROM Account WHERE {text}"), false, &Access::full(), now());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_write_is_answered(text in any::<String>(), field in prop::sample::select(org().object("Account").unwrap().fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>())) {
        let mut org = small();
        let mut fields = map(json!({"Name": "n"}));
        fields.insert(field, Value::String(text));
        let _ = org.create("Account", &fields, now(), None, USER);
        for row in rows(&org, "SELECT Id, Name, BillingAddress FROM Account", false, now()) {
            prop_assert!(row["Id"].is_string());
        }
    }
}

/// Figures of a large org; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn two_hundred_thousand() {
    let rss = || {
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmRSS"))
            .unwrap()
            .to_owned()
    };
    #[allow(clippy::disallowed_methods, reason = "measures")]
    let clock = std::time::Instant::now;
    println!("before: {}", rss());
    let t = clock();
    let spec =
        GenSpec { records: vec![("Account".to_owned(), 200_000)], ..spec(0, IdOrder::Shuffled) };
    let org = Org::generate(&spec);
    println!(
        "generate 200,000 x {}: {:?}, {}",
        org.object("Account").unwrap().fields.len(),
        t.elapsed(),
        rss()
    );
    let (stamp, id) = *org.object("Account").unwrap().by_stamp.keys().nth(100_000).unwrap();
    let all: Vec<String> = org
        .object("Account")
        .unwrap()
        .fields
        .iter()
        .filter(|f| !matches!(f.source, Source::Parts(_)))
        .map(|f| f.name.clone())
        .collect();
    let fields = all.join(", ");
    let s = datetime_text(stamp * 1000);
    for soql in [
        format!(
            "SELECT {fields} FROM Account WHERE (SystemModstamp = {s} AND Id > '{id}') OR SystemModstamp > {s} ORDER BY SystemModstamp, Id LIMIT 2000"
        ),
        format!("SELECT {fields} FROM Account WHERE Id > '{id}' ORDER BY Id LIMIT 2000"),
        "SELECT Id FROM Account WHERE Name LIKE '%Acme%' ORDER BY Name LIMIT 2000".to_owned(),
        "SELECT count() FROM Account".to_owned(),
        "SELECT Id FROM Account".to_owned(),
    ] {
        let t = clock();
        let result = org.query(&soql, false, &Access::full(), now()).unwrap();
        let queried = t.elapsed();
        let mut out = Vec::new();
        org.render(&result, 0, 2000, &mut out, "v64.0");
        println!(
            "query {queried:?}, render {:?} ({} bytes): {}",
            t.elapsed().saturating_sub(queried),
            out.len(),
            &soql[soql.len().saturating_sub(90)..]
        );
    }
}
