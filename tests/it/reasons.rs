//! Every reason of a connection's status that the two providers can cause: provoked by a switch,
//! read from the status, told by exactly one mail, and over when its cause is.

mod failing;
mod grants;
pub mod lab;
mod passing;
mod problems;
mod tryton;
