//! A real Tryton 6.0 (Debian packages) on SQLite, for each test on a copy of its own.
//!
//! Hides the set-up: the database with party, company and `sale_opportunity`, one company and one
//! user `crmsync`, is prepared once (half a minute), kept below the target folder under a name
//! made from the versions of the packages, and guarded by a file lock. Starting a server on a copy
//! takes about a second. Facts of the protocol are measured ones: 6.0 answers missing rights with
//! 200 and an error in the body, and a running session outlives its user.

pub mod rpc;

use super::proc::{Proc, run};
use super::replica::Source;
use super::wait::START;
use super::{Scratch, ports, skip};
use rpc::{Rpc, date, decimal};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The name of the database, hence the path of the URL.
pub const DB: &str = "t6";
/// The administrator.
pub const ADMIN: (&str, &str) = ("admin", "admin-Pa55word");
/// The user that syncs: groups of the sales, the company's employee.
pub const USER: (&str, &str) = ("crmsync", "sync-Pa55word-1");
/// Change it when the preparation changes: older prepared databases are then left alone.
const RECIPE: u32 = 1;
const MODULES: [&str; 3] = ["party", "company", "sale_opportunity"];

/// A running server and its folder.
pub struct Tryton {
    proc: Option<Proc>,
    scratch: Scratch,
    port: u16,
    /// A session of the administrator.
    pub admin: Rpc,
    /// The company made at preparation.
    pub company: i64,
    /// The employee that both users are.
    pub employee: i64,
}

/// True when the caller should return: Tryton is not installed (said loudly).
pub fn missing(test: &str) -> bool {
    let absent = !Path::new("/usr/bin/trytond").exists();
    skip(test, absent, "needs tryton-server, tryton-modules-party, -company and -sale-opportunity")
}

impl Tryton {
    /// A server on a fresh copy of the prepared database.
    pub fn start() -> Self {
        let prepared = prepared();
        let scratch = Scratch::new("tryton");
        fs::copy(&prepared, scratch.path().join("t6.sqlite")).expect("copying the database");
        let port = ports::free_port();
        let proc = serve(scratch.path(), port);
        let admin = Rpc::login(&url(port), DB, ADMIN.0, ADMIN.1).expect("log-in of the admin");
        let mut tryton = Self { proc: Some(proc), scratch, port, admin, company: 0, employee: 0 };
        tryton.company = tryton.only_id("company.company");
        tryton.employee = tryton.only_id("company.employee");
        tryton.admin.context =
            json!({"company": tryton.company, "employee": tryton.employee, "active_test": false});
        tryton
    }

    fn only_id(&self, model: &str) -> i64 {
        let ids = self.admin.call(&format!("model.{model}.search"), &[json!([])]);
        ids.expect("search")[0].as_i64().expect("an id")
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with the database and the logs.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A new log-in of any user.
    pub fn login(&self, user: &str, password: &str) -> Result<Rpc, rpc::Refusal> {
        let mut rpc = Rpc::login(&self.url(), DB, user, password)?;
        rpc.context = self.admin.context.clone();
        Ok(rpc)
    }

    /// Stops the server; connections are then refused.
    pub fn stop(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.terminate(Duration::from_secs(10));
        }
    }

    /// Starts it again on the same port and database; sessions live in the database and go on.
    pub fn restart(&mut self) {
        self.stop();
        self.proc = Some(serve(self.scratch.path(), self.port));
    }

    /// Creates `n` parties with awkward names (quotes, scripts, odd blanks, very long; Tryton itself
    /// refuses line breaks in a name, the streets of addresses have them); each third is given an e-mail and a telephone, each fourth an address. Returns the ids.
    pub fn create_parties(&self, n: usize) -> Vec<i64> {
        let mut ids = Vec::with_capacity(n);
        let all: Vec<usize> = (0..n).collect();
        for chunk in all.chunks(500) {
            let rows: Vec<Value> = chunk.iter().map(|i| party(*i)).collect();
            ids.extend(self.create("party.party", &rows));
        }
        ids
    }

