//! Key sweeps, the guard, erasing, forgetting.

use super::*;
use crate::replica::{Absent, Counts, Deletes, Guard, SweepPlan};
use rusqlite::types::Value::{Integer, Null};

const AT: &str = "2024-05-01T10:00:00Z";
const SWEPT: &str = "2024-06-01T00:00:00Z";

/// `n` rows with keys `k000…`.
fn filled(base: Base, n: usize) -> (Bed, Vec<String>) {
    let mut bed = Bed::account(base);
    let ids: Vec<String> = (0..n).map(|i| format!("k{i:05}")).collect();
    let rows: Vec<_> = ids.iter().map(|id| [Some(id.as_str()), Some("x")]).collect();
    bed.rows(&["Id", "Name"], &batch(&rows), AT);
    (bed, ids)
}

fn sweep(bed: &mut Bed, seen: &[&str]) {
    bed.write(Change::SweepBegin { object: "Account" });
    bed.write(Change::SweepKeys { object: "Account", batch: &keys(seen) });
}

fn end(bed: &mut Bed, as_: Absent, guard: Option<Guard>) -> Applied {
    bed.write(Change::SweepEnd { object: "Account", as_, guard, at: t(SWEPT) })
}

fn absent_rows_are_marked_and_new_keys_listed(base: Base) {
    let (mut bed, ids) = filled(base, 3000);
    let mut seen: Vec<&str> =
        ids.iter().map(String::as_str).filter(|k| !k.ends_with('7')).collect();
    seen.extend(["zz1", "zz2", "zz2", "aa"]);
    sweep(&mut bed, &seen);
    let plan = bed.replica.sweep_plan("Account").unwrap();
    assert_eq!(plan, Some(SweepPlan { missing_here: 3, missing_there: 300, live: 3000 }));
    let done = end(&mut bed, Absent::Mark, None);
    assert_eq!((done.rows, done.deleted, done.missing, done.held), (2703, 300, 3, 0));
    assert_eq!(
        bed.replica.counts("Account").unwrap(),
        Counts { live: 2700, deleted: 300, hidden: 0 }
    );
    assert_eq!(bed.one("SELECT count(DISTINCT _crmsync_seq) FROM account"), Integer(3000));
    assert_eq!(
        bed.one("SELECT count(*) FROM account WHERE _deleted_at = _synced_at"),
        Integer(300)
    );
    let mut take = |after, n| bed.replica.take_new_keys("Account", after, n).unwrap();
    assert_eq!(take(None, 2), ["aa", "zz1"]);
    assert_eq!(take(Some("zz1"), 2), ["zz2"]);
    assert_eq!(bed.replica.sweep_plan("Account").unwrap(), None);
    bed.rows(&["Id"], &keys(&["zz1"]), AT);
    assert_eq!(bed.replica.take_new_keys("Account", None, 9).unwrap(), ["aa", "zz2"]);
}

fn above_the_guard_nothing_changes_until_it_is_released(base: Base) {
    let (mut bed, ids) = filled(base, 100);
    let seen: Vec<&str> = ids[..89].iter().map(String::as_str).collect();
    sweep(&mut bed, &seen);
    let before = bed.dump("account");
    for guard in
        [Guard { max_percent: 10, max_rows: 1000 }, Guard { max_percent: 50, max_rows: 10 }]
    {
        let done = end(&mut bed, Absent::Mark, Some(guard));
        assert_eq!((done.held, done.changed, done.deleted), (11, 0, 0));
    }
    assert_eq!(bed.dump("account"), before);
    // A restart keeps the sweep open.
    bed.reopen();
    let done = end(&mut bed, Absent::Remove, Some(Guard { max_percent: 11, max_rows: 11 }));
    assert_eq!((done.held, done.deleted), (0, 11));
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts { live: 89, ..Counts::default() });
}

fn hidden_rows_come_back_and_are_never_marked_deleted_by_absence(base: Base) {
    let (mut bed, _) = filled(base, 3);
    sweep(&mut bed, &["k00000"]);
    assert_eq!(end(&mut bed, Absent::Hide, None).deleted, 2);
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts { live: 1, deleted: 0, hidden: 2 });
    sweep(&mut bed, &["k00000"]);
    assert_eq!(end(&mut bed, Absent::Mark, None).deleted, 0);
    sweep(&mut bed, &["k00000", "k00001"]);
    assert_eq!(bed.replica.take_new_keys("Account", None, 9).unwrap(), ["k00001"]);
    let done = bed.rows(&["Id", "Name"], &batch(&[[Some("k00001"), Some("x")]]), SWEPT);
    assert_eq!((done.changed, done.inserted), (1, 0));
    assert_eq!(bed.one("SELECT _hidden_at FROM account WHERE id = 'k00001'"), Null);
}

