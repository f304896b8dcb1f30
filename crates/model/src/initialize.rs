//! Seeded initial weights: each parameter has a random stream of its own, the same on every platform.

use candle_core::{Device, Tensor};
use polymath_base::{GOLDEN, fnv1a};

use crate::{ModelConfig, ModelError};

/// Initializes the weights of a new model. They are normally distributed with standard deviation `initializer_range`;
/// projections that write to the residual stream are scaled by 1/√(2·layers) (Radford 2019). Normalization weights
/// are one, biases zero.
///
/// The values of a parameter depend only on the seed, its name and its shape: not on the order of initialization, the
/// number of threads, or the platform's math library.
pub fn initialize(
    config: &ModelConfig,
    seed: u64,
    device: &Device,
) -> Result<Vec<(String, Tensor)>, ModelError> {
    let residual_scale = 1.0 / (2.0 * config.num_hidden_layers as f64).sqrt();
    config
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let values = if name.ends_with(".bias") {
                vec![0f32; count]
            } else if shape.len() == 1 {
                vec![1f32; count]
            } else {
                let residual = name.contains("o_proj") || name.contains("down_proj");
                let scale = if residual { residual_scale } else { 1.0 };
                normal(seed, &name, count, config.initializer_range * scale)
            };
            Ok((name, Tensor::from_vec(values, shape, device)?))
        })
        .collect()
}

/// Draws `count` values from N(0, deviation²) by the Box–Muller transform of a counter-based generator.
fn normal(seed: u64, name: &str, count: usize, deviation: f64) -> Vec<f32> {
    let stream = mix(seed ^ fnv1a(name));
    let uniform = |counter: u64| {
        // 53 bits, strictly inside (0, 1), so that the logarithm is finite.
        ((mix(stream.wrapping_add(counter)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut values = Vec::with_capacity(count + 1);
    for pair in 0..count.div_ceil(2) as u64 {
        let radius = (-2.0 * libm::log(uniform(2 * pair))).sqrt() * deviation;
        let angle = std::f64::consts::TAU * uniform(2 * pair + 1);
        values.push((radius * libm::cos(angle)) as f32);
        values.push((radius * libm::sin(angle)) as f32);
    }
    values.truncate(count);
    values
}

/// Draws `count` values from the uniform distribution in ±`bound`.
pub(crate) fn uniform(seed: u64, name: &str, count: usize, bound: f64) -> Vec<f32> {
    let stream = mix(seed ^ fnv1a(name));
    (0..count as u64)
        .map(|at| {
            let unit = (mix(stream.wrapping_add(at)) >> 11) as f64 / (1u64 << 53) as f64;
            ((2.0 * unit - 1.0) * bound) as f32
        })
        .collect()
}

/// Mixes the bits of a number by SplitMix64's finalizer over a Weyl sequence, so that neighboring numbers give
/// unrelated results.
pub(crate) fn mix(value: u64) -> u64 {
    polymath_base::mix(value.wrapping_mul(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_normal_and_recorded() {
        let values = normal(7, "model.layers.0.mlp.up_proj.weight", 200_001, 0.5);
        assert_eq!(values.len(), 200_001);
        // The bits are the same on every platform; the first ones are recorded here.
        let bits: Vec<u32> = values[..4].iter().map(|value| value.to_bits()).collect();
        assert_eq!(
            bits,
            [3_208_375_704, 1_051_732_052, 3_206_290_275, 1_059_396_922]
        );
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance =
            values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 4.0 * 0.5 / (200_001f64).sqrt(), "mean {mean}");
        assert!((variance - 0.25).abs() < 0.005, "variance {variance}");
        let tail = values.iter().filter(|v| v.abs() > 0.98).count() as f64 / values.len() as f64;
        assert!((tail - 0.05).abs() < 0.003, "two-sided 5 % tail: {tail}");
    }

    #[test]
    fn streams_differ_by_name_and_seed() {
        let first = normal(1, "a", 8, 1.0);
        assert_eq!(first, normal(1, "a", 8, 1.0));
        assert_ne!(first, normal(2, "a", 8, 1.0));
        assert_ne!(first, normal(1, "b", 8, 1.0));
        // A longer parameter begins like a shorter one of the same name.
        assert_eq!(first, normal(1, "a", 9, 1.0)[..8]);
    }
}
