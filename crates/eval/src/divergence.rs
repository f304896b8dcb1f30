//! Divergence of a tuned model's predictions from the base's.

use polymath_data::{ScoringBatches, TokenShard};
use polymath_model::{Comparison, Transformer};

use crate::scoring::{scoring_options, token_batch};
use crate::{EvalError, WindowOptions};

/// Computes the mean of KL(base ‖ tuned) over a shard's held-out tokens, in nats per token.
///
/// # Errors
/// Fails if the context is longer than that of the models, or if the models have different vocabularies.
pub fn divergence(
    (base, tuned): (&Transformer, &Transformer),
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<f64, EvalError> {
    let batches = ScoringBatches::new(shard, scoring_options((tuned, shard), windows)?);
    let (mut sum, mut tokens) = (0.0, 0);
    for batch in batches.iter() {
        let scored = batch.document_of.iter().enumerate();
        let positions: Vec<u32> = scored
            .filter(|(_, document)| **document != u32::MAX)
            .map(|(at, _)| at as u32)
            .collect();
        if positions.is_empty() {
            continue;
        }
        tokens += positions.len();
        let batch = token_batch(batch.batch);
        let comparison = Comparison {
            teacher: base.teach(&batch, &positions)?,
            positions,
            temperature: 1.0,
        };
        sum += tuned.divergence(&batch, &comparison)?;
    }
    Ok(sum / tokens.max(1) as f64)
}
