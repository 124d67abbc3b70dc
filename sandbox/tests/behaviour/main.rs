//! The sandbox as its users meet it: the real program over real sockets.

#![allow(clippy::unwrap_used, reason = "what is missing here is the test's failure")]

mod control;
mod data_calls;
mod oauth;
mod support;
