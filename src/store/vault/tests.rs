use super::*;
use crate::store::{Change, Doc};
use base64::Engine;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use tempfile::TempDir;

const CANARY: &str = "CANARY-fQ9zW3kLm7TxVb2R";

struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> (Store, Vault) {
        let store = Store::open(&self.state()).unwrap();
        let vault = Vault::open(&store, None).unwrap();
        (store, vault)
    }

    /// What an attacker with write access to the database does.
    fn tamper(&self, sql: &str) {
        let conn = rusqlite::Connection::open(self.state().join("state.db")).unwrap();
        conn.execute_batch(sql).unwrap();
    }
}

fn put(store: &Store, vault: &Vault, connection: &str, name: &str, secret: &str) -> u64 {
    let write = vault.put(connection, name, &secret.into()).unwrap();
    let generation = write.generation().unwrap();
    store.apply(Change { secrets: vec![write], ..Change::default() }).unwrap();
    generation
}

fn get(vault: &Vault, connection: &str, name: &str) -> Option<String> {
    vault.get(connection, name).unwrap().map(|s| s.expose_secret().to_owned())
}

#[test]
fn secrets_come_back_after_a_restart() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    assert_eq!(put(&store, &vault, "c1", "refresh_token", "one"), 1);
    assert_eq!(put(&store, &vault, "c1", "client_secret", "two"), 2);
    assert_eq!(put(&store, &vault, "c1", "refresh_token", "three"), 3);
    put(&store, &vault, "c2", "password", "");
    drop((store, vault));
    let (store, vault) = lab.open();
    assert!(!store.restored().unwrap());
    assert_eq!(get(&vault, "c1", "refresh_token").as_deref(), Some("three"));
    assert_eq!(get(&vault, "c1", "client_secret").as_deref(), Some("two"));
    assert_eq!(get(&vault, "c2", "password").as_deref(), Some(""));
    assert_eq!(get(&vault, "c2", "nothing"), None);
    assert_eq!(vault.names("c1").unwrap(), ["client_secret", "refresh_token"]);
    assert_eq!(vault.generation("c1", "refresh_token").unwrap(), Some(3));
    // Removed and written again: the generation goes on.
    store.apply(Change { secrets: vault.forget("c1").unwrap(), ..Change::default() }).unwrap();
    assert_eq!(get(&vault, "c1", "refresh_token"), None);
    assert_eq!(put(&store, &vault, "c1", "refresh_token", "four"), 4);
}

#[test]
fn a_secret_is_stored_with_its_state_or_not_at_all() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    let doc = |version| Doc { kind: "connection", key: "c1".into(), version, json: "{}".into() };
    store.apply(Change { docs: vec![doc(0)], ..Change::default() }).unwrap();
    let write = vault.put("c1", "refresh_token", &"lost".into()).unwrap();
    let stale = Change { docs: vec![doc(7)], secrets: vec![write.clone()], ..Change::default() };
    assert!(matches!(store.apply(stale), Err(StoreError::Stale { .. })));
    assert_eq!(get(&vault, "c1", "refresh_token"), None);
    // A later one was stored meanwhile: the earlier one must not come back over it.
    put(&store, &vault, "c1", "refresh_token", "newer");
    let late = Change { secrets: vec![write], ..Change::default() };
    assert!(matches!(store.apply(late), Err(StoreError::Stale { .. })));
    assert_eq!(get(&vault, "c1", "refresh_token").as_deref(), Some("newer"));
}

