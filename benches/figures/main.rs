//! The figures, measured with the released programs against the sandbox and real servers.
//!
//! `make bench` builds them, prints a table on stdout and writes the same as JSON to
//! `target/figures.json`. Some parts: `make bench PART="sqlite poll"`; sizes are made smaller by variables of the
//! environment (`docs/figures.md`). Honest means: both ends run on this machine and share its
//! processors, the floor and ours take turns in one run, and what misses its goal says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    clippy::doc_markdown,
    clippy::duration_suboptimal_units,
    clippy::format_push_string,
    clippy::needless_pass_by_value,
    reason = "a measurement that cannot go on panics and says why"
)]

#[path = "../../tests/it/support/mod.rs"]
#[allow(unused_imports, reason = "its own tests are not run here")]
mod support;

mod floor;
mod hundred;
mod idle;
mod lab;
mod load;
mod machine;
mod poll;
mod report;
mod rest;

use report::Report;

/// Measures something and adds what it found.
type Part = fn(&mut Report);

const PARTS: [(&str, Part); 12] = [
    ("sqlite", load::sqlite),
    ("postgres", load::postgres),
    ("sqlite-many", load::sqlite_many),
    ("postgres-many", load::postgres_many),
    ("hundred", hundred::sqlite),
    ("hundred-postgres", hundred::postgres),
    ("poll", poll::quiet),
    ("changed", poll::changed),
    ("latency", poll::latency),
    ("idle", idle::connections),
    ("status", idle::status),
    ("tryton", rest::parties),
];

fn main() {
    // `cargo test --benches` runs this too; a measurement is only made when asked for.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for name in &wanted {
        let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        assert!(known.contains(&name.as_str()), "no part {name}; there are {known:?}");
    }
    let mut report = Report::default();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("-- {name}");
            part(&mut report);
        }
    }
    report::publish(&report);
}
