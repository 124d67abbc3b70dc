//! What is PostgreSQL's own: how tables look to people, readers at work, a server that goes away.

use super::*;
use crate::replica::{Fed, Into, ReplicaError, Server};
use rusqlite::types::Value::Integer;

const AT: &str = "2024-05-01T10:00:00Z";

/// A bed on the shared server; `None` without one.
fn shared() -> Option<Bed> {
    server::shared().map(|_| Bed::account(Base::Postgres))
}

fn load(bed: &mut Bed, ids: &[&str], key: bool) -> Result<Option<Applied>, ReplicaError> {
    let fields = strings(&["Id"]);
    let mut fed = vec![Fed::Commit { state: "1".into(), key }, Fed::Batch(keys(ids))];
    bed.replica.stream("Account", &fields, Into::FirstLoad, t(AT), &mut || fed.pop().unwrap())
}

/// Another client with a transaction in which it has read the table.
fn reading(bed: &Bed) -> postgres::Client {
    let Place::Schema { server, schema } = &bed.place else { panic!("a schema") };
    let mut client = server::client(Path::new(&server.host));
    let read = format!("BEGIN; SET search_path = \"{schema}\"; SELECT count(*) FROM account");
    client.batch_execute(&read).unwrap();
    client
}

#[test]
fn a_table_tells_people_what_it_holds() {
    let Some(mut bed) = shared() else { return };
    load(&mut bed, &["1"], true).unwrap();
    let columns = "SELECT a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
        FROM pg_attribute a WHERE a.attrelid = 'account'::regclass AND a.attnum > 0 ORDER BY a.attnum";
    let found: Vec<String> = bed
        .sql(columns)
        .into_iter()
        .take(11)
        .map(|row| row.iter().map(|v| format!("{v:?} ")).collect())
        .collect();
    let wanted = [
        ("id", "text", "The Id (text)"),
        ("name", "text", "The Name (text)"),
        ("amount", "numeric", "The Amount (decimal)"),
        ("count__c", "bigint", "The Count__c (integer)"),
        ("isdeleted", "boolean", "The IsDeleted (boolean)"),
        ("birthdate", "date", "The Birthdate (date)"),
        ("opens", "time without time zone", "The Opens (timeofday)"),
        ("systemmodstamp", "timestamp with time zone", "The SystemModstamp (datetime)"),
        ("extra", "json", "The Extra (json)"),
        ("note", "text", "The Note (text)"),
        (
            "_synced_at",
            "timestamp with time zone",
            "crmsync: when the content of the row last changed here",
        ),
    ];
    for (found, (name, kind, comment)) in found.iter().zip(wanted) {
        assert_eq!(*found, format!("Text({name:?}) Text({kind:?}) Text({comment:?}) "));
    }
    assert_eq!(bed.one("SELECT obj_description('account'::regclass)"), text("Account"));
    assert_eq!(
        bed.sql("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'account'::regclass AND indisprimary")
            .len(),
        1
    );
    assert_eq!(
        bed.one("SELECT collname FROM pg_attribute a JOIN pg_collation c ON c.oid = attcollation WHERE attrelid = 'account'::regclass AND attnum = 1"),
        text("C")
    );
    let indexed = "SELECT count(*) FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
        WHERE x.indrelid = 'account'::regclass AND a.attname IN ('_crmsync_seq', 'systemmodstamp')";
    assert_eq!(bed.one(indexed), Integer(2));
}

