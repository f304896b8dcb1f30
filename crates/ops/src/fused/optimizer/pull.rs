//! Gradient of a quadratic penalty in one pass.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::Pull;
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{LANES, horizontal_sum, multiply_add};
use crate::fused::simd::storage::{Floats, tensor};

/// Number of elements that one parallel task sums: a constant, so that the sum always has the same order.
const CHUNK: usize = 1 << 13;

/// Returns gradient + factor·weight·(parameter − anchor), and Σ weight·(parameter − anchor)².
pub(crate) fn pull(gradient: &Tensor, pull: &Pull, factor: f64) -> Result<(Tensor, f64)> {
    let (parameter, anchor) = (pull.parameter.contiguous()?, pull.anchor.contiguous()?);
    let weight = pull.weight.map(Tensor::contiguous).transpose()?;
    let (parameter, anchor) = (Floats::of(&parameter)?, Floats::of(&anchor)?);
    let weight = weight.as_ref().map(Floats::of).transpose()?;
    let gradient = gradient.contiguous()?;
    let mut moved = Floats::of(&gradient)?.to_vec();
    let (parameter, anchor) = (&*parameter, &*anchor);
    let weight = weight.as_deref();
    let sums: Vec<f64> = moved
        .par_chunks_mut(CHUNK)
        .enumerate()
        .map(|(chunk, moved)| {
            let range = chunk * CHUNK..chunk * CHUNK + moved.len();
            let (parameter, anchor) = (&parameter[range.clone()], &anchor[range.clone()]);
            f64::from(match weight {
                Some(weight) => {
                    pull_weighted(moved, parameter, anchor, &weight[range], factor as f32)
                }
                None => pull_alike(moved, parameter, anchor, factor as f32),
            })
        })
        .collect();
    let moved = tensor(moved, gradient.shape())?;
    Ok((moved, sums.into_iter().sum()))
}

vectorized! {
/// Adds the penalty's gradient to one chunk, with a weight of 1 for all elements. Returns the chunk's part of the
/// sum.
    fn pull_alike(moved: &mut [f32], parameter: &[f32], anchor: &[f32], factor: f32) -> f32 {
        let mut sums = [0f32; LANES];
        let (moved, moved_rest) = moved.as_chunks_mut::<LANES>();
        let (parameter, parameter_rest) = parameter.as_chunks::<LANES>();
        let (anchor, anchor_rest) = anchor.as_chunks::<LANES>();
        for ((moved, parameter), anchor) in moved.iter_mut().zip(parameter).zip(anchor) {
            for lane in 0..LANES {
                let away = parameter[lane] - anchor[lane];
                moved[lane] = multiply_add::<FMA>(factor, away, moved[lane]);
                sums[lane] = multiply_add::<FMA>(away, away, sums[lane]);
            }
        }
        for (lane, moved) in moved_rest.iter_mut().enumerate() {
            let away = parameter_rest[lane] - anchor_rest[lane];
            *moved = multiply_add::<FMA>(factor, away, *moved);
            sums[lane] = multiply_add::<FMA>(away, away, sums[lane]);
        }
        horizontal_sum(sums)
    }

/// Adds the penalty's gradient to one chunk, with a weight for each element. Returns the chunk's part of the sum.
    fn pull_weighted(moved: &mut [f32], parameter: &[f32], anchor: &[f32], weight: &[f32], factor: f32) -> f32 {
        let mut sums = [0f32; LANES];
        let (moved, moved_rest) = moved.as_chunks_mut::<LANES>();
        let (parameter, parameter_rest) = parameter.as_chunks::<LANES>();
        let (anchor, anchor_rest) = anchor.as_chunks::<LANES>();
        let (weight, weight_rest) = weight.as_chunks::<LANES>();
        let places = moved.iter_mut().zip(parameter).zip(anchor).zip(weight);
        for (((moved, parameter), anchor), weight) in places {
            for lane in 0..LANES {
                let away = parameter[lane] - anchor[lane];
                let pulled = weight[lane] * away;
                moved[lane] = multiply_add::<FMA>(factor, pulled, moved[lane]);
                sums[lane] = multiply_add::<FMA>(pulled, away, sums[lane]);
            }
        }
        for (lane, moved) in moved_rest.iter_mut().enumerate() {
            let away = parameter_rest[lane] - anchor_rest[lane];
            let pulled = weight_rest[lane] * away;
            *moved = multiply_add::<FMA>(factor, pulled, *moved);
            sums[lane] = multiply_add::<FMA>(pulled, away, sums[lane]);
        }
        horizontal_sum(sums)
    }
}
