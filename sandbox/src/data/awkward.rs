//! Values that break careless programs, and a generator of numbers to choose among them.
//!
//! Deterministic: a record's values depend on the seed, the object and the record's number alone,
//! so that an org of any size begins like the smaller ones.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, even, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed and what it is for.
    pub fn new(seed: u64, purpose: &str, n: u64) -> Self {
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = Self(seed ^ hash.rotate_left(17) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// Once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of a list.
    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> Option<&'a T> {
        let n = self.below(list.len() as u64);
        list.get(n as usize).copied()
    }
}

/// Text that has broken somebody's importer.
pub const TEXTS: [&str; 28] = [
    "\"quoted\"",
    "O'Brien & Sons",
    "line one\nline two",
    "dos\r\nlines\r\n",
    "tab\tseparated",
    "a,b;c|d",
    "back\\slash\\n",
    "Müller-Lüdenscheid",
    "Łódź Żółć",
    "日本語テキスト",
    "中文，全角。",
    "한국어",
    "🚀 emoji 👩‍👩‍👧‍👦",
    "שלום עולם",
    "مرحبا بالعالم",
    "Cafe\u{301} (combining)",
    "N/A",
    "null",
    "#N/A",
    "NULL",
    "true",
    "0",
    "-",
    " leading and trailing ",
    "\u{a0}no-break\u{a0}",
    "<b>bold</b> &amp;",
    "'; DROP TABLE x; --",
    "\u{feff}bom",
];

/// Money and other decimals as text.
pub const DECIMALS: [&str; 12] = [
    "0.10",
    "0.0",
    "-0.01",
    "1234567890123.45",
    "-98765.43",
    "1.0E7",
    "2.5E8",
    "0.30",
    "99999999999999.99",
    "125000.0",
    "19.99",
    "1.0E-4",
];

/// Ordinary words.
pub const WORDS: [&str; 20] = [
    "Acme",
    "Global",
    "Summit",
    "River",
    "Nordic",
    "Delta",
    "Pioneer",
    "United",
    "Harbor",
    "Vertex",
    "Lakeside",
    "Orion",
    "Systems",
    "Partners",
    "Holding",
    "Logistics",
    "Foods",
    "Energy",
    "Works",
    "Labs",
];
