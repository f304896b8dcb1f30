//! Weights of the stored outputs, drawn like `numbers` in `scripts/check/fixtures.py`.

use candle_core::{Device, Tensor};

/// Draws the values of a tensor with this seed: around 1 for vectors, around 0 for matrices.
pub fn numbers(seed: usize, shape: &[usize]) -> Tensor {
    let (around, spread) = if shape.len() == 1 {
        (1.0, 0.4)
    } else {
        (0.0, 0.5)
    };
    let mut state = (seed as u32)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (around + spread * (f64::from(state) / f64::from(1u32 << 31) - 1.0)) as f32
    };
    let count = shape.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(&mut next).take(count).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
