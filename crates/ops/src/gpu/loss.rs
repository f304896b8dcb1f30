//! Output projection with cross-entropy, scores or a divergence, for some rows at a time.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::graph::operation;
use super::launch::Launch;
use super::memory::{Buffer, Span, Target, upload};
use super::product::{factor, multiply, product};
use super::source::{CAST, LOSS, REDUCE};
use super::work::note;
use crate::reference::{kept_rows, zero_of};
use crate::{Precision, Scores, Teacher, TopK};

/// Logits in memory at a time: 512 MB in f32. Each part of the rows adds to the gradient of the whole output
/// projection, so that few parts move fewer bytes.
const LOGITS: usize = 1 << 27;
/// Rows of logits in memory at a time, at most.
const MOST_ROWS: usize = 4096;

/// Returns the rows of logits in memory at a time.
fn rows_of(weight: &Tensor) -> Result<usize> {
    Ok((LOGITS / weight.dim(0)?.max(1)).clamp(1, MOST_ROWS))
}

// The kernels know ignored targets by this number.
const _: () = assert!(crate::IGNORED == u32::MAX);
/// Bytes of shared memory: two numbers of each of up to 32 warps.
const SHARED: usize = 64 * 4;

/// Gradients that add up over the rows.
struct Gradients<'a> {
    /// Gradient of the hidden states; `None` if it is not needed.
    of_hidden: Option<Buffer>,
    of_weight: Option<Buffer>,
    weight_is_tracked: bool,
    /// Output projection, as a factor.
    weight: &'a Tensor,
    precision: Precision,
    /// Loss of each row.
    nats: Buffer,
}

impl<'a> Gradients<'a> {
    fn new(
        [hidden, weight]: [&Tensor; 2],
        factor: &'a Tensor,
        precision: Precision,
    ) -> Result<Self> {
        let device = hidden.device();
        let of_hidden = || Buffer::new(hidden.shape(), DType::F32, device);
        Ok(Self {
            of_hidden: hidden.track_op().then(of_hidden).transpose()?,
            of_weight: None,
            weight_is_tracked: weight.track_op(),
            weight: factor,
            precision,
            nats: Buffer::new(hidden.dim(0)?, DType::F32, device)?,
        })
    }

    /// Returns the place of the losses of `count` rows from `start` on.
    fn nats_of(&self, start: usize, count: usize) -> Result<Span> {
        Ok(self.nats.span()?.part(4 * start, 4 * count))
    }

    /// Adds the rows from `start` on: their hidden states and the gradient by their logits, as factors.
    fn add(&mut self, start: usize, hidden: &Tensor, gradient: &Tensor) -> Result<()> {
        let (count, width) = hidden.dims2()?;
        if let Some(of_hidden) = &self.of_hidden {
            let part = of_hidden.span()?.part(4 * start * width, 4 * count * width);
            multiply([gradient, self.weight], Target::of(part), self.precision)?;
        }
        if self.weight_is_tracked {
            let factors = [&gradient.t()?, hidden];
            match &self.of_weight {
                Some(sum) => multiply(factors, Target::sum(sum.span()?), self.precision)?,
                None => {
                    let first = product(factors[0], factors[1], self.precision)?;
                    self.of_weight = Some(first);
                }
            }
        }
        Ok(())
    }

    /// Returns the sum of all losses times `factor`, with these gradients.
    fn attach(
        self,
        name: &'static str,
        [hidden, weight]: [&Tensor; 2],
        factor: f64,
    ) -> Result<Tensor> {
        let value = Buffer::new((), DType::F32, hidden.device())?;
        let launch = Launch::new(REDUCE.kernel("total"), [1, 1, 1])
            .shared(32 * 4)
            .buffer(&self.nats)?
            .buffer(&value)?
            .int(hidden.dim(0)?)?
            .float(factor);
        // SAFETY: a loss for each row, and room for one number.
        unsafe { launch.run(hidden.device())? };
        let of_hidden = self.of_hidden.map(Buffer::into_tensor);
        let of_weight = self.of_weight.map(Buffer::into_tensor);
        operation(name, &[hidden, weight], value, move |gradient| {
            let times = |derivative: &Option<Tensor>| {
                let times = derivative.as_ref().map(|x| scaled(x, gradient));
                times.transpose()
            };
            Ok(vec![times(&of_hidden)?, times(&of_weight)?])
        })
    }
}

/// Multiplies a tensor by a number that lies on the device.
fn scaled(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let y = Buffer::new(x.shape(), DType::F32, x.device())?;
    let launch = Launch::elements(CAST.kernel("scale"), x.elem_count())
        .tensor(x)?
        .tensor(factor)?
        .buffer(&y)?
        .long(x.elem_count());
    // SAFETY: x and y have as many elements, the factor has one.
    unsafe { launch.run(x.device())? };
    Ok(y.into_tensor())
}

/// Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets that count, logits = hidden·weightᵀ.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    let all = targets.len();
    let Some((hidden, targets)) = kept_rows(hidden, targets)? else {
        return zero_of(hidden)? + zero_of(weight)?;
    };
    let bytes = 4 * hidden.elem_count();
    if hidden.dim(0)? < all {
        note("Candle's selection of rows", 4, [3 * bytes, 3 * bytes]);
    }
    // A model reshapes its hidden states for this operation, which Candle's backward pass copies for it.
    note("Candle's sums of gradients", 2, [2 * bytes, 2 * bytes]);
    let (device, still) = (hidden.device(), factor(&weight.contiguous()?, precision)?);
    let mut gradients = Gradients::new([&hidden, weight], &still, precision)?;
    let at_once = rows_of(weight)?;
    for (chunk, targets) in targets.chunks(at_once).enumerate() {
        let part = hidden.detach().narrow(0, chunk * at_once, targets.len())?;
        let part = factor(&part.contiguous()?, precision)?;
        let logits = product(&part, &still.t()?, precision)?.into_tensor(); // (rows, vocabulary)
        let (kernel, dtype) = match precision {
            Precision::F32 | Precision::Tf32 => ("cross_entropy_f32", DType::F32),
            Precision::Bf16 => ("cross_entropy_bf16", DType::BF16),
        };
        let gradient = Buffer::new(logits.shape(), dtype, device)?;
        let launch = rows(kernel, &logits)?
            .classes(|_| [0; 4])
            .tensor(&upload(targets, device)?)?
            .buffer(&gradient)?
            .span(gradients.nats_of(chunk * at_once, targets.len())?)
            .int(logits.dim(1)?)?
            .float(z_loss);
        // SAFETY: a row of logits for each target, which lies in the vocabulary, and as many gradients.
        unsafe { launch.run(device)? };
        gradients.add(chunk * at_once, &part, &gradient.into_tensor())?;
    }
    gradients.attach("cross_entropy", [&hidden, weight], 1.0)
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
    let at_once = rows_of(weight)?;
    for (chunk, targets) in targets.chunks(at_once).enumerate() {
        let part = hidden.detach().narrow(0, chunk * at_once, targets.len())?;
        let part = factor(&part.contiguous()?, precision)?;
        let logits = product(&part, &still.t()?, precision)?.into_tensor(); // (rows, vocabulary)
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

/// T²·Σ KL(teacher ‖ student) over the rows, of softmax(logits / T).
pub(crate) fn distillation(
    (hidden, weight): (&Tensor, &Tensor),
    teacher: &Teacher,
    temperature: f64,
    precision: Precision,
) -> Result<Tensor> {
    let (tokens, _) = hidden.dims2()?;
    if tokens == 0 {
        return zero_of(hidden)? + zero_of(weight)?;
    }
    let still = factor(&weight.contiguous()?, precision)?;
    let teacher = Compared::new(teacher, precision)?;
    let mut gradients = Gradients::new([hidden, weight], &still, precision)?;
    let at_once = rows_of(weight)?;
    for start in (0..tokens).step_by(at_once) {
        let count = at_once.min(tokens - start);
        let own = hidden.detach().narrow(0, start, count)?;
        let own = factor(&own.contiguous()?, precision)?;
        let student = product(&own, &still.t()?, precision)?.into_tensor(); // (rows, vocabulary)
        let gradient = Buffer::new(student.shape(), DType::F32, hidden.device())?;
        let launch = teacher
            .launch(&student, start)?
            .buffer(&gradient)?
            .span(gradients.nats_of(start, count)?)
            .int(student.dim(1)?)?;
        let launch = match &teacher {
            Compared::Live { .. } => launch,
            Compared::Listed(top) => launch.int(top.k)?,
        };
        let launch = launch.float(1.0 / temperature).float(temperature); // T²·(q − p)/T
        // SAFETY: as many rows of both, of the same vocabulary, in which all listed tokens lie.
        unsafe { launch.run(hidden.device())? };
        gradients.add(start, &own, &factor(&gradient.into_tensor(), precision)?)?;
    }
    let factor = temperature * temperature;
    gradients.attach("distillation", [hidden, weight], factor)
}

/// Teacher, with its output projection as a factor.
enum Compared<'a> {
    Live {
        hidden: &'a Tensor,
        weight: Tensor,
        precision: Precision,
    },
    Listed(&'a TopK),
}

impl<'a> Compared<'a> {
    fn new(teacher: &'a Teacher, precision: Precision) -> Result<Self> {
        Ok(match teacher {
            Teacher::Live { hidden, weight } => Self::Live {
                hidden,
                weight: factor(&weight.contiguous()?, precision)?,
                precision,
            },
            Teacher::TopK(top) => Self::Listed(top),
        })
    }

    /// Begins the launch that compares the logits of rows from `start` on with the teacher.
    fn launch(&self, student: &Tensor, start: usize) -> Result<Launch> {
        let (count, device) = (student.dim(0)?, student.device());
        match self {
            Self::Live {
                hidden,
                weight,
                precision,
            } => {
                let part = hidden.detach().narrow(0, start, count)?;
                let part = factor(&part.contiguous()?, *precision)?;
                let logits = product(&part, &weight.t()?, *precision)?.into_tensor(); // (rows, vocabulary)
                let launch = rows("divergence", student)?.classes(|_| [0; 4]);
                launch.tensor(&logits)
            }
            Self::Listed(top) => {
                let part = top.narrow(start, count);
                rows("divergence_listed", student)?
                    .classes(|_| [0; 4])
                    .tensor(&upload(&part.ids, device)?)?
                    .tensor(&upload(&part.probabilities, device)?)?
                    .tensor(&upload(&part.rest, device)?)
            }
        }
    }
}

/// Begins a launch with a block for each row of logits.
fn rows(kernel: &'static str, logits: &Tensor) -> Result<Launch> {
    Launch::new(LOSS.kernel(kernel), [logits.dim(0)?, 1, 1])
        .shared(SHARED)
        .tensor(logits)
}
