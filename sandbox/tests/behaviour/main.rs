//! The sandbox as its users meet it: the real program over real sockets.

mod control;
mod data_calls;
mod oauth;
mod support;
