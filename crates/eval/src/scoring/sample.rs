//! Sizes of what is scored, in groups and tokens, and the choice of a sample that has enough groups.

use std::collections::BTreeMap;

use polymath_data::{ScoringBatches, TokenShard};
use polymath_model::ModelConfig;

use super::{WindowOptions, groups_of, scoring_options};
use crate::EvalError;

/// Number of document groups behind a domain's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredGroups {
    /// Number of independent groups.
    pub count: usize,
    /// Effective number of groups by size, (Σ bytes)² / Σ bytes² (Kish 1965): the number of equally large groups with
    /// the same precision, and the upper limit of the domain's effective groups.
    pub by_size: f64,
}

/// Counts the groups of the documents that [`score_shard`](super::score_shard) scores with these windows.
///
/// # Errors
/// Fails if the context is longer than the model's.
pub fn scored_groups(
    model: &ModelConfig,
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<ScoredGroups, EvalError> {
    let batches = ScoringBatches::new(shard, scoring_options(model, shard, windows)?);
    let documents = batches.documents();
    let groups = groups_of(shard, documents);
    let mut sizes: BTreeMap<u64, f64> = BTreeMap::new();
    for (place, document) in documents.iter().enumerate() {
        let group = groups.get(place).copied().unwrap_or(place as u64);
        *sizes.entry(group).or_default() += shard.document(*document as usize).bytes as f64;
    }
    let squares: f64 = sizes.values().map(|size| size * size).sum();
    let sum: f64 = sizes.values().sum();
    Ok(ScoredGroups {
        count: sizes.len(),
        by_size: if squares > 0.0 {
            sum * sum / squares
        } else {
            0.0
        },
    })
}

/// Parts of the scored tokens that [`sample_windows`] tries, as divisors, smallest part first.
const SAMPLES: [u64; 2] = [4, 2];

/// Returns windows that score a sample of the documents that [`score_shard`](super::score_shard) scores with `windows`:
/// about a quarter of their tokens, or half of them, whichever is smaller and has at least `fewest` effective groups by
/// size. Returns `windows` if neither has that many, or all documents together have not.
///
/// # Errors
/// Fails if the context is longer than the model's.
pub fn sample_windows(
    model: &ModelConfig,
    shard: &TokenShard,
    windows: WindowOptions,
    fewest: f64,
) -> Result<WindowOptions, EvalError> {
    let tokens = scored_tokens(model, shard, windows)?;
    // A sample may lack a document that is most of the text.
    if scored_groups(model, shard, windows)?.by_size < fewest {
        return Ok(windows);
    }
    for part in SAMPLES {
        let sample = WindowOptions {
            max_tokens: Some(tokens / part),
            ..windows
        };
        if scored_groups(model, shard, sample)?.by_size >= fewest {
            return Ok(sample);
        }
    }
    Ok(windows)
}

/// Returns the number of stored tokens of the documents that [`score_shard`](super::score_shard) scores with these
/// windows.
///
/// # Errors
/// Fails if the context is longer than the model's.
pub fn scored_tokens(
    model: &ModelConfig,
    shard: &TokenShard,
    windows: WindowOptions,
) -> Result<u64, EvalError> {
    let batches = ScoringBatches::new(shard, scoring_options(model, shard, windows)?);
    let stored = shard.stored();
    let tokens = batches.documents().iter();
    Ok(tokens
        .map(|document| stored.document(*document as usize).len() as u64)
        .sum())
}
