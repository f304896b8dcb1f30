//! The linear projection.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::buffer::filled;
use super::pack::Matrix;
use super::product::{Store, product};
use super::storage::{Floats, is_matrix, matrix, tensor, tensor_matrix};
use crate::Precision;

/// x·weightᵀ.
struct Linear {
    precision: Precision,
    /// Whether x and the weight are tracked: no work is done for a side that is not.
    tracked: (bool, bool),
}

/// x·weightᵀ: (.., in), (out, in) → (.., out).
pub(crate) fn linear(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    let x = if is_matrix(x) { x } else { &x.contiguous()? };
    let tracked = (x.track_op(), weight.track_op());
    x.apply_op2(weight, Linear { precision, tracked })
}

/// A·B in a new vector.
pub(crate) fn new_product(a: Matrix, b: Matrix, precision: Precision) -> Vec<f32> {
    let fill = |c: &mut [f32]| product(a, b, c, Store::Replace, precision);
    // SAFETY: the product replaces every element.
    unsafe { filled(a.rows * b.columns, fill) }
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
        let weight = matrix(weight, weight_layout)?; // (out, in)
        let y = new_product(matrix(x, x_layout)?, weight.transposed(), self.precision);
        let mut dims = x_layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = weight.rows;
        }
        Ok((CpuStorage::F32(y), dims.into()))
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
