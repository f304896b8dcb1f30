//! Distillation: the KL divergence of a model's next-token distributions from a teacher's.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::targets::{IGNORED, check_targets};
use crate::teacher::{Comparison, DistilledLoss, Teacher, TopK};
use crate::{Ops, fused, gpu, reference};

/// Number of rows of logits that are in memory at a time.
const ROWS: usize = 512;

impl Ops {
    /// Computes `T²·Σ KL(teacher ‖ student)` in nats, summed over all positions, between the distributions
    /// softmax(logits / T). No gradient flows to the teacher. With [`Teacher::TopK`], all tokens outside the
    /// teacher's top k count as one event for both models, so the result is a lower bound of the full divergence.
    ///
    /// With student q and teacher p, the gradient for the student's logits is T·(q − p). For a token outside the top
    /// k, p is the teacher's remaining probability times q / Σ q over those tokens. The factor T² keeps the size of
    /// the gradient as T grows (Hinton 2015). Logits are in memory for a few rows at a time only.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width) → ()
    ///
    /// # Errors
    /// Fails if the shapes do not fit or the temperature is not above 0.
    pub fn distillation(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        teacher: &Teacher,
        temperature: f64,
    ) -> Result<Tensor> {
        check(hidden.dims2()?, weight, teacher, temperature)?;
        if self.fuses_with(hidden, weight, teacher) {
            return fused::distillation((hidden, weight), teacher, temperature, self.precision);
        }
        let runs_kernels = match teacher {
            Teacher::Live {
                hidden: of_teacher,
                weight: head,
            } => self.runs_kernels(&[hidden, weight, of_teacher, head]),
            Teacher::TopK(_) => self.runs_kernels(&[hidden, weight]),
        };
        if runs_kernels {
            return gpu::distillation((hidden, weight), teacher, temperature, self.precision);
        }
        reference::distillation((hidden, weight), teacher, temperature, self.precision)
    }

    /// Computes [`Ops::cross_entropy`] of all tokens plus `strength` times [`Ops::distillation`] of some positions.
    /// The logits and the products for the gradients are computed once and serve both losses.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width), `targets` tokens → ()
    ///
    /// # Errors
    /// Fails if the shapes do not fit, a target is outside the vocabulary, the temperature is not above 0, or the
    /// distilled positions are not ascending or have no target.
    pub fn cross_entropy_distilled(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        (targets, z_loss): (&Arc<[u32]>, f64),
        (comparison, strength): (&Comparison, f64),
    ) -> Result<DistilledLoss> {
        let Comparison {
            positions,
            teacher,
            temperature,
        } = comparison;
        check_targets("cross_entropy_distilled", hidden, weight, targets)?;
        check(
            (positions.len(), hidden.dim(1)?),
            weight,
            teacher,
            *temperature,
        )?;
        let has_target = |at: &u32| targets.get(*at as usize).is_some_and(|id| *id != IGNORED);
        if !positions.is_sorted_by(|a, b| a < b) || !positions.iter().all(has_target) {
            bail!("cross_entropy_distilled: positions must ascend, and each must have a target")
        }
        if self.fuses_with(hidden, weight, teacher) {
            let distilled = (comparison, strength);
            return fused::cross_entropy_distilled(
                hidden,
                weight,
                (targets, z_loss),
                distilled,
                self.precision,
            );
        }
        let task = self.cross_entropy(hidden, weight, targets, z_loss)?;
        let at = Tensor::from_slice(positions, positions.len(), hidden.device())?;
        let compared = hidden.index_select(&at, 0)?;
        let divergence = (self.distillation(&compared, weight, teacher, *temperature)? * strength)?;
        Ok(DistilledLoss {
            total: (&task + &divergence)?,
            task: task.detach(),
            divergence: divergence.detach(),
        })
    }

    fn fuses_with(&self, hidden: &Tensor, weight: &Tensor, teacher: &Teacher) -> bool {
        match teacher {
            Teacher::Live {
                hidden: a,
                weight: b,
            } => self.fuses(&[hidden, weight, a, b]),
            Teacher::TopK(_) => self.fuses(&[hidden, weight]),
        }
    }

    /// Returns the `k` most likely tokens of softmax(hidden·weightᵀ / T) at each position, most likely first. The
    /// result is in no graph.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width) → tokens
    ///
    /// # Errors
    /// Fails if the shapes do not fit or `k` exceeds the vocabulary.
    pub fn top_k(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        k: usize,
        temperature: f64,
    ) -> Result<TopK> {
        let (hidden, weight) = (hidden.detach(), weight.detach());
        let (tokens, vocabulary) = (hidden.dim(0)?, weight.dim(0)?);
        if k == 0 || k > vocabulary {
            bail!("top_k: `{k}` of a vocabulary of `{vocabulary}`")
        }
        let (mut ids, mut probabilities, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for start in (0..tokens).step_by(ROWS) {
            let rows = hidden.narrow(0, start, ROWS.min(tokens - start))?;
            let logits = self.linear(&rows, &weight, None)?.to_vec2::<f32>()?;
            let found: Vec<(Vec<u32>, Vec<f32>, f32)> = logits
                .par_iter()
                .map(|logits| likeliest(logits, k, temperature))
                .collect();
            for (row_ids, row_probabilities, row_rest) in found {
                ids.extend(row_ids);
                probabilities.extend(row_probabilities);
                rest.push(row_rest);
            }
        }
        Ok(TopK {
            k,
            ids: ids.into(),
            probabilities: probabilities.into(),
            rest: rest.into(),
        })
    }
}

/// Returns the ids of the `k` most likely tokens, their probabilities, and the total probability of all other tokens.
fn likeliest(logits: &[f32], k: usize, temperature: f64) -> (Vec<u32>, Vec<f32>, f32) {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    if k < order.len() {
        order.select_nth_unstable_by(k, by_logit);
    }
    order[..k].sort_unstable_by(by_logit);
    let highest = f64::from(logits[order[0] as usize]);
    let mass = |id: &u32| ((f64::from(logits[*id as usize]) - highest) / temperature).exp();
    let listed: Vec<f64> = order[..k].iter().map(mass).collect();
    let rest: f64 = order[k..].iter().map(mass).sum();
    let total = rest + listed.iter().sum::<f64>();
    let probabilities = listed.iter().map(|mass| (mass / total) as f32).collect();
    order.truncate(k);
    (order, probabilities, (rest / total) as f32)
}

/// Fails unless the shapes of student and teacher fit each other: `tokens` hidden states of `width`.
fn check(
    (tokens, width): (usize, usize),
    weight: &Tensor,
    teacher: &Teacher,
    temperature: f64,
) -> Result<()> {
    let (vocabulary, inputs) = weight.dims2()?;
    let fits = match teacher {
        Teacher::Live { hidden, weight } => {
            hidden.dims2()?.0 == tokens
                && weight.dims2()?.0 == vocabulary
                && hidden.dims2()?.1 == weight.dims2()?.1
        }
        Teacher::TopK(top) => {
            top.tokens() == tokens
                && top.ids.len() == tokens * top.k
                && top.probabilities.len() == tokens * top.k
                && top.ids.iter().all(|id| (*id as usize) < vocabulary)
        }
    };
    if width != inputs || !fits {
        bail!(
            "distillation: hidden states `{:?}`, weight `{:?}` and the teacher do not fit",
            [tokens, width],
            weight.dims()
        )
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        bail!("distillation: the temperature `{temperature}`: expected a number above 0")
    }
    Ok(())
}