/// K2 and K17, in the database.
#[test]
fn rows_moved_elsewhere_do_not_open() {
    for sql in [
        "UPDATE secret SET blob = (SELECT blob FROM secret WHERE connection = 'c2') WHERE connection = 'c1'",
        "UPDATE secret SET blob = (SELECT blob FROM secret WHERE name = 'b') WHERE name = 'a'",
        "UPDATE dek SET wrapped = (SELECT wrapped FROM dek WHERE connection = 'c2'),
                        dek_id = (SELECT dek_id FROM dek WHERE connection = 'c2') WHERE connection = 'c1'",
        "DELETE FROM dek WHERE connection = 'c1'",
        "UPDATE secret SET blob = x'00' WHERE name = 'a'",
        "UPDATE secret SET generation = generation + 1 WHERE name = 'a'",
        "UPDATE meta SET value = zeroblob(16) WHERE key = 'instance'",
    ] {
        let lab = Lab::new();
        let (store, vault) = lab.open();
        put(&store, &vault, "c1", "a", "x");
        put(&store, &vault, "c1", "b", "y");
        put(&store, &vault, "c2", "a", "z");
        drop((store, vault));
        lab.tamper(sql);
        let store = Store::open(&lab.state()).unwrap();
        match Vault::open(&store, None) {
            Ok(vault) => {
                let e = vault.get("c1", "a").unwrap_err();
                assert!(matches!(e, VaultError::DoesNotOpen { .. }), "{sql}: {e}");
            }
            // Another instance id: the key check already says no.
            Err(e) => assert!(matches!(e, VaultError::WrongKey { .. }), "{sql}: {e}"),
        }
    }
}

/// K4: one row put back, and the whole database put back.
#[test]
fn an_older_secret_put_back_is_noticed() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    put(&store, &vault, "c1", "refresh_token", "old");
    drop((store, vault));
    lab.tamper("CREATE TABLE kept AS SELECT * FROM secret");
    let (store, vault) = lab.open();
    put(&store, &vault, "c1", "refresh_token", "new");
    put(&store, &vault, "c1", "client_secret", "s");
    drop((store, vault));
    lab.tamper(
        "DELETE FROM secret WHERE name = 'refresh_token'; INSERT INTO secret SELECT * FROM kept",
    );
    for _ in 0..2 {
        let (_store, vault) = lab.open();
        let e = vault.get("c1", "refresh_token").unwrap_err();
        assert!(matches!(e, VaultError::Older { found: 1, expected: 2, .. }), "{e}");
    }
    let (store, vault) = lab.open();
    assert_eq!(get(&vault, "c1", "client_secret").as_deref(), Some("s"));
    assert_eq!(put(&store, &vault, "c1", "refresh_token", "newest"), 4);
    assert_eq!(get(&vault, "c1", "refresh_token").as_deref(), Some("newest"));
}

#[test]
fn an_older_database_put_back_is_told_and_settled() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    put(&store, &vault, "c1", "refresh_token", "old");
    drop((store, vault));
    let backup = fs::read(lab.state().join("state.db")).unwrap();
    let (store, vault) = lab.open();
    put(&store, &vault, "c1", "refresh_token", "new");
    drop((store, vault));
    fs::write(lab.state().join("state.db"), backup).unwrap();
    let (store, vault) = lab.open();
    assert!(store.restored().unwrap());
    assert_eq!(get(&vault, "c1", "refresh_token").as_deref(), Some("old"), "to be probed gently");
    assert_eq!(put(&store, &vault, "c1", "refresh_token", "again"), 3, "never 2 again");
    store.settle_restored().unwrap();
    drop((store, vault));
    let opened = lab.open();
    assert!(!opened.0.restored().unwrap());
    drop(opened);
    fs::remove_file(lab.state().join("epoch")).unwrap();
    assert!(lab.open().0.restored().unwrap(), "sealed secrets without their epoch file");
}

