//! The main job, told in short: an org is loaded, followed, and equal to its source.

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::sandbox::Sandbox;

#[test]
fn an_org_is_loaded_and_followed_value_by_value() {
    let sandbox = Sandbox::start(&["--records", "Account=2500", "--records", "Contact=300"]);
    let config = format!(
        "{NOBODY}{}\n[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n",
        salesforce("sf", &sandbox, "every 1h")
    );
    let mut daemon = Daemon::start(&config);
    daemon.wait_reason("sf", "Error", "never authorized");
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    let same = |daemon: &Daemon| {
        for object in ["Account", "Contact"] {
            daemon.replica("sf").assert_same(&object.to_lowercase(), &sandbox.source(object, &[]));
        }
    };
    same(&daemon);

    sandbox.ctl(&["touch", "Account", "40"]);
    sandbox.ctl(&["create", "Contact", "25"]);
    sandbox.ctl(&["delete", "Account", "7"]);
    sandbox.ctl(&["purge", "Contact", "3"]);
    daemon.catch_up("sf");
    same(&daemon);
    daemon.stop();
}
