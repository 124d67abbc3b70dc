use super::*;
use crate::store::OutMail;
use crmsync_core::domain::{Problem, Reason, Time};

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

fn salesforce() -> Facts {
    Facts {
        name: "sf-prod".into(),
        provider: "salesforce".into(),
        label: "Salesforce".into(),
        org: Some("Acme GmbH (00D000000000001EAA)".into()),
        account: Some("integration@acme.example".into()),
        since: at("2026-11-21T10:31:05Z"),
        request: None,
        objects: vec!["Account".into(), "Contact".into(), "Opportunity".into()],
        caught_up_to: Some(at("2026-11-21T10:15:00Z")),
    }
}

fn tryton() -> Facts {
    Facts {
        name: "erp".into(),
        provider: "tryton".into(),
        label: "Tryton".into(),
        org: Some("erp.acme.example/acme".into()),
        account: Some("crmsync".into()),
        ..salesforce()
    }
}

pub(super) fn letter(kind: Kind) -> Letter {
    Letter {
        id: "019ab1c2-0000-7000-8000-000000000001".into(),
        instance: "000102030405060708090a0b0c0d0e0f".into(),
        at: at("2026-11-21T10:33:05Z"),
        from: "crmsync <crmsync@example.org>".into(),
        to: "ada@example.org".into(),
        host: "mail-gw1".into(),
        thread: None,
        kind,
    }
}

fn problem(facts: Facts, what: Condition, said: &str) -> Letter {
    letter(Kind::Problem { facts, what, said: Some(said.into()) })
}

fn shown(mail: &OutMail) -> String {
    String::from_utf8(mail.bytes.clone()).unwrap().replace("\r\n", "\n")
}

fn reasons() -> Vec<Reason> {
    let wrong_org = |refreshed_sandbox| Reason::WrongOrg {
        expected: "00D000000000001EAA".into(),
        found: "00D000000000002EAA".into(),
        refreshed_sandbox,
    };
    vec![
        Reason::NeverAuthorized,
        Reason::GrantRevoked,
        Reason::GrantExpired,
        Reason::GrantLostWhileRotating,
        Reason::CredentialsChanged,
        Reason::UserDeactivated,
        Reason::PermissionsMissing {
            missing: vec!["API Enabled".into(), "read on Account".into()],
        },
        Reason::AppBlocked,
        wrong_org(false),
        wrong_org(true),
        Reason::WrongAccount {
            expected: "integration@acme.example".into(),
            found: "bob@acme.example".into(),
        },
        Reason::DisconnectedByAdmin,
        Reason::ClientSecretExpired,
    ]
}

fn problems() -> Vec<Problem> {
    let what = || "what the other side said".to_owned();
    vec![
        Problem::Misconfigured { what: "object Acount is not known to the org".into() },
        Problem::AddressNotAllowed { what: what() },
        Problem::OrgSuspended { what: what() },
        Problem::ProviderFailing { since: at("2026-11-21T08:00:00Z"), what: what() },
        Problem::ReplicaUnavailable { what: "sf-prod.db: disk I/O error".into() },
        Problem::DiskFull { what: "/var/lib/crmsync-replica: no space left on device".into() },
        Problem::KeyMissing,
        Problem::NeedsAttention { what: what() },
    ]
}