#[test]
fn readers_are_admitted_and_a_missing_role_is_said() {
    let Some(bed) = shared() else { return };
    let Place::Schema { server, schema } = &bed.place else { panic!("a schema") };
    let with = |role: &str| {
        let server = Server { readers: Some(role.into()), ..(**server).clone() };
        Place::Schema { server: Arc::new(server), schema: schema.clone() }
    };
    let refused = crate::replica::open(&with("nobody_here"), "sf").err().unwrap();
    assert!(matches!(refused, ReplicaError::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("CREATE ROLE \"nobody_here\" NOLOGIN"), "{refused}");
    let role = format!("reader_{schema}");
    let mut client = server::client(Path::new(&server.host));
    client.batch_execute(&format!("CREATE ROLE \"{role}\"")).unwrap();
    // What others put into the schema is theirs to show.
    client
        .batch_execute(&format!(
            "CREATE ROLE \"other_{schema}\"; CREATE TABLE \"{schema}\".theirs (x int);
             ALTER TABLE \"{schema}\".theirs OWNER TO \"other_{schema}\""
        ))
        .unwrap();
    let mut replica = claimed(&with(&role));
    // Also of a table that is made afterwards.
    let (fields, some) = (strings(&["Id"]), keys(&["1"]));
    let rows = Change::Rows {
        object: "Account",
        fields: &fields,
        batch: &some,
        mode: Mode::Upsert,
        at: t(AT),
    };
    replica.write(&[rows]).unwrap();
    let read = format!(
        "SET ROLE \"{role}\"; SELECT * FROM \"{schema}\".account, \"{schema}\"._crmsync_field"
    );
    client.batch_execute(&read).unwrap();
    for refused in ["DELETE FROM \"{schema}\".account", "SELECT * FROM \"{schema}\".theirs"] {
        let refused = client.batch_execute(&refused.replace("{schema}", schema)).unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501");
    }
}

#[test]
fn a_removed_replica_takes_its_own_tables_alone_with_it() {
    let Some(mut bed) = shared() else { return };
    bed.rows(&["Id"], &keys(&["1"]), AT);
    bed.change("CREATE TABLE theirs AS SELECT id FROM account");
    for _ in 0..2 {
        crate::replica::remove(&bed.place).unwrap();
        assert!(!crate::replica::exists(&bed.place).unwrap());
    }
    let left = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'SCHEMA'::regnamespace";
    let Place::Schema { schema, .. } = &bed.place else { panic!("a schema") };
    assert_eq!(bed.sql(&left.replace("SCHEMA", schema)), [[text("theirs")]]);
}

#[test]
fn a_reader_is_never_in_the_way_of_a_load_nor_a_load_in_the_way_of_a_reader() {
    let Some(mut bed) = shared() else { return };
    load(&mut bed, &["1", "2"], false).unwrap();
    let mut reader = reading(&bed);
    let fields = strings(&["Id"]);
    let mut step = 0;
    let done = bed.replica.stream("Account", &fields, Into::FirstLoad, t(AT), &mut || {
        step += 1;
        // In the middle of the page the reader reads on, and sees what was committed.
        reader.batch_execute("SET LOCAL statement_timeout = '5s'").unwrap();
        let n: i64 = reader.query_one("SELECT count(*) FROM account", &[]).unwrap().get(0);
        assert_eq!(n, 2);
        match step {
            1 => Fed::Batch(keys(&["3"])),
            2 => Fed::Batch(keys(&["4"])),
            _ => Fed::Commit { state: "2".into(), key: true },
        }
    });
    assert_eq!(done.unwrap().unwrap().inserted, 2);
    // With its unique index, and named a primary key when the reader has gone.
    let primary = "SELECT count(*) FROM pg_index WHERE indrelid = 'account'::regclass AND indisunique AND indisprimary = ";
    assert_eq!(bed.one(&format!("{primary} false")), Integer(1));
    assert_eq!(bed.rows(&["Id"], &keys(&["1", "5"]), AT).inserted, 1);
    reader.batch_execute("COMMIT").unwrap();
    bed.lay_out(&schema("Account", &KINDS));
    assert_eq!(bed.one(&format!("{primary} true")), Integer(1));
    assert_eq!(bed.rows(&["Id"], &keys(&["1", "6"]), AT).inserted, 1);
    // Increments beside a reader, too.
    let _reader = reading(&bed);
    assert_eq!(bed.rows(&["Id"], &keys(&["7"]), AT).inserted, 1);
}

#[test]
fn a_new_column_waits_for_a_reader_and_comes() {
    let Some(mut bed) = shared() else { return };
    bed.rows(&["Id"], &keys(&["1"]), AT);
    let mut reader = reading(&bed);
    let (go, gone) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        gone.recv().unwrap();
        // Longer than one attempt waits for its lock.
        reader.batch_execute("SELECT pg_sleep(2.5); COMMIT").unwrap();
    });
    let mut more = KINDS.to_vec();
    more.push(("More", FieldType::Text));
    go.send(()).unwrap();
    assert_eq!(bed.lay_out(&schema("Account", &more)).added, ["More"]);
    reading.join().unwrap();
    assert_eq!(bed.one("SELECT count(more) FROM account"), Integer(0));
}

