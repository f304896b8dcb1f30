//! Defaults of a run with limits.

use polymath_train::{Evaluation, EvaluationConfig, Interval};

use crate::retention::{DistillConfig, ReplayConfig, ReplaySource, RetentionConfig};

/// Initial share of replayed rows: one for every two rows of the niche.
const SHARE: f64 = 1.0 / 3.0;
/// Initial strength of the distillation. At a strength of 1, the niche moves the model far beyond the limits within a
/// few steps. From 16 on, most of the niche is learned without an increase of the retained domains.
const STRENGTH: f64 = 16.0;
/// Minimum number of evaluations of a run, since a controller with only a few can't keep a limit.
const LOOKS: u64 = 16;
/// Maximum number of steps between two evaluations if the config sets no interval.
const MOST_STEPS: u64 = 200;
/// Number of held-out tokens of each domain that an evaluation scores.
const MAX_TOKENS: u64 = 40_000;

/// Returns the retention of a run whose base's own text is gone: the base generates text, which is replayed beside the
/// niche's rows and holds the base's predictions.
pub fn without_text() -> RetentionConfig {
    let mut retention = RetentionConfig::default();
    hold(&mut retention, false);
    retention
}

/// Fills in the retention method if only limits are set: replay in addition to the niche's rows, and distillation on
/// the replayed rows. The replayed domains have equal shares, because each has its own limit. The temperature is 1,
/// at which bits per byte are measured. The gradient of the divergence is zero at the base and grows with the
/// distance from it, whereas that of replayed text is noise at first.
///
/// If no text is retained, the base generates it.
pub fn fill_in_method(retention: &mut RetentionConfig, has_text: bool) {
    let nothing = RetentionConfig {
        limits: retention.limits.clone(),
        ..RetentionConfig::default()
    };
    if retention.limits.is_none() || *retention != nothing {
        return;
    }
    hold(retention, has_text);
}

/// Adds replay and distillation at their initial strengths, on retained text or on text that the base generates.
fn hold(retention: &mut RetentionConfig, has_text: bool) {
    retention.replay = Some(ReplayConfig {
        source: match has_text {
            true => ReplaySource::Data,
            false => ReplaySource::Generated,
        },
        share: SHARE,
        temperature: if has_text { 0.0 } else { 1.0 },
        beside: true,
        ..ReplayConfig::default()
    });
    retention.distill = Some(DistillConfig {
        strength: STRENGTH,
        temperature: 1.0,
        ..DistillConfig::default()
    });
}

/// Returns enough evaluations and tokens for a run of `total` steps. Limits apply to the upper end of a confidence
/// interval, which is wide for few documents.
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
