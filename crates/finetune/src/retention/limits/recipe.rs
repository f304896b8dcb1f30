//! Defaults of a run with limits.

use polymath_train::{Evaluation, EvaluationConfig, Interval};

use crate::retention::{DistillConfig, ReplayConfig, RetentionConfig};

/// Initial share of replayed rows: one for every two rows of the niche.
const SHARE: f64 = 1.0 / 3.0;
/// Initial strength of the distillation. At a strength of 1, the niche moves the model far outside within a few steps;
/// from 16 on, most of the niche is learned without a rise of the retained domains.
const STRENGTH: f64 = 16.0;
/// Minimum number of evaluations of a run: a controller with only a few can't keep a limit.
const LOOKS: u64 = 16;
/// Most steps between two evaluations of a run that gives no interval.
const MOST_STEPS: u64 = 200;
/// RetainedDomains-out tokens of each domain that an evaluation scores.
const MAX_TOKENS: u64 = 40_000;
/// Fills in a method for limits without one: replay beside the niche's rows, with equal shares because each domain has
/// its own limit, and distillation on the replayed rows at temperature 1, at which bits per byte are measured. The
/// gradient of the divergence is zero at the base and grows with the distance from it, whereas that of replayed text is
/// noise at first.
pub fn fill_in_method(retention: &mut RetentionConfig) {
    let nothing = RetentionConfig {
        limits: retention.limits.clone(),
        ..RetentionConfig::default()
    };
    if retention.limits.is_none() || *retention != nothing {
        return;
    }
    retention.replay = Some(ReplayConfig {
        share: SHARE,
        temperature: 0.0,
        beside: true,
        ..ReplayConfig::default()
    });
    retention.distill = Some(DistillConfig {
        strength: STRENGTH,
        temperature: 1.0,
        ..DistillConfig::default()
    });
}

/// Returns enough evaluations and tokens for a run of `total` steps: limits apply to the end of an interval, which is
/// wide for few documents.
pub fn schedule(config: &EvaluationConfig, total: u64) -> Evaluation {
    let often = (total / LOOKS).max(1);
    Evaluation {
        every: config
            .every
            .unwrap_or(Interval::Steps(MOST_STEPS))
            .at_most(often),
        max_tokens: config.max_tokens.unwrap_or(MAX_TOKENS),
    }
}
