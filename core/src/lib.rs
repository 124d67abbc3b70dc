//! `crmsync-core`: decisions. No IO, no clock, no async, no vendor.
//!
//! # Code map
//!
//! | module | decides |
//! |---|---|
//! | [`domain`] | nothing: the words everybody may use |
//! | [`config`] | what a configuration means, what is wrong with it, what a reload changes |
//! | [`connection`] | the life of one connection: `(state, event, now) -> (state, effects)` |
//! | [`quota`] | who may call, and when everybody waits |
//! | [`schedule`] | when a run is due |
//! | [`sync`] | what to read next, and what a reading means for the cursor |
//! | [`reauth`] | whose new grant is accepted |
//! | [`notice`] | what admins are told, and when |
//!
//! # Invariants
//!
//! - Everything is a pure function of its arguments; `now` is one of them. `Cargo.toml` has no
//!   runtime, no client, no database: the compiler keeps it so.
//! - A row is never seen: only facts of a batch.
//! - Every module imports [`domain`] only; what [`config`] needs to know of providers comes by an
//!   argument.
//! - Failures of foreign systems are matched exhaustively: a new one does not compile before every
//!   decision about it was made.

pub mod config;
pub mod connection;
pub mod domain;
pub mod notice;
pub mod quota;
pub mod reauth;
pub mod schedule;
pub mod sync;
