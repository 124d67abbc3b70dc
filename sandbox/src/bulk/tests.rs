//! Jobs against the clock, pages against the whole, and every kind of spoilt page.

use super::*;
use crate::data::{Access, GenSpec, Org, Style};
use crate::reply::Pieces;
use crate::soql::parse;
use proptest::prelude::*;

const STYLE: Style = Style { delimiter: b',', crlf: false };
const SOQL: &str = "SELECT Id, Name, Description__c, Amount__c, SystemModstamp FROM Bench__c";
const USER: &str = "005Dn0000000001IAA";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn org(records: u64) -> Org {
    Org::generate(&GenSpec {
        records: vec![("Bench__c".to_owned(), records)],
        base_time: at(0),
        ..GenSpec::default()
    })
}

fn results(org: &Org, soql: &str) -> Arc<Results> {
    let query = parse(soql).unwrap();
    let export =
        org.export(&query, soql, false, &Access::full(), at(0), RowOrder::Scrambled).unwrap();
    Arc::new(Results::new(export, STYLE))
}

fn page(results: &Arc<Results>, from: usize, to: usize) -> Page {
    Page { results: Arc::clone(results), from, to }
}

fn add(bulk: &mut Bulk, results: &Arc<Results>, soql: &str, now: Timestamp) -> String {
    results.work(usize::MAX);
    let spec = Spec {
        user: USER.to_owned(),
        operation: "query",
        object: "Bench__c".to_owned(),
        version: 64,
        delimiter: "COMMA",
        line_ending: "LF",
        results: Arc::clone(results),
    };
    bulk.add(spec, &parse(soql).unwrap(), now).id.clone()
}

fn state(bulk: &mut Bulk, id: &str, now: Timestamp) -> Option<State> {
    bulk.find(id, USER, now).map(|job| job.state())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pages_make_the_whole_written_ahead_or_not(records in 0_u64..1800, size in 1_usize..700) {
        let org = org(records);
        let ahead = results(&org, SOQL);
        let lazy = results(&org, SOQL);
        let held = ahead.work(usize::MAX);
        prop_assert_eq!(lazy.work(10), 0, "ten bytes are too few for it");
        prop_assert!(lazy.ready());
        let whole = page(&ahead, 0, ahead.len()).whole();
        prop_assert_eq!(whole.len(), ahead.header().len() + held);
        for results in [&ahead, &lazy] {
            let mut joined = results.header();
            for from in (0..results.len()).step_by(size) {
                let page = page(results, from, results.len().min(from + size));
                joined.extend(page.whole().split_off(results.header().len()));
            }
            prop_assert!(joined == whole);
        }
        ahead.forget();
        prop_assert!(page(&ahead, 0, ahead.len()).whole() == whole);
    }
}

#[test]
fn a_page_without_rows_has_no_pieces() {
    let results = results(&org(0), SOQL);
    assert_eq!(page(&results, 0, 0).piece(0), None);
    assert_eq!(page(&results, 0, 0).whole(), results.header());
}

#[test]
fn every_spoilt_page_is_wrong_in_its_own_way() {
    let results = results(&org(900), SOQL);
    let page = page(&results, 100, 700);
    let good = page.whole();
    let columns = |body: &[u8]| -> Result<usize, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(body);
        let rows: Result<Vec<csv::StringRecord>, csv::Error> = reader.records().collect();
        rows.map(|rows| rows.len()).map_err(|error| error.to_string())
    };
    assert_eq!(columns(&good), Ok(600));
    let spoilt = |name: &str| {
        let (reply, rows) = Form::named(name).unwrap().spoil(&page);
        assert_eq!(reply.status, 200);
        assert!(name == "count" || reply.body != good, "{name}");
        (reply.body, rows, reply.content_type)
    };
    let (body, rows, _) = spoilt("columns");
    assert!(columns(&body).unwrap_err().contains("4 fields"), "{:?}", columns(&body));
    assert_eq!(rows, 600);
    let (body, _, _) = spoilt("truncated");
    assert!(body.len() < good.len() && good.starts_with(&body));
    assert!(columns(&body).is_err(), "within a row");
    let (body, _, _) = spoilt("utf8");
    assert!(std::str::from_utf8(&body).is_err());
    assert_eq!(body.len(), good.len() + 1);
    let (body, _, _) = spoilt("nul");
    assert_eq!(body.split(|byte| *byte == 0).count(), 2, "one NUL");
    assert_eq!(columns(&body), Ok(600), "a value like any other but for the NUL");
    let (body, rows, _) = spoilt("count");
    assert_eq!((body == good, rows), (true, 601));
    assert_eq!(spoilt("empty").0, b"");
    let (body, _, _) = spoilt("header");
    let header = results.header().len();
    assert!(body.ends_with(&good[header..]) && !body.starts_with(&good[..header]));
    assert!(spoilt("html").2.starts_with("text/html"));
    assert!(Form::named("nonsense").unwrap_err().contains("truncated"));
}

