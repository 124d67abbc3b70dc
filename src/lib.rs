//! crmsync: the shell around `crmsync-core`. Code map and invariants, nothing else.
//!
//! # Code map
//!
//! | module | what it knows |
//! |---|---|
//! | [`provider`] | foreign systems: the seam, the one HTTP client, one folder for each system |
//! | [`replica`] | the users' database: layout, values, rows and cursor in one transaction |
//! | [`store`] | the daemon's own memory: documents, effects, audit, due times, sealed secrets |
//! | [`auth`] | grants: code flow, refresh, password log-in |
//! | [`mail`] | letters to admins and their sending |
//! | [`control`] | the socket: protocol (both ends), server, client |
//! | [`daemon`] | start and stop, supervision, one task for each connection, runs, quota gates |
//! | [`cli`] | the client program |
//!
//! Decisions are in [`crmsync_core`]; here they are carried out. ARCHITECTURE.md tells the story;
//! `tests/it/architecture.rs` keeps who may import whom.
//!
//! # Invariants
//!
//! 1. The core takes `now` as an argument and never sees a row: it sees facts of a batch.
//! 2. Only `provider` (and `mail::vendor`, a list of sentences) knows a vendor. It turns every
//!    failure, once, into a [`Fault`](crmsync_core::domain::Fault), which the core matches
//!    exhaustively.
//! 3. Only `replica` and `store` speak SQL. Only `store::vault` opens a sealed secret; only
//!    `provider`, `auth`, `mail::send` and `control::client` put one on a wire. In between it is a
//!    `secrecy` type; no `Debug`, log line or error text holds one.
//! 4. Only [`daemon::env`] reads clocks, chance and the environment.
//! 5. State and the effects it asks for are stored in one transaction; effects are carried out at
//!    least once, each with an id that makes the second time harmless. Whoever writes a line asks:
//!    if the power fails here, what is true afterwards?
//! 6. A connection has at most one run at a time, and one refresh of its credential at a time.
//! 7. The control protocol is the only way the client learns anything of a running daemon; the
//!    daemon holds the only copy of a token in use.
//! 8. A failed reload changes nothing.
//! 9. Activations carry no input: timer, command, reload, reauthorization and quota ring the same
//!    bell; the run reads what is to be done from store and replica. Doing it twice is harmless.

pub mod auth;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod mail;
pub mod provider;
pub mod replica;
pub mod store;
