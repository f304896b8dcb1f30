//! How far a model has gone from its teacher: the divergence of their next-token distributions.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::operations::{IGNORED, check_targets};
use crate::{Ops, composed, fused};

/// Rows of logits that are in memory at a time.
const ROWS: usize = 512;

/// What a model is compared with.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// The teacher's hidden states `(tokens, width)` and output projection `(vocabulary, width)`: its logits are
    /// computed as they are needed.
    Live {
        /// Its last norm's output.
        hidden: Tensor,
        /// Its head.
        weight: Tensor,
    },
    /// The teacher's likeliest tokens, computed before; all others count as one.
    TopK(TopK),
}

/// The likeliest tokens of each of a teacher's distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// How many of each.
    pub k: usize,
    /// `k` tokens for each position, row after row.
    pub ids: Arc<[u32]>,
    /// Their probabilities, at the temperature that they are used at.
    pub probabilities: Arc<[f32]>,
    /// What is left for all other tokens, one for each position.
    pub rest: Arc<[f32]>,
}

/// Which positions are compared with a teacher, and at what temperature.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Positions, ascending.
    pub positions: Vec<u32>,
    /// What the teacher makes of these.
    pub teacher: Teacher,
    /// T.
    pub temperature: f64,
}

/// A loss with a divergence beside it.
#[derive(Clone, Debug)]
pub struct HeldLoss {
    /// The sum of both, in the graph.
    pub total: Tensor,
    /// The loss; a constant.
    pub task: Tensor,
    /// The divergence, times its strength; a constant.
    pub held: Tensor,
}

impl TopK {
    /// How many positions there are.
    pub fn tokens(&self) -> usize {
        self.rest.len()
    }

    /// The positions `start..start + length`.
    pub fn narrow(&self, start: usize, length: usize) -> Self {
        let listed = start * self.k..(start + length) * self.k;
        Self {
            k: self.k,
            ids: self.ids[listed.clone()].into(),
            probabilities: self.probabilities[listed].into(),
            rest: self.rest[start..start + length].into(),
        }
    }
}

impl Ops {
    /// `T²·Σ KL(teacher ‖ student)` in nats, the distributions softmax(logits / T), over all positions; the teacher's
    /// side is a constant. With [`Teacher::TopK`] the tokens that are not listed are one event on either side, which
    /// makes it a lower bound.
    ///
    /// With q the student and p the teacher, the gradient for the student's logits is T·(q − p), where a token that is
    /// not listed has p = rest·q / Σ q of those. T² keeps the gradient's size as T grows (Hinton 2015). Logits exist
    /// for a few rows at a time only.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width) → ()
    ///
    /// # Errors
    /// Shapes that do not fit; a temperature that is not above 0.
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
        composed::distillation((hidden, weight), teacher, temperature, self.precision)
    }

    /// [`Ops::cross_entropy`] of all positions and `strength` times [`Ops::distillation`] of some: the logits of these,
    /// and the products for the gradients, are computed once for both.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width), `targets` tokens → ()
    ///
    /// # Errors
    /// As of both; positions that do not ascend, or have no target.
    pub fn cross_entropy_held(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        (targets, z_loss): (&Arc<[u32]>, f64),
        (comparison, strength): (&Comparison, f64),
    ) -> Result<HeldLoss> {
        let Comparison {
            positions,
            teacher,
            temperature,
        } = comparison;
        check_targets("cross_entropy_held", hidden, weight, targets)?;
        check(
            (positions.len(), hidden.dim(1)?),
            weight,
            teacher,
            *temperature,
        )?;
        let has_target = |at: &u32| targets.get(*at as usize).is_some_and(|id| *id != IGNORED);
        if !positions.is_sorted_by(|a, b| a < b) || !positions.iter().all(has_target) {
            bail!("cross_entropy_held: positions must ascend, and each must have a target")
        }
        if self.fuses_with(hidden, weight, teacher) {
            let held = (comparison, strength);
            return fused::cross_entropy_held(
                hidden,
                weight,
                (targets, z_loss),
                held,
                self.precision,
            );
        }
        let task = self.cross_entropy(hidden, weight, targets, z_loss)?;
        let at = Tensor::from_slice(positions, positions.len(), hidden.device())?;
        let compared = hidden.index_select(&at, 0)?;
        let held = (self.distillation(&compared, weight, teacher, *temperature)? * strength)?;
        Ok(HeldLoss {
            total: (&task + &held)?,
            task: task.detach(),
            held: held.detach(),
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

    /// The `k` likeliest tokens of softmax(hidden·weightᵀ / T) at each position, likeliest first. Nothing is tracked.
    ///
    /// # Shapes
    /// (tokens, width), (vocabulary, width) → tokens
    ///
    /// # Errors
    /// Shapes that do not fit; `k` beyond the vocabulary.
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

/// The `k` likeliest tokens, their probabilities, and what is left.
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

/// A teacher and a student of so many hidden states of a width that fit.
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
