//! Bulk jobs, proofs by counting and calculated fields, with the real programs, on each database.
//!
//! What is asserted is what the sandbox counted of calls, what the replica's reader finds, and what
//! `status` says. Objects are as large as a job needs to pay (some eight thousand records).

mod aim;
mod deletes;
mod fields;
mod following;
mod interrupted;
mod kills;
mod load;
mod lost;
mod malformed;
mod merges;
mod proof;
mod quota;
mod refused;
mod slow;
mod trouble;
mod values;
mod waits;

use crate::support::daemon::{Daemon, NOBODY, salesforce};
use crate::support::replica::{Place, Source, column};
use crate::support::sandbox::Sandbox;
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Each behaviour is a function of the database; here it becomes a test for each of them.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(crate::support::values::Engine::Sqlite) })+
        }
        mod postgres {
            $(#[test] fn $name() { super::$name(crate::support::values::Engine::Postgres) })+
        }
    };
}
use on_both;

/// The connection.
const NAME: &str = "sf";
/// For what a busy machine may take long over.
const LONG: Duration = Duration::from_secs(120);
/// The object that is read by a job, and how many records it has.
const BIG: &str = "Product2";
const ROWS: u64 = 8400;
const RECORDS: &str = "Product2=8400";

/// Sandbox and daemon; the load has not begun.
struct Bench {
    daemon: Daemon,
    sandbox: Sandbox,
    objects: Vec<String>,
    describes: BTreeMap<String, Value>,
}

impl Bench {
    /// `args` are those of the sandbox, `keys` lines of the connection's section, `objects` are
    /// read with all fields. None where the database is not installed.
    fn new(engine: Engine, args: &[&str], keys: &str, objects: &[&str]) -> Option<Self> {
        let place = Place::of(engine, "bulk")?;
        let sandbox = Sandbox::start(args);
        let all: Vec<String> = objects.iter().map(|o| format!("{o} = \"all\"\n")).collect();
        let daemon = Daemon::start_in(place, &config(&sandbox, keys, &all.concat()));
        let describes = objects.iter().map(|o| ((*o).to_owned(), sandbox.describe(o))).collect();
        let objects = objects.iter().map(|o| (*o).to_owned()).collect();
        Some(Self { daemon, sandbox, objects, describes })
    }

    /// The usual one: [`BIG`], in pages of so many rows.
    fn big(engine: Engine, page: u64) -> Option<Self> {
        let bench = Self::new(engine, &["--records", RECORDS], "", &[BIG])?;
        bench.ctl(&["bulk-page-rows", &page.to_string()]);
        Some(bench)
    }

    /// The same, loaded, with counters at nought.
    fn loaded(engine: Engine, keys: &str) -> Option<Self> {
        let bench = Self::new(engine, &["--records", RECORDS], keys, &[BIG])?;
        bench.begin();
        bench.idle();
        bench.settle();
        bench.ctl(&["reset-counters"]);
        Some(bench)
    }

    fn ctl(&self, words: &[&str]) -> Value {
        self.sandbox.ctl(words)
    }

    fn count(&self, kind: &str) -> u64 {
        self.sandbox.counter(kind)
    }

    /// The grant is there, and the load begins.
    fn begin(&self) {
        self.daemon.set_secret(NAME, "client_secret", &self.sandbox.client_secret);
        let path = format!("/v1/connections/{NAME}/reauthorize");
        self.daemon.api("POST", &path, Some(&json!({}))).ok();
    }

    fn idle(&self) {
        eventually_or(LONG, "the load is in", || {
            let status = self.daemon.status(NAME);
            let idle = status["status"] == "Active" && status["reason"] == "idle";
            if idle { Ok(()) } else { Err(format!("{:#}", self.daemon.detail(NAME))) }
        });
    }

    /// Asks for a run; what becomes of it is the caller's matter.
    fn ring(&self) {
        let path = format!("/v1/connections/{NAME}/sync");
        self.daemon.api("POST", &path, Some(&json!({})));
    }

