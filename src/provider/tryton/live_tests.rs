//! The provider against a real Tryton 6.0, where one is named:
//! `CRMSYNC_TEST_TRYTON="http://127.0.0.1:8000 DATABASE ADMIN PASSWORD"` (module party installed).

use super::*;
use crate::provider::test_server::{Counter, http};
use crmsync_core::domain::{Step, TaskKind, Time};
use jiff::SignedDuration;

struct Real {
    tryton: Tryton,
    url: String,
    database: String,
    session: Session,
    password: SecretString,
    toll: Counter,
}

#[allow(clippy::disallowed_methods, reason = "a test is told where the server is")]
async fn real() -> Option<Real> {
    let Ok(text) = std::env::var("CRMSYNC_TEST_TRYTON") else {
        eprintln!("NOT TESTED: CRMSYNC_TEST_TRYTON names no Tryton");
        return None;
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let keys = BTreeMap::from([
        ("url".to_owned(), words[0].to_owned()),
        ("database".to_owned(), words[1].to_owned()),
    ]);
    let tryton = Tryton::new(http(), &keys).unwrap();
    let password = SecretString::from(words[3].to_owned());
    let session = tryton.log_in(words[2], &password).await.unwrap();
    let (url, database) = (words[0].to_owned(), words[1].to_owned());
    Some(Real { tryton, url, database, session, password, toll: Counter::default() })
}

impl Real {
    fn ctx(&self) -> Ctx<'_> {
        Ctx { session: &self.session, toll: &self.toll }
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let got = rpc::call(&self.tryton, self.ctx(), method, params, About::default()).await;
        serde_json::from_str(&got.unwrap().result).unwrap()
    }

    async fn read(&self, schema: &Schema, task: Task) -> (Step, Vec<Delivered>) {
        let calls = self.tryton.calls(&[task], schema, &QuotaDomain("d".into()), usize::MAX);
        let (tx, mut rx) = mpsc::channel(10);
        let outcome = self.tryton.send(self.ctx(), &calls[0], schema, tx).await.unwrap();
        let mut all = Vec::new();
        while let Some(d) = rx.recv().await {
            all.push(d);
        }
        (outcome.steps[0].clone(), all)
    }
}

#[tokio::test]
async fn the_provider_reads_what_tryton_has() {
    let Some(real) = real().await else { return };
    let tryton = &real.tryton;
    let identity = tryton.identify(real.ctx()).await.unwrap().value;
    assert_eq!(identity.username, real.session.username.clone().unwrap());
    assert!(identity.org_id.ends_with(&format!("/{}", real.database)));
    let objects = tryton.objects(real.ctx()).await.unwrap().value;
    assert!(objects.iter().any(|(name, label)| name == "party.party" && label == "Party"));
    let asked = ["party.party", "no.such", "res.user"].map(str::to_owned);
    let described = tryton.describe(real.ctx(), &asked).await.unwrap().value;
    assert!(described["no.such"].is_none());
    let mut schema = Schema::default();
    for (name, object) in described {
        schema.objects.extend(object.map(|o| (name, o)));
    }
    let party = &schema.objects["party.party"];
    assert_eq!((party.key.as_str(), party.stamp.as_deref()), ("id", Some("write_date")));
    assert!(party.field("addresses").is_none() && party.field("full_name").is_none());
    let fields: Vec<String> = party.fields.iter().map(|f| f.name.clone()).collect();
    let task = |kind| Task { object: "party.party".into(), fields: fields.clone(), kind };

    let before = tryton.clock(real.ctx()).await.unwrap().server_time.unwrap();
    let many: Vec<Value> = (0..1500).map(|i| json!({"name": format!("Party \"{i}\" ü")})).collect();
    let ids = real.rpc("model.party.party.create", json!([many, {}])).await;
    let ids: Vec<i64> = serde_json::from_value(ids).unwrap();
    real.rpc(
        "model.party.party.write",
        json!([&ids[..3], {"name": "changed", "active": false}, {}]),
    )
    .await;

    let mut after = None;
    let mut rows = 0;
    let mut changed = 0;
    loop {
        let (step, delivered) = real.read(&schema, task(TaskKind::Scan { after })).await;
        for d in &delivered {
            rows += d.batch.rows();
            let name = fields.iter().position(|f| f == "name").unwrap();
            let active = fields.iter().position(|f| f == "active").unwrap();
            for row in 0..d.batch.rows() {
                let id: i64 = d.batch.key(row).unwrap().parse().unwrap();
                if ids[..3].contains(&id) {
                    assert_eq!(d.batch.get(row, name), Some("changed"));
                    assert_eq!(d.batch.get(row, active), Some("false"));
                    changed += 1;
                }
            }
        }
        after = delivered.last().and_then(|d| d.position.clone());
        if step == Step::Done {
            break;
        }
        assert_eq!(step, Step::More);
    }
    assert_eq!(changed, 3);
    let (step, _) = real.read(&schema, task(TaskKind::Count { from: None, to: None })).await;
    assert_eq!(step, Step::Counted(rows as u64));
    let (step, delivered) = real.read(&schema, task(TaskKind::Keys { after: None })).await;
    assert_eq!((step, delivered[0].batch.rows()), (Step::Done, rows));
    // Created and never changed, and changed: both are in the window, the old ones are not.
    let to: Time = before.checked_add(SignedDuration::from_hours(1)).unwrap();
    let window = |after| task(TaskKind::Window { from: before, to, after });
    let (step, first) = real.read(&schema, window(None)).await;
    assert_eq!(step, Step::More);
    let (step, second) = real.read(&schema, window(first[0].position.clone())).await;
    assert_eq!(step, Step::Done);
    assert_eq!(first[0].batch.rows() + second[0].batch.rows(), 1500);
    let (_, none) = real
        .read(
            &schema,
            task(TaskKind::Window {
                from: to,
                to: to + SignedDuration::from_hours(1),
                after: None,
            }),
        )
        .await;
    assert!(none.is_empty());
    let two: Vec<String> = ids[..2].iter().map(i64::to_string).chain(["999999".into()]).collect();
    let (_, delivered) = real.read(&schema, task(TaskKind::Ids { ids: two })).await;
    assert_eq!(delivered[0].batch.rows(), 2);
    let mut wrong = task(TaskKind::Scan { after: None });
    wrong.fields.push("nofield".into());
    let (step, _) = real.read(&schema, wrong).await;
    assert_eq!(
        step,
        Step::Failed(Fault::SchemaMoved {
            object: "party.party".into(),
            field: Some("nofield".into())
        })
    );
    let checks = tryton.checks(real.ctx(), &identity, &asked[..2]).await.unwrap().value;
    assert!(matches!(checks[1].outcome, CheckOutcome::Pass { .. }));
    assert!(!matches!(checks[2].outcome, CheckOutcome::Pass { .. }));
    real.rpc("model.party.party.delete", json!([ids, {}])).await;
    assert_eq!(real.toll.counts().0, real.toll.counts().1);
}