    /// Creates records of any model and returns their ids.
    pub fn create(&self, model: &str, rows: &[Value]) -> Vec<i64> {
        let ids = self.admin.call(&format!("model.{model}.create"), &[json!(rows)]);
        let ids = ids.unwrap_or_else(|e| panic!("creating {model}: {e:?}"));
        serde_json::from_value(ids).expect("a list of ids")
    }

    /// An e-mail, phone, website … of a party.
    pub fn create_mechanism(&self, party: i64, kind: &str, value: &str) -> i64 {
        self.create(
            "party.contact_mechanism",
            &[json!({"party": party, "type": kind, "value": value})],
        )[0]
    }

    /// An address of a party.
    pub fn create_address(&self, party: i64, street: &str, zip: &str, city: &str) -> i64 {
        let row = json!({"party": party, "street": street, "postal_code": zip, "city": city});
        self.create("party.address", &[row])[0]
    }

    /// An opportunity of the company; `amount` is decimal text, `start` a date `YYYY-MM-DD`.
    pub fn create_opportunity(&self, party: i64, text: &str, amount: &str, start: &str) -> i64 {
        let row = json!({
            "party": party, "company": self.company, "employee": self.employee,
            "description": text, "amount": decimal(amount), "start_date": date(start),
        });
        self.create("sale.opportunity", &[row])[0]
    }

    /// Writes values into records.
    pub fn write(&self, model: &str, ids: &[i64], values: &Value) {
        self.admin
            .call(&format!("model.{model}.write"), &[json!(ids), values.clone()])
            .unwrap_or_else(|e| panic!("writing {model} {ids:?}: {e:?}"));
    }

    /// Deletes records for good: Tryton keeps no trace of them.
    pub fn delete(&self, model: &str, ids: &[i64]) {
        self.admin
            .call(&format!("model.{model}.delete"), &[json!(ids)])
            .unwrap_or_else(|e| panic!("deleting {model} {ids:?}: {e:?}"));
    }

    fn user_id(&self, login: &str) -> i64 {
        let found = self.admin.call("model.res.user.search", &[json!([["login", "=", login]])]);
        found.expect("search")[0].as_i64().unwrap_or_else(|| panic!("no user {login}"))
    }

    /// Gives a user another password; sessions that run go on.
    pub fn set_password(&self, login: &str, password: &str) {
        self.write("res.user", &[self.user_id(login)], &json!({"password": password}));
    }

    /// Deactivates a user (or wakes him again); sessions that run go on.
    pub fn set_active(&self, login: &str, active: bool) {
        self.write("res.user", &[self.user_id(login)], &json!({"active": active}));
    }

    /// Takes the company (and the employee) away from a user: he then sees none of its records,
    /// and nothing says so. The answer to a read is an empty list.
    pub fn take_company_away(&self, login: &str) {
        let none = json!({
            "employee": null, "employees": [["remove", [self.employee]]],
            "company": null, "companies": [["remove", [self.company]]],
        });
        self.write("res.user", &[self.user_id(login)], &none);
    }

    /// Refuses reads of a model to everybody without a special group: reads of it are answered
    /// with 200 and a `UserError`. Returns the ids of the rules, for [`Tryton::allow`].
    pub fn refuse_reads(&self, model: &str) -> Vec<i64> {
        let found = self.admin.call("model.ir.model.search", &[json!([["model", "=", model]])]);
        let model_id = found.expect("search")[0].as_i64().expect("the model's id");
        let old = self
            .admin
            .call("model.ir.model.access.search", &[json!([["model", "=", model_id]])])
            .expect("search");
        let old: Vec<i64> = serde_json::from_value(old).expect("ids");
        if !old.is_empty() {
            self.write("ir.model.access", &old, &json!({"active": false}));
        }
        let row = json!({"model": model_id, "perm_read": false, "perm_write": false,
                         "perm_create": false, "perm_delete": false});
        self.create("ir.model.access", &[row])
    }

