//! The only place that reads clocks, chance and the environment. Everybody else is handed an
//! [`Env`].
#![allow(clippy::disallowed_methods, reason = "this is where they are allowed")]

use crmsync_core::domain::Time;
use std::collections::BTreeMap;
use std::time::Instant;

/// Clock and chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Env;

impl Env {
    /// Wall clock.
    pub fn now(self) -> Time {
        Time::now()
    }

    /// Monotonic clock, for measuring spans.
    pub fn instant(self) -> Instant {
        Instant::now()
    }

    /// 64 random bits.
    pub fn random(self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
    }
}

/// Environment variables of the configuration: `CRMSYNC_…`.
pub fn config_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| k.starts_with("CRMSYNC_") && k != "CRMSYNC_LOG" && k != "CRMSYNC_SOCKET")
        .collect()
}

/// One variable, for what systemd hands over (`CREDENTIALS_DIRECTORY`, `NOTIFY_SOCKET`) and
/// `CRMSYNC_LOG`.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