#[tokio::test]
async fn trouble_is_told_by_its_name() {
    let Some(real) = real().await else { return };
    let dead = Session {
        token: SecretString::from(STANDARD.encode("admin:1:0000")),
        base: real.session.base.clone(),
        username: None,
    };
    let ctx = Ctx { session: &dead, toll: &real.toll };
    assert!(matches!(real.tryton.objects(ctx).await, Err(Failure::SessionDead(_))));
    // A user of its own: wrong passwords must not lock out the admin of other tests.
    let login = format!("crmsync-{}", std::process::id());
    let own = SecretString::from("vQ7-lemon-Trk42".to_owned());
    let user = json!([[{"name": "Sync", "login": login, "password": own.expose_secret()}], {}]);
    let uid = real.rpc("model.res.user.create", user).await[0].as_i64().unwrap();
    let session = real.tryton.log_in(&login, &own).await.unwrap();
    let ctx = Ctx { session: &session, toll: &real.toll };
    let identity = real.tryton.identify(ctx).await.unwrap().value;
    assert_eq!(
        (identity.username.as_str(), identity.user_id.clone()),
        (login.as_str(), uid.to_string())
    );
    // Forbid one model to everybody without groups.
    let found = json!([[["model", "=", "ir.cron"]], 0, 1, null, {}]);
    let model = real.rpc("model.ir.model.search", found).await[0].as_i64().unwrap();
    let rule = json!([[{"model": model, "perm_read": false}], {}]);
    let rule = real.rpc("model.ir.model.access.create", rule).await;
    let mine = json!([[["model", "=", model], ["group", "=", null]], 0, 9, null, {}]);
    let all = real.rpc("model.ir.model.access.search", mine).await;
    real.rpc("model.ir.model.access.write", json!([all, {"perm_read": false}, {}])).await;
    let cron = ["ir.cron".to_owned()];
    let checks = real.tryton.checks(ctx, &identity, &cron).await.unwrap().value;
    assert!(
        matches!(&checks[1].outcome, CheckOutcome::Fail { detail, required: true } if detail.contains("not allowed")),
        "{checks:?}"
    );
    assert!(real.tryton.describe(ctx, &cron).await.unwrap().value["ir.cron"].is_none());
    let others: Vec<&Value> = all.as_array().unwrap().iter().filter(|id| **id != rule[0]).collect();
    real.rpc("model.ir.model.access.delete", json!([rule, {}])).await;
    real.rpc("model.ir.model.access.write", json!([others, {"perm_read": true}, {}])).await;
    let refused = real.tryton.log_in(&login, &"wrong".to_owned().into()).await.unwrap_err();
    assert!(
        matches!(&refused, Fault::NeedsAuthorization { reason: Reason::CredentialsChanged, .. }),
        "{refused:?}"
    );
    let off = json!([[uid], {"active": false}, {}]);
    real.rpc("model.res.user.write", off).await;
    let gone = real.tryton.identify(ctx).await.unwrap_err();
    assert!(
        matches!(
            &gone,
            Failure::Fault(Fault::NeedsAuthorization { reason: Reason::UserDeactivated, .. })
        ),
        "{gone:?}"
    );
    let keys = BTreeMap::from([
        ("url".to_owned(), real.url.clone()),
        ("database".to_owned(), "absent".to_owned()),
    ]);
    let absent = Tryton::new(http(), &keys).unwrap();
    let nowhere = absent.log_in("admin", &real.password).await.unwrap_err();
    assert!(matches!(nowhere, Fault::Misconfigured { .. } | Fault::Passing { .. }), "{nowhere:?}");
    eprintln!("absent database: {nowhere}");
}

