//! Values that a forward pass keeps for the backward pass: f32, or rounded to bf16, which takes half of the memory.

use half::bf16;

use super::buffer::{Shared, filled, split, with_buffer};
use super::chunks::{for_each_chunk, for_each_range};
use super::level::vectorized;
use super::math::round_to_bf16;
use crate::Precision;

/// Cost of an element that is converted, in multiplications.
const CONVERSION: usize = 4;

vectorized! {
    fn round(from: &[f32], to: &mut [bf16]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = bf16::from_bits((round_to_bf16(*from).to_bits() >> 16) as u16);
        }
        let _ = FMA;
    }

    fn widen(from: &[bf16], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
        let _ = FMA;
    }
}

/// Kept values: with products in bf16 they are rounded, since most of them are operands of products that round them.
pub(in crate::fused) enum Kept {
    Plain(Vec<f32>),
    Rounded(Vec<bf16>),
}

/// Part of kept values.
#[derive(Clone, Copy)]
pub(in crate::fused) enum KeptPart<'a> {
    Plain(&'a [f32]),
    Rounded(&'a [bf16]),
}

/// Part of kept values that tasks write, each its own range.
#[derive(Clone, Copy)]
pub(in crate::fused) enum SharedKept {
    Plain(Shared),
    Rounded(Shared<bf16>),
}

impl Kept {
    /// Keeps the values as the precision of the products says.
    pub fn new(values: Vec<f32>, precision: Precision) -> Self {
        if precision != Precision::Bf16 {
            return Self::Plain(values);
        }
        let fill = |kept: Shared<bf16>| write_rounded(&values, kept);
        // SAFETY: every element is written.
        Self::Rounded(unsafe { filled(values.len(), fill) })
    }

    /// Returns `length` kept values that `fill` writes in full.
    ///
    /// # Safety
    /// `fill` writes every element, and reads none before it is written.
    pub unsafe fn filled(
        length: usize,
        precision: Precision,
        fill: impl FnOnce(SharedKept),
    ) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            match precision {
                Precision::F32 | Precision::Tf32 => {
                    Self::Plain(filled(length, |kept| fill(SharedKept::Plain(kept))))
                }
                Precision::Bf16 => {
                    Self::Rounded(filled(length, |kept| fill(SharedKept::Rounded(kept))))
                }
            }
        }
    }

    /// Returns `count` rows of `width` values from the row `start` on.
    pub fn rows(&self, start: usize, count: usize, width: usize) -> KeptPart<'_> {
        self.all().part(start * width, count * width)
    }

    pub fn all(&self) -> KeptPart<'_> {
        match self {
            Self::Plain(values) => KeptPart::Plain(values),
            Self::Rounded(values) => KeptPart::Rounded(values),
        }
    }
}

impl<'a> KeptPart<'a> {
    pub fn len(self) -> usize {
        match self {
            Self::Plain(values) => values.len(),
            Self::Rounded(values) => values.len(),
        }
    }

    /// Returns the values `start..start + length`.
    pub fn part(self, start: usize, length: usize) -> Self {
        match self {
            Self::Plain(values) => Self::Plain(&values[start..][..length]),
            Self::Rounded(values) => Self::Rounded(&values[start..][..length]),
        }
    }

    /// Lends the values as f32.
    pub fn with_floats<R>(self, work: impl FnOnce(&[f32]) -> R) -> R {
        with_floats([self], |[values]| work(values))
    }
}

/// Lends several parts as f32: those that are f32 as they are, the others in scratch memory.
pub(in crate::fused) fn with_floats<const N: usize, R>(
    parts: [KeptPart; N],
    work: impl FnOnce([&[f32]; N]) -> R,
) -> R {
    let lengths = parts.map(|part| match part {
        KeptPart::Plain(_) => 0,
        KeptPart::Rounded(values) => values.len(),
    });
    let lend = |scratch: &mut [f32]| {
        let widened = split(scratch, lengths);
        let mut floats: [&[f32]; N] = [&[]; N];
        for ((floats, part), scratch) in floats.iter_mut().zip(parts).zip(widened) {
            *floats = match part {
                KeptPart::Plain(values) => values,
                KeptPart::Rounded(values) => {
                    write_widened(values, scratch);
                    scratch
                }
            };
        }
        work(floats)
    };
    match lengths.iter().sum() {
        // A nested call may then use the largest buffer.
        0 => lend(&mut []),
        length => with_buffer(length, lend),
    }
}

