//! One sample of every shape, for tests of the server and of the command line.

#![allow(missing_docs, clippy::missing_panics_doc, reason = "samples")]

use super::protocol::*;
use crmsync_core::domain::{Check, CheckOutcome, Time};
use std::collections::BTreeMap;

pub fn time(text: &str) -> Time {
    format!("2026-11-21T{text}Z").parse().unwrap()
}

pub fn status_line() -> ConnectionStatus {
    ConnectionStatus {
        name: "sf-prod".into(),
        provider: "salesforce".into(),
        status: "Active".into(),
        reason: "idle".into(),
        since: time("09:00:00"),
        detail: String::new(),
        hint: String::new(),
        needs_authorization: false,
        caught_up_to: Some(time("14:05:10")),
        deletes_to: Some(time("13:00:00")),
        rows: 1_234_567,
        next_run: Some(time("14:20:00")),
        retired: false,
    }
}

pub fn dead_line() -> ConnectionStatus {
    ConnectionStatus {
        name: "tryton".into(),
        provider: "tryton".into(),
        status: "Error".into(),
        reason: "credentials changed".into(),
        since: time("11:12:13"),
        detail: "the server refused the log-in of crmsync".into(),
        hint: "crmsync reauthorize tryton".into(),
        needs_authorization: true,
        caught_up_to: Some(time("11:10:00")),
        deletes_to: None,
        rows: 812,
        next_run: None,
        retired: false,
    }
}

pub fn held_line() -> ConnectionStatus {
    ConnectionStatus {
        name: "sf-test".into(),
        status: "Not syncing".into(),
        reason: "quota".into(),
        since: time("13:30:00"),
        detail: "80123 of 100000 calls used (80 %), DailyApiRequests".into(),
        hint: "resumes by itself below 75 %; crmsync sync sf-test --despite-quota goes past it"
            .into(),
        caught_up_to: None,
        deletes_to: None,
        rows: 40_000,
        next_run: None,
        ..status_line()
    }
}

pub fn status_reply() -> StatusReply {
    StatusReply {
        schema: SCHEMA_VERSION,
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 812,
            started: time("08:59:58"),
            summary: "1 active, 1 not syncing, 1 error".into(),
            warnings: vec![
                "the master key lies beside the data; crmsync key init moves it away".into(),
            ],
            generation: 3,
        },
        connections: [status_line(), held_line(), dead_line()].map(Line::from).into(),
    }
}

pub fn object(name: &str) -> ObjectStatus {
    ObjectStatus {
        name: name.into(),
        table: name.to_lowercase(),
        phase: "following".into(),
        rows: 200_000,
        deleted: 12,
        hidden: 0,
        odd: 0,
        caught_up_to: Some(time("14:05:10")),
        deletes_to: Some(time("13:00:00")),
        held: None,
        trouble: None,
        job: None,
        proof: Some(ProofStatus {
            at: time("13:30:00"),
            upper: time("13:29:55"),
            rows: 200_000,
            repaired: 0,
            differs: 0,
            unproved: None,
        }),
        calculated_to: Some(time("07:00:00")),
        fields: 31,
    }
}

pub fn detail_line() -> ConnectionDetail {
    ConnectionDetail {
        schema: SCHEMA_VERSION,
        status: status_line(),
        org: Some("00D000000000001EAA (Acme)".into()),
        account: Some("ada@example.org".into()),
        address: Some("https://acme.my.salesforce.com".into()),
        created: time("07:00:00"),
        modified: time("09:00:00"),
        modified_by: "root".into(),
        schedule: "every 15m".into(),
        admins: vec!["ada@example.org".into()],
        replica: "/var/lib/crmsync-replica/sf-prod.db".into(),
        objects: vec![
            object("Account"),
            ObjectStatus { odd: 3, held: Some(2412), ..object("Contact") },
            ObjectStatus {
                phase: "refused".into(),
                caught_up_to: None,
                deletes_to: None,
                rows: 0,
                deleted: 0,
                trouble: Some("no read access to Opportunity".into()),
                proof: None,
                calculated_to: None,
                ..object("Opportunity")
            },
        ],
        quota: Some(quota_line()),
        runs: vec![run_line(), failed_run()],
        request: None,
        notices: vec![notice_line()],
    }
}

pub fn quota_line() -> QuotaStatus {
    QuotaStatus {
        domain: "salesforce:00D000000000001EAA".into(),
        connections: vec!["sf-prod".into(), "sf-test".into()],
        limit: "DailyApiRequests".into(),
        used: 80_123,
        max: 100_000,
        percent: 80,
        own: 9_876,
        line: 80_000,
        held_since: Some(time("13:30:00")),
        next_probe: Some(time("14:15:00")),
        exempt: BTreeMap::from([("probe".to_owned(), 3), ("test".to_owned(), 7)]),
        points: (0..24u64).map(|h| (time(&format!("{h:02}:00:00")), 1_000 + h * 3_600)).collect(),
    }
}

