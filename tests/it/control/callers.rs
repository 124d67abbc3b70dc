//! Other users of the host, and callers that take their time. Who calls is told by the kernel, so
//! the requests are made by processes of another user; groups are those of files that only the
//! daemon of the test sees (a mount namespace of its own).

use super::{answered, config, parted, state};
use crate::support::daemon::{Daemon, raw_api};
use crate::support::proc::{Proc, run, run_with};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use crate::support::{is_root, skip, workspace};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const STRANGER: u32 = 65_534;
const ASK: &str = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"$!\"; local $/; my $q = <STDIN>; print $s $q; $s->flush; print <$s>;";
const SLOW: &str = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; $| = 1; my @all; for (1..$ARGV[1]) { my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or next; print $s \"GET /v1/sta\"; $s->flush; push @all, $s; } print \"open \", scalar(@all), \"\\n\"; sleep 600;";

/// A request as another user.
fn as_user(uid: u32, socket: &Path, method: &str, path: &str) -> (u16, String) {
    let mut command = Command::new("perl");
    command.args(["-e", ASK]).arg(socket).uid(uid).gid(uid).current_dir("/");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    parted(&run_with(command, request.as_bytes(), Duration::from_secs(60)).ok().out)
}

/// `N` callers of a user who begin a request and never end it.
fn slow(uid: u32, socket: &Path, count: usize, logs: &Path) -> Proc {
    let mut command = Command::new("perl");
    command
        .args(["-e", SLOW])
        .arg(socket)
        .arg(count.to_string())
        .uid(uid)
        .gid(uid)
        .current_dir("/");
    let proc = Proc::start("slow", command, logs);
    proc.wait_text(&format!("open {count}"));
    proc
}

fn missing(test: &str) -> bool {
    skip(
        test,
        !is_root() || !Path::new("/usr/bin/perl").exists(),
        "needs root (to call as another user) and perl",
    )
}

#[test]
fn strangers_get_403_and_nothing_more() {
    if missing("strangers_get_403_and_nothing_more") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=5"]);
    let daemon = Daemon::start(&config(&sandbox));
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let before = state(&daemon);
    let document =
        std::fs::read_to_string(workspace().join("docs/openapi.json")).expect("the document");
    let document: Value = serde_json::from_str(&document).expect("the document is JSON");
    let mut bodies = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let path = path
                .replace("{name}", "sf")
                .replace("{key}", "client_secret")
                .replace("{id}", "r1");
            let (status, body) = as_user(STRANGER, &daemon.socket(), &method.to_uppercase(), &path);
            assert_eq!(status, 403, "{method} {path}: {body}");
            bodies.push(body);
        }
    }
    for path in ["/", "/v1/connections/none", "/v1/nothing"] {
        let (status, body) = as_user(STRANGER, &daemon.socket(), "GET", path);
        assert_eq!(status, 403, "{path}: {body}");
        bodies.push(body);
    }
    // The same to everything: not even what there is can be told apart.
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    for word in ["sf", "salesforce", "example", sandbox.org_id.as_str()] {
        assert!(!bodies[0].contains(word), "{word} in {}", bodies[0]);
    }
    assert_eq!(state(&daemon), before);

    // The client says it plainly.
    let client = daemon.path("crmsync");
    std::fs::copy(env!("CARGO_BIN_EXE_crmsync"), &client).expect("copying the client");
    let mut command = Command::new(&client);
    command
        .arg("--socket")
        .arg(daemon.socket())
        .arg("status")
        .uid(STRANGER)
        .gid(STRANGER)
        .current_dir("/");
    let said = run(command, Duration::from_secs(60));
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:#?}");
    assert!(said.err.contains("crmsync-view"), "{said:#?}");
}

