//! A server that stops in the middle of a statement, without a word and without hanging up.

use super::*;
use crate::replica::postgres::Postgres;
use crate::replica::{Fed, Into, ReplicaError};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const AT: &str = "2024-05-01T10:00:00Z";
const QUIET: Duration = Duration::from_millis(200);
/// For what must not be reached, or be reached in the end.
const LONG: Duration = Duration::from_secs(120);

/// A server that nobody shares, and a replica in it with one row.
struct Scene {
    replica: Postgres,
    other: postgres::Client,
    own: server::Postgres,
}

impl Scene {
    /// A statement has so long to end.
    fn with(within: Duration) -> Option<Self> {
        let own = server::Postgres::start(&["-c", "fsync=off"])?;
        let mut replica = Postgres::open(&own.server(), "sf", "sf").unwrap();
        replica.hurry(QUIET, within);
        replica.claim(&owner()).unwrap();
        replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT)).unwrap();
        let mut this = Self { replica, other: server::client(&own.socket), own };
        this.write("1").unwrap();
        Some(this)
    }

    fn write(&mut self, id: &str) -> Result<Vec<Applied>, ReplicaError> {
        let (object, fields, batch) = ("Account", strings(&["Id"]), keys(&[id]));
        let mode = Mode::Upsert;
        let rows = Change::Rows { object, fields: &fields, batch: &batch, mode, at: t(AT) };
        self.replica.write(&[rows, Change::State { object, state: id }])
    }

    /// Writes once the one that froze has let go of what it held.
    fn goes_on(&mut self, id: &str, rows: i64) {
        while let Err(error) = self.write(id) {
            assert!(error.to_string().contains("holds a lock"), "{error}");
        }
        let count = self.other.query_one("SELECT count(*) FROM sf.account", &[]).unwrap();
        assert_eq!(count.get::<_, i64>(0), rows);
        assert_eq!(self.replica.states().unwrap()["Account"], id);
    }

    fn backend(&mut self) -> Pid {
        backend(&mut self.other)
    }

    fn postmaster(&self) -> Pid {
        let file = std::fs::read_to_string(self.own.socket.join("data/postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().parse().unwrap()).unwrap()
    }
}

/// The process that serves the replica.
fn backend(client: &mut postgres::Client) -> Pid {
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'crmsync sf'";
    Pid::from_raw(client.query_one(sql, &[]).unwrap().get(0)).unwrap()
}

/// Stopped processes; they go on when this is dropped, so that the server can be ended.
struct Frozen(Vec<Pid>);

fn freeze(pids: &[Pid]) -> Frozen {
    for pid in pids {
        kill_process(*pid, Signal::STOP).unwrap();
    }
    Frozen(pids.to_vec())
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

fn assert_told(error: &ReplicaError, words: &str) {
    assert!(matches!(error, ReplicaError::Unavailable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(words) && text.contains("hint: nothing is lost"), "{text}");
}

#[test]
fn one_that_freezes_in_a_copy_is_given_up_and_nothing_of_the_page_stays() {
    let Some(mut scene) = Scene::with(Duration::from_secs(4)) else { return };
    let object = "Lead";
    scene.replica.lay_out(&schema(object, &KINDS), &names(&KINDS), t(AT)).unwrap();
    let (fields, pid, long) = (strings(&["Id", "Name"]), scene.backend(), "x".repeat(100_000));
    let (mut fed, mut frozen) = (0, None);
    let mut feed = || {
        fed += 1;
        if fed == 2 {
            frozen = Some(freeze(&[pid]));
        }
        assert!(fed < 1000, "100 MB went to a process that reads nothing");
        let id = fed.to_string();
        Fed::Batch(batch(&[[Some(id.as_str()), Some(long.as_str())]]))
    };
    let told = scene.replica.stream(object, &fields, Into::FirstLoad, t(AT), &mut feed);
    assert_told(&told.unwrap_err(), "no answer to a statement within 5 s");
    drop(frozen);
    scene.replica.hurry(LONG, LONG);
    scene.goes_on("2", 2);
    let left = scene.other.query("SELECT to_regclass('sf.lead')::text", &[]).unwrap();
    assert_eq!(left[0].get::<_, Option<String>>(0), None, "the table came with its first page");
}

/// A write while somebody else holds a lock that it needs: `meanwhile` is called when it waits,
/// then the lock is let go.
fn while_it_waits<T>(
    scene: &mut Scene,
    id: &str,
    meanwhile: impl FnOnce(&mut postgres::Client) -> T,
) -> (Result<Vec<Applied>, ReplicaError>, T) {
    let client = || server::client(&scene.own.socket);
    let (mut holder, mut watch) = (client(), client());
    holder.batch_execute("BEGIN; LOCK TABLE sf._crmsync_meta IN EXCLUSIVE MODE").unwrap();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| scene.write(id));
        let waits = "SELECT 1 FROM pg_stat_activity
             WHERE application_name = 'crmsync sf' AND wait_event_type = 'Lock'";
        while watch.query(waits, &[]).unwrap().is_empty() {
            assert!(!write.is_finished(), "it did not wait");
        }
        let kept = meanwhile(&mut watch);
        holder.batch_execute("ROLLBACK").unwrap();
        (write.join().unwrap(), kept)
    })
}

