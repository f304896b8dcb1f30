//! Stateless random numbers: each draw is a hash of (seed, stream, counter).
//!
//! A stateful generator would have to be saved with a run, and its numbers would depend on the order of calls. Here a
//! draw depends only on its arguments.

use polymath_base::{GOLDEN, mix};

/// Seed and domain number that identify the random draws of one domain of a mixture, so that domains draw
/// independently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartDraws {
    /// Seed of the run.
    pub seed: u64,
    /// Index of the domain in its mixture.
    pub number: usize,
}

impl PartDraws {
    /// Returns the upper bits of the number of each random stream that the domain draws from: its index shifted left by
    /// 48 bits.
    pub fn stream(self) -> u64 {
        (self.number as u64) << 48
    }
}

/// Returns 64 random bits: the `counter`-th draw of `stream`.
pub(crate) fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    let stream = mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN));
    mix(stream.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// Returns the `counter`-th draw of `stream` as a uniform number in [0, 1).
pub(crate) fn unit(seed: u64, stream: u64, counter: u64) -> f64 {
    (bits(seed, stream, counter) >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns a seeded permutation of `0..count` (Fisher–Yates).
pub(crate) fn permutation(seed: u64, stream: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        // The high half of a 128-bit product maps 64 random bits onto 0..=last with a bias below 2^-32.
        let draw = u128::from(bits(seed, stream, last as u64));
        let other = (draw * (last as u128 + 1)) >> 64;
        order.swap(last, other as usize);
    }
    order
}

/// Rounds of [`permuted`]. With this many, any few of its values are practically independent.
const ROUNDS: u64 = 64;

/// Returns the `index`-th element of a seeded permutation of `0..count` without a table, by the swap-or-not shuffle
/// ([Hoang, Morris & Rogaway 2012](https://eprint.iacr.org/2014/560)). Each round pairs x with K − x mod count for a
/// random K, and swaps the pair if a random bit of the pair is 1. Unlike a Feistel network it needs no cycle walking,
/// and it is uniform for two or three elements as well as for 2⁴⁰.
pub(crate) fn permuted(seed: u64, stream: u64, count: u64, mut index: u64) -> u64 {
    for round in 0..ROUNDS {
        let key = bits(seed, stream, round);
        let pivot = ((u128::from(key) * u128::from(count)) >> 64) as u64;
        let partner = match pivot >= index {
            true => pivot - index,
            false => count - (index - pivot),
        };
        let coin = mix(key ^ mix(index.max(partner).wrapping_add(GOLDEN)));
        if coin & 1 == 1 {
            index = partner;
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `permuted` is a bijection for every count, and that the order differs between seeds and streams.
    #[test]
    fn permuted_is_a_bijection() {
        for count in (0..70).chain([97, 128, 1000, 4096, 4097]) {
            let order: Vec<u64> = (0..count)
                .map(|index| permuted(7, 3, count, index))
                .collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<u64>>());
            if count > 20 {
                let other = |seed, stream| -> Vec<u64> {
                    (0..count)
                        .map(|index| permuted(seed, stream, count, index))
                        .collect()
                };
                assert_ne!(order, other(8, 3));
                assert_ne!(order, other(7, 4));
                assert_ne!(order, sorted);
            }
        }
    }

    /// Checks that each permutation of few elements is equally likely (chi-square over seeds), and that in a large
    /// range the images of x and x + 1 are independent.
    #[test]
    fn permuted_is_even() {
        for (count, permutations) in [(2u64, 2usize), (3, 6), (4, 24)] {
            let trials = 6000;
            let mut seen = std::collections::BTreeMap::new();
            for seed in 0..trials {
                let order: Vec<u64> = (0..count)
                    .map(|index| permuted(seed, 1, count, index))
                    .collect();
                *seen.entry(order).or_insert(0u64) += 1;
            }
            assert_eq!(seen.len(), permutations, "{seen:?}");
            let expected = trials as f64 / permutations as f64;
            let squares = seen
                .values()
                .map(|&found| (found as f64 - expected).powi(2));
            let chi = squares.sum::<f64>() / expected;
            let freedom = permutations as f64 - 1.0;
            assert!(
                chi < freedom + 4.0 * (2.0 * freedom).sqrt() + 4.0,
                "{count}: {chi}"
            );
        }
        // 8 × 8 cells for the images of x and x + 1, over a range far too large for a table.
        let (count, trials) = (1u64 << 40, 16_000u64);
        let mut cells = [0u64; 64];
        for at in 0..trials {
            let index = at * (count / trials);
            let cell = |index| (permuted(11, 5, count, index) >> 37) as usize;
            cells[cell(index) * 8 + cell(index + 1)] += 1;
        }
        let expected = trials as f64 / 64.0;
        let squares = cells.iter().map(|&found| (found as f64 - expected).powi(2));
        let chi = squares.sum::<f64>() / expected;
        assert!((25.0..120.0).contains(&chi), "{chi}"); // 63 degrees of freedom: 63 ± 11
    }

    /// Checks that a permutation holds every number once and differs between streams and seeds.
    #[test]
    fn permutation_holds_every_number_once() {
        let order = permutation(7, 0, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_ne!(order, permutation(7, 1, 1000));
        assert_ne!(order, permutation(8, 0, 1000));
    }
}
