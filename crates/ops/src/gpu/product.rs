//! Matrix products: factors in f32 or bf16, results in f32.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::graph::operation;
use super::host;
use super::launch::Launch;
use super::memory::Buffer;
use super::source::CAST;
use crate::Precision;

/// Rounds the rows of an f32 tensor to bf16 by a kernel; the result is contiguous and in no graph.
pub(crate) fn rounded(x: &Tensor) -> Result<Tensor> {
    let x = x.detach().contiguous()?;
    let y = Buffer::new(x.shape(), DType::BF16, x.device())?;
    let (count, width) = (x.elem_count(), x.dims().last().copied().unwrap_or(1));
    let rows = count.checked_div(width).unwrap_or(0);
    let launch = Launch::elements(CAST.kernel("round_rows"), count)
        .tensor(&x)?
        .buffer(&y)?
        .long(rows)
        .int(width)?
        .int(width)?
        .int(width)?;
    // SAFETY: x and y have `rows` rows of `width` elements without gaps.
    unsafe { launch.run(x.device())? };
    Ok(y.into_tensor())
}

/// Widens a contiguous bf16 tensor to f32 by a kernel.
pub(crate) fn widened(x: &Tensor) -> Result<Buffer> {
    let y = Buffer::new(x.shape(), DType::F32, x.device())?;
    let count = x.elem_count();
    let launch = Launch::elements(CAST.kernel("widen"), count)
        .tensor(x)?
        .buffer(&y)?
        .long(count);
    // SAFETY: x and y have `count` elements.
    unsafe { launch.run(x.device())? };
    Ok(y)
}

/// Returns an operand of a product as `precision` has it, in no graph.
pub(crate) fn factor(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => Ok(x.detach()),
        Precision::Bf16 => rounded(x),
    }
}

/// Computes a·b of two factors of one type, summed and written in f32: (.., m, k), (.., k, n) → (.., m, n).
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Buffer> {
    match a.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let mut dims = a.dims().to_vec();
            if let Some(last) = dims.last_mut() {
                *last = b.dim(D::Minus1)?;
            }
            let c = Buffer::new(dims, DType::F32, a.device())?;
            super::cuda::add_product(device, [a, b], &c, 0.0)?;
            Ok(c)
        }
        Device::Cpu => Buffer::copy_of(&on_cpu(a, b)?),
        _ => bail!("products of our own run on a CUDA device"),
    }
}

/// Computes base + a·b: (m, n), (m, k), (k, n) → (m, n).
pub(crate) fn add_product(base: &Tensor, a: &Tensor, b: &Tensor) -> Result<Buffer> {
    match a.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let c = Buffer::copy_of(base)?;
            super::cuda::add_product(device, [a, b], &c, 1.0)?;
            Ok(c)
        }
        Device::Cpu => Buffer::copy_of(&(base + on_cpu(a, b)?)?),
        _ => bail!("products of our own run on a CUDA device"),
    }
}

/// Computes a·b on the CPU, in the place of cuBLAS.
fn on_cpu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    host::count_product(a.elem_count() * b.dim(D::Minus1)?);
    a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)
}

/// Rounds matrices of the same width to bf16, one below the other.
pub(crate) fn join_rounded(matrices: &[&Tensor]) -> Result<Tensor> {
    let width = matrices[0].dim(1)?;
    let rows = matrices
        .iter()
        .map(|matrix| matrix.dim(0))
        .sum::<Result<usize>>()?;
    let joined = Buffer::new((rows, width), DType::BF16, matrices[0].device())?;
    let mut to = joined.span()?;
    for matrix in matrices {
        let matrix = matrix.detach().contiguous()?;
        let launch = Launch::elements(CAST.kernel("round_rows"), matrix.elem_count())
            .tensor(&matrix)?
            .span(to)
            .long(matrix.dim(0)?)
            .int(width)?
            .int(width)?
            .int(width)?;
        // SAFETY: the rows of all matrices fill the memory.
        unsafe { launch.run(matrix.device())? };
        to = to.after(2 * matrix.elem_count() as u64);
    }
    Ok(joined.into_tensor())
}

/// x·weightᵀ + bias: (.., in), (out, in), (out) → (.., out).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = outputs;
    }
    let rows = x.elem_count().checked_div(inputs).unwrap_or(0);
    let x = x.reshape((rows, inputs))?;
    let y = rows_by(&x, weight, precision)?.reshape(dims)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// x·weightᵀ of (rows, in) and (out, in), in the graph of both.
fn rows_by(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    let (left, right) = (
        factor(&x.contiguous()?, precision)?,
        factor(&weight.contiguous()?, precision)?,
    );
    let y = product(&left, &right.t()?)?;
    let tracked = (x.track_op(), weight.track_op());
    // Each gradient needs the other factor.
    let kept = (tracked.1.then_some(left), tracked.0.then_some(right));
    operation("linear", &[x, weight], y, move |gradient| {
        let gradient = factor(gradient, precision)?;
        let of_x = kept.1.as_ref().map(|right| product(&gradient, right));
        let of_weight = kept.0.as_ref().map(|left| product(&gradient.t()?, left));
        Ok(vec![
            of_x.transpose()?.map(Buffer::into_tensor),
            of_weight.transpose()?.map(Buffer::into_tensor),
        ])
    })
}
