//! The configuration from outside: texts in, settings or a report out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod effective;
mod golden;
mod property;
mod reload;
mod replica;
mod shipped;
mod support;
