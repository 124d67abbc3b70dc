use super::*;
use crmsync_core::config::settings::Retention;
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

fn at(seconds: i64) -> Time {
    "2026-11-21T10:00:00Z".parse::<Time>().unwrap() + SignedDuration::from_secs(seconds)
}

fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    (dir, store)
}

fn doc(key: &str, version: u64, json: &str) -> Doc {
    Doc { kind: "connection", key: key.into(), version, json: json.into() }
}

fn mail(id: &str) -> OutMail {
    OutMail {
        message_id: format!("<{id}@x>"),
        kind: "problem".into(),
        connection: Some("sf".into()),
        from: "crmsync@example.org".into(),
        to: "ada@example.org".into(),
        subject: "s".into(),
        bytes: b"From: x\r\n\r\nbody\r\n".to_vec(),
        created: at(0),
    }
}

fn run(connection: &str, end: i64, changed: bool) -> RunRow {
    RunRow {
        connection: connection.into(),
        started: at(end - 1),
        ended: at(end),
        cause: "schedule".into(),
        outcome: "done".into(),
        text: String::new(),
        rows: u64::from(changed),
        calls: 4,
        changed,
        json: "{}".into(),
    }
}

fn line(seconds: i64) -> AuditLine {
    AuditLine {
        at: at(seconds),
        actor: "root".into(),
        uid: Some(0),
        connection: Some("sf".into()),
        what: "pause".into(),
        detail: String::new(),
    }
}

#[test]
fn a_change_is_all_or_nothing() {
    let (_dir, store) = open();
    store.apply(Change { docs: vec![doc("a", 0, "1")], ..Change::default() }).unwrap();
    let big = |docs| Change {
        docs,
        drop_docs: vec![("connection", "a".into())],
        due: vec![("a".into(), Some(at(5)))],
        mails: vec![mail("m1")],
        audit: vec![line(0)],
        runs: vec![run("a", 0, true)],
        refresh: vec![("a".into(), Some(RefreshInFlight { generation: 3, started: at(1) }))],
        ..Change::default()
    };
    for stale in [doc("a", 0, "x"), doc("a", 2, "x"), doc("b", 1, "x")] {
        let e = store.apply(big(vec![doc("new", 0, "n"), stale])).unwrap_err();
        assert!(matches!(e, StoreError::Stale { .. }), "{e}");
        assert_eq!(store.docs("connection").unwrap(), [("a".into(), 1, "1".into())]);
        assert_eq!(store.due_all().unwrap(), []);
        assert!(store.mails(9).unwrap().is_empty() && store.audit(None, 9).unwrap().is_empty());
        assert!(store.runs("a", 9).unwrap().is_empty());
        assert_eq!(store.refresh_in_flight("a").unwrap(), None);
    }
    store.apply(big(vec![doc("a", 1, "2"), doc("new", 0, "n")])).unwrap();
    assert_eq!(store.docs("connection").unwrap(), [("new".into(), 1, "n".into())]);
    assert_eq!(store.next_due().unwrap(), Some(at(5)));
    assert_eq!(store.refresh_in_flight("a").unwrap().unwrap().generation, 3);
    assert_eq!(store.audit(Some("sf"), 9).unwrap()[0].line, line(0));
    let clear = Change {
        due: vec![("a".into(), None)],
        refresh: vec![("a".into(), None)],
        ..Change::default()
    };
    store.apply(clear).unwrap();
    assert_eq!((store.next_due().unwrap(), store.refreshes_in_flight().unwrap()), (None, vec![]));
}

