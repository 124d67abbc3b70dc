//! `crmsync-core`: decisions. No IO, no clock, no async, no vendor.
//!
//! Everything here is a pure function of its arguments; `now` is one of them. The core never sees
//! a row: it sees facts of a batch. Who may import whom: every module imports [`domain`] only,
//! but for `config`, which is told about providers by an argument.

pub mod config;
pub mod connection;
pub mod domain;
pub mod notice;
pub mod quota;
pub mod reauth;
pub mod schedule;
pub mod sync;
