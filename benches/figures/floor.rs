//! The floor: what `curl` and the database's own import need for the CSV of a finished job.
//!
//! Creating the job and waiting for it is not timed. Text columns, a primary key on Id, nothing
//! typed. The commands are run by `bash` as they are printed.

use crate::lab::Lab;
use crate::report::Report;
use crate::support::Scratch;
use crate::support::http;
use crate::support::postgres;
use crate::support::wait::eventually_or;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

/// The object that is loaded.
pub const OBJECT: &str = "Account";
/// Thirty of its fields: ids, texts, dates, numbers, flags, in a usual mixture.
pub const FIELDS: [&str; 30] = [
    "Id",
    "IsDeleted",
    "SystemModstamp",
    "CreatedDate",
    "LastModifiedDate",
    "CreatedById",
    "LastModifiedById",
    "OwnerId",
    "Name",
    "Type",
    "ParentId",
    "Budget__c",
    "BillingCity",
    "BillingState",
    "BillingPostalCode",
    "BillingLongitude",
    "BillingLatitude",
    "Phone",
    "Fax",
    "Rank__c",
    "Discount__c",
    "Industry",
    "AnnualRevenue",
    "NumberOfEmployees",
    "Rating",
    "Contract_Start__c",
    "Last_Contacted__c",
    "Score__c",
    "Verified__c",
    "Ext_Key__c",
];

const CURL: &str = r#"curl -sS --fail -H "Authorization: Bearer $TOKEN" -o page.csv "$RESULTS?maxRecords=$RECORDS""#;
const SQLITE: &str = r#"sqlite3 floor.db "CREATE TABLE floor ($COLUMNS)"
sqlite3 floor.db ".mode csv" ".import --skip 1 page.csv floor""#;
const POSTGRES: &str = r#"psql -X -q "$DATABASE" -c "CREATE TABLE floor ($COLUMNS)" -c "\copy floor from page.csv with (format csv, header)""#;

/// A finished job of the source, whose result is read again and again.
pub struct Job {
    results: String,
    token: String,
    records: usize,
}

impl Job {
    /// Creates one and waits for it.
    pub fn finish(lab: &Lab, records: usize) -> Self {
        let token = lab.token();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let jobs = format!("{}/services/data/v64.0/jobs/query", lab.sandbox.http);
        let query = format!("SELECT {} FROM {OBJECT}", FIELDS.join(", "));
        let body = json!({ "operation": "query", "query": query });
        let job = http::post_json(&jobs, &headers, &body).expect(200).json();
        let job = format!("{jobs}/{}", job["id"].as_str().expect("an id"));
        eventually_or(crate::lab::LONG, "the job is complete", || {
            let state = http::request("GET", &job, &headers, b"").expect(200).json();
            if state["state"] == "JobComplete" { Ok(()) } else { Err(state.to_string()) }
        });
        Self { results: format!("{job}/results"), token, records }
    }

    /// Seconds of the whole, and of `curl` alone; into SQLite.
    pub fn sqlite(&self, report: &mut Report) -> Floor {
        report.commands("SQLite", format!("{CURL}\n{SQLITE}"));
        let scratch = Scratch::new("floor");
        let floor = self.run(&scratch, SQLITE, "");
        let mut count = Command::new("sqlite3");
        count.arg(scratch.path().join("floor.db")).arg("SELECT count(*) FROM floor");
        self.check(count);
        floor
    }

    /// The same into PostgreSQL.
    pub fn postgres(&self, report: &mut Report, database: &postgres::Database) -> Floor {
        report.commands("PostgreSQL", format!("{CURL}\n{POSTGRES}"));
        let scratch = Scratch::new("floor");
        let floor = self.run(&scratch, POSTGRES, &database.url());
        let mut count = Command::new("psql");
        count.args(["-X", "-A", "-t", &database.url(), "-c", "SELECT count(*) FROM floor"]);
        self.check(count);
        floor
    }

    fn run(&self, scratch: &Scratch, import: &str, database: &str) -> Floor {
        let columns: Vec<String> = FIELDS.iter().map(|f| format!("{f} text")).collect();
        let columns = format!("{}, PRIMARY KEY (Id)", columns.join(", "));
        let step = |script: &str| {
            let mut bash = Command::new("bash");
            bash.args(["-euc", script]).current_dir(scratch.path());
            bash.env("TOKEN", &self.token).env("RESULTS", &self.results);
            bash.env("RECORDS", self.records.to_string());
            bash.env("COLUMNS", &columns).env("DATABASE", database);
            let begun = Instant::now();
            let status = bash.status().expect("running bash");
            assert!(status.success(), "the floor failed: {script}");
            begun.elapsed()
        };
        let curl = step(CURL);
        let import = step(import);
        let bytes = std::fs::metadata(scratch.path().join("page.csv")).expect("the page").len();
        Floor { curl, import, bytes }
    }

    fn check(&self, mut count: Command) {
        let output = count.output().expect("counting the rows");
        let rows = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(rows, self.records.to_string(), "rows that the floor imported");
    }
}

/// What the floor took.
pub struct Floor {
    /// Of `curl`.
    pub curl: Duration,
    /// Of the import.
    pub import: Duration,
    /// Length of the CSV.
    pub bytes: u64,
}

impl Floor {
    /// Both, in seconds.
    pub fn seconds(&self) -> f64 {
        (self.curl + self.import).as_secs_f64()
    }
}
