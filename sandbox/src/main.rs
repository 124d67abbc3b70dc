//! sandbox
#![allow(dead_code)]
mod data;
mod soql;
fn main() {}
