//! The control socket: protocol (both ends), server, client.

pub mod protocol;
