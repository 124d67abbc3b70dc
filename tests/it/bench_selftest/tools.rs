//! Processes, ports, certificates and the walk through pages.

use crate::support::proc::{Proc, Stream, run, run_with};
use crate::support::wait::SOON;
use crate::support::{Scratch, certs, ports};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

#[test]
fn lines_are_waited_for_and_kept() {
    let scratch = Scratch::new("proc");
    let mut child =
        Proc::start("talker", shell("echo one; echo two >&2; exec sleep 600"), scratch.path());
    child.wait_text("one");
    child.wait_line_after(0, SOON, "two", |s, line| s == Stream::Err && line == "two");
    assert!(child.is_running());
    let status = child.terminate(SOON);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(std::fs::read_to_string(child.log_file(Stream::Out)).unwrap(), "one\n");
}

#[test]
fn a_dropped_child_takes_its_own_children_along() {
    let scratch = Scratch::new("proc");
    let child = Proc::start("parent", shell("sleep 600 & echo child $!; wait"), scratch.path());
    let line = child.wait_text("child ");
    let grandchild: i32 = line["child ".len()..].parse().unwrap();
    drop(child);
    let gone = || {
        // a zombie that nobody has reaped yet is as dead as one that is gone
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).ok();
        stat.is_none_or(|s| s.contains(") Z ")).then_some(())
    };
    crate::support::wait::eventually(SOON, "the grandchild is gone", gone);
}

#[test]
fn commands_run_to_their_end() {
    let output = run_with(shell("cat; echo bad >&2; exit 3"), b"in", SOON);
    assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (3, "in", "bad\n"));
}

#[test]
fn ports_differ() {
    let mut all: Vec<u16> = (0..20).map(|_| ports::free_port()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20);
}

#[test]
fn certificates_verify() {
    let scratch = Scratch::new("certs");
    let certs = certs::make(scratch.path(), &["localhost", "*.example.test", "127.0.0.1"]);
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-verify_hostname", "na1.example.test", "-CAfile"]);
    command.arg(&certs.ca).arg(&certs.cert);
    run(command, SOON).ok();
}
