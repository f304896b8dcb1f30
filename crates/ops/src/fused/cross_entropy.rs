//! The output projection and the cross-entropy in one: logits exist for a few rows at a time only.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::buffer::{Shared, filled, with_buffer};
use super::format::Format;
use super::lanes::{LANES, exp, scale, sum_lanes};
use super::level::vectorised;
use super::pack::Matrix;
use super::product::{PackedFactor, Store, Threads, for_each, product_in, with_packed};
use super::storage::{Floats, contiguous, tensor};
use crate::operations::IGNORED;
use crate::{Precision, Scores};

/// Rows whose logits exist at a time: fixed, so that sums over tokens have one order.
const ROWS: usize = 512;
/// Rows of a task.
const TASK_ROWS: usize = 16;

struct CrossEntropy {
    targets: Arc<[u32]>,
    z_loss: f32,
    precision: Precision,
    tracked: (bool, bool),
    /// The gradients for an incoming gradient of 1, computed in the forward pass while the logits are there.
    gradients: OnceLock<Gradients>,
}

/// Of a loss for the hidden states and the output projection, where they are tracked.
pub(super) struct Gradients {
    pub hidden: Option<Tensor>,
    pub weight: Option<Tensor>,
}

impl Gradients {
    /// Of so many rows of `width` each, where they are tracked.
    pub fn new(
        hidden: (Option<Vec<f32>>, usize),
        weight: (Option<Vec<f32>>, usize),
        width: usize,
    ) -> Result<Self> {
        let rows = |gradient: Option<Vec<f32>>, count: usize| {
            let gradient = gradient.map(|gradient| tensor(gradient, (count, width)));
            gradient.transpose()
        };
        Ok(Self {
            hidden: rows(hidden.0, hidden.1)?,
            weight: rows(weight.0, weight.1)?,
        })
    }

    /// For another incoming gradient than 1.
    pub fn times(&self, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = gradient.to_vec0::<f32>()?;
        let times = |gradient: &Option<Tensor>| {
            gradient
                .as_ref()
                .map(|gradient| times(gradient, factor))
                .transpose()
        };
        Ok((times(&self.hidden)?, times(&self.weight)?))
    }
}

/// Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets that count, logits = hidden·weightᵀ.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    let operation = CrossEntropy {
        targets: Arc::clone(targets),
        z_loss: z_loss as f32,
        precision,
        tracked: (hidden.track_op(), weight.track_op()),
        gradients: OnceLock::new(),
    };
    hidden
        .contiguous()?
        .apply_op2(&weight.contiguous()?, operation)
}

vectorised! {
    /// The largest of a row; NaN is passed over.
    pub(super) fn largest(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
            }
        }
        let _ = FMA;
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }

    /// x ← e^(x − shift), and their sum.
    pub(crate) fn exponentials(row: &mut [f32], shift: f32) -> f32 {
        let mut sums = [0f32; LANES];
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                chunk[lane] = exp::<FMA>(chunk[lane] - shift);
                sums[lane] += chunk[lane];
            }
        }
        for (lane, x) in rest.iter_mut().enumerate() {
            *x = exp::<FMA>(*x - shift);
            sums[lane] += *x;
        }
        sum_lanes(sums)
    }

    fn scaled(from: &[f32], factor: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from * factor;
        }
        let _ = FMA;
    }
}

/// What a row of logits says of its target.
struct Scored {
    /// −ln p(target).
    nats: f32,
    /// Σ e^(logit − largest).
    sum: f32,
    /// ln Σ e^logit.
    log_sum: f32,
}

/// Scores a row of logits, which becomes e^(logit − largest).
fn score_row(logits: &mut [f32], target: u32) -> Scored {
    let shift = largest(logits);
    let chosen = logits[target as usize];
    let sum = exponentials(logits, shift);
    // A NaN among the logits is in the sum, and so in the result.
    Scored {
        nats: sum.ln() - (chosen - shift),
        sum,
        log_sum: sum.ln() + shift,
    }
}

/// Calls `each(row, its logits)` for all rows in parallel.
fn for_each_row(
    logits: &mut [f32],
    vocabulary: usize,
    each: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let rows = logits.len() / vocabulary;
    let work = 16 * logits.len();
    let logits = Shared::new(logits);
    for_each(rows.div_ceil(TASK_ROWS), work, |task| {
        for row in task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS) {
            // SAFETY: each row is in one task.
            each(row, unsafe { logits.slice(row * vocabulary, vocabulary) });
        }
    });
}

