//! Matrix products: factors in f32 or bf16, results in f32.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::counts::{Class, Unit};
use super::graph::operation;
use super::host;
use super::launch::{Launch, elements_of_block};
use super::memory::{Buffer, Target};
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
        Precision::F32 | Precision::Tf32 => Ok(x.detach()),
        Precision::Bf16 => rounded(x),
    }
}

/// Computes a·b of two factors of one type, summed and written in f32: (.., m, k), (.., k, n) → (.., m, n).
pub(crate) fn product(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Buffer> {
    product_as(DType::F32, [a, b], precision)
}

/// Computes a·b of two factors in bf16, summed in f32 and rounded to bf16: (m, k), (k, n) → (m, n).
pub(super) fn rounded_product(a: &Tensor, b: &Tensor) -> Result<Buffer> {
    product_as(DType::BF16, [a, b], Precision::Bf16)
}

fn product_as(dtype: DType, [a, b]: [&Tensor; 2], precision: Precision) -> Result<Buffer> {
    let mut dims = a.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = b.dim(D::Minus1)?;
    }
    let c = Buffer::new(dims, dtype, a.device())?;
    let target = Target {
        dtype,
        ..Target::of(c.span()?)
    };
    multiply([a, b], target, precision)?;
    Ok(c)
}

/// Writes a·b of two factors of one type to memory of their product's size.
pub(super) fn multiply([a, b]: [&Tensor; 2], to: Target, precision: Precision) -> Result<()> {
    let unit = match (a.dtype(), precision) {
        (DType::BF16, _) => Unit::Bf16,
        (_, Precision::Tf32) => Unit::Tf32,
        _ => Unit::F32,
    };
    let count = a.elem_count() / a.dim(D::Minus1)?.max(1) * b.dim(D::Minus1)?;
    if to.place.bytes as usize != count * to.dtype.size_in_bytes() {
        bail!(
            "a product of `{count}` numbers in `{}` bytes",
            to.place.bytes
        )
    }
    match a.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::multiply(device, [a, b], to, unit),
        // SAFETY: the memory has the size of the product, and its tensor does not exist yet or is read by no one.
        Device::Cpu => unsafe { host::multiply([a, b], to, unit) },
        _ => bail!("products of our own run on a CUDA device"),
    }
}

/// Weights of a sublayer, rounded to bf16.
pub(super) struct RoundedWeights {
    /// Up to three matrices of the same width, one below the other.
    pub inner: Tensor,
    pub outer: Tensor,
}

impl RoundedWeights {
    /// Rounds all in one launch.
    pub fn new(inner: &[&Tensor], outer: &Tensor) -> Result<Self> {
        let (device, [outputs, width]) = (outer.device(), [outer.dim(0)?, outer.dim(1)?]);
        let mut all = inner.to_vec();
        all.push(outer);
        let all: Vec<Tensor> = (all.iter())
            .map(|matrix| matrix.detach().contiguous())
            .collect::<Result<_>>()?;
        let counts: Vec<usize> = all.iter().map(Tensor::elem_count).collect();
        let count = counts.iter().sum::<usize>();
        let joined = Buffer::new(count, DType::BF16, device)?;
        let ends: Vec<usize> = (counts.iter())
            .scan(0, |end, count| {
                *end += count;
                Some(*end)
            })
            .collect();
        let kernel = CAST.kernel("round_joined");
        let mut launch = Launch::elements(kernel, count).classes(blocks_of_parts(ends));
        for place in 0..4 {
            launch = launch.tensor(all.get(place).unwrap_or(&all[0]))?;
        }
        launch = launch.buffer(&joined)?;
        for place in 0..4 {
            launch = launch.long(counts.get(place).copied().unwrap_or(0));
        }
        // SAFETY: the matrices fill the memory; a place without a matrix has no elements.
        unsafe { launch.run(device)? };
        let joined = joined.into_tensor();
        let of_outer = outputs * width;
        let inner_width = inner[0].dim(1)?;
        let of_inner = joined.narrow(0, 0, count - of_outer)?;
        Ok(Self {
            inner: of_inner.reshape(((count - of_outer) / inner_width, inner_width))?,
            outer: joined
                .narrow(0, count - of_outer, of_outer)?
                .reshape((outputs, width))?,
        })
    }
}

/// Names the work of a block of elements that lie in up to four parts, given the parts' ends: its elements in each.
fn blocks_of_parts(ends: Vec<usize>) -> impl Fn([usize; 3]) -> Class {
    let count = ends.last().copied().unwrap_or(0);
    move |[block, ..]| {
        let mut class = [0; 4];
        for range in elements_of_block(count, block) {
            let mut begin = 0;
            for (place, end) in ends.iter().enumerate() {
                let shared = range.end.min(*end).saturating_sub(range.start.max(begin));
                class[place] += shared as u64;
                begin = *end;
            }
        }
        class
    }
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
    let y = product(&left, &right.t()?, precision)?;
    let tracked = (x.track_op(), weight.track_op());
    // Each gradient needs the other factor.
    let kept = (tracked.1.then_some(left), tracked.0.then_some(right));
    operation("linear", &[x, weight], y, move |gradient| {
        let gradient = factor(gradient, precision)?;
        let of_x = kept
            .1
            .as_ref()
            .map(|right| product(&gradient, right, precision));
        let of_weight = kept
            .0
            .as_ref()
            .map(|left| product(&gradient.t()?, left, precision));
        Ok(vec![
            of_x.transpose()?.map(Buffer::into_tensor),
            of_weight.transpose()?.map(Buffer::into_tensor),
        ])
    })
}
