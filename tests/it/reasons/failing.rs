//! A provider that fails for hours is told once, however it was called before.

use super::lab::{self, Lab, faketime};
use crate::support::skip;
use std::fs;

#[test]
fn a_provider_that_fails_for_hours_is_told_once() {
    let test = "a_provider_that_fails_for_hours_is_told_once";
    if lab::missing(test) || skip(test, faketime().is_none(), "needs the package libfaketime") {
        return;
    }
    let clock = tempfile::tempdir().expect("a folder for the clock");
    let file = clock.path().join("clock");
    fs::write(&file, "+0\n").expect("setting the clock");
    let file_text = file.display().to_string();
    let env = [
        ("LD_PRELOAD", faketime().unwrap_or_default()),
        ("FAKETIME_TIMESTAMP_FILE", file_text.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let lab = Lab::start("every 4h", &[("sf", &[])], &env);
    lab.sandbox("sf").ctl(&["touch", "Account", "5"]);
    lab.sandbox("sf").ctl(&["maintenance", "on"]);
    lab.ring("sf");
    lab.daemon.wait_reason("sf", "Active", "retrying");
    assert_eq!(lab.subjects("sf").len(), 2, "a passing fault is told to nobody");
    // Four intervals later it still fails.
    fs::write(&file, "+16h\n").expect("moving the clock");
    lab.ring("sf");
    let status = lab.status_is("sf", "Error", "provider failing since ", "crmsync test sf", false);
    assert!(status["detail"].as_str().unwrap().contains("HTML"), "{status:#}");
    lab.wait_mails("sf", "provider failing since ", 1);
    lab.ring("sf");
    lab.daemon.wait_reason("sf", "Error", "provider failing since ");
    lab.sandbox("sf").ctl(&["maintenance", "off"]);
    lab.sandbox("sf").ctl(&["clock", "+57600"]);
    lab.ring("sf");
    lab.daemon.wait_reason("sf", "Active", "idle");
    lab.wait_mails("sf", "again", 2);
    let told: Vec<String> =
        lab.subjects("sf").into_iter().filter(|s| s.contains("provider failing")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    lab.assert_complete("sf");
}
