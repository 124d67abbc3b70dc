//! The unit under a real systemd: start, status line, reload that can fail, crash, hang, stop,
//! journal fields, who may use the socket, what the sandbox of the unit takes away.

use crate::support::daemon::{Daemon, NOBODY};
use crate::support::proc::{Output, run};
use crate::support::systemd_lab::{self, Lab};
use crate::support::wait::eventually_or;
use crate::support::{skip, workspace};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const ONE: &str = "[notify]\nadmins = [\"ada@example.test\"]\n\n[connections.one]\nprovider = \"salesforce\"\nlogin_url = \"https://login.salesforce.com\"\nclient_id = \"id\"\nschedule = \"every 1h\"\n[connections.one.objects]\nAccount = \"all\"\n";

fn unit() -> String {
    workspace().join("systemd/crmsyncd.service").display().to_string()
}

#[test]
fn the_unit_is_well_exposed_to_nobody() {
    let absent = !Path::new("/usr/bin/systemd-analyze").exists();
    if skip("the unit's exposure", absent, "needs systemd-analyze (package systemd)") {
        return;
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--threshold=15", "--no-pager"]).arg(unit());
    let said = run(command, SOON).ok();
    assert!(said.out.contains("Overall exposure level"), "{}", said.out);
    let text = std::fs::read_to_string(unit()).expect("the unit");
    assert!(!text.contains("\nPrivateUsers"), "callers of the socket would all be nobody");
}

#[test]
fn without_a_journal_it_logs_to_stderr() {
    let mut daemon = Daemon::prepare(NOBODY, &[("JOURNAL_STREAM", "8:12345")]);
    daemon.start_again();
    // A journal that is there takes the lines; its absence must not lose them.
    if !Path::new("/run/systemd/journal/socket").exists() {
        daemon.proc().wait_text("ready");
    }
    daemon.stop();
}

struct Machine(Lab);

impl Machine {
    fn new() -> Self {
        let lab = Lab::start();
        lab.push(Path::new(env!("CARGO_BIN_EXE_crmsyncd")), "/usr/sbin/crmsyncd");
        lab.push(Path::new(env!("CARGO_BIN_EXE_crmsync")), "/usr/bin/crmsync");
        for (from, to) in [
            ("crmsyncd.service", "/usr/lib/systemd/system/crmsyncd.service"),
            ("sysusers.conf", "/usr/lib/sysusers.d/crmsync.conf"),
            ("tmpfiles.conf", "/usr/lib/tmpfiles.d/crmsync.conf"),
        ] {
            lab.push(&workspace().join("systemd").join(from), to);
        }
        // As shipped, but for a quicker dog.
        lab.write(
            "/etc/systemd/system/crmsyncd.service.d/test.conf",
            "[Unit]\nStartLimitBurst=50\n[Service]\nWatchdogSec=4\nRestartSec=1\n",
        );
        lab.write("/etc/crmsync/crmsync.toml", ONE);
        let machine = Self(lab);
        machine.sh("systemd-sysusers && systemd-tmpfiles --create crmsync.conf && systemctl daemon-reload").ok();
        for (user, groups) in [
            ("stranger", ""),
            ("viewer", "-G crmsync-view"),
            ("keeper", "-G crmsync-admin"),
            ("reader", "-G crmsync-data"),
        ] {
            machine.sh(&format!("useradd -m {groups} {user}")).ok();
        }
        machine
    }

    fn sh(&self, line: &str) -> Output {
        self.0.exec(&["sh", "-c", line])
    }

    fn show(&self, property: &str) -> String {
        let said = self.sh(&format!("systemctl show crmsyncd -P {property}")).ok();
        said.out.trim().to_owned()
    }

    fn active(&self, but_not: &str) -> String {
        eventually_or(SOON, "another life of the service", || {
            let (pid, state) = (self.show("MainPID"), self.show("ActiveState"));
            if state == "active" && pid != but_not && pid != "0" {
                Ok(pid)
            } else {
                Err(format!("{state} {pid}: {}", self.journal()))
            }
        })
    }

    fn journal(&self) -> String {
        self.sh("journalctl -u crmsyncd -o cat --no-pager | tail -n 60").out
    }

    fn names(&self) -> String {
        self.sh("crmsync --json status").ok().out
    }
}

#[test]
fn under_systemd() {
    if systemd_lab::missing("the unit under a real systemd") {
        return;
    }
    let m = Machine::new();
    m.sh("systemd-analyze verify --man=no crmsyncd.service").ok();
    let started = m.sh("systemctl start crmsyncd");
    assert_eq!(started.code, 0, "{started:?}\n{}", m.journal());
    let pid = m.show("MainPID");
    let line = m.show("StatusText");
    assert!(line.contains("1 connection") || line.contains("Error"), "STATUS: {line}");
    places(&m, &pid);
    callers(&m);
    fields(&m);
    reloads(&m, &pid);
    key(&m);
    crashes(&m);
    refusals(&m);
    stops(&m);
}

fn places(m: &Machine, pid: &str) {
    let stat = |path: &str| m.sh(&format!("stat -c '%a %U %G' {path}")).ok().out.trim().to_owned();
    assert_eq!(stat("/var/lib/crmsync"), "700 crmsync crmsync");
    assert_eq!(stat("/var/lib/crmsync/state.db"), "600 crmsync crmsync");
    assert_eq!(stat("/var/lib/crmsync/master.key"), "600 crmsync crmsync");
    assert_eq!(stat("/var/lib/crmsync-replica"), "2750 crmsync crmsync-data");
    assert_eq!(stat("/run/crmsync"), "755 crmsync crmsync");
    assert_eq!(stat("/run/crmsync/control.sock"), "666 crmsync crmsync");
    assert_eq!(stat("/etc/crmsync"), "750 root crmsync");
    let status = m.sh(&format!("cat /proc/{pid}/status")).ok().out;
    for (name, value) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
    ] {
        let found = status.lines().find_map(|l| l.strip_prefix(&format!("{name}:")));
        assert_eq!(found.map(str::trim), Some(value), "{name}");
    }
    let limits = m.sh(&format!("cat /proc/{pid}/limits")).ok().out;
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap_or_default();
    assert!(core.split_whitespace().rev().skip(1).take(2).all(|n| n == "0"), "{core}");
}

