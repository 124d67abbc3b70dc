//! Bulk jobs against a running sandbox program.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crate::provider::test_server::{Counter, http};
use crmsync_core::domain::{FieldType, JobRead, JobStep, Step, TaskKind};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A sandbox of its own for one test; ended when dropped.
struct Sandbox {
    child: Child,
    base: Url,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a test may be told where the program is")]
fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debug/crmsync-sandbox");
    let path = std::env::var_os("CRMSYNC_SANDBOX_BIN").map_or(built, PathBuf::from);
    let help = Command::new(&path).args(["serve", "--help"]).output().ok()?;
    String::from_utf8_lossy(&help.stdout).contains("--bulk-memory").then_some(path)
}

fn sandbox(args: &[&str]) -> Option<Sandbox> {
    let Some(program) = program() else {
        eprintln!("NOT TESTED: no crmsync-sandbox that knows bulk; hint: cargo build --workspace");
        return None;
    };
    let mut child =
        Command::new(program).arg("serve").args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    Some(Sandbox { child, base: Url::parse(ready["http"].as_str().unwrap()).unwrap() })
}

impl Sandbox {
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let url = self.base.join(path).unwrap();
        let request = http().request(Method::POST, url).unwrap().form(form).build().unwrap();
        let answer = http().send(request, DATA_LIMIT).await.unwrap();
        assert!(answer.is_ok(), "{path} {form:?}: {}", answer.text());
        answer
    }

    async fn ctl(&self, verb: &str, args: &[&str]) {
        let form: Vec<(&str, &str)> =
            args.iter().map(|a| a.split_once('=').unwrap_or(("arg", a))).collect();
        self.post(&format!("/_sandbox/{verb}"), &form).await;
    }
}

/// One connection, with an object described.
struct Door {
    sandbox: Sandbox,
    sf: Salesforce,
    session: Session,
    toll: Counter,
    schema: Schema,
    object: &'static str,
}

async fn door(object: &'static str, args: &[&str]) -> Option<Door> {
    let sandbox = sandbox(args)?;
    let keys = BTreeMap::from([("login_url".to_owned(), sandbox.base.to_string())]);
    let sf = Salesforce::new(http(), &keys, CredentialKind::ClientCredentials).unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "3MVG9sandboxClient"),
        ("client_secret", "sandbox-client-secret"),
    ];
    let answer = sandbox.post("/services/oauth2/token", &form).await;
    let session = sf.session(&serde_json::from_slice(&answer.body).unwrap()).unwrap();
    let mut door =
        Door { sandbox, sf, session, toll: Counter::default(), schema: Schema::default(), object };
    let asked = [object.to_owned()];
    let mut described = door.sf.describe(door.ctx(), &asked).await.unwrap().value;
    door.schema.objects.insert(object.to_owned(), described.remove(object).unwrap().unwrap());
    Some(door)
}

type Rows = BTreeMap<String, Vec<Option<String>>>;

