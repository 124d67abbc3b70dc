//! Rows: values and types, what a re-read writes (nothing), deletes by flag, filling, odd values.

use super::*;
use crate::replica::{Counts, Deletes};
use rusqlite::types::Value::{Integer, Null, Real};

const AT: &str = "2024-05-01T10:00:00.1239Z";

fn all(name: &'static str) -> [Option<&'static str>; 10] {
    [
        Some("001"),
        Some(name),
        Some("0.10"),
        Some("1.0E7"),
        Some("false"),
        Some("1700-01-01"),
        Some("10:00:00.000Z"),
        Some("2024-04-30T00:00:00.000+0000"),
        Some(r#"{"a":1.10}"#),
        None,
    ]
}

fn field_names() -> Vec<&'static str> {
    KINDS.iter().map(|k| k.0).collect()
}

fn values_stand_in_their_columns_with_their_types(base: Base) {
    let mut bed = Bed::account(base);
    let done = bed.rows(&field_names(), &batch(&[all("N/A")]), AT);
    assert_eq!(done, Applied { rows: 1, changed: 1, inserted: 1, ..Applied::default() });
    assert_eq!(
        bed.sql("SELECT * FROM account"),
        [[
            text("001"),
            text("N/A"),
            Real(0.1),
            Integer(10_000_000),
            Integer(0),
            text("1700-01-01"),
            text("10:00:00.000"),
            text("2024-04-30T00:00:00.000Z"),
            text(r#"{"a":1.10}"#),
            Null,
            text("2024-05-01T10:00:00.123Z"),
            Null,
            Null,
            Integer(1),
        ]]
    );
    let long = "ü".repeat(65_536);
    let mut exact = all("x");
    exact[1] = Some(&long);
    exact[2] = Some("0.1234567890123456789");
    exact[7] = Some("4000-12-31T23:59:59.999Z");
    bed.rows(&field_names(), &batch(&[exact]), AT);
    assert_eq!(
        bed.sql("SELECT name, amount, systemmodstamp, _crmsync_seq FROM account"),
        [[
            text(&long),
            text("0.1234567890123456789"),
            text("4000-12-31T23:59:59.999Z"),
            Integer(2)
        ]]
    );
}

fn a_re_read_that_changes_nothing_writes_nothing(base: Base) {
    let mut bed = Bed::account(base);
    let mut second = all("b");
    second[0] = Some("002");
    second[2] = Some("99999999999999999999.99");
    second[3] = Some("not a number");
    second[4] = Some("true");
    let rows = batch(&[second, all("a")]);
    let first = bed.rows(&field_names(), &rows, AT);
    assert_eq!((first.changed, first.inserted, first.odd, first.deleted), (2, 2, 1, 1));
    let before = (bed.dump("account"), bed.dump("_crmsync_odd"), bed.dump("_crmsync_meta"));
    for at in ["2024-05-01T11:00:00Z", "2024-05-01T09:00:00Z"] {
        let again = bed.rows(&field_names(), &rows, at);
        assert_eq!((again.rows, again.changed, again.inserted, again.odd), (2, 0, 0, 1));
    }
    assert_eq!(before, (bed.dump("account"), bed.dump("_crmsync_odd"), bed.dump("_crmsync_meta")));
    // One cell differs: one row moves, to the end of the data user's cursor.
    let changed = bed.rows(&field_names(), &batch(&[all("c"), second]), "2024-05-02T00:00:00Z");
    assert_eq!((changed.changed, changed.inserted), (1, 0));
    assert_eq!(
        bed.sql("SELECT id, _crmsync_seq, _synced_at FROM account ORDER BY _crmsync_seq"),
        [
            [text("002"), Integer(2), text("2024-05-01T10:00:00.123Z")],
            [text("001"), Integer(3), text("2024-05-02T00:00:00.000Z")],
        ]
    );
}

fn the_later_of_two_rows_with_one_key_counts(base: Base) {
    let mut bed = Bed::account(base);
    let rows = batch(&[
        [Some("2"), Some("old")],
        [Some("1"), Some("x")],
        [Some("2"), None],
        [Some("2"), Some("new")],
    ]);
    let done = bed.rows(&["Id", "Name"], &rows, AT);
    assert_eq!((done.rows, done.inserted), (4, 2));
    assert_eq!(bed.one("SELECT name FROM account WHERE id = '2'"), text("new"));
}

fn a_deletion_flag_marks_and_a_live_row_unmarks(base: Base) {
    let mut bed = Bed::account(base);
    let fields = ["Id", "IsDeleted", "SystemModstamp"];
    let row = |flag, stamp| batch(&[[Some("1"), Some(flag), Some(stamp)]]);
    let marks = |bed: &Bed| bed.one("SELECT _deleted_at FROM account");
    bed.rows(&fields, &row("false", "2024-01-01T00:00:00Z"), AT);
    let deleted = bed.rows(&fields, &row("true", "2024-01-02T00:00:00Z"), AT);
    assert_eq!((deleted.changed, deleted.deleted), (1, 1));
    assert_eq!(marks(&bed), text("2024-01-02T00:00:00.000Z"));
    // The delete log tells a later second; reading both again in any order changes nothing more.
    let ids = [("1".to_owned(), t("2024-01-02T00:00:01Z")), ("9".to_owned(), t(AT))];
    let log = Change::Deleted { object: "Account", ids: &ids, policy: Deletes::Mark, at: t(AT) };
    let told = bed.write(log);
    assert_eq!((told.rows, told.changed, told.deleted), (2, 1, 1));
    assert_eq!(bed.rows(&fields, &row("true", "2024-01-02T00:00:00Z"), AT).changed, 0);
    assert_eq!(bed.write(log).changed, 0);
    assert_eq!(marks(&bed), text("2024-01-02T00:00:01.000Z"));
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts { live: 0, deleted: 1, hidden: 0 });
    // Undeleted: live again, and an old line of the log does not delete it a second time.
    bed.rows(&fields, &row("false", "2024-01-03T00:00:00Z"), AT);
    assert_eq!(marks(&bed), Null);
    assert_eq!(bed.write(log).changed, 0);
    assert_eq!(bed.replica.counts("Account").unwrap().live, 1);
    let later = [("1".to_owned(), t("2024-01-04T00:00:00Z"))];
    let remove =
        Change::Deleted { object: "Account", ids: &later, policy: Deletes::Remove, at: t(AT) };
    assert_eq!(bed.write(remove).deleted, 1);
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts::default());
}

