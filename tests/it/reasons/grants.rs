//! Grants that die, each in its own way. Each cause is met by several runs and by `test`, and is
//! still one mail; what an admin mends at the provider needs no new authorization.

use super::lab::{self, Lab};
use serde_json::json;

/// What is done, what is read, what is to be typed.
struct Case {
    name: &'static str,
    flags: &'static [&'static str],
    break_it: &'static [&'static [&'static str]],
    mend_it: &'static [&'static [&'static str]],
    reason: &'static str,
    detail: &'static str,
    hint: &'static str,
    cure: Cure,
}

#[derive(Clone, Copy, PartialEq)]
enum Cure {
    /// `crmsync test NAME` after it was mended at the provider.
    Test,
    /// `crmsync reauthorize NAME`.
    Reauthorize,
    /// `crmsync secret set NAME client_secret`.
    Secret,
}

const ROTATE: &[&str] = &["--rotate"];

const CASES: &[Case] = &[
    Case {
        name: "revoked",
        flags: ROTATE,
        break_it: &[&["revoke"]],
        mend_it: &[],
        reason: "grant revoked",
        detail: "expired access/refresh token",
        hint: "crmsync reauthorize revoked",
        cure: Cure::Reauthorize,
    },
    Case {
        name: "expired",
        flags: ROTATE,
        // the vendor's words for an expired grant are those for a revoked one
        break_it: &[&["refresh-policy", "immediate"], &["expire-tokens"]],
        mend_it: &[&["refresh-policy", "until-revoked"]],
        reason: "grant revoked",
        detail: "no longer valid",
        hint: "crmsync reauthorize expired",
        cure: Cure::Reauthorize,
    },
    Case {
        name: "deactivated",
        flags: ROTATE,
        break_it: &[&["deactivate", "ada"]],
        mend_it: &[&["activate", "ada"]],
        reason: "user deactivated",
        detail: "inactive user",
        hint: "crmsync test deactivated",
        cure: Cure::Test,
    },
    Case {
        name: "frozen",
        flags: ROTATE,
        break_it: &[&["freeze", "ada", "on"]],
        mend_it: &[&["freeze", "ada", "off"]],
        reason: "credentials changed",
        detail: "authentication failure",
        hint: "crmsync reauthorize frozen",
        cure: Cure::Reauthorize,
    },
    Case {
        name: "no-api",
        flags: ROTATE,
        break_it: &[&["permission", "ada", "ApiEnabled", "off"]],
        mend_it: &[&["permission", "ada", "ApiEnabled", "on"]],
        reason: "permissions missing: API Enabled",
        detail: "API Enabled",
        hint: "crmsync test no-api",
        cure: Cure::Test,
    },
    Case {
        name: "blocked",
        flags: ROTATE,
        break_it: &[&["block-app", "on"]],
        mend_it: &[&["block-app", "off"]],
        reason: "app blocked or not installed",
        detail: "blocked",
        hint: "crmsync test blocked",
        cure: Cure::Test,
    },
    Case {
        name: "uninstalled",
        flags: ROTATE,
        break_it: &[&["uninstall-app", "on"], &["expire-tokens"]],
        mend_it: &[&["uninstall-app", "off"]],
        reason: "app blocked or not installed",
        detail: "must be installed",
        hint: "crmsync test uninstalled",
        cure: Cure::Test,
    },
    Case {
        name: "secret",
        flags: ROTATE,
        break_it: &[&["client-secret", "another-Secret-7"], &["expire-tokens"]],
        mend_it: &[],
        reason: "client secret expired",
        detail: "client secret",
        hint: "crmsync secret set secret client_secret",
        cure: Cure::Secret,
    },
    Case {
        name: "other-org",
        flags: ROTATE,
        break_it: &[&["org-id", "00D000000000077"], &["expire-tokens"]],
        mend_it: &[],
        reason: "wrong org",
        detail: "00D000000000077",
        hint: "crmsync reauthorize other-org",
        cure: Cure::Reauthorize,
    },
];

#[test]
fn each_way_a_grant_dies_has_its_reason_and_one_mail() {
    if lab::missing("each_way_a_grant_dies_has_its_reason_and_one_mail") {
        return;
    }
    let mut names: Vec<(&str, &[&str])> = CASES.iter().map(|c| (c.name, c.flags)).collect();
    names.push(("cut-off", ROTATE));
    let lab = Lab::start("every 1h", &names, &[]);
    let before = lab.sandbox("other-org").dump("Account").len();

    for case in CASES {
        lab.sandbox(case.name).ctl(&["touch", "Account", "3"]);
        for words in case.break_it {
            lab.sandbox(case.name).ctl(words);
        }
        lab.ring(case.name);
    }
    lab.daemon.api("POST", "/v1/connections/cut-off/disconnect", Some(&json!({}))).ok();
    for case in CASES {
        let status = lab.status_is(case.name, "Error", case.reason, case.hint, true);
        let detail = status["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(case.detail), "{status:#}");
        lab.wait_mails(case.name, &format!("needs authorization: {}", case.reason), 1);
    }
    lab.status_is("cut-off", "Error", "disconnected by an admin", "reauthorize cut-off", true);
    lab.wait_mails("cut-off", "needs authorization: disconnected by an admin", 1);

    // Met again and again it stays one condition, and the latch lets no call through.
    let calls = |name: &str| lab.sandbox(name).counter("call");
    for case in CASES.iter().filter(|c| c.cure == Cure::Reauthorize) {
        let (was, tokens) = (calls(case.name), lab.sandbox(case.name).counter("token"));
        for _ in 0..3 {
            let refused = lab.daemon.cli(&["sync", case.name]);
            assert_eq!(refused.code, 4, "{}{}", refused.out, refused.err);
            assert!(refused.err.contains("hint: "), "{}", refused.err);
        }
        assert_eq!(calls(case.name), was, "no call of a latched connection");
        assert_eq!(lab.sandbox(case.name).counter("token"), tokens, "nor a refresh");
    }
    for case in CASES.iter().filter(|c| c.cure == Cure::Test) {
        let failed = lab.daemon.cli(&["test", case.name]);
        assert_eq!(failed.code, 4, "{}{}", failed.out, failed.err);
    }

    for case in CASES {
        let sandbox = lab.sandbox(case.name);
        if case.name == "other-org" {
            // Nothing was read of the other org, and nothing of the copy was touched.
            assert_eq!(lab.daemon.status(case.name)["rows"], before as u64 + 10);
            sandbox.ctl(&["org-id", &sandbox.org_id]);
        }
        for words in case.mend_it {
            sandbox.ctl(words);
        }
        match case.cure {
            Cure::Test => {
                let passed = lab.daemon.cli(&["test", case.name]);
                assert_eq!(passed.code, 0, "{}{}", passed.out, passed.err);
            }
            Cure::Reauthorize => {
                lab.daemon.authorize_as(case.name, &sandbox.user, &sandbox.password, false).ok();
            }
            Cure::Secret => {
                lab.daemon.set_secret(case.name, "client_secret", "another-Secret-7");
            }
        }
    }
    lab.daemon.authorize("cut-off", lab.sandbox("cut-off"));
    for case in CASES {
        lab.daemon.wait_reason(case.name, "Active", "idle");
        lab.wait_mails(case.name, "again", 2);
        lab.assert_mails(case.name, &[case.reason, "again"]);
        if case.cure != Cure::Secret {
            // (the bench reads the source with the app's first secret)
            lab.assert_complete(case.name);
        }
    }
    lab.wait_mails("cut-off", "again", 2);
    lab.assert_mails("cut-off", &["disconnected by an admin", "again"]);
}

/// A credential that does not rotate is tried once more a minute after the first refusal, and only
/// then somebody is told; a refusal that was a mistake is told to nobody.
#[test]
fn a_grant_that_does_not_rotate_is_tried_once_more() {
    if lab::missing("a_grant_that_does_not_rotate_is_tried_once_more") {
        return;
    }
    let lab = Lab::start("every 1h", &[("gone", &[]), ("mistake", &[])], &[]);
    for name in ["gone", "mistake"] {
        // The first refresh shows that it does not rotate.
        lab.sandbox(name).ctl(&["expire-tokens"]);
        lab.daemon.sync(name);
    }
    lab.sandbox("gone").ctl(&["revoke"]);
    lab.sandbox("mistake").ctl(&["expire-tokens"]);
    lab.sandbox("mistake").ctl(&["token-error", "invalid_grant", "expired access/refresh token"]);
    for name in ["gone", "mistake"] {
        lab.ring(name);
    }
    for name in ["gone", "mistake"] {
        let status = lab.status_is(name, "Error", "grant revoked", "reauthorize", true);
        assert!(status["detail"].as_str().unwrap().contains("tried once more at"), "{status:#}");
        assert_eq!(lab.subjects(name).len(), 2, "nobody is told before that");
    }
    if std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full") {
        // As it happens by itself: a minute.
        lab.wait_mails("gone", "needs authorization: grant revoked", 1);
        lab.daemon.wait_reason("mistake", "Active", "idle");
    } else {
        // A person's test is that one more try.
        assert_eq!(lab.daemon.cli(&["test", "gone"]).code, 4);
        assert_eq!(lab.daemon.cli(&["test", "mistake"]).code, 0);
        lab.wait_mails("gone", "needs authorization: grant revoked", 1);
        lab.daemon.wait_reason("mistake", "Active", "idle");
    }
    lab.assert_mails("mistake", &[]);
    lab.assert_mails("gone", &["grant revoked"]);
}
