//! The daemon: start-up, supervision, reload, shut-down.
//!
//! The only place that wires everything together; the decisions are in the core, the doing in
//! the other modules.

pub mod actor;
pub mod bell;
pub mod clock;
pub mod commands;
pub mod configuration;
pub mod copy;
pub mod desk;
pub mod env;
pub mod grant;
pub mod hardening;
pub mod logs;
pub mod outbox;
pub mod run;
pub mod shared;
pub mod supervisor;
pub mod systemd;
pub mod testing;
pub mod toll;
pub mod vault;
pub mod work;
