//! Waiting with deadlines. Where something can be waited for by an event (a line of output, an
//! answer, a connection) the other modules do so; `eventually` is for what can only be looked at
//! again: a file that another program writes, a port that another program opens.

use std::time::{Duration, Instant};

/// How long a server may take to come up on a busy machine.
pub const START: Duration = Duration::from_secs(60);
/// How long an ordinary effect may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks again until `look` answers, for at most `deadline`; panics with `what` after it.
pub fn eventually<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_or(deadline, what, || look().ok_or(String::new()))
}

/// Like [`eventually`], for looks that can tell why they are not content: the last reason is in
/// the panic.
pub fn eventually_or<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(2);
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => {
                assert!(Instant::now() < end, "not within {deadline:?}: {what}. Last: {why}");
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
