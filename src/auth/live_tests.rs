//! The whole provider and the grant code against a running sandbox program.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use crate::auth::{self, App, Attempt, GrantError};
use crate::provider::http::{DATA_LIMIT, Http, SMALL_LIMIT, SendError};
use crate::provider::salesforce::Salesforce;
use crate::provider::test_server::{Counter, http};
use crate::provider::{Ctx, Failure, Provider, Session};
use crmsync_core::domain::{
    CheckOutcome, CredentialKind, Delivered, Fault, FieldType, QuotaDomain, Reason, Schema, Step,
    Task, TaskKind, Time,
};
use reqwest::Method;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc;
use url::Url;

/// A sandbox of its own for one test; ended when dropped.
struct Sandbox {
    child: Child,
    base: Url,
    tls: Option<Url>,
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
    String::from_utf8_lossy(&help.stdout).contains("--records").then_some(path)
}

fn sandbox(args: &[&str]) -> Option<Sandbox> {
    let Some(program) = program() else {
        eprintln!("NOT TESTED: there is no crmsync-sandbox; hint: cargo build --workspace");
        return None;
    };
    let mut child =
        Command::new(program).arg("serve").args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let base = Url::parse(ready["http"].as_str().unwrap()).unwrap();
    let tls = ready["https"].as_str().map(|text| Url::parse(text).unwrap());
    Some(Sandbox { child, base, tls })
}

impl Sandbox {
    async fn ctl(&self, verb: &str, args: &[&str]) -> String {
        let url = self.base.join(&format!("/_sandbox/{verb}")).unwrap();
        let form: Vec<(&str, &str)> =
            args.iter().map(|a| a.split_once('=').unwrap_or(("arg", a))).collect();
        let request = http().request(Method::POST, url).unwrap().form(&form).build().unwrap();
        let answer = http().send(request, DATA_LIMIT).await.unwrap();
        assert!(answer.is_ok(), "{verb} {args:?}: {}", answer.text());
        answer.text().into_owned()
    }

    fn provider(&self) -> Salesforce {
        let keys = BTreeMap::from([("login_url".to_owned(), self.base.to_string())]);
        Salesforce::new(http(), &keys, CredentialKind::Code).unwrap()
    }

    /// The admin's part: log in, consent, and come back with the redirect.
    async fn walk(&self, attempt: &Attempt, user: &str) -> String {
        let mut form: Vec<(String, String)> =
            attempt.authorize_url.query_pairs().into_owned().collect();
        for (name, value) in [("username", user), ("password", "Sandbox-2026"), ("approve", "1")] {
            form.push((name.into(), value.into()));
        }
        let url = self.base.join("/services/oauth2/authorize").unwrap();
        let request = http().request(Method::POST, url).unwrap().form(&form).build().unwrap();
        let answer = http().send(request, SMALL_LIMIT).await.unwrap();
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    async fn authorize(&self, sf: &Salesforce, user: &str) -> auth::Granted {
        let attempt = auth::begin(&sf.oauth().unwrap(), &app(), None, &[5; 48]).unwrap();
        let redirect = self.walk(&attempt, user).await;
        let code = auth::code_from_redirect(sf, &attempt, &redirect).unwrap();
        auth::exchange(&http(), sf, &app(), &attempt, &code).await.unwrap()
    }
}

fn app() -> App {
    App {
        client_id: "3MVG9sandboxClient".into(),
        client_secret: Some("sandbox-client-secret".to_owned().into()),
        redirect: "http://localhost:17817/oauth/cb/salesforce".into(),
    }
}

struct Reader<'a> {
    sf: &'a Salesforce,
    session: &'a Session,
    schema: Schema,
    toll: Counter,
}

type Rows = BTreeMap<String, Vec<Option<String>>>;

