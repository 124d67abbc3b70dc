//! crmsync: the shell around `crmsync-core`. Code map and invariants; ARCHITECTURE.md has the story.

pub mod auth;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod mail;
pub mod provider;
pub mod replica;
pub mod store;
