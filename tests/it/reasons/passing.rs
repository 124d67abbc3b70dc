//! Faults that pass: nobody is told, nobody is asked to authorize, the connection goes on by
//! itself when the fault is over, and the copy is complete afterwards.

use super::lab::{self, Lab, replaced};
use crate::support::daemon::Daemon;
use crate::support::postfix::Postfix;
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use crate::support::{Scratch, certs, ports};

/// Name, what is done to the sandbox, and a piece of what status says meanwhile.
const CASES: &[(&str, &[&str], &str)] = &[
    (
        "e500",
        &[
            "fail",
            "path=/services/data",
            "next=1000",
            "status=500",
            "code=UNKNOWN_EXCEPTION",
            "message=An error occurred",
        ],
        "UNKNOWN_EXCEPTION",
    ),
    ("e503", &["fail", "next=1000", "status=503", "body=no healthy upstream"], "503"),
    ("page", &["maintenance", "on"], "HTML"),
    ("cut", &["cut", "path=/services/data", "after_bytes=20", "times=1000"], ""),
    ("dropped", &["act-then", "drop", "path=/services/data", "times=1000"], ""),
    (
        "r429",
        &[
            "fail",
            "path=/services/data",
            "next=1000",
            "status=429",
            "retry_after=2",
            "body=Too many requests",
        ],
        "429",
    ),
    (
        "long",
        &[
            "fail",
            "path=/services/data",
            "next=1000",
            "status=403",
            "code=REQUEST_LIMIT_EXCEEDED",
            "message=ConcurrentPerOrgLongTxn Limit exceeded.",
        ],
        "ConcurrentPerOrgLongTxn",
    ),
    // the token endpoint itself is ill: a refresh that fails is no dead grant
    ("token", &["token-error", "server_error", "try again", "times=1000", "status=503"], "503"),
];

/// What a passing fault looks like while it lasts.
fn assert_passing(daemon: &Daemon, name: &str, said: &str) {
    let status = daemon.wait_reason(name, "Active", "retrying");
    let detail = status["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("tries again at") && detail.contains(said), "{status:#}");
    assert_eq!(status["needs_authorization"], false, "{status:#}");
    let code = daemon.cli(&["status", name]).code;
    assert_eq!(code, 0, "exit code of status while {name} is retrying");
}

/// It has gone on by itself: no command since the fault was over.
fn assert_goes_on(daemon: &Daemon, name: &str) {
    daemon.wait_status(name, &format!("{name} goes on by itself"), |s| {
        s["status"] == "Active" && s["reason"] == "idle" && s["detail"] == ""
    });
    let notices = &daemon.detail(name)["notices"];
    assert_eq!(notices.as_array().map(Vec::len), Some(0), "{notices:#}");
}

#[test]
fn passing_faults_are_told_to_nobody_and_end_by_themselves() {
    if lab::missing("passing_faults_are_told_to_nobody_and_end_by_themselves") {
        return;
    }
    let names: Vec<(&str, &[&str])> = CASES.iter().map(|c| (c.0, &["--rotate"][..])).collect();
    let lab = Lab::start("every 1h", &names, &[]);
    for (name, fault, _) in CASES {
        let sandbox = lab.sandbox(name);
        for change in
            [&["touch", "Account", "7"][..], &["create", "Contact", "5"], &["expire-tokens"]]
        {
            sandbox.ctl(change);
        }
        sandbox.ctl(fault);
        lab.ring(name);
    }
    for (name, _, said) in CASES {
        assert_passing(&lab.daemon, name, said);
    }
    for (name, ..) in CASES {
        lab.sandbox(name).ctl(&["clear-faults"]);
    }
    for (name, ..) in CASES {
        assert_goes_on(&lab.daemon, name);
        lab.assert_complete(name);
        lab.assert_mails(name, &[]);
    }
}

/// A name that does not resolve, and a certificate of an authority that we do not trust.
#[test]
fn trouble_on_the_way_is_no_dead_grant() {
    if lab::missing("trouble_on_the_way_is_no_dead_grant") {
        return;
    }
    let postfix = Postfix::start();
    let scratch = Scratch::new("authority");
    let theirs = certs::make(scratch.path(), &["localhost"]);
    let port = ports::free_port();
    let address = format!("https://localhost:{port}");
    let listen = format!("127.0.0.1:{port}");
    let sandbox = Sandbox::start(&[
        "--records",
        "Account=20",
        "--records",
        "Contact=10",
        "--tls-listen",
        &listen,
        "--tls-cert",
        &theirs.cert.display().to_string(),
        "--tls-key",
        &theirs.key.display().to_string(),
        "--public-url",
        &address,
    ]);
    let mut config = lab::notify(&postfix);
    let trusted = format!("ca_file = \"{}\"", theirs.ca.display());
    for name in ["dns", "tls"] {
        let section = lab::section(name, &sandbox, "every 1h");
        config += &replaced(&section, &sandbox.http, &address);
        config += &format!("[connections.{name}.network]\n{trusted}\n\n");
    }
    let daemon = Daemon::start(&config);
    let boxes = [("dns".to_owned(), sandbox)].into();
    let lab = Lab { daemon, boxes, postfix };
    let sandbox = lab.sandbox("dns");
    for name in ["dns", "tls"] {
        lab.wait_mails(name, "never authorized", 1);
        lab.daemon.set_secret(name, "client_secret", &sandbox.client_secret);
        // The browser knows no certificate; it walks beside, over the plain door.
        let path = format!("/v1/connections/{name}/reauthorize");
        let begun = lab.daemon.api("POST", &path, Some(&serde_json::json!({}))).ok();
        let url = begun["url"].as_str().expect("an address").replace(&address, &sandbox.http);
        let who = crate::support::browser::Walk {
            user: &sandbox.user,
            password: &sandbox.password,
            approve: true,
        };
        let redirected = crate::support::browser::walk(&url, &who)
            .unwrap_or_else(|stuck| panic!("walking {url}: {stuck:?}"));
        let path = format!("/v1/requests/{}/callback", begun["request"].as_str().unwrap());
        lab.daemon.api("POST", &path, Some(&serde_json::json!({ "value": redirected }))).ok();
        lab.daemon.wait_reason(name, "Active", "idle");
        lab.wait_mails(name, "again", 1);
    }
    sandbox.ctl(&["touch", "Account", "7"]);
    let good = std::fs::read_to_string(lab.daemon.path("etc/crmsync.toml")).expect("reading");
    lab.reload(|text| {
        // The first connection's host is gone from the DNS, the second's authority is unknown.
        let text = replaced(
            &text,
            &format!("login_url = \"{address}\""),
            "login_url = \"https://crm.invalid\"",
        );
        let (head, tail) = text.rsplit_once(&trusted).expect("two sections");
        format!("{head}{tail}")
    });
    for (name, said) in [("dns", "crm.invalid"), ("tls", "localhost")] {
        assert_passing(&lab.daemon, name, said);
    }
    lab.reload(|_| good.clone());
    for name in ["dns", "tls"] {
        assert_goes_on(&lab.daemon, name);
        lab.assert_mails(name, &[]);
        // A change of the very second of that run is vouched for by the next.
        lab.daemon.follow(name);
        let same = || {
            let source = sandbox.source("Account", &[]);
            let differences = lab.daemon.replica(name).differences("account", &source);
            if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
        };
        eventually_or(lab::SOON, &format!("{name} is complete"), same);
    }
}