#[test]
fn what_no_row_can_hold_is_refused_by_name() {
    let Some(mut bed) = shared() else { return };
    let many: Vec<String> = (0..1700).map(|i| format!("F{i}")).collect();
    let of = |kind, n: usize| {
        let mut fields = vec![("Id", FieldType::Text)];
        fields.extend(many[..n].iter().map(|f| (f.as_str(), kind)));
        schema("Wide", &fields)
    };
    for (kind, n) in [(FieldType::Text, 1600), (FieldType::DateTime, 1100)] {
        let wide = of(kind, n);
        let all: Vec<String> = wide.fields.iter().map(|f| f.name.clone()).collect();
        let refused = bed.replica.lay_out(&wide, &all, t(AT)).unwrap_err();
        assert_eq!(whose(&refused), "Wide");
        let refused = refused.to_string();
        for word in ["Wide", "columns", "hint: select fewer fields of Wide"] {
            assert!(refused.contains(word), "{refused}");
        }
    }
    let wide = of(FieldType::Text, 1500);
    bed.lay_out(&wide);
    let all: Vec<String> = wide.fields.iter().map(|f| f.name.clone()).collect();
    let mut b = BatchBuilder::new(all.len());
    b.row();
    (0..all.len()).for_each(|i| b.set(i, "a value that needs a place of its own"));
    let b = b.finish();
    let rows =
        Change::Rows { object: "Wide", fields: &all, batch: &b, mode: Mode::Upsert, at: t(AT) };
    let refused = bed.replica.write(&[rows]).unwrap_err();
    assert_eq!(whose(&refused), "Wide");
    assert!(refused.to_string().contains("select fewer fields"), "{refused}");
    // The same by a page of a job; nothing of it stays, and others go on.
    let mut fed = vec![Fed::Commit { state: "1".into(), key: true }, Fed::Batch(b.clone())];
    let mut next = || fed.pop().unwrap();
    let page = bed.replica.stream("Wide", &all, Into::FirstLoad, t(AT), &mut next);
    assert_eq!(whose(&page.unwrap_err()), "Wide");
    assert!(!bed.replica.states().unwrap().contains_key("Wide"));
    bed.lay_out(&schema("Small", &[("Id", FieldType::Text)]));
    let small = bed.merge("Small", Mode::Upsert, &["Id"], &keys(&["1"]), AT);
    assert_eq!(small.inserted, 1);
}

/// The object that is refused.
fn whose(error: &ReplicaError) -> &str {
    let ReplicaError::Object { object, .. } = error else { panic!("{error}") };
    object
}

#[test]
fn a_table_that_cannot_be_altered_is_refused_by_name_and_stays_as_it_was() {
    let Some(mut bed) = shared() else { return };
    bed.rows(&["Id", "Count__c"], &batch(&[[Some("1"), Some("5")]]), AT);
    bed.lay_out(&schema("Other", &[("Id", FieldType::Text)]));
    bed.merge("Other", Mode::Upsert, &["Id"], &keys(&["1"]), AT);
    let lay_out = |bed: &mut Bed, name: &str, fields: &[(&str, FieldType)]| {
        let wanted = schema(name, fields);
        bed.replica.lay_out(&wanted, &names(fields), t(AT))
    };
    let mut more = KINDS.to_vec();
    more.push(("More", FieldType::Text));
    let mut reader = reading(&bed);
    let held = lay_out(&mut bed, "Account", &more).unwrap_err();
    assert_eq!(whose(&held), "Account");
    assert!(held.to_string().contains("hint: another session holds a lock"), "{held}");
    // Another table is not concerned, nor are rows of this one.
    let other = [("Id", FieldType::Text), ("More", FieldType::Text)];
    assert_eq!(lay_out(&mut bed, "Other", &other).unwrap().added, ["More"]);
    assert_eq!(bed.rows(&["Id", "Count__c"], &batch(&[[Some("2"), Some("6")]]), AT).inserted, 1);
    reader.batch_execute("COMMIT").unwrap();
    let mut retyped = more;
    retyped[3].1 = FieldType::Text;
    bed.change("CREATE VIEW seen AS SELECT count__c FROM account");
    let viewed = lay_out(&mut bed, "Account", &retyped).unwrap_err();
    assert_eq!(whose(&viewed), "Account");
    assert!(viewed.to_string().contains("hint: a view may use the column"), "{viewed}");
    bed.change("DROP VIEW seen");
    assert_eq!(lay_out(&mut bed, "Account", &retyped).unwrap().widened, ["Count__c"]);
}

#[test]
fn another_programs_schema_and_a_newer_layout_are_refused() {
    let Some(bed) = shared() else { return };
    let Place::Schema { server, schema } = &bed.place else { panic!("a schema") };
    bed.change("UPDATE _crmsync_meta SET value = '99' WHERE key = 'layout'");
    let newer = crate::replica::open(&bed.place, "sf").err().unwrap();
    assert!(matches!(newer, ReplicaError::Newer { found: 99, .. }), "{newer}");
    let theirs = format!("{schema}_theirs");
    bed.change(&format!("CREATE SCHEMA \"{theirs}\"; CREATE TABLE \"{theirs}\".t (x int)"));
    let place = Place::Schema { server: Arc::clone(server), schema: theirs };
    let refused = crate::replica::open(&place, "sf").err().unwrap();
    assert!(matches!(refused, ReplicaError::NotOurs { .. }), "{refused}");
    crate::replica::remove(&place).unwrap();
    bed.change("SELECT 1/count(*) FROM pg_tables WHERE schemaname LIKE '%_theirs'");
}

