//! Linear projection.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use crate::Precision;
use crate::fused::gemm::driver::{Store, gemm_into};
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::chunks::add;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::row_sums::sum_rows;
use crate::fused::simd::storage::{Floats, contiguous, is_matrix, matrix, tensor, tensor_matrix};

/// Number of rows that one parallel task processes.
const ROWS: usize = 64;

/// Custom operation x·weightᵀ.
struct Linear {
    precision: Precision,
    /// Tracking of x and the weight. No gradient is computed for an untracked one.
    tracked: (bool, bool),
}

/// Custom operation x·weightᵀ + bias.
struct Biased {
    product: Linear,
    bias_tracked: bool,
}

/// Computes x·weightᵀ + bias: (.., in), (out, in), (out) → (.., out).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let x = if is_matrix(x) { x } else { &x.contiguous()? };
    let tracked = (x.track_op(), weight.track_op());
    let product = Linear { precision, tracked };
    let Some(bias) = bias else {
        return x.apply_op2(weight, product);
    };
    let operation = Biased {
        product,
        bias_tracked: bias.track_op(),
    };
    x.apply_op3(weight, &bias.contiguous()?, operation)
}

/// Returns A·B in a new vector, row after row.
pub(crate) fn new_product(a: Matrix, b: Matrix, precision: Precision) -> Vec<f32> {
    let fill = |c: Shared| gemm_into(Format::of(precision), a, b, c, Store::Replace);
    // SAFETY: the product replaces every element.
    unsafe { filled(a.rows * b.columns, fill) }
}

/// Adds the bias to each row.
fn add_to_rows(bias: &[f32], y: &mut [f32]) {
    let width = bias.len();
    let (rows, work) = (y.len().checked_div(width).unwrap_or(0), 4 * y.len());
    let y = Shared::new(y);
    for_each(rows.div_ceil(ROWS), work, |task| {
        for row in task * ROWS..rows.min((task + 1) * ROWS) {
            // SAFETY: each row is written by one task.
            add(bias, unsafe { y.slice(row * width, width) });
        }
    });
}

/// Returns the sum of all rows.
fn sum_of_rows(gradient: &[f32], width: usize) -> Vec<f32> {
    let rows = gradient.len().checked_div(width).unwrap_or(0);
    let mut sum = vec![0.0; width];
    sum_rows(rows, 4 * gradient.len(), &mut sum, |rows, part| {
        for row in rows {
            add(&gradient[row * width..][..width], part);
        }
    });
    sum
}

impl Linear {
    fn forward(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
    ) -> Result<(Vec<f32>, Shape)> {
        let weight = matrix(weight, weight_layout)?; // (out, in)
        let y = new_product(matrix(x, x_layout)?, weight.transposed(), self.precision);
        let mut dims = x_layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = weight.rows;
        }
        Ok((y, dims.into()))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.forward((x, x_layout), (weight, weight_layout))?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (outputs, inputs) = weight.dims2()?;
        let gradient = Floats::of(&gradient)?;
        let rows = gradient.len().checked_div(outputs).unwrap_or(0);
        let gradient = Matrix::new(&gradient, rows, outputs);
        let for_x = || -> Result<Tensor> {
            let (storage, layout) = weight.storage_and_layout();
            let weight = tensor_matrix(&storage, layout)?;
            tensor(new_product(gradient, weight, self.precision), x.shape())
        };
        let for_weight = || -> Result<Tensor> {
            let (storage, layout) = x.storage_and_layout();
            let x = tensor_matrix(&storage, layout)?;
            let product = new_product(gradient.transposed(), x, self.precision);
            tensor(product, (outputs, inputs))
        };
        let (x_tracked, weight_tracked) = self.tracked;
        Ok((
            x_tracked.then(for_x).transpose()?,
            weight_tracked.then(for_weight).transpose()?,
        ))
    }
}

impl CustomOp3 for Biased {
    fn name(&self) -> &'static str {
        "biased-linear"
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
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        let (mut y, shape) = self.product.forward(x, weight)?;
        add_to_rows(contiguous(bias, bias_layout)?, &mut y);
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (dx, dweight) = self.product.bwd(x, weight, y, &gradient)?;
        let for_bias = || -> Result<Tensor> {
            let sum = sum_of_rows(&Floats::of(&gradient)?, bias.elem_count());
            tensor(sum, bias.shape())
        };
        Ok((dx, dweight, self.bias_tracked.then(for_bias).transpose()?))
    }
}