    /// Takes rules of [`Tryton::refuse_reads`] away.
    pub fn allow(&self, rules: &[i64]) {
        self.delete("ir.model.access", rules);
    }

    /// The fields of a model with their types, as Tryton describes them.
    pub fn describe(&self, model: &str) -> Value {
        self.admin.call(&format!("model.{model}.fields_get"), &[]).expect("describe")
    }

    /// What the replica of a model is compared with: all fields that have a column of their own,
    /// or the `selected` ones. Calculated fields are among them: Tryton marks them nowhere.
    pub fn source(&self, model: &str, selected: &[&str]) -> Source {
        Source::tryton(&self.describe(model), selected, self.dump(model))
    }

    /// How many records of a model there are, inactive ones too.
    pub fn count(&self, model: &str) -> usize {
        let count = self.admin.call(&format!("model.{model}.search_count"), &[json!([])]);
        let count = count.expect("search_count").as_u64().expect("a number");
        usize::try_from(count).expect("a number of records")
    }

    /// Every row of a model with every stored field, as the administrator sees it, inactive ones
    /// too, in the order of ids: what a replica is compared with.
    pub fn dump(&self, model: &str) -> Vec<Map<String, Value>> {
        let fields = self.describe(model);
        let names: Vec<&String> = fields.as_object().expect("an object of fields").keys().collect();
        let order = json!([["id", "ASC"]]);
        let args = [json!([]), json!(0), Value::Null, order, json!(names)];
        let rows = self.admin.call(&format!("model.{model}.search_read"), &args).expect("dump");
        serde_json::from_value(rows).expect("a list of records")
    }
}

