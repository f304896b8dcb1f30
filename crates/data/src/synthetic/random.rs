//! A small seeded generator, the same on every platform (SplitMix64; Steele, Lea & Flood 2014).

use polymath_base::{GOLDEN, fnv1a, mix};

/// A stream of random numbers.
pub struct Random(u64);

impl Random {
    /// The stream of a seed and a name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(seed ^ hash(name))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: i64) -> i64 {
        ((u128::from(self.next()) * bound as u128) >> 64) as i64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }

    /// Draws one of `items`.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as i64) as usize]
    }
}

/// Hashes a text by FNV-1a, mixed once more so that similar texts fall far apart.
pub fn hash(text: &str) -> u64 {
    let hash = fnv1a(text);
    (hash ^ (hash >> 29)).wrapping_mul(GOLDEN)
}
