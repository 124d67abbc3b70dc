//! Eight workers near the line, others spending too.

use super::{calls, connections, holds, join, last, meter, over, wait_held};
use crate::support::daemon::{Daemon, NOBODY, notify};
use crate::support::postfix::{self, Postfix};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use std::time::Duration;

const EIGHT: [&str; 8] = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
const MAX: u64 = 5000;
const LINE: u64 = 4000;
const LOADS: &str = "[connections.NAME.objects]\nAccount = \"all\"\n";

fn full() -> bool {
    std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full")
}

/// A daemon with eight connections of one org that load as fast as they can.
fn eight(sandbox: &Sandbox, head: &str) -> Daemon {
    let body = connections(&EIGHT, sandbox, "every 1h", LOADS);
    let daemon = Daemon::start(&format!("[daemon]\nworkers = 8\n\n{head}{body}"));
    for name in EIGHT {
        join(&daemon, name, sandbox);
    }
    daemon
}

/// Pages so small that a load takes far more calls than there are to the line.
fn sandbox(records: &str) -> Sandbox {
    let sandbox = Sandbox::start(&["--records", records, "--quota-max", &MAX.to_string()]);
    sandbox.ctl(&["page-size", "50"]);
    sandbox.ctl(&["bulk-refuse", "Account", "on"]);
    sandbox
}

#[test]
fn no_scheduled_call_starts_at_or_above_the_line() {
    let test = "no_scheduled_call_starts_at_or_above_the_line";
    let postfix = (!postfix::missing(test)).then(Postfix::start);
    let head = postfix.as_ref().map_or(NOBODY.to_owned(), |p| notify(p.plain));
    let rates: &[u64] =
        if full() { &[0, 5, 20, 50, 100, 150, 0, 20, 50, 100] } else { &[0, 20, 60] };
    let sandbox = sandbox(if full() { "Account=60000" } else { "Account=15000" });
    sandbox.ctl(&["quota", &format!("used={}", LINE - 500)]);
    let daemon = eight(&sandbox, &head);
    let mut allowed = 0;
    for (round, rate) in rates.iter().enumerate() {
        let begin = last(&sandbox);
        if *rate > 0 {
            sandbox.ctl(&["others-spend", "100000", &format!("per_second={rate}")]);
        }
        if round > 0 {
            // One answer that tells of a use under `resume_below` frees all of them.
            daemon.api("POST", "/v1/connections/c1/test", None).ok();
        }
        let tested = begin + 12;
        wait_held(&daemon, &EIGHT);
        let made = calls(&sandbox, begin);
        let bad: Vec<_> = over(&made, LINE)
            .into_iter()
            .filter(|c| round == 0 || c["seq"].as_u64().unwrap_or(0) > tested)
            .collect();
        assert!(
            bad.is_empty(),
            "round {round}, others {rate}/s: {} of {} calls started at or above {LINE}: {bad:#?}",
            bad.len(),
            made.len()
        );
        let near = made
            .iter()
            .filter(|c| c["usage_seen_before"]["used"].as_u64() >= Some(LINE - 50))
            .count();
        let open = made.iter().filter_map(|c| c["open_before"].as_u64()).max();
        eprintln!(
            "round {round}, others {rate}/s: {} calls, at most {open:?} open before, {near} in the last 50 before the line, end at {}",
            made.len(),
            meter(&daemon)["used"]
        );
        assert!(made.len() > 20, "the line was reached by own calls, too: {}", made.len());
        allowed += made.len();
        for name in EIGHT {
            assert_eq!(
                holds(&daemon, name),
                (round + 1, round),
                "{name}: one notice for each hold"
            );
        }
        if let Some(postfix) = &postfix {
            told(postfix, round + 1, round);
        }
        // The next round begins 300 calls before the line; nobody knows before an answer tells.
        sandbox.ctl(&["quota", &format!("used={}", LINE - 300)]);
    }
    eprintln!("{allowed} calls in {} rounds, none at or above the line", rates.len());
}

/// Exactly so many mails tell of a pause, and of its end.
fn told(postfix: &Postfix, pauses: usize, resumes: usize) {
    let (paused, resumed) = eventually_or(Duration::from_secs(60), "the mails arrive", || {
        let mails = postfix.mails_to("ada@example.test");
        let count = |word: &str| mails.iter().filter(|m| m.subject().contains(word)).count();
        let subjects: Vec<String> = mails.iter().map(|m| m.subject().to_owned()).collect();
        let found = (count(" is held: "), count(" syncs again: "));
        if found.0 >= pauses && found.1 >= resumes {
            Ok(found)
        } else {
            Err(format!("{found:?} of {subjects:#?}"))
        }
    });
    let mails = postfix.mails_to("ada@example.test");
    let subjects: Vec<&str> = mails.iter().map(crate::support::mail::Mail::subject).collect();
    assert_eq!((paused, resumed), (pauses, resumes), "{subjects:#?}");
}

#[test]
fn what_others_spend_at_once_stops_all_within_the_calls_in_flight() {
    let sandbox = sandbox("Account=15000");
    let daemon = eight(&sandbox, NOBODY);
    let end = last(&sandbox) + 60;
    eventually_or(Duration::from_secs(60), "all of them load", || {
        let now = last(&sandbox);
        if now >= end { Ok(()) } else { Err(format!("{now} calls of {end}")) }
    });
    let before = last(&sandbox);
    sandbox.ctl(&["others-spend", &(LINE + 300).to_string()]);
    wait_held(&daemon, &EIGHT);
    let made = calls(&sandbox, before);
    let bad = over(&made, LINE);
    eprintln!("a leap over the line: {} of {} calls were on their way", bad.len(), made.len());
    assert!(bad.len() <= 8, "more than were in flight: {bad:#?}");
    for call in bad {
        let ago = call["seen_ago_us"].as_i64().unwrap_or(i64::MAX);
        assert!(ago < 500_000, "it had time to hear of it: {call:#}");
    }
    // Held means held: nothing more arrives for a while of the daemon's own bell.
    let after = last(&sandbox);
    for name in EIGHT {
        assert_eq!(daemon.status(name)["reason"], "quota");
    }
    assert_eq!(last(&sandbox), after);
}
