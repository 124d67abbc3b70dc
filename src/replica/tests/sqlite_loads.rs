//! First loads into SQLite: rows appended without a key, and the table that comes of it.

use super::*;
use crate::replica::sqlite::Sqlite;
use crate::replica::{Counts, Deletes, Fed, Into, ReplicaError};
use rusqlite::types::Value::{Integer, Null};

const AT: &str = "2024-05-01T10:00:00Z";
const LATER: &str = "2024-05-02T10:00:00Z";
const FIELDS: [&str; 4] = ["Id", "Name", "Count__c", "IsDeleted"];

type Row = [Option<&'static str>; 4];

fn file(bed: &Bed) -> std::path::PathBuf {
    bed.dir.path().join("sf.db")
}

fn row(id: &'static str, name: &'static str) -> Row {
    [Some(id), Some(name), None, Some("false")]
}

/// Pages fed one after the other, each as one batch, then the end.
fn stream(bed: &mut Bed, pages: &[&[Row]], at: &str, end: Fed) -> Option<Applied> {
    let mut fed: Vec<Fed> = pages.iter().map(|rows| Fed::Batch(batch(rows))).collect();
    fed.push(end);
    let mut fed = fed.into_iter();
    let mut feed = || fed.next().expect("not asked again after the end");
    bed.replica
        .stream("Account", &strings(&FIELDS), Into::FirstLoad, t(at), &mut feed)
        .expect("stream")
}

fn commit(state: &str, key: bool) -> Fed {
    Fed::Commit { state: state.to_owned(), key }
}

fn keyed(bed: &Bed) -> bool {
    bed.one("SELECT pk FROM pragma_table_info('account') WHERE name = 'id'") == Integer(1)
}

fn names_by_id(bed: &Bed) -> Vec<Vec<Value>> {
    bed.sql("SELECT id, name FROM account ORDER BY id")
}

#[test]
fn a_loaded_table_is_the_one_that_would_have_been_made_with_its_key() {
    let mut bed = Bed::account(Base::Sqlite);
    let whole = |bed: &Bed| {
        bed.sql(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name = 'account' ORDER BY 1, 2",
        )
    };
    let made = whole(&bed);
    let first = stream(&mut bed, &[&[row("2", "b"), row("3", "c")]], AT, commit("1", false));
    assert_eq!(first.map(|a| (a.rows, a.changed, a.inserted)), Some((2, 2, 2)));
    assert!(!keyed(&bed));
    assert_eq!(bed.replica.counts("Account").unwrap().live, 2);
    assert_eq!(bed.replica.states().unwrap()["Account"], "1");
    stream(&mut bed, &[&[row("1", "a")], &[row("4", "d")]], AT, commit("2", true));
    assert!(keyed(&bed));
    assert_eq!(whole(&bed), made);
    assert_eq!(bed.one("PRAGMA integrity_check"), text("ok"));
    assert_eq!(
        bed.one("SELECT group_concat(_crmsync_seq) FROM account ORDER BY id"),
        text("1,2,3,4")
    );
    let plan = bed.sql("EXPLAIN QUERY PLAN SELECT * FROM account WHERE id = '1'");
    assert_eq!(plan[0][3], text("SEARCH account USING INDEX sqlite_autoindex_account_1 (id=?)"));
    // The key is one: for others, and for our own merge.
    let other = Connection::open(file(&bed)).unwrap();
    let twice = "INSERT INTO account (id, _synced_at, _crmsync_seq) VALUES ('1', '', 0)";
    assert!(other.execute(twice, []).is_err());
    let again = batch(&[row("1", "a"), row("5", "e")]);
    let done = bed.rows(&FIELDS, &again, LATER);
    assert_eq!((done.changed, done.inserted), (1, 1));
    other.execute_batch("VACUUM").unwrap();
    drop(other);
    let path = file(&bed);
    let Bed { replica, dir: _dir, .. } = bed;
    replica.close().unwrap();
    assert_eq!(query(&path, "PRAGMA integrity_check"), [[text("ok")]]);
    // The system's own tool is another version of the database.
    match std::process::Command::new("sqlite3").arg(&path).arg("PRAGMA integrity_check").output() {
        Ok(out) => assert_eq!(String::from_utf8_lossy(&out.stdout), "ok\n"),
        Err(e) => eprintln!("NOT TESTED: another version reads it: {e}"),
    }
}

#[test]
fn of_rows_with_one_key_the_last_stays_with_what_was_odd_in_it() {
    let mut bed = Bed::account(Base::Sqlite);
    let odd = |id, raw| [Some(id), Some("x"), Some(raw), Some("false")];
    stream(
        &mut bed,
        &[&[row("1", "old"), odd("2", "N/A"), odd("3", "bad")]],
        AT,
        commit("1", false),
    );
    assert_eq!(bed.replica.odd_count("Account").unwrap(), 2);
    let second: [Row; 4] = [row("1", "new"), row("2", "good"), odd("3", "bad"), row("4", "d")];
    stream(&mut bed, &[&second, &[row("4", "e")]], LATER, commit("2", true));
    assert_eq!(
        names_by_id(&bed),
        [("1", "new"), ("2", "good"), ("3", "x"), ("4", "e")].map(|(a, b)| [text(a), text(b)])
    );
    assert_eq!(bed.sql(r#"SELECT "key", raw FROM _crmsync_odd"#), [[text("3"), text("bad")]]);
    assert!(keyed(&bed));
    assert_eq!(bed.one("PRAGMA integrity_check"), text("ok"));
}

#[test]
fn rows_without_a_usable_key_and_deleted_ones_are_told() {
    let mut bed = Bed::account(Base::Sqlite);
    let rows: [Row; 5] = [
        [None, Some("a"), None, None],
        [Some(""), Some("b"), None, None],
        [Some("1"), Some("a\0b"), Some("1.0E7"), Some("true")],
        [Some("2"), Some("c"), None, Some("false")],
        [Some("3"), None, Some("seven"), Some("true")],
    ];
    let done = stream(&mut bed, &[&rows], AT, commit("1", false)).unwrap();
    assert_eq!((done.rows, done.inserted, done.deleted, done.odd), (5, 3, 2, 4));
    let at = text("2024-05-01T10:00:00.000Z");
    assert_eq!(
        bed.sql("SELECT id, name, count__c, _deleted_at FROM account"),
        [
            [text("1"), text("ab"), Integer(10_000_000), at.clone()],
            [text("2"), text("c"), Null, Null],
            [text("3"), Null, Null, at],
        ]
    );
    let counts = Counts { live: 1, deleted: 2, hidden: 0 };
    assert_eq!(bed.replica.counts("Account").unwrap(), counts);
    bed.write(Change::Erase { before: t(LATER) });
    assert_eq!(bed.replica.counts("Account").unwrap(), Counts { deleted: 0, ..counts });
    assert!(!keyed(&bed));
    assert_eq!(bed.replica.count_windows("Account", None, &[(None, None)]).unwrap(), [1]);
}

#[test]
fn an_abort_or_a_failing_batch_leaves_nothing() {
    let mut bed = Bed::account(Base::Sqlite);
    let before =
        (bed.dump("sqlite_master"), bed.dump("_crmsync_meta"), bed.dump("_crmsync_object"));
    assert_eq!(stream(&mut bed, &[&[row("1", "a")]], AT, Fed::Abort), None);
    let mut fed = vec![Fed::Batch(keys(&["2"])), Fed::Batch(batch(&[row("1", "a")]))];
    let mut feed = || fed.pop().expect("not asked after an error");
    let fields = strings(&FIELDS);
    let refused = bed.replica.stream("Account", &fields, Into::FirstLoad, t(AT), &mut feed);
    assert!(matches!(refused, Err(ReplicaError::Bug { .. })));
    let after = (bed.dump("sqlite_master"), bed.dump("_crmsync_meta"), bed.dump("_crmsync_object"));
    assert_eq!(before, after);
    // An abort behind a committed page leaves that page, and the load goes on.
    stream(&mut bed, &[&[row("1", "a")]], AT, commit("1", false));
    assert_eq!(stream(&mut bed, &[&[row("2", "b")]], AT, Fed::Abort), None);
    stream(&mut bed, &[&[row("3", "c")]], AT, commit("2", true));
    assert_eq!(bed.sql("SELECT id FROM account"), [[text("1")], [text("3")]]);
}

#[test]
fn a_key_that_cannot_be_built_leaves_the_rows_and_no_open_schema() {
    let mut bed = Bed::account(Base::Sqlite);
    // Longer than what the pages left over from the key of before can hold.
    let long: &'static str = "k".repeat(40_000).leak();
    stream(&mut bed, &[&[row(long, "a")]], AT, commit("1", false));
    let before = bed.dump("sqlite_master");
    let pages = bed.one("PRAGMA page_count");
    // The limit is one of the connection.
    let mut narrow = Sqlite::open(&file(&bed), "sf").unwrap();
    narrow.claim(&owner()).unwrap();
    narrow.raw().pragma_update(None, "max_page_count", pages).unwrap();
    let full = narrow.write(&[Change::Key { object: "Account" }]);
    assert!(matches!(full, Err(ReplicaError::DiskFull { .. })), "{full:?}");
    assert_eq!(bed.dump("sqlite_master"), before);
    assert!(narrow.raw().execute("UPDATE sqlite_master SET sql = NULL", []).is_err());
    narrow.raw().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    narrow.write(&[Change::Key { object: "Account" }]).unwrap();
    assert!(keyed(&bed));
    assert!(narrow.raw().execute("UPDATE sqlite_master SET sql = NULL", []).is_err());
    // Once more is harmless.
    bed.write(Change::Key { object: "Account" });
    assert_eq!(bed.one("PRAGMA integrity_check"), text("ok"));
}

#[test]
fn a_restart_goes_on_and_whoever_needs_the_key_builds_it() {
    let at = t(AT);
    let ids = [("1".to_owned(), t(LATER))];
    let policy = Deletes::Mark;
    let fields = strings(&["Id", "Name"]);
    let rows = batch(&[[Some("1"), Some("z")]]);
    for mode in [None, Some(Mode::Upsert), Some(Mode::Fill)] {
        let mut bed = Bed::account(Base::Sqlite);
        stream(&mut bed, &[&[row("1", "a")]], AT, commit("1", false));
        bed.reopen();
        // Laying out again, also with a new field, is no matter.
        let mut wider = KINDS.to_vec();
        wider.push(("New__c", FieldType::Text));
        assert_eq!(bed.lay_out(&schema("Account", &wider)).added, ["New__c"]);
        stream(&mut bed, &[&[row("2", "b")]], AT, commit("2", false));
        assert!(!keyed(&bed));
        bed.write(match mode {
            None => Change::Deleted { object: "Account", ids: &ids, policy, at },
            Some(mode) => {
                Change::Rows { object: "Account", fields: &fields, batch: &rows, mode, at }
            }
        });
        assert!(keyed(&bed), "{mode:?}");
        // What comes now is merged.
        stream(&mut bed, &[&[row("2", "c"), row("3", "d")]], AT, commit("3", true));
        let first = if mode.is_some() { "z" } else { "a" };
        let wanted = [("1", first), ("2", "c"), ("3", "d")].map(|(a, b)| [text(a), text(b)]);
        assert_eq!(names_by_id(&bed), wanted);
        assert_eq!(bed.one("PRAGMA integrity_check"), text("ok"));
    }
}

#[test]
fn tables_that_others_built_on_and_whole_number_keys_are_merged_into() {
    let mut bed = Bed::account(Base::Sqlite);
    bed.change("CREATE INDEX theirs ON account (name)");
    stream(&mut bed, &[&[row("2", "b")], &[row("2", "c")]], AT, commit("1", false));
    assert!(keyed(&bed));
    assert_eq!(bed.one("SELECT name FROM account"), text("c"));
    let mut bed = super::bed(Base::Sqlite);
    bed.lay_out(&schema("p", &[("id", FieldType::Integer)]));
    let mut fed = vec![commit("1", true), Fed::Batch(keys(&["10", "9", "10"]))];
    let mut feed = || fed.pop().unwrap();
    let fields = strings(&["id"]);
    let done = bed.replica.stream("p", &fields, Into::FirstLoad, t(AT), &mut feed).unwrap();
    assert_eq!(done.unwrap().inserted, 2);
    assert_eq!(bed.sql("SELECT id FROM p"), [[Integer(9)], [Integer(10)]]);
}

#[test]
fn a_reader_keeps_its_picture_through_the_load_and_the_key() {
    let mut bed = Bed::account(Base::Sqlite);
    stream(&mut bed, &[&[row("1", "a")]], AT, commit("1", false));
    let reader = Connection::open(file(&bed)).unwrap();
    let seen = |sql: &str| reader.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(seen("SELECT count(*) FROM account"), 1);
    stream(&mut bed, &[&[row("2", "b")]], AT, commit("2", false));
    stream(&mut bed, &[&[row("3", "c")]], AT, commit("3", true));
    assert_eq!(seen("SELECT count(*) FROM account"), 1);
    assert_eq!(seen("SELECT pk FROM pragma_table_info('account') WHERE name = 'id'"), 0);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(seen("SELECT count(*) FROM account WHERE id IN ('1', '2', '3')"), 3);
    assert_eq!(seen("SELECT pk FROM pragma_table_info('account') WHERE name = 'id'"), 1);
}
