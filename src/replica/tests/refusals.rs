//! What a server refuses for its own reasons: no room, no memory, too many sessions, not ready,
//! read-only. Each is told as what it is, and passed over when it is over.

use super::*;
use crate::replica::postgres::Postgres;
use crate::replica::{Fed, Into, ReplicaError, Server};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

const AT: &str = "2024-05-01T10:00:00Z";

fn assert_told(error: &ReplicaError, words: &[&str]) {
    assert!(matches!(error, ReplicaError::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    for words in words {
        assert!(text.contains(words), "{text}");
    }
}

fn rows(replica: &mut dyn Replica, n: u64, long: &str) -> Result<Vec<Applied>, ReplicaError> {
    let ids: Vec<String> = (0..20).map(|i| format!("{n}-{i}")).collect();
    let rows: Vec<_> = ids.iter().map(|id| [Some(id.as_str()), Some(long)]).collect();
    let (object, batch, state) = ("Account", batch(&rows), n.to_string());
    let (fields, mode) = (strings(&["Id", "Name"]), Mode::Upsert);
    let rows = Change::Rows { object, fields: &fields, batch: &batch, mode, at: t(AT) };
    replica.write(&[rows, Change::State { object, state: &state }])
}

/// Text that does not get smaller.
fn noise(n: usize) -> String {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from(seed >> 33 & 63).unwrap_or(0))
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn a_statement_that_the_server_cannot_carry_out_now_is_passed_over_as_a_whole() {
    if server::shared().is_none() {
        return;
    }
    let mut bed = Bed::account(Base::Postgres);
    rows(bed.replica.as_mut(), 1, "a").unwrap();
    for (code, words) in [
        ("53100", "no space left for the server: busy (SQLSTATE 53100)\nhint: make room"),
        ("53200", "hint: give the server more memory"),
        ("53400", "hint: look at the server's log"),
        ("58030", "hint: look at the server's log"),
        ("40001", "hint: nothing is lost"),
        ("57P03", "hint: nothing is lost"),
    ] {
        bed.change(&format!(
            "CREATE OR REPLACE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = '{code}'; END $$;
             CREATE OR REPLACE TRIGGER busy BEFORE INSERT ON account EXECUTE FUNCTION busy()"
        ));
        let told = rows(bed.replica.as_mut(), 2, "b").unwrap_err();
        assert_told(&told, &["writing rows of Account", words]);
        assert_eq!(bed.replica.states().unwrap()["Account"], "1");
        assert_eq!(bed.replica.counts("Account").unwrap().live, 20, "{code}");
    }
    bed.change("DROP FUNCTION busy CASCADE");
    rows(bed.replica.as_mut(), 2, "b").unwrap();
    assert_eq!(bed.replica.counts("Account").unwrap().live, 40);
}

/// Unmounts when the test ends, however it ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_really_full_disk_of_the_server_is_told_and_passed_over() {
    let Some(own) = server::Postgres::start(&["-c", "fsync=off"]) else { return };
    let folder = own.socket.join("small");
    std::fs::create_dir(&folder).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "small"]).arg(&folder).output();
    if !mount.is_ok_and(|out| out.status.success()) {
        eprintln!("NOT TESTED: a full disk of PostgreSQL, because none can be mounted here");
        return;
    }
    let _mounted = Mounted(folder.clone());
    server::give(&folder);
    let mut other = server::client(&own.socket);
    other
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()))
        .unwrap();
    other.batch_execute("ALTER ROLE crmtest SET default_tablespace = small").unwrap();
    let mut replica = Postgres::open(&own.server(), "sf", "sf").unwrap();
    replica.claim(&owner()).unwrap();
    for object in ["Account", "Lead"] {
        replica.lay_out(&schema(object, &KINDS), &names(&KINDS), t(AT)).unwrap();
    }
    let (long, full) =
        (noise(5000), ["no space left for the server", "hint: make room on the disk"]);
    let mut written = 0;
    let told = loop {
        match rows(&mut replica, written + 1, &long) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 100, "4 MB were never full");
    };
    assert_told(&told, &full);
    assert_told(&rows(&mut replica, written + 1, &long).unwrap_err(), &full);
    let (fields, mut n) = (strings(&["Id", "Name"]), 0);
    let mut feed = || {
        n += 1;
        let id = n.to_string();
        if n > 2000 {
            return Fed::Commit { state: "1".into(), key: true };
        }
        Fed::Batch(batch(&[[Some(id.as_str()), Some(long.as_str())]]))
    };
    let told = replica.stream("Lead", &fields, Into::FirstLoad, t(AT), &mut feed).unwrap_err();
    assert_told(&told, &full);
    assert_eq!(replica.states().unwrap().len(), 1, "nothing of the load stays");
    assert_eq!(replica.states().unwrap()["Account"], written.to_string());
    assert_eq!(replica.counts("Account").unwrap().live, written * 20);
    let more = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&folder).status();
    assert!(more.unwrap().success());
    rows(&mut replica, written + 1, &long).unwrap();
    assert_eq!(replica.counts("Account").unwrap().live, (written + 1) * 20);
}

