//! How fast; run by hand: `cargo test --release replica::tests::timing -- --ignored --nocapture`.

use super::*;
use crate::replica::{Absent, Fed, Into};

const ROWS: u32 = 200_000;
const PAGE: u32 = 2_000;

fn kind(i: usize) -> FieldType {
    match i % 6 {
        1 => FieldType::Decimal,
        2 => FieldType::DateTime,
        3 => FieldType::Boolean,
        4 => FieldType::Integer,
        _ => FieldType::Text,
    }
}

fn pages(shuffled: bool) -> Vec<Batch> {
    let id = |n: u32| if shuffled { n.wrapping_mul(2_654_435_761) } else { n };
    (0..ROWS / PAGE)
        .map(|page| {
            let mut b = BatchBuilder::new(30);
            for n in page * PAGE..(page + 1) * PAGE {
                b.row();
                b.set(0, &format!("001{:015}", id(n)));
                for i in 1..30 {
                    match kind(i) {
                        FieldType::Decimal => b.set(i, &format!("{n}.{i:02}")),
                        FieldType::DateTime => b.set(i, "2024-02-29T23:59:59.000+0000"),
                        FieldType::Boolean => b.set(i, "false"),
                        FieldType::Integer => b.set(i, &format!("{n}")),
                        FieldType::Text
                        | FieldType::Date
                        | FieldType::TimeOfDay
                        | FieldType::Json => b.set(i, &format!("text {i} of {n}")),
                    }
                }
            }
            b.finish()
        })
        .collect()
}

/// A first load of one page, as a bulk job brings it, and an increment.
#[test]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods)]
fn first_loads() {
    let fields: Vec<(String, FieldType)> = (0..30).map(|i| (format!("F{i}"), kind(i))).collect();
    let fields: Vec<(&str, FieldType)> = fields.iter().map(|(n, k)| (n.as_str(), *k)).collect();
    let all = names(&fields);
    let own = server::Postgres::start(&[]).expect("PostgreSQL");
    for (round, base) in [Base::Sqlite, Base::Postgres].into_iter().cycle().take(6).enumerate() {
        for shuffled in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let place = match base {
                Base::Sqlite => Place::File(dir.path().join("sf.db")),
                Base::Postgres => {
                    let schema = format!("r{round}_{shuffled}");
                    Place::Schema { server: own.server(), schema }
                }
            };
            let mut replica = claimed(&place);
            replica.lay_out(&schema("Account", &fields), &all, t("2024-01-01T00:00:00Z")).unwrap();
            let mut fed: Vec<Fed> = pages(shuffled).into_iter().map(Fed::Batch).collect();
            fed.reverse();
            fed.insert(0, Fed::Commit { state: "1".into(), key: true });
            let begin = std::time::Instant::now();
            let at = t("2024-01-01T00:00:00Z");
            replica
                .stream("Account", &all, Into::FirstLoad, at, &mut || fed.pop().unwrap())
                .unwrap();
            let loaded = begin.elapsed();
            let mut ten = pages(shuffled);
            ten.truncate(10);
            let small = {
                let mut b = BatchBuilder::new(30);
                b.row();
                b.set(0, ten[0].key(0).unwrap());
                b.set(5, "new");
                b.finish()
            };
            let mode = Mode::Upsert;
            let mut merge = |batch: &Batch| {
                let begin = std::time::Instant::now();
                let rows = Change::Rows { object: "Account", fields: &all, batch, mode, at };
                let n = replica.write(&[rows]).unwrap()[0].changed;
                (n, begin.elapsed())
            };
            merge(&small);
            let (one, same) = (merge(&small), merge(&ten[3]));
            eprintln!(
                "{base:?} shuffled {shuffled}: load {loaded:?}; one row {one:?}; 2000 unchanged {same:?}"
            );
        }
    }
}

#[test]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods)]
fn two_hundred_thousand_by_thirty() {
    let fields: Vec<(String, FieldType)> = (0..30).map(|i| (format!("F{i}"), kind(i))).collect();
    let fields: Vec<(&str, FieldType)> = fields.iter().map(|(n, k)| (n.as_str(), *k)).collect();
    let all = names(&fields);
    for shuffled in [false, true] {
        let mut bed = bed(Base::Sqlite);
        bed.lay_out(&schema("Account", &fields));
        let pages = pages(shuffled);
        for what in ["first load", "re-read without change"] {
            let begin = std::time::Instant::now();
            let mut changed = 0;
            for (n, batch) in pages.iter().enumerate() {
                let state = n.to_string();
                let rows = Change::Rows {
                    object: "Account",
                    fields: &all,
                    batch,
                    mode: Mode::Upsert,
                    at: t("2024-01-01T00:00:00Z"),
                };
                let state = Change::State { object: "Account", state: &state };
                changed += bed.replica.write(&[rows, state]).unwrap()[0].changed;
            }
            eprintln!(
                "{what}, shuffled {shuffled}: {ROWS} x 30, {changed} changed, {:?}",
                begin.elapsed()
            );
        }
        let begin = std::time::Instant::now();
        bed.write(Change::SweepBegin { object: "Account" });
        for batch in pages.iter().skip(2) {
            bed.write(Change::SweepKeys { object: "Account", batch });
        }
        let done = bed.write(Change::SweepEnd {
            object: "Account",
            as_: Absent::Mark,
            guard: None,
            at: t("2024-01-01T00:00:00Z"),
        });
        eprintln!("sweep of {} keys, {} absent: {:?}", done.rows, done.deleted, begin.elapsed());
        let begin = std::time::Instant::now();
        let Bed { replica, place, dir: _dir, .. } = bed;
        let Place::File(path) = place else { unreachable!() };
        replica.close().unwrap();
        let size = std::fs::metadata(&path).unwrap().len() / 1_000_000;
        eprintln!("close: {:?}, {size} MB", begin.elapsed());
    }
}
