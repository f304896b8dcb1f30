//! Conversions between Candle's tensors and slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};

use super::matrix::Matrix;

/// Elements of a contiguous f32 tensor on the CPU.
pub(crate) struct Floats<'a> {
    storage: StorageRef<'a>,
    start: usize,
    length: usize,
}

impl<'a> Floats<'a> {
    /// Borrows the elements of `tensor`.
    ///
    /// # Errors
    /// Fails if the tensor is on another device, of another type, or not contiguous.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!(
                "a tensor with the strides `{:?}`: expected a contiguous one",
                layout.stride()
            )
        };
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => {}
            _ => bail!(
                "a tensor of `{:?}`: expected `F32` on the CPU",
                tensor.dtype()
            ),
        }
        Ok(Self {
            storage,
            start,
            length: end - start,
        })
    }
}

impl Deref for Floats<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.start + self.length],
            _ => unreachable!("checked when made"),
        }
    }
}

/// Returns the elements of a contiguous f32 argument of a custom operation.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!(
            "an argument with the strides `{:?}`: expected a contiguous one",
            layout.stride()
        ),
    }
}

/// Returns the elements of a contiguous f32 argument that a custom operation changes in place.
pub(crate) fn contiguous_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        (CpuStorage::F32(_), None) => bail!("what is changed in place must be contiguous"),
        _ => bail!("what is changed in place must be `F32`"),
    }
}

/// Returns the memory of an argument from its first element on. The strides may be any.
pub(crate) fn strided<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    Ok(&values[layout.start_offset().min(values.len())..])
}

/// Views an argument as a matrix whose rows are the last dimension, without a copy. Fails if the strides do not allow
/// that.
pub(crate) fn matrix<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Matrix<'a>> {
    let Some((rows, columns, row_stride, column_stride)) = matrix_strides(layout) else {
        bail!(
            "the strides `{:?}` are not those of a matrix",
            layout.stride()
        )
    };
    Ok(Matrix {
        data: strided(storage, layout)?,
        rows,
        columns,
        row_stride,
        column_stride,
    })
}

/// Returns true if [`matrix`] can view the tensor without a copy.
pub(crate) fn is_matrix(tensor: &Tensor) -> bool {
    matrix_strides(tensor.layout()).is_some()
}

/// Returns (rows, columns, row stride, column stride) of the matrix whose rows are the last dimension, or `None` if
/// no single row stride covers all other dimensions.
fn matrix_strides(layout: &Layout) -> Option<(usize, usize, usize, usize)> {
    let (&columns, leading) = layout.dims().split_last()?;
    let (&column_stride, strides) = layout.stride().split_last()?;
    let mut rows = 1;
    let mut row_stride = None;
    for (&length, &stride) in leading.iter().zip(strides).rev() {
        if length == 1 {
            continue;
        }
        match row_stride {
            None => row_stride = Some(stride),
            Some(row_stride) if stride != rows * row_stride => return None,
            Some(_) => {}
        }
        rows *= length;
    }
    Some((rows, columns, row_stride.unwrap_or(columns), column_stride))
}

/// Makes a CPU tensor of values and a shape.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Views a tensor's own storage as in [`matrix`].
pub(crate) fn tensor_matrix<'a>(storage: &'a Storage, layout: &Layout) -> Result<Matrix<'a>> {
    match storage {
        Storage::Cpu(storage) => matrix(storage, layout),
        _ => bail!("a tensor on a device: expected one on the CPU"),
    }
}
