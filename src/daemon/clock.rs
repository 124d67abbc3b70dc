//! A server's clock as its answers told it, carried on by our monotonic clock.
//!
//! Invariant: never ahead of the server: `Date` is cut to whole seconds, and the way back took
//! time. So a window that ends here covers only what was committed before it was asked for.

use super::env::Env;
use crmsync_core::domain::Time;
use jiff::SignedDuration;
use std::time::Instant;

/// What is known of a server's clock.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    env: Env,
    told: Option<(Time, Instant)>,
}

/// A server may set its clock back by this much before we follow it.
const STEP: SignedDuration = SignedDuration::from_secs(5);

impl ServerClock {
    /// Nothing is known yet.
    pub fn new(env: Env) -> Self {
        Self { env, told: None }
    }

    /// An answer told the time.
    pub fn tell(&mut self, server: Option<Time>) {
        let Some(server) = server else { return };
        match self.now() {
            // Both are lower bounds of the true time: keep the better one.
            Some(known) if known >= server && known.duration_since(server) < STEP => {}
            Some(_) | None => self.told = Some((server, self.env.instant())),
        }
    }

    /// The server's time now, whole seconds; none before the first answer.
    pub fn now(&self) -> Option<Time> {
        let (server, at) = self.told?;
        let elapsed = self.env.instant().saturating_duration_since(at);
        let now = server.checked_add(SignedDuration::try_from(elapsed).ok()?).ok()?;
        Time::from_second(now.as_second()).ok()
    }

    /// Ours minus theirs.
    pub fn difference(&self) -> Option<SignedDuration> {
        Some(self.env.now().duration_since(self.now()?))
    }
}
