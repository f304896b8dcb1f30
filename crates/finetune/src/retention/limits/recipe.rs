//! What a run under limits does where its config says nothing of it.

use crate::FinetuneConfig;
use crate::retention::{DistillConfig, ReplayConfig, RetentionConfig};

/// Replayed rows among all, at the beginning: a row for every two of the niche.
const SHARE: f64 = 1.0 / 3.0;
/// Of the distillation, at the beginning. Where it counts as much as the loss, the niche moves the model far outside within a
/// few steps; from here on most of what a niche needs is learnt where the old domains do not see it.
const STRENGTH: f64 = 16.0;
/// A run is evaluated at least so often: a controller that looks a few times only can't keep anything.
const LOOKS: u64 = 16;
/// Held-out tokens of each domain that an evaluation looks at.
const MAX_TOKENS: u64 = 40_000;
/// With limits and nothing that could keep them: replay beside the niche's rows, every domain alike, since each has a limit;
/// and the base's predictions held on what is replayed, at the temperature at which bits per byte are measured. The gradient
/// of the divergence is nothing at the base and grows with the way from it, where that of replayed text is noise at first.
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

/// Looks often enough, and closely: what counts is the end of an interval, and where few documents are looked at, that is far
/// from what there is. The run has `total` steps.
pub fn fill_in_schedule(config: &mut FinetuneConfig, total: u64) {
    let often = (total / LOOKS).max(1);
    config.evaluation.every = config.evaluation.every.min(often);
    config.evaluation.max_tokens.get_or_insert(MAX_TOKENS);
}