/// K5, and the missing key: degraded, and never a new one.
#[test]
fn sealed_secrets_wait_for_their_own_key() {
    let lab = Lab::new();
    let key = lab.state().join("master.key");
    let (store, vault) = lab.open();
    let first = fs::read_to_string(&key).unwrap();
    drop(vault);
    // Nothing is sealed yet: a lost key is replaced.
    fs::remove_file(&key).unwrap();
    let vault = Vault::open(&store, None).unwrap();
    assert_ne!(fs::read_to_string(&key).unwrap(), first);
    put(&store, &vault, "c1", "password", "pw");
    drop(vault);
    let kept = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(Vault::open(&store, None), Err(VaultError::KeyMissing { .. })));
    assert!(!key.exists());
    let status = key_status(&store, None).unwrap();
    assert_eq!((status.sealed, status.key_id, status.beside_data), (1, None, false));

    fs::write(&key, &first).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let e = Vault::open(&store, None).unwrap_err();
    assert!(matches!(e, VaultError::WrongKey { .. }), "{e}");
    fs::write(&key, kept).unwrap();
    let vault = Vault::open(&store, None).unwrap();
    assert_eq!(get(&vault, "c1", "password").as_deref(), Some("pw"));
    let status = key_status(&store, None).unwrap();
    assert!(status.beside_data && status.to_string().contains("the key lies beside the data"));
    drop(vault);
    // Lost for good, and an admin said so.
    fs::remove_file(&key).unwrap();
    assert!(key_status(&store, None).unwrap().to_string().starts_with("key missing: 1 secrets"));
    assert_eq!(give_up_sealed(&store).unwrap(), 1);
    let vault = Vault::open(&store, None).unwrap();
    assert_eq!(get(&vault, "c1", "password"), None);
    put(&store, &vault, "c1", "password", "new");
    assert_eq!(get(&vault, "c1", "password").as_deref(), Some("new"));
}

/// K6.
#[test]
fn a_key_file_is_believed_only_if_it_is_private_and_whole() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    drop(vault);
    let key = lab.state().join("master.key");
    let good = fs::read_to_string(&key).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    let write = |text: &str, mode: u32| {
        let _ = fs::remove_file(&key);
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    };
    let opens = || match Vault::open(&store, None) {
        Ok(_) => true,
        Err(VaultError::KeyFile { why, .. }) => {
            assert!(!why.contains(good.trim().rsplit(':').nth(1).unwrap()), "{why}");
            false
        }
        Err(e) => panic!("{e}"),
    };
    let trimmed = good.trim_end();
    for text in [trimmed.to_owned(), format!("{trimmed}\n"), format!("{trimmed}\r\n")] {
        write(&text, 0o600);
        assert!(opens(), "{text:?}");
    }
    write(&good, 0o400);
    assert!(opens());
    for mode in [0o644, 0o640, 0o660, 0o4600] {
        write(&good, mode);
        assert!(!opens(), "{mode:o}");
    }
    let edited = trimmed.replacen('A', "B", 1).replacen('a', "b", 1);
    let texts = ["", "\n", "hello", &trimmed[..trimmed.len() - 1], &trimmed[..40], &edited];
    for text in texts.into_iter().filter(|t| *t != trimmed) {
        write(text, 0o600);
        assert!(!opens(), "{text:?}");
    }
    for extra in ["\n\n", " ", "x", ":"] {
        write(&format!("{trimmed}{extra}"), 0o600);
        assert!(!opens(), "{extra:?}");
    }
    write(&good, 0o600);
    let real = lab.dir.path().join("real.key");
    fs::rename(&key, &real).unwrap();
    symlink(&real, &key).unwrap();
    assert!(!opens(), "a link");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert!(!opens(), "a folder");
    fs::remove_dir(&key).unwrap();
    write(&good, 0o600);
    fs::set_permissions(lab.state(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!opens(), "a folder where anybody may write");
    fs::set_permissions(lab.state(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(opens());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(4711), None).unwrap();
        assert!(!opens(), "another user's");
    } else {
        eprintln!("NOT TESTED: a key file of another user (needs root)");
    }
}

