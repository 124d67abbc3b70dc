use super::{Cell, convert};
use crmsync_core::domain::FieldType::{self, *};

fn good(kind: FieldType, text: &str) -> Cell<'_> {
    let (cell, reason) = convert(kind, text);
    assert_eq!(reason, None, "{kind:?} {text:?}");
    cell
}

fn bad(kind: FieldType, text: &str) {
    let (cell, reason) = convert(kind, text);
    assert!(cell == Cell::Null && reason.is_some(), "{kind:?} {text:?} became {cell:?}");
}

fn as_text(kind: FieldType, text: &str) -> String {
    good(kind, text).text().expect("a text").to_owned()
}

#[test]
fn texts_are_kept_as_they_are() {
    for t in ["", "N/A", "null", " a ", "1e5", "ü\n\t\"'", "\u{fffd}", &"x".repeat(131_072)] {
        assert_eq!(good(Text, t), Cell::Text(t));
    }
    let (cell, reason) = convert(Text, "a\0b\0");
    assert_eq!((cell.text(), reason.is_some()), (Some("ab"), true));
}

#[test]
fn booleans() {
    for (text, value) in [("true", 1), ("false", 0), ("TRUE", 1), ("1", 1), ("0", 0)] {
        assert_eq!(good(Boolean, text), Cell::Int(value));
    }
    for text in ["", "yes", "N/A", "2", "true "] {
        bad(Boolean, text);
    }
}

#[test]
fn whole_numbers_in_any_dress() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("0.000e99", 0),
        ("+7", 7),
        ("007", 7),
        ("5.0", 5),
        ("1.0E7", 10_000_000),
        ("-12e2", -1200),
        ("120e-1", 12),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("9.223372036854775807e18", i64::MAX),
        ("-9223372036854775808.00", i64::MIN),
    ] {
        assert_eq!(good(Integer, text), Cell::Int(value), "{text}");
    }
    for text in [
        "",
        "N/A",
        "1.5",
        "1e-1",
        "0.5",
        "9223372036854775808",
        "9223372036854775808.0",
        "1e19",
        "1e999999999999999999999",
        "1e-999999999999999999999",
        "0x10",
        "1_000",
        "1,000",
        " 1",
        "1 ",
        ".",
        "-",
        "+",
        "e5",
        "1e",
        "1e+",
        "1.2.3",
        "--1",
        "NaN",
        "inf",
        "١",
    ] {
        bad(Integer, text);
    }
}

#[test]
fn decimals_are_doubles_only_where_a_double_keeps_them() {
    for (text, value) in [
        ("0", 0.0),
        ("0.00", 0.0),
        ("-0.0", 0.0),
        ("0.10", 0.1),
        (".5", 0.5),
        ("5.", 5.0),
        ("1234567890123.45", 1_234_567_890_123.45),
        ("-99999999999999.9", -99_999_999_999_999.9),
        ("9007199254740993e3", 9_007_199_254_740_993e3),
        ("0.30000000000000004", 0.300_000_000_000_000_04),
        ("9007199254740992", 9_007_199_254_740_992.0),
        ("1e300", 1e300),
        ("1e-300", 1e-300),
        ("5e-324", 5e-324),
        ("1.7976931348623157E308", f64::MAX),
    ] {
        assert_eq!(good(Decimal, text), Cell::Real(value), "{text}");
    }
    for text in [
        "0.1234567890123456789",
        "9007199254740993",
        "12345678901234567",
        "0.30000000000000003",
        "1e309",
        "-1e400",
        "1e-400",
        "4e-324",
        "1180591620717411303424",
        "99999999999999999.99",
        "1e99999999999999999999",
    ] {
        assert_eq!(good(Decimal, text), Cell::Text(text), "{text}");
    }
    for text in ["", "N/A", "1,5", "NaN", "inf", "-inf", "1e", "0x1p3", "$5", "1 000", "."] {
        bad(Decimal, text);
    }
}

/// What `SQLite`'s readers see of a double is its decimal form: it must be the number told.
#[test]
fn every_double_kept_prints_as_the_number_it_came_from() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let (mut reals, mut texts) = (0, 0);
    for _ in 0..200_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let digits = (seed % 1_000_000_000_000_000_000) >> (seed % 60);
        let scale = usize::try_from(seed % 19).expect("small");
        let mut text = format!("{digits:0>20}");
        text.insert(text.len() - scale, '.');
        let plain = |t: &str| {
            let (whole, part) = t.split_once('.').unwrap_or((t, ""));
            (whole.trim_start_matches('0').to_owned(), part.trim_end_matches('0').to_owned())
        };
        let (cell, reason) = convert(Decimal, &text);
        assert_eq!(reason, None);
        match &cell {
            Cell::Real(x) => {
                reals += 1;
                assert_eq!(plain(&format!("{x}")), plain(&text), "{text} is not {x}");
            }
            Cell::Text(t) => {
                texts += 1;
                let x: f64 = t.parse().expect("a number");
                assert_ne!(plain(&format!("{x}")), plain(&text), "{text} is {x}");
            }
            Cell::Null | Cell::Int(_) | Cell::Short(_) | Cell::Owned(_) => {
                panic!("{text} became {cell:?}")
            }
        }
    }
    assert!(reals > 10_000 && texts > 1_000, "{reals} {texts}");
}

#[test]
fn dates() {
    for text in ["1700-01-01", "4000-12-31", "0001-01-01", "9999-12-31", "2000-02-29"] {
        assert_eq!(as_text(Date, text), text);
    }
    for text in [
        "",
        "0000-01-01",
        "1900-02-29",
        "2023-13-01",
        "2023-00-10",
        "2023-04-31",
        "2023-4-3",
        "20230403",
        "2023-04-03T00:00:00Z",
        "N/A",
        "２０２３-04-03",
    ] {
        bad(Date, text);
    }
}