/// What the forward pass runs over: the rows that have a target.
struct Rows<'a> {
    hidden: Matrix<'a>,
    weight: Matrix<'a>,
    targets: &'a [u32],
    z_loss: f32,
    format: Format,
}

impl Rows<'_> {
    /// Calls `chunk(first row, targets, hidden states, logits)` for a few rows at a time.
    fn for_each_chunk(&self, mut chunk: impl FnMut(usize, &[u32], Matrix, &mut [f32])) {
        let (width, vocabulary) = (self.hidden.columns, self.weight.rows);
        with_packed(
            self.weight.transposed(),
            self.targets.len(),
            self.format,
            |weight| {
                for (index, targets) in self.targets.chunks(ROWS).enumerate() {
                    let start = index * ROWS;
                    let hidden = self.hidden.block((start, targets.len()), (0, width));
                    with_buffer(targets.len() * vocabulary, |logits| {
                        weight.multiply(hidden, logits, Store::Replace, Threads::All);
                        chunk(start, targets, hidden, logits);
                    });
                }
            },
        );
    }

    /// The loss, with the gradients added to `hidden_gradient` (rows, width) and `weight_gradient`, where given.
    fn loss(
        &self,
        hidden_gradient: Option<&mut [f32]>,
        weight_gradient: Option<&mut [f32]>,
    ) -> f64 {
        match hidden_gradient {
            Some(gradient) => with_packed(self.weight, self.targets.len(), self.format, |weight| {
                self.loss_in_chunks(Some((gradient, weight)), weight_gradient)
            }),
            None => self.loss_in_chunks(None, weight_gradient),
        }
    }

    /// [`loss`](Self::loss), with the packed weight beside the gradient that it is for.
    fn loss_in_chunks(
        &self,
        mut hidden_gradient: Option<(&mut [f32], &PackedFactor)>,
        mut weight_gradient: Option<&mut [f32]>,
    ) -> f64 {
        let (width, vocabulary) = (self.hidden.columns, self.weight.rows);
        let tracked = hidden_gradient.is_some() || weight_gradient.is_some();
        let mut total = 0.0;
        self.for_each_chunk(|start, targets, hidden, logits| {
            let mut nats = vec![0.0; targets.len()];
            let shared = Shared::new(&mut nats);
            for_each_row(logits, vocabulary, |row, logits| {
                let scored = score_row(logits, targets[row]);
                let log_sum = scored.log_sum;
                // SAFETY: each row is in one task.
                let cell = unsafe { shared.slice(row, 1) };
                cell[0] = scored.nats;
                if self.z_loss != 0.0 {
                    cell[0] += self.z_loss * log_sum * log_sum;
                }
                if tracked {
                    // The derivative of the logarithm of the sum is p itself.
                    scale(logits, (1.0 + 2.0 * self.z_loss * log_sum) / scored.sum);
                    logits[targets[row] as usize] -= 1.0;
                }
            });
            total += nats.iter().copied().map(f64::from).sum::<f64>();
            let gradient = Matrix::new(logits, targets.len(), vocabulary);
            if let Some((sum, weight)) = &mut hidden_gradient {
                let part = &mut sum[start * width..][..targets.len() * width];
                weight.multiply(gradient, part, Store::Replace, Threads::All);
            }
            if let Some(sum) = &mut weight_gradient {
                let store = if start == 0 {
                    Store::Replace
                } else {
                    Store::Add
                };
                product_in(self.format, gradient.transposed(), hidden, sum, store);
            }
        });
        total
    }
}

/// The rows that have a target, side by side: what no loss depends on is not even read.
fn kept_rows(hidden: &[f32], width: usize, targets: &[u32]) -> (Vec<f32>, Vec<u32>) {
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for (row, &target) in targets.iter().enumerate() {
        if target != IGNORED {
            rows.extend_from_slice(&hidden[row * width..(row + 1) * width]);
            kept.push(target);
        }
    }
    (rows, kept)
}

