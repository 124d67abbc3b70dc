//! The file: rights, claims, fences, and what stands in the way.

use super::*;
use crate::replica::ReplicaError;
use crate::replica::sqlite::Sqlite;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The daemon opens a replica in one thread and may work it in another.
const _: fn() = || {
    fn send<T: Send>() {}
    send::<Sqlite>();
};

/// A file whose parts are looked at.
struct Bed {
    replica: Sqlite,
    path: PathBuf,
    /// Lives as long as the file is needed.
    _dir: tempfile::TempDir,
}

impl Bed {
    fn account() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sf.db");
        let mut replica = Sqlite::open(&path, "sf").unwrap();
        replica.claim(&owner()).unwrap();
        replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT)).unwrap();
        Self { replica, path, _dir: dir }
    }

    fn rows(&mut self, fields: &[&str], batch: &Batch, at: &str) {
        let (object, fields) = ("Account", strings(fields));
        let rows = Change::Rows { object, fields: &fields, batch, mode: Mode::Upsert, at: t(at) };
        self.replica.write(&[rows]).unwrap();
    }
}

const AT: &str = "2024-05-01T10:00:00Z";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What a user with no write permission, neither to the file nor to its folder, gets to read.
fn read_without_rights(path: &Path) -> Option<String> {
    let folder = path.parent().unwrap();
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    let mut reader = Command::new("sqlite3");
    reader.arg(path).arg("SELECT id, name FROM account; PRAGMA journal_mode; PRAGMA quick_check;");
    if rustix::process::geteuid().is_root() {
        // Root's rights would prove nothing.
        reader.uid(65534).gid(65534);
    }
    let out = reader.output();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    }
    match out {
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stdout);
            Some(format!("{said}{}", String::from_utf8_lossy(&out.stderr)))
        }
        Err(e) => {
            eprintln!("NOT TESTED: no reader without rights, sqlite3 cannot be run: {e}");
            None
        }
    }
}

#[test]
fn the_file_can_be_read_without_write_permission_open_and_closed() {
    let mut bed = Bed::account();
    bed.rows(&["Id", "Name"], &batch(&[[Some("1"), Some("ü")]]), AT);
    for file in ["sf.db", "sf.db-wal", "sf.db-shm"] {
        assert_eq!(mode(&bed.path.with_file_name(file)), 0o640, "{file}");
    }
    if let Some(said) = read_without_rights(&bed.path) {
        assert_eq!(said, "1|ü\nwal\nok\n");
    }
    let Bed { replica, path, _dir } = bed;
    replica.close().unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "the file alone is left");
    if let Some(said) = read_without_rights(&path) {
        assert_eq!(said, "1|ü\ndelete\nok\n");
    }
}

#[test]
fn a_file_moved_away_while_open_swallows_nothing() {
    let mut bed = Bed::account();
    let state = [Change::State { object: "Account", state: "{}" }];
    fs::rename(&bed.path, bed.path.with_extension("old")).unwrap();
    assert!(matches!(bed.replica.write(&state), Err(ReplicaError::Unavailable { .. })));
    let other = Sqlite::open(&bed.path, "sf").unwrap();
    assert!(matches!(bed.replica.write(&state), Err(ReplicaError::Unavailable { .. })));
    assert!(other.objects().is_empty());
}

#[test]
fn foreign_newer_damaged_and_linked_files_are_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let made = |name: &str, sql: &str| {
        Connection::open(at(name)).unwrap().execute_batch(sql).unwrap();
        (at(name), fs::read(at(name)).unwrap())
    };
    let (foreign, foreign_bytes) = made("foreign.db", "CREATE TABLE theirs (x)");
    let refused = Sqlite::open(&foreign, "x").unwrap_err();
    assert!(matches!(refused, ReplicaError::NotOurs { .. }), "{refused}");
    assert_eq!(fs::read(&foreign).unwrap(), foreign_bytes);

    Sqlite::open(&at("newer.db"), "x").unwrap().close().unwrap();
    let (newer, newer_bytes) = made("newer.db", "PRAGMA user_version = 99");
    let refused = Sqlite::open(&newer, "x").unwrap_err();
    assert!(matches!(refused, ReplicaError::Newer { found: 99, .. }), "{refused}");
    assert_eq!(fs::read(&newer).unwrap(), newer_bytes);

    fs::write(at("text.db"), "this is no database ".repeat(100)).unwrap();
    let refused = Sqlite::open(&at("text.db"), "x").unwrap_err();
    assert!(matches!(refused, ReplicaError::Unavailable { .. }), "{refused}");

    std::os::unix::fs::symlink(at("target"), at("link.db")).unwrap();
    let refused = Sqlite::open(&at("link.db"), "x").unwrap_err();
    assert!(matches!(refused, ReplicaError::Unavailable { .. }) && !at("target").exists());
    let refused = Sqlite::open(&at("no/such/folder.db"), "x").unwrap_err();
    assert!(matches!(refused, ReplicaError::Unavailable { .. }), "{refused}");
    // Killed between making the file and its tables.
    fs::write(at("empty.db"), "").unwrap();
    Sqlite::open(&at("empty.db"), "x").unwrap().claim(&owner()).unwrap();
}

