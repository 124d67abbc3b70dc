//! Random histories against a map: what the replica holds, and that nothing is written twice.

use super::*;
use crate::replica::{Absent, Counts, Deletes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const AT: &str = "2024-05-01T10:00:00Z";
const LATER: &str = "2024-06-01T00:00:00Z";

#[derive(Debug, Clone)]
enum Op {
    Upsert(Vec<(u8, Option<u16>)>),
    Remove(BTreeSet<u8>),
    Mark(BTreeSet<u8>),
    Sweep(BTreeSet<u8>, Absent),
    Reopen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Live,
    Deleted,
    Hidden,
}

type Model = BTreeMap<u8, (Option<u16>, Mark)>;

fn op() -> impl Strategy<Value = Op> {
    let some = || prop::collection::btree_set(0_u8..24, 0..24);
    let rows = prop::collection::vec((0_u8..24, prop::option::of(0_u16..4)), 0..20);
    let absent = prop_oneof![Just(Absent::Mark), Just(Absent::Remove), Just(Absent::Hide)];
    prop_oneof![
        4 => rows.prop_map(Op::Upsert),
        1 => some().prop_map(Op::Remove),
        1 => some().prop_map(Op::Mark),
        2 => (some(), absent).prop_map(|(keys, as_)| Op::Sweep(keys, as_)),
        1 => Just(Op::Reopen),
    ]
}

fn id(key: u8) -> String {
    format!("k{key}")
}

fn apply(model: &mut Model, op: &Op) {
    match op {
        Op::Upsert(rows) => model.extend(rows.iter().map(|(k, v)| (*k, (*v, Mark::Live)))),
        Op::Remove(keys) => model.retain(|k, _| !keys.contains(k)),
        Op::Mark(keys) => {
            for key in keys {
                model.entry(*key).and_modify(|row| row.1 = Mark::Deleted);
            }
        }
        Op::Sweep(seen, as_) => model.retain(|k, row| {
            if row.1 == Mark::Live && !seen.contains(k) {
                match as_ {
                    Absent::Remove => return false,
                    Absent::Mark => row.1 = Mark::Deleted,
                    Absent::Hide => row.1 = Mark::Hidden,
                }
            }
            true
        }),
        Op::Reopen => {}
    }
}

/// Carries it out, twice where that must change nothing more.
fn run(bed: &mut Bed, op: &Op) {
    let log = |keys: &BTreeSet<u8>| keys.iter().map(|k| (id(*k), t(AT))).collect::<Vec<_>>();
    match op {
        Op::Upsert(rows) => {
            let text: Vec<_> =
                rows.iter().map(|(k, v)| (id(*k), v.map(|v| format!("{v}.50")))).collect();
            let rows: Vec<_> = text.iter().map(|(k, v)| [Some(k.as_str()), v.as_deref()]).collect();
            bed.rows(&["Id", "Amount"], &batch(&rows), AT);
            // Only the last row of each key: the earlier ones are history.
            let last: BTreeMap<_, _> = rows.iter().map(|r| (r[0], *r)).collect();
            let again = batch(&last.into_values().collect::<Vec<_>>());
            assert_eq!(bed.rows(&["Id", "Amount"], &again, LATER).changed, 0);
        }
        Op::Remove(keys) | Op::Mark(keys) => {
            let policy = if matches!(op, Op::Mark(_)) { Deletes::Mark } else { Deletes::Remove };
            let ids = log(keys);
            let change = Change::Deleted { object: "Account", ids: &ids, policy, at: t(AT) };
            bed.write(change);
            assert_eq!(bed.write(change).changed, 0);
        }
        Op::Sweep(seen, as_) => {
            let ids: Vec<String> = seen.iter().map(|k| id(*k)).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let batch = keys(&ids);
            let object = "Account";
            let end = Change::SweepEnd { object, as_: *as_, guard: None, at: t(AT) };
            let all =
                [Change::SweepBegin { object }, Change::SweepKeys { object, batch: &batch }, end];
            bed.replica.write(&all).unwrap();
            assert_eq!(bed.replica.write(&all).unwrap()[2].changed, 0);
        }
        Op::Reopen => {
            bed.reopen();
        }
    }
}

fn held(bed: &Bed) -> Model {
    let rows =
        bed.sql("SELECT id, amount, _deleted_at IS NOT NULL, _hidden_at IS NOT NULL FROM account");
    let read = |row: Vec<Value>| {
        let [Value::Text(key), amount, Value::Integer(deleted), Value::Integer(hidden)] = &row[..]
        else {
            panic!("{row:?}")
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let amount = if let Value::Real(x) = amount { Some((x - 0.5) as u16) } else { None };
        let mark = match (deleted, hidden) {
            (1, _) => Mark::Deleted,
            (_, 1) => Mark::Hidden,
            _ => Mark::Live,
        };
        (key[1..].parse().unwrap(), (amount, mark))
    };
    rows.into_iter().map(read).collect()
}

fn history(base: Base, ops: &[Op]) {
    let mut bed = Bed::account(base);
    let mut model = Model::new();
    for op in ops {
        run(&mut bed, op);
        apply(&mut model, op);
        if bed.replica.counts("Account").unwrap() != Counts::default() || !model.is_empty() {
            assert_eq!(held(&bed), model);
        }
    }
    let counts = bed.replica.counts("Account").unwrap();
    let of = |m| model.values().filter(|row| row.1 == m).count() as u64;
    let wanted =
        Counts { live: of(Mark::Live), deleted: of(Mark::Deleted), hidden: of(Mark::Hidden) };
    assert_eq!(counts, wanted);
    if counts != Counts::default() {
        let twice = bed.one("SELECT count(*) - count(DISTINCT _crmsync_seq) FROM account");
        assert_eq!(twice, Value::Integer(0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_history_ends_as_the_map_says(ops in prop::collection::vec(op(), 1..25)) {
        history(Base::Sqlite, &ops);
        if server::shared().is_some() {
            history(Base::Postgres, &ops);
        }
    }
}
