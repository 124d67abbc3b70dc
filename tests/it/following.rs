//! What the source does behind our back: late commits, many equal stamps, fields that come, go and
//! change their type.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use std::time::Duration;

fn loaded(records: &[&str], objects: &str) -> (Sandbox, Daemon) {
    let sandbox = Sandbox::start(records);
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\n{objects}\n",
        salesforce("sf", &sandbox, "every 1h")
    );
    let daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    (sandbox, daemon)
}

fn same(daemon: &Daemon, sandbox: &Sandbox, object: &str) {
    daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
}

#[test]
fn what_commits_late_with_an_older_stamp_is_found() {
    let (sandbox, mut daemon) = loaded(&["--records", "Account=50"], "Account = \"all\"");
    sandbox.ctl(&["late-commit", "Account", "5", "seconds=4"]);
    daemon.follow("sf");
    let rows = "select count(*) from account where _deleted_at is null";
    assert_eq!(daemon.replica("sf").number(rows), 50, "they cannot be seen yet");
    // The cursor is past their stamps when they can be seen.
    eventually_or(Duration::from_secs(60), "the late ones are here", || {
        daemon.sync("sf");
        let n = daemon.replica("sf").number(rows);
        if n == 55 { Ok(()) } else { Err(format!("{n} rows")) }
    });
    same(&daemon, &sandbox, "Account");
    daemon.stop();
}

#[test]
fn more_equal_stamps_than_a_page_holds_are_all_followed() {
    let (sandbox, mut daemon) = loaded(&["--records", "Contact=4500"], "Contact = \"all\"");
    sandbox.ctl(&["touch", "Contact", "4400"]);
    daemon.follow("sf");
    same(&daemon, &sandbox, "Contact");
    daemon.stop();
}

#[test]
fn fields_come_are_filled_go_and_change_their_type() {
    let (sandbox, mut daemon) = loaded(&["--records", "Account=2600"], "Account = \"all\"");
    // A new field: a column, filled for the rows that are here already.
    sandbox.ctl(&["field", "add", "Account", "Shoe_Size__c", "double"]);
    sandbox.ctl(&["touch", "Account", "3"]);
    daemon.follow("sf");
    same(&daemon, &sandbox, "Account");
    let column = "select count(*) from pragma_table_info('account') where name = 'shoe_size__c'";
    assert_eq!(daemon.replica("sf").number(column), 1);

    // A lost field: its column stays, and there is one notice.
    sandbox.ctl(&["field", "remove", "Account", "Fax"]);
    sandbox.ctl(&["touch", "Account", "10"]);
    daemon.follow("sf");
    let fax = "select count(*) from pragma_table_info('account') where name = 'fax'";
    assert_eq!(daemon.replica("sf").number(fax), 1, "a removed field keeps its column");
    same(&daemon, &sandbox, "Account");
    let notices = daemon.api("GET", "/v1/notices?name=sf", None).ok().to_string();
    assert_eq!(notices.matches("Account.Fax").count(), 1, "{notices}");
    daemon.sync("sf");
    let notices = daemon.api("GET", "/v1/notices?name=sf", None).ok().to_string();
    assert_eq!(notices.matches("Account.Fax").count(), 1, "{notices}");

    // Another type: nothing of the old values is lost, the new ones are here.
    sandbox.ctl(&["field", "retype", "Account", "Shoe_Size__c", "string"]);
    sandbox.ctl(&["touch", "Account", "4"]);
    daemon.follow("sf");
    let status = daemon.status("sf");
    assert_eq!(status["reason"], "idle", "{status:#}");
    daemon.replica("sf").assert_intact();
    daemon.stop();
}

#[test]
fn a_poll_that_is_refused_a_lost_field_goes_on_without_it() {
    let sandbox = Sandbox::start(&["--records", "Account=300"]);
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\nAccount = \"all\"\n",
        salesforce("sf", &sandbox, "every 2s")
    );
    let mut daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    // Nobody asks by hand, so the description stays the cached one until the refusal.
    sandbox.ctl(&["field", "remove", "Account", "Fax"]);
    sandbox.ctl(&["touch", "Account", "10"]);
    let source = sandbox.source("Account", &[]);
    eventually_or(Duration::from_secs(60), "the poll goes on", || {
        let differences = daemon.replica("sf").differences("account", &source);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    });
    let runs = daemon.detail("sf")["runs"].to_string();
    assert!(runs.contains("field Account.Fax is no longer there"), "{runs}");
    assert!(!runs.contains("failed"), "one bad field stops nothing: {runs}");
    daemon.stop();
}
