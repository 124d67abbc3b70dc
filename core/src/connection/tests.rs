use super::*;
use crate::domain::{Concern, Fault, Problem, Reason, Time};
use jiff::SignedDuration;
use std::collections::BTreeMap;

fn at(secs: i64) -> Time {
    Time::from_second(1_800_000_000 + secs).unwrap()
}

fn rules(rotates: bool) -> Rules {
    Rules::new(rotates, SignedDuration::from_mins(15), 3, 7)
}

/// A connection and the effects of its last step.
struct Bench {
    c: Connection,
    fx: Vec<Effect>,
    rules: Rules,
}

impl Bench {
    /// Enabled and granted at 0, its first run done.
    fn good(rotates: bool) -> Self {
        let mut b = Self { c: Connection::default(), fx: Vec::new(), rules: rules(rotates) };
        b.on(Event::Configured { enabled: true }, 0);
        b.on(Event::Granted { by: "ada".into() }, 0);
        assert!(b.fx.contains(&Effect::StartRun { despite_quota: false }));
        b.run(0, done());
        b
    }

    #[allow(clippy::needless_pass_by_value)] // reads better at fifty calls
    fn on(&mut self, event: Event, secs: i64) -> &mut Self {
        (self.c, self.fx) = step(&self.c, &event, at(secs), &self.rules);
        self
    }

    fn run(&mut self, secs: i64, result: RunResult) -> &mut Self {
        self.on(Event::RunStarted { id: "1".into(), phase: Phase::Syncing }, secs);
        self.on(Event::RunFinished { id: "1".into(), result }, secs)
    }

    /// Rings, and if a run starts, ends it so.
    fn fail(&mut self, secs: i64, fault: Fault) -> bool {
        self.on(Event::Due, secs);
        let started = self.starts();
        if started {
            self.run(secs, RunResult::Failed(fault));
        }
        started
    }

    fn starts(&self) -> bool {
        self.fx.iter().any(|e| matches!(e, Effect::StartRun { .. }))
    }

    fn raised(&self, concern: &Concern) -> bool {
        self.fx.iter().any(|e| matches!(e, Effect::Raise { concern: c, .. } if c == concern))
    }

    fn says(&self, secs: i64) -> (Word, String) {
        let s = status(&self.c, "sf", at(secs));
        (s.word, s.reason)
    }
}

fn done() -> RunResult {
    RunResult::Done { caught_up_to: None, loading: false, objects: BTreeMap::new() }
}

fn refused() -> Fault {
    Fault::NeedsAuthorization { reason: Reason::GrantRevoked, text: "invalid_grant".into() }
}

#[test]
fn a_run_that_gave_way_to_new_settings_is_followed_by_one_with_them() {
    let mut b = Bench::good(false);
    b.run(10, RunResult::Stopped(StopWhy::Pause));
    assert!(!b.starts());
    b.on(Event::Due, 20);
    b.run(20, RunResult::Stopped(StopWhy::Configuration));
    assert!(b.starts());
    b.on(Event::Configured { enabled: false }, 30);
    b.run(30, RunResult::Stopped(StopWhy::Configuration));
    assert!(!b.starts());
}

#[test]
fn a_new_connection_asks_to_be_authorized_and_does_not_call() {
    let mut b = Bench { c: Connection::default(), fx: vec![], rules: rules(true) };
    b.on(Event::Configured { enabled: true }, 0);
    assert!(b.raised(&Concern::NeedsAuthorization));
    assert!(!b.on(Event::Due, 10).starts());
    let s = status(&b.c, "sf", at(10));
    assert_eq!(
        (s.reason.as_str(), s.hint.as_str()),
        ("never authorized", "crmsync reauthorize sf")
    );
    assert!(s.needs_authorization);
    b.on(Event::SyncRequested { by: "ada".into(), despite_quota: true }, 11);
    assert!(matches!(&b.fx[0], Effect::Refuse(Refusal::NeedsAuthorization(_))));
}

