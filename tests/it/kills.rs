//! kill -9 over the whole story: whatever the daemon was doing, after the restart the replica
//! equals the source, no notice is lost, and a mail comes again only under its own Message-ID.
//!
//! Moments are drawn: an event places the kill in a phase, a drawn delay within it. What counts as
//! hit is what the dead daemon left: a run that never ended, a refresh on its way, a request
//! without an answer, a mail held at the server.

mod story;

use crate::support::chance::{Chance, times};
use crate::support::daemon::Daemon;
use crate::support::loud;
use crate::support::mail::Mail;
use crate::support::postfix::{self, Postfix};
use crate::support::sandbox::Sandbox;
use crate::support::tcp_proxy::{Mode, TcpProxy};
use crate::support::wait::{eventually, eventually_or};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use story::{LONG, NAME, PAGES, Phase, Story, command};

#[test]
fn killed_at_any_moment() {
    if postfix::missing("kills::killed_at_any_moment") {
        return;
    }
    let mut chance = Chance::new("kills", 7);
    let each = times(2, 10);
    let mut hits: BTreeMap<Phase, usize> = BTreeMap::new();
    let mut story = Story::begin();

    let mut kills = load(&mut story, &mut chance, each, &mut hits);
    let rest = [Phase::Poll, Phase::Refresh, Phase::Reload, Phase::Mail, Phase::StateWrite];
    let mut wanted: Vec<Phase> = rest.iter().flat_map(|p| vec![*p; each]).collect();
    chance.shuffle(&mut wanted);
    let most = wanted.len() * 4;
    while let Some(phase) = wanted.pop() {
        if hits.get(&phase).copied().unwrap_or(0) >= each {
            continue; // hit while another was meant
        }
        kills += 1;
        assert!(kills < most + each * 4, "the kills miss too often: {hits:?}");
        let found = match phase {
            Phase::Load | Phase::Poll => run(&mut story, &mut chance, false),
            Phase::Refresh => run(&mut story, &mut chance, true),
            Phase::Reload => reload(&mut story, &mut chance),
            Phase::Mail => {
                let before = hits.get(&Phase::Mail).copied().unwrap_or(0);
                Some(mail(&mut story, &mut chance, before % 2 == 0))
            }
            Phase::StateWrite => Some(state_write(&mut story, &mut chance)),
        };
        loud(&format!("kills: {phase:?} was meant, {found:?} was hit"));
        if let Some(found) = found {
            *hits.entry(found).or_default() += 1;
        }
        if found != Some(phase) {
            wanted.insert(0, phase);
        }
        let lost = story.recover();
        let may = matches!(phase, Phase::Mail) || found == Some(Phase::Refresh);
        assert!(!lost || may, "the grant was lost by a kill while {phase:?}");
    }
    end(story, kills, &hits);
}

/// Kills in the first load: each life goes on where the last one stopped.
fn load(
    story: &mut Story,
    chance: &mut Chance,
    each: usize,
    hits: &mut BTreeMap<Phase, usize>,
) -> usize {
    let begun = story.sandbox.counter("query");
    let (mut kills, mut rows) = (0, 0);
    while hits.get(&Phase::Load).copied().unwrap_or(0) < each {
        kills += 1;
        if kills > 1 {
            eventually(LONG, "the load goes on", || (story.rows() > rows).then_some(()));
        }
        chance.pause(40_000);
        story.daemon.kill9();
        story.daemon.start_again();
        let has = story.rows();
        assert!(has >= rows, "{has} rows after a kill, {rows} before it");
        rows = has;
        let status = story.daemon.detail(NAME);
        let loaded = status["objects"]
            .as_array()
            .is_some_and(|o| o.len() == 2 && o.iter().all(|o| o["phase"] == "following"));
        let over = loaded || status["runs"][0]["outcome"] == "done";
        assert!(!over, "the load was over before it was killed {each} times: {status:#}");
        *hits.entry(Phase::Load).or_default() += 1;
        loud(&format!("kills: Load was hit at {has} rows"));
        story.ring();
    }
    story.daemon.wait_reason(NAME, "Active", "idle");
    story.letter(2);
    let asked = story.sandbox.counter("query") - begun;
    let most = PAGES + 3 * kills as u64 + 10;
    assert!(asked <= most, "{asked} queries for {PAGES} pages and {kills} kills: begun anew?");
    story.same();
    story.sandbox.ctl(&["page-size", "off"]);
    kills
}

/// A run that finds changes, with a dead session or a good one.
fn run(story: &mut Story, chance: &mut Chance, expired: bool) -> Option<Phase> {
    let some = (1 + chance.below(9)).to_string();
    story.sandbox.ctl(&["touch", "Account", &some]);
    story.sandbox.ctl(&["create", "Contact", "2"]);
    story.sandbox.ctl(&["delete", "Account", "1"]);
    let before = story.last_run();
    if expired {
        let seen = story.sandbox.counter("token:refresh_token");
        story.sandbox.ctl(&["expire-tokens"]);
        story.ring();
        story.sandbox.wait_counter("token:refresh_token", seen + 1);
        chance.pause(16_000);
    } else {
        let seen = story.sandbox.counter("call");
        story.ring();
        story.sandbox.wait_counter("call", seen + 1 + chance.below(2));
        chance.pause(20_000);
    }
    story.daemon.kill9();
    let out = story.refresh_was_out();
    story.daemon.start_again();
    if out {
        return Some(Phase::Refresh);
    }
    (story.last_run() == before).then_some(Phase::Poll)
}