/// Of writers that read the same version exactly one wins, whatever the threads do.
#[test]
fn of_many_writers_one_wins() {
    let (_dir, store) = open();
    store.apply(Change { docs: vec![doc("a", 0, "0")], ..Change::default() }).unwrap();
    for version in 1..20 {
        let wins: usize = std::thread::scope(|s| {
            let tasks: Vec<_> = (0..4)
                .map(|i| {
                    let store = store.clone();
                    s.spawn(move || {
                        let docs = vec![doc("a", version, &i.to_string())];
                        usize::from(store.apply(Change { docs, ..Change::default() }).is_ok())
                    })
                })
                .collect();
            tasks.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
        assert_eq!(store.doc("connection", "a").unwrap().unwrap().0, version + 1);
    }
}

#[test]
fn a_mail_is_stored_once_and_ends_once() {
    let (_dir, store) = open();
    let other = OutMail { bytes: b"other".to_vec(), ..mail("m1") };
    for m in [mail("m1"), other, mail("m2")] {
        store.apply(Change { mails: vec![m], ..Change::default() }).unwrap();
    }
    let due = store.mails_due(at(0), 10).unwrap();
    assert_eq!(due.iter().map(|q| &q.mail).collect::<Vec<_>>(), [&mail("m1"), &mail("m2")]);
    store.mail_retry(due[0].id, "greylisted", at(60)).unwrap();
    assert_eq!(store.mails_due(at(59), 10).unwrap().len(), 1);
    store.mail_sent(due[1].id, at(2)).unwrap();
    assert_eq!(store.mail_next_due().unwrap(), Some(at(60)));
    assert_eq!(store.mails_in_trouble(at(0)).unwrap(), (1, 0));
    store.mail_failed(due[0].id, "no such user", at(61)).unwrap();
    store.mail_sent(due[0].id, at(62)).unwrap();
    let rows = store.mails(10).unwrap();
    let of = |id: i64| rows.iter().find(|r| r.id == id).unwrap();
    assert_eq!((of(due[0].id).state, of(due[0].id).attempts), (MailState::Failed, 2));
    assert_eq!(of(due[0].id).error.as_deref(), Some("no such user"));
    assert_eq!((of(due[1].id).state, of(due[1].id).ended), (MailState::Sent, Some(at(2))));
    assert_eq!(store.mails_in_trouble(at(0)).unwrap(), (0, 1));
}

#[test]
fn runs_without_a_change_are_counted_in_one_row() {
    let (_dir, store) = open();
    let plan = [(10, true), (20, false), (30, false), (40, false), (50, true), (60, false)];
    for (end, changed) in plan {
        let runs = vec![run("a", end, changed), run("b", end, false)];
        store.apply(Change { runs, ..Change::default() }).unwrap();
    }
    let rows = store.runs("a", 10).unwrap();
    assert_eq!(rows.iter().map(|r| r.count).collect::<Vec<_>>(), [1, 1, 3, 1]);
    assert_eq!((rows[2].run.started, rows[2].run.ended, rows[2].run.calls), (at(19), at(40), 12));
    assert_eq!(store.runs("b", 10).unwrap()[0].count, 6);
    assert_eq!(store.run(rows[0].id).unwrap().unwrap(), rows[0]);
    let failed = RunRow { outcome: "failed".into(), text: "503".into(), ..run("b", 70, false) };
    for _ in 0..2 {
        store.apply(Change { runs: vec![failed.clone()], ..Change::default() }).unwrap();
    }
    assert_eq!(store.runs("b", 10).unwrap().len(), 2);
}

#[test]
fn pruning_keeps_what_it_should() {
    let (_dir, store) = open();
    let day = 86_400;
    for i in 0..150 {
        let runs = vec![run("a", i, true)];
        store.apply(Change { runs, ..Change::default() }).unwrap();
    }
    let runs = vec![run("b", 0, true), run("b", 100 * day, true)];
    let mails = vec![mail("sent"), mail("stuck")];
    let audit = vec![line(0), line(100 * day)];
    store.apply(Change { mails, audit, runs, ..Change::default() }).unwrap();
    store.mail_sent(store.mails_due(at(0), 1).unwrap()[0].id, at(1)).unwrap();
    for minute in 0..120 {
        store.record_usage("d", at(minute * 60), 2, Some(10), Some(100)).unwrap();
        store.record_usage("d", at(minute * 60 + 59), 1, None, None).unwrap();
    }
    assert_eq!(store.plot("d", at(0), at(7200)).unwrap().len(), 120);
    let keep = |days: i64| SignedDuration::from_hours(24 * days);
    let retention = Retention { runs: keep(90), audit: keep(90), mails: keep(90) };
    for _ in 0..2 {
        store.prune(&retention, at(2 * day)).unwrap();
        let hours = store.plot("d", at(0), at(7200)).unwrap();
        let hour =
            |s| MeterPoint { at: at(s), width: 3600, own: 180, used: Some(10), max: Some(100) };
        assert_eq!(hours, [hour(0), hour(3600)]);
    }
    assert_eq!(store.runs("a", 999).unwrap().len(), 150, "young");
    store.prune(&retention, at(101 * day)).unwrap();
    assert_eq!(store.runs("a", 999).unwrap().len(), 100);
    assert_eq!(store.runs("b", 999).unwrap().len(), 2, "the last 100 stay");
    assert_eq!(store.audit(None, 99).unwrap().len(), 1);
    assert_eq!(store.mails(99).unwrap().len(), 1, "a mail on its way stays");
    assert_eq!(store.plot("d", at(0), at(7200)).unwrap(), []);
}

#[test]
fn a_connection_keeps_its_id_until_it_is_forgotten() {
    let (_dir, store) = open();
    let id = store.connection_id("sf", at(0)).unwrap();
    assert_eq!(store.connection_id("sf", at(9)).unwrap(), id);
    let other = store.connection_id("erp", at(0)).unwrap();
    assert!(matches!(store.rename("sf", "erp"), Err(StoreError::NameTaken(_))));
    assert!(matches!(store.rename("no", "x"), Err(StoreError::UnknownConnection(_))));
    store.rename("sf", "sf-prod").unwrap();
    assert_eq!(store.connection_id("sf-prod", at(9)).unwrap(), id);
    store
        .apply(Change {
            docs: vec![doc(&id, 0, "1"), doc(&format!("{id}/x"), 0, "1"), doc(&other, 0, "1")],
            due: vec![(id.clone(), Some(at(1))), (other.clone(), Some(at(2)))],
            runs: vec![run(&id, 1, true), run(&other, 1, true)],
            audit: vec![line(0)],
            ..Change::default()
        })
        .unwrap();
    store.retire(&id, at(50)).unwrap();
    store.retire(&id, at(60)).unwrap();
    assert_eq!(store.due_before(at(99)).unwrap(), [(other.clone(), at(2))]);
    let rows = store.connections().unwrap();
    assert_eq!((rows[1].name.as_str(), rows[1].retired), ("sf-prod", Some(at(50))));
    assert_eq!(store.connection_id("sf-prod", at(70)).unwrap(), id, "back in the configuration");
    store.forget(&id).unwrap();
    assert!(matches!(store.forget(&id), Err(StoreError::UnknownConnection(_))));
    assert_eq!(store.docs("connection").unwrap(), [(other.clone(), 1, "1".into())]);
    assert!(store.runs(&id, 9).unwrap().is_empty());
    assert_eq!((store.runs(&other, 9).unwrap().len(), store.audit(None, 9).unwrap().len()), (1, 1));
    assert_ne!(store.connection_id("sf-prod", at(80)).unwrap(), id);
}

#[test]
fn one_daemon_per_folder_and_the_second_is_told_whose() {
    let (dir, store) = open();
    let state = dir.path().join("state");
    let instance = store.instance_id();
    match Store::open(&state) {
        Err(StoreError::Locked { pid, uid, .. }) => {
            assert_eq!((pid, uid), (std::process::id(), rustix::process::geteuid().as_raw()));
        }
        other => panic!("{other:?}"),
    }
    let clone = store.clone();
    drop(store);
    assert!(Store::open(&state).is_err(), "a clone holds the lock");
    drop(clone);
    let store = Store::open(&state).unwrap();
    assert_eq!(store.instance_id(), instance);
    assert_eq!(store.instance_hex().len(), 32);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in ["state.db", "state.db-wal", "state.db-shm", "lock", "epoch"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
    let pragma = |name: &str| {
        store.with("t", |c| c.pragma_query_value(None, name, |r| r.get::<_, i64>(0))).unwrap()
    };
    assert_eq!((pragma("synchronous"), pragma("secure_delete")), (2, 1));
}

#[test]
fn migrations_copy_aside_and_newer_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let first = migrations::STEPS[0];
    let steps = [first, "ALTER TABLE due ADD COLUMN why TEXT", "CREATE TABLE later (x)"];
    let store = Store::open_with(&state, &steps[..1]).unwrap();
    store.apply(Change { docs: vec![doc("a", 0, "1")], ..Change::default() }).unwrap();
    drop(store);
    let store = Store::open_with(&state, &steps[..2]).unwrap();
    assert_eq!(store.doc("connection", "a").unwrap(), Some((1, "1".into())));
    drop(store);
    let copy = state.join("state.db.v1");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(migrations::version(&copy).unwrap(), 1);

    let listing = || {
        let mut files: Vec<_> = fs::read_dir(&state).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect::<Vec<_>>()
    };
    let before = listing();
    match Store::open_with(&state, &steps[..1]) {
        Err(e @ StoreError::Newer { found: 2, known: 1, .. }) => {
            assert!(e.to_string().contains("state.db.v1"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    assert!(listing() == before, "nothing was touched");

    drop(Store::open_with(&state, &steps).unwrap());
    assert!(!copy.exists() && state.join("state.db.v2").exists(), "kept until the next");
    // A step that fails leaves the file as it was.
    let bad = [steps[0], steps[1], steps[2], "CREATE TABLE half (x); NONSENSE"];
    assert!(Store::open_with(&state, &bad).is_err());
    let store = Store::open_with(&state, &steps).unwrap();
    assert_eq!(store.doc("connection", "a").unwrap(), Some((1, "1".into())));
}

/// A released step is never edited: this hash may only be joined by others.
#[test]
fn migrations_are_frozen() {
    use sha2::{Digest, Sha256};
    let hashes: Vec<String> =
        migrations::STEPS.iter().map(|s| hex(&Sha256::digest(s.as_bytes())[..8])).collect();
    insta::assert_debug_snapshot!(hashes);
}

#[test]
fn damaged_and_foreign_files_are_told_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    drop(Store::open(&state).unwrap());
    let db = state.join("state.db");
    for bytes in
        [b"not a database, but long enough to look at, surely".repeat(20), vec![0xFF; 5000]]
    {
        fs::write(&db, &bytes).unwrap();
        let e = Store::open(&state).unwrap_err();
        assert!(matches!(e, StoreError::Corrupt { .. }), "{e}");
        assert!(fs::read(&db).unwrap() == bytes);
    }
    fs::remove_file(&db).unwrap();
    let foreign = rusqlite::Connection::open(&db).unwrap();
    foreign.execute_batch("CREATE TABLE mine (x); PRAGMA application_id = 7").unwrap();
    drop(foreign);
    let e = Store::open(&state).unwrap_err();
    assert!(e.to_string().contains("another program"), "{e}");
}

#[test]
fn a_full_disk_undoes_the_change_and_is_named() {
    let (_dir, store) = open();
    store.apply(Change { docs: vec![doc("a", 0, "1")], ..Change::default() }).unwrap();
    let limit = |pages: i64| {
        store.with("t", |c| c.pragma_update(None, "max_page_count", pages)).unwrap();
    };
    limit(1);
    let large = "x".repeat(1 << 20);
    let change = |json: &str| Change {
        docs: vec![doc("a", 1, json)],
        refresh: vec![("a".into(), Some(RefreshInFlight { generation: 1, started: at(0) }))],
        ..Change::default()
    };
    let e = store.apply(change(&large)).unwrap_err();
    assert!(matches!(e, StoreError::DiskFull { .. }), "{e}");
    assert_eq!(store.doc("connection", "a").unwrap(), Some((1, "1".into())));
    assert_eq!(store.refresh_in_flight("a").unwrap(), None, "no commit, no request");
    limit(1_000_000);
    store.apply(change(&large)).unwrap();
    assert_eq!(store.doc("connection", "a").unwrap().unwrap().1.len(), 1 << 20);
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(Store::open(&file).is_err(), "a file instead of a folder");
    if rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: a folder without write permission (root may write anywhere)");
        return;
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let e = Store::open(&dir.path().join("state")).unwrap_err();
    assert!(matches!(e, StoreError::ReadOnly { .. }), "{e}");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_database_that_turns_read_only_is_told() {
    let (_dir, store) = open();
    store.with("t", |c| c.pragma_update(None, "query_only", "ON")).unwrap();
    let change = || Change { docs: vec![doc("a", 0, "1")], ..Change::default() };
    let e = store.apply(change()).unwrap_err();
    assert!(matches!(e, StoreError::ReadOnly { .. }), "{e}");
    store.with("t", |c| c.pragma_update(None, "query_only", "OFF")).unwrap();
    store.apply(change()).unwrap();
}

const VICTIM: &str = "CRMSYNC_TEST_VICTIM_STATE";

/// Not a test by itself: the process that the next test kills. It stores document, mail, due
/// time and secret in one change, again and again, and says so after each.
#[test]
#[allow(clippy::disallowed_methods)]
fn victim() {
    use std::io::Write;
    let Some(state) = std::env::var_os(VICTIM) else { return };
    let store = Store::open(Path::new(&state)).unwrap();
    let vault = vault::Vault::open(&store, None).unwrap();
    let mut n = store.doc("connection", "a").unwrap().map_or(0, |(version, _)| version);
    loop {
        let secret = vault.put("a", "refresh_token", &(n + 1).to_string().into()).unwrap();
        let change = Change {
            docs: vec![doc("a", n, &n.to_string())],
            due: vec![("a".into(), Some(at(i64::try_from(n + 1).unwrap())))],
            mails: vec![mail(&n.to_string())],
            secrets: vec![secret],
            ..Change::default()
        };
        store.apply(change).unwrap();
        n += 1;
        let mut out = std::io::stdout();
        writeln!(out, "stored {n}").and_then(|()| out.flush()).unwrap();
    }
}

/// Killed at any moment: what was acknowledged is there, and nothing is there by half.
#[test]
fn kill_9_leaves_whole_changes() {
    use secrecy::ExposeSecret;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut acknowledged = 0;
    for round in 1..=12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::victim", "--exact", "--nocapture"])
            .env(VICTIM, &state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let goal = acknowledged + round % 4 + 1;
        while acknowledged < goal {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, n)) = line.split_once("stored ") {
                acknowledged = n.parse().unwrap();
            }
        }
        // Moments drawn over a change: a short spin of another length each round.
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some((_, n)) = line.split_once("stored ") {
                acknowledged = n.parse().unwrap();
            }
        }
        let store = Store::open(&state).unwrap();
        let vault = vault::Vault::open(&store, None).unwrap();
        let version = store.doc("connection", "a").unwrap().unwrap().0;
        assert!(version == acknowledged || version == acknowledged + 1, "{version} {acknowledged}");
        acknowledged = version;
        assert_eq!(store.mails(u32::MAX).unwrap().len() as u64, version);
        assert_eq!(store.next_due().unwrap(), Some(at(i64::try_from(version).unwrap())));
        let secret = vault.get("a", "refresh_token").unwrap().unwrap();
        assert_eq!(secret.expose_secret(), version.to_string());
        assert!(!store.restored().unwrap(), "a crash is no restore");
    }
}
