//! Vector arithmetic in portable loops over lanes, shared by all kernels.

use super::level::vectorized;

/// Number of lanes of a running sum. They are independent accumulators, enough to hide the latency of an addition.
pub(crate) const LANES: usize = 32;

vectorized! {
    /// Multiplies values by a factor, in place.
    pub(crate) fn scale(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= factor;
        }
        let _ = FMA;
    }

    /// Computes to = from·factor.
    pub(crate) fn scaled(from: &[f32], factor: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from * factor;
        }
        let _ = FMA;
    }

    /// Computes to += from·factor.
    pub(crate) fn add_scaled(from: &[f32], factor: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = multiply_add::<FMA>(*from, factor, *to);
        }
    }
}

/// Computes a·b + c, rounded once if a fused multiply-add is one instruction, and twice otherwise.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Computes eˣ with an error of about 2 units in the last place. NaN stays NaN; results below the smallest normal
/// number are 0.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.37;
    // Adding this number rounds to an integer, which then stands in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0;
    let bounded = if x < LOWEST { LOWEST } else { x }; // comparisons keep NaN, `max` would not
    let bounded = if bounded > HIGHEST { HIGHEST } else { bounded };
    let shifted = multiply_add::<FMA>(bounded, std::f32::consts::LOG2_E, ROUNDER);
    let whole = shifted - ROUNDER;
    // ln 2 in two parts. The first has few significant bits, so that its product with an integer is exact.
    let rest = multiply_add::<FMA>(whole, -0.693_359_4, bounded);
    let rest = multiply_add::<FMA>(whole, 2.121_944_4e-4, rest);
    let mut series = 1.987_569_2e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        series = multiply_add::<FMA>(series, rest, coefficient);
    }
    let fraction = multiply_add::<FMA>(series, rest * rest, rest) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let result = fraction * power;
    let result = if x < LOWEST { 0.0 } else { result };
    if x > HIGHEST { f32::INFINITY } else { result }
}

/// Rounds to the nearest bf16, stored as f32. Ties go to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let kept = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    };
    f32::from_bits(kept & 0xffff_0000)
}

/// Sums all lanes pairwise, lane i with lane i + width/2 first.
#[inline(always)]
pub(crate) fn horizontal_sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Returns the largest lane. No lane may be NaN.
#[inline(always)]
pub(crate) fn horizontal_max(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] = if other > lanes[lane] {
                other
            } else {
                lanes[lane]
            };
        }
        width /= 2;
    }
    lanes[0]
}

/// Reduces two slices with `step(sum, a, b)` in lanes. The order depends on the length alone.
#[inline(always)]
pub(crate) fn reduce<const FMA: bool>(
    a: &[f32],
    b: &[f32],
    step: impl Fn(f32, f32, f32) -> f32,
) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = step(sums[lane], a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = step(sums[lane], a, b);
    }
    horizontal_sum(sums)
}

vectorized! {
    /// Returns the dot product a·b.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
        reduce::<FMA>(a, b, |sum, a, b| multiply_add::<FMA>(a, b, sum))
    }

    /// Returns the dot product of a and b, both rounded to bf16.
    pub(crate) fn dot_bf16(a: &[f32], b: &[f32]) -> f32 {
        reduce::<FMA>(a, b, |sum, a, b| {
            multiply_add::<FMA>(round_to_bf16(a), round_to_bf16(b), sum)
        })
    }

    /// Copies numbers, rounded to bf16.
    pub(crate) fn copy_rounded(from: &[f32], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = round_to_bf16(*from);
        }
        let _ = FMA;
    }

    /// Rounds numbers to bf16 in place.
    pub(crate) fn round_in_place(values: &mut [f32]) {
        for value in values {
            *value = round_to_bf16(*value);
        }
        let _ = FMA;
    }
}
