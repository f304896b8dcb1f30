//! Distance between the weights of two models.

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_model::{EMBEDDING, HEAD};

use crate::StudyError;

/// Parameters by name.
pub(super) type Weights = BTreeMap<String, Tensor>;

/// Largest relative difference of two values that rounding to bf16 can explain: twice its half unit in the last place.
const ROUNDING: f64 = 1.0 / 256.0;
/// Difference that rounding to f16 can explain even for values that are almost 0.
const TINY: f64 = 6.1e-5;

/// Median distance of the matrices above which two models are unrelated.
///
/// The distance of matrices B and T is ‖T − B‖ / √((‖T‖² + ‖B‖²) / 2), which is √(2 − 2·cos) for equal norms: 0 for
/// equal matrices, and √2 for matrices that have nothing in common, whose cosine in some hundred thousand dimensions is
/// below 0.01. 1.2 stands for a cosine of 0.28: a fine-tuning that came so far would have added 3.4 times as much as
/// the base's weights. Long fine-tunings measure about 0.1.
pub(super) const UNRELATED: f64 = 1.2;
/// Median distance above which a fine-tuning is unusually far from its base: a change half as large as the weights.
pub(super) const FAR: f64 = 0.5;

/// Distance between the weights of two models of one architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distance {
    /// Median of the relative Frobenius distances of all matrices in the blocks.
    pub median: f64,
    /// True if all parameters are equal.
    pub is_same: bool,
    /// True if rounding to bf16 or f16 explains all differences.
    pub is_rounding: bool,
}

/// Sums of squares over two tensors of one shape: of each, and of their difference.
#[derive(Default)]
struct Sums {
    first: f64,
    second: f64,
    difference: f64,
    is_rounding: bool,
}

impl Distance {
    /// Measures the distance. Returns the name of the first parameter that is missing or of another shape as `Err`; the
    /// rows of the vocabulary may differ in number, in which case embedding and head are left out.
    pub fn of(base: &Weights, tuned: &Weights) -> Result<Result<Self, String>, StudyError> {
        let missing = base.keys().find(|name| !tuned.contains_key(*name));
        let missing = missing.or_else(|| tuned.keys().find(|name| !base.contains_key(*name)));
        if let Some(name) = missing.filter(|name| *name != HEAD) {
            return Ok(Err(format!("`{name}` is a parameter of only one of them")));
        }
        let mut found = Self {
            median: 0.0,
            is_same: missing.is_none(),
            is_rounding: missing.is_none(),
        };
        let mut distances = Vec::new();
        for (name, before) in base {
            let Some(after) = tuned.get(name) else {
                continue;
            };
            let is_vocabulary = name == EMBEDDING || name == HEAD;
            if before.dims() != after.dims() {
                if is_vocabulary && before.dims().last() == after.dims().last() {
                    (found.is_same, found.is_rounding) = (false, false);
                    continue;
                }
                return Ok(Err(format!(
                    "`{name}` has the shape {:?} in the base and {:?} in the tuned model",
                    before.dims(),
                    after.dims()
                )));
            }
            let sums = Sums::of(&values(before)?, &values(after)?);
            found.is_same &= sums.difference == 0.0;
            found.is_rounding &= sums.is_rounding;
            if before.dims().len() == 2 && !is_vocabulary {
                let size = f64::midpoint(sums.first, sums.second);
                distances.push((sums.difference / size.max(f64::MIN_POSITIVE)).sqrt());
            }
        }
        distances.sort_by(f64::total_cmp);
        found.median = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
        Ok(Ok(found))
    }
}

impl Sums {
    fn of(first: &[f32], second: &[f32]) -> Self {
        let mut sums = Self {
            is_rounding: true,
            ..Self::default()
        };
        for (a, b) in first.iter().zip(second) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            sums.first += a * a;
            sums.second += b * b;
            sums.difference += (b - a) * (b - a);
            sums.is_rounding &= (b - a).abs() <= ROUNDING * a.abs().max(b.abs()).max(TINY);
        }
        sums
    }
}

/// Returns the elements of a tensor as a vector.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>, StudyError> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn weights(seed: u64, scale: f64) -> Weights {
        let value = |at: u64| {
            let hash = (at + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            (polymath_base::fnv1a(&hash.to_string()) % 2001) as f32 / 1000.0 - 1.0
        };
        let matrix = |from: u64| {
            let values: Vec<f32> = (from..from + 4096).map(value).collect();
            let matrix = Tensor::from_vec(values, (64, 64), &Device::Cpu).unwrap();
            (matrix * scale).unwrap()
        };
        let names = [
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.1.mlp.up_proj.weight",
        ];
        (0..)
            .zip(names)
            .map(|(at, name)| (name.to_owned(), matrix(at * 4096)))
            .collect()
    }

    fn distance(base: &Weights, tuned: &Weights) -> Distance {
        Distance::of(base, tuned).unwrap().unwrap()
    }

    /// Checks that unrelated weights are √2 apart, also at other sizes, and equal ones 0.
    #[test]
    fn unrelated_weights_are_the_root_of_two_apart() {
        let base = weights(1, 0.02);
        for scale in [0.02, 0.01, 0.05] {
            let found = distance(&base, &weights(2, scale));
            assert!((found.median - 2f64.sqrt()).abs() < 0.06, "{found:?}");
            assert!(found.median > UNRELATED && !found.is_rounding, "{found:?}");
        }
        let same = distance(&base, &base);
        assert_eq!(
            (same.median, same.is_same, same.is_rounding),
            (0.0, true, true)
        );
    }

    /// Checks that rounding to bf16 is told from a small change.
    #[test]
    fn rounding_is_told_from_a_change() {
        let base = weights(1, 0.02);
        let rounded = base.iter().map(|(name, tensor)| {
            let round = |value: &f32| f32::from_bits((value.to_bits() + 0x8000) & 0xffff_0000);
            let values: Vec<f32> = values(tensor).unwrap().iter().map(round).collect();
            (
                name.clone(),
                Tensor::from_vec(values, (64, 64), &Device::Cpu).unwrap(),
            )
        });
        let found = distance(&base, &rounded.collect());
        assert!(found.is_rounding && !found.is_same, "{found:?}");
        let changed = base.iter().map(|(name, tensor)| {
            let other = &weights(2, 0.0002)[name];
            (name.clone(), (tensor + other).unwrap())
        });
        let found = distance(&base, &changed.collect());
        assert!(!found.is_rounding && found.median < 0.05, "{found:?}");
    }

    /// Checks that a parameter of another shape is named, but not a vocabulary of another size.
    #[test]
    fn other_shapes_are_named() {
        let mut base = weights(1, 0.02);
        let rows = |count| Tensor::ones((count, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        base.insert(EMBEDDING.to_owned(), rows(30));
        let mut tuned = base.clone();
        tuned.insert(EMBEDDING.to_owned(), rows(31));
        let found = distance(&base, &tuned);
        assert!(found.median == 0.0 && !found.is_same, "{found:?}");
        let name = "model.layers.1.mlp.up_proj.weight";
        tuned.insert(name.to_owned(), rows(4));
        let refused = Distance::of(&base, &tuned).unwrap().unwrap_err();
        assert!(
            refused.contains(name) && refused.contains("[4, 8]"),
            "{refused}"
        );
        tuned.remove(name);
        assert!(
            Distance::of(&base, &tuned)
                .unwrap()
                .unwrap_err()
                .contains(name)
        );
    }
}
