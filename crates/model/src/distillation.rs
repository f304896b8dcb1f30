//! What a transformer needs to be held to another one's predictions.

use candle_core::Tensor;
use polymath_ops::{Teacher, TopK};

use crate::{ModelError, TokenBatch, Transformer};

/// Which positions of a batch are compared with a teacher, and at what temperature.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Positions of the batch, counted row after row, ascending.
    pub positions: Vec<u32>,
    /// What the teacher makes of these.
    pub teacher: Teacher,
    /// T.
    pub temperature: f64,
}

impl Transformer {
    /// The sum of −ln p over the batch's targets, and T²·Σ KL(teacher ‖ this model) over the comparison's positions:
    /// scalars in the graph of the trainable parameters, of one forward pass.
    ///
    /// # Errors
    /// As [`Self::loss`]; a teacher with another vocabulary.
    pub fn loss_and_divergence(
        &self,
        batch: &TokenBatch,
        comparison: &Comparison,
    ) -> Result<(Tensor, Tensor), ModelError> {
        let (hidden, targets) = self.tracked_states(batch)?; // (tokens, hidden)
        let loss = self.task_loss(&hidden, &targets)?;
        let compared = self.at(&hidden, &comparison.positions)?;
        let divergence = self.ops().distillation(
            &compared,
            self.head(),
            &comparison.teacher,
            comparison.temperature,
        )?;
        Ok((loss, divergence))
    }

    /// Σ KL(teacher ‖ this model) over the comparison's positions, in nats; nothing is tracked.
    ///
    /// # Errors
    /// As [`Self::loss_and_divergence`].
    pub fn divergence(
        &self,
        batch: &TokenBatch,
        comparison: &Comparison,
    ) -> Result<f64, ModelError> {
        let compared = self.at(&self.detached_states(batch)?, &comparison.positions)?;
        let (head, teacher) = (self.detached_head(), &comparison.teacher);
        let sum = self
            .ops()
            .distillation(&compared, head, teacher, comparison.temperature)?;
        Ok(f64::from(sum.to_scalar::<f32>()?))
    }

    /// This model as the teacher at `positions` of a batch; nothing is tracked.
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn teach(&self, batch: &TokenBatch, positions: &[u32]) -> Result<Teacher, ModelError> {
        let hidden = self.at(&self.detached_states(batch)?, positions)?;
        Ok(Teacher::Live {
            hidden,
            weight: self.detached_head().clone(),
        })
    }

    /// The same, its `k` likeliest tokens at each position only.
    ///
    /// # Errors
    /// As [`Self::loss`]; `k` beyond the vocabulary.
    pub fn likeliest(
        &self,
        batch: &TokenBatch,
        k: usize,
        temperature: f64,
    ) -> Result<TopK, ModelError> {
        let hidden = self.detached_states(batch)?;
        let head = self.detached_head();
        Ok(self.ops().top_k(&hidden, head, k, temperature)?)
    }

    /// The rows of `states` at `positions`.
    fn at(&self, states: &Tensor, positions: &[u32]) -> Result<Tensor, ModelError> {
        let positions = Tensor::from_slice(positions, positions.len(), self.device())?;
        Ok(states.index_select(&positions, 0)?)
    }
}