#[test]
fn the_first_refusal_latches_and_is_probed_once() {
    let mut b = Bench::good(false);
    b.fail(900, refused());
    assert_eq!(b.fx[0], Effect::ProbeGrantAt(at(960)));
    assert!(!b.raised(&Concern::NeedsAuthorization));
    assert!(!b.on(Event::Due, 930).starts());
    b.on(Event::ProbeResult(Err(Fault::passing("502"))), 960);
    assert_eq!(b.fx[0], Effect::ProbeGrantAt(at(1020)));
    b.on(Event::ProbeResult(Err(refused())), 1020);
    assert!(b.raised(&Concern::NeedsAuthorization));
    assert!(matches!(b.fx[0], Effect::OpenRequest { generation: 1, .. }));
    assert_eq!(b.says(1020), (Word::Error, "grant revoked".into()));
    assert_eq!(status(&b.c, "sf", at(1020)).since, at(900));
    b.on(Event::Granted { by: "ada".into() }, 2000);
    assert!(b.starts());
    assert!(b.fx.contains(&Effect::CloseRequest(Closed::Granted)));
    assert_eq!(b.c.generation, 2);
}

#[test]
fn a_false_alarm_is_told_to_nobody() {
    let mut b = Bench::good(false);
    b.fail(900, refused());
    b.on(Event::ProbeResult(Ok(())), 960);
    assert!(b.starts());
    assert!(!b.fx.iter().any(|e| matches!(e, Effect::CloseRequest(_) | Effect::Clear(_))));
}

#[test]
fn a_rotating_credential_dies_at_once() {
    let mut b = Bench::good(true);
    b.fail(900, refused());
    assert!(b.raised(&Concern::NeedsAuthorization));
    assert!(!b.fx.iter().any(|e| matches!(e, Effect::ProbeGrantAt(_))));
    let mut b = Bench::good(true);
    b.on(Event::RefreshLost { text: "invalid_grant".into() }, 5);
    assert_eq!(b.says(5), (Word::Error, "grant lost while it rotated".into()));
}

#[test]
fn a_refusal_stops_the_run_and_its_late_success_changes_nothing() {
    let mut b = Bench::good(true);
    b.on(Event::Due, 900);
    b.on(Event::RunStarted { id: "2".into(), phase: Phase::Syncing }, 900);
    b.on(Event::Rejected { reason: Reason::UserDeactivated, text: "inactive user".into() }, 901);
    assert!(b.fx.contains(&Effect::StopRun(StopWhy::Authorization)));
    b.on(Event::RunFinished { id: "2".into(), result: done() }, 902);
    assert_eq!(b.says(903).1, "user deactivated");
    b.on(Event::ProbeResult(Ok(())), 999);
    assert!(b.fx.contains(&Effect::CloseRequest(Closed::WorksAgain)));
    assert!(b.starts());
}

#[test]
fn passing_faults_back_off_and_are_told_after_long() {
    let mut b = Bench::good(false);
    let (mut tries, mut raised) = (Vec::new(), None);
    for s in 900..20_000 {
        if b.fail(s, Fault::passing("503 Service Unavailable")) {
            tries.push(s);
        }
        if b.raised(&Concern::Problem) && raised.is_none() {
            raised = Some(s);
        }
        // One matter, one notice: the alarm for silence says nothing beside it.
        assert!(!b.raised(&Concern::NoSuccess));
    }
    assert!(!b.c.latched());
    assert!((8..16).contains(&tries.len()), "{tries:?}");
    assert!(raised.is_some_and(|s| s >= 3600), "an hour without success: {raised:?}");
    assert!(b.says(20_000).1.starts_with("provider failing since 2027-01-15T08:15:00"));
    b.on(Event::SyncRequested { by: "ada".into(), despite_quota: false }, 20_001);
    assert!(b.starts(), "a person need not wait");
    b.run(20_002, done());
    assert!(b.fx.contains(&Effect::Clear(Concern::Problem)));
    assert_eq!(b.says(20_003), (Word::Active, "idle".into()));
}

