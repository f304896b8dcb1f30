//! Small seeded random generator, the same on every platform (SplitMix64; Steele, Lea & Flood 2014).

use polymath_base::{GOLDEN, fnv1a, mix};

/// State of the generator.
pub struct Random(u64);

impl Random {
    /// Creates the random generator for a seed and a name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(seed ^ hash(name))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Returns a random integer in `0..bound`.
    pub fn below(&mut self, bound: i64) -> i64 {
        ((u128::from(self.next()) * bound as u128) >> 64) as i64
    }

    /// Returns a random integer in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }

    /// Returns a randomly chosen element of `items`.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as i64) as usize]
    }

    /// Puts `items` in random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as i64 + 1) as usize);
        }
    }
}

/// Hashes a text by FNV-1a with a final mix, so that similar texts have very different hashes.
pub fn hash(text: &str) -> u64 {
    let hash = fnv1a(text);
    (hash ^ (hash >> 29)).wrapping_mul(GOLDEN)
}