/// K7, and the move away from the data.
#[test]
fn the_key_moves_away_and_the_credential_wins() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    put(&store, &vault, "c1", "password", "pw");
    drop(vault);
    let target = lab.dir.path().join("cred with 'quote'");
    move_key(store.dir(), &target).unwrap();
    assert!(!store.dir().join("master.key").exists());
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Vault::open(&store, None), Err(VaultError::KeyMissing { .. })));
    fs::set_permissions(&target, fs::Permissions::from_mode(0o440)).unwrap();
    // A key file that is left over does not matter.
    fs::write(store.dir().join("master.key"), "rubbish").unwrap();
    let vault = Vault::open(&store, Some(&target)).unwrap();
    assert_eq!(get(&vault, "c1", "password").as_deref(), Some("pw"));
    assert!(matches!(vault.key_place(), KeyPlace::Credential(_)));
    let status = key_status(&store, Some(&target)).unwrap();
    assert!(!status.beside_data && status.problem.is_none());
    assert_eq!(status.key_id, status.needed_id);
    let taken = move_key(store.dir(), &target).unwrap_err();
    assert!(matches!(taken, VaultError::KeyFile { .. }));
    for encrypted in [true, false] {
        let steps = systemd_steps(&target, encrypted).join("\n");
        assert!(steps.contains(r"'\''quote'\'''"), "{steps}");
        assert!(steps.contains("crmsync.master") && steps.contains("LoadCredential"));
    }
}

/// K13 and K16: neither in a debug text nor in any file of the state folder, in any dress.
#[test]
fn a_secret_is_nowhere_in_clear() {
    let lab = Lab::new();
    let (store, vault) = lab.open();
    let write = vault.put("c1", "refresh_token", &CANARY.into()).unwrap();
    let before = format!("{write:?} {vault:?} {store:?}");
    store.apply(Change { secrets: vec![write], ..Change::default() }).unwrap();
    let opened = vault.get("c1", "refresh_token").unwrap();
    let printed = format!("{before} {opened:?} {:?}", key_status(&store, None).unwrap());
    let key_text = fs::read_to_string(store.dir().join("master.key")).unwrap();
    let key = key_text.split(':').nth(2).unwrap().to_owned();
    for i in 0..20 {
        put(&store, &vault, "c1", "refresh_token", &format!("{CANARY}{i}"));
    }
    let std64 = base64::engine::general_purpose::STANDARD.encode(CANARY);
    // Two more alignments: the canary may stand anywhere in an encoded text.
    let shifted = |pad: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{pad}{CANARY}"));
        text[4..text.len() - 4].to_owned()
    };
    let hex = crate::store::hex(CANARY.as_bytes());
    let mut needles = vec![
        CANARY.to_owned(),
        std64.trim_end_matches('=')[..30].to_owned(),
        hex.to_uppercase(),
        hex,
    ];
    needles.extend([shifted("x"), shifted("xy")]);
    let mut looked_at = 0;
    let mut look = |name: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for needle in &needles {
            assert!(!text.contains(needle.as_str()), "{needle} in {name}");
        }
        if name != "master.key" {
            assert!(!text.contains(&key), "the master key in {name}");
        }
        looked_at += 1;
    };
    look("debug texts", printed.as_bytes());
    let mut sweep = |when: &str| {
        for entry in fs::read_dir(lab.state()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{when}: {name}");
            look(&name, &fs::read(entry.path()).unwrap());
        }
    };
    sweep("open");
    drop((store, vault));
    sweep("closed");
    assert!(looked_at >= 8, "db, wal, shm, epoch, lock, key");
}

/// K18, in small: sizes are stable and nonces differ.
#[test]
fn many_writes_never_repeat_a_nonce() {
    let lab = Lab::new();
    let (_store, vault) = lab.open();
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let write = vault.put("c1", "refresh_token", &"same".into()).unwrap();
        let Op::Put { blob, .. } = write.op else { panic!("a put") };
        assert_eq!(blob.len(), 109);
        assert!(nonces.insert(blob[5..29].to_vec()));
    }
}
