//! On a real file system of 512 KiB, which needs root: full, and turned read-only.

use super::*;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k,mode=0700", "crmsync-test"])
            .arg(dir.path())
            .output();
        if !done.is_ok_and(|o| o.status.success()) {
            eprintln!("NOT TESTED: a full and a read-only disk (mounting needs root)");
            return None;
        }
        Some(Self(dir))
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &how]).arg(self.0.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a failed test, which still holds files, leaves nothing mounted either.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn change(key: usize) -> Change {
    let json = "x".repeat(3000);
    let doc = Doc { kind: "connection", key: key.to_string(), version: 0, json };
    Change { docs: vec![doc], ..Change::default() }
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    let Some(disk) = SmallDisk::new() else { return };
    let state = disk.0.path().join("state");
    let store = Store::open(&state).unwrap();
    let vault = vault::Vault::open(&store, None).unwrap();
    let mut stored = 0;
    let full = loop {
        match store.apply(change(stored)) {
            Ok(()) => stored += 1,
            Err(e) => break e,
        }
        assert!(stored < 1000, "it never got full");
    };
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full:?}");
    assert!(full.to_string().contains("state.db") && full.to_string().contains("hint:"));
    for _ in 0..3 {
        let mut with_secret = change(stored);
        with_secret.secrets.push(vault.put("c1", "refresh_token", &"new".into()).unwrap());
        assert!(matches!(store.apply(with_secret), Err(StoreError::DiskFull { .. })));
    }
    assert_eq!(store.docs("connection").unwrap().len(), stored);
    drop((store, vault));
    match Store::open(&state) {
        Ok(store) => assert_eq!(store.docs("connection").unwrap().len(), stored),
        Err(e) => assert!(matches!(e, StoreError::DiskFull { .. }), "{e:?}"),
    }
    disk.remount("size=4m");
    let store = Store::open(&state).unwrap();
    assert!(!store.restored().unwrap());
    assert_eq!(store.docs("connection").unwrap().len(), stored);
    store.apply(change(stored)).unwrap();
}

#[test]
fn a_disk_that_is_read_only_is_told_and_passes() {
    let Some(disk) = SmallDisk::new() else { return };
    let state = disk.0.path().join("state");
    let store = Store::open(&state).unwrap();
    store.apply(change(0)).unwrap();
    drop(store);
    let before: Vec<_> = fs::read(state.join("state.db")).unwrap();
    disk.remount("ro");
    let e = Store::open(&state).unwrap_err();
    assert!(matches!(e, StoreError::ReadOnly { .. }), "{e:?}");
    assert!(e.to_string().contains("cannot be written"), "{e}");
    assert!(fs::read(state.join("state.db")).unwrap() == before);
    disk.remount("rw");
    let store = Store::open(&state).unwrap();
    assert_eq!(store.docs("connection").unwrap().len(), 1);
}