pub fn run_line() -> RunLine {
    RunLine {
        id: "0193a1f0-0000-7000-8000-000000000001".into(),
        connection: "sf-prod".into(),
        started: time("14:05:00"),
        ended: Some(time("14:05:12")),
        outcome: "done".into(),
        calls: 5,
        read: 120,
        changed: 17,
        deleted: 1,
        repeated: 1,
        lines: vec!["Account: 120 rows read, 17 changed".into()],
    }
}

pub fn failed_run() -> RunLine {
    RunLine {
        id: "0193a1f0-0000-7000-8000-000000000000".into(),
        started: time("13:50:00"),
        ended: Some(time("13:50:02")),
        outcome: "failed: the provider answered 503 (maintenance)".into(),
        calls: 1,
        read: 0,
        changed: 0,
        deleted: 0,
        repeated: 4,
        ..run_line()
    }
}

pub fn request_line() -> RequestLine {
    RequestLine {
        id: "r-17".into(),
        connection: "sf-prod".into(),
        reason: "grant revoked".into(),
        opened: time("12:00:00"),
        state: "awaiting confirmation".into(),
        detail: "expected ada@example.org, got bob@example.org".into(),
    }
}

pub fn notice_line() -> NoticeLine {
    NoticeLine {
        connection: Some("tryton".into()),
        kind: "needs-authorization".into(),
        text: "tryton needs a new password: the server refused the log-in of crmsync".into(),
        opened: time("11:12:13"),
        closed: None,
        mailed: Some(time("11:14:20")),
    }
}

pub fn mail_line() -> MailLine {
    MailLine {
        message_id: "<0193a1f0@crm.example.org>".into(),
        to: vec!["ada@example.org".into()],
        subject: "[crmsync] tryton: needs authorization".into(),
        created: time("11:14:20"),
        state: "sent".into(),
    }
}

pub fn audit_line() -> AuditLine {
    AuditLine {
        at: time("13:00:00"),
        uid: Some(0),
        user: "root".into(),
        connection: Some("sf-prod".into()),
        what: "pause".into(),
    }
}

pub fn source_objects() -> Vec<SourceObject> {
    let field = |name: &str, label: &str, kind: &str, selected| SourceField {
        name: name.into(),
        label: label.into(),
        kind: kind.into(),
        selected,
    };
    vec![
        SourceObject {
            name: "Account".into(),
            label: "Account".into(),
            selected: true,
            fields: vec![
                field("Name", "Account Name", "string", true),
                field("AnnualRevenue", "Annual Revenue", "currency", false),
            ],
        },
        SourceObject {
            name: "Case".into(),
            label: "Case".into(),
            selected: false,
            fields: Vec::new(),
        },
    ]
}

pub fn test_reply() -> TestReply {
    let check =
        |id: &str, label: &str, outcome| Check { id: id.into(), label: label.into(), outcome };
    TestReply {
        schema: SCHEMA_VERSION,
        passed: false,
        checks: vec![
            check(
                "reachable",
                "the server answers",
                CheckOutcome::Pass { detail: "https://acme.my.salesforce.com".into() },
            ),
            check(
                "view-setup",
                "View Setup and Configuration",
                CheckOutcome::Fail {
                    detail: "missing; grant it in a permission set".into(),
                    required: true,
                },
            ),
            check(
                "quota",
                "the limits can be read",
                CheckOutcome::Unknown { detail: "not asked after the failure before".into() },
            ),
        ],
    }
}

pub fn door() -> ReauthorizeReply {
    ReauthorizeReply::Password { request: "r-17".into(), username: "crmsync".into() }
}

pub fn grant() -> GrantReply {
    GrantReply::Authorized { account: "ada@example.org".into(), org: "Acme".into() }
}

pub fn reload_reply() -> ReloadReply {
    ReloadReply {
        added: vec!["new".into()],
        removed: vec!["old".into()],
        changed: BTreeMap::from([("sf-prod".to_owned(), vec!["schedule".to_owned()])]),
        untouched: 7,
        warnings: Vec::new(),
    }
}

pub fn key_line() -> KeyStatus {
    KeyStatus {
        source: "state folder".into(),
        id: "0a1b2c3d".into(),
        path: "/var/lib/crmsync/master.key".into(),
        sealed: 4,
        warning: "the key lies beside the data: who copies the folder has both".into(),
    }
}
