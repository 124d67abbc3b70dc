//! The server over a real socket in a temporary folder, against a scripted daemon that notes every
//! call: what is refused must not reach it.

mod garbage;
mod routes;
pub(crate) mod scripted;
mod sockets;
pub(crate) mod support;
