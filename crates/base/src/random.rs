//! Mixing functions for pseudorandom bits (SplitMix64; Steele, Lea & Flood 2014). With them, each random number is a
//! function of its purpose, not of the numbers drawn before.

/// 2⁶⁴ divided by the golden ratio: the increment of SplitMix64, which maps neighboring numbers far apart.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes 64 bits by SplitMix64's finalizer: each input bit affects every output bit.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the first outputs of SplitMix64 with the seed 1234567, as published by its authors.
    #[test]
    fn the_mixer_is_that_of_split_mix() {
        let draws: Vec<u64> = (1..=3u64)
            .map(|at| mix(1_234_567_u64.wrapping_add(at.wrapping_mul(GOLDEN))))
            .collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(draws, published);
    }
}
