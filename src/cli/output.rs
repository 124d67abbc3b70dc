//! How things are written: times, numbers, tables, and the only place that prints.
//!
//! Invariants: data goes to stdout, all else to stderr; foreign text cannot steer a terminal
//! (control characters are left out); a reader who goes away is no crash; nothing depends on
//! colour.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the test harness captures only these"
)]

use super::error::CliError;
use crmsync_core::domain::Time;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use std::io::{self, Write};

/// How the reader's clock shows times.
#[derive(Debug, Clone)]
pub struct View {
    /// Local zone.
    pub zone: TimeZone,
    /// Now.
    pub now: Time,
}

impl View {
    /// `2026-11-21 15:05:10`.
    pub fn at(&self, time: Time) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The same with the zone's short name: for places that are read alone.
    pub fn at_zone(&self, time: Time) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    /// A time or a dash.
    pub fn maybe(&self, time: Option<Time>) -> String {
        time.map_or_else(|| "-".to_owned(), |t| self.at(t))
    }

    /// `15:05`.
    pub fn clock(&self, time: Time) -> String {
        time.to_zoned(self.zone.clone()).strftime("%H:%M").to_string()
    }
}

/// `12s`, `1h5m`; shorter than a second is `0s`.
pub fn span(from: Time, to: Time) -> String {
    let span = to.duration_since(from).max(SignedDuration::ZERO);
    crmsync_core::domain::format_duration(span)
}

/// `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A table without borders; the columns named in `right` are numbers.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|h| (*h).to_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| line(cell)));
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // Padding at the end of lines is nothing to copy.
    let text = table.trim_fmt();
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// Foreign text on one line.
pub fn line(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ")
}

/// Without what could steer a terminal; line breaks stay.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Data, to stdout.
pub fn out(text: &str) -> Result<(), CliError> {
    if cfg!(test) {
        println!("{}", clean(text).trim_end());
        return Ok(());
    }
    write(&mut io::stdout().lock(), text)
}

/// Everything else, to stderr. Best effort: who closed it does not want it.
pub fn err(text: &str) {
    if cfg!(test) {
        eprintln!("{}", clean(text).trim_end());
        return;
    }
    let _ = write(&mut io::stderr().lock(), text);
}

fn write(to: &mut dyn Write, text: &str) -> Result<(), CliError> {
    let text = clean(text);
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    let written = to
        .write_all(text.as_bytes())
        .and_then(|()| to.write_all(end.as_bytes()))
        .and_then(|()| to.flush());
    written.map_err(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            return CliError::Unread;
        }
        CliError::here(format!("writing the output: {e}"), "is the disk full? df -h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let pairs = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (n, text) in pairs {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{9b}d"), "a[31mb\ncd");
        assert_eq!(line("a\nb\tc"), "a b c");
    }
}