#[test]
fn an_unforeseen_answer_needs_attention_and_is_tried_hourly() {
    let mut b = Bench::good(false);
    b.fail(900, Fault::contract("expected JSON, got <html>"));
    assert!(b.raised(&Concern::Problem));
    let s = status(&b.c, "sf", at(901));
    assert_eq!((s.word, s.reason.as_str()), (Word::Error, "needs attention"));
    assert!(s.detail.contains("<html>") && s.hint.contains("crmsync"));
    assert!(!b.on(Event::Due, 900 + 3599).starts());
    assert!(b.on(Event::Due, 900 + 3600).starts());
    b.run(4500, RunResult::Failed(Fault::passing("timeout")));
    assert_eq!(b.says(4501).1, "needs attention", "only a run that works ends it");
}

#[test]
fn each_problem_has_its_word() {
    let what = || "text".to_owned();
    for (fault, reason) in [
        (Fault::Misconfigured { what: what() }, "misconfigured"),
        (Fault::AddressNotAllowed { what: what() }, "address not allowed"),
        (Fault::Suspended { what: what() }, "org suspended"),
        (Fault::Denied { object: None, field: None, permission: what() }, "needs attention"),
    ] {
        let mut b = Bench::good(false);
        b.fail(900, fault);
        assert_eq!(b.says(901), (Word::Error, reason.into()));
    }
}

#[test]
fn silence_raises_the_alarm_whatever_the_cause() {
    // Runs start and never end: no fault is ever seen.
    let mut b = Bench::good(false);
    let mut alarms = Vec::new();
    for s in (0..20_000).step_by(60) {
        b.on(Event::Due, s);
        if b.raised(&Concern::NoSuccess) {
            alarms.push(s);
        }
    }
    assert_eq!(alarms, [3600]);
    b.run(20_000, done());
    assert!(b.fx.contains(&Effect::Clear(Concern::NoSuccess)));
}

#[test]
fn a_long_load_that_gets_on_is_no_silence() {
    let mut b = Bench::good(false);
    b.on(Event::Due, 900);
    b.on(Event::RunStarted { id: "1".into(), phase: Phase::Loading }, 900);
    for s in (900..40_000).step_by(600) {
        assert!(!b.on(Event::Progress, s).raised(&Concern::NoSuccess));
    }
    assert_eq!(b.says(40_000), (Word::Active, "loading".into()));
    assert!(b.on(Event::Due, 50_000).raised(&Concern::NoSuccess), "it got stuck");
}

#[test]
fn a_wish_despite_the_quota_survives_the_stop_of_the_run() {
    let mut b = Bench::good(false);
    b.on(Event::Due, 900);
    b.on(Event::QuotaHeld { limit: "L".into(), used: 8, max: 10, next_probe: None }, 901);
    b.on(Event::SyncRequested { by: "ada".into(), despite_quota: true }, 902);
    b.run(903, RunResult::Stopped(StopWhy::Quota));
    assert!(b.fx.contains(&Effect::StartRun { despite_quota: true }));
}

#[test]
fn the_alarm_waits_for_the_first_run_of_a_new_pause_free_time() {
    let mut b = Bench::good(false);
    b.on(Event::Paused { by: "ada".into(), until: Some(at(100_000)), note: None }, 10);
    assert!(!b.on(Event::Due, 99_999).raised(&Concern::NoSuccess));
    assert_eq!(b.says(99_999), (Word::NotSyncing, "paused".into()));
    assert!(b.on(Event::Due, 100_000).starts());
    assert!(!b.raised(&Concern::NoSuccess));
}