fn a_row_that_changed_after_the_sweep_began_is_not_absent(base: Base) {
    let (mut bed, _) = filled(base, 3);
    sweep(&mut bed, &["k00000"]);
    let rows = batch(&[[Some("k00001"), Some("changed")], [Some("new"), Some("made meanwhile")]]);
    bed.rows(&["Id", "Name"], &rows, SWEPT);
    assert_eq!(end(&mut bed, Absent::Remove, None).deleted, 1);
    assert_eq!(
        bed.sql("SELECT id FROM account ORDER BY 1"),
        [[text("k00000")], [text("k00001")], [text("new")]]
    );
}

fn a_sweep_that_is_not_open_deletes_nothing(base: Base) {
    let (mut bed, ids) = filled(base, 3);
    let end_it =
        Change::SweepEnd { object: "Account", as_: Absent::Remove, guard: None, at: t(AT) };
    let some = keys(&["a"]);
    assert!(bed.replica.write(&[end_it]).is_err());
    assert!(bed.replica.write(&[Change::SweepKeys { object: "Account", batch: &some }]).is_err());
    sweep(&mut bed, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    end(&mut bed, Absent::Mark, None);
    assert!(bed.replica.write(&[end_it]).is_err());
    assert_eq!(bed.replica.counts("Account").unwrap().live, 3);
    // Beginning again drops what was collected before.
    sweep(&mut bed, &["k00000", "k00001", "k00002"]);
    sweep(&mut bed, &["k00000"]);
    assert_eq!(bed.replica.sweep_plan("Account").unwrap().unwrap().missing_there, 2);
}

fn number_keys_are_swept_as_numbers(base: Base) {
    let mut bed = bed(base);
    bed.lay_out(&schema("Account", &[("id", FieldType::Integer)]));
    bed.rows(&["id"], &keys(&["1", "2", "10"]), AT);
    sweep(&mut bed, &["10", "2", "30", "200", "no number"]);
    let plan = bed.replica.sweep_plan("Account").unwrap().unwrap();
    assert_eq!((plan.missing_here, plan.missing_there), (2, 1));
    assert_eq!(bed.replica.take_new_keys("Account", None, 1).unwrap(), ["30"]);
    assert_eq!(bed.replica.take_new_keys("Account", Some("30"), 9).unwrap(), ["200"]);
    assert_eq!(end(&mut bed, Absent::Remove, None).deleted, 1);
    assert_eq!(bed.sql("SELECT id FROM account"), [[Integer(2)], [Integer(10)]]);
    if base == Base::Postgres {
        return;
    }
    let plan = bed.sql(
        r#"EXPLAIN QUERY PLAN SELECT count(*) FROM account t WHERE NOT EXISTS
           (SELECT 1 FROM _crmsync_seen s WHERE s.object = 'Account' AND s."key" = +t.id)"#,
    );
    assert!(format!("{plan:?}").contains("object=? AND key=?"), "{plan:?}");
}

fn erasing_takes_old_deletions_with_their_odd_values(base: Base) {
    let mut bed = Bed::account(base);
    let rows = batch(&[[Some("1"), Some("x")], [Some("2"), Some("x")], [Some("3"), Some("x")]]);
    bed.rows(&["Id", "Count__c"], &rows, AT);
    let ids =
        [("1".to_owned(), t("2024-01-01T00:00:00Z")), ("2".to_owned(), t("2024-03-01T00:00:00Z"))];
    bed.write(Change::Deleted { object: "Account", ids: &ids, policy: Deletes::Mark, at: t(AT) });
    let done = bed.write(Change::Erase { before: t("2024-03-01T00:00:00Z") });
    assert_eq!(done.deleted, 1);
    assert_eq!(bed.sql("SELECT id FROM account ORDER BY 1"), [[text("2")], [text("3")]]);
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 2);
}

fn forgetting_an_object_leaves_the_others(base: Base) {
    let mut bed = Bed::account(base);
    bed.lay_out(&schema("Lead", &KINDS));
    bed.rows(&["Id", "Count__c"], &batch(&[[Some("1"), Some("x")]]), AT);
    bed.write(Change::State { object: "Account", state: "{}" });
    bed.write(Change::State { object: "Lead", state: "[]" });
    bed.write(Change::Forget { object: "Account" });
    assert_eq!(bed.replica.objects(), ["Lead"]);
    assert_eq!(bed.replica.states().unwrap().into_keys().collect::<Vec<_>>(), ["Lead"]);
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 0);
    assert!(bed.lay_out(&schema("Account", &KINDS)).created);
    assert_eq!(bed.rows(&["Id"], &keys(&["1"]), AT).inserted, 1);
}

on_both! {
    absent_rows_are_marked_and_new_keys_listed,
    above_the_guard_nothing_changes_until_it_is_released,
    hidden_rows_come_back_and_are_never_marked_deleted_by_absence,
    a_row_that_changed_after_the_sweep_began_is_not_absent,
    a_sweep_that_is_not_open_deletes_nothing,
    number_keys_are_swept_as_numbers,
    erasing_takes_old_deletions_with_their_odd_values,
    forgetting_an_object_leaves_the_others,
}
