//! Output projection with cross-entropy, scores or a divergence, for some rows at a time.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::launch::Launch;
use super::memory::Buffer;
use super::product::{factor, product};
use super::source::LOSS;
use crate::computed::with_derivatives;
use crate::reference::{kept_rows, zero_of};
use crate::targets::IGNORED;
use crate::{Precision, Scores};

/// Rows of logits in memory at a time.
const ROWS: usize = 1024;
/// Bytes of shared memory: two numbers of each of up to 32 warps.
const SHARED: usize = 64 * 4;

/// Gradients that add up over the rows.
struct Gradients<'a> {
    /// Parts of the hidden states' gradient; `None` if it is not needed.
    of_hidden: Option<Vec<Tensor>>,
    of_weight: Option<Tensor>,
    weight_is_tracked: bool,
    /// Output projection, as a factor.
    weight: &'a Tensor,
}

impl<'a> Gradients<'a> {
    fn new(hidden: &Tensor, weight: &Tensor, factor: &'a Tensor) -> Self {
        Self {
            of_hidden: hidden.track_op().then(Vec::new),
            of_weight: None,
            weight_is_tracked: weight.track_op(),
            weight: factor,
        }
    }

    /// Adds some rows: their hidden states and the gradient by their logits, as factors.
    fn add(&mut self, hidden: &Tensor, gradient: &Tensor) -> Result<()> {
        if let Some(parts) = &mut self.of_hidden {
            parts.push(product(gradient, self.weight)?.into_tensor());
        }
        if self.weight_is_tracked {
            let more = product(&gradient.t()?, hidden)?.into_tensor();
            self.of_weight = Some(match self.of_weight.take() {
                Some(sum) => (sum + more)?,
                None => more,
            });
        }
        Ok(())
    }

    /// Returns `value` with these gradients.
    fn attach(self, value: Tensor, hidden: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let mut derivatives = Vec::new();
        if let Some(parts) = self.of_hidden.filter(|parts| !parts.is_empty()) {
            derivatives.push((hidden, Tensor::cat(&parts, 0)?));
        }
        derivatives.extend(self.of_weight.map(|of_weight| (weight, of_weight)));
        with_derivatives(value, &derivatives)
    }
}

/// Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets that count, logits = hidden·weightᵀ.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    let Some((hidden, targets)) = kept_rows(hidden, targets)? else {
        return zero_of(hidden)? + zero_of(weight)?;
    };
    let (device, still) = (hidden.device(), factor(&weight.contiguous()?, precision)?);
    let mut gradients = Gradients::new(&hidden, weight, &still);
    let mut nats = Vec::new();
    for (chunk, targets) in targets.chunks(ROWS).enumerate() {
        let part = hidden.detach().narrow(0, chunk * ROWS, targets.len())?;
        let part = factor(&part.contiguous()?, precision)?;
        let logits = product(&part, &still.t()?)?.into_tensor(); // (rows, vocabulary)
        let (kernel, dtype) = match precision {
            Precision::F32 => ("cross_entropy_f32", DType::F32),
            Precision::Bf16 => ("cross_entropy_bf16", DType::BF16),
        };
        let gradient = Buffer::new(logits.shape(), dtype, device)?;
        let of_rows = Buffer::new(targets.len(), DType::F32, device)?;
        let launch = rows(kernel, &logits)?
            .tensor(&upload(targets, device)?)?
            .buffer(&gradient)?
            .buffer(&of_rows)?
            .int(logits.dim(1)?)?
            .float(z_loss);
        // SAFETY: a row of logits for each target, which lies in the vocabulary, and as many gradients.
        unsafe { launch.run(device)? };
        nats.push(of_rows.into_tensor());
        gradients.add(&part, &gradient.into_tensor())?;
    }
    let value = Tensor::cat(&nats, 0)?.sum_all()?;
    gradients.attach(value, &hidden, weight)
}

