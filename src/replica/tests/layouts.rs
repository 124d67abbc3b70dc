//! Tables follow the schema and never lose data.

use super::*;
use FieldType::{Boolean, Date, DateTime, Decimal, Integer, Text};
use rusqlite::types::Value::{Integer as Int, Null, Real};

const AT: &str = "2024-05-01T10:00:00Z";

fn a_second_look_changes_nothing_and_a_new_field_gets_a_column(base: Base) {
    let mut bed = bed(base);
    let mut fields = vec![("Id", Text), ("Name", Text)];
    let first = bed.lay_out(&schema("Account", &fields));
    assert!(first.created && first.added.is_empty());
    bed.rows(&["Id", "Name"], &batch(&[[Some("1"), Some("a")]]), AT);
    let before = (bed.dump("_crmsync_field"), bed.dump("_crmsync_object"));
    assert_eq!(bed.lay_out(&schema("Account", &fields)), crate::replica::LayoutChange::default());
    assert_eq!(before, (bed.dump("_crmsync_field"), bed.dump("_crmsync_object")));
    fields.push(("Plus (€)", Decimal));
    let more = bed.lay_out(&schema("Account", &fields));
    assert_eq!((more.created, more.added), (false, strings(&["Plus (€)"])));
    bed.rows(&["Id", "Name", "Plus (€)"], &batch(&[[Some("1"), Some("a"), Some("1.5")]]), AT);
    assert_eq!(bed.sql("SELECT name, plus____ FROM account"), [[text("a"), Real(1.5)]]);
    assert_eq!(
        bed.sql("SELECT field, label, kind, source_type FROM _crmsync_field WHERE column_name = 'plus____'"),
        [[text("Plus (€)"), text("The Plus (€)"), text("decimal"), text("decimal")]]
    );
}

fn a_removed_field_keeps_its_column_is_told_once_and_is_filled_when_it_comes_back(base: Base) {
    let mut bed = bed(base);
    let both = schema("Account", &[("Id", Text), ("Name", Text)]);
    let less = schema("Account", &[("Id", Text)]);
    bed.lay_out(&both);
    bed.rows(&["Id", "Name"], &batch(&[[Some("1"), Some("a")]]), AT);
    assert_eq!(bed.lay_out(&less).gone, ["Name"]);
    assert!(bed.lay_out(&less).gone.is_empty());
    bed.rows(&["Id"], &keys(&["1", "2"]), AT);
    assert_eq!(bed.sql("SELECT name FROM account ORDER BY id"), [[text("a")], [Null]]);
    let back = bed.lay_out(&both);
    assert_eq!((back.added, back.gone), (strings(&["Name"]), vec![]));
    // Out of the selection and in again: its values are old, too.
    let select =
        |bed: &mut Bed, f: &[&str]| bed.replica.lay_out(&both, &strings(f), t(AT)).unwrap();
    assert!(select(&mut bed, &["Id"]).gone.is_empty());
    assert_eq!(select(&mut bed, &["Id", "Name", "NoSuchField"]).added, ["Name"]);
}

fn a_wider_type_keeps_the_column_and_converts_what_is_there(base: Base) {
    let mut bed = bed(base);
    let of = |n, b, d| schema("Account", &[("Id", Text), ("N", n), ("B", b), ("D", d)]);
    bed.lay_out(&of(Integer, Boolean, Date));
    let rows = batch(&[
        [Some("1"), Some("5"), Some("true"), Some("2024-01-01")],
        [Some("2"), Some("9007199254740993"), None, None],
    ]);
    bed.rows(&["Id", "N", "B", "D"], &rows, AT);
    bed.change("CREATE INDEX mine ON account (n)");
    let wider = bed.lay_out(&of(Decimal, Text, Text));
    assert_eq!(wider.widened, ["N", "B", "D"]);
    assert!(wider.beside.is_empty() && wider.added.is_empty());
    assert_eq!(
        bed.sql("SELECT n, b, d FROM account ORDER BY id"),
        [[Real(5.0), text("true"), text("2024-01-01")], [text("9007199254740993"), Null, Null]]
    );
    let indexes = match base {
        Base::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = 'mine'",
        Base::Postgres => {
            "SELECT count(*) FROM pg_indexes WHERE indexname = 'mine' AND schemaname = current_schema"
        }
    };
    assert_eq!(bed.one(indexes), Int(1));
    // The source tells the same values in the new types: nothing to write.
    let same = batch(&[
        [Some("1"), Some("5.00"), Some("true"), Some("2024-01-01")],
        [Some("2"), Some("9007199254740993"), None, None],
    ]);
    assert_eq!(bed.rows(&["Id", "N", "B", "D"], &same, AT).changed, 0);
}

