//! What a transformer needs to be held to another one's predictions.

use std::sync::Arc;

use candle_core::Tensor;
use polymath_ops::{Comparison, DistilledLoss, Teacher, TopK};

use crate::{ModelError, TokenBatch, Transformer};

impl Transformer {
    /// [`Self::loss_of`], with `strength`·T²·Σ KL(teacher ‖ this model) beside it over the comparison's positions, which
    /// count the batch's, row after row: scalars, of which the total is in the graph of the trainable parameters.
    ///
    /// # Shapes
    /// (tokens, hidden), `targets` tokens → ()
    ///
    /// # Errors
    /// As [`Self::loss_of`]; a teacher with another vocabulary; a position without a target.
    pub fn held_loss_of(
        &self,
        hidden: &Tensor,
        targets: &Arc<[u32]>,
        (comparison, strength): (&Comparison, f64),
    ) -> Result<DistilledLoss, ModelError> {
        let (targets, held) = ((targets, self.z_loss()), (comparison, strength));
        Ok(self
            .ops()
            .cross_entropy_distilled(hidden, self.head(), targets, held)?)
    }

    /// Σ KL(teacher ‖ this model) over the comparison's positions, in nats; nothing is tracked.
    ///
    /// # Errors
    /// As [`Self::held_loss_of`].
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
