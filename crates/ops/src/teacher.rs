//! Teacher of a distillation, and the loss beside its divergence.

use std::sync::Arc;

use candle_core::Tensor;

/// Teacher of a distillation.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// Hidden states `(tokens, width)` and output projection `(vocabulary, width)`: logits are computed when needed.
    Live {
        /// Output of the last norm.
        hidden: Tensor,
        /// Output projection.
        weight: Tensor,
    },
    /// Likeliest tokens, computed beforehand; all others count as one event.
    TopK(TopK),
}

/// Likeliest tokens of each of a teacher's distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// Tokens listed for each position.
    pub k: usize,
    /// `k` tokens for each position, row after row.
    pub ids: Arc<[u32]>,
    /// Probabilities of the listed tokens at the temperature in use.
    pub probabilities: Arc<[f32]>,
    /// Remaining probability of all other tokens, one for each position.
    pub rest: Arc<[f32]>,
}

/// Positions to distill, with the teacher and the temperature.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Positions, ascending.
    pub positions: Vec<u32>,
    /// Teacher's outputs at these positions.
    pub teacher: Teacher,
    /// T.
    pub temperature: f64,
}

/// Loss with a distillation term.
#[derive(Clone, Debug)]
pub struct DistilledLoss {
    /// Sum of both, in the graph.
    pub total: Tensor,
    /// Loss of the task; a constant.
    pub task: Tensor,
    /// Divergence times its strength; a constant.
    pub divergence: Tensor,
}

impl TopK {
    /// Number of positions.
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
