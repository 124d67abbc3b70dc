//! The daemon: start-up, supervision, reload, shut-down.

pub mod bell;
pub mod env;
pub mod logs;
pub mod systemd;