fn callers(m: &Machine) {
    let as_user = |user: &str, words: &str| m.sh(&format!("runuser -u {user} -- crmsync {words}"));
    let said = as_user("viewer", "status");
    assert!(said.code == 0 && said.out.contains("one"), "{said:?}");
    let said = as_user("viewer", "pause one");
    assert!(said.code == 1 && said.err.contains("crmsync-admin"), "{said:?}");
    let said = as_user("stranger", "status");
    assert!(said.code == 1 && !said.out.contains("one"), "{said:?}");
    as_user("keeper", "pause one").ok();
    as_user("keeper", "resume one").ok();
    let audit = m.sh("crmsync --json audit").ok().out;
    let uid = m.sh("id -u keeper").ok().out;
    assert!(
        audit.contains(&format!("\"uid\":{}", uid.trim()))
            || audit.contains(&format!("\"uid\": {}", uid.trim())),
        "{audit}"
    );
}

fn fields(m: &Machine) {
    let found = eventually_or(SOON, "a line of the connection in the journal", || {
        let said = m.sh("journalctl -o json --no-pager CRMSYNC_CONNECTION=one | tail -n 1").out;
        serde_json::from_str::<Value>(&said).map_err(|_| format!("{said} {}", m.journal()))
    });
    assert_eq!(found["_SYSTEMD_UNIT"], "crmsyncd.service", "{found:#}");
    assert_eq!(found["CRMSYNC_PROVIDER"], "salesforce", "{found:#}");
    for name in found.as_object().expect("fields").keys() {
        let known = name.starts_with('_')
            || name.starts_with("CRMSYNC_")
            || name.starts_with("CODE_")
            || name.starts_with("SYSLOG_")
            || matches!(name.as_str(), "MESSAGE" | "PRIORITY" | "TARGET" | "SPAN_NAME");
        assert!(known, "field {name}: {found:#}");
    }
    let ready =
        m.sh("journalctl -u crmsyncd -o json --no-pager CRMSYNC_VERSION=0.1.0 | head -n 1").out;
    assert!(ready.contains("\"PRIORITY\":\"6\""), "{ready}");
}

