//! Refreshing a grant that rotates: whoever dies between the provider's commit and ours has lost
//! the new token, and says so; everywhere else a death goes unnoticed.
//!
//! Each kill is placed by an event: the request held before the server sees it, its answer held
//! after the server has acted, the first data call with the new token held.

mod scene;

use crate::support::chance::{Chance, times};
use crate::support::tcp_proxy::Mode;
use crate::support::wait::eventually_or;
use crate::support::{is_root, loud, oidc, postfix, skip};
use rustix::process::Signal;
use scene::{Issuer, LONG, NAME, Scene};
use serde_json::json;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// Our row is committed; the provider has not seen the request.
    BeforeItIsSent,
    /// The provider has committed; we have not.
    BetweenTheCommits,
    /// We have committed; the access token is about to be used.
    AfterOurs,
}

#[test]
fn a_death_while_refreshing_at_the_sandbox() {
    if !postfix::missing("refresh::sandbox") {
        deaths(Issuer::Sandbox, 1);
    }
}

#[test]
fn a_death_while_refreshing_at_oidc_provider() {
    if !postfix::missing("refresh::oidc") && !oidc::missing("refresh::oidc") {
        deaths(Issuer::Oidc, 2);
    }
}

fn deaths(issuer: Issuer, seed: u64) {
    let name = format!("refresh at {issuer:?}");
    let mut chance = Chance::new(&name, seed);
    let each = times(3, 20);
    let all = [Moment::BeforeItIsSent, Moment::BetweenTheCommits, Moment::AfterOurs];
    let mut moments: Vec<Moment> = all.iter().flat_map(|m| vec![*m; each]).collect();
    chance.shuffle(&mut moments);
    let mut scene = Scene::new(issuer);
    let (mut mails, mut lost) = (2, 0);
    for (n, moment) in moments.iter().enumerate() {
        loud(&format!("{name}: {n}: {moment:?}"));
        scene.restart();
        let before = scene.attempts();
        death(&mut scene, *moment, &mut chance);
        let seen = scene.attempts();
        let expected = before + u64::from(*moment != Moment::BeforeItIsSent);
        assert_eq!(seen, expected, "what the provider has seen of the refresh that was killed");
        scene.daemon.start_again();
        assert_eq!(scene.attempts(), seen, "nothing refreshes merely because it started");
        if *moment == Moment::BetweenTheCommits {
            scene.ring();
            scene.daemon.wait_reason(NAME, "Error", "grant lost while it rotated");
            assert_eq!(scene.attempts(), seen + 1, "the old token is tried exactly once");
            scene.lost_and_found(mails);
            mails += 2;
            lost += 1;
        } else {
            scene.goes_on();
            assert_eq!(scene.attempts(), seen + 1, "one refresh, and it is good");
            scene.expect_mails(mails);
        }
    }
    scene.daemon.follow(NAME);
    scene.same();
    scene.expect_mails(mails);
    scene.daemon.stop();
    loud(&format!(
        "{name}: {each} kills before it was sent, {each} between the commits, {each} after ours: \
         {lost} requests, {} mails (two each: lost, found; two of the beginning), \
         {} refreshes",
        mails,
        scene.attempts()
    ));
}

/// Places one kill.
fn death(scene: &mut Scene, moment: Moment, chance: &mut Chance) {
    let counts = scene.proxy.counts();
    match moment {
        Moment::BeforeItIsSent => {
            scene.proxy.set(Mode::HoldRequest);
            scene.ring();
            scene.proxy.wait_held_request(counts.held_requests + 1);
            chance.pause(3000);
            scene.kill();
        }
        Moment::BetweenTheCommits => {
            scene.proxy.set(Mode::HoldAnswer);
            scene.ring();
            scene.proxy.wait_acted(counts.acted + 1);
            chance.pause(3000);
            scene.kill();
        }
        Moment::AfterOurs => {
            let held = scene.sandbox.counter("held");
            let arm = ["act-then", "hold", "when=before", "path=/services/data"];
            scene.sandbox.ctl(&arm);
            scene.ring();
            scene.sandbox.wait_counter("held", held + 1);
            chance.pause(3000);
            scene.kill();
            scene.sandbox.ctl(&["clear-faults"]);
            scene.sandbox.ctl(&["release"]);
        }
    }
}

#[test]
fn a_lost_answer_without_a_death_is_the_same_loss() {
    if postfix::missing("refresh::lost_answer") {
        return;
    }
    let mut scene = Scene::new(Issuer::Sandbox);
    scene.restart();
    let (before, counts) = (scene.attempts(), scene.proxy.counts());
    scene.proxy.set(Mode::DropAnswer);
    scene.ring();
    scene.proxy.wait_acted(counts.acted + 1);
    scene.daemon.wait_reason(NAME, "Active", "retrying");
    assert!(scene.request().is_null(), "a lost answer alone is no refusal");
    scene.proxy.set(Mode::Pass);
    scene.ring();
    scene.daemon.wait_reason(NAME, "Error", "grant lost while it rotated");
    assert_eq!(scene.attempts(), before + 2, "the old token is tried exactly once");
    scene.lost_and_found(2);
    scene.daemon.stop();
}

