//! Layer normalization.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{multiply_add, reduce};
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::row_sums::sum_rows;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Number of rows that one parallel task processes.
const ROWS: usize = 64;

struct LayerNorm {
    epsilon: f64,
    /// Tracking of x, the weight and the bias. No gradient is computed for an untracked one.
    tracked: [bool; 3],
    /// mean(x) and 1 / √(variance(x) + ε) of each row, stored for the backward pass: (rows, 2).
    moments: OnceLock<Vec<f32>>,
}

/// Computes (x − mean(x)) / √(variance(x) + ε) · weight + bias over the last dimension: (.., width), (width), (width)
/// → (.., width).
pub(crate) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let operation = LayerNorm {
        epsilon,
        tracked: [x.track_op(), weight.track_op(), bias.track_op()],
        moments: OnceLock::new(),
    };
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, operation)
}

vectorized! {
    /// Computes y = (x − mean)·scale·weight + bias for one row. Returns the mean and the scale.
    fn forward_row(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32], epsilon: f32) -> [f32; 2] {
        let width = x.len() as f32;
        let mean = reduce::<FMA>(x, x, |sum, x, _| sum + x) / width;
// Sums squared differences from the mean: mean(x²) − mean(x)² would lose precision for a row far from zero.
        let variance = reduce::<FMA>(x, x, |sum, x, _| {
            let centered = x - mean;
            multiply_add::<FMA>(centered, centered, sum)
        }) / width;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = multiply_add::<FMA>((x - mean) * scale, *weight, *bias);
        }
        [mean, scale]
    }

    /// Computes dx = scale·(g − mean(g) − n·mean(g·n)) for one row, with g = weight·dy and n = (x − mean)·scale.
    fn backward_row(x: &[f32], weight: &[f32], dy: &[f32], moments: &[f32], dx: &mut [f32]) {
        let (mean, scale) = (moments[0], moments[1]);
        for ((dx, weight), dy) in dx.iter_mut().zip(weight).zip(dy) {
            *dx = weight * dy;
        }
        let width = x.len() as f32;
        let level = reduce::<FMA>(dx, dx, |sum, g, _| sum + g) / width;
        let pull = reduce::<FMA>(dx, x, |sum, g, x| multiply_add::<FMA>(g, x - mean, sum)) / width;
        let pull = pull * scale * scale;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = scale * multiply_add::<FMA>(-pull, x - mean, *dx - level);
        }
    }

    /// Adds one row to the parameter gradients: dweight += n·dy and dbias += dy.
    fn add_row(x: &[f32], dy: &[f32], moments: &[f32], dweight: &mut [f32], dbias: &mut [f32]) {
        let (mean, scale) = (moments[0], moments[1]);
        for (((dweight, dbias), x), dy) in dweight.iter_mut().zip(dbias).zip(x).zip(dy) {
            *dweight = multiply_add::<FMA>((x - mean) * scale, *dy, *dweight);
            *dbias += dy;
        }
    }
}

/// Normalizes all rows into `y`. `moments` receives two numbers for each row: its mean and its scale.
fn normalize([x, weight, bias]: [&[f32]; 3], epsilon: f64, y: Shared, moments: &mut [f32]) {
    let (rows, width) = (moments.len() / 2, weight.len());
    let moments = Shared::new(moments);
    for_each(rows.div_ceil(ROWS), 10 * x.len(), |task| {
        for row in task * ROWS..rows.min((task + 1) * ROWS) {
            // SAFETY: each row is written by one task.
            let (y, moments) = unsafe { (y.zeroed(row * width, width), moments.slice(2 * row, 2)) };
            let x = &x[row * width..][..width];
            moments.copy_from_slice(&forward_row(x, weight, bias, y, epsilon as f32));
        }
    });
}

/// Computes the gradient of x from that of y. `moments` are the means and scales from [`normalize`].
fn input_gradient([x, weight, dy]: [&[f32]; 3], moments: &[f32], dx: Shared) {
    let (rows, width) = (moments.len() / 2, weight.len());
    for_each(rows.div_ceil(ROWS), 10 * x.len(), |task| {
        for row in task * ROWS..rows.min((task + 1) * ROWS) {
            let at = row * width..(row + 1) * width;
            // SAFETY: each row is written by one task.
            let dx = unsafe { dx.zeroed(row * width, width) };
            let moments = &moments[2 * row..][..2];
            backward_row(&x[at.clone()], weight, &dy[at], moments, dx);
        }
    });
}

/// Returns the gradient of the weight, followed by that of the bias.
fn weight_gradients([x, dy]: [&[f32]; 2], moments: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; 2 * width];
    sum_rows(moments.len() / 2, 8 * x.len(), &mut sums, |rows, part| {
        let (dweight, dbias) = part.split_at_mut(width);
        for row in rows {
            let at = row * width..(row + 1) * width;
            let moments = &moments[2 * row..][..2];
            add_row(&x[at.clone()], &dy[at], moments, dweight, dbias);
        }
    });
    sums
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (contiguous(x, x_layout)?, contiguous(weight, weight_layout)?);
        let bias = contiguous(bias, bias_layout)?;
        let rows = x.len().checked_div(weight.len()).unwrap_or(0);
        let mut moments = vec![0.0; 2 * rows];
        let fill = |y: Shared| normalize([x, weight, bias], self.epsilon, y, &mut moments);
        // SAFETY: the tasks write all rows.
        let y = unsafe { filled(x.len(), fill) };
        let _ = self.moments.set(moments);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let moments = self.moments.get().map_or(&[][..], |moments| moments);
        let (values, gradient) = (Floats::of(x)?, Floats::of(&gradient)?);
        let [x_tracked, weight_tracked, bias_tracked] = self.tracked;
        let for_x = || -> Result<Tensor> {
            let weight = Floats::of(weight)?;
            let fill = |dx: Shared| input_gradient([&values, &weight, &gradient], moments, dx);
            // SAFETY: the tasks write all rows.
            tensor(unsafe { filled(values.len(), fill) }, x.shape())
        };
        let dx = x_tracked.then(for_x).transpose()?;
        if !weight_tracked && !bias_tracked {
            return Ok((dx, None, None));
        }
        let mut dweight = weight_gradients([&values, &gradient], moments, weight.elem_count());
        let dbias = dweight.split_off(weight.elem_count());
        let dweight = weight_tracked.then(|| tensor(dweight, weight.shape()));
        let dbias = bias_tracked.then(|| tensor(dbias, bias.shape()));
        Ok((dx, dweight.transpose()?, dbias.transpose()?))
    }
}