#[test]
fn long_work_is_waited_for_while_the_server_answers_and_a_frozen_one_is_not() {
    let Some(mut scene) = Scene::with(LONG) else { return };
    let (waited, ()) = while_it_waits(&mut scene, "2", |watch| {
        // Each sign of life is a session of its own.
        let sessions = "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'";
        let mut count = || watch.query_one(sessions, &[]).unwrap().get::<_, i64>(0);
        let enough = count() + 3;
        while count() < enough {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    waited.expect("it waited, as the server did");
    let postmaster = scene.postmaster();
    let (told, frozen) =
        while_it_waits(&mut scene, "3", |watch| freeze(&[backend(watch), postmaster]));
    assert_told(&told.unwrap_err(), "the server has stopped answering");
    let told = scene.write("3").unwrap_err();
    assert!(told.to_string().contains("did not answer within 10 s"), "{told}");
    drop(frozen);
    scene.goes_on("3", 3);
}

#[test]
fn one_that_freezes_while_it_waits_for_a_lock_is_given_up() {
    let Some(mut scene) = Scene::with(Duration::from_secs(4)) else { return };
    let (told, frozen) = while_it_waits(&mut scene, "2", |watch| freeze(&[backend(watch)]));
    assert_told(&told.unwrap_err(), "no answer to a statement within 5 s");
    drop(frozen);
    scene.replica.hurry(LONG, LONG);
    scene.goes_on("2", 2);
}

#[test]
fn what_was_given_up_does_not_go_on_for_long() {
    let Some(mut scene) = Scene::with(LONG) else { return };
    scene
        .other
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON sf.account EXECUTE FUNCTION slow()",
        )
        .unwrap();
    let (version, pid) = (scene.other.query_one("SHOW server_version_num", &[]), scene.backend());
    if version.unwrap().get::<_, String>(0).parse::<u32>().unwrap() < 140_000 {
        return;
    }
    // It works, but nobody new is answered.
    let frozen = freeze(&[scene.postmaster()]);
    assert_told(&scene.write("2").unwrap_err(), "the server has stopped answering");
    let there = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {}", pid.as_raw_pid());
    let (mut looks, look) = (0, Duration::from_millis(100));
    while !scene.other.query(&there, &[]).unwrap().is_empty() {
        looks += 1;
        assert!(looks < 600, "it works on for nobody");
        std::thread::sleep(look);
    }
    drop(frozen);
    scene.other.batch_execute("DROP FUNCTION slow CASCADE").unwrap();
    scene.goes_on("2", 2);
}