fn without_a_stamp_the_first_time_of_a_deletion_stays(base: Base) {
    let mut bed = bed(base);
    bed.lay_out(&schema("A", &[("Id", FieldType::Text), ("IsDeleted", FieldType::Boolean)]));
    let rows = batch(&[[Some("1"), Some("true")]]);
    for (at, changed) in [("2024-01-01T00:00:00Z", 1), ("2024-02-01T00:00:00Z", 0)] {
        let done = bed.merge("A", Mode::Upsert, &["Id", "IsDeleted"], &rows, at);
        assert_eq!(done.changed, changed);
    }
    assert_eq!(bed.one("SELECT _deleted_at FROM a"), text("2024-01-01T00:00:00.000Z"));
}

fn filling_touches_existing_rows_and_given_columns_only(base: Base) {
    let mut bed = Bed::account(base);
    bed.rows(&field_names(), &batch(&[all("a")]), AT);
    let more =
        batch(&[[Some("001"), Some("told")], [Some("002"), Some("new")], [Some("3"), Some("x")]]);
    let done = bed.merge("Account", Mode::Fill, &["Id", "Note"], &more, AT);
    assert_eq!((done.rows, done.changed, done.inserted), (3, 1, 0));
    assert_eq!(
        bed.sql("SELECT id, name, note FROM account"),
        [[text("001"), text("a"), text("told")]]
    );
    assert_eq!(bed.merge("Account", Mode::Fill, &["Id", "Note"], &more, AT).changed, 0);
    let odd = batch(&[[Some("001"), Some("x")], [Some("002"), Some("x")]]);
    bed.merge("Account", Mode::Fill, &["Id", "Count__c"], &odd, AT);
    // Odd values are kept of rows that exist.
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 1);
    assert_eq!(bed.merge("Account", Mode::Fill, &["Id"], &keys(&["001"]), AT).changed, 0);
}

