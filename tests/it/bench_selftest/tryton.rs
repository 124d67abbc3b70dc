//! Tryton: log-in, records with awkward names, the refusals that connectors must tell apart.

use crate::support::tryton::{self, ADMIN, Tryton, USER};
use crate::support::values::{Cell, Kind};
use serde_json::{Value, json};

#[test]
fn records_go_in_and_come_out() {
    if tryton::missing("records_go_in_and_come_out") {
        return;
    }
    let server = Tryton::start();
    let before = server.dump("party.party").len();
    let ids = server.create_parties(40);
    assert_eq!(ids.len(), 40);
    let opportunity = server.create_opportunity(ids[0], "Angebot \"A\"", "1234.50", "2026-01-31");
    server.create_mechanism(ids[1], "email", "extra@example.test");
    server.create_address(ids[1], "Ring 1", "01067", "Dresden");

    let parties = server.dump("party.party");
    assert_eq!(parties.len(), before + 40);
    assert!(parties.iter().any(|p| p["name"] == "第1有限公司"), "names survive");
    assert!(parties.iter().any(|p| p["name"] == "N/A"));

    // the user that syncs sees the same, and the opportunity only with the company
    let mut user = server.login(USER.0, USER.1).expect("log-in of the user");
    let fields = json!(["amount", "start_date", "state"]);
    let args = [json!([]), json!(0), Value::Null, json!([["id", "ASC"]]), fields];
    let rows = user.call("model.sale.opportunity.search_read", &args).expect("read");
    assert_eq!(rows[0]["id"], json!(opportunity));
    assert_eq!(Kind::Decimal.cell(&rows[0]["amount"]), Cell::Real(1234.5));
    assert_eq!(Kind::Date.cell(&rows[0]["start_date"]), Cell::Text("2026-01-31".into()));
    user.context = json!({});
    server.take_company_away(USER.0);
    let rows = user.call("model.sale.opportunity.search_read", &args).expect("read");
    assert!(rows.as_array().is_some_and(Vec::is_empty), "silently empty without a company: {rows}");

    let source = server.source("sale.opportunity", &["amount", "start_date", "party"]);
    assert_eq!((source.records.len(), source.fields.len()), (1, 4));

    server.delete("party.party", &[ids[7]]);
    assert_eq!(server.dump("party.party").len(), before + 39);
}

#[test]
fn grants_die_as_measured() {
    if tryton::missing("grants_die_as_measured") {
        return;
    }
    let mut server = Tryton::start();
    let count = json!([]);
    let session = server.login(USER.0, USER.1).expect("log-in");

    // a changed password does not end the session; only a new log-in tells
    server.set_password(USER.0, "Zebra-Quilt-91x");
    session
        .call("model.party.party.search_count", std::slice::from_ref(&count))
        .expect("the old session");
    assert_eq!(server.login(USER.0, USER.1).err().expect("refused").status, 401);
    server.login(USER.0, "Zebra-Quilt-91x").expect("the new password");
    server.set_password(USER.0, USER.1);

    // neither does deactivating the user
    server.set_active(USER.0, false);
    session
        .call("model.party.party.search_count", std::slice::from_ref(&count))
        .expect("the old session");
    assert_eq!(server.login(USER.0, USER.1).err().expect("refused").status, 401);
    server.set_active(USER.0, true);
    let session = server.login(USER.0, USER.1).expect("log-in of the active user");

    // a missing right is an error in the body of a 200
    let rules = server.refuse_reads("party.party");
    let refused = session.call("model.party.party.search_count", std::slice::from_ref(&count));
    let read = json!([["id"]]);
    let refused = refused
        .and_then(|_| session.call("model.party.party.read", &[json!([1]), read[0].clone()]))
        .expect_err("reads are refused");
    assert_eq!(refused.status, 200, "{refused:?}");
    server.allow(&rules);
    session
        .call("model.party.party.search_count", std::slice::from_ref(&count))
        .expect("allowed again");

    // a restart keeps database and port
    let port = server.port();
    server.restart();
    assert_eq!(server.port(), port);
    server.login(ADMIN.0, ADMIN.1).expect("log-in after the restart");
}
