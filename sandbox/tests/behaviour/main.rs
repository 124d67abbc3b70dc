//! The sandbox as its users meet it: the real program over real sockets.

#![allow(clippy::unwrap_used, reason = "what is missing here is the test's failure")]
#![allow(clippy::print_stderr, reason = "a comparison that was left out is said aloud")]

mod bulk;
mod control;
mod data_calls;
mod oauth;
mod recorded;
mod support;
