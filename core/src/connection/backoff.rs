use super::Rules;
use jiff::SignedDuration;

/// How long to wait after the `attempts`-th passing fault in a row (1 is the first): doubling
/// from `backoff_least` to `backoff_most`, less up to a quarter of jitter from the seed, never
/// under `backoff_least`; a provider's own wish (`retry_after`) is kept, up to a day.
pub fn backoff(
    attempts: u32,
    retry_after: Option<SignedDuration>,
    rules: &Rules,
) -> SignedDuration {
    let least = rules.backoff_least.as_millis().max(1);
    let most = rules.backoff_most.as_millis().max(least);
    let doubled = least.saturating_mul(1i128 << attempts.saturating_sub(1).min(40)).min(most);
    let quarter = doubled / 4 + 1;
    let jitter = i128::from(mix(rules.seed ^ (u64::from(attempts) << 32))) % quarter;
    let wait = i64::try_from((doubled - jitter).max(least)).unwrap_or(i64::MAX);
    let asked = retry_after.unwrap_or(SignedDuration::ZERO).min(SignedDuration::from_hours(24));
    SignedDuration::from_millis(wait).max(asked)
}

/// The finalizer of splitmix64: spreads neighbouring seeds.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_jitters_and_stays_in_its_bounds() {
        let hour = SignedDuration::from_hours(1);
        for seed in 0..200 {
            let rules = Rules::new(false, SignedDuration::from_mins(15), 3, seed);
            assert_eq!(backoff(1, None, &rules), SignedDuration::from_secs(30));
            for n in 0..200 {
                let wait = backoff(n, None, &rules);
                assert!(wait >= SignedDuration::from_secs(30) && wait <= hour, "{n}: {wait:?}");
            }
            assert!(backoff(u32::MAX, None, &rules) >= SignedDuration::from_mins(45));
            assert_eq!(backoff(1, Some(hour * 2), &rules), hour * 2);
            assert_eq!(backoff(1, Some(hour * 90), &rules), hour * 24);
        }
        let waits = |seed| {
            let rules = Rules::new(false, SignedDuration::from_mins(15), 3, seed);
            (1..9).map(|n| backoff(n, None, &rules)).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