fn reloads(m: &Machine, pid: &str) {
    let two = ONE
        .replace("connections.one", "connections.two")
        .replace("[notify]\nadmins = [\"ada@example.test\"]\n", "");
    m.0.write("/etc/crmsync/conf.d/two.toml", &two);
    m.sh("systemctl reload crmsyncd").ok();
    assert!(m.names().contains("\"two\""), "{}", m.names());
    m.0.write("/etc/crmsync/conf.d/two.toml", &two.replace("schedule", "shedule"));
    let refused = m.sh("systemctl reload crmsyncd");
    assert_ne!(refused.code, 0, "a broken file was taken");
    let report = eventually_or(SOON, "the report in the journal", || {
        let journal = m.journal();
        if journal.contains("shedule") { Ok(journal) } else { Err(journal) }
    });
    assert!(report.contains("two.toml") && report.contains("schedule"), "{report}");
    assert!(m.names().contains("\"two\""), "the old configuration went away");
    assert_eq!((m.show("ActiveState"), m.show("MainPID")), ("active".to_owned(), pid.to_owned()));
    m.sh("rm /etc/crmsync/conf.d/two.toml && systemctl reload crmsyncd").ok();
    assert!(!m.names().contains("\"two\""), "{}", m.names());
    assert_eq!(m.show("MainPID"), pid);
}

/// The bare `LoadCredential=` takes a key from systemd's own folder when one is put there.
fn key(m: &Machine) {
    let status = m.sh("crmsync --json key status").ok().out;
    assert!(status.contains("state folder"), "{status}");
    m.sh("echo s3cr3t | crmsync secret set one client_secret").ok();
    let moved = "mkdir -p -m 700 /etc/credstore && mv /var/lib/crmsync/master.key /etc/credstore/crmsync.master";
    m.sh(moved).ok();
    m.sh("systemctl restart crmsyncd").ok();
    let status = m.sh("crmsync --json key status").ok().out;
    assert!(status.contains("\"credential\""), "{status}\n{}", m.journal());
    let line = m.sh("crmsync --json status one").out;
    assert!(!line.contains("key missing"), "{line}");
}

fn crashes(m: &Machine) {
    let pid = m.show("MainPID");
    m.sh(&format!("kill -9 {pid}")).ok();
    let pid = m.active(&pid);
    m.sh(&format!("kill -STOP {pid}")).ok();
    let next = m.active(&pid);
    let journal = m.sh("journalctl --no-pager -o cat _PID=1 | grep crmsyncd").out;
    assert!(journal.to_lowercase().contains("watchdog"), "{journal}");
    // A service that works is left alone by the dog: it lives on for three of its spans.
    let began = Instant::now();
    eventually_or(SOON, "twelve seconds of life", || {
        assert_eq!(m.show("MainPID"), next, "{}", m.journal());
        if began.elapsed() > Duration::from_secs(12) { Ok(()) } else { Err(String::new()) }
    });
}

/// What starting again does not mend is not started again.
fn refusals(m: &Machine) {
    m.0.write("/etc/crmsync/conf.d/bad.toml", "[connections.two]\nprovider = \"salesfroce\"\n");
    let failed = m.sh("systemctl restart crmsyncd");
    assert_ne!(failed.code, 0);
    eventually_or(SOON, "it stays down", || match m.show("ActiveState").as_str() {
        "failed" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(m.show("ExecMainStatus"), "78");
    assert!(m.journal().contains("salesfroce"), "{}", m.journal());
    m.sh("rm /etc/crmsync/conf.d/bad.toml && systemctl reset-failed crmsyncd && systemctl start crmsyncd").ok();
}

fn stops(m: &Machine) {
    let began = Instant::now();
    m.sh("systemctl stop crmsyncd").ok();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(m.show("Result"), "success");
    assert_ne!(m.sh("test -e /run/crmsync/control.sock").code, 0, "the socket is left");
    let said = m.sh("crmsync status");
    assert!(said.code == 3 && said.err.contains("hint:"), "{said:?}");
}