#[test]
fn golden_reasons() {
    let mut all = String::new();
    for reason in reasons() {
        let said = "invalid_grant: expired access/refresh token";
        let mail = compose(&problem(salesforce(), Condition::NeedsAuthorization(reason), said));
        all += &(shown(&mail.unwrap()) + "\n=====\n");
    }
    for reason in [Reason::CredentialsChanged, Reason::UserDeactivated] {
        let mail = compose(&problem(tryton(), Condition::NeedsAuthorization(reason), "401"));
        all += &(shown(&mail.unwrap()) + "\n=====\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn golden_problems() {
    let mut all = String::new();
    for p in problems() {
        let mail = compose(&problem(salesforce(), Condition::Problem(p), "what they said"));
        all += &(shown(&mail.unwrap()) + "\n=====\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn golden_others() {
    let what = Condition::NeedsAuthorization(Reason::GrantRevoked);
    let held = Condition::Notice {
        title: "deletes held for approval".into(),
        text: "1,204 of 9,800 records of Contact are no longer found at Salesforce. That is more than 10 %, so they are kept here until somebody has looked.".into(),
        steps: vec!["If they were meant to go, on mail-gw1: crmsync approve sf-prod".into()],
    };
    let quota = QuotaFacts {
        limit: "DailyApiRequests".into(),
        used: 80_112,
        own: 12_040,
        max: 100_000,
        pause_at: 80,
        resume_below: 75,
        expected: Some(at("2026-11-22T00:00:00Z")),
        also: vec!["sf-reports".into()],
    };
    let many: Vec<String> = (1..=23).map(|i| format!("Custom_Object_{i}__c")).collect();
    let opening = "<019ab1c2-0000-7000-8000-000000000000@000102030405060708090a0b0c0d0e0f>";
    let in_thread = |kind| Letter {
        thread: Some(opening.into()),
        at: at("2026-11-24T10:33:05Z"),
        ..letter(kind)
    };
    let letters = [
        letter(Kind::Problem {
            facts: Facts {
                org: None,
                account: None,
                caught_up_to: None,
                objects: many,
                ..salesforce()
            },
            what: Condition::NeedsAuthorization(Reason::NeverAuthorized),
            said: None,
        }),
        letter(Kind::Problem { facts: salesforce(), what: held.clone(), said: None }),
        in_thread(Kind::Reminder {
            facts: salesforce(),
            what: what.clone(),
            number: 2,
            next: Some(at("2026-12-01T10:33:00Z")),
        }),
        in_thread(Kind::Reminder {
            facts: salesforce(),
            what: held.clone(),
            number: 3,
            next: None,
        }),
        in_thread(Kind::Recovery {
            facts: Facts {
                org: Some("Ärzte für Müller & Söhne (00D1)".into()), ..salesforce()
            },
            was: what.clone(),
            how: "reauthorized by root on the server".into(),
        }),
        in_thread(Kind::Recovery {
            facts: salesforce(),
            was: held.clone(),
            how: "approved by root".into(),
        }),
        letter(Kind::Problem {
            facts: Facts { request: Some("41".into()), ..salesforce() },
            what: Condition::NeedsAuthorization(Reason::WrongAccount {
                expected: "integration@acme.example".into(),
                found: "bob@acme.example".into(),
            }),
            said: None,
        }),
        letter(Kind::QuotaPause { facts: salesforce(), quota: quota.clone() }),
        in_thread(Kind::QuotaResume {
            facts: salesforce(),
            quota: QuotaFacts { used: 74_999, ..quota },
        }),
        letter(Kind::Test { by: "root".into() }),
        letter(Kind::Digest {
            entries: vec![
                Entry { facts: salesforce(), what },
                Entry {
                    facts: tryton(),
                    what: Condition::NeedsAuthorization(Reason::CredentialsChanged),
                },
            ],
            outage: Some("Salesforce".into()),
        }),
    ];
    let all: Vec<String> = letters.iter().map(|l| shown(&compose(l).unwrap())).collect();
    insta::assert_snapshot!(all.join("\n=====\n"));
}

#[test]
fn the_same_letter_gives_the_same_bytes_and_id() {
    let l = letter(Kind::Test { by: "root".into() });
    let (a, b) = (compose(&l).unwrap(), compose(&l).unwrap());
    assert_eq!(a, b);
    assert_eq!(
        a.message_id,
        "<019ab1c2-0000-7000-8000-000000000001@000102030405060708090a0b0c0d0e0f>"
    );
    assert_eq!((a.from.as_str(), a.to.as_str()), ("crmsync@example.org", "ada@example.org"));
}

/// Header part of a mail, unfolded, as a reader sees it.
fn headers(mail: &OutMail) -> Vec<String> {
    let text = shown(mail);
    let head = text.split("\n\n").next().unwrap().replace("\n ", " ");
    head.lines().map(str::to_owned).collect()
}

#[test]
fn no_text_can_add_a_header_or_an_unquoted_line() {
    let evil = "x\r\nBcc: evil@example.net\r\n\r\npause\u{2028}resume\u{202e}\0";
    let plain = headers(&compose(&letter(Kind::Test { by: "root".into() })).unwrap());
    let facts = Facts {
        name: evil.into(),
        provider: evil.into(),
        label: evil.into(),
        org: Some(evil.into()),
        account: Some(evil.into()),
        since: at("2026-11-21T10:31:05Z"),
        request: Some(evil.into()),
        objects: vec![evil.into()],
        caught_up_to: None,
    };
    for what in [
        Condition::NeedsAuthorization(Reason::PermissionsMissing { missing: vec![evil.into()] }),
        Condition::NeedsAuthorization(Reason::WrongAccount {
            expected: evil.into(),
            found: evil.into(),
        }),
        Condition::Problem(Problem::Misconfigured { what: evil.into() }),
        Condition::Notice { title: evil.into(), text: evil.into(), steps: vec![evil.into()] },
    ] {
        let l = Letter {
            host: evil.into(),
            thread: Some(evil.into()),
            ..letter(Kind::Problem { facts: facts.clone(), what, said: Some(evil.repeat(500)) })
        };
        let mail = compose(&l).unwrap();
        let names = |h: &[String]| -> Vec<String> {
            h.iter().map(|l| l.split(':').next().unwrap().to_owned()).collect()
        };
        let got = names(&headers(&mail));
        let want = names(&plain);
        let sorted = |mut v: Vec<String>| {
            v.sort();
            v
        };
        assert_eq!(sorted(got), sorted(want));
        let text = shown(&mail);
        assert!(!text.lines().any(|l| l == "pause" || l == "resume"), "{text}");
        assert!(text.len() < 6000);
    }
    for bad in ["", "a b", "a@b", "<x>", ".x", "a\r\nb"] {
        let l = Letter { id: bad.into(), ..letter(Kind::Test { by: "root".into() }) };
        assert!(matches!(compose(&l), Err(ComposeError::Id(_))), "{bad}");
    }
    for bad in ["nobody", "a@b, c@d", "a@b\r\nBcc: c@d"] {
        let l = Letter { to: bad.into(), ..letter(Kind::Test { by: "root".into() }) };
        assert!(matches!(compose(&l), Err(ComposeError::Address { .. })), "{bad}");
    }
}
