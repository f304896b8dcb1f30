//! Default interval of a fine-tuning's evaluations, which depends on what an evaluation takes compared with a step.

use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::WindowOptions;
use polymath_model::ModelConfig;
use polymath_train::{EVALUATIONS, Evaluation, SCORED_TOKENS, Training};

use crate::retention::limits::{self, DevPart};
use crate::{BaseFacts, FinetuneConfig, FinetuneError};

/// Time that evaluations and their checkpoints may take by default, as a share of the training's time.
const SHARE: f64 = 0.25;
/// Time of training on a token, in units of the time of scoring one: a forward and a backward pass.
const TRAINED: u64 = 3;
/// Time of saving a checkpoint, in units of the time of scoring a token. Both are proportional to the number of
/// parameters: a checkpoint has 12 bytes for each, and a token takes 2 floating-point operations for each. With 150
/// billion operations and 500 million bytes a second, saving takes as long as scoring 1800 tokens.
const SAVED: u64 = 1800;
/// Minimum number of evaluations of a run without limits, by default.
const FEWEST: u64 = 5;

impl FinetuneConfig {
    /// Returns the settings of evaluations for a run of `total` steps, with every default filled in.
    pub(crate) fn evaluation(
        &self,
        training: &Training,
        total: u64,
        facts: &BaseFacts,
    ) -> Evaluation {
        let trained = total * (training.batch_size * training.sequence_length) as u64;
        let affordable = affordable(trained, facts.scored_tokens);
        match self.retention.limits.is_some() {
            true => {
                let count = affordable.clamp(limits::FEWEST_EVALUATIONS, limits::EVALUATIONS);
                limits::schedule(&self.evaluation, total, count)
            }
            false => {
                let count = affordable.clamp(FEWEST, EVALUATIONS);
                self.evaluation.resolve(total, count)
            }
        }
    }

    /// Returns the number of held-out tokens that an evaluation of the domains `watched` scores.
    pub(crate) fn scored_tokens(
        &self,
        model: &ModelConfig,
        watched: &[NamedShard],
    ) -> Result<u64, FinetuneError> {
        let (part, usual) = match self.retention.limits.is_some() {
            true => (DevPart::Sample, limits::MAX_TOKENS),
            false => (DevPart::Whole, SCORED_TOKENS),
        };
        let whole = WindowOptions {
            max_tokens: Some(self.evaluation.max_tokens.unwrap_or(usual)),
            split: Some(HeldoutSplit::Dev),
            ..WindowOptions::default()
        };
        let mut tokens = 0;
        for domain in watched {
            let windows = part.windows(model, &domain.shard, whole)?;
            tokens += polymath_eval::scored_tokens(model, &domain.shard, windows)?;
        }
        Ok(tokens)
    }
}

/// Returns the number of evaluations of `scored` tokens each, with a checkpoint after each, that take the share
/// [`SHARE`] of the time of training on `trained` tokens.
fn affordable(trained: u64, scored: u64) -> u64 {
    (SHARE * (TRAINED * trained) as f64 / (scored + SAVED) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the number of evaluations by hand: a quarter of three times the trained tokens, over the scored tokens
    /// and those of a checkpoint.
    #[test]
    fn evaluations_take_a_quarter_of_the_time() {
        assert_eq!(affordable(40_000, 1200), 10);
        assert_eq!(affordable(40_000, 1201), 9);
        assert_eq!(affordable(40_000, 4200), 5);
        assert_eq!(affordable(0, 0), 0);
    }
}
