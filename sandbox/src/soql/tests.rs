//! The grammar as a table: what is understood, and how the rest is refused.

use super::ast::{Expr, Literal, Select};
use super::dates::{Period, date, datetime};
use super::parse;
use proptest::prelude::*;

#[test]
fn understood() {
    for query in [
        "SELECT Id FROM Account",
        "select id, name from account",
        "SELECT Id,Account.Owner.Name FROM Contact WHERE Account.Name LIKE 'A\\_%' LIMIT 5",
        "SELECT count() FROM Account WHERE Name != null",
        "SELECT COUNT() FROM Account LIMIT 10",
        "SELECT Id FROM Account WHERE (SystemModstamp = 2026-01-02T17:38:59.000+0000 AND Id > '001000000000001AAA') OR SystemModstamp > 2026-01-02T17:38:59Z ORDER BY SystemModstamp, Id LIMIT 2000",
        "SELECT Id FROM Account WHERE NOT (Name = 'a' OR Name = 'b') AND Amount__c >= -1.5e3",
        "SELECT Id FROM Account WHERE NOT Name = 'a'",
        "SELECT Id FROM Account WHERE Name IN ('a', 'b', null) AND Name NOT IN ('c')",
        "SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS:30 AND CreatedDate <> today",
        "SELECT Id FROM Account WHERE Regions__c INCLUDES ('A;B', 'C') ORDER BY Name DESC NULLS LAST, Id ASC NULLS FIRST LIMIT 5 OFFSET 10",
        "SELECT Id\nFROM Account\r\n\tWHERE Name = 'it\\'s \\\"x\\\" \\\\ \\n \\u00e9'",
        "SELECT Id, Type, Order FROM Order",
        "SELECT Id FROM Group WHERE IsDeleted = TRUE",
        "SELECT Id FROM Account WHERE CreatedDate > 2026-01-02T17:38:59.5-08:00",
    ] {
        if let Err(error) = parse(query) {
            panic!("{query}: {error}");
        }
    }
}

#[test]
fn refused_with_place_and_token() {
    for (query, column, token) in [
        ("", 1, "<EOF>"),
        ("SELECT Id FORM Account", 11, "FORM"),
        ("SELECT FROM Account", 8, "FROM"),
        ("SELECT Id FROM", 15, "<EOF>"),
        ("SELECT Id FROM Account WHERE", 29, "<EOF>"),
        ("SELECT Id FROM Account WHERE Name = ", 37, "<EOF>"),
        ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", 56, "OR"),
        ("SELECT Id FROM Account WHERE Name = x", 37, "x"),
        ("SELECT Id FROM Account WHERE Name = :x", 37, ":"),
        ("SELECT Id FROM Account WHERE Name LIKE 5", 40, "5"),
        ("SELECT Id FROM Account WHERE (Name = 'a'", 41, "<EOF>"),
        ("SELECT Id FROM Account WHERE Name IN ()", 39, ")"),
        ("SELECT Id FROM Account WHERE Regions__c INCLUDES ('a', 5)", 56, "5"),
        ("SELECT Id FROM Account GROUP BY Name", 24, "GROUP"),
        ("SELECT Id FROM Account LIMIT x", 30, "x"),
        ("SELECT Id FROM Account LIMIT -1", 30, "-1"),
        ("SELECT Id FROM Account LIMIT 5 LIMIT 6", 32, "LIMIT"),
        ("SELECT Id FROM Account ORDER Name", 30, "Name"),
        ("SELECT Id FROM Account ALL ROWS", 24, "ALL"),
        ("SELECT Id FROM Account;", 23, ""),
        ("SELECT Id FROM Account, Contact", 23, ","),
        ("SELECT (SELECT Id FROM Contacts) FROM Account", 8, "("),
        ("SELECT FIELDS(ALL) FROM Account LIMIT 200", 14, "("),
        ("SELECT MAX(Name) FROM Account", 11, "("),
        ("SELECT count(), Id FROM Account", 15, ","),
        ("SELECT Id, count() FROM Account", 17, "("),
        (
            "SELECT Id FROM Account WHERE CreatedDate > 2026-01-02T17:38:59",
            44,
            "2026-01-02T17:38:59",
        ),
        ("SELECT Id FROM Account WHERE CreatedDate > 2026-02-30", 44, "2026-02-30"),
        ("SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS:x", 44, "LAST_N_DAYS"),
        ("DELETE FROM Account", 1, "DELETE"),
    ] {
        let Err(error) = parse(query) else { panic!("understood: {query}") };
        assert_eq!(error.code, "MALFORMED_QUERY", "{query}");
        assert!(error.message.contains(&format!("Row:1:Column:{column}\n")), "{query}: {error}");
        if !token.is_empty() {
            assert!(
                error.message.ends_with(&format!("unexpected token: '{token}'")),
                "{query}: {error}"
            );
        }
    }
}

