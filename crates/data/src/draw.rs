//! Random numbers without state: every draw is a hash of what it is for.
//!
//! A generator that is stepped would have to be saved, and would tie the order of draws to the order of calls. Here
//! the draw for (seed, stream, counter) is the same whenever and wherever it is asked for.

/// SplitMix64's finaliser: each input bit moves every output bit.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits for the `counter`-th draw of `stream`.
pub(crate) fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let stream = mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN));
    mix(stream.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number in [0, 1).
pub(crate) fn unit(seed: u64, stream: u64, counter: u64) -> f64 {
    (bits(seed, stream, counter) >> 11) as f64 / (1u64 << 53) as f64
}

/// A seeded permutation of `0..count` (Fisher–Yates).
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A permutation holds every number once, and differs between streams.
    #[test]
    fn permutation_is_one() {
        let order = permutation(7, 0, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_ne!(order, permutation(7, 1, 1000));
        assert_ne!(order, permutation(8, 0, 1000));
    }
}
