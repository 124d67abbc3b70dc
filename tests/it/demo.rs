//! `make demo` without the building: the story that a newcomer watches, asserted step by step from
//! what he sees, and nothing left running after it.

use crate::support::proc::run;
use crate::support::{Scratch, sandbox, workspace};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What stands in the output, in this order; the story between two of them is free.
const STORY: &[&str] = &[
    "A rehearsal org: 10,000 made-up records",
    // checked, started, never authorized
    "crmsync check --config",
    "register at the vendor as callback address, exactly so:",
    "crmsyncd --config",
    "never authorized",
    "(exit code 4)",
    // authorized by browser
    "acme: client_secret is in the vault",
    "crmsync reauthorize acme",
    "presses Allow",
    "authorized as ada@example.com",
    // loaded
    "crmsync sync acme --follow",
    "acme: done in",
    "Active: idle",
    "7000      2500      500",
    // followed
    "crmsync-sandbox ctl touch Account 40",
    "crmsync-sandbox ctl delete Account 7",
    "account  6993  7",
    "contact  2525  0",
    // held by the quota, resumed
    "crmsync-sandbox ctl quota used=12000",
    "Not syncing",
    "stops at 12,000",
    "--despite-quota",
    "(exit code 1)",
    "Subject: [crmsync] acme is held: 80 % of the daily limit used",
    "crmsync test acme",
    "Subject: [crmsync] acme syncs again",
    // revoked, mailed, authorized again, caught up
    "crmsync-sandbox ctl revoke",
    "Error: grant revoked",
    "(exit code 4)",
    "Subject: [crmsync] acme needs authorization: grant revoked",
    "invalid_grant: expired access/refresh token",
    "crmsync reauthorize acme",
    "The copy:     complete up to",
    "crmsync reauthorize acme",
    "authorized as ada@example.com",
    "It catches up",
    "crmsync sync acme Opportunity --full --follow",
    "Subject: [crmsync] acme is in order again",
    "What ended it: reauthorized by",
    "Account: 6993 records here and there",
    "Contact: 2513 records here and there",
    "Opportunity: 527 records here and there",
    "integrity_check",
    "ok",
    "DONE in ",
];

#[test]
fn the_demo_tells_the_whole_story_and_leaves_nothing_running() {
    let scratch = Scratch::new("demo");
    let bin = Path::new(env!("CARGO_BIN_EXE_crmsyncd")).parent().unwrap();
    let mut command = Command::new("bash");
    command.arg(workspace().join("demo/run"));
    command.env("CRMSYNC_BIN_DIR", bin).env("CRMSYNC_SANDBOX_BIN", sandbox::program());
    command.env("TMPDIR", scratch.path()).env_remove("KEEP");
    let output = run(command, Duration::from_secs(170));
    assert_eq!(output.code, 0, "{}\n{}", output.out, output.err);
    let mut rest = output.out.as_str();
    for marker in STORY {
        let Some(at) = rest.find(marker) else {
            panic!(
                "`{marker}` does not come (any more) in:\n{rest}\n---- all of it:\n{}",
                output.out
            );
        };
        rest = &rest[at + marker.len()..];
    }
    if workspace().join("../shared/data/salesforce").exists() {
        assert!(output.out.contains("crmsync reauthorize recorded --paste"), "{}", output.out);
    }
    assert!(!output.out.contains("DIFFERENCES"), "{}", output.out);
    assert!(!output.out.contains('\u{1b}'), "readable without colour");
    let seconds: u64 =
        rest.split_whitespace().next().unwrap().parse().expect("how long it took, in seconds");
    // a minute on a quiet machine; tests share theirs
    assert!(seconds <= 150, "the demo took {seconds} s");

    // the replica that it names is there, and no process has the folder in its command line
    let replica = rest.split_whitespace().last().expect("where the replica is");
    assert!(Path::new(replica).is_file(), "{replica}");
    let left = processes_with(&scratch.path().display().to_string());
    assert!(left.is_empty(), "still running: {left:?}");
}

#[test]
fn a_demo_that_cannot_go_on_says_why_and_ends_with_a_failure() {
    let scratch = Scratch::new("demo-fails");
    let mut command = Command::new("bash");
    command.arg(workspace().join("demo/run"));
    command.env("CRMSYNC_BIN_DIR", scratch.path()).env_remove("CRMSYNC_SANDBOX_BIN");
    command.env("TMPDIR", scratch.path());
    let output = run(command, Duration::from_secs(60));
    assert_eq!(output.code, 1, "{}\n{}", output.out, output.err);
    assert!(output.out.contains("crmsync is not there; hint: make build"), "{}", output.out);
}

/// Command lines of running processes that hold a text.
fn processes_with(text: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}
