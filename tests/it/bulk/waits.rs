//! Jobs that take long: told in `status`, in nobody's way, taking turns.

use super::{BIG, Bench, LONG, NAME, RECORDS, on_both};
use crate::support::values::Engine;
use crate::support::wait::eventually_or;
use serde_json::{Value, json};

on_both!(
    a_slow_job_is_told_and_blocks_nobody,
    more_objects_than_turns,
    pause_stops_looking_and_resume_goes_on,
    clocks_apart_neither_delay_a_look_nor_repeat_it,
);

fn a_slow_job_is_told_and_blocks_nobody(engine: Engine) {
    let args = ["--records", RECORDS, "--records", "Contact=60"];
    let Some(mut bench) = Bench::new(engine, &args, "", &[BIG, "Contact"]) else { return };
    bench.ctl(&["bulk-stuck", "on"]);
    bench.begin();
    let what = "the job is waited for";
    let object = bench.wait_object(BIG, what, |o| o["job"]["says"] == "InProgress");
    let job = &object["job"];
    for key in ["since", "next_look", "gives_up"] {
        assert!(job[key].is_string(), "{key}: {job:#}");
    }
    assert_eq!(bench.daemon.status(NAME)["reason"], "loading");
    let shown = bench.daemon.cli(&["status", NAME]);
    let line = format!("{BIG}: a bulk job reads rows since ");
    let line = shown.out.lines().find(|l| l.starts_with(&line)).unwrap_or_else(|| {
        panic!("no line of the job in\n{}", shown.out);
    });
    assert!(line.contains("next look at") && line.contains("given up at"), "{line}");

    // The other object is there and goes on meanwhile.
    bench.wait_object("Contact", "contacts are followed", |o| o["phase"] == "following");
    for _ in 0..3 {
        bench.ctl(&["touch", "Contact", "7"]);
        bench.ctl(&["create", "Contact", "2"]);
        let source = bench.source("Contact");
        eventually_or(LONG, "contacts are polled while the job waits", || {
            bench.ring();
            let differences = bench.daemon.replica(NAME).differences("contact", &source);
            if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
        });
    }
    let looks = bench.count("bulk_look");
    assert!(looks <= 9, "the waits between looks grow, whoever rings: {looks} looks");
    assert_eq!(bench.rows(BIG), 0);
    assert_eq!(bench.count("bulk_create"), 1);

    bench.ctl(&["bulk-stuck", "off"]);
    bench.idle();
    bench.settle();
    bench.same();
    bench.daemon.stop();
}

fn more_objects_than_turns(engine: Engine) {
    let objects = [BIG, "Campaign", "Case", "Lead", "Task"];
    let records = objects.map(|o| format!("{o}=8010"));
    let args: Vec<&str> = records.iter().flat_map(|r| ["--records", r]).collect();
    let fields = objects.map(|o| format!("{o} = {{ fields = [\"Description\"] }}\n")).concat();
    let Some(mut bench) = Bench::new(engine, &args, "", &objects) else { return };
    bench.daemon.write_config("crmsync.toml", &super::config(&bench.sandbox, "", &fields));
    bench.daemon.api("POST", "/v1/reload", Some(&json!({}))).ok();
    bench.ctl(&["bulk-stuck", "on"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_create", 3);
    let detail = eventually_or(LONG, "all objects are told of", || {
        let detail = bench.daemon.detail(NAME);
        let jobs = |f: &dyn Fn(&Value) -> bool| {
            detail["objects"]
                .as_array()
                .map_or(0, |all| all.iter().filter(|o| f(&o["job"])).count())
        };
        let (asked, waits) =
            (jobs(&|j| j["since"].is_string()), jobs(&|j| j["since"].is_null() && !j.is_null()));
        if (asked, waits) == (3, 2) {
            Ok(detail)
        } else {
            Err(format!("{asked}, {waits}: {detail:#}"))
        }
    });
    assert!(detail.to_string().contains("waits for its turn"), "{detail:#}");
    bench.ring();
    let looks = bench.count("bulk_look");
    bench.sandbox.wait_counter("bulk_look", looks + 3);
    assert_eq!(bench.count("bulk_create"), 3, "no more than three at the same time");
    bench.ctl(&["bulk-stuck", "off"]);
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 5);
    let replica = bench.daemon.replica(NAME);
    for object in objects {
        replica
            .assert_same(&object.to_lowercase(), &bench.sandbox.source(object, &["Description"]));
    }
    bench.daemon.stop();
}

fn pause_stops_looking_and_resume_goes_on(engine: Engine) {
    let Some(mut bench) = Bench::big(engine, 2000) else { return };
    bench.ctl(&["bulk-stuck", "on"]);
    bench.begin();
    bench.sandbox.wait_counter("bulk_look", 2);
    let ask = |verb: &str| {
        let path = format!("/v1/connections/{NAME}/{verb}");
        bench.daemon.api("POST", &path, Some(&json!({}))).ok()
    };
    ask("pause");
    bench.daemon.wait_reason(NAME, "Not syncing", "paused");
    // A run that was under way may still have ended its look.
    eventually_or(LONG, "no call is under way", || {
        let open = bench.ctl(&["counters"]);
        let (call, finished) = (open["call"].as_u64(), open["finished"].as_u64());
        if call == finished { Ok(()) } else { Err(open.to_string()) }
    });
    let looks = bench.count("bulk_look");
    bench.ctl(&["bulk-stuck", "off"]);
    let next = bench.object(BIG)["job"]["next_look"].clone();
    let next: jiff::Timestamp = next.as_str().and_then(|t| t.parse().ok()).expect("a time");
    let past = next + jiff::SignedDuration::from_secs(1);
    eventually_or(LONG, "its look would be due", || {
        if bench.now() > past { Ok(()) } else { Err(next.to_string()) }
    });
    assert_eq!(bench.count("bulk_look"), looks, "paused is paused");
    ask("resume");
    bench.idle();
    assert_eq!(bench.count("bulk_create"), 1, "the job of before was gone on with");
    bench.same();
    bench.daemon.stop();
}

/// The times of looks are the source's; a source whose clock is an hour off is looked at as soon,
/// and no more often.
fn clocks_apart_neither_delay_a_look_nor_repeat_it(engine: Engine) {
    for skew in ["+3600", "-3600"] {
        let Some(mut bench) = Bench::big(engine, 5000) else { return };
        bench.ctl(&["clock", skew]);
        bench.ctl(&["bulk-latency", "3"]);
        bench.begin();
        bench.idle();
        let (looks, asked) = (bench.count("bulk_look"), bench.count("versions"));
        assert!((2..=6).contains(&looks), "{skew}: {looks} looks");
        assert!(asked <= 12, "{skew}: the clock was asked for {asked} times: runs in vain");
        bench.same();
        bench.daemon.stop();
    }
}