impl Reader<'_> {
    fn ctx(&self) -> Ctx<'_> {
        Ctx { session: self.session, toll: &self.toll }
    }

    fn task(&self, object: &str, kind: TaskKind) -> Task {
        let fields = self.schema.objects[object].fields.iter().map(|f| f.name.clone()).collect();
        Task { object: object.into(), fields, kind }
    }

    async fn call(&self, tasks: &[Task]) -> Result<(Vec<Step>, Vec<Delivered>), Failure> {
        let calls = self.sf.calls(tasks, &self.schema, &QuotaDomain("d".into()), 1);
        let (tx, mut rx) = mpsc::channel(30);
        let outcome = self.sf.send(self.ctx(), &calls[0], &self.schema, tx).await?;
        assert!(outcome.server_time.is_some());
        assert_eq!(outcome.usage.len(), 1);
        let mut all = Vec::new();
        while let Some(d) = rx.recv().await {
            all.push(d);
        }
        Ok((outcome.steps, all))
    }

    /// A paged task to its end, from each position on.
    async fn all(&self, mut task: Task) -> (Rows, usize) {
        let mut rows = Rows::new();
        for calls in 1..100 {
            let (steps, delivered) = self.call(std::slice::from_ref(&task)).await.unwrap();
            let mut last = None;
            for d in delivered {
                for row in 0..d.batch.rows() {
                    let cells = (0..d.batch.columns())
                        .map(|c| d.batch.get(row, c).map(str::to_owned))
                        .collect();
                    let again = rows.insert(d.batch.key(row).unwrap().to_owned(), cells);
                    assert!(again.is_none(), "a row came twice");
                }
                last = d.position;
            }
            match &steps[0] {
                Step::Done => return (rows, calls),
                Step::More => {}
                other => panic!("{other:?}"),
            }
            match &mut task.kind {
                TaskKind::Scan { after }
                | TaskKind::Keys { after }
                | TaskKind::Window { after, .. } => {
                    *after = last;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }
}

#[tokio::test]
async fn the_provider_reads_what_the_sandbox_has() {
    let Some(sandbox) =
        sandbox(&["--records", "Account=4500", "--records", "Contact=300", "--order", "shuffled"])
    else {
        return;
    };
    let sf = sandbox.provider();
    let granted = sandbox.authorize(&sf, "ada@example.com").await;
    let toll = Counter::default();
    let mut reader = Reader { sf: &sf, session: &granted.session, schema: Schema::default(), toll };
    let identity = sf.identify(reader.ctx()).await.unwrap().value;
    assert_eq!(identity.org_id, "00DSB00000000012AA");
    assert_eq!(identity.username, "ada@example.com");
    assert!(identity.sight.contains_key("profile"), "{identity:?}");
    assert_eq!(identity.sight["view-all-data"], "true", "{identity:?}");
    let names: Vec<String> =
        sf.objects(reader.ctx()).await.unwrap().value.into_iter().map(|o| o.0).collect();
    assert!(names.iter().any(|n| n == "Contact"), "{names:?}");
    let asked = ["Account", "Contact", "Nothing__c"].map(str::to_owned);
    let described = sf.describe(reader.ctx(), &asked).await.unwrap().value;
    assert!(described["Nothing__c"].is_none());
    for (name, schema) in described {
        reader.schema.objects.extend(schema.map(|s| (name, s)));
    }
    let one = sf.describe(reader.ctx(), &asked[..1]).await.unwrap().value;
    assert_eq!(one["Account"].as_ref(), reader.schema.objects.get("Account"));
    let checks = sf.checks(reader.ctx(), &identity, &asked).await.unwrap().value;
    for c in &checks {
        let good = matches!(c.outcome, CheckOutcome::Pass { .. });
        assert_eq!(good, c.id != "read:Nothing__c", "{c:?}");
    }
    assert!(sf.clock(reader.ctx()).await.unwrap().server_time.is_some());
    let usage = sf.usage(reader.ctx()).await.unwrap().value;
    // By the org's own count, exactly what was reserved.
    assert_eq!(usage[0].used, u64::from(reader.toll.counts().0));
    assert_eq!(usage[0].max, 15_000);

    let (rows, calls) = reader.all(reader.task("Account", TaskKind::Scan { after: None })).await;
    assert_eq!((rows.len(), calls), (4500, 3));
    let dump = sandbox.ctl("dump", &["Account"]).await;
    let schema = &reader.schema.objects["Account"];
    let mut compared = 0;
    for line in dump.lines() {
        // Raw: a number is to be compared as it was written.
        let record: BTreeMap<String, &RawValue> = serde_json::from_str(line).unwrap();
        let row = &rows[record["Id"].get().trim_matches('"')];
        for (field, cell) in schema.fields.iter().zip(row) {
            let expected = match record[&field.name].get() {
                "null" => None,
                text if text.starts_with('"') => Some(serde_json::from_str(text).unwrap()),
                other => Some(other.to_owned()),
            };
            // `1.0E7` becomes `10000000` in a column of whole numbers.
            let number = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<f64>().ok());
            let same = match field.kind {
                FieldType::Integer => number(cell) == number(&expected),
                _ => *cell == expected,
            };
            assert!(same, "{}: {cell:?} is not {expected:?}", field.name);
            compared += 1;
        }
    }
    assert!(compared > 4500 * 10);
    let (keys, _) = reader.all(reader.task("Account", TaskKind::Keys { after: None })).await;
    assert_eq!(keys.len(), 4500);
    let (steps, _) = reader
        .call(&[reader.task("Account", TaskKind::Count { from: None, to: None })])
        .await
        .unwrap();
    assert_eq!(steps, [Step::Counted(4500)]);
    let ids: Vec<String> = rows.keys().take(450).cloned().collect();
    let (_, delivered) =
        reader.call(&[reader.task("Account", TaskKind::Ids { ids })]).await.unwrap();
    assert_eq!(delivered.iter().map(|d| d.batch.rows()).sum::<usize>(), 450);

    changes(&sandbox, &reader).await;
}

async fn changes(sandbox: &Sandbox, reader: &Reader<'_>) {
    let now = reader.sf.clock(reader.ctx()).await.unwrap().server_time.unwrap();
    sandbox.ctl("clock", &["+3600"]).await;
    let from = now.checked_add(jiff::SignedDuration::from_mins(30)).unwrap();
    let to = now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
    // More equal stamps than a page holds.
    sandbox.ctl("touch", &["Account", "2500"]).await;
    sandbox.ctl("delete", &["Contact", "7"]).await;
    let window = |o| reader.task(o, TaskKind::Window { from, to, after: None });
    sandbox.ctl("page-size", &["600"]).await;
    let (rows, calls) = reader.all(window("Account")).await;
    assert_eq!(rows.len(), 2500);
    assert!(calls >= 5);
    sandbox.ctl("page-size", &["off"]).await;
    sandbox.ctl("purge", &["Contact", "3"]).await;
    let end = now.checked_add(jiff::SignedDuration::from_mins(65)).unwrap();
    let log = |o| reader.task(o, TaskKind::Deleted { from, to: end });
    let tasks = [window("Account"), window("Contact"), log("Account"), log("Contact")];
    let before = reader.toll.counts().0;
    let (steps, _) = reader.call(&tasks).await.unwrap();
    assert_eq!(reader.toll.counts().0, before + 1, "one call for all four");
    assert_eq!(steps[..2], [Step::More, Step::Done]);
    let Step::Deleted { ids, covered, .. } = &steps[3] else { panic!("{steps:?}") };
    assert!(ids.len() >= 3, "{}", ids.len());
    assert!(*covered > from);

    sandbox.ctl("field", &["remove", "Account", "Description"]).await;
    let (steps, _) = reader.call(&[window("Contact"), window("Account")]).await.unwrap();
    assert_eq!(steps[0], Step::Done);
    assert_eq!(
        steps[1],
        Step::Failed(Fault::SchemaMoved {
            object: "Account".into(),
            field: Some("Description".into())
        })
    );
    let old: Time = "2020-01-01T00:00:00Z".parse().unwrap();
    let (steps, _) = reader
        .call(&[reader.task("Account", TaskKind::Deleted { from: old, to: end })])
        .await
        .unwrap();
    assert!(matches!(&steps[..], [Step::Failed(Fault::CursorLost { .. })]), "{steps:?}");
}

#[tokio::test]
async fn trouble_is_told_by_its_name() {
    let Some(sandbox) = sandbox(&["--records", "Account=10"]) else { return };
    let sf = sandbox.provider();
    let granted = sandbox.authorize(&sf, "ada@example.com").await;
    let toll = Counter::default();
    let ctx = Ctx { session: &granted.session, toll: &toll };
    sandbox.ctl("maintenance", &["on"]).await;
    assert!(matches!(sf.objects(ctx).await, Err(Failure::Fault(Fault::Passing { .. }))));
    assert!(matches!(sf.identify(ctx).await, Err(Failure::Fault(Fault::Passing { .. }))));
    sandbox.ctl("maintenance", &["off"]).await;
    sandbox.ctl("permission", &["ada", "ApiEnabled", "off"]).await;
    let missing = sf.objects(ctx).await;
    assert!(
        matches!(&missing, Err(Failure::Fault(Fault::NeedsAuthorization { reason: Reason::PermissionsMissing { missing }, .. })) if missing == &["API Enabled"])
    );
    sandbox.ctl("permission", &["ada", "ApiEnabled", "on"]).await;
    sandbox.ctl("permission", &["ada", "ViewSetup", "off"]).await;
    let identity = sf.identify(ctx).await.unwrap().value;
    let checks = sf.checks(ctx, &identity, &[]).await.unwrap().value;
    let failed: Vec<&str> = checks
        .iter()
        .filter(|c| matches!(c.outcome, CheckOutcome::Fail { .. }))
        .map(|c| c.id.as_str())
        .collect();
    assert_eq!(failed, ["view-setup"]);
    assert_eq!(sf.usage(ctx).await.unwrap().value.len(), 1);
    sandbox.ctl("quota", &["used=15000"]).await;
    assert!(matches!(sf.objects(ctx).await, Err(Failure::Fault(Fault::QuotaReached { .. }))));
    sandbox.ctl("quota", &["used=10"]).await;
    sandbox.ctl("act-then", &["drop", "times=1"]).await;
    let (reserved, settled) = toll.counts();
    assert!(matches!(sf.objects(ctx).await, Err(Failure::Fault(Fault::Passing { .. }))));
    assert_eq!(toll.counts(), (reserved + 1, settled));
    sandbox.ctl("expire-tokens", &[]).await;
    assert!(matches!(sf.objects(ctx).await, Err(Failure::SessionDead(_))));
    assert!(matches!(sf.identify(ctx).await, Err(Failure::SessionDead(_))));
    sandbox.ctl("deactivate", &["ada"]).await;
    let refused = auth::refresh(&http(), &sf, &app(), granted.refresh.as_ref().unwrap()).await;
    assert!(matches!(
        refused,
        Err(GrantError::Refused(Fault::NeedsAuthorization { reason: Reason::UserDeactivated, .. }))
    ));
}

#[tokio::test]
async fn refresh_tokens_rotate_and_die() {
    let Some(sandbox) = sandbox(&["--records", "Account=10", "--rotate"]) else { return };
    let sf = sandbox.provider();
    let granted = sandbox.authorize(&sf, "ada@example.com").await;
    let first = granted.refresh.unwrap();
    let second = auth::refresh(&http(), &sf, &app(), &first).await.unwrap().refresh.unwrap();
    sandbox.ctl("act-then", &["drop", "path=/oauth2/token"]).await;
    let lost = auth::refresh(&http(), &sf, &app(), &second).await.unwrap_err();
    assert!(matches!(lost, GrantError::Unknown(_)), "{lost:?}");
    let dead = auth::refresh(&http(), &sf, &app(), &second).await.unwrap_err();
    assert!(
        matches!(
            &dead,
            GrantError::Refused(Fault::NeedsAuthorization { reason: Reason::GrantRevoked, .. })
        ),
        "{dead:?}"
    );
    let again = sandbox.authorize(&sf, "ada@example.com").await.refresh.unwrap();
    auth::revoke(&http(), &sf, &app(), &again).await.unwrap();
    auth::revoke(&http(), &sf, &app(), &again).await.unwrap();
    assert!(auth::refresh(&http(), &sf, &app(), &again).await.is_err());
    let own = auth::client_credentials(&http(), &sf, &app()).await.unwrap();
    let toll = Counter::default();
    let ctx = Ctx { session: &own.session, toll: &toll };
    assert_eq!(sf.identify(ctx).await.unwrap().value.username, "ada@example.com");
    sandbox.ctl("block-app", &["on"]).await;
    let blocked = auth::client_credentials(&http(), &sf, &app()).await.unwrap_err();
    assert!(
        matches!(
            &blocked,
            GrantError::Refused(Fault::NeedsAuthorization { reason: Reason::AppBlocked, .. })
        ),
        "{blocked:?}"
    );
}

/// A CA and a certificate of it for localhost, by the openssl program.
fn certificates(dir: &Path) -> Option<()> {
    let run = |args: &[&str]| {
        let done = Command::new("openssl").args(args).current_dir(dir).output().ok()?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Some(())
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=Test CA",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ];
    run(&[&ca[..], &key[..]].concat())?;
    let request = ["req", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem"];
    run(&[&request[..], &key[..]].concat())?;
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    run(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "ext",
        "-out",
        "cert.pem",
    ])
}

#[tokio::test]
async fn a_private_ca_is_trusted_only_when_named() {
    use crate::provider::http::Network;
    let dir = tempfile::tempdir().unwrap();
    if certificates(dir.path()).is_none() {
        eprintln!("NOT TESTED: there is no openssl program");
        return;
    }
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let args =
        ["--tls-listen", "127.0.0.1:0", "--tls-cert", &at("cert.pem"), "--tls-key", &at("key.pem")];
    let Some(sandbox) = sandbox(&args) else { return };
    let mut url = sandbox.tls.clone().unwrap();
    url.set_host(Some("localhost")).unwrap();
    let get = async |network: Network| {
        let http = Http::new(&network).unwrap();
        let url = url.join("/services/data/").unwrap();
        let request = http.request(Method::GET, url).unwrap().build().unwrap();
        http.send(request, SMALL_LIMIT).await
    };
    let stranger = get(Network::default()).await.unwrap_err();
    let SendError::NotSent(Fault::Passing { what, .. }) = stranger else { panic!("{stranger:?}") };
    assert!(what.contains("certificate"), "{what}");
    let ca_file = Some(dir.path().join("ca.pem"));
    let known = get(Network { ca_file, ..Network::default() }).await.unwrap();
    assert_eq!(known.status, 200);
}
