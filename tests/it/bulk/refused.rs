//! What the replica refuses of one object is that object's trouble alone.

use super::{Bench, LONG, NAME};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::json;

#[test]
fn a_row_that_the_database_refuses_stops_its_object_alone() {
    let args = ["--records", "Account=5", "--records", "Contact=80"];
    let Some(mut bench) = Bench::new(Engine::Postgres, &args, "", &["Account", "Contact"]) else {
        return;
    };
    bench.begin();
    bench.idle();
    bench.settle();
    bench.same();
    let tamper = |b: &Bench, sql: &str| b.daemon.replica(NAME).tamper(&[sql.to_owned()]);
    tamper(&bench, "alter table contact add constraint no_more check (title <> 'Refused')");
    for (object, field) in [("Contact", "Title"), ("Account", "Phone")] {
        let id = bench.sandbox.dump(object)[0]["Id"].as_str().expect("an id").to_owned();
        bench.sandbox.update(object, &id, &json!({ field: "Refused" }));
    }
    bench.ctl(&["clock", "+120"]);
    eventually_or(LONG, "the other object goes on, and this one is told", || {
        bench.ring();
        let detail = format!("{:#}", bench.daemon.detail(NAME));
        let told = detail.contains("hint: did somebody add a constraint");
        let other = bench.daemon.replica(NAME).differences("account", &bench.source("Account"));
        if told && other.is_empty() { Ok(()) } else { Err(format!("{other:?} {detail}")) }
    });
    assert_eq!(bench.daemon.status(NAME)["status"], "Active");
    tamper(&bench, "alter table contact drop constraint no_more");
    bench.settle();
    bench.same();
    bench.daemon.stop();
}