fn a_value_that_does_not_fit_is_null_and_kept_raw_until_a_good_one_comes(base: Base) {
    let mut bed = Bed::account(base);
    let fields = ["Id", "Count__c", "Birthdate", "Name"];
    let bad = batch(&[[Some("1"), Some("N/A"), Some("2023-02-30"), Some("a\0b")]]);
    assert_eq!(bed.rows(&fields, &bad, AT).odd, 3);
    assert_eq!(
        bed.sql("SELECT count__c, birthdate, name FROM account"),
        [[Null, Null, text("ab")]]
    );
    assert_eq!(
        bed.sql(
            r#"SELECT "key", column_name, raw, reason FROM _crmsync_odd
               WHERE column_name <> 'name' ORDER BY 2"#
        ),
        [
            [text("1"), text("birthdate"), text("2023-02-30"), text("not a date YYYY-MM-DD")],
            [text("1"), text("count__c"), text("N/A"), text("not a number")],
        ]
    );
    let raw = if base == Base::Sqlite { "raw" } else { "raw_bytes" };
    assert_eq!(
        bed.sql(&format!("SELECT {raw}, reason FROM _crmsync_odd WHERE column_name = 'name'")),
        [[Value::Blob(b"a\0b".to_vec()), text("NUL characters were left out")]]
    );
    bed.rows(&fields, &batch(&[[Some("1"), Some("5"), None, Some("a\0c")]]), AT);
    assert_eq!(bed.sql("SELECT column_name FROM _crmsync_odd"), [[text("name")]]);
    // A batch without the column says nothing about it.
    bed.rows(&["Id", "Count__c"], &batch(&[[Some("1"), Some("6")]]), AT);
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 1);
    let ids = [("1".to_owned(), t(AT))];
    bed.write(Change::Deleted { object: "Account", ids: &ids, policy: Deletes::Remove, at: t(AT) });
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 0);
}

fn a_record_without_a_key_is_left_out_and_told(base: Base) {
    let mut bed = Bed::account(base);
    let rows = batch(&[
        [None, Some("a")],
        [Some(""), Some("b")],
        [Some("x\0"), Some("c")],
        [Some("1"), Some("d")],
    ]);
    let done = bed.rows(&["Id", "Name"], &rows, AT);
    assert_eq!((done.rows, done.inserted, done.odd), (4, 1, 3));
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 2);
}

fn whole_number_keys_are_numbers(base: Base) {
    let mut bed = bed(base);
    bed.lay_out(&schema("party.party", &[("id", FieldType::Integer), ("n", FieldType::Integer)]));
    let rows = batch(&[[Some("10"), Some("x")], [Some("9"), Some("1")], [Some("nine"), None]]);
    let write = |bed: &mut Bed, rows: &Batch| {
        bed.merge("party.party", Mode::Upsert, &["id", "n"], rows, AT)
    };
    let done = write(&mut bed, &rows);
    assert_eq!((done.inserted, done.odd), (2, 2));
    assert_eq!(write(&mut bed, &rows).changed, 0);
    assert_eq!(bed.sql("SELECT id FROM party_party"), [[Integer(9)], [Integer(10)]]);
    assert_eq!(write(&mut bed, &batch(&[[Some("010"), Some("2")]])).changed, 1);
    assert_eq!(bed.sql(r#"SELECT "key" FROM _crmsync_odd"#), [[text("nine")]]);
}

fn a_batch_that_does_not_match_the_table_is_refused_whole(base: Base) {
    let mut bed = Bed::account(base);
    let good = batch(&[[Some("1"), Some("a")]]);
    for (object, fields) in [
        ("Account", &["Id"][..]),
        ("Account", &["Id", "Unknown"]),
        ("Account", &["Name", "Id"]),
        ("Lead", &["Id", "Name"]),
    ] {
        let (ok, bad) = (strings(&["Id", "Name"]), strings(fields));
        let rows = |object, fields| Change::Rows {
            object,
            fields,
            batch: &good,
            mode: Mode::Upsert,
            at: t(AT),
        };
        let refused = bed.replica.write(&[
            rows("Account", &ok),
            Change::State { object: "Account", state: "{}" },
            rows(object, &bad),
        ]);
        assert!(refused.is_err());
        assert_eq!(bed.replica.counts("Account").unwrap(), Counts::default(), "{fields:?}");
        assert!(bed.replica.states().unwrap().is_empty());
    }
    assert_eq!(bed.rows(&["id", "NAME"], &good, AT).inserted, 1);
}

on_both! {
    values_stand_in_their_columns_with_their_types,
    a_re_read_that_changes_nothing_writes_nothing,
    the_later_of_two_rows_with_one_key_counts,
    a_deletion_flag_marks_and_a_live_row_unmarks,
    without_a_stamp_the_first_time_of_a_deletion_stays,
    filling_touches_existing_rows_and_given_columns_only,
    a_value_that_does_not_fit_is_null_and_kept_raw_until_a_good_one_comes,
    a_record_without_a_key_is_left_out_and_told,
    whole_number_keys_are_numbers,
    a_batch_that_does_not_match_the_table_is_refused_whole,
}