#[test]
fn moments_become_utc_with_milliseconds() {
    for (text, kept) in [
        ("2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999Z"),
        ("2024-02-29T23:59:59.000+0000", "2024-02-29T23:59:59.000Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"),
        ("2024-02-29t23:59z", "2024-02-29T23:59:00.000Z"),
        ("2024-02-29 23:59:59.1+00", "2024-02-29T23:59:59.100Z"),
        ("2024-03-01T00:30:00.123456+01:00", "2024-02-29T23:30:00.123Z"),
        ("2023-12-31T23:30:00.000-0130", "2024-01-01T01:00:00.000Z"),
        ("1969-12-31T23:59:59.001+0000", "1969-12-31T23:59:59.001Z"),
        ("1700-01-01T00:00:00.000+0100", "1699-12-31T23:00:00.000Z"),
        ("4000-12-31T23:59:59.000+0000", "4000-12-31T23:59:59.000Z"),
        ("0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z"),
        ("0000-12-31T23:30:00.000-01:00", "0001-01-01T00:30:00.000Z"),
        ("9999-12-31T23:59:59.999+0000", "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(as_text(DateTime, text), kept, "{text}");
    }
    for text in [
        "",
        "N/A",
        "2024-02-29",
        "2024-02-29T23:59:59",
        "2024-02-30T00:00:00Z",
        "2024-02-29T24:00:00Z",
        "2024-02-29T23:60:00Z",
        "2024-02-29T23:59:60Z",
        "2024-02-29T23:59:59.Z",
        "2024-02-29T23:59:59+0:00",
        "2024-02-29T23:59:59+2400",
        "2024-02-29T23:59:59ZZ",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:30:00-01:00",
        "0000-01-01T00:00:00Z",
        "2024-02-29T",
        "2024-02-29T2",
        "éééééééééé",
    ] {
        bad(DateTime, text);
    }
}

#[test]
fn moments_with_offsets_agree_with_jiff() {
    for days in (-700_000_i64..2_900_000).step_by(977) {
        let t = jiff::Timestamp::from_millisecond(days * 86_400_000 + days.rem_euclid(86_399_999));
        let Ok(t) = t else { continue };
        let Ok(offset) = jiff::tz::Offset::from_seconds(60 * i32::try_from(days % 700).unwrap())
        else {
            continue;
        };
        if offset.seconds() == 0 {
            continue;
        }
        let utc = t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let local = t.display_with_offset(offset).to_string();
        if utc.starts_with('-') || utc.starts_with("0000") || local.starts_with('-') {
            continue;
        }
        assert_eq!(as_text(DateTime, &local), utc, "{local}");
    }
}

#[test]
fn times_of_day() {
    for (text, kept) in [
        ("10:00:00.000Z", "10:00:00.000"),
        ("23:59:59.999", "23:59:59.999"),
        ("07:05", "07:05:00.000"),
        ("07:05:09,5", "07:05:09.500"),
    ] {
        assert_eq!(as_text(TimeOfDay, text), kept);
    }
    for text in ["", "24:00:00", "7:05", "10:00:00+01:00", "10:00:00.", "N/A"] {
        bad(TimeOfDay, text);
    }
}

#[test]
fn json_is_kept_as_written_if_it_is_json() {
    let text = r#"{"b": 1.10, "a": [null]}"#;
    assert_eq!(good(Json, text), Cell::Text(text));
    for text in ["", "{", "{'a':1}", "N/A", &"[".repeat(100_000)] {
        bad(Json, text);
    }
}

#[test]
fn no_text_panics_in_any_kind() {
    let pieces = ["-", "+", ".", "e", "9", "0", ":", "T", "Z", "2024-02-2", "é", "\0", " ", "1"];
    let mut seed = 7_u64;
    for _ in 0..100_000 {
        let mut text = String::new();
        for _ in 0..seed % 9 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        for kind in [Text, Boolean, Integer, Decimal, Date, TimeOfDay, DateTime, Json] {
            let _ = convert(kind, &text);
        }
    }
}

#[test]
fn short_decimals_are_the_doubles_that_their_texts_are() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let digits = (seed >> 14) % 10_u64.pow(1 + u32::try_from(seed % 17).unwrap());
        let mut text = digits.to_string();
        let dot = usize::try_from((seed >> 40) % 20).unwrap();
        if dot <= text.len() {
            text.insert(dot, '.');
        }
        if seed >> 63 == 1 && digits > 0 {
            text.insert(0, '-');
        }
        let Cell::Real(double) = good(Decimal, &text) else { continue };
        assert_eq!(double.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
    // Zero has no sign: `-0.0` and `0` are one value.
    let Cell::Real(zero) = good(Decimal, "-0.00") else { panic!("no double") };
    assert_eq!(zero.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn years_outside_the_calendar_are_odd() {
    for text in ["-0044-03-15T12:00:00Z", "10000-01-01T00:00:00Z", "0000-06-01T00:00:00.000Z"] {
        bad(DateTime, text);
    }
    for text in ["-0044-03-15", "10000-01-01", "44 BC"] {
        bad(Date, text);
    }
    for (text, kept) in [
        ("2262-04-11T23:47:16.855Z", "2262-04-11T23:47:16.855Z"),
        ("2262-04-12T00:00:00.000+0000", "2262-04-12T00:00:00.000Z"),
        ("1583-01-01T00:00:00.000Z", "1583-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(as_text(DateTime, text), kept);
    }
}
