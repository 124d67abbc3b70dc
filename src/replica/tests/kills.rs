//! Killed at any moment: the rows and the state of one write are all there or not at all.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const VICTIM: &str = "CRMSYNC_TEST_REPLICA";
const PER_WRITE: u64 = 50;

/// Not a test by itself: the process that is killed. Write `n` says `n` in the state and brings
/// rows up to `n * PER_WRITE`.
#[test]
#[ignore = "started by killed_writes_are_whole_or_absent"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)]
fn victim() {
    let Ok(place) = std::env::var(VICTIM) else { return };
    let mut replica = claimed(&from_words(&place));
    let account = schema("Account", &KINDS);
    let fields = strings(&["Id", "Name"]);
    replica.lay_out(&account, &names(&KINDS), t("2024-01-01T00:00:00Z")).unwrap();
    let start = replica.states().unwrap().get("Account").map_or(0, |s| s.parse::<u64>().unwrap());
    for n in start.. {
        let ids: Vec<String> = (0..PER_WRITE).map(|i| format!("k{}", n * PER_WRITE + i)).collect();
        let rows: Vec<_> = ids.iter().map(|id| [Some(id.as_str()), Some("some text")]).collect();
        let (batch, state) = (batch(&rows), (n + 1).to_string());
        let at = t("2024-01-01T00:00:00Z");
        let rows = Change::Rows {
            object: "Account",
            fields: &fields,
            batch: &batch,
            mode: Mode::Upsert,
            at,
        };
        replica.write(&[rows, Change::State { object: "Account", state: &state }]).unwrap();
        println!("\ndone {n}");
    }
}

/// A place as a word for another process, and back.
fn words(place: &Place) -> String {
    match place {
        Place::File(path) => path.display().to_string(),
        Place::Schema { server, schema } => format!("{}#{schema}", server.host),
    }
}

fn from_words(words: &str) -> Place {
    let Some((socket, schema)) = words.split_once('#') else { return Place::File(words.into()) };
    let server = server::at(Path::new(socket));
    Place::Schema { server, schema: schema.to_owned() }
}

fn killed_writes_are_whole_or_absent(base: Base) {
    let dir = tempfile::tempdir().unwrap();
    let place = place(base, dir.path());
    let mut reader = Reader::default();
    let mut last = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replica::tests::kills::victim", "--ignored", "--nocapture"])
            .env(VICTIM, words(&place))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Kept open until the kill: a closed pipe would end the child by itself.
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let done = said.by_ref().map_while(Result::ok).filter(|l| l.starts_with("done "));
        // Different rounds are killed after different numbers of writes, wherever the next one is.
        let wanted = 1 + usize::try_from(round * 7 % 23).unwrap();
        assert_eq!(done.take(wanted).count(), wanted, "the child ended by itself");
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        let mut replica = open(&place);
        let writes: u64 = replica.states().unwrap()["Account"].parse().unwrap();
        assert!(writes > last, "round {round}: {writes} after {last}");
        assert_eq!(replica.counts("Account").unwrap().live, writes * PER_WRITE, "round {round}");
        let seq = reader.query(
            &place,
            "SELECT max(_crmsync_seq), (SELECT CAST(value AS BIGINT) FROM _crmsync_meta WHERE key = 'seq') FROM account",
        );
        assert_eq!(seq[0][0], seq[0][1]);
        if let Place::File(path) = &place {
            assert_eq!(query(path, "PRAGMA integrity_check"), [[text("ok")]]);
        }
        last = writes;
    }
}

on_both! { killed_writes_are_whole_or_absent }
