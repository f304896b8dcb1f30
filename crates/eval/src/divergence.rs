//! Divergence of a tuned model's predictions from the base's.

use polymath_data::{ScoringBatches, TokenShard};
use polymath_model::{Comparison, Transformer};

use crate::scoring::scoring_options;
use crate::{EvalError, WindowOptions};

/// Base model and a model that was tuned from it.
#[derive(Clone, Copy)]
pub struct ModelPair<'a> {
    /// Model before fine-tuning.
    pub base: &'a Transformer,
    /// Model after fine-tuning.
    pub tuned: &'a Transformer,
}

/// Computes the mean of KL(base ‖ tuned) over a shard's held-out tokens, in nats per token.
///
/// # Errors
/// Fails if the context is longer than that of the models, or if the models have different vocabularies.
pub fn divergence(
    models: ModelPair,
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<f64, EvalError> {
    let ModelPair { base, tuned } = models;
    let batches = ScoringBatches::new(shard, scoring_options(tuned.config(), shard, windows)?);
    let (mut sum, mut tokens) = (0.0, 0);
    for batch in batches.iter() {
        let positions: Vec<u32> = (0..)
            .zip(&batch.scored)
            .filter_map(|(at, scored)| scored.map(|_| at))
            .collect();
        if positions.is_empty() {
            continue;
        }
        tokens += positions.len();
        let comparison = Comparison {
            teacher: base.teach(&batch.batch, &positions)?,
            positions,
            temperature: 1.0,
        };
        sum += tuned.divergence(&batch.batch, &comparison)?;
    }
    Ok(sum / tokens.max(1) as f64)
}
