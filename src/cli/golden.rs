//! What people read, as golden files, and the exit codes against a scripted daemon on a real
//! socket.

use super::output::View;
use super::{check, config, fields, key, log, notices, quota, reauthorize, status, sync, test};
use crate::control::envelope::Fields;
use crate::control::protocol::{Event, GrantReply, Refusal, RefusalCode};
use crate::control::samples;
use crate::control::server::tests::support::{Running, own, start};
use insta::assert_snapshot;
use std::ffi::OsString;

fn view() -> View {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    View { zone, now: samples::time("14:06:00") }
}

#[test]
fn the_status_table() {
    let mut reply = samples::status_reply();
    assert_snapshot!("status_table", status::render(&reply, &view()));
    reply.connections.clear();
    reply.daemon.warnings.clear();
    reply.daemon.summary = "no connections".into();
    assert_snapshot!("status_empty", status::render(&reply, &view()));
}

#[test]
fn one_connection() {
    let mut detail = samples::detail_line();
    assert_snapshot!("status_name", status::render_detail(&detail, &view()));
    detail.status = samples::dead_line();
    detail.request = Some(samples::request_line());
    detail.objects.clear();
    detail.runs.clear();
    detail.quota = None;
    assert_snapshot!("status_name_error", status::render_detail(&detail, &view()));
    assert_snapshot!("after_a_change", status::one(&samples::held_line(), &view()));
}

#[test]
fn lists() {
    assert_snapshot!("quota", quota::render(&[samples::quota_line()], &view()));
    assert_snapshot!("notices", notices::render(&[samples::notice_line()], &view()));
    assert_snapshot!("mails", notices::render_mails(&[samples::mail_line()], &view()));
    assert_snapshot!("audit", notices::render_audit(&[samples::audit_line()], &view()));
    let fields_of = Fields { objects: samples::source_objects() };
    assert_snapshot!("fields", fields::render(&fields_of, &view()));
}

#[test]
fn runs() {
    let all = [samples::run_line(), samples::failed_run()];
    assert_snapshot!("log", log::render("sf-prod", &all, &view()));
    assert_snapshot!("log_run", log::render_story(&samples::failed_run(), &view()));
    assert_snapshot!("sync_outcome", sync::outcome(&samples::run_line(), &view()));
}

#[test]
fn answers() {
    assert_snapshot!("test", test::render(&samples::test_reply(), &view()));
    assert_snapshot!("reload", config::render(&samples::reload_reply(), &view()));
    assert_snapshot!("key_status", key::render(&samples::key_line(), &view()));
    let other = GrantReply::AwaitingConfirmation {
        request: "r-17".into(),
        expected: "ada@example.org".into(),
        found: "bob@example.org".into(),
    };
    assert_snapshot!("another_account", reauthorize::render(&other));
}

#[test]
fn the_check() {
    let folder = tempfile::tempdir().unwrap();
    let good = r#"
        [notify]
        admins = ["ada@example.org"]
        [connections.sf-prod]
        provider = "salesforce"
        client_id = "3MVG9"
        [connections.sf-prod.objects]
        Account = "all"
    "#;
    std::fs::write(folder.path().join("crmsync.toml"), good).unwrap();
    let loaded =
        crate::daemon::configuration::load(folder.path(), &std::collections::BTreeMap::new())
            .unwrap();
    let text = check::render(std::path::Path::new("/etc/crmsync"), &loaded.result.unwrap());
    let text = text.replace(&folder.path().display().to_string(), "/etc/crmsync");
    assert_snapshot!("check_good", text);
    let bad = good.replace("client_id", "clientid");
    std::fs::write(folder.path().join("crmsync.toml"), bad).unwrap();
    let args = ["check", "--config", folder.path().to_str().unwrap()];
    assert_eq!(run(std::path::Path::new("/none"), &args), 78);
    assert_eq!(run(std::path::Path::new("/none"), &["check", "--config", "/none"]), 78);
}

fn run(socket: &std::path::Path, args: &[&str]) -> u8 {
    let head = ["crmsync".into(), "--socket".into(), socket.as_os_str().to_owned()];
    super::run(head.into_iter().chain(args.iter().map(OsString::from)))
}

