//! Who may feed a copy: the pinned org alone, another account only after a yes, and an account
//! that sees less makes rows invisible, never deleted.

use crate::reasons::lab::caught_up;
use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::sandbox::Sandbox;
use serde_json::{Value, json};

const BOB: &str = "bob@example.com";

fn section(name: &str, sandbox: &Sandbox) -> String {
    format!(
        "{}\n[connections.{name}.objects]\nAccount = \"all\"\nContact = \"all\"\n\n",
        salesforce(name, sandbox, "every 1h")
    )
}

fn started() -> (Sandbox, Daemon) {
    let sandbox = Sandbox::start(&["--records", "Account=200", "--records", "Contact=50"]);
    let daemon = Daemon::start(&format!("{NOBODY}{}", section("sf", &sandbox)));
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    (sandbox, daemon)
}

fn number(daemon: &Daemon, sql: &str) -> i64 {
    daemon.replica("sf").number(sql)
}

fn assert_same(daemon: &Daemon, sandbox: &Sandbox) {
    for object in ["Account", "Contact"] {
        daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
    }
}

/// Every byte of a row that the users read, to tell that nothing was written.
fn content(daemon: &Daemon) -> String {
    format!("{:?}", daemon.replica("sf").query("select * from account order by id"))
}

/// Begins at the daemon, walks at a sandbox, hands the redirect in.
fn walk(daemon: &Daemon, at: &Sandbox, other: bool) -> crate::support::daemon::Reply {
    daemon.authorize_as("sf", &at.user, &at.password, other)
}

#[test]
fn another_org_is_refused_and_nothing_is_touched() {
    let (sandbox, daemon) = started();
    let before = content(&daemon);
    // The same log-in leads to another org from now on, as after a sandbox refresh.
    sandbox.ctl(&["org-id", "00D000000000099"]);
    for other in [false, true] {
        let refused = walk(&daemon, &sandbox, other);
        assert!(refused.status >= 400, "{}", refused.text);
        for text in ["00D000000000099", &sandbox.org_id[..15], "new connection"] {
            assert!(refused.text.contains(text), "{text} is not in {}", refused.text);
        }
    }
    let calls = |kind: &str| sandbox.counter(kind);
    let read = (calls("query"), calls("query_all"), calls("sub:query"));
    // The former credential was not replaced, and is itself refused before a call is made.
    sandbox.ctl(&["expire-tokens"]);
    daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({}))).ok();
    let status = daemon.wait_reason("sf", "Error", "wrong org");
    assert!(status["hint"].as_str().unwrap().contains("crmsync reauthorize sf"), "{status:#}");
    assert_eq!((calls("query"), calls("query_all"), calls("sub:query")), read, "nothing was read");
    assert_eq!(content(&daemon), before);

    // Back where it was: one authorization, and everything is caught up.
    sandbox.ctl(&["org-id", &sandbox.org_id]);
    sandbox.ctl(&["touch", "Account", "9"]);
    walk(&daemon, &sandbox, false).ok();
    daemon.wait_reason("sf", "Active", "idle");
    caught_up(&daemon, "sf");
    assert_same(&daemon, &sandbox);
}

/// `org_id` in the configuration holds before anything was pinned by a grant.
#[test]
fn a_configured_org_holds_at_the_first_authorization() {
    let sandbox = Sandbox::start(&["--records", "Account=20"]);
    let config = format!(
        "{NOBODY}{}org_id = \"00D000000000055\"\n\n[connections.sf.objects]\nAccount = \"all\"\n",
        salesforce("sf", &sandbox, "every 1h")
    );
    let daemon = Daemon::start(&config);
    daemon.set_secret("sf", "client_secret", &sandbox.client_secret);
    let refused = walk(&daemon, &sandbox, false);
    assert!(refused.status >= 400 && refused.text.contains("00D000000000055"), "{}", refused.text);
    let status = daemon.wait_reason("sf", "Error", "wrong org");
    assert_eq!(status["needs_authorization"], true);
    assert!(!daemon.path("replica/sf.db").exists(), "no copy of an org that is not ours");
    let grants = sandbox.ctl(&["state"])["grants"].to_string();
    assert!(!grants.contains("\"dead\":null"), "the grant was taken back: {grants}");
}

#[test]
fn another_account_waits_for_a_yes_or_a_no() {
    let (sandbox, daemon) = started();
    let ask = || daemon.authorize_as("sf", BOB, &sandbox.password, false).ok();
    let answer = |id: &Value, what: &str| {
        daemon.cli(&["reauthorize", what, id.as_str().expect("a request")])
    };
    let waiting = ask();
    assert_eq!(waiting["result"], "awaiting-confirmation", "{waiting:#}");
    assert_eq!((&waiting["expected"], &waiting["found"]), (&json!(sandbox.user), &json!(BOB)));
    assert_eq!(daemon.detail("sf")["account"], json!(sandbox.user));
    assert_eq!(daemon.detail("sf")["request"]["state"], "awaiting confirmation");
    // The grant in use goes on.
    sandbox.ctl(&["touch", "Account", "5"]);
    caught_up(&daemon, "sf");
    assert_same(&daemon, &sandbox);

    let rejected = answer(&waiting["request"], "reject");
    assert_eq!(rejected.code, 0, "{}{}", rejected.out, rejected.err);
    sandbox.wait_counter("revoke", 1);
    assert_eq!(daemon.detail("sf")["account"], json!(sandbox.user));
    let late = answer(&waiting["request"], "confirm");
    assert!(late.code == 1 && late.err.contains("hint:"), "{}{}", late.out, late.err);

    // With a dead grant the status says what it waits for.
    sandbox.ctl(&["revoke", "ada"]);
    daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({}))).ok();
    daemon.wait_reason("sf", "Error", "grant revoked");
    let waiting = ask();
    let status = daemon.wait_reason("sf", "Error", "wrong account awaiting confirmation");
    assert!(status["hint"].as_str().unwrap().contains("reauthorize confirm"), "{status:#}");
    assert!(status["detail"].as_str().unwrap().contains(BOB), "{status:#}");
    assert_eq!(answer(&waiting["request"], "reject").code, 0);
    daemon.wait_reason("sf", "Error", "grant revoked");
    let waiting = ask();
    let confirmed = answer(&waiting["request"], "confirm");
    assert_eq!(confirmed.code, 0, "{}{}", confirmed.out, confirmed.err);
    daemon.wait_reason("sf", "Active", "idle");
    assert_eq!(daemon.detail("sf")["account"], json!(BOB));
}

