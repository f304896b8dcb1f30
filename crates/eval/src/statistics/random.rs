//! Seeded random numbers, and random draws of groups.

use std::f64::consts::TAU;

use polymath_base::{GOLDEN, mix};

/// SplitMix64 generator: small and the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// Draws 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Draws an integer from 0 to `count` − 1.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next_u64()) * count as u128) >> 64) as usize
    }

    /// Draws a number strictly between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Draws from the standard normal distribution (Box–Muller, with `libm` for the same result on every machine).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.unit(), self.unit());
        (-2.0 * libm::log(radius)).sqrt() * libm::cos(TAU * angle)
    }
}

/// Bootstrap resamples of groups: each draws, with replacement, as many groups as there are. The same seed gives the
/// same draws, so that several comparisons of the same groups can be resampled together.
///
/// ```
/// use polymath_eval::statistics::GroupDraws;
///
/// let mut draws = GroupDraws::new(10, 1);
/// assert_eq!(draws.draw().len(), 10);
/// ```
#[derive(Debug, Clone)]
pub struct GroupDraws {
    random: Random,
    drawn: Vec<usize>,
}

impl GroupDraws {
    /// Creates the resamples of `groups` groups, drawn with `seed`.
    pub fn new(groups: usize, seed: u64) -> Self {
        Self {
            random: Random(seed),
            drawn: vec![0; groups],
        }
    }

    /// Draws the next resample; returns the indices of its groups, from 0.
    pub fn draw(&mut self) -> &[usize] {
        let count = self.drawn.len();
        for place in &mut self.drawn {
            *place = self.random.below(count);
        }
        &self.drawn
    }
}
