//! Defaults of the `[training]` table of a fine-tuning, which depend on base and niche: length, rows and parts of a
//! step.

use polymath_train::{BATCH_SIZE, Length, Training, TrainingDefaults};

use crate::recipe::{WEIGHT_DECAY, default_optimizer, learning_rate};
use crate::{BaseFacts, FinetuneConfig};

/// Default row length in tokens for text without prompts. The base's own context may be far longer than a CPU can train
/// on in reasonable time.
pub(crate) const DEFAULT_SEQUENCE: usize = 256;
/// Default number of passes over the niche, as (maximum number of tokens in the niche, passes). Larger niches get one
/// pass.
const EPOCHS: [(u64, u64); 2] = [(1_000_000, 3), (5_000_000, 2)];
/// Number of steps that a run should have at least. The default batch size is lowered to reach it, as far as possible.
pub(crate) const STEPS: u64 = 100;
/// Lower bound of the default batch size, in rows.
const FEWEST_ROWS: u64 = 4;

/// Number of tokens that an adapter's training computes in one pass (gradient accumulation adds up the rest): enough
/// for fast matrix products.
const ADAPTER_TOKENS: usize = 2048;

impl FinetuneConfig {
    /// Returns the `[training]` table with every default filled in. It is not validated yet.
    pub(crate) fn training(&self, facts: &BaseFacts) -> Training {
        let sequence_length = match facts.fitting {
            Some(fitting) => fitting,
            None => facts.context.min(DEFAULT_SEQUENCE),
        };
        let chosen = default_optimizer(self.method, facts.optimizer);
        let optimizer = self.training.optimizer.unwrap_or(chosen);
        let mut defaults = TrainingDefaults {
            length: Length::Tokens(chosen_tokens(facts.epoch_tokens)),
            batch_size: BATCH_SIZE,
            sequence_length,
            learning_rate: learning_rate(facts.parameters, self.method, optimizer),
            optimizer: chosen,
            weight_decay: WEIGHT_DECAY,
            padding: facts.padding,
            epoch_tokens: facts.epoch_tokens,
            // Frozen weights have no gradients to sum, so that parts of an adapter's step cost little time.
            tokens_at_once: self.method.adapts().then_some(ADAPTER_TOKENS),
        };
        let passes = self.training.epochs;
        if passes.is_some() || !self.training.has_length() {
            let length = self.training.sequence_length.unwrap_or(sequence_length);
            let tokens = match passes {
                Some(passes) => (facts.epoch_tokens as f64 * passes) as u64,
                None => chosen_tokens(facts.epoch_tokens),
            };
            defaults.batch_size = chosen_rows(tokens, length);
        }
        self.training.resolve(&defaults)
    }
}

/// Returns sentences for the user about the run length and batch size that were chosen by default.
pub(crate) fn length_choices(training: &Training, facts: &BaseFacts) -> Vec<String> {
    let Length::Tokens(tokens) = training.length else {
        return Vec::new();
    };
    let passes = tokens as f64 / facts.epoch_tokens.max(1) as f64;
    vec![
        format!(
            "length: {tokens} tokens, {passes:.0} passes over {} of the niche (`training.epochs` sets another)",
            facts.epoch_tokens
        ),
        format!(
            "rows: {} of {} tokens in a step (`training.batch_size` sets another number)",
            training.batch_size, training.sequence_length
        ),
    ]
}

/// Returns the default number of training tokens for a niche of `epoch_tokens` tokens.
fn chosen_tokens(epoch_tokens: u64) -> u64 {
    let found = EPOCHS.iter().find(|(most, _)| epoch_tokens <= *most);
    (epoch_tokens * found.map_or(1, |(_, epochs)| *epochs)).max(1)
}

/// Returns the default batch size in rows: a power of two that gives a run of `tokens` tokens enough steps.
fn chosen_rows(tokens: u64, sequence_length: usize) -> usize {
    let most = (tokens / (STEPS * sequence_length.max(1) as u64)).max(1);
    let rows = (most / 2 + 1).next_power_of_two();
    rows.clamp(FEWEST_ROWS, BATCH_SIZE as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the default length at the bounds of its table, and the rows by hand: a run of 100 steps of rows of 10
    /// tokens has 1000 tokens a row, and the rows are the nearest power of two in logarithms, from 4 to 16.
    #[test]
    fn lengths_and_rows_are_those_of_the_table() {
        for (niche, tokens) in [
            (0, 1),
            (1, 3),
            (1_000_000, 3_000_000),
            (1_000_001, 2_000_002),
            (5_000_000, 10_000_000),
            (5_000_001, 5_000_001),
        ] {
            assert_eq!(chosen_tokens(niche), tokens);
        }
        for (tokens, rows) in [
            (0, 4),
            (7_999, 4),
            (8_000, 8),
            (15_999, 8),
            (16_000, 16),
            (1_000_000, 16),
        ] {
            assert_eq!(chosen_rows(tokens, 10), rows, "{tokens}");
        }
        assert_eq!(chosen_rows(800, 0), 8);
    }
}