/// −ln p(target) of each token, and whether the target is the likeliest token.
pub(crate) fn score(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Arc<[u32]>,
    precision: Precision,
) -> Result<Scores> {
    let (device, still) = (hidden.device(), factor(&weight.contiguous()?, precision)?);
    let (mut nats, mut correct) = (Vec::new(), Vec::new());
    for (chunk, targets) in targets.chunks(ROWS).enumerate() {
        let part = hidden.detach().narrow(0, chunk * ROWS, targets.len())?;
        let part = factor(&part.contiguous()?, precision)?;
        let logits = product(&part, &still.t()?)?.into_tensor(); // (rows, vocabulary)
        let of_rows = Buffer::new(targets.len(), DType::F32, device)?;
        let likeliest = Buffer::new(targets.len(), DType::U32, device)?;
        let launch = rows("score", &logits)?
            .tensor(&upload(targets, device)?)?
            .buffer(&of_rows)?
            .buffer(&likeliest)?
            .int(logits.dim(1)?)?;
        // SAFETY: a row of logits for each target, which lies in the vocabulary.
        unsafe { launch.run(device)? };
        nats.push(of_rows.into_tensor());
        correct.push(likeliest.into_tensor());
    }
    if nats.is_empty() {
        return Ok(Scores::default());
    }
    let correct = Tensor::cat(&correct, 0)?.to_vec1::<u32>()?;
    Ok(Scores {
        nats: Tensor::cat(&nats, 0)?.to_vec1()?,
        correct: correct.into_iter().map(|correct| correct == 1).collect(),
    })
}

/// T²·Σ KL(teacher ‖ student) over the rows of both hidden states, of softmax(logits / T).
pub(crate) fn distillation(
    (hidden, weight): (&Tensor, &Tensor),
    (teacher_hidden, teacher_weight): (&Tensor, &Tensor),
    temperature: f64,
    precision: Precision,
) -> Result<Tensor> {
    let (tokens, _) = hidden.dims2()?;
    if tokens == 0 {
        return zero_of(hidden)? + zero_of(weight)?;
    }
    let device = hidden.device();
    let still = factor(&weight.contiguous()?, precision)?;
    let of_teacher = factor(&teacher_weight.contiguous()?, precision)?;
    let mut gradients = Gradients::new(hidden, weight, &still);
    let mut nats = Vec::new();
    for start in (0..tokens).step_by(ROWS) {
        let count = ROWS.min(tokens - start);
        let part = |hidden: &Tensor| {
            factor(
                &hidden.detach().narrow(0, start, count)?.contiguous()?,
                precision,
            )
        };
        let (own, other) = (part(hidden)?, part(teacher_hidden)?);
        let student = product(&own, &still.t()?)?.into_tensor(); // (rows, vocabulary)
        let teacher = product(&other, &of_teacher.t()?)?.into_tensor(); // (rows, vocabulary)
        let gradient = Buffer::new(student.shape(), DType::F32, device)?;
        let of_rows = Buffer::new(count, DType::F32, device)?;
        let launch = rows("divergence", &student)?
            .tensor(&teacher)?
            .buffer(&gradient)?
            .buffer(&of_rows)?
            .int(student.dim(1)?)?
            .float(1.0 / temperature)
            .float(temperature); // T²·(q − p)/T
        // SAFETY: as many rows of both logits, of the same vocabulary.
        unsafe { launch.run(device)? };
        nats.push(of_rows.into_tensor());
        gradients.add(&own, &factor(&gradient.into_tensor(), precision)?)?;
    }
    let value = (Tensor::cat(&nats, 0)?.sum_all()? * (temperature * temperature))?;
    gradients.attach(value, hidden, weight)
}

/// Begins a launch with a block for each row of logits.
fn rows(kernel: &'static str, logits: &Tensor) -> Result<Launch> {
    Launch::new(LOSS.kernel(kernel), [logits.dim(0)?, 1, 1])
        .shared(SHARED)
        .tensor(logits)
}

fn upload(targets: &[u32], device: &Device) -> Result<Tensor> {
    debug_assert_eq!(IGNORED, u32::MAX); // as in device.h
    Tensor::from_slice(targets, targets.len(), device)
}
