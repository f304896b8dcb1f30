//! Output projection and cross-entropy in one operation. Logits are in memory for a few rows at a time only.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::distillation::{DistilledPositions, still, with_prepared_teacher};
use super::gradients::Gradients;
use super::rows::{
    Projection, Rows, Sums, for_each_row, kept_rows, largest, score_row, spread_rows,
};
use crate::fused::gemm::format::Format;
use crate::fused::saved::Saved;
use crate::fused::simd::buffer::Shared;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::storage::{Floats, contiguous};
use crate::targets::IGNORED;
use crate::teacher::{Comparison, DistilledLoss};
use crate::{Precision, Scores};

struct CrossEntropy {
    targets: Arc<[u32]>,
    z_loss: f32,
    distilled: Option<Distilled>,
    precision: Precision,
    tracked: (bool, bool),
    /// Gradients for an incoming gradient of 1. The forward pass computes them while it has the logits.
    gradients: Saved<Gradients>,
}

/// Distillation of some of the positions, beside the cross-entropy of all.
struct Distilled {
    comparison: Comparison,
    strength: f32,
    /// Cross-entropy and divergence separately, for the caller.
    sums: Arc<OnceLock<Sums>>,
}

/// Computes Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets other than [`IGNORED`], with
/// logits = hidden·weightᵀ.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    lose(hidden, weight, (targets, z_loss), None, precision)
}

/// Computes [`cross_entropy`] of all tokens plus strength·T²·Σ KL(teacher ‖ model) of some positions. Both losses use
/// the same logits.
pub(crate) fn cross_entropy_distilled(
    hidden: &Tensor,
    weight: &Tensor,
    targets: (&Arc<[u32]>, f64),
    (comparison, strength): (&Comparison, f64),
    precision: Precision,
) -> Result<DistilledLoss> {
    let sums = Arc::new(OnceLock::new());
    let distilled = Distilled {
        comparison: Comparison {
            teacher: still(&comparison.teacher)?,
            ..comparison.clone()
        },
        strength: strength as f32,
        sums: Arc::clone(&sums),
    };
    let total = lose(hidden, weight, targets, Some(distilled), precision)?;
    let sums = sums.get().copied().unwrap_or_default();
    let constant = |value: f64| Tensor::new(value as f32, hidden.device());
    Ok(DistilledLoss {
        total,
        task: constant(sums.task)?,
        divergence: constant(sums.divergence)?,
    })
}

fn lose(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    distilled: Option<Distilled>,
    precision: Precision,
) -> Result<Tensor> {
    let operation = CrossEntropy {
        targets: Arc::clone(targets),
        z_loss: z_loss as f32,
        distilled,
        precision,
        tracked: (hidden.track_op(), weight.track_op()),
        gradients: Saved::none(),
    };
    hidden
        .contiguous()?
        .apply_op2(&weight.contiguous()?, operation)
}

impl Distilled {
    /// Returns the indices of the distilled positions among the rows that have a target.
    fn rows(&self, targets: &[u32]) -> Vec<usize> {
        let mut positions = self.comparison.positions.iter().peekable();
        let mut rows = Vec::with_capacity(positions.len());
        let kept = (0u32..)
            .zip(targets)
            .filter(|(_, target)| **target != IGNORED);
        for (row, (at, _)) in kept.enumerate() {
            if positions.next_if_eq(&&at).is_some() {
                rows.push(row);
            }
        }
        rows
    }

    /// Computes the losses of `rows`, which are the positions with a target. `targets` are those of all positions.
    fn losses(
        &self,
        rows: &Rows,
        targets: &[u32],
        gradients: [Option<&mut [f32]>; 2],
    ) -> Result<Sums> {
        let temperature = self.comparison.temperature as f32;
        let sums = with_prepared_teacher(
            &self.comparison.teacher,
            rows.projection.format,
            |teacher| {
                let distilled = DistilledPositions {
                    rows: &self.rows(targets),
                    teacher,
                    temperature,
                    strength: self.strength,
                };
                rows.losses(Some(&distilled), gradients)
            },
        )?;
        let factor = f64::from(self.strength) * f64::from(temperature).powi(2);
        Ok(Sums {
            divergence: sums.divergence * factor,
            ..sums
        })
    }
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
            projection: Projection {
                hidden: Matrix::new(hidden, targets.len(), width),
                weight,
                format: Format::of(self.precision),
            },
            targets,
            z_loss: self.z_loss,
        };
        let mut hidden_gradient = self.tracked.0.then(|| vec![0.0; hidden.len()]);
        let mut weight_gradient = self.tracked.1.then(|| vec![0.0; vocabulary * width]);
        let sides = [&mut hidden_gradient, &mut weight_gradient].map(Option::as_deref_mut);
        let sums = match &self.distilled {
            Some(distilled) => distilled.losses(&rows, &self.targets, sides)?,
            None => rows.losses(None, sides),
        };
        if let (Some(gradient), true) = (&mut hidden_gradient, some_ignored) {
            *gradient = spread_rows(gradient, width, &self.targets);
        }
        let gradients = Gradients::new(
            (hidden_gradient, tokens),
            (weight_gradient, vocabulary),
            width,
        )?;
        self.gradients.put(gradients);
        if let Some(distilled) = &self.distilled {
            let _ = distilled.sums.set(sums);
        }
        let loss = sums.task + sums.divergence;
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients.take("cross-entropy")?.times(gradient)
    }
}

/// Returns −ln p(target) of each token, and whether the target is the most likely token.
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
    let projection = Projection {
        hidden: Matrix::new(&kept, kept_targets.len(), width),
        weight: Matrix::new(&weight, vocabulary, width),
        format: Format::of(precision),
    };
    let mut nats = vec![0.0; kept_targets.len()];
    let mut correct = vec![0.0; kept_targets.len()];
    projection.for_each_chunk(|start, _, logits| {
        let targets = &kept_targets[start..];
        let shared = [
            Shared::new(&mut nats[start..]),
            Shared::new(&mut correct[start..]),
        ];
        for_each_row(logits, vocabulary, |row, logits| {
            let target = targets[row] as usize;
            let chosen = logits[target];
            let likeliest = chosen == largest(logits) && !logits[..target].contains(&chosen);
            let nats = score_row(logits, targets[row]).nats;
            // SAFETY: each row belongs to one task.
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
