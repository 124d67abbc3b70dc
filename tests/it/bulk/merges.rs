//! Records that were merged at the source: the loser goes, and says where to; whatever pointed at
//! it points at the winner.

use super::{Bench, on_both};
use crate::support::replica::column;
use crate::support::values::{Cell, Engine};
use serde_json::Value;

on_both!(
    merged_between_polls,
    merged_and_purged_before_the_next_poll,
    merged_during_a_load_by_a_job,
    losers_are_removed_where_deletes_are,
    out_of_the_bin_again,
);

const SMALL: [&str; 4] = ["--records", "Account=90", "--records", "Contact=400"];

/// Winner and loser.
type Pair = (String, String);

fn merge(bench: &Bench, object: &str, n: usize) -> Vec<Pair> {
    let said = bench.ctl(&["merge", object, &n.to_string()]);
    let text = |pair: &Value, key: &str| pair[key].as_str().expect("an id").to_owned();
    let pairs = said["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), n, "{said}");
    pairs.iter().map(|pair| (text(pair, "winner"), text(pair, "loser"))).collect()
}

/// What the copy has of a record: whether it is live, and the master it names.
fn kept(bench: &Bench, object: &str, id: &str) -> Option<(bool, Option<String>)> {
    let table = column(object);
    let sql = format!("select _deleted_at, masterrecordid from {table} where id = '{id}'");
    let rows = bench.daemon.replica(super::NAME).query(&sql);
    let row = rows.first()?;
    let master = match &row["masterrecordid"] {
        Cell::Text(id) => Some(id.clone()),
        Cell::Null => None,
        other => panic!("{other:?}"),
    };
    Some((row["_deleted_at"] == Cell::Null, master))
}

fn marked(bench: &Bench, object: &str, pairs: &[Pair]) {
    for (winner, loser) in pairs {
        let expected = (false, Some(winner.clone()));
        assert_eq!(kept(bench, object, loser), Some(expected), "{object} {loser}");
        assert_eq!(kept(bench, object, winner), Some((true, None)), "{object} {winner}");
    }
}

/// Live contacts of these accounts.
fn contacts(bench: &Bench, of: impl Iterator<Item = String>) -> i64 {
    let list: Vec<String> = of.map(|id| format!("'{id}'")).collect();
    let list = list.join(",");
    bench.daemon.replica(super::NAME).number(&format!(
        "select count(*) from contact where _deleted_at is null and accountid in ({list})"
    ))
}

fn loaded(engine: Engine, keys: &str) -> Option<Bench> {
    let bench = Bench::new(engine, &SMALL, keys, &["Account", "Contact"])?;
    bench.begin();
    bench.idle();
    bench.settle();
    bench.same();
    Some(bench)
}

fn merged_between_polls(engine: Engine) {
    let Some(mut bench) = loaded(engine, "") else { return };
    let accounts = merge(&bench, "Account", 12);
    let losers = || accounts.iter().map(|(_, loser)| loser.clone());
    let winners = || accounts.iter().map(|(winner, _)| winner.clone());
    let (of_losers, of_winners) = (contacts(&bench, losers()), contacts(&bench, winners()));
    assert!(of_losers > 0, "nobody has an account that was merged");
    let people = merge(&bench, "Contact", 10);
    bench.settle();
    bench.same();
    marked(&bench, "Account", &accounts);
    marked(&bench, "Contact", &people);
    assert_eq!(contacts(&bench, losers()), 0);
    assert!(contacts(&bench, winners()) > of_winners);

    // A winner that loses in its turn; who lost to it is still told so.
    let (again, first) = (&accounts[0], &accounts[1]);
    let (winner, losers) = (format!("winner={}", first.0), format!("losers={}", again.0));
    bench.ctl(&["merge", "Account", &winner, &losers]);
    bench.settle();
    bench.same();
    assert_eq!(kept(&bench, "Account", &again.0), Some((false, Some(first.0.clone()))));
    assert_eq!(kept(&bench, "Account", &again.1), Some((false, Some(again.0.clone()))));
    bench.daemon.stop();
}

/// No query shows the loser any more: the log of deletes tells of it.
fn merged_and_purged_before_the_next_poll(engine: Engine) {
    let Some(mut bench) = loaded(engine, "") else { return };
    let accounts = merge(&bench, "Account", 8);
    let people = merge(&bench, "Contact", 5);
    bench.ctl(&["empty-bin"]);
    assert!(bench.sandbox.dump("Account").iter().all(|r| r["IsDeleted"] == false));
    bench.settle();
    bench.same();
    for (object, pairs) in [("Account", &accounts), ("Contact", &people)] {
        for (winner, loser) in pairs {
            // Nobody could tell any more which record it went into.
            assert_eq!(kept(&bench, object, loser), Some((false, None)), "{object} {loser}");
            assert_eq!(kept(&bench, object, winner), Some((true, None)), "{object} {winner}");
        }
    }
    let losers = accounts.iter().map(|(_, loser)| loser.clone());
    assert_eq!(contacts(&bench, losers), 0);
    bench.daemon.stop();
}

/// The job's result still has the losers alive, and contacts that point at them.
fn merged_during_a_load_by_a_job(engine: Engine) {
    let args = ["--records", "Account=8400", "--records", "Contact=8400"];
    let Some(mut bench) = Bench::new(engine, &args, "", &["Account", "Contact"]) else { return };
    bench.ctl(&["bulk-page-rows", "1200"]);
    bench.ctl(&["slow", "ms=20"]);
    bench.begin();
    let (mut accounts, mut purged) = (vec![], vec![]);
    for n in [1, 4, 8] {
        bench.sandbox.wait_counter("bulk_page", n);
        accounts.extend(merge(&bench, "Account", 15));
        let gone = merge(&bench, "Account", 5);
        let ids: Vec<&str> = gone.iter().map(|(_, loser)| loser.as_str()).collect();
        bench.ctl(&["purge", "Account", &format!("ids={}", ids.join(","))]);
        purged.extend(gone);
        assert_eq!(bench.daemon.status(super::NAME)["caught_up_to"], Value::Null);
    }
    bench.ctl(&["slow", "ms=0"]);
    bench.idle();
    bench.settle();
    bench.same();
    bench.daemon.replica(super::NAME).assert_intact();
    assert_eq!(bench.count("bulk_create"), 2);
    marked(&bench, "Account", &accounts);
    let losers = accounts.iter().chain(&purged).map(|(_, loser)| loser.clone());
    assert_eq!(contacts(&bench, losers), 0);
    for (_, loser) in &purged {
        let live = kept(&bench, "Account", loser).is_some_and(|(live, _)| live);
        assert!(!live, "{loser} is gone for good");
    }
    bench.daemon.stop();
}

fn losers_are_removed_where_deletes_are(engine: Engine) {
    let Some(mut bench) = loaded(engine, "deletes = \"remove\"") else { return };
    let in_bin = merge(&bench, "Account", 5);
    let gone = merge(&bench, "Account", 5);
    let ids: Vec<&str> = gone.iter().map(|(_, loser)| loser.as_str()).collect();
    bench.ctl(&["purge", "Account", &format!("ids={}", ids.join(","))]);
    bench.settle();
    bench.same();
    for (_, loser) in in_bin.iter().chain(&gone) {
        assert_eq!(kept(&bench, "Account", loser), None);
    }
    assert_eq!(bench.rows("Account"), 80);
    bench.daemon.stop();
}

/// The source lets merged records come back too, without what they once had.
fn out_of_the_bin_again(engine: Engine) {
    let Some(mut bench) = loaded(engine, "") else { return };
    let people = merge(&bench, "Contact", 6);
    let deleted = bench.ctl(&["delete", "Contact", "6"])["ids"].clone();
    let deleted: Vec<&str> =
        deleted.as_array().expect("ids").iter().filter_map(Value::as_str).collect();
    bench.settle();
    bench.same();
    let (back, stays) = people.split_at(3);
    let mut ids = deleted[..4].to_vec();
    ids.extend(back.iter().map(|(_, loser)| loser.as_str()));
    bench.ctl(&["undelete", "Contact", &format!("ids={}", ids.join(","))]);
    bench.settle();
    bench.same();
    for id in ids {
        assert_eq!(kept(&bench, "Contact", id), Some((true, None)), "{id}");
    }
    for id in &deleted[4..] {
        assert_eq!(kept(&bench, "Contact", id), Some((false, None)), "{id}");
    }
    for (winner, loser) in stays {
        assert_eq!(kept(&bench, "Contact", loser), Some((false, Some(winner.clone()))), "{loser}");
    }
    bench.daemon.stop();
}