    /// Rings until it is as wished: past whatever makes a run wait before it tries again.
    fn ring_until(&self, what: &str, wish: impl Fn(&Self) -> bool) {
        eventually_or(LONG, what, || {
            if wish(self) {
                return Ok(());
            }
            self.ring();
            std::thread::sleep(Duration::from_millis(100));
            Err(format!("{:#}\n{}", self.daemon.detail(NAME), self.sandbox.counters()))
        });
    }

    /// The source's clock.
    fn now(&self) -> jiff::Timestamp {
        self.ctl(&["state"])["now"].as_str().and_then(|t| t.parse().ok()).expect("a time")
    }

    /// Runs until changes and deletes up to this moment are in. The source's log of deletes covers
    /// whole minutes, so its clock is moved past the next two.
    fn settle(&self) {
        let now = self.now();
        self.ctl(&["clock", "+120"]);
        eventually_or(LONG, "it has caught up", || {
            self.daemon.sync(NAME);
            let status = self.daemon.status(NAME);
            let past = |key: &str| {
                let time: Option<jiff::Timestamp> =
                    status[key].as_str().and_then(|t| t.parse().ok());
                time.is_some_and(|t| t > now)
            };
            let done = past("caught_up_to") && past("deletes_to");
            if done { Ok(()) } else { Err(format!("{:#}", self.daemon.detail(NAME))) }
        });
    }

    /// Every object is equal to its source, value by value.
    fn same(&self) {
        for object in &self.objects {
            self.same_object(object);
        }
    }

    fn same_object(&self, object: &str) {
        self.daemon.replica(NAME).assert_same(&column(object), &self.source(object));
    }

    fn source(&self, object: &str) -> Source {
        Source::salesforce(&self.describes[object], &[], self.sandbox.dump(object))
    }

    /// Rows of a table, whatever they are marked as; 0 where there is none yet.
    fn rows(&self, object: &str) -> u64 {
        let sql = format!("select count(*) as n from {}", column(object));
        match self.daemon.replica(NAME).try_query(&sql).as_deref() {
            Ok([row]) => match row.get("n") {
                Some(crate::support::values::Cell::Int(n)) => u64::try_from(*n).expect("a count"),
                other => panic!("{other:?}"),
            },
            _ => 0,
        }
    }

    /// What `status` says of an object; null while nothing is known of it.
    fn object(&self, name: &str) -> Value {
        let detail = self.daemon.detail(NAME);
        let list = detail["objects"].as_array().cloned().unwrap_or_default();
        list.into_iter().find(|o| o["name"] == name).unwrap_or(Value::Null)
    }

    fn wait_object(&self, name: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
        eventually_or(LONG, what, || {
            let object = self.object(name);
            if wish(&object) { Ok(object) } else { Err(format!("{:#}", self.daemon.detail(NAME))) }
        })
    }

    /// Queries so far, but for the one that asks who answers and composites.
    fn queries(&self) -> u64 {
        let all = ["query", "query_all", "query_more"].map(|kind| self.count(kind));
        all.iter().sum::<u64>().saturating_sub(1)
    }

    /// The stories of the last runs, as one text.
    fn story(&self) -> String {
        self.daemon.detail(NAME)["runs"].to_string()
    }
}

/// `crmsync.toml` with the one connection; `objects` are lines of its table of objects.
fn config(sandbox: &Sandbox, keys: &str, objects: &str) -> String {
    let head = salesforce(NAME, sandbox, "every 1h");
    format!(
        "{NOBODY}{head}auth = \"client-credentials\"\n{keys}\n\n[connections.{NAME}.objects]\n{objects}"
    )
}

/// Pages of so many rows that a result of [`ROWS`] has.
fn pages(of: u64) -> u64 {
    ROWS.div_ceil(of)
}
