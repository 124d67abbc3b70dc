//! The control socket: protocol (both ends), envelope of the answers, server, client, and the
//! `OpenAPI` document of it all.

pub mod client;
pub mod envelope;
pub mod openapi;
pub mod protocol;
#[cfg(test)]
pub mod samples;
pub mod server;
