//! Teacher of a distillation, and the result of a loss with a distillation term.

use std::sync::Arc;

use candle_core::Tensor;

/// Teacher of a distillation.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// Hidden states `(tokens, width)` and output projection `(vocabulary, width)`. Logits are computed when needed.
    Live {
        /// Output of the final norm.
        hidden: Tensor,
        /// Output projection.
        weight: Tensor,
    },
    /// Precomputed probabilities of the teacher's top k tokens. All other tokens count as one event.
    TopK(TopK),
}

/// Top k tokens of each of a teacher's next-token distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// Number of tokens stored for each position.
    pub k: usize,
    /// Ids of the top `k` tokens, position after position.
    pub ids: Arc<[u32]>,
    /// Probabilities of these tokens, at the temperature of the distillation.
    pub probabilities: Arc<[f32]>,
    /// Total probability of all other tokens, one number for each position.
    pub rest: Arc<[f32]>,
}

/// Positions to distill, with the teacher and the temperature.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Distilled positions, ascending.
    pub positions: Vec<u32>,
    /// Teacher's outputs at the distilled positions.
    pub teacher: Teacher,
    /// Temperature T that both models' logits are divided by.
    pub temperature: f64,
}

/// Loss with a distillation term.
#[derive(Clone, Debug)]
pub struct DistilledLoss {
    /// Sum of both terms, in the graph.
    pub total: Tensor,
    /// Cross-entropy, not in the graph.
    pub task: Tensor,
    /// Divergence times its strength, not in the graph.
    pub divergence: Tensor,
}

impl TopK {
    /// Returns the number of positions.
    pub fn tokens(&self) -> usize {
        self.rest.len()
    }

    /// Returns the positions `start..start + length`.
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