fn any_other_type_gets_a_column_beside_and_comes_back_to_its_own(base: Base) {
    let mut bed = bed(base);
    let of = |kind| schema("Account", &[("Id", Text), ("X", kind), ("X_date_time", Text)]);
    bed.lay_out(&of(Text));
    bed.rows(&["Id", "X", "X_date_time"], &batch(&[[Some("1"), Some("free"), Some("taken")]]), AT);
    assert_eq!(bed.lay_out(&of(DateTime)).beside, ["X"]);
    bed.rows(&["Id", "X"], &batch(&[[Some("1"), Some("2024-01-01T00:00:00Z")]]), AT);
    let columns =
        bed.sql("SELECT column_name, current FROM _crmsync_field WHERE field = 'X' ORDER BY 2");
    let [Value::Text(beside), Int(1)] = &columns[1][..] else { panic!("{columns:?}") };
    assert!(beside.starts_with("x_date_time_"), "{beside}");
    assert_eq!(
        bed.sql(&format!("SELECT x, x_date_time, {beside} FROM account")),
        [[text("free"), text("taken"), text("2024-01-01T00:00:00.000Z")]]
    );
    assert_eq!(bed.lay_out(&of(Text)).beside, ["X"]);
    bed.rows(&["Id", "X"], &batch(&[[Some("1"), Some("again")]]), AT);
    assert_eq!(bed.one("SELECT x FROM account"), text("again"));
}

fn names_that_would_be_one_stay_two_also_beside_our_own(base: Base) {
    let mut bed = bed(base);
    let long = |c: &str| format!("{}{c}", "Field".repeat(30));
    let (a, b) = (long("a"), long("b"));
    let fields = [
        ("Id", Text),
        ("A.b", Text),
        ("A-b", Text),
        ("ID ", Text),
        ("_synced_at", Text),
        ("_Crmsync_Seq", Text),
        ("select", Text),
        ("quo\"te", Text),
        (a.as_str(), Text),
        (b.as_str(), Text),
    ];
    bed.lay_out(&schema("Order", &fields));
    bed.lay_out(&schema("ORDER", &fields));
    bed.lay_out(&schema("sqlite_master", &fields));
    bed.lay_out(&schema("_crmsync_meta", &fields));
    let values: Vec<String> = (0..10).map(|i| format!("v{i}")).collect();
    let row: [Option<&str>; 10] = std::array::from_fn(|i| Some(values[i].as_str()));
    let selected: Vec<&str> = fields.iter().map(|f| f.0).collect();
    for object in ["Order", "ORDER", "sqlite_master", "_crmsync_meta"] {
        let rows = batch(&[row]);
        assert_eq!(bed.merge(object, Mode::Upsert, &selected, &rows, AT).inserted, 1);
        let table = bed.replica.table_name(object).expect("a table");
        for (i, name) in selected.iter().enumerate() {
            let name = name.replace('\'', "''");
            let find = format!(
                "SELECT column_name FROM _crmsync_field WHERE object = '{object}' AND field = '{name}'"
            );
            let Value::Text(column) = bed.one(&find) else { panic!("{name}") };
            assert!(column.len() <= 63);
            assert_eq!(bed.one(&format!(r#"SELECT "{column}" FROM "{table}""#)), text(&values[i]));
        }
    }
}

fn eight_hundred_fields_fit(base: Base) {
    let mut bed = bed(base);
    let many: Vec<String> = (0..900).map(|i| format!("F{i}__c")).collect();
    let mut fields = vec![("Id", Text)];
    fields.extend(many.iter().map(|f| (f.as_str(), Decimal)));
    bed.lay_out(&schema("Account", &fields));
    let mut b = BatchBuilder::new(fields.len());
    b.row();
    for i in 0..fields.len() {
        b.set(i, "7");
    }
    let (names, b) = (names(&fields), b.finish());
    for changed in [1, 0] {
        let rows = Change::Rows {
            object: "Account",
            fields: &names,
            batch: &b,
            mode: Mode::Upsert,
            at: t(AT),
        };
        assert_eq!(bed.write(rows).changed, changed);
    }
}

fn a_schema_without_its_key_is_refused(base: Base) {
    let mut bed = bed(base);
    let mut bad = schema("Account", &[("Id", Text)]);
    bad.key = "Other".into();
    assert!(bed.replica.lay_out(&bad, &strings(&["Id"]), t(AT)).is_err());
    assert!(bed.replica.objects().is_empty());
}

on_both! {
    a_second_look_changes_nothing_and_a_new_field_gets_a_column,
    a_removed_field_keeps_its_column_is_told_once_and_is_filled_when_it_comes_back,
    a_wider_type_keeps_the_column_and_converts_what_is_there,
    any_other_type_gets_a_column_beside_and_comes_back_to_its_own,
    names_that_would_be_one_stay_two_also_beside_our_own,
    eight_hundred_fields_fit,
    a_schema_without_its_key_is_refused,
}
