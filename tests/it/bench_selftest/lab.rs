//! The machine with systemd boots, runs a unit, hands it a credential, and leaves nothing behind.

use crate::support::systemd_lab::{self, Lab};

#[test]
fn a_unit_runs_under_a_real_systemd() {
    if systemd_lab::missing("a_unit_runs_under_a_real_systemd") {
        return;
    }
    let lab = Lab::start();
    lab.write("/etc/toy.secret", "canary");
    lab.write(
        "/etc/systemd/system/toy.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nLoadCredential=word:/etc/toy.secret\n\
         ExecStart=/bin/sh -c 'cat $CREDENTIALS_DIRECTORY/word; echo; echo from the toy'\n",
    );
    lab.exec(&["systemctl", "daemon-reload"]).ok();
    lab.exec(&["systemctl", "start", "toy"]).ok();
    assert_eq!(lab.exec(&["systemctl", "is-active", "toy"]).ok().out, "active\n");
    let journal = lab.exec(&["journalctl", "--sync", "-u", "toy", "-o", "cat"]).ok();
    let journal =
        format!("{}{}", journal.out, lab.exec(&["journalctl", "-u", "toy", "-o", "cat"]).out);
    assert!(journal.contains("canary") && journal.contains("from the toy"), "{journal}");
    assert!(lab.root().join("etc/toy.secret").exists());
}
