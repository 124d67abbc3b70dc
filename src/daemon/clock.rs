//! A server's clock as its answers told it, carried on by our monotonic clock.
//!
//! Invariant: never ahead of the server: `Date` is cut to whole seconds, and the way back took
//! time. So a window that ends here covers only what was committed before it was asked for.

use super::env::Env;
use crmsync_core::domain::Time;
use jiff::SignedDuration;
use std::time::{Duration, Instant};

/// What is known of a server's clock.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    env: Env,
    told: Option<(Time, Instant)>,
    /// What an earlier run was told, until this one is told something itself.
    former: Option<(Time, Instant)>,
}

/// A server may set its clock back by this much before we follow it.
const STEP: SignedDuration = SignedDuration::from_secs(5);
/// What was told longer ago is not carried into another run: clocks drift apart.
const CARRIED: Duration = Duration::from_mins(2);
/// What is carried is not further ahead of an answer than a whole second and its way may take.
const AGREES: SignedDuration = SignedDuration::from_secs(2);

impl ServerClock {
    /// Nothing is known yet.
    pub fn new(env: Env) -> Self {
        Self { env, told: None, former: None }
    }

    /// For another run. What is known is only believed once an answer agrees with it: then it
    /// may know the second's fraction better than the answer does.
    #[must_use]
    pub fn next(self) -> Self {
        let former =
            self.told.filter(|(_, at)| self.env.instant().saturating_duration_since(*at) < CARRIED);
        Self { told: None, former, ..self }
    }

    /// An answer told the time.
    pub fn tell(&mut self, server: Option<Time>) {
        let Some(server) = server else { return };
        if self.told.is_none() {
            self.told = self.former.take();
            let ahead = self.moment().map(|known| known.duration_since(server));
            self.told = self.told.filter(|_| ahead.is_some_and(|by| by < AGREES));
        }
        match self.now() {
            // Both are lower bounds of the true time: keep the better one.
            Some(known) if known >= server && known.duration_since(server) < STEP => {}
            Some(_) | None => self.told = Some((server, self.env.instant())),
        }
    }

    /// The server's time now, whole seconds; none before the first answer.
    pub fn now(&self) -> Option<Time> {
        Time::from_second(self.moment()?.as_second()).ok()
    }

    /// The same as finely as it is known.
    pub fn moment(&self) -> Option<Time> {
        let (server, at) = self.told?;
        let elapsed = self.env.instant().saturating_duration_since(at);
        server.checked_add(SignedDuration::try_from(elapsed).ok()?).ok()
    }

    /// When our clock shows what the server's does at `then`, or a little more.
    pub fn ours(&self, then: Time) -> Option<Time> {
        self.env.now().checked_add(then.duration_since(self.moment()?)).ok()
    }

    /// Ours minus theirs.
    pub fn difference(&self) -> Option<SignedDuration> {
        Some(self.env.now().duration_since(self.now()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: i64) -> Option<Time> {
        Time::from_second(Env.now().as_second() - seconds).ok()
    }

    #[test]
    fn another_run_knows_the_fraction_and_follows_a_clock_that_was_set() {
        let mut first = ServerClock::new(Env);
        first.tell(ago(3600));
        let known = first.moment().unwrap();
        let mut second = first.next();
        assert_eq!(second.now(), None, "nothing is believed before an answer");
        second.tell(ago(3600));
        assert!(second.moment().unwrap() >= known, "never behind what was known");
        assert!(second.moment().unwrap().duration_since(known).as_secs() < 60);
        let mut third = second.next();
        third.tell(ago(7200));
        assert!(third.moment().unwrap() < known, "it was set back");
    }

    #[test]
    fn their_times_are_told_in_ours() {
        let env = Env;
        let mut clock = ServerClock::new(env);
        assert_eq!(clock.ours(env.now()), None);
        clock.tell(ago(3600));
        let then = clock.moment().unwrap().checked_add(SignedDuration::from_secs(10)).unwrap();
        let wait = clock.ours(then).unwrap().duration_since(env.now());
        assert!((8..=10).contains(&wait.as_secs()), "{wait:?}");
    }
}
