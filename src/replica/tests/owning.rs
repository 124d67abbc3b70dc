//! Whose replica it is: claims, adoption, fences.

use super::*;
use crate::replica::ReplicaError;
use rusqlite::types::Value::Integer;

const AT: &str = "2024-05-01T10:00:00Z";

fn an_existing_replica_is_adopted_with_its_states(base: Base) {
    let mut bed = Bed::account(base);
    let state = |bed: &mut Bed, state| bed.write(Change::State { object: "Account", state });
    state(&mut bed, r#"{"cursor":1}"#);
    assert_eq!(state(&mut bed, r#"{"cursor":2}"#).changed, 1);
    assert_eq!(state(&mut bed, r#"{"cursor":2}"#).changed, 0);
    let Bed { replica, place, dir: _dir, .. } = bed;
    replica.close().unwrap();
    let mut replica = open(&place);
    assert_eq!(replica.owner().unwrap(), Some(owner()));
    assert_eq!(replica.states().unwrap()["Account"], r#"{"cursor":2}"#);
    assert_eq!(replica.objects(), ["Account"]);
    // A lost store knows another connection: it adopts on purpose, with the next epoch.
    let adopter = |epoch| Owner { connection: "c2".into(), epoch, ..owner() };
    assert!(matches!(replica.claim(&adopter(1)), Err(ReplicaError::NotOurs { .. })));
    replica.claim(&adopter(2)).unwrap();
    assert_eq!(replica.owner().unwrap(), Some(adopter(2)));
}

fn another_org_and_an_older_owner_are_refused(base: Base) {
    let mut bed = Bed::account(base);
    for other in [
        Owner { org_id: "00D000000000002".into(), epoch: 9, ..owner() },
        Owner { provider: "tryton".into(), epoch: 9, ..owner() },
        Owner { epoch: 0, ..owner() },
    ] {
        let refused = bed.replica.claim(&other).unwrap_err();
        assert!(matches!(refused, ReplicaError::NotOurs { .. }), "{refused}");
        assert!(refused.to_string().contains("hint: "), "{refused}");
    }
    assert_eq!(bed.replica.owner().unwrap(), Some(owner()));
    // A later owner takes it: whoever had it before writes nothing more.
    let mut later = open(&bed.place);
    later.claim(&Owner { epoch: 2, connection: "c9".into(), ..owner() }).unwrap();
    let fields = strings(&["Id"]);
    let some = keys(&["1"]);
    let mode = Mode::Upsert;
    let rows = Change::Rows { object: "Account", fields: &fields, batch: &some, mode, at: t(AT) };
    let refused = bed.replica.write(&[rows]).unwrap_err();
    assert!(matches!(refused, ReplicaError::NotOurs { .. }), "{refused}");
    assert!(bed.replica.lay_out(&schema("Lead", &KINDS), &fields, t(AT)).is_err());
    assert_eq!(later.counts("Account").unwrap().live, 0);
    assert_eq!(later.write(&[rows]).unwrap()[0].inserted, 1);
    assert_eq!(bed.one("SELECT count(*) FROM account"), Integer(1));
}

fn nothing_is_written_before_a_claim(base: Base) {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = open(&place(base, dir.path()));
    assert_eq!(replica.owner().unwrap(), None);
    let refused = replica.write(&[Change::State { object: "A", state: "{}" }]);
    assert!(matches!(refused, Err(ReplicaError::Bug { .. })));
    let laid = replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT));
    assert!(matches!(laid, Err(ReplicaError::Bug { .. })));
    assert!(replica.states().unwrap().is_empty());
}

fn a_place_is_moved_and_removed_as_a_whole(base: Base) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = match place(base, dir.path()) {
        Place::File(path) => (Place::File(path.clone()), Place::File(path.with_file_name("to.db"))),
        Place::Schema { server, schema } => {
            let to = Place::Schema { server: Arc::clone(&server), schema: format!("{schema}_to") };
            (Place::Schema { server, schema }, to)
        }
    };
    let exists = |place: &Place| crate::replica::exists(place).unwrap();
    crate::replica::rename(&from, &to).unwrap();
    assert!(!exists(&from) && !exists(&to));
    let mut replica = claimed(&from);
    replica.lay_out(&schema("Account", &KINDS), &names(&KINDS), t(AT)).unwrap();
    replica.close().unwrap();
    // Twice, as after a crash between the move and its note.
    for _ in 0..2 {
        crate::replica::rename(&from, &to).unwrap();
        assert!(!exists(&from) && exists(&to));
    }
    let mut other = claimed(&from);
    other.write(&[Change::State { object: "A", state: "1" }]).unwrap();
    crate::replica::rename(&from, &to).unwrap();
    assert!(exists(&from), "a place that is taken is not written over");
    assert_eq!(open(&to).objects(), ["Account"]);
    for _ in 0..2 {
        crate::replica::remove(&to).unwrap();
        assert!(!exists(&to) && exists(&from));
    }
}

on_both! {
    an_existing_replica_is_adopted_with_its_states,
    another_org_and_an_older_owner_are_refused,
    nothing_is_written_before_a_claim,
    a_place_is_moved_and_removed_as_a_whole,
}
