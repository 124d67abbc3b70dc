//! Behaviours of the released programs, shown against real servers and the sandbox.
//!
//! One test binary (one link), one module per behaviour. `support` is the bench: processes,
//! real servers, readers of files. No test uses code of `src/`: what is asserted is what a user
//! of the programs can see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::doc_markdown,
    clippy::duration_suboptimal_units,
    clippy::format_push_string,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on panics and says why; it waits on the real clock"
)]
#![allow(clippy::missing_panics_doc, reason = "the whole bench answers trouble with a panic")]

mod support;

mod architecture;
mod bench_selftest;
mod bulk;
mod canary;
mod control;
mod demo;
mod folders;
mod following;
mod host;
mod hostile;
mod identity;
mod kills;
mod manual;
mod postgres;
mod quota;
mod reasons;
mod recorded;
mod refresh;
mod reload;
mod runs;
mod stop;
mod story;
mod tryton;
mod unit;