#[test]
fn members_of_the_groups_look_or_change() {
    if missing("members_of_the_groups_look_or_change") {
        return;
    }
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "sh", "-c", "mount --bind /etc/group /etc/group"]);
    let fails = run(probe, Duration::from_secs(20)).code != 0;
    if skip(
        "members_of_the_groups_look_or_change",
        fails,
        "needs the right to make a mount namespace",
    ) {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=5"]);
    let daemon = Daemon::prepare(&config(&sandbox), &[]);
    let read = |path: &str| std::fs::read_to_string(path).expect("reading the user database");
    // Three users: one may look, one may change, one is in neither group.
    let users = "viewer:x:61001:61001::/:/bin/false\nchanger:x:61002:61002::/:/bin/false\nother:x:61003:61003::/:/bin/false\n";
    let groups = "crmsync-view:x:61101:viewer\ncrmsync-admin:x:61102:changer\n";
    std::fs::write(daemon.path("passwd"), read("/etc/passwd") + users).expect("writing users");
    std::fs::write(daemon.path("group"), read("/etc/group") + groups).expect("writing groups");
    let script = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group && exec \"$2\" --config \"$1/etc\" --state-dir \"$1/state\" --replica-dir \"$1/replica\" --socket \"$1/run/control.sock\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(daemon.path(""))
        .arg(env!("CARGO_BIN_EXE_crmsyncd"));
    command.env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
    let mut own = Proc::start("crmsyncd", command, &daemon.path(""));
    let socket = daemon.socket();
    eventually_or(Duration::from_secs(30), "the daemon is ready", || {
        match raw_api(&socket, "GET", "/v1/status", None) {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let ask = |uid, method, path| as_user(uid, &socket, method, path).0;
    let pause = raw_api(&socket, "POST", "/v1/connections/sf/pause", Some(&json!({})));
    pause.expect("asking").ok();
    assert_eq!(ask(61_001, "GET", "/v1/status"), 200);
    assert_eq!(ask(61_001, "GET", "/v1/audit"), 200);
    assert_eq!(ask(61_001, "POST", "/v1/reload"), 403);
    assert_eq!(ask(61_001, "POST", "/v1/connections/sf/disconnect"), 403);
    assert_eq!(ask(61_002, "GET", "/v1/status"), 200);
    assert_eq!(ask(61_002, "POST", "/v1/connections/sf/resume"), 200);
    assert_eq!(ask(61_002, "POST", "/v1/reload"), 200);
    assert_eq!(ask(61_003, "GET", "/v1/status"), 403);
    let audit = raw_api(&socket, "GET", "/v1/audit?limit=50", None).expect("asking").ok();
    let lines = audit["audit"].as_array().expect("lines");
    let by: Vec<(&Value, &Value, &Value)> =
        lines.iter().map(|l| (&l["uid"], &l["user"], &l["what"])).collect();
    for what in ["resumed", "reload"] {
        assert!(by.contains(&(&json!(61_002), &json!("changer"), &json!(what))), "{what}: {by:#?}");
    }
    assert!(!by.iter().any(|(uid, ..)| **uid == 61_001), "what was refused is no change: {by:#?}");
    assert!(own.terminate(Duration::from_secs(12)).success());
}

#[test]
fn a_hundred_slow_callers_hold_nobody_up() {
    if missing("a_hundred_slow_callers_hold_nobody_up") {
        return;
    }
    let sandbox = Sandbox::start(&["--records", "Account=5"]);
    let daemon = Daemon::start(&config(&sandbox));
    let strangers = slow(STRANGER, &daemon.socket(), 100, &daemon.path(""));
    // Who waited for them would wait until they are cut, and that is after ten seconds.
    let slowest = (0..20)
        .map(|_| {
            let begun = Instant::now();
            daemon.api("GET", "/v1/status", None).ok();
            begun.elapsed()
        })
        .max();
    assert!(slowest < Some(Duration::from_secs(9)), "{slowest:?}");
    drop(strangers);
    // A hundred of root's own fill the house: a clear refusal, and room again after ten seconds.
    let own = slow(0, &daemon.socket(), 100, &daemon.path(""));
    let request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (status, text) = answered(&daemon.socket(), request);
    assert!(
        status == 200 || (status == 503 && text.contains("too many callers")),
        "{status} {text}"
    );
    eventually_or(Duration::from_secs(40), "room again", || {
        match answered(&daemon.socket(), request) {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    drop(own);
}