#[test]
fn the_place_is_drawn_as_recorded() {
    let error = parse("SELECT Id\nFROM Account WHERE Náme ==").unwrap_err();
    assert!(error.message.contains("Row:2"), "{error}");
    let error = parse("SELECT Id FORM Account").unwrap_err();
    assert_eq!(
        error.message,
        "\nSELECT Id FORM Account\n          ^\nERROR at Row:1:Column:11\nunexpected token: 'FORM'"
    );
}

#[test]
fn bad_literals() {
    for (query, text) in [
        ("SELECT Id FROM Account WHERE Name = 'open", "mismatched character '<EOF>'"),
        ("SELECT Id FROM Account WHERE Name = 'a\\q'", "Illegal character sequence '\\q'"),
        ("SELECT Id FROM Account WHERE Name = 'a\\u12'", "Illegal character sequence"),
        ("SELECT Id FROM Account WHERE Name # 5", "no viable alternative at character '#'"),
        ("SELECT Id FROM Account WHERE A.B.C.D.E.F.G = 5", "maximum depth"),
    ] {
        let error = parse(query).unwrap_err();
        assert!(error.message.contains(text), "{query}: {error}");
    }
    assert_eq!(
        parse("SELECT Id FROM A LIMIT 5 OFFSET 2001").unwrap_err().code,
        "NUMBER_OUTSIDE_VALID_RANGE"
    );
    let deep = format!("SELECT Id FROM A WHERE {}", "(".repeat(50_000));
    assert!(parse(&deep).unwrap_err().message.contains("nested too deeply"));
    let nots = format!("SELECT Id FROM A WHERE {}", "NOT ".repeat(20_000));
    assert!(parse(&nots).is_err());
    assert!(parse(&"x".repeat(100_001)).unwrap_err().message.contains("100000"));
}

#[test]
fn values() {
    let query = parse("SELECT Id FROM A WHERE X = 'it\\'s\\n\\t\\\\ 50\\% \\u00e9'").unwrap();
    let Some(Expr::Compare { value: Literal::Text(text), .. }) = query.filter else { panic!() };
    assert_eq!(text, "it's\n\t\\ 50% é");
    assert!(matches!(query.select, Select::Fields(f) if f.len() == 1));
    assert_eq!(datetime("2026-01-02T17:38:59.123+01:30"), datetime("2026-01-02T16:08:59.123Z"));
    assert_eq!(datetime("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(datetime("2026-01-02T24:00:00Z"), None);
    assert_eq!(date("1699-12-31"), None);
    assert_eq!(date("4000-12-31"), Some(741_807));
    assert_eq!(date("202é-1-1"), None);
}

#[test]
fn periods() {
    // Wednesday, 2026-03-18, 10:00 UTC.
    let now = datetime("2026-03-18T10:00:00Z").unwrap() / 1000;
    for (word, from, to) in [
        ("TODAY", "2026-03-18", "2026-03-19"),
        ("yesterday", "2026-03-17", "2026-03-18"),
        ("THIS_WEEK", "2026-03-15", "2026-03-22"),
        ("LAST_MONTH", "2026-02-01", "2026-03-01"),
        ("THIS_QUARTER", "2026-01-01", "2026-04-01"),
        ("NEXT_YEAR", "2027-01-01", "2028-01-01"),
        ("LAST_90_DAYS", "2025-12-18", "2026-03-19"),
    ] {
        let period = Period::named(word).unwrap();
        assert_eq!(period.days(now), (date(from).unwrap(), date(to).unwrap()), "{word}");
    }
    for (word, n, from, to) in [
        ("LAST_N_DAYS", 2, "2026-03-16", "2026-03-19"),
        ("NEXT_N_DAYS", 2, "2026-03-19", "2026-03-21"),
        ("N_DAYS_AGO", 3, "2026-03-15", "2026-03-16"),
        ("LAST_N_WEEKS", 1, "2026-03-08", "2026-03-15"),
        ("LAST_N_QUARTERS", 2, "2025-07-01", "2026-01-01"),
        ("N_YEARS_AGO", 1, "2025-01-01", "2026-01-01"),
    ] {
        let period = Period::counted(word, n).unwrap();
        assert_eq!(period.days(now), (date(from).unwrap(), date(to).unwrap()), "{word}");
    }
    assert_eq!(Period::named("SOMEDAY"), None);
    assert_eq!(Period::counted("LAST_N_DAYS", 4_000_000_000), None);
    let far = Period::counted("LAST_N_YEARS", 36_500).unwrap();
    assert!(far.days(now).0 <= far.days(now).1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn any_run_of_tokens_is_answered(words in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "Id", "FROM", "A", "WHERE", "(", ")", "AND", "OR", "NOT", "IN", "LIKE", "'x'", "=", "<", "5", ",", ".", "count",
        "()", "ORDER", "BY", "LIMIT", "OFFSET", "null", "2026-01-01", "2026-01-01T00:00:00Z", "LAST_N_DAYS", ":", "'", "\\", "é", "-", "INCLUDES",
    ]), 0..25)) {
        let text = words.join(" ");
        if let Err(error) = parse(&text) {
            prop_assert!(!error.message.is_empty());
        }
        let _ = parse(&format!("SELECT Id FROM A WHERE {text}"));
    }
}