#[test]
fn a_standby_is_not_written_to_and_its_primary_is_asked_for() {
    let Some(own) = server::Postgres::start(&["-c", "fsync=off"]) else { return };
    let mut replica = Postgres::open(&own.server(), "sf", "sf").unwrap();
    replica.claim(&owner()).unwrap();
    replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT)).unwrap();
    rows(&mut replica, 1, "a").unwrap();
    own.order("fast");
    let signal = own.socket.join("data/standby.signal");
    std::fs::write(&signal, "").unwrap();
    server::give(&signal);
    own.order("start");
    let words = ["hint: this server is a standby or read-only: name the primary"];
    assert_told(&rows(&mut replica, 2, "b").unwrap_err(), &words);
    let mut anew = Postgres::open(&own.server(), "sf", "sf").unwrap();
    assert_told(&anew.claim(&owner()).unwrap_err(), &words);
    let new = Postgres::open(&own.server(), "other", "other").err().expect("no schema can be made");
    assert_told(&new, &words);
    own.order("fast");
    std::fs::remove_file(signal).unwrap();
    own.order("start");
    rows(&mut replica, 2, "b").unwrap();
    assert_eq!(replica.counts("Account").unwrap().live, 40);
}

#[test]
fn a_role_without_a_free_session_is_told_so() {
    let Some(own) = server::Postgres::start(&["-c", "fsync=off"]) else { return };
    let mut other = server::client(&own.socket);
    let role =
        "CREATE ROLE narrow LOGIN CONNECTION LIMIT 0; GRANT ALL ON DATABASE postgres TO narrow";
    other.batch_execute(role).unwrap();
    let server = Server { user: Some("narrow".into()), ..(*own.server()).clone() };
    let told = Postgres::open(&server, "sf", "sf").err().expect("a refusal");
    assert_told(&told, &["(SQLSTATE 53300)", "hint: raise the connection limit"]);
    other.batch_execute("ALTER ROLE narrow CONNECTION LIMIT 5").unwrap();
    Postgres::open(&server, "sf", "sf").unwrap().claim(&owner()).unwrap();
}

#[test]
fn a_server_that_is_starting_is_waited_for() {
    let starting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = starting.local_addr().unwrap().port();
    let server = Server {
        host: "127.0.0.1".into(),
        port,
        ..(*server::at(std::path::Path::new("/"))).clone()
    };
    let says = std::thread::spawn(move || {
        let (mut caller, _) = starting.accept().unwrap();
        let mut length = [0; 4];
        caller.read_exact(&mut length).unwrap();
        let mut hello = vec![0; u32::from_be_bytes(length) as usize - 4];
        caller.read_exact(&mut hello).unwrap();
        let said = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
        let length = u32::try_from(said.len() + 4).unwrap().to_be_bytes();
        caller.write_all(&[b"E".as_slice(), &length, said].concat()).unwrap();
    });
    let told = Postgres::open(&server, "sf", "sf").err().expect("a refusal");
    says.join().unwrap();
    assert_told(
        &told,
        &["the database system is starting up (SQLSTATE 57P03)", "goes on by itself"],
    );
}