#[test]
fn an_account_with_less_sight_hides_rows_and_deletes_none() {
    let (sandbox, daemon) = started();
    let hidden = "select count(*) from account where _hidden_at is not null";
    let deleted = "select count(*) from account where _deleted_at is not null";
    let all = number(&daemon, "select count(*) from account");
    assert_eq!((number(&daemon, hidden), number(&daemon, deleted)), (0, 0));

    // bob sees four records in five. Named as wanted, he needs no second yes.
    let done = daemon.authorize_as("sf", BOB, &sandbox.password, true).ok();
    assert_eq!(done["result"], "authorized", "{done:#}");
    caught_up(&daemon, "sf");
    daemon.wait_reason("sf", "Active", "idle");
    let less = number(&daemon, hidden);
    assert!(less > all / 10 && less < all / 3, "{less} of {all} hidden");
    assert_eq!(number(&daemon, deleted), 0);
    assert_eq!(number(&daemon, "select count(*) from account"), all, "no row is gone");

    // A real delete is still one, and what bob cannot see stays hidden.
    sandbox.ctl(&["delete", "Contact", "4"]);
    caught_up(&daemon, "sf");
    assert_eq!(number(&daemon, deleted), 0);

    // Less still, with nobody authorizing anything: test finds the changed permission.
    walk(&daemon, &sandbox, true).ok();
    caught_up(&daemon, "sf");
    daemon.wait_status("sf", "everything is seen again", |_| number(&daemon, hidden) == 0);
    assert_same(&daemon, &sandbox);
    sandbox.ctl(&["permission", "ada", "ViewAllData", "off"]);
    sandbox.ctl(&["hide-records", "ada", "5"]);
    let tested = daemon.cli(&["test", "sf"]);
    assert_eq!(tested.code, 0, "{}{}", tested.out, tested.err);
    daemon.wait_status("sf", "ada sees less", |_| number(&daemon, hidden) > 0);
    // A comparison of keys that an admin asks for believes no absence either: it looks first.
    sandbox.ctl(&["hide-records", "ada", "9"]);
    sandbox.ctl(&["permission", "ada", "ViewAllUsers", "off"]);
    daemon.api("POST", "/v1/connections/sf/sync", Some(&json!({ "full": true }))).ok();
    let seen = number(&daemon, hidden);
    daemon.wait_status("sf", "ada sees less still", |_| number(&daemon, hidden) > seen);
    daemon.wait_reason("sf", "Active", "idle");
    assert_eq!(number(&daemon, deleted), 0, "under a tenth, so the guard alone would let it pass");
    sandbox.ctl(&["permission", "ada", "ViewAllData", "on"]);
    assert_eq!(daemon.cli(&["test", "sf"]).code, 0);
    daemon.wait_status("sf", "everything is seen again", |_| number(&daemon, hidden) == 0);
    caught_up(&daemon, "sf");
    assert_same(&daemon, &sandbox);
}

#[test]
fn a_missing_permission_is_named_and_the_former_credential_survives() {
    let (sandbox, daemon) = started();
    sandbox.ctl(&["hide-object", BOB, "Contact", "on"]);
    let refused = daemon.authorize_as("sf", BOB, &sandbox.password, true);
    assert!(refused.status >= 400, "{}", refused.text);
    for text in ["read Contact", "grant Read on Contact", "profile or a permission set", BOB] {
        assert!(refused.text.contains(text), "{text} is not in {}", refused.text);
    }
    sandbox.ctl(&["permission", BOB, "ApiEnabled", "off"]);
    let refused = daemon.authorize_as("sf", BOB, &sandbox.password, true);
    assert!(refused.status >= 400 && refused.text.contains("API Enabled"), "{}", refused.text);

    // A field that is hidden is no delete either: its column stays, one notice tells.
    sandbox.ctl(&["hide-field", "ada", "Account", "Website", "on"]);
    // Access ends, so that the credential itself must work.
    sandbox.ctl(&["expire-tokens"]);
    sandbox.ctl(&["touch", "Account", "6"]);
    caught_up(&daemon, "sf");
    daemon.wait_reason("sf", "Active", "idle");
    let detail = daemon.detail("sf");
    assert_eq!(detail["account"], json!(sandbox.user));
    let told = detail["notices"].to_string();
    assert!(told.contains("Account.Website"), "{detail:#}");
    let kept = number(&daemon, "select count(*) from account where website is not null");
    assert!(kept > 0, "what was read stays");
    sandbox.ctl(&["hide-field", "ada", "Account", "Website", "off"]);
    caught_up(&daemon, "sf");
    assert_same(&daemon, &sandbox);
}
