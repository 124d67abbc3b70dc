//! Ten kinds of broken files, each refused whole: exit status 78, the report on stderr and in the
//! journal, the old configuration goes on.

use super::{generation, reload, section};
use crate::support::daemon::{Daemon, NOBODY};
use crate::support::sandbox::Sandbox;

#[test]
fn ten_kinds_of_broken_files_change_nothing() {
    let sandbox = Sandbox::start(&["--records", "Account=10"]);
    let good = format!("{NOBODY}{}", section("a", &sandbox, "every 1h"));
    let a = |from: &str, to: &str| good.replace(from, to);
    let kinds: [(&str, Vec<u8>); 10] = [
        ("syntax", a("schedule = \"every 1h\"", "schedule = every 1h").into()),
        ("unknown-key", a("schedule =", "shedule =").into()),
        ("wrong-type", a("schedule = \"every 1h\"", "schedule = 15").into()),
        ("wrong-value", a("every 1h", "every 1 fortnight").into()),
        ("missing-key", a("client_id", "#client_id").into()),
        ("unknown-provider", a("\"salesforce\"", "\"salesfroce\"").into()),
        ("secret-in-the-text", a("auth =", "client_secret = \"in the clear\"\nauth =").into()),
        ("bad-name", a("[connections.a", "[connections.A_b").into()),
        ("cut-off", good.as_bytes()[..good.len() - 9].to_vec()),
        ("not-text", [good.as_bytes(), b"\xff\xfe\x00"].concat()),
    ];
    let mut daemon = Daemon::start(&good);
    daemon.wait_reason("a", "Error", "never authorized");
    let state = |daemon: &Daemon| {
        let config = daemon.api("GET", "/v1/config", None).ok();
        let mut detail = daemon.detail("a");
        // A notice ripens by itself.
        detail["notices"] = serde_json::Value::Null;
        (generation(daemon), config, detail)
    };
    let before = state(&daemon);
    let folder = daemon.path("etc");
    for (kind, bytes) in kinds {
        std::fs::write(folder.join("crmsync.toml"), &bytes).expect("writing the file");
        let mark = daemon.proc().mark();
        let said = daemon.cli(&["reload", "--wait"]);
        assert_eq!(said.code, 78, "{kind}: {said:#?}");
        assert_eq!(said.out, "", "{kind}: nothing on stdout");
        assert_eq!(state(&daemon), before, "{kind}: the old configuration goes on");
        let text = said.err.replace(&folder.display().to_string(), "ETC");
        let text = text.replace(&sandbox.http, "http://127.0.0.1:0");
        assert!(!text.contains("in the clear"), "{kind}: a secret is shown: {text}");
        assert!(text.contains("ETC/crmsync.toml:"), "{kind}: file and line: {text}");
        insta::assert_snapshot!(format!("broken-{kind}"), text);
        // The journal has it as well.
        daemon.proc().wait_line_after(mark, std::time::Duration::from_secs(20), kind, |_, line| {
            line.contains("the configuration was not changed")
        });
    }
    // A folder without any file is no reason to drop all connections.
    std::fs::remove_file(folder.join("crmsync.toml")).expect("removing the file");
    assert_eq!(daemon.cli(&["reload", "--wait"]).code, 78);
    assert_eq!(state(&daemon), before);
    daemon.write_config("crmsync.toml", &good);
    assert_eq!(reload(&daemon)["untouched"], 1);
}

#[test]
fn a_key_that_needs_a_restart_is_refused_by_name_and_so_is_all_else_of_that_edit() {
    let sandbox = Sandbox::start(&["--records", "Account=10"]);
    let good = format!("{NOBODY}{}", section("a", &sandbox, "every 1h"));
    let mut daemon = Daemon::start(&good);
    let edited = good.replace("every 1h", "every 2h");
    let keys = "[daemon]\nworkers = 3\nreplica_dir = \"/srv/elsewhere\"\n\n";
    daemon.write_config("crmsync.toml", &format!("{keys}{edited}"));
    let said = daemon.cli(&["reload", "--wait"]);
    assert_eq!(said.code, 78, "{said:#?}");
    for key in ["daemon.workers", "daemon.replica_dir", "restart"] {
        assert!(said.err.contains(key), "{key}: {}", said.err);
    }
    assert_eq!(daemon.detail("a")["schedule"], "every 1h");
    daemon.write_config("crmsync.toml", &edited);
    daemon.cli(&["reload", "--wait"]).ok();
    assert_eq!(daemon.detail("a")["schedule"], "every 2h");
    daemon.stop();
}
