//! crmsync: the shell around `crmsync-core`. Code map and invariants; ARCHITECTURE.md has the story.

pub mod auth;
pub mod provider;
