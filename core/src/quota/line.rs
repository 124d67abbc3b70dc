use serde::{Deserialize, Serialize};

/// `[connections.NAME.quota]` of one connection of the domain. Percents are whole numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At this part of a limit everybody stops.
    pub pause_at: u8,
    /// Below this part everybody goes on.
    pub resume_below: u8,
    /// The most that crmsync itself may use.
    pub own_share: Option<u8>,
    /// Calls a day, configured by hand.
    pub limit: Option<u64>,
}

/// What the connections of a domain agree on: the lowest of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Percent of each limit at which scheduled calls end.
    pub pause_at: u8,
    /// Percent under which they begin again; at most `pause_at`.
    pub resume_below: u8,
    /// Percent of the main limit that crmsync itself may use.
    pub own_share: Option<u8>,
    /// The provider's name of the limit that every call costs, e.g. `DailyApiRequests`; none: the
    /// provider has no limit, and then only a configured one is kept.
    pub main: Option<String>,
    /// The main limit's maximum at most: configured, or documented by the provider.
    pub limit: Option<u64>,
}

/// The lowest line of the domain's connections. `main`: the provider's daily limit with its
/// documented maximum (`ProviderSpec::daily_limit`). Without connections: the defaults.
pub fn line(settings: &[Settings], main: Option<(&str, Option<u64>)>) -> Line {
    let pause_at = settings.iter().map(|s| s.pause_at).min().unwrap_or(80).min(100);
    let resume_below = settings.iter().map(|s| s.resume_below).min().unwrap_or(75).min(pause_at);
    Line {
        pause_at,
        resume_below,
        own_share: settings.iter().filter_map(|s| s.own_share).min(),
        main: main.map(|(name, _)| name.to_owned()),
        limit: settings.iter().filter_map(|s| s.limit).chain(main.and_then(|m| m.1)).min(),
    }
}

impl Line {
    /// Name of the main limit; one of our own where only a configured number is kept.
    pub fn main_name(&self) -> Option<&str> {
        self.main.as_deref().or(self.limit.map(|_| "calls"))
    }

    /// The first use at which no scheduled call starts.
    pub fn stop(&self, max: u64) -> u64 {
        ceil_percent(max, self.pause_at)
    }

    /// The first use at which a hold goes on.
    pub fn resume(&self, max: u64) -> u64 {
        ceil_percent(max, self.resume_below)
    }

    /// How many own calls of the main limit are too many.
    pub fn own_stop(&self, max: u64) -> Option<u64> {
        self.own_share.map(|share| ceil_percent(max, share))
    }
}

/// `ceil(max * percent / 100)` without overflow.
fn ceil_percent(max: u64, percent: u8) -> u64 {
    let product = u128::from(max) * u128::from(percent);
    u64::try_from(product.div_ceil(100)).unwrap_or(u64::MAX)
}
