//! The bench proves itself: every real server starts and does what the other tests rely on, the
//! proxy does to a connection what its switches say, and the readers read.

mod lab;
mod mail;
mod oauth;
mod postgres;
mod proxy;
mod replica;
mod sandbox;
mod tools;
mod tryton;