#[tokio::test]
async fn records_of_a_company_are_seen_by_its_user() {
    let Some(real) = real().await else { return };
    let objects = real.tryton.objects(real.ctx()).await.unwrap().value;
    if !objects.iter().any(|(name, _)| name == "sale.opportunity") {
        eprintln!("NOT TESTED: the module sale_opportunity is not there");
        return;
    }
    let mark = format!("{}", std::process::id());
    let create = async |model: &str, record: Value, context: Value| {
        let ids = real.rpc(&format!("model.{model}.create"), json!([[record], context])).await;
        ids[0].as_i64().unwrap()
    };
    let none = || json!({});
    let currency = create(
        "currency.currency",
        json!({"name": mark, "symbol": "x", "code": &mark[mark.len().saturating_sub(3)..]}),
        none(),
    )
    .await;
    let party = create("party.party", json!({"name": format!("Company {mark}")}), none()).await;
    let company =
        create("company.company", json!({"party": party, "currency": currency}), none()).await;
    let person = create("party.party", json!({"name": "Employee"}), none()).await;
    let employee =
        create("company.employee", json!({"party": person, "company": company}), none()).await;
    let login = format!("company-{mark}");
    let own = SecretString::from("vQ7-lemon-Trk42".to_owned());
    let groups = real.rpc("model.res.group.search", json!([[], 0, null, null, {}])).await;
    let user = json!({"name": "C", "login": login, "password": own.expose_secret(),
        "companies": [["add", [company]]], "company": company, "groups": [["add", groups]]});
    create("res.user", user, none()).await;
    let opportunity = json!({"party": party, "company": company, "employee": employee,
        "description": "big", "amount": {"__class__": "Decimal", "decimal": "1000.10"},
        "start_date": {"__class__": "date", "year": 2026, "month": 1, "day": 2}});
    let context = json!({"company": company, "employee": employee});
    let session = real.tryton.log_in(&login, &own).await.unwrap();
    let ctx = Ctx { session: &session, toll: &real.toll };
    let params = json!([[opportunity], context]);
    let method = "model.sale.opportunity.create";
    let made = rpc::call(&real.tryton, ctx, method, params, About::default()).await.unwrap();
    let id = serde_json::from_str::<Vec<i64>>(&made.result).unwrap()[0];

    let identity = real.tryton.identify(ctx).await.unwrap().value;
    assert_eq!(identity.sight["company"], company.to_string());
    let name = "sale.opportunity".to_owned();
    let described = real.tryton.describe(ctx, std::slice::from_ref(&name)).await.unwrap().value;
    let object = described[&name].clone().unwrap();
    let fields = ["id", "description", "amount", "start_date", "company", "create_date"];
    let task = Task {
        object: name.clone(),
        fields: fields.map(str::to_owned).to_vec(),
        kind: TaskKind::Scan { after: None },
    };
    let schema = Schema { objects: BTreeMap::from([(name, object)]) };
    let calls = real.tryton.calls(&[task], &schema, &QuotaDomain("d".into()), 1);
    let (tx, mut rx) = mpsc::channel(1);
    real.tryton.send(ctx, &calls[0], &schema, tx).await.unwrap();
    let batch = rx.recv().await.unwrap().batch;
    let row: Vec<Option<&str>> = (0..5).map(|c| batch.get(0, c)).collect();
    let (id, company) = (id.to_string(), company.to_string());
    assert_eq!(
        row,
        [Some(id.as_str()), Some("big"), Some("1000.10"), Some("2026-01-02"), Some(&company)]
    );
    assert!(batch.get(0, 5).unwrap().parse::<Time>().is_ok());
}
