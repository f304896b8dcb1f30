//! The pull of a quadratic penalty in one pass.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::storage::{Floats, tensor};
use crate::Pull;

/// Elements of a task: fixed, so that the sum has one order.
const CHUNK: usize = 1 << 13;
/// Partial sums that are kept apart, so that they can be added side by side.
const LANES: usize = 16;

/// gradient + factor·weight·(parameter − anchor), and Σ weight·(parameter − anchor)².
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
            let weight = weight.map(|weight| &weight[range.clone()]);
            let places = (&parameter[range.clone()], &anchor[range]);
            pull_chunk(moved, places, weight, factor as f32)
        })
        .collect();
    let moved = tensor(moved, gradient.shape())?;
    Ok((moved, sums.into_iter().sum()))
}

fn pull_chunk(
    moved: &mut [f32],
    (parameter, anchor): (&[f32], &[f32]),
    weight: Option<&[f32]>,
    factor: f32,
) -> f64 {
    let mut sums = [0f32; LANES];
    for start in (0..moved.len()).step_by(LANES) {
        let end = moved.len().min(start + LANES);
        let places = parameter[start..end].iter().zip(&anchor[start..end]);
        for (lane, ((moved, sum), (parameter, anchor))) in moved[start..end]
            .iter_mut()
            .zip(&mut sums)
            .zip(places)
            .enumerate()
        {
            let away = parameter - anchor;
            let held = weight.map_or(away, |weight| weight[start + lane] * away);
            *moved += factor * held;
            *sum += held * away;
        }
    }
    sums.into_iter().map(f64::from).sum()
}
