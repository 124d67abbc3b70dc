//! Fields that change without a stamp, fields that come, and fields that are not let in.

use super::{BIG, Bench, LONG, NAME, ROWS, on_both};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};

on_both!(
    a_formula_that_moved_no_stamp_is_read_again,
    a_large_object_reads_formulas_and_new_fields_by_a_job,
    a_frozen_schema_lets_nothing_in,
);

/// `Contact.Account_Name__c` shows a field of another object: a change of it moves no stamp here.
fn a_formula_that_moved_no_stamp_is_read_again(engine: Engine) {
    let args = ["--records", "Account=5", "--records", "Contact=80"];
    let keys = "calculated = \"1h\"";
    let Some(mut bench) = Bench::new(engine, &args, keys, &["Contact"]) else { return };
    bench.begin();
    bench.idle();
    bench.settle();
    bench.same();
    for account in bench.sandbox.dump("Account") {
        let id = account["Id"].as_str().expect("an id");
        bench.sandbox.update("Account", id, &json!({"Name": format!("Renamed {id}")}));
    }
    let differ = |b: &Bench| b.daemon.replica(NAME).differences("contact", &b.source("Contact"));
    let wrong = differ(&bench);
    assert!(
        !wrong.is_empty() && wrong.iter().all(|d| d.contains(".Account_Name__c: ")),
        "{wrong:?}"
    );
    bench.settle();
    assert_eq!(differ(&bench), wrong, "changes alone do not bring it");

    // Only those columns are read: another one that is wrong here stays as it is.
    bench.daemon.replica(NAME).tamper(&["update contact set title = 'behind its back' \
         where id = (select min(id) from contact)"
        .to_owned()]);
    bench.ctl(&["clock", "+3700"]);
    let before = bench.object("Contact")["calculated_to"].clone();
    bench.daemon.sync(NAME);
    let after = bench.object("Contact")["calculated_to"].clone();
    assert!(after.as_str() > before.as_str(), "{before} {after}");
    let left = differ(&bench);
    assert!(left.len() == 1 && left[0].contains(".Title: "), "{left:?}");
    bench.daemon.stop();
}

fn a_large_object_reads_formulas_and_new_fields_by_a_job(engine: Engine) {
    let Some(mut bench) = Bench::loaded(engine, "calculated = \"1h\"") else { return };
    let (jobs, queries) = (bench.count("bulk_create"), bench.count("query"));
    bench.ctl(&["clock", "+3700"]);
    let begun = bench.now();
    bench.ring();
    bench.wait_object(BIG, "formulas are read again", |o| {
        let to = o["calculated_to"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        to.is_some_and(|t| t.as_second() >= begun.as_second() - 1)
    });
    assert_eq!(bench.count("bulk_create"), jobs + 1);
    assert_eq!(bench.count("query"), queries, "nothing by queries");

    // A new field: its values come by a job, for the rows that are here.
    bench.ctl(&["field", "add", BIG, "Shoe_Size__c", "double"]);
    let touched = bench.ctl(&["touch", BIG, "30"])["ids"].clone();
    for (id, size) in touched.as_array().expect("ids").iter().take(5).zip(38_i32..) {
        bench.sandbox.update(
            BIG,
            id.as_str().expect("an id"),
            &json!({"Shoe_Size__c": f64::from(size) + 0.5}),
        );
    }
    bench.ring();
    bench.sandbox.wait_counter("bulk_create", jobs + 2);
    bench.settle();
    bench.wait_object(BIG, "the new field is filled", |o| {
        o["phase"] == "following" && o["job"].is_null()
    });
    bench.daemon.replica(NAME).assert_same("product2", &bench.sandbox.source(BIG, &[]));
    let filled = "select count(*) from product2 where shoe_size__c is not null";
    assert_eq!(bench.daemon.replica(NAME).number(filled), 5);
    assert_eq!(bench.rows(BIG), ROWS);
    bench.daemon.stop();
}

fn a_frozen_schema_lets_nothing_in(engine: Engine) {
    let args = ["--records", "Contact=60"];
    let keys = "schema = \"freeze\"";
    let Some(mut bench) = Bench::new(engine, &args, keys, &["Contact"]) else { return };
    bench.begin();
    bench.idle();
    bench.ctl(&["field", "add", "Contact", "Shoe_Size__c", "double"]);
    bench.ctl(&["field", "retype", "Contact", "Department", "textarea"]);
    bench.ctl(&["touch", "Contact", "5"]);
    bench.settle();
    let columns = bench.daemon.replica(NAME).query("select * from contact limit 1");
    assert!(!columns[0].contains_key("shoe_size__c"), "{:?}", columns[0].keys());
    let notices = eventually_or(LONG, "it is told", || {
        let text = bench.daemon.api("GET", &format!("/v1/notices?name={NAME}"), None).ok();
        let told = text.to_string().contains("Contact.Shoe_Size__c");
        if told { Ok(text.to_string()) } else { Err(format!("{text:#}")) }
    });
    assert_eq!(notices.matches("Contact.Shoe_Size__c came").count(), 1, "{notices}");
    bench.daemon.sync(NAME);
    let notices = bench.daemon.api("GET", "/v1/notices?all=true", None).ok().to_string();
    assert_eq!(notices.matches("Contact.Shoe_Size__c came").count(), 1, "told once: {notices}");
    assert_eq!(bench.daemon.status(NAME)["reason"], "idle");

    // Asked for by name it comes in, whatever is frozen.
    let fields = "Contact = { fields = [\"LastName\", \"Shoe_Size__c\"] }\n";
    let text = super::config(&bench.sandbox, keys, fields);
    bench.daemon.write_config("crmsync.toml", &text);
    bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    bench.settle();
    let source = bench.sandbox.source("Contact", &["LastName", "Shoe_Size__c"]);
    bench.daemon.replica(NAME).assert_same("contact", &source);
    let open = bench.daemon.api("GET", &format!("/v1/notices?name={NAME}"), None).ok();
    assert!(!open.to_string().contains("Contact.Shoe_Size__c came"), "{open:#}");
    assert_eq!(bench.object("Contact")["trouble"], Value::Null);
    bench.daemon.stop();
}
