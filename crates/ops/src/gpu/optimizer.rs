//! Optimizer steps and the gradient norm, over many tensors in one launch.

use candle_core::{DType, Device, Result, Tensor};

use super::launch::Launch;
use super::memory::{Buffer, Span, span, upload};
use super::source::{ADAMW, MUON, REDUCE};
use crate::fused::UpdateFactors;

/// Elements of a block.
const STRETCH: u64 = 1 << 14;

/// Tensors of one AdamW update, all f32 and contiguous.
pub(crate) struct AdamwTensors {
    pub parameter: Tensor,
    pub gradient: Tensor,
    pub first: Tensor,
    pub second: Tensor,
    /// 1 − η·λ.
    pub kept: f32,
}

/// Updates parameters and moments in place; all factors but `kept` are shared.
pub(crate) fn adamw(
    device: &Device,
    updates: &[AdamwTensors],
    factors: &UpdateFactors,
) -> Result<()> {
    // Array of `struct Update`: four pointers, a count and `kept`.
    let (mut words, mut counts): (Vec<u32>, Vec<u64>) = Default::default();
    for update in updates {
        let spans = [
            span(&update.parameter)?,
            span(&update.gradient)?,
            span(&update.first)?,
            span(&update.second)?,
        ];
        for stretch in stretches(spans[0].bytes / 4) {
            for Span { address, .. } in spans {
                push(&mut words, address + stretch.start * 4);
            }
            words.push((stretch.end - stretch.start) as u32);
            words.push(update.kept.to_bits());
            counts.push(stretch.end - stretch.start);
        }
    }
    let blocks = words.len() / 10;
    let table = upload(&words, device)?;
    let launch = Launch::new(ADAMW.kernel("adamw"), [blocks, 1, 1])
        .classes(move |[block, ..]| [counts[block], 0, 0, 0])
        .tensor(&table)?
        .float(factors.gradient_scale.into())
        .float(factors.beta1.into())
        .float(factors.beta2.into())
        .float(factors.step_size.into())
        .float(factors.spread.into())
        .float(factors.epsilon.into());
    // SAFETY: the table's pointers lie in `updates`, of which no element appears twice.
    unsafe { launch.run(device) }
}

/// Returns Σx² over all elements of f32 tensors; waits for the device.
pub(crate) fn square_sum(device: &Device, tensors: &[Tensor]) -> Result<f64> {
    // Array of `struct Stretch`: a pointer and a count.
    let (mut words, mut counts): (Vec<u32>, Vec<u64>) = Default::default();
    for tensor in tensors {
        let Span { address, bytes } = span(tensor)?;
        for stretch in stretches(bytes / 4) {
            push(&mut words, address + stretch.start * 4);
            push(&mut words, stretch.end - stretch.start);
            counts.push(stretch.end - stretch.start);
        }
    }
    let blocks = words.len() / 4;
    if blocks == 0 {
        return Ok(0.0);
    }
    let table = upload(&words, device)?;
    let sums = Buffer::new(blocks, DType::F32, device)?;
    let launch = Launch::new(REDUCE.kernel("square_sums"), [blocks, 1, 1])
        .classes(move |[block, ..]| [counts[block], 0, 0, 0])
        .shared(32 * 4)
        .tensor(&table)?
        .buffer(&sums)?;
    // SAFETY: the table's pointers lie in `tensors`, and each block has a sum.
    unsafe { launch.run(device)? };
    let sums = sums.into_tensor().to_vec1::<f32>()?;
    Ok(sums.into_iter().map(f64::from).sum())
}

/// Updates a momentum in place and returns the direction of the update.
pub(crate) fn momentum(
    gradient: &Tensor,
    momentum: &Tensor,
    decay: f64,
    scale: f64,
) -> Result<Tensor> {
    let (count, device) = (gradient.elem_count(), gradient.device());
    let direction = Buffer::new(gradient.shape(), DType::F32, device)?;
    let launch = Launch::elements(MUON.kernel("muon_momentum"), count)
        .tensor(&gradient.detach().contiguous()?)?
        .tensor(momentum)?
        .buffer(&direction)?
        .float(decay)
        .float(scale)
        .long(count);
    // SAFETY: all three have `count` elements.
    unsafe { launch.run(device)? };
    Ok(direction.into_tensor())
}

/// Computes b·x + c·y in the place of y.
pub(crate) fn polynomial(x: &Tensor, y: &Tensor, [b, c]: [f64; 2]) -> Result<()> {
    let launch = Launch::elements(MUON.kernel("muon_polynomial"), x.elem_count())
        .tensor(x)?
        .tensor(y)?
        .float(b)
        .float(c)
        .long(x.elem_count());
    // SAFETY: both have as many elements.
    unsafe { launch.run(x.device()) }
}

/// Computes kept·p − step·u in the place of p.
pub(crate) fn apply(parameter: &Tensor, update: &Tensor, [kept, step]: [f64; 2]) -> Result<()> {
    let launch = Launch::elements(MUON.kernel("muon_apply"), parameter.elem_count())
        .tensor(parameter)?
        .tensor(update)?
        .float(kept)
        .float(step)
        .long(parameter.elem_count());
    // SAFETY: both have as many elements.
    unsafe { launch.run(parameter.device()) }
}

/// Splits `count` elements into stretches.
fn stretches(count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..count.div_ceil(STRETCH)).map(move |at| at * STRETCH..((at + 1) * STRETCH).min(count))
}

/// Adds a number of 8 bytes.
fn push(words: &mut Vec<u32>, value: u64) {
    words.extend([value as u32, (value >> 32) as u32]);
}