/// The values of party number `i`.
fn party(i: usize) -> Value {
    let name = match i % 12 {
        0 => format!("O'Neil & \"Söhne\" GmbH {i}"),
        1 => format!("第{i}有限公司"),
        2 => format!("  Zeile {i}\u{a0}zwei\u{2028}drei"),
        3 => "N/A".to_owned(),
        4 => format!("مؤسسة {i} العربية"),
        5 => format!("😀 Café {i} 👩‍👩‍👧"),
        6 => format!("Robert'); DROP TABLE party_party;-- {i}"),
        7 => format!("<b>{i}</b> & \\ back\\slash %s {{}}"),
        8 => format!("{i} {}", "lang ".repeat(800)),
        9 => "NULL".to_owned(),
        10 => format!("e\u{301}\u{200b}\u{feff}\u{202e}{i}"),
        _ => format!("Party {i:06}"),
    };
    let mut row = json!({"name": name});
    if i.is_multiple_of(3) {
        row["contact_mechanisms"] = json!([["create", [
            {"type": "email", "value": format!("person{i}@example.test")},
            {"type": "phone", "value": format!("+49 30 {i:06}")},
        ]]]);
    }
    if i.is_multiple_of(4) {
        row["addresses"] = json!([["create", [
            {"street": format!("Straße des 17. Juni {i}\nHinterhaus"), "postal_code": "00042", "city": "Malmö"},
        ]]]);
    }
    row
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn write_conf(dir: &Path, port: u16) -> PathBuf {
    let conf = dir.join("trytond.conf");
    let text = format!(
        "[database]\nuri = sqlite://\npath = {}\n[web]\nlisten = 127.0.0.1:{port}\n",
        dir.display()
    );
    fs::write(&conf, text).expect("writing trytond.conf");
    conf
}

fn serve(dir: &Path, port: u16) -> Proc {
    let conf = write_conf(dir, port);
    let mut command = Command::new("/usr/bin/trytond");
    // `-d` loads the database at start: without it the first calls fail
    command.arg("-c").arg(conf).args(["-d", DB]).current_dir(dir);
    let proc = Proc::start("trytond", command, dir);
    ports::wait_listening(port, "trytond");
    proc
}

/// The prepared database, made by the first caller of all test programs.
fn prepared() -> PathBuf {
    let versions = run(
        {
            let mut c = Command::new("dpkg-query");
            c.args(["-W", "-f", "${Package}=${Version} ", "tryton-server", "tryton-modules-*"]);
            c
        },
        START,
    );
    let name = format!("tryton-{RECIPE}-{:08x}", crc32fast::hash(versions.out.as_bytes()));
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let done = root.join(&name).join("t6.sqlite");
    fs::create_dir_all(root).expect("making the folder of prepared things");
    let lock = File::create(root.join(format!("{name}.lock"))).expect("making the lock file");
    lock.lock().expect("waiting for whoever prepares the Tryton database");
    if !done.exists() {
        prepare(&done);
    }
    done
}

fn prepare(done: &Path) {
    super::loud("preparing the Tryton database, once; it takes half a minute");
    let scratch = Scratch::new("tryton-prepare");
    let dir = scratch.path();
    let port = ports::free_port();
    let conf = write_conf(dir, port);
    scratch.write("t6.sqlite", "");
    let pass = scratch.write("pass", ADMIN.1);
    for args in [
        vec!["--email", "admin@example.test", "--all"],
        [&["-u"], &MODULES[..], &["--activate-dependencies"]].concat(),
    ] {
        let mut command = Command::new("/usr/bin/trytond-admin");
        command.arg("-c").arg(&conf).args(["-d", DB]).args(&args).env("TRYTONPASSFILE", &pass);
        run(command, Duration::from_secs(300)).ok();
    }
    let mut server = serve(dir, port);
    set_up_company(port);
    server.terminate(Duration::from_secs(10));
    let folder = done.parent().expect("a folder");
    fs::create_dir_all(folder).expect("making the folder of the prepared database");
    let part = folder.join("t6.part");
    fs::copy(dir.join("t6.sqlite"), &part).expect("keeping the prepared database");
    fs::rename(part, done).expect("naming the prepared database");
}

/// One company with an employee, who is both the administrator and the user that syncs.
fn set_up_company(port: u16) {
    let mut admin = Rpc::login(&url(port), DB, ADMIN.0, ADMIN.1).expect("log-in of the admin");
    let create = |admin: &Rpc, model: &str, row: Value| -> i64 {
        let ids = admin.call(&format!("model.{model}.create"), &[json!([row])]);
        ids.unwrap_or_else(|e| panic!("setting up {model}: {e:?}"))[0].as_i64().expect("an id")
    };
    let euro = json!({"name": "Euro", "code": "EUR", "symbol": "€"});
    let currency = create(&admin, "currency.currency", euro);
    let own = create(&admin, "party.party", json!({"name": "Example Company"}));
    let person = create(&admin, "party.party", json!({"name": "Ann Example"}));
    let company = create(&admin, "company.company", json!({"party": own, "currency": currency}));
    let join = json!({"companies": [["add", [company]]], "company": company});
    admin.call("model.res.user.write", &[json!([1]), join]).expect("joining the company");
    admin.context = json!({"company": company});
    let employee = create(&admin, "company.employee", json!({"party": person, "company": company}));
    let is = json!({"employees": [["add", [employee]]], "employee": employee});
    admin.call("model.res.user.write", &[json!([1]), is.clone()]).expect("being the employee");
    let groups = json!([["name", "in", ["Sales", "Sale Opportunity"]]]);
    let groups = admin.call("model.res.group.search", &[groups]).expect("search of groups");
    create(
        &admin,
        "res.user",
        json!({
            "name": "Sync", "login": USER.0, "password": USER.1, "email": "sync@example.test",
            "groups": [["add", groups]],
            "companies": [["add", [company]]], "company": company,
            "employees": [["add", [employee]]], "employee": employee,
        }),
    );
}