#[test]
fn a_stop_waits_for_the_answer_of_a_refresh() {
    if postfix::missing("refresh::stop") {
        return;
    }
    let mut scene = Scene::new(Issuer::Sandbox);
    // asked for by a run, and by `test`, whose client hangs up
    for by_test in [false, true] {
        scene.restart();
        let (before, counts) = (scene.attempts(), scene.proxy.counts());
        scene.proxy.set(Mode::HoldAnswer);
        let client = if by_test {
            let mut stream = UnixStream::connect(scene.daemon.socket()).expect("the socket");
            let head = format!(
                "POST /v1/connections/{NAME}/test HTTP/1.1\r\nHost: crmsync\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("asking for a test");
            Some(stream)
        } else {
            scene.ring();
            None
        };
        scene.proxy.wait_acted(counts.acted + 1);
        drop(client);
        let mark = scene.daemon.proc().mark();
        scene.daemon.proc().signal(Signal::TERM);
        let begun = Instant::now();
        scene.daemon.proc().wait_line_after(mark, LONG, "it stops", |_, l| l.contains("stopping"));
        std::thread::sleep(Duration::from_secs(2)); // the provider is slow; no event to wait for
        assert!(scene.daemon.proc().is_running(), "it waits for the answer");
        scene.proxy.set(Mode::Pass);
        scene.daemon.stop();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        scene.daemon.start_again();
        scene.goes_on();
        assert_eq!(scene.attempts(), before + 2, "the new token was kept: by test {by_test}");
    }
    scene.expect_mails(2);
    scene.daemon.stop();
}

#[test]
fn a_client_that_hangs_up_and_a_reload_lose_no_refresh() {
    if postfix::missing("refresh::reload") {
        return;
    }
    let mut scene = Scene::new(Issuer::Sandbox);
    scene.restart();
    let (before, counts) = (scene.attempts(), scene.proxy.counts());
    scene.proxy.set(Mode::HoldAnswer);
    scene.ring();
    scene.proxy.wait_acted(counts.acted + 1);
    // the reload ends the run, and makes a new holder while the refresh of the old one is out
    let path = scene.daemon.path("etc/crmsync.toml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let text =
        text.replace("[connections.sf.objects]", "[connections.sf.objects]\nContact = \"all\"");
    scene.daemon.write_config("crmsync.toml", &text);
    let reloaded = scene.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    assert!(reloaded["changed"][NAME].is_array() || !reloaded["changed"][NAME].is_null());
    scene.proxy.set(Mode::Pass);
    eventually_or(LONG, "the run after the reload has the new object", || {
        let status = scene.daemon.detail(NAME);
        let loaded = status["objects"].as_array().is_some_and(|o| o.len() == 2);
        let idle = status["status"]["reason"] == "idle";
        if loaded && idle { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert_eq!(scene.attempts(), before + 1, "one refresh, whose session both holders use");
    scene.goes_on();
    scene.daemon.follow(NAME);
    scene.same();
    scene.expect_mails(2);
    scene.daemon.stop();
}

/// A small file system; unmounted with the value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&at).expect("making the mount point");
        let options = "size=3m,mode=0700";
        let args = ["-t", "tmpfs", "-o", options, "crmsync-test"];
        let done = Command::new("mount").args(args).arg(&at).status().expect("mount");
        assert!(done.success(), "mounting a small disk at {}", at.display());
        Self(at)
    }

    /// Fills it to the last byte; what the store has allocated is cut off first, so that its next
    /// commit needs room.
    fn fill(&self) {
        let db = rusqlite::Connection::open(self.0.join("state.db")).expect("the state");
        db.busy_timeout(LONG).expect("a time");
        let busy: i64 = db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .expect("cutting off the log");
        assert_eq!(busy, 0, "nobody else was at the log");
        drop(db);
        let mut file = std::fs::File::create(self.0.join("ballast")).expect("ballast");
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
        let _ = file.write_all(&[0]);
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("throwing the ballast away");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_burns_no_grant() {
    let test = "refresh::full_disk";
    if postfix::missing(test) || skip(test, !is_root(), "mounting needs root") {
        return;
    }
    let mut disk = None;
    let mut scene = Scene::prepared(Issuer::Sandbox, |daemon| {
        disk = Some(SmallDisk::mount(daemon.path("state")));
    });
    let disk = disk.expect("a disk");
    scene.begin();

    // full before the refresh: the row cannot be committed, so no request leaves
    let (before, held) = (scene.attempts(), scene.sandbox.counter("held"));
    scene.sandbox.ctl(&["expire-tokens"]);
    scene.sandbox.ctl(&["act-then", "hold", "when=before", "path=/services/data"]);
    scene.ring();
    scene.sandbox.wait_counter("held", held + 1);
    disk.fill();
    scene.sandbox.ctl(&["release"]);
    let status = scene.daemon.wait_reason(NAME, "Error", "disk full");
    assert_eq!(scene.attempts(), before, "no request left: {status:#}");
    disk.free();
    scene.daemon.wait_reason(NAME, "Active", "idle");
    assert_eq!(scene.attempts(), before + 1);

    // full between the request and its answer: kept in memory, stored when there is room again
    scene.sandbox.ctl(&["expire-tokens"]);
    let counts = scene.proxy.counts();
    scene.proxy.set(Mode::HoldAnswer);
    scene.ring();
    scene.proxy.wait_acted(counts.acted + 1);
    disk.fill();
    scene.proxy.set(Mode::Pass);
    scene.daemon.wait_reason(NAME, "Error", "disk full");
    disk.free();
    scene.daemon.wait_reason(NAME, "Active", "idle");
    assert_eq!(scene.attempts(), before + 2, "the answer that was kept is used");
    scene.restart();
    scene.goes_on();
    assert!(scene.request().is_null());
    scene.daemon.follow(NAME);
    scene.same();
    scene.daemon.stop();
}
