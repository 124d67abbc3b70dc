//! Killed at any moment of a first load: pages are whole or absent, with their states.

use super::*;
use crate::replica::sqlite::Sqlite;
use crate::replica::{Fed, Into, Replica as _};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const VICTIM: &str = "CRMSYNC_TEST_LOADING_REPLICA";
const BATCHES: u64 = 4;
const PER_BATCH: u64 = 50;
const PER_PAGE: u64 = BATCHES * PER_BATCH;
const PAGES: u64 = 6;

/// Not a test by itself: the process that is killed. Loads `PAGES` pages, the last one with the
/// key, then forgets the object and begins anew; the state is the number of the page.
#[test]
#[ignore = "started by killed_loads_are_whole_pages"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let mut replica = Sqlite::open(Path::new(&path), "sf").unwrap();
    replica.claim(&owner()).unwrap();
    let fields = strings(&["Id", "Name"]);
    loop {
        let account = schema("Account", &KINDS);
        replica.lay_out(&account, &names(&KINDS), t("2024-01-01T00:00:00Z")).unwrap();
        let done = replica.states().unwrap().get("Account").map_or(0, |s| s.parse().unwrap());
        for page in done..PAGES {
            let mut fed = 0;
            let mut feed = || {
                if fed == BATCHES {
                    return Fed::Commit { state: (page + 1).to_string(), key: page + 1 == PAGES };
                }
                let first = page * PER_PAGE + fed * PER_BATCH;
                fed += 1;
                // Keys in no order, so that building the key has something to do.
                let ids: Vec<String> = (first..first + PER_BATCH)
                    .map(|n| format!("k{:05}", n * 7919 % (PAGES * PER_PAGE)))
                    .collect();
                let rows: Vec<_> = ids.iter().map(|id| [Some(id.as_str()), Some("text")]).collect();
                Fed::Batch(batch(&rows))
            };
            let at = t("2024-01-01T00:00:00Z");
            replica.stream("Account", &fields, Into::FirstLoad, at, &mut feed).unwrap();
            println!("\ndone {page}");
        }
        replica.write(&[Change::Forget { object: "Account" }]).unwrap();
    }
}

#[test]
fn killed_loads_are_whole_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sf.db");
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replica::tests::load_kills::victim", "--ignored", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Kept open until the kill: a closed pipe would end the child by itself.
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let done = said.by_ref().map_while(Result::ok).filter(|l| l.starts_with("done "));
        let wanted = 1 + usize::try_from(round * 5 % 11).unwrap();
        assert_eq!(done.take(wanted).count(), wanted, "the child ended by itself");
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        let mut replica = Sqlite::open(&path, "sf").unwrap();
        assert_eq!(query(&path, "PRAGMA integrity_check"), [[text("ok")]], "round {round}");
        if replica.objects().is_empty() {
            // Killed behind the forgetting.
            continue;
        }
        let pages: u64 = replica.states().unwrap().get("Account").map_or(0, |s| s.parse().unwrap());
        assert_eq!(replica.counts("Account").unwrap().live, pages * PER_PAGE, "round {round}");
        let found = query(
            &path,
            "SELECT count(DISTINCT id), (SELECT sum(pk) FROM pragma_table_info('account')) FROM account",
        );
        let keyed = i64::from(pages == 0 || pages == PAGES);
        let ids = i64::try_from(pages * PER_PAGE).unwrap();
        assert_eq!(found, [[Value::Integer(ids), Value::Integer(keyed)]], "round {round}");
    }
}
