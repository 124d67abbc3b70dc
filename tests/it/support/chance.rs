//! Chance with a seed: the same seed draws the same moments. `CRMSYNC_SEED` sets it; what is in
//! use is said on stderr, so that a failure can be drawn again.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to draw moments.
pub struct Chance {
    state: u64,
}

impl Chance {
    /// With the seed of the environment, else with the given one.
    pub fn new(test: &str, seed: u64) -> Self {
        let given = std::env::var("CRMSYNC_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or(seed);
        super::loud(&format!("{test}: CRMSYNC_SEED={seed}"));
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Waits for a drawn time below so many microseconds.
    pub fn pause(&mut self, below_micros: u64) {
        std::thread::sleep(std::time::Duration::from_micros(self.below(below_micros)));
    }

    /// Puts a list into a drawn order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let j = usize::try_from(self.below(i as u64 + 1)).expect("a small number");
            list.swap(i, j);
        }
    }
}

/// How often something is done: a few times, or the full number with `CRMSYNC_TORTURE=full`.
pub fn times(sample: usize, full: usize) -> usize {
    let all = std::env::var("CRMSYNC_TORTURE").is_ok_and(|v| v == "full");
    if all { full } else { sample }
}