/// On a thread of its own: the client has its own runtime.
async fn exit(server: &Running, args: &[&str]) -> u8 {
    let path = server.path.clone();
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        run(&path, &args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    ran.await.unwrap()
}

#[test]
fn without_a_daemon_or_sense() {
    let nowhere = std::path::Path::new("/nonexistent/control.sock");
    assert_eq!(run(nowhere, &["status"]), 3);
    assert_eq!(run(nowhere, &["sync", "a", "--follow"]), 3);
    assert_eq!(run(nowhere, &["statu"]), 2);
    assert_eq!(run(nowhere, &["status", "NOT A NAME"]), 2);
    assert_eq!(run(nowhere, &["pause", "a", "--for", "tomorrow"]), 2);
    assert_eq!(run(nowhere, &["disconnect"]), 2);
    assert_eq!(run(nowhere, &["disconnect", "a", "--all"]), 2);
    assert_eq!(run(nowhere, &["reauthorize"]), 2);
    assert_eq!(run(nowhere, &["--help"]), 0);
    assert_eq!(run(nowhere, &["completions", "bash"]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_the_daemon_with_what_was_typed() {
    let server = start(own());
    let cases: &[(&[&str], &str)] = &[
        (&["status"], "status None false"),
        (&["status", "--all"], "status None true"),
        (&["status", "a"], r#"detail "a""#),
        (
            &["sync", "a", "X", "Y", "--full", "--despite-quota"],
            r#"objects: ["X", "Y"], full: true, despite_quota: true"#,
        ),
        (
            &["pause", "a", "--for", "1h30m", "--note", "n"],
            r#"for_seconds: Some(5400), note: Some("n")"#,
        ),
        (&["resume", "a"], "resume"),
        (&["approve", "a"], "approve"),
        (&["disconnect", "a"], r#""a""#),
        (&["reauthorize", "confirm", "r-1"], "confirm"),
        (&["fields", "a", "--search", "na me"], r#"fields "a" Some("na me")"#),
        (&["log", "a", "-n", "3"], r#"runs Some("a") 3"#),
        (&["log", "a", "--run", "r-1"], r#"run "r-1""#),
        (&["notices"], "notices None false"),
        (&["mail", "log"], "mails 50"),
        (&["audit"], "audit 50"),
        (&["quota", "a"], r#"quota Some("a")"#),
        (&["connections"], "status None true"),
        (&["forget", "a", "--with-data", "--yes"], "with_data: true"),
        (&["rename", "a", "b"], r#"to: "b""#),
        (&["config", "show", "--origin"], "config true"),
        (&["reload", "--wait"], "reload"),
        (&["notify", "test", "--to", "ada@example.org"], r#"Some("ada@example.org")"#),
        (&["key", "status"], "key_status"),
    ];
    for (args, call) in cases {
        for json in [false, true] {
            let args: Vec<&str> = args.iter().copied().chain(json.then_some("--json")).collect();
            assert_eq!(exit(&server, &args).await, 0, "{args:?}");
            let calls = server.commands.calls();
            assert!(calls.len() == 1 && calls[0].contains(call), "{args:?}: {calls:?}");
        }
    }
    assert_eq!(exit(&server, &["test", "a"]).await, 1);
    server.commands.calls();
    assert_eq!(exit(&server, &["disconnect", "--all"]).await, 0);
    assert_eq!(server.commands.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_become_exit_codes() {
    let server = start(own());
    let codes = [
        (RefusalCode::NeedsAuthorization, 4),
        (RefusalCode::BadConfig, 78),
        (RefusalCode::NotFound, 1),
        (RefusalCode::QuotaHeld, 1),
        (RefusalCode::Unavailable, 1),
    ];
    for (code, expected) in codes {
        *server.commands.refuse.lock().unwrap() = Some(Refusal::new(code, "no").hint("do"));
        for args in [&["sync", "a"][..], &["test", "a"], &["status", "a"], &["reload"]] {
            assert_eq!(exit(&server, args).await, expected, "{code:?} {args:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_a_run_ends_with_it() {
    let server = start(own());
    let events = server.commands.events.clone();
    let run = samples::run_line();
    let follow = exit(&server, &["sync", "sf-prod", "--follow"]);
    let feed = async {
        while events.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        for rows in [10, 20] {
            let _ = events.send(Event::Progress {
                connection: "sf-prod".into(),
                run: run.id.clone(),
                object: "Account".into(),
                rows,
                expected: Some(20),
                calls: 1,
            });
        }
        let _ = events.send(Event::RunEnded(run.clone()));
    };
    let (code, ()) = tokio::join!(follow, feed);
    assert_eq!(code, 0);
    let calls = server.commands.calls();
    // Its own line comes with the event: nothing more is asked.
    assert!(calls.len() == 1 && calls[0].starts_with("sync "), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_daemon_ends_what_follows() {
    let server = start(own());
    let events = server.commands.events.clone();
    let stop = server.stop.clone();
    let follow = exit(&server, &["log", "a", "-f"]);
    let end = async {
        // The stream stands, and the list has been asked for.
        while events.receiver_count() == 0 || server.commands.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (code, ()) = tokio::join!(follow, end);
    assert_eq!(code, 1);
}
