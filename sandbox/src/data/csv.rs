//! Values and rows as the CSV of Bulk 2.0: every value quoted, `""` inside, null and empty alike
//! `""`, datetimes with `Z`, everything else as REST writes it.

use super::value::{self, Val, write_json};

/// Delimiter and line ending of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// One of `` ` ^ , | ; `` and tab.
    pub delimiter: u8,
    /// CR LF instead of LF.
    pub crlf: bool,
}

impl Style {
    /// Ends a line.
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
    }
}

/// Appends one quoted value.
pub fn write(out: &mut Vec<u8>, value: Val<'_>) {
    match value {
        Val::Null => out.extend_from_slice(b"\"\""),
        Val::Text(text) => write_text(out, text),
        Val::Time(ms) => {
            out.push(b'"');
            value::write_moment(out, ms);
            out.extend_from_slice(b"Z\"");
        }
        Val::Bool(_) | Val::Int(_) | Val::Num(_) => {
            out.push(b'"');
            write_json(out, value);
            out.push(b'"');
        }
        // JSON has them in quotes already, with nothing to escape inside.
        Val::Date(_) | Val::Id(_) => write_json(out, value),
    }
}

/// Appends quoted text.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        let (before, after) = rest.split_at(at + 1);
        out.extend_from_slice(before);
        out.push(b'"');
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: Val<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_as_the_constructed_page_has_them() {
        assert_eq!(text(Val::Null), "\"\"");
        assert_eq!(text(Val::Text("Say \"hi\"")), "\"Say \"\"hi\"\"\"");
        assert_eq!(text(Val::Text("line one\nline two")), "\"line one\nline two\"");
        assert_eq!(text(Val::Time(1_767_373_200_000)), "\"2026-01-02T17:00:00.000Z\"");
        assert_eq!(text(Val::Bool(true)), "\"true\"");
        assert_eq!(text(Val::Num("1.0E7")), "\"1.0E7\"");
        assert_eq!(text(Val::Date(0)), "\"1970-01-01\"");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_through_a_csv_reader(texts in prop::collection::vec(".*", 1..5)) {
            let mut out = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                if n > 0 { out.push(b','); }
                write_text(&mut out, text);
            }
            out.push(b'\n');
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
            let row = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(row.iter().map(str::to_owned).collect::<Vec<_>>(), texts);
        }
    }
}
