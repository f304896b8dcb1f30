//! Dropout and norms of adapters.

use candle_core::{DType, Result, Tensor};

use super::graph::operation;
use super::launch::Launch;
use super::memory::{Buffer, upload};
use super::product::product;
use super::source::{DROPOUT, NORM};
use crate::Precision;
use crate::adapter::{DropoutMask, LowRank, SMALLEST_NORM};

/// Multiplies x by a mask that is drawn where it is used: (batch, ..) → (batch, ..).
pub(crate) fn dropout(x: &Tensor, mask: DropoutMask) -> Result<Tensor> {
    let words = mask.streams.iter();
    let words = words.flat_map(|stream| [*stream as u32, (stream >> 32) as u32]);
    let streams = upload(&words.collect::<Vec<_>>(), x.device())?;
    let length = x.elem_count().checked_div(x.dim(0)?).unwrap_or(0);
    let times = move |x: &Tensor| -> Result<Buffer> {
        let x = x.detach().contiguous()?;
        let y = Buffer::new(x.shape(), DType::F32, x.device())?;
        let launch = Launch::elements(DROPOUT.kernel("dropout"), x.elem_count())
            .tensor(&x)?
            .tensor(&streams)?
            .buffer(&y)?
            .long(x.elem_count())
            .long(length)
            .long(mask.threshold as usize)
            .float(mask.kept.into());
        // SAFETY: x and y have as many elements, and each row of the batch has a stream.
        unsafe { launch.run(x.device())? };
        Ok(y)
    };
    let y = times(x)?;
    operation("dropout", &[x], y, move |gradient| {
        Ok(vec![Some(times(gradient)?.into_tensor())])
    })
}

/// Returns the norm of each row of W + s·B·A, outside of the graph: (out, in) → (out).
pub(crate) fn merged_norms(weight: &Tensor, adapter: &LowRank) -> Result<Tensor> {
    let (rows, width) = weight.dims2()?;
    let product = product(&adapter.b.detach(), &adapter.a.detach(), Precision::F32)?;
    let norms = Buffer::new(rows, DType::F32, weight.device())?;
    let launch = Launch::rows(NORM.kernel("merged_norms"), rows)
        .tensor(&weight.detach().contiguous()?)?
        .buffer(&product)?
        .buffer(&norms)?
        .int(rows)?
        .int(width)?
        .float(adapter.scale)
        .float(SMALLEST_NORM.into());
    // SAFETY: the weight and the product have `rows` rows of `width` elements.
    unsafe { launch.run(weight.device())? };
    Ok(norms.into_tensor())
}