#[test]
fn pause_stops_the_run_and_resume_starts_one() {
    let mut b = Bench::good(false);
    b.on(Event::Due, 900);
    b.on(Event::Paused { by: "ada".into(), until: None, note: Some("migration".into()) }, 900);
    b.on(Event::RunStarted { id: "9".into(), phase: Phase::Syncing }, 901);
    assert!(b.fx.contains(&Effect::StopRun(StopWhy::Pause)), "also for a run that was on its way");
    let stopped = RunResult::Stopped(StopWhy::Pause);
    b.on(Event::RunFinished { id: "9".into(), result: stopped }, 902);
    assert!(status(&b.c, "sf", at(903)).detail.contains("migration"));
    b.on(Event::SyncRequested { by: "bob".into(), despite_quota: false }, 904);
    assert!(matches!(&b.fx[0], Effect::Refuse(Refusal::Paused { by }) if by == "ada"));
    assert!(b.on(Event::Resumed { by: "ada".into() }, 905).starts());
}

#[test]
fn held_by_quota_only_an_explicit_wish_runs() {
    let mut b = Bench::good(false);
    let held = Event::QuotaHeld { limit: "L".into(), used: 80, max: 100, next_probe: None };
    b.on(Event::Due, 900);
    b.on(held, 901);
    assert!(b.fx.contains(&Effect::StopRun(StopWhy::Quota)) && b.raised(&Concern::QuotaHeld));
    b.run(902, RunResult::Stopped(StopWhy::Quota));
    assert_eq!(b.says(903), (Word::NotSyncing, "quota".into()));
    assert!(status(&b.c, "sf", at(903)).detail.contains("80/100 (80 %)"));
    assert!(!b.on(Event::Due, 1800).starts());
    let wish = |despite_quota| Event::SyncRequested { by: "ada".into(), despite_quota };
    b.on(wish(false), 1801);
    assert!(
        b.fx.iter().any(|e| matches!(e, Effect::Refuse(r) if r.hint("sf").contains("--despite")))
    );
    b.on(wish(true), 1802);
    assert!(b.fx.contains(&Effect::StartRun { despite_quota: true }));
    b.on(Event::QuotaHeld { limit: "L".into(), used: 90, max: 100, next_probe: None }, 1803);
    assert!(!b.fx.iter().any(|e| matches!(e, Effect::StopRun(_))));
    b.run(1804, done());
    assert!(b.on(Event::QuotaFree, 1900).starts());
}

#[test]
fn a_wish_during_a_run_runs_again_after_it() {
    let mut b = Bench::good(false);
    b.on(Event::Due, 900);
    assert!(!b.on(Event::SyncRequested { by: "a".into(), despite_quota: false }, 901).starts());
    assert!(b.run(902, done()).starts());
    assert!(!b.run(903, done()).starts());
}

#[test]
fn disk_and_replica_are_tried_again_by_a_run_and_the_key_is_waited_for() {
    for (bad, reason) in [
        (Event::DiskFull { text: "no space".into() }, "disk full"),
        (Event::ReplicaFailed { text: "locked".into() }, "replica unavailable"),
    ] {
        let mut b = Bench::good(false);
        b.on(bad, 10);
        assert!(b.raised(&Concern::Problem));
        assert_eq!(b.says(11), (Word::Error, reason.into()));
        assert!(!b.on(Event::Due, 20).starts());
        assert!(b.on(Event::Due, 40).starts());
        b.run(41, done());
        assert!(b.fx.contains(&Effect::Clear(Concern::Problem)));
    }
    let mut b = Bench::good(false);
    b.on(Event::KeyMissing { text: "no credential".into() }, 10);
    assert!(!b.on(Event::Due, 100_000).starts());
    assert_eq!(b.says(11), (Word::Error, "key missing".into()));
    assert!(b.on(Event::KeyBack, 100_001).starts());
}

#[test]
fn another_account_waits_and_may_be_rejected() {
    let mut b = Bench::good(true);
    b.fail(900, refused());
    b.on(Event::GrantUnconfirmed { expected: "ada".into(), found: "bob".into() }, 1000);
    assert_eq!(b.says(1000).1, "wrong account awaiting confirmation");
    b.on(Event::UnconfirmedRejected { by: "root".into() }, 1001);
    assert_eq!(b.says(1001).1, "grant revoked");
    let mut works = Bench::good(true);
    works.on(Event::GrantUnconfirmed { expected: "ada".into(), found: "bob".into() }, 5);
    assert!(!works.c.latched(), "a grant that works goes on");
}