impl Door {
    fn ctx(&self) -> Ctx<'_> {
        Ctx { session: &self.session, toll: &self.toll }
    }

    /// One call with one task; rows by key.
    async fn call(&self, kind: TaskKind) -> (Step, Rows, Option<String>) {
        let object = &self.schema.objects[self.object];
        let fields = object.fields.iter().map(|f| f.name.clone()).collect();
        let task = Task { object: self.object.to_owned(), fields, kind };
        let calls = self.sf.calls(&[task], &self.schema, &QuotaDomain("d".into()), 1);
        let (tx, mut rx) = mpsc::channel::<Delivered>(2);
        let take = async {
            let (mut rows, mut position) = (Rows::new(), None);
            while let Some(d) = rx.recv().await {
                for row in 0..d.batch.rows() {
                    let cells = (0..d.batch.columns()).zip(&object.fields).map(|(c, field)| {
                        let text = d.batch.get(row, c)?;
                        // The two doors write times differently.
                        Some(match soql::parse_datetime(text) {
                            Some(time) if field.kind == FieldType::DateTime => time.to_string(),
                            Some(_) | None => text.to_owned(),
                        })
                    });
                    let again = rows.insert(d.batch.key(row).unwrap().to_owned(), cells.collect());
                    assert!(again.is_none(), "a row came twice");
                }
                position = d.position;
            }
            (rows, position)
        };
        let send = self.sf.send(self.ctx(), &calls[0], &self.schema, tx);
        let (outcome, (rows, position)) = tokio::join!(send, take);
        let mut outcome = outcome.unwrap();
        assert_eq!(outcome.usage.len(), 1);
        assert!(outcome.server_time.is_some());
        (outcome.steps.remove(0), rows, position)
    }

    async fn step(&self, read: &JobRead, step: JobStep) -> (Step, Rows) {
        let (step, rows, _) = self.call(TaskKind::Job { read: read.clone(), step }).await;
        (step, rows)
    }

    async fn start(&self, read: &JobRead) -> String {
        let (step, _) = self.step(read, JobStep::Start).await;
        let Step::Started { job } = step else { panic!("{step:?}") };
        job
    }

    /// Looks until it is no longer running.
    async fn ended(&self, job: &str) -> Step {
        let look = async {
            loop {
                let look = JobStep::Look { job: job.to_owned() };
                match self.step(&JobRead::default(), look).await.0 {
                    Step::Running { .. } => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => return other,
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), look).await.unwrap()
    }

    async fn page(&self, job: &str, locator: Option<String>) -> (Step, Rows) {
        let step = JobStep::Page { job: job.to_owned(), locator, tries: 0 };
        self.step(&JobRead::default(), step).await
    }

    /// All pages, and how many.
    async fn pages(&self, job: &str) -> (Rows, usize) {
        let (mut all, mut locator) = (Rows::new(), None);
        for pages in 1..100 {
            let (step, page) = self.page(job, locator.take()).await;
            let Step::Page { rows, next } = step else { panic!("{step:?}") };
            assert_eq!(rows, page.len() as u64);
            let before = all.len();
            all.extend(page);
            assert_eq!(all.len() as u64, before as u64 + rows, "pages overlap");
            locator = next;
            if locator.is_none() {
                return (all, pages);
            }
        }
        panic!("no end");
    }

    /// The same by queries.
    async fn scan(&self) -> Rows {
        let (mut all, mut after) = (Rows::new(), None);
        loop {
            let (step, rows, position) = self.call(TaskKind::Scan { after }).await;
            all.extend(rows);
            match step {
                Step::More => after = position,
                Step::Done => return all,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_job_brings_what_queries_bring() {
    let args = ["--records", "Account=12000", "--order", "shuffled"];
    let Some(door) = door("Account", &args).await else { return };
    let asked = ["Account".to_owned()];
    assert_eq!(door.sf.sizes(door.ctx(), &asked).await.unwrap().value["Account"], 12_000);
    let object = &door.schema.objects["Account"];
    let fields: Vec<String> = object.fields.iter().map(|f| f.name.clone()).collect();
    assert!(door.sf.job_pays(object, &fields, 12_000));
    let before = door.toll.counts().0;
    let job = door.start(&JobRead::default()).await;
    assert_eq!(door.ended(&job).await, Step::Ready { rows: Some(12_000) });
    door.sandbox.ctl("bulk-page-rows", &["5000"]).await;
    let (rows, pages) = door.pages(&job).await;
    assert_eq!((rows.len(), pages), (12_000, 3));
    assert!(door.toll.counts().0 - before >= 5, "create, look and three pages");
    let scanned = door.scan().await;
    for (key, cells) in &scanned {
        let numbers = |cells: &[Option<String>]| -> Vec<Option<String>> {
            let plain = |(cell, field): (&Option<String>, &crmsync_core::domain::Field)| {
                let number = matches!(field.kind, FieldType::Integer | FieldType::Decimal);
                let text = cell.clone()?;
                let parsed = text.parse::<f64>().ok().filter(|_| number);
                Some(parsed.map_or(text, |n| n.to_string()))
            };
            cells.iter().zip(&object.fields).map(plain).collect()
        };
        assert_eq!(numbers(&rows[key]), numbers(cells), "{key}");
    }
    assert_eq!(rows.len(), scanned.len());
    // Bounds: the two sides of a time are the whole.
    let stamps = object.fields.iter().position(|f| f.name == "SystemModstamp").unwrap();
    let mut times: Vec<&str> = rows.values().filter_map(|r| r[stamps].as_deref()).collect();
    times.sort_unstable();
    let middle = times[6_000].parse().unwrap();
    let mut parts = 0;
    for read in [JobRead { from: None, to: Some(middle) }, JobRead { from: Some(middle), to: None }]
    {
        let job = door.start(&read).await;
        let Step::Ready { rows: Some(rows) } = door.ended(&job).await else { panic!() };
        assert!(rows > 0);
        parts += rows;
    }
    assert_eq!(parts, 12_000);
    let usage = door.sf.usage(door.ctx()).await.unwrap().value;
    // By the org's own count, exactly what was reserved.
    assert_eq!(usage[0].used, u64::from(door.toll.counts().0));
    let (reserved, settled) = door.toll.counts();
    assert_eq!(reserved, settled);
}

#[tokio::test]
async fn spoilt_pages_do_not_count_and_can_be_read_again() {
    let Some(door) = door("Account", &["--records", "Account=3000"]).await else { return };
    let job = door.start(&JobRead::default()).await;
    assert_eq!(door.ended(&job).await, Step::Ready { rows: Some(3_000) });
    for form in ["columns", "truncated", "utf8", "count", "empty", "header", "html"] {
        door.sandbox.ctl("bulk-corrupt", &[form]).await;
        let (step, _) = door.page(&job, None).await;
        match (form, &step) {
            ("html", Step::Failed(Fault::Passing { .. })) => {}
            (_, Step::Failed(Fault::Contract { what })) => {
                assert!(
                    what.starts_with("reading the first page of the job for Account: "),
                    "{what}"
                );
            }
            _ => panic!("{form}: {step:?}"),
        }
    }
    door.sandbox.ctl("bulk-corrupt", &["nul"]).await;
    let (step, rows) = door.page(&job, None).await;
    assert_eq!(step, Step::Page { rows: 3_000, next: None });
    let nul = |cell: &Option<String>| cell.as_ref().is_some_and(|text| text.contains('\0'));
    assert_eq!(rows.values().flatten().filter(|cell| nul(cell)).count(), 1);
    let (step, _) = door.page(&job, None).await;
    assert_eq!(step, Step::Page { rows: 3_000, next: None });
}

#[tokio::test]
async fn the_troubles_of_jobs_are_told_by_their_names() {
    let Some(door) = door("Account", &["--records", "Account=100"]).await else { return };
    let all = JobRead::default();
    let lost = |step: Step| match step {
        Step::JobLost { too_much, .. } => too_much,
        other => panic!("{other:?}"),
    };
    door.sandbox.ctl("bulk-fail", &["next=1"]).await;
    let job = door.start(&all).await;
    assert!(lost(door.ended(&job).await), "it failed by itself");
    // Results are served to no other version, and to nobody for ever.
    let job = door.start(&all).await;
    assert_eq!(door.ended(&job).await, Step::Ready { rows: Some(100) });
    let (_, id) = job.split_once('/').unwrap();
    assert!(!lost(door.page(&format!("63.0/{id}"), None).await.0));
    door.sandbox.ctl("bulk-expire", &[]).await;
    assert!(!lost(door.page(&job, None).await.0));
    assert!(!lost(door.ended(&job).await));
    let abort = |job: &str| JobStep::Abort { job: job.to_owned() };
    assert_eq!(door.step(&all, abort(&job)).await.0, Step::Done);
    // One that is aborted while it runs.
    door.sandbox.ctl("bulk-stuck", &["on"]).await;
    let job = door.start(&all).await;
    let look = JobStep::Look { job: job.clone() };
    let (step, _) = door.step(&all, look).await;
    assert!(matches!(step, Step::Running { .. }), "{step:?}");
    assert_eq!(door.step(&all, abort(&job)).await.0, Step::Done);
    assert!(!lost(door.ended(&job).await));
    door.sandbox.ctl("bulk-clear", &[]).await;
    // Refusals: read otherwise.
    let refused = |step: Step| match step {
        Step::NoJob { why } => why,
        other => panic!("{other:?}"),
    };
    door.sandbox.ctl("bulk-refuse", &["Account", "on"]).await;
    let why = refused(door.step(&all, JobStep::Start).await.0);
    assert!(why.contains("Bulk API"), "{why}");
    door.sandbox.ctl("bulk-refuse", &["Account", "off"]).await;
    door.sandbox.ctl("bulk-quota", &["used=10000"]).await;
    let why = refused(door.step(&all, JobStep::Start).await.0);
    assert!(why.contains("LIMIT_EXCEEDED"), "{why}");
    door.sandbox.ctl("bulk-quota", &["used=0"]).await;
    door.sandbox.ctl("field", &["remove", "Account", "Description"]).await;
    let (step, _) = door.step(&all, JobStep::Start).await;
    let fault = Fault::SchemaMoved { object: "Account".into(), field: Some("Description".into()) };
    assert_eq!(step, Step::Failed(fault));
}

#[tokio::test]
async fn where_rows_are_archived_every_way_to_read_sees_the_living() {
    let Some(door) = door("Task", &["--records", "Task=500"]).await else { return };
    assert!(door.schema.objects["Task"].field("IsArchived").is_some());
    let all = door.scan().await;
    let gone: Vec<&str> = all.keys().take(3).map(String::as_str).collect();
    door.sandbox.ctl("delete", &["Task", &format!("ids={}", gone.join(","))]).await;
    let living: Vec<&String> = all.keys().skip(3).collect();
    assert_eq!(living.len(), 497);
    assert!(door.scan().await.keys().eq(living.iter().copied()), "scan");
    let (step, keys, _) = door.call(TaskKind::Keys { after: None }).await;
    assert_eq!(step, Step::Done);
    assert!(keys.keys().eq(living.iter().copied()), "keys");
    let (step, ..) = door.call(TaskKind::Count { from: None, to: None }).await;
    assert_eq!(step, Step::Counted(497));
    let job = door.start(&JobRead::default()).await;
    assert_eq!(door.ended(&job).await, Step::Ready { rows: Some(497) });
    let (rows, _) = door.pages(&job).await;
    assert!(rows.keys().eq(living.iter().copied()), "job");
}
