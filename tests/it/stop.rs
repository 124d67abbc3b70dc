//! SIGTERM at any moment: over within 10 s, with status 0, and nothing lost.

use crate::support::daemon::{Daemon, notify, salesforce};
use crate::support::sandbox::Sandbox;
use crate::support::{loud, wait::eventually};
use serde_json::json;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Asked for by the product.
const AT_MOST: Duration = Duration::from_secs(10);

/// A mail server that takes connections and never says a word.
fn mute() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    Idle,
    Starting,
    Loading,
    QueryHeld,
    RefreshHeld,
    MailHangs,
    Listening,
    Testing,
    Random(u64),
}

/// Draws without state: the same run stops at the same moments.
fn draw(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

#[test]
fn it_stops_within_ten_seconds_at_any_moment() {
    let sandbox =
        Sandbox::start(&["--rotate", "--records", "Account=1500", "--records", "Contact=50"]);
    let (_mute, port) = mute();
    let config = format!(
        "{}{}\n[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n",
        notify(port),
        salesforce("sf", &sandbox, "every 1h")
    );
    let mut daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    let full = std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full");
    let mut moments = vec![
        Moment::Loading,
        Moment::Idle,
        Moment::Starting,
        Moment::QueryHeld,
        Moment::RefreshHeld,
        Moment::MailHangs,
        Moment::Listening,
        Moment::Testing,
    ];
    let many = if full { 100 } else { 6 };
    moments.extend((1..=many).map(|i| Moment::Random(draw(i) % 1500)));
    let mut longest = (Duration::ZERO, Moment::Idle);
    for moment in moments {
        let _open = prepare(moment, &mut daemon, &sandbox);
        let began = Instant::now();
        daemon.stop();
        let took = began.elapsed();
        assert!(took < AT_MOST, "{moment:?}: {took:?}");
        if took > longest.0 {
            longest = (took, moment);
        }
        sandbox.ctl(&["clear-faults"]);
        sandbox.ctl(&["release"]);
        daemon.start_again();
        if matches!(moment, Moment::MailHangs) {
            daemon.authorize_as("sf", &sandbox.user, &sandbox.password, false).ok();
        }
    }
    daemon.follow("sf");
    daemon.wait_reason("sf", "Active", "idle");
    for object in ["Account", "Contact"] {
        daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
    }
    assert_eq!(sandbox.counter("token:refused"), 1, "only the revoked grant was ever refused");
    loud(&format!("longest stop: {:?} at {:?}", longest.0, longest.1));
    daemon.stop();
}

/// Brings the daemon there. What is returned stays open until it has stopped.
fn prepare(moment: Moment, daemon: &mut Daemon, sandbox: &Sandbox) -> Option<UnixStream> {
    let ask = |daemon: &Daemon, what: &str| {
        daemon.api("POST", &format!("/v1/connections/sf/{what}"), Some(&json!({}))).ok()
    };
    match moment {
        Moment::Idle => {
            daemon.wait_reason("sf", "Active", "idle");
        }
        Moment::Starting => {
            daemon.kill9();
            daemon.launch();
            daemon.proc().wait_text("ready");
        }
        Moment::Loading => {
            eventually(AT_MOST * 3, "rows are being loaded", || {
                let status = daemon.status("sf");
                (status["reason"] == "loading" || status["rows"] != 0).then_some(())
            });
        }
        Moment::QueryHeld | Moment::RefreshHeld => {
            daemon.wait_reason("sf", "Active", "idle");
            let path = match moment {
                Moment::QueryHeld => "path=/services/data/",
                _ => "path=/oauth2/token",
            };
            let held = sandbox.counter("held");
            sandbox.ctl(&["expire-tokens"]);
            sandbox.ctl(&["act-then", "hold", path]);
            ask(daemon, "sync");
            sandbox.wait_counter("held", held + 1);
            if matches!(moment, Moment::RefreshHeld) {
                // The stop waits for the answer: the token in it is the only one that is good.
                let url = format!("{}/_sandbox/release", sandbox.http);
                let stopping =
                    daemon.path(&format!("log-{}", daemon.starts())).join("crmsyncd.err");
                std::thread::spawn(move || {
                    eventually(AT_MOST, "it is stopping", || {
                        let log = std::fs::read_to_string(&stopping).unwrap_or_default();
                        log.contains("stopping").then_some(())
                    });
                    crate::support::http::post_form(&url, &[], &[]);
                });
            }
        }
        Moment::MailHangs => {
            daemon.wait_reason("sf", "Active", "idle");
            sandbox.ctl(&["revoke"]);
            daemon.sync("sf");
            daemon.wait_status("sf", "the grant is dead", |s| s["needs_authorization"] == true);
            eventually(AT_MOST * 3, "a mail is written", || {
                let mails = daemon.api("GET", "/v1/mails", None).ok().to_string();
                mails.contains("message_id").then_some(())
            });
        }
        Moment::Listening => {
            let mut stream = UnixStream::connect(daemon.socket()).expect("the control socket");
            stream
                .write_all(b"GET /v1/events HTTP/1.1\r\nHost: crmsync\r\n\r\n")
                .expect("asking for events");
            return Some(stream);
        }
        Moment::Testing => {
            sandbox.ctl(&["act-then", "hold", "path=/services/data/"]);
            let mut stream = UnixStream::connect(daemon.socket()).expect("the control socket");
            stream
                .write_all(b"POST /v1/connections/sf/test HTTP/1.1\r\nHost: crmsync\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
                .expect("asking for a test");
            return Some(stream);
        }
        Moment::Random(ms) => {
            sandbox.ctl(&["touch", "Account", "300"]);
            ask(daemon, "sync");
            // a moment drawn by the seed; nothing is waited for
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
    None
}