/// Puts the gradients of the kept rows where they came from.
fn spread_rows(kept: &[f32], width: usize, targets: &[u32]) -> Vec<f32> {
    let mut all = vec![0.0; targets.len() * width];
    let mut next = 0;
    for (row, &target) in targets.iter().enumerate() {
        if target != IGNORED {
            all[row * width..(row + 1) * width].copy_from_slice(&kept[next..next + width]);
            next += width;
        }
    }
    all
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = hidden_layout.shape().dims2()?;
        let (vocabulary, _) = weight_layout.shape().dims2()?;
        let hidden = contiguous(hidden, hidden_layout)?;
        let weight = Matrix::new(contiguous(weight, weight_layout)?, vocabulary, width);
        let some_ignored = self.targets.contains(&IGNORED);
        let kept = some_ignored.then(|| kept_rows(hidden, width, &self.targets));
        let (hidden, targets) = match &kept {
            Some((hidden, targets)) => (&hidden[..], &targets[..]),
            None => (hidden, &self.targets[..]),
        };
        let rows = Rows {
            hidden: Matrix::new(hidden, targets.len(), width),
            weight,
            targets,
            z_loss: self.z_loss,
            format: Format::of(self.precision),
        };
        let mut hidden_gradient = self.tracked.0.then(|| vec![0.0; hidden.len()]);
        let mut weight_gradient = self.tracked.1.then(|| vec![0.0; vocabulary * width]);
        let loss = rows.loss(
            hidden_gradient.as_deref_mut(),
            weight_gradient.as_deref_mut(),
        );
        if let (Some(gradient), true) = (&mut hidden_gradient, some_ignored) {
            *gradient = spread_rows(gradient, width, &self.targets);
        }
        let gradients = Gradients::new(
            (hidden_gradient, tokens),
            (weight_gradient, vocabulary),
            width,
        )?;
        // An operation runs forward once, so that nothing can stand there yet.
        let _ = self.gradients.set(gradients);
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        match self.gradients.get() {
            Some(gradients) => gradients.times(gradient),
            None => Ok((None, None)),
        }
    }
}

/// factor·x, which is x itself for 1.
fn times(x: &Tensor, factor: f32) -> Result<Tensor> {
    const CHUNK: usize = 1 << 14;
    if factor == 1.0 {
        return Ok(x.clone());
    }
    let values = Floats::of(x)?;
    let fill = |y: &mut [f32]| {
        let y = Shared::new(y);
        for_each(values.len().div_ceil(CHUNK), 8 * values.len(), |task| {
            let start = task * CHUNK;
            let count = CHUNK.min(values.len() - start);
            // SAFETY: chunks do not overlap.
            let y = unsafe { y.slice(start, count) };
            scaled(&values[start..start + count], factor, y);
        });
    };
    // SAFETY: all chunks are written.
    tensor(unsafe { filled(values.len(), fill) }, x.shape())
}

/// −ln p(target) of each token, and whether the target is the likeliest token.
pub(crate) fn score(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Arc<[u32]>,
    precision: Precision,
) -> Result<Scores> {
    let (hidden, weight) = (hidden.contiguous()?, weight.contiguous()?);
    let (vocabulary, width) = weight.dims2()?;
    let (hidden, weight) = (Floats::of(&hidden)?, Floats::of(&weight)?);
    let (kept, kept_targets) = kept_rows(&hidden, width, targets);
    let rows = Rows {
        hidden: Matrix::new(&kept, kept_targets.len(), width),
        weight: Matrix::new(&weight, vocabulary, width),
        targets: &kept_targets,
        z_loss: 0.0,
        format: Format::of(precision),
    };
    let mut nats = vec![0.0; kept_targets.len()];
    let mut correct = vec![0.0; kept_targets.len()];
    rows.for_each_chunk(|start, targets, _, logits| {
        let shared = [
            Shared::new(&mut nats[start..]),
            Shared::new(&mut correct[start..]),
        ];
        for_each_row(logits, vocabulary, |row, logits| {
            let target = targets[row] as usize;
            let chosen = logits[target];
            let likeliest = chosen == largest(logits) && !logits[..target].contains(&chosen);
            let nats = score_row(logits, targets[row]).nats;
            // SAFETY: each row is in one task.
            unsafe {
                shared[0].slice(row, 1)[0] = nats;
                shared[1].slice(row, 1)[0] = f32::from(likeliest && !nats.is_nan());
            }
        });
    });
    let mut next = nats.into_iter().zip(correct);
    let mut scores = Scores::default();
    for &target in targets.iter() {
        let (nats, correct) = match target {
            IGNORED => (0.0, 0.0),
            _ => next.next().unwrap_or_default(),
        };
        scores.nats.push(nats);
        scores.correct.push(correct == 1.0);
    }
    Ok(scores)
}
