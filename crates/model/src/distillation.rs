//! Distillation loss: comparison of a transformer's predictions with those of a teacher.

use std::sync::Arc;

use candle_core::Tensor;
use polymath_ops::{Comparison, DistilledLoss, Teacher, TopK};

use crate::{Batch, ModelError, Transformer};

impl Transformer {
    /// Computes [`Self::loss_of`] plus `strength`·T²·Σ KL(teacher ‖ this model) over the comparison's positions,
    /// which index the batch's tokens in row-major order. Returns scalars; the total is in the graph of the trainable
    /// parameters.
    ///
    /// # Shapes
    /// (tokens, hidden), `targets` tokens → ()
    ///
    /// # Errors
    /// Fails as [`Self::loss_of`] does, or if the teacher has another vocabulary or a position has no target.
    pub fn distillation_loss_of(
        &self,
        hidden: &Tensor,
        targets: &Arc<[u32]>,
        comparison: &Comparison,
        strength: f64,
    ) -> Result<DistilledLoss, ModelError> {
        let (targets, held) = ((targets, self.z_loss()), (comparison, strength));
        Ok(self
            .ops()
            .cross_entropy_distilled(hidden, self.head(), targets, held)?)
    }

    /// Returns Σ KL(teacher ‖ this model) over the comparison's positions, in nats. Tracks no gradients.
    ///
    /// # Errors
    /// Fails as [`Self::distillation_loss_of`] does.
    pub fn divergence(&self, batch: &Batch, comparison: &Comparison) -> Result<f64, ModelError> {
        let compared = self.at(&self.detached_states(batch)?, &comparison.positions)?;
        let (head, teacher) = (self.detached_head(), &comparison.teacher);
        let sum = self
            .ops()
            .distillation(&compared, head, teacher, comparison.temperature)?;
        Ok(f64::from(sum.to_scalar::<f32>()?))
    }

    /// Returns this model's predictions at `positions` of a batch as a teacher. Tracks no gradients.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does.
    pub fn teach(&self, batch: &Batch, positions: &[u32]) -> Result<Teacher, ModelError> {
        let hidden = self.at(&self.detached_states(batch)?, positions)?;
        Ok(Teacher::Live {
            hidden,
            weight: self.detached_head().clone(),
        })
    }

    /// Returns the `k` most likely tokens at each position with their probabilities, for a stored teacher. Tracks no
    /// gradients.
    ///
    /// # Errors
    /// Fails as [`Self::loss`] does, or if `k` exceeds the vocabulary.
    pub fn likeliest(&self, batch: &Batch, k: usize, temperature: f64) -> Result<TopK, ModelError> {
        let hidden = self.detached_states(batch)?;
        let head = self.detached_head();
        Ok(self.ops().top_k(&hidden, head, k, temperature)?)
    }

    /// Selects the rows of `states`, `(tokens, hidden)`, at `positions`.
    fn at(&self, states: &Tensor, positions: &[u32]) -> Result<Tensor, ModelError> {
        let positions = Tensor::from_slice(positions, positions.len(), self.device())?;
        Ok(states.index_select(&positions, 0)?)
    }
}