impl SharedKept {
    /// Returns the range `start..start + length`. Panics if it exceeds the memory.
    pub fn part(self, start: usize, length: usize) -> Self {
        match self {
            Self::Plain(values) => Self::Plain(values.part(start, length)),
            Self::Rounded(values) => Self::Rounded(values.part(start, length)),
        }
    }

    /// Lets `fill` write all values as f32, which may be uninitialized, and use them before they are rounded.
    ///
    /// # Safety
    /// No other task holds an overlapping range. `fill` writes every element, and reads none before it is written.
    pub unsafe fn fill<R>(self, fill: impl FnOnce(Shared) -> R) -> R {
        match self {
            Self::Plain(values) => fill(values),
            Self::Rounded(values) => with_buffer(values.len(), |floats| {
                let result = fill(Shared::new(floats));
                write_rounded(floats, values);
                result
            }),
        }
    }
}

/// Writes all of `to`, which may be uninitialized.
fn write_rounded(from: &[f32], to: Shared<bf16>) {
    assert_eq!(from.len(), to.len());
    for_each_range(from.len(), CONVERSION, |at| {
        // SAFETY: chunks do not overlap.
        round(&from[at.clone()], unsafe { to.zeroed(at.start, at.len()) });
    });
}

fn write_widened(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for_each_chunk(to, CONVERSION, |at, to| widen(&from[at], to));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::simd::chunks::CHUNK;

    fn floats(kept: &Kept) -> Vec<f32> {
        kept.all().with_floats(<[f32]>::to_vec)
    }

    /// Checks that f32 keeps every bit, that bf16 rounds as its definition says, and that rounded values stay as they
    /// are when they are rounded again.
    #[test]
    fn values_are_kept_in_the_precision_of_the_products() {
        let values: Vec<f32> = (0..3 * CHUNK + 5)
            .map(|at| (at as f32 * 0.37).sin() * 10f32.powi(at as i32 % 9 - 4))
            .chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX])
            .collect();
        assert_eq!(floats(&Kept::new(values.clone(), Precision::F32)), values);
        let rounded = floats(&Kept::new(values.clone(), Precision::Bf16));
        let expected: Vec<f32> = values
            .iter()
            .map(|value| bf16::from_f32(*value).to_f32())
            .collect();
        assert_eq!(rounded, expected);
        assert_eq!(
            floats(&Kept::new(rounded.clone(), Precision::Bf16)),
            rounded
        );
        let nan = floats(&Kept::new(vec![f32::NAN], Precision::Bf16));
        assert!(nan[0].is_nan());
    }

    /// Checks that tasks fill parts, see their own values before rounding, and that parts are lent side by side.
    #[test]
    fn parts_are_filled_and_lent() {
        for (precision, third) in [(Precision::F32, 1.001), (Precision::Bf16, 1.0)] {
            let fill = |kept: SharedKept| {
                for start in [0, 2] {
                    // SAFETY: the parts do not overlap, and each is written.
                    unsafe {
                        kept.part(start, 2).fill(|floats| {
                            floats.write(0, &[start as f32 / 2.0, 1.001]);
                            assert_eq!(floats.slice(1, 1), [1.001]);
                        });
                    }
                }
            };
            // SAFETY: both parts are written.
            let kept = unsafe { Kept::filled(4, precision, fill) };
            let plain = Kept::new(vec![5.0], Precision::F32);
            let parts = [kept.all().part(1, 3), plain.all()];
            with_floats(parts, |[one, other]| {
                assert_eq!(one, [third, 1.0, third]);
                assert_eq!(other, [5.0]);
            });
            assert_eq!(kept.all().len(), 4);
        }
    }
}
