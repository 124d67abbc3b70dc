//! First loads: pages that go on after a kill, keys at the end, aborts, odd values on the way.

use super::*;
use crate::replica::{Counts, Deletes, Fed, Into};
use rusqlite::types::Value::{Integer, Null};
use std::collections::VecDeque;

const AT: &str = "2024-05-01T10:00:00Z";
const FIELDS: [&str; 5] = ["Id", "Name", "Count__c", "IsDeleted", "SystemModstamp"];

type Row<'a> = [Option<&'a str>; 5];

fn row<'a>(id: &'a str, name: &'a str) -> Row<'a> {
    [Some(id), Some(name), Some("1"), Some("false"), Some("2024-04-01T00:00:00Z")]
}

fn feed(bed: &mut Bed, into: Into, fed: Vec<Fed>) -> Option<Applied> {
    let mut fed = VecDeque::from(fed);
    let fields = strings(&FIELDS);
    let done = bed
        .replica
        .stream("Account", &fields, into, t(AT), &mut || fed.pop_front().expect("no more is asked"))
        .expect("stream");
    assert!(fed.is_empty(), "the rest was not asked for");
    done
}

fn page(bed: &mut Bed, rows: &[Row<'_>], state: &str, key: bool) -> Applied {
    let mut fed: Vec<Fed> = rows.chunks(3).map(|c| Fed::Batch(batch(c))).collect();
    fed.push(Fed::Commit { state: state.into(), key });
    feed(bed, Into::FirstLoad, fed).expect("committed")
}

fn pages_go_on_after_a_restart_and_end_with_a_key(base: Base) {
    let mut bed = Bed::account(base);
    let first = page(&mut bed, &[row("b", "1"), row("a", "2")], "at 2", false);
    assert_eq!((first.rows, first.inserted, first.odd), (2, 2, 0));
    bed.reopen();
    assert_eq!(bed.replica.states().unwrap()["Account"], "at 2");
    assert_eq!(bed.replica.counts("Account").unwrap().live, 2);
    assert_eq!(bed.replica.objects(), ["Account"]);
    page(&mut bed, &[row("A", "3"), row("c", "4")], "done", true);
    assert_eq!(
        bed.sql("SELECT id, name, count__c, isdeleted, _synced_at FROM account ORDER BY 1"),
        [
            [text("A"), text("3"), Integer(1), Integer(0), text("2024-05-01T10:00:00.000Z")],
            [text("a"), text("2"), Integer(1), Integer(0), text("2024-05-01T10:00:00.000Z")],
            [text("b"), text("1"), Integer(1), Integer(0), text("2024-05-01T10:00:00.000Z")],
            [text("c"), text("4"), Integer(1), Integer(0), text("2024-05-01T10:00:00.000Z")],
        ]
    );
    // From now on rows are merged, also those of a load.
    let again = bed.rows(&FIELDS, &batch(&[row("a", "2"), row("b", "new")]), AT);
    assert_eq!((again.changed, again.inserted), (1, 0));
    let again = page(&mut bed, &[row("a", "2"), row("d", "5")], "again", true);
    assert_eq!((again.rows, again.changed, again.inserted), (2, 1, 1));
    assert_eq!(bed.replica.counts("Account").unwrap().live, 5);
}

fn of_rows_with_equal_keys_the_last_one_stays(base: Base) {
    let mut bed = Bed::account(base);
    let mut odd = row("b", "first");
    odd[2] = Some("N/A");
    assert_eq!(page(&mut bed, &[odd, row("a", "1")], "1", false).odd, 1);
    page(&mut bed, &[row("b", "second"), row("c", "1")], "2", false);
    bed.write(Change::Key { object: "Account" });
    bed.write(Change::Key { object: "Account" });
    assert_eq!(
        bed.sql("SELECT id, name, count__c FROM account ORDER BY 1"),
        [
            [text("a"), text("1"), Integer(1)],
            [text("b"), text("second"), Integer(1)],
            [text("c"), text("1"), Integer(1)],
        ]
    );
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 0);
}

fn of_an_aborted_page_nothing_stays(base: Base) {
    let mut bed = Bed::account(base);
    let some = || Fed::Batch(batch(&[row("a", "1")]));
    assert_eq!(feed(&mut bed, Into::FirstLoad, vec![Fed::Abort]), None);
    assert_eq!(feed(&mut bed, Into::FirstLoad, vec![some(), some(), Fed::Abort]), None);
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts::default());
    page(&mut bed, &[row("b", "1")], "1", false);
    assert_eq!(feed(&mut bed, Into::FirstLoad, vec![some(), Fed::Abort]), None);
    page(&mut bed, &[row("c", "1")], "2", true);
    let mode = Into::Rows(Mode::Upsert);
    assert_eq!(feed(&mut bed, mode, vec![some(), some(), Fed::Abort]), None);
    assert_eq!(
        bed.sql("SELECT id, _crmsync_seq FROM account ORDER BY 1"),
        [[text("b"), Integer(1)], [text("c"), Integer(2)]]
    );
    // And a page that does not match its table is no different.
    let fields = strings(&["Id"]);
    let mut fed = VecDeque::from([Fed::Batch(keys(&["x"])), some()]);
    let refused = bed.replica.stream("Account", &fields, Into::FirstLoad, t(AT), &mut || {
        fed.pop_front().expect("nothing is asked after an error")
    });
    assert!(refused.is_err());
    assert_eq!(bed.replica.counts("Account").unwrap().live, 2);
    assert_eq!(bed.replica.states().unwrap()["Account"], "2");
}