#[test]
fn disabling_withdraws_and_enabling_tells_again() {
    let mut b = Bench::good(true);
    b.fail(900, refused());
    b.on(Event::Configured { enabled: false }, 1000);
    assert!(b.fx.contains(&Effect::WithdrawAll));
    assert!(b.fx.contains(&Effect::CloseRequest(Closed::Disabled)));
    assert_eq!(b.says(1000), (Word::NotSyncing, "disabled".into()));
    assert!(!status(&b.c, "sf", at(1000)).needs_authorization);
    b.on(Event::Configured { enabled: true }, 2000);
    assert!(b.raised(&Concern::NeedsAuthorization));
    b.on(Event::Retired, 3000);
    assert_eq!(b.says(3000), (Word::NotSyncing, "retired".into()));
}

#[test]
fn one_object_does_not_stop_the_others() {
    let mut b = Bench::good(false);
    let denied = |o: &str| Fault::Denied {
        object: Some(o.into()),
        field: None,
        permission: "INSUFFICIENT_ACCESS".into(),
    };
    let gone = Fault::SchemaMoved { object: "Lead".into(), field: Some("Fax".into()) };
    let objects = BTreeMap::from([("Case".to_owned(), denied("Case")), ("Lead".to_owned(), gone)]);
    let partly = RunResult::Done { caught_up_to: None, loading: false, objects };
    b.on(Event::Due, 900);
    b.run(900, partly.clone());
    let case = Concern::ObjectFailing { object: "Case".into() };
    assert!(b.raised(&case));
    assert!(b.raised(&Concern::FieldRemoved { object: "Lead".into(), field: Some("Fax".into()) }));
    assert_eq!(b.says(901), (Word::Active, "idle".into()));
    b.on(Event::Due, 1800);
    assert!(!b.run(1800, partly).raised(&case), "told already");
    b.on(Event::Due, 2700);
    b.run(2700, done());
    assert!(b.fx.contains(&Effect::Clear(case)));
}

#[test]
fn a_restart_forgets_the_run_and_keeps_the_probe() {
    let mut b = Bench::good(false);
    b.fail(900, refused());
    b.on(Event::Started, 5000);
    assert_eq!(b.fx[0], Effect::ProbeGrantAt(at(5000)));
    let mut b = Bench::good(false);
    b.on(Event::Due, 900);
    b.on(Event::Shutdown, 901);
    assert!(b.fx.contains(&Effect::StopRun(StopWhy::Shutdown)));
    b.on(Event::Started, 950);
    assert!(!b.starts() && !b.c.busy());
    assert!(b.on(Event::Due, 951).starts());
}

#[test]
fn held_deletes_are_shown_until_approved() {
    let mut b = Bench::good(false);
    b.on(Event::DeletesHeld { object: "Lead".into(), count: 1200 }, 10);
    let s = status(&b.c, "sf", at(11));
    assert_eq!((s.word, s.reason.as_str()), (Word::Active, "deletes held for approval"));
    assert_eq!((s.detail.as_str(), s.hint.as_str()), ("Lead: 1200", "crmsync approve sf"));
    assert!(b.on(Event::DeletesApproved { by: "ada".into() }, 12).starts());
    assert_eq!(b.says(11).1, "syncing");
}

#[test]
fn problems_that_are_stored_have_words_too() {
    for problem in [Problem::KeyMissing, Problem::DiskFull { what: "x".into() }] {
        let mut b = Bench::good(false);
        b.c.trouble = Trouble::Problem { problem, since: at(0), attempts: 1, next: at(1) };
        let s = status(&b.c, "sf", at(1));
        assert!(s.word == Word::Error && !s.hint.is_empty());
    }
}