#[test]
fn a_full_disk_and_a_lock_are_told_apart_and_passed_over() {
    let mut bed = Bed::account();
    let long = "x".repeat(100_000);
    let row = batch(&[[Some("1"), Some(long.as_str())]]);
    let fields = strings(&["Id", "Name"]);
    let rows = Change::Rows {
        object: "Account",
        fields: &fields,
        batch: &row,
        mode: Mode::Upsert,
        at: t(AT),
    };
    let both = [Change::State { object: "Account", state: "{}" }, rows];
    bed.replica.raw().execute_batch("PRAGMA max_page_count = 1").unwrap();
    let full = bed.replica.write(&both).unwrap_err();
    assert!(matches!(full, ReplicaError::DiskFull { .. }), "{full}");
    assert!(!full.to_string().contains("xxx") && bed.replica.states().unwrap().is_empty());
    bed.replica.raw().execute_batch("PRAGMA max_page_count = 1000000").unwrap();

    bed.replica.raw().busy_timeout(std::time::Duration::from_millis(20)).unwrap();
    let other = Connection::open(&bed.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = bed.replica.write(&both).unwrap_err();
    assert!(matches!(locked, ReplicaError::Unavailable { .. }), "{locked}");
    other.execute_batch("ROLLBACK").unwrap();

    bed.replica.raw().execute_batch("PRAGMA query_only = ON").unwrap();
    let readonly = bed.replica.write(&both).unwrap_err();
    assert!(matches!(readonly, ReplicaError::Unavailable { .. }), "{readonly}");
    bed.replica.raw().execute_batch("PRAGMA query_only = OFF").unwrap();
    assert_eq!(bed.replica.write(&both).unwrap()[1].inserted, 1);
}

#[test]
fn a_reader_does_not_keep_the_file_from_being_closed() {
    let mut bed = Bed::account();
    bed.rows(&["Id"], &keys(&["1"]), AT);
    let reader = Connection::open(&bed.path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM account").unwrap();
    let Bed { replica, path, _dir } = bed;
    replica.close().unwrap();
    drop(reader);
    Sqlite::open(&path, "sf").unwrap().close().unwrap();
    assert_eq!(query(&path, "PRAGMA journal_mode"), [[text("delete")]]);
}

/// Unmounts when the test ends, however it ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_really_full_file_system_is_told_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("small");
    fs::create_dir(&folder).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "small"]).arg(&folder).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        eprintln!("NOT TESTED: a full file system, because none can be mounted here");
        return;
    }
    let _mounted = Mounted(folder.clone());
    let path = folder.join("sf.db");
    let mut replica = Sqlite::open(&path, "sf").unwrap();
    replica.claim(&owner()).unwrap();
    replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT)).unwrap();
    let fields = strings(&["Id", "Name"]);
    let long = "x".repeat(2000);
    let write = |replica: &mut Sqlite, n: u64| {
        let ids: Vec<String> = (0..20).map(|i| format!("{n}-{i}")).collect();
        let rows: Vec<_> = ids.iter().map(|id| [Some(id.as_str()), Some(long.as_str())]).collect();
        let (batch, state) = (batch(&rows), n.to_string());
        let rows = Change::Rows {
            object: "Account",
            fields: &fields,
            batch: &batch,
            mode: Mode::Upsert,
            at: t(AT),
        };
        replica.write(&[rows, Change::State { object: "Account", state: &state }]).map(|_| ())
    };
    let mut written = 0;
    let full = loop {
        match write(&mut replica, written + 1) {
            Ok(()) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 100, "1 MB was never full");
    };
    assert!(matches!(full, ReplicaError::DiskFull { .. }), "{full}");
    for _ in 0..3 {
        assert!(matches!(write(&mut replica, written + 1), Err(ReplicaError::DiskFull { .. })));
    }
    assert_eq!(replica.states().unwrap()["Account"], written.to_string());
    assert_eq!(replica.counts("Account").unwrap().live, written * 20);
    // A new connection on the full disk sees the same or says why not; it never panics.
    let refused = Sqlite::open(&folder.join("other.db"), "x").err();
    assert!(
        matches!(
            refused,
            None | Some(ReplicaError::DiskFull { .. } | ReplicaError::Unavailable { .. })
        ),
        "{refused:?}"
    );
    let more = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&folder).status().unwrap();
    assert!(more.success());
    write(&mut replica, written + 1).unwrap();
    assert_eq!(replica.counts("Account").unwrap().live, (written + 1) * 20);
    replica.close().unwrap();
}