fn odd_values_and_deleted_rows_come_along(base: Base) {
    let mut bed = Bed::account(base);
    let ids: Vec<String> = (0..2500).map(|i| format!("k{i:04}")).collect();
    let mut rows: Vec<Row<'_>> = ids.iter().map(|id| row(id, "x")).collect();
    for row in &mut rows {
        row[2] = Some("many");
    }
    rows[7][3] = Some("true");
    rows[8][1] = Some("a\0b");
    rows[9][0] = None;
    let done = page(&mut bed, &rows, "1", true);
    assert_eq!((done.rows, done.inserted, done.deleted, done.odd), (2500, 2499, 1, 2501));
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 2501);
    assert_eq!(
        bed.replica.counts("Account").unwrap(),
        Counts { live: 2498, deleted: 1, hidden: 0 }
    );
    assert_eq!(
        bed.sql("SELECT name, count__c, _deleted_at FROM account WHERE id IN ('k0007', 'k0008') ORDER BY id"),
        [[text("x"), Null, text("2024-04-01T00:00:00.000Z")], [text("ab"), Null, Null]]
    );
    assert_eq!(bed.one("SELECT count(DISTINCT _crmsync_seq) FROM account"), Integer(2499));
}

fn an_empty_load_leaves_an_empty_table(base: Base) {
    let mut bed = Bed::account(base);
    page(&mut bed, &[], "done", true);
    assert_eq!(bed.one("SELECT count(*) FROM account"), Integer(0));
    bed.lay_out(&schema("Lead", &KINDS));
    bed.merge("Lead", Mode::Upsert, &["Id"], &keys(&[]), AT);
    bed.write(Change::Key { object: "Lead" });
    assert_eq!(bed.one("SELECT count(*) FROM lead"), Integer(0));
}

fn a_laid_out_table_without_rows_can_be_asked_anything(base: Base) {
    let mut bed = Bed::account(base);
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts::default());
    assert_eq!(bed.replica.count_windows("Account", None, &[(None, Some(t(AT)))]).unwrap(), [0]);
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 0);
    let ids = [("a".to_owned(), t(AT))];
    for policy in [Deletes::Mark, Deletes::Remove] {
        let told = Change::Deleted { object: "Account", ids: &ids, policy, at: t(AT) };
        assert_eq!(bed.write(told).changed, 0);
    }
    assert_eq!(bed.write(Change::Erase { before: t(AT) }).changed, 0);
    bed.write(Change::SweepBegin { object: "Account" });
    bed.write(Change::SweepKeys { object: "Account", batch: &keys(&["a", "b"]) });
    assert_eq!(bed.replica.sweep_plan("Account").unwrap().unwrap().missing_here, 2);
    assert_eq!(bed.replica.take_new_keys("Account", None, 9).unwrap(), ["a", "b"]);
    let mut more = KINDS.to_vec();
    more.push(("More", FieldType::Text));
    assert_eq!(bed.lay_out(&schema("Account", &more)).added, ["More"]);
    bed.rows(&["Id", "More"], &batch(&[[Some("1"), Some("x")]]), AT);
    assert_eq!(bed.one("SELECT more FROM account"), text("x"));
    bed.lay_out(&schema("Lead", &KINDS));
    bed.write(Change::Forget { object: "Lead" });
    assert_eq!(bed.replica.objects(), ["Account"]);
}

fn keys_of_a_sweep_can_be_streamed(base: Base) {
    let mut bed = Bed::account(base);
    page(&mut bed, &[row("a", "1"), row("b", "1"), row("c", "1")], "1", true);
    bed.write(Change::SweepBegin { object: "Account" });
    let mut fed = VecDeque::from([
        Fed::Batch(keys(&["a", "z"])),
        Fed::Batch(keys(&["z", "b"])),
        Fed::Commit { state: "swept".into(), key: false },
    ]);
    let fields = strings(&["Id"]);
    bed.replica
        .stream("Account", &fields, Into::SweepKeys, t(AT), &mut || fed.pop_front().unwrap())
        .unwrap();
    let plan = bed.replica.sweep_plan("Account").unwrap().unwrap();
    assert_eq!((plan.missing_here, plan.missing_there, plan.live), (1, 1, 3));
    assert_eq!(bed.replica.states().unwrap()["Account"], "swept");
}

on_both! {
    pages_go_on_after_a_restart_and_end_with_a_key,
    of_rows_with_equal_keys_the_last_one_stays,
    of_an_aborted_page_nothing_stays,
    odd_values_and_deleted_rows_come_along,
    an_empty_load_leaves_an_empty_table,
    a_laid_out_table_without_rows_can_be_asked_anything,
    keys_of_a_sweep_can_be_streamed,
}