#[test]
fn a_job_goes_its_way_by_the_clock() {
    let org = org(10);
    let results = results(&org, SOQL);
    let mut bulk = Bulk::new(usize::MAX, RowOrder::Scrambled);
    bulk.switches.latency_ms = 8_000;
    let id = add(&mut bulk, &results, SOQL, at(0));
    assert_eq!(id.len(), 18);
    assert!(id.starts_with("750"));
    for (second, wanted) in [
        (0, State::UploadComplete),
        (1, State::UploadComplete),
        (2, State::InProgress),
        (7, State::InProgress),
        (8, State::JobComplete),
        (7 * 86_400 + 7, State::JobComplete),
    ] {
        assert_eq!(state(&mut bulk, &id, at(second)), Some(wanted), "{second}");
    }
    assert_eq!(bulk.find(&id, "005Dn0000000002IAA", at(8)).map(|_| ()), None, "another's");
    assert_eq!(state(&mut bulk, &id, at(7 * 86_400 + 8)), None, "seven days after its end");
    assert_eq!(Arc::strong_count(&results), 1, "nothing holds the rows any more");
    // ORDER BY and LIMIT cannot be cut into chunks.
    let id = add(&mut bulk, &results, "SELECT Id FROM Bench__c LIMIT 10", at(0));
    assert_eq!(state(&mut bulk, &id, at(31)), Some(State::InProgress));
    assert_eq!(state(&mut bulk, &id, at(32)), Some(State::JobComplete));
    assert_eq!(bulk.find(&id, USER, at(32)).unwrap().whole()["isPkChunkingSupported"], false);
}

#[test]
fn a_stuck_job_goes_on_from_when_it_was_let() {
    let org = org(10);
    let results = results(&org, SOQL);
    let mut bulk = Bulk::new(usize::MAX, RowOrder::Scrambled);
    bulk.switches.stuck = true;
    let id = add(&mut bulk, &results, SOQL, at(0));
    assert_eq!(state(&mut bulk, &id, at(30 * 86_400)), Some(State::InProgress));
    assert_eq!(bulk.expire(None, at(30 * 86_400)), 0, "it has no results yet");
    bulk.clear(at(30 * 86_400));
    assert_eq!(state(&mut bulk, &id, at(30 * 86_400)), Some(State::JobComplete));
    assert!(!bulk.find(&id, USER, at(30 * 86_400)).unwrap().abort(at(30 * 86_400)));
    assert_eq!(bulk.expire(Some(&id), at(30 * 86_400)), 1);
    assert_eq!(state(&mut bulk, &id, at(30 * 86_400)), None);
}

#[test]
fn jobs_fail_as_armed() {
    let org = org(50);
    let results = results(&org, SOQL);
    let mut bulk = Bulk::new(usize::MAX, RowOrder::Scrambled);
    let fail = |left, object: Option<&str>| NextFail {
        left,
        object: object.map(str::to_owned),
        message: "no".to_owned(),
    };
    bulk.switches.fail = vec![fail(2, Some("bench__C")), fail(1, Some("Account"))];
    let limit = |days, rows| TooMuch { days, rows, object: None, message: "narrow it".to_owned() };
    let windowed = format!(
        "{SOQL} WHERE SystemModstamp >= {} AND SystemModstamp < {}",
        at(-5 * 86_400),
        at(0)
    );
    let ends = |bulk: &mut Bulk, soql: &str| {
        let id = add(bulk, &results, soql, at(0));
        let shown = bulk.find(&id, USER, at(1)).unwrap().whole();
        (
            shown["state"].as_str().unwrap().to_owned(),
            shown["errorMessage"].as_str().map(str::to_owned),
        )
    };
    let failed = |why: &str| ("Failed".to_owned(), Some(why.to_owned()));
    let complete = ("JobComplete".to_owned(), None);
    assert_eq!(ends(&mut bulk, SOQL), failed("no"));
    assert_eq!(ends(&mut bulk, SOQL), failed("no"));
    assert_eq!(ends(&mut bulk, SOQL), complete);
    bulk.switches.too_much = vec![limit(Some(4.0), None)];
    assert_eq!(ends(&mut bulk, SOQL), failed("narrow it"), "no window at all");
    assert_eq!(ends(&mut bulk, &windowed), failed("narrow it"));
    bulk.switches.too_much = vec![limit(Some(5.0), None)];
    assert_eq!(ends(&mut bulk, &windowed), complete);
    bulk.switches.too_much = vec![limit(None, Some(49))];
    assert_eq!(ends(&mut bulk, &windowed), failed("narrow it"));
    bulk.switches.too_much = vec![limit(None, Some(50))];
    assert_eq!(ends(&mut bulk, &windowed), complete);
}

#[test]
fn memory_goes_to_the_newest_results() {
    let org = org(2_000);
    let (old, new) = (results(&org, SOQL), results(&org, SOQL));
    let most = old.work(usize::MAX);
    let whole = page(&old, 0, old.len()).whole();
    let mut bulk = Bulk::new(most + most / 2, RowOrder::Scrambled);
    bulk.hold(Arc::clone(&old), most);
    bulk.hold(Arc::clone(&new), new.work(usize::MAX));
    assert_eq!(bulk.held.iter().map(|(_, bytes)| bytes).sum::<usize>(), most);
    assert!(Arc::ptr_eq(&bulk.held[0].0, &new));
    assert!(page(&old, 0, old.len()).whole() == whole, "the old ones are still there");
}

#[test]
fn the_daily_jobs_run_out_and_come_back() {
    let mut bulk = Bulk::new(usize::MAX, RowOrder::Scrambled);
    bulk.daily.set(at(0), Some(1), Some(2));
    assert_eq!(bulk.charge(at(0)), Ok(()));
    let error = bulk.charge(at(1)).unwrap_err();
    assert_eq!((error.status, error.code), (400, "LIMIT_EXCEEDED"));
    assert_eq!(error.message, "Max bulk v2 query jobs (2) per 24 hrs has been reached (2)");
    assert_eq!(bulk.charge(at(86_400 + 61)), Ok(()));
}
