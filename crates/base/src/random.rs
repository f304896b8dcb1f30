//! Mixers of pseudorandom bits (SplitMix64; Steele, Lea & Flood 2014): every draw is a function of what it is for,
//! not of the draws before it.

/// 2⁶⁴ over the golden ratio: the increment of SplitMix64, which sets neighboring numbers far apart.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes 64 bits by SplitMix64's finalizer: each input bit moves every output bit.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 with the seed 1234567, as its authors publish them.
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
