//! Root-mean-square normalization.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{multiply_add, reduce};
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::row_sums::sum_rows;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Number of rows that one parallel task processes.
const ROWS: usize = 64;

struct RmsNorm {
    epsilon: f64,
    tracked: (bool, bool),
    /// 1 / √(mean(x²) + ε) of each row, stored for the backward pass.
    scales: OnceLock<Vec<f32>>,
}

/// Computes x / √(mean(x²) + ε) · weight over the last dimension: (.., width), (width) → (.., width).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let operation = RmsNorm {
        epsilon,
        tracked: (x.track_op(), weight.track_op()),
        scales: OnceLock::new(),
    };
    x.contiguous()?.apply_op2(&weight.contiguous()?, operation)
}

vectorized! {
    /// Computes y = x·scale·weight for one row, with scale = 1 / √(mean(x²) + ε). Returns the scale.
    pub(in crate::fused) fn forward_row(x: &[f32], weight: &[f32], y: &mut [f32], epsilon: f32) -> f32 {
        let squares = reduce::<FMA>(x, x, |sum, a, b| multiply_add::<FMA>(a, b, sum));
        let scale = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
        for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * weight;
        }
        scale
    }

    /// Computes y = x·scale·weight for one row whose scale is known.
    fn scale_row(x: &[f32], weight: &[f32], y: &mut [f32], scale: f32) {
        for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * weight;
        }
        let _ = FMA;
    }

    /// Computes dx = scale·(weight·dy − x·scale²·mean(weight·dy·x)) for one row.
    pub(in crate::fused) fn backward_row(x: &[f32], weight: &[f32], gradient: &[f32], scale: f32, dx: &mut [f32]) {
        for ((dx, weight), gradient) in dx.iter_mut().zip(weight).zip(gradient) {
            *dx = weight * gradient;
        }
        let sum = reduce::<FMA>(dx, x, |sum, a, b| multiply_add::<FMA>(a, b, sum));
        let pull = sum / x.len() as f32 * scale * scale * scale;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = multiply_add::<FMA>(-pull, *x, *dx * scale);
        }
    }

    /// Adds one row to the weight gradient: dweight += x·scale·dy.
    pub(in crate::fused) fn add_weight_row(x: &[f32], gradient: &[f32], scale: f32, sum: &mut [f32]) {
        for ((sum, x), gradient) in sum.iter_mut().zip(x).zip(gradient) {
            *sum = multiply_add::<FMA>(x * scale, *gradient, *sum);
        }
    }
}

/// Normalizes all rows into `y`, which may be uninitialized. `scales` receives one number for each row: 1 /
/// √(mean(x²) + ε).
pub(in crate::fused) fn normalize(
    [x, weight]: [&[f32]; 2],
    epsilon: f64,
    y: Shared,
    scales: &mut [f32],
) {
    let (rows, width) = (scales.len(), weight.len());
    let scales = Shared::new(scales);
    for_each(rows.div_ceil(ROWS), 8 * x.len(), |task| {
        for row in task * ROWS..rows.min((task + 1) * ROWS) {
            // SAFETY: each row is written by one task.
            let (y, scale) = unsafe { (y.zeroed(row * width, width), scales.slice(row, 1)) };
            let x = &x[row * width..(row + 1) * width];
            scale[0] = forward_row(x, weight, y, epsilon as f32);
        }
    });
}

/// Recomputes the output of [`normalize`] from the scales that it wrote.
pub(in crate::fused) fn normalize_again([x, weight]: [&[f32]; 2], scales: &[f32], y: &mut [f32]) {
    let width = weight.len();
    let y = Shared::new(y);
    for_each(scales.len().div_ceil(ROWS), 4 * x.len(), |task| {
        for (row, scale) in scales.iter().enumerate().skip(task * ROWS).take(ROWS) {
            // SAFETY: each row is written by one task.
            let y = unsafe { y.slice(row * width, width) };
            scale_row(&x[row * width..][..width], weight, y, *scale);
        }
    });
}

/// Computes the gradient of x from that of y, into `dx`, which may be uninitialized. `scales` are those of
/// [`normalize`].
pub(in crate::fused) fn input_gradient(
    [x, weight, gradient]: [&[f32]; 3],
    scales: &[f32],
    dx: Shared,
) {
    let width = weight.len();
    for_each(scales.len().div_ceil(ROWS), 8 * x.len(), |task| {
        for (row, scale) in scales.iter().enumerate().skip(task * ROWS).take(ROWS) {
            let at = row * width..(row + 1) * width;
            // SAFETY: each row is written by one task.
            let dx = unsafe { dx.zeroed(row * width, width) };
            backward_row(&x[at.clone()], weight, &gradient[at], *scale, dx);
        }
    });
}

/// Adds the gradient of the weight, from that of y, to `sum`.
pub(in crate::fused) fn weight_gradient(
    [x, gradient]: [&[f32]; 2],
    scales: &[f32],
    sum: &mut [f32],
) {
    let width = sum.len();
    sum_rows(scales.len(), 8 * x.len(), sum, |rows, part| {
        for row in rows {
            let at = row * width..(row + 1) * width;
            add_weight_row(&x[at.clone()], &gradient[at], scales[row], part);
        }
    });
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (contiguous(x, x_layout)?, contiguous(weight, weight_layout)?);
        let width = weight.len();
        let rows = x.len().checked_div(width).unwrap_or(0);
        let mut scales = vec![0.0; rows];
        let fill = |y: Shared| normalize([x, weight], self.epsilon, y, &mut scales);
        // SAFETY: the tasks write all rows.
        let y = unsafe { filled(x.len(), fill) };
        let _ = self.scales.set(scales);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_tracked, weight_tracked) = self.tracked;
        let scales = self.scales.get().map_or(&[][..], |scales| scales);
        let (values, gradient) = (Floats::of(x)?, Floats::of(&gradient)?);
        let for_x = || -> Result<Tensor> {
            let weight = Floats::of(weight)?;
            let fill = |dx: Shared| input_gradient([&values, &weight, &gradient], scales, dx);
            // SAFETY: the tasks write all rows.
            tensor(unsafe { filled(values.len(), fill) }, x.shape())
        };
        let for_weight = || -> Result<Tensor> {
            let mut sum = vec![0.0; weight.elem_count()];
            weight_gradient([&values, &gradient], scales, &mut sum);
            tensor(sum, weight.shape())
        };
        Ok((
            x_tracked.then(for_x).transpose()?,
            weight_tracked.then(for_weight).transpose()?,
        ))
    }
}