#[test]
fn a_server_that_goes_away_is_passed_over() {
    let Some(own) = server::Postgres::start(&[]) else { return };
    let place = Place::Schema { server: own.server(), schema: "sf".into() };
    let mut bed = Bed {
        replica: claimed(&place),
        place,
        reader: RefCell::default(),
        dir: tempfile::tempdir().unwrap(),
    };
    bed.lay_out(&schema("Account", &KINDS));
    load(&mut bed, &["1"], false).unwrap();
    for order in ["fast", "crash"] {
        own.order(order);
        let some = keys(&["2"]);
        let fields = strings(&["Id"]);
        let rows = Change::Rows {
            object: "Account",
            fields: &fields,
            batch: &some,
            mode: Mode::Upsert,
            at: t(AT),
        };
        for _ in 0..2 {
            let gone = bed.replica.write(&[rows]).unwrap_err();
            assert!(matches!(gone, ReplicaError::Unavailable { .. }), "{gone}");
            assert!(bed.replica.counts("Account").is_err());
        }
        own.order("start");
        assert_eq!(bed.replica.counts("Account").unwrap().live, 1);
        // In the middle of a page: an error, and nothing of it stays.
        let mut step = 0;
        let cut = bed.replica.stream("Account", &fields, Into::FirstLoad, t(AT), &mut || {
            step += 1;
            match step {
                1 => Fed::Batch(keys(&["3"])),
                2 => {
                    own.order(order);
                    Fed::Commit { state: "2".into(), key: true }
                }
                _ => panic!("nothing is asked after the end"),
            }
        });
        assert!(matches!(cut, Err(ReplicaError::Unavailable { .. })), "{cut:?}");
        own.order("start");
        assert_eq!(bed.replica.states().unwrap()["Account"], "1");
        assert_eq!(bed.replica.counts("Account").unwrap().live, 1);
    }
    // A session that was lost while nobody used it is made again unnoticed.
    own.order("fast");
    own.order("start");
    assert_eq!(load(&mut bed, &["4"], true).unwrap().unwrap().inserted, 1);
    assert_eq!(bed.replica.counts("Account").unwrap().live, 2);
}

#[test]
fn no_way_to_the_server_is_told_with_a_hint() {
    let Some(bed) = shared() else { return };
    let Place::Schema { server, .. } = &bed.place else { panic!("a schema") };
    let at = |change: &dyn Fn(&mut Server)| {
        let mut server = (**server).clone();
        change(&mut server);
        let place = Place::Schema { server: Arc::new(server), schema: "x".into() };
        let refused = crate::replica::open(&place, "x").err().unwrap();
        assert!(matches!(refused, ReplicaError::Unavailable { .. }), "{refused}");
        refused.to_string()
    };
    let missing = at(&|s| s.database = "not_there".into());
    assert!(missing.contains("createdb"), "{missing}");
    let file = bed.dir.path().join("password");
    let unread = at(&|s| s.password = Some(file.clone()));
    assert!(unread.contains("password"), "{unread}");
    let nobody = at(&|s| s.user = Some("not_there".into()));
    assert!(nobody.contains("hint: look at the user"), "{nobody}");
    let nowhere = at(&|s| s.host = "/nowhere".into());
    assert!(nowhere.contains("hint: "), "{nowhere}");
    // Beyond this machine there is no way without TLS; what is sent is never a password.
    let secret = "s3cr3t";
    std::fs::write(&file, secret).unwrap();
    let place = at(&|s| {
        s.password = Some(file.clone());
        s.database = "not_there".into();
    });
    assert!(!place.contains(secret));
}

#[test]
fn a_server_that_takes_connections_and_never_answers_is_unavailable() {
    let Some(bed) = shared() else { return };
    let Place::Schema { server, .. } = &bed.place else { panic!("a schema") };
    // The system takes connections for whoever listens.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = frozen.local_addr().unwrap().port();
    let server = Server { host: "127.0.0.1".into(), port, ..(**server).clone() };
    let place = Place::Schema { server: Arc::new(server), schema: "x".into() };
    let (told, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = told.send(crate::replica::exists(&place).unwrap_err());
    });
    let refused = end.recv_timeout(std::time::Duration::from_secs(60)).expect("an end of waiting");
    assert!(matches!(refused, ReplicaError::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("did not answer within 10 s"), "{refused}");
}