/// One reload after the other, with one object more and less, until death.
fn reload(story: &mut Story, chance: &mut Chance) -> Option<Phase> {
    let etc = story.daemon.path("etc");
    let texts = [true, false].map(|more| story::config(&story.mail, &story.sandbox, more));
    let asking = story.until_death(move |socket, n| {
        let new = etc.join("crmsync.toml.new");
        std::fs::write(&new, &texts[n % 2])?;
        std::fs::rename(&new, etc.join("crmsync.toml"))?;
        command(socket, "/v1/reload")
    });
    chance.pause(150_000);
    story.daemon.kill9();
    let (done, open) = asking.join().expect("the reloads");
    story.daemon.start_again();
    let objects = story.daemon.api("GET", "/v1/config", None).ok().to_string();
    let more = open % 2 == 0;
    assert_eq!(objects.contains("Opportunity"), more, "it starts with the file as it is");
    story.configure(false);
    story.daemon.api("POST", "/v1/reload", Some(&serde_json::json!({}))).ok();
    story.daemon.wait_reason(NAME, "Active", "idle");
    (done.is_some() || open == 0).then_some(Phase::Reload)
}

/// Commands that write the state, until death: what was answered holds.
fn state_write(story: &mut Story, chance: &mut Chance) -> Phase {
    let verbs = ["pause", "resume"];
    let asking = story.until_death(move |socket, n| {
        command(socket, &format!("/v1/connections/{NAME}/{}", verbs[n % 2]))
    });
    chance.pause(60_000);
    story.daemon.kill9();
    let (done, open) = asking.join().expect("the commands");
    story.daemon.start_again();
    let paused = story.daemon.status(NAME)["reason"] == "paused";
    // numbers: even ones pause
    let after = |n: Option<usize>| n.is_some_and(|n| n % 2 == 0);
    let may = [after(done), after(Some(open))];
    assert!(may.contains(&paused), "answered {done:?}, open {open}, but paused: {paused}");
    if paused {
        let path = format!("/v1/connections/{NAME}/resume");
        story.daemon.api("POST", &path, Some(&serde_json::json!({}))).ok();
    }
    Phase::StateWrite
}

/// The grant is revoked; the letter about it is held at the server, before or after it was taken.
fn mail(story: &mut Story, chance: &mut Chance, taken: bool) -> Phase {
    let letters = story.letters();
    let counts = story.mail.counts();
    story.mail.set(if taken { Mode::HoldAnswer } else { Mode::HoldRequest });
    story.sandbox.ctl(&["revoke"]);
    story.ring();
    story.daemon.wait_reason(NAME, "Error", "grant revoked");
    story.mail.wait(LONG, "the letter is at the server", |c| {
        if taken { c.acted > counts.acted } else { c.held_requests > counts.held_requests }
    });
    chance.pause(10_000);
    story.daemon.kill9();
    story.mail.cut_all();
    story.mail.set(Mode::Pass);
    story.daemon.start_again();
    let n = letters.len() + 1;
    story.letter(n);
    // `recover` authorizes; the copies are looked at there, when the second one has come
    if taken {
        eventually_or(LONG, "the letter comes again", || {
            let new = story.letters();
            let copies =
                new.iter().find(|(id, _)| !letters.contains_key(*id)).map(|(_, c)| c.len());
            if copies >= Some(2) { Ok(()) } else { Err(format!("{copies:?}")) }
        });
    }
    Phase::Mail
}

#[test]
fn a_mail_server_that_says_nothing_holds_up_no_stop() {
    if postfix::missing("kills::stop") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=1"]);
    let post = Postfix::start();
    let proxy = TcpProxy::start(post.plain);
    proxy.only("Subject: ");
    proxy.set(Mode::HoldAnswer);
    let mut daemon = Daemon::start(&story::config(&proxy, &sandbox, false));
    proxy.wait_acted(1);
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    proxy.cut_all();
    proxy.set(Mode::Pass);
    daemon.start_again();
    let mails = post.wait_mails(story::ADA, 2, LONG);
    assert_eq!(mails[0].message_id(), mails[1].message_id(), "the same mail, once more");
    assert_eq!(mails.len(), 2);
    daemon.stop();
}

fn end(mut story: Story, kills: usize, hits: &BTreeMap<Phase, usize>) {
    story.configure(true);
    story.daemon.api("POST", "/v1/reload", Some(&serde_json::json!({}))).ok();
    if times(0, 1) == 1 {
        story.sandbox.ctl(&["purge", "Contact", "5"]);
        story.daemon.catch_up(NAME);
    } else {
        story.daemon.follow(NAME);
    }
    story.all_same();
    story.daemon.stop();

    let letters = story.letters();
    let mut repeated = 0;
    for (id, copies) in &letters {
        let parts = |m: &Mail| {
            let names = ["date", "from", "to", "subject", "references"];
            let heads: Vec<_> =
                names.iter().map(|n| m.header(n).unwrap_or_default().to_owned()).collect();
            (heads, m.body.clone())
        };
        for copy in &copies[1..] {
            assert_eq!(parts(copy), parts(&copies[0]), "a repeated mail differs: {id}");
            repeated += 1;
        }
    }
    let problems = letters.keys().filter(|id| id.contains(".problem-")).count();
    let recoveries = letters.keys().filter(|id| id.contains(".recovery-")).count();
    let all = (problems, recoveries);
    assert_eq!(all, (story.losses, story.losses), "one letter each: {:#?}", letters.keys());
    let mut table = format!("kills: {kills} in all\n");
    for (phase, n) in hits {
        let _ = writeln!(table, "  {phase:<12} {n:>3}", phase = format!("{phase:?}"));
    }
    let _ = write!(
        table,
        "  {} times the grant was told dead (once: never authorized), as often found again; \
         {} letters, {repeated} of them came twice",
        story.losses,
        letters.len()
    );
    loud(&table);
}
