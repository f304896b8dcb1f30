//! Checks of the `[training]` table: the range of each value, and values that depend on each other.

use super::TrainingConfig;
use crate::{Length, TrainError, Training};

/// Maximum number of tokens and of steps of a run.
const MAX_TOKENS: u64 = 1_000_000_000_000_000_000;
/// Maximum number of rows of a step.
const MAX_ROWS: u64 = 1 << 20;
/// Maximum number of tokens in a row.
const MAX_ROW_LENGTH: u64 = 1 << 24;

impl TrainingConfig {
    /// Checks every value of the `[training]` table.
    ///
    /// # Errors
    /// Fails with the key, its value, and the expected values.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        let lengths = [
            ("tokens", self.tokens.is_some()),
            ("steps", self.steps.is_some()),
            ("epochs", self.epochs.is_some()),
        ];
        let given: Vec<&str> = lengths
            .into_iter()
            .filter_map(|(key, given)| given.then_some(key))
            .collect();
        if let [one, other, ..] = given[..] {
            return refuse(format!(
                "`training.{one}` and `training.{other}` are both given: choose one"
            ));
        }
        self.validate_counts()?;
        self.validate_numbers()
    }

    /// Checks the range of every integer in the `[training]` table.
    fn validate_counts(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        let counts = [
            ("tokens", self.tokens, MAX_TOKENS),
            ("steps", self.steps, MAX_TOKENS),
            (
                "batch_size",
                self.batch_size.map(|rows| rows as u64),
                MAX_ROWS,
            ),
            (
                "sequence_length",
                self.sequence_length.map(|length| length as u64),
                MAX_ROW_LENGTH,
            ),
            (
                "accumulation_steps",
                self.accumulation_steps.map(|parts| parts as u64),
                MAX_ROWS,
            ),
            (
                "warmup_steps",
                self.warmup_steps.map(|steps| steps.max(1)),
                MAX_TOKENS,
            ),
        ];
        for (key, value, most) in counts {
            if value == Some(0) {
                return refuse(format!("`training.{key}` = `0`: expected at least 1"));
            }
            if let Some(value) = value.filter(|value| *value > most) {
                return refuse(format!(
                    "`training.{key}` = `{value}`: expected at most {most}"
                ));
            }
        }
        Ok(())
    }

    /// Checks the range of every non-integer number in the `[training]` table.
    fn validate_numbers(&self) -> Result<(), TrainError> {
        let smallest = f64::MIN_POSITIVE;
        let share = (0.0..=1.0, "from 0 to 1");
        let below_one = (0.0..=1.0 - f64::EPSILON, "from 0 to below 1");
        let positive = (smallest..=f64::MAX, "above 0");
        let passes = (smallest..=1e6, "above 0, up to 1000000");
        let small = (smallest..=1.0, "above 0, up to 1");
        let any = |expected| (0.0..=f64::MAX, expected);
        let numbers = [
            ("epochs", self.epochs.unwrap_or(1.0), &passes),
            (
                "learning_rate",
                self.learning_rate.unwrap_or(1.0),
                &positive,
            ),
            (
                "minimum_learning_rate_ratio",
                self.minimum_learning_rate_ratio,
                &share,
            ),
            ("decay_fraction", self.decay_fraction, &share),
            ("momentum", self.momentum, &below_one),
            ("beta1", self.beta1, &below_one),
            ("beta2", self.beta2, &below_one),
            ("epsilon", self.epsilon, &small),
            ("z_loss", self.z_loss, &share),
            (
                "weight_decay",
                self.weight_decay.unwrap_or(0.0),
                &any("0 or more"),
            ),
            (
                "gradient_clip",
                self.gradient_clip,
                &any("0 (no clipping) or more"),
            ),
        ];
        for (key, value, (range, expected)) in numbers {
            if !range.contains(&value) {
                return Err(TrainError::Config(format!(
                    "`training.{key}` = `{value}`: expected a number {expected}"
                )));
            }
        }
        Ok(())
    }
}

impl Training {
    /// Checks keys of `[training]` that depend on each other: `accumulation_steps` must divide the rows of a step, the
    /// warmup must not be longer than the run, and the total number of tokens must be below its maximum.
    ///
    /// # Errors
    /// Fails with the key, its value, and the expected values.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        if !self.batch_size.is_multiple_of(self.accumulation_steps) {
            return refuse(format!(
                "`training.accumulation_steps` = `{}` does not divide `training.batch_size` = `{}`: choose a divisor",
                self.accumulation_steps, self.batch_size
            ));
        }
        if let Length::Tokens(tokens) = self.length
            && tokens > MAX_TOKENS
        {
            return refuse(format!(
                "a run of {tokens} tokens: expected at most {MAX_TOKENS}"
            ));
        }
        let total = self.total_steps(0.0);
        if self.warmup_steps > total {
            return refuse(format!(
                "`training.warmup_steps` = `{}` is longer than the run of {total} steps, which would never reach its \
                 learning rate: lower it, or lengthen the run",
                self.warmup_steps
            ));
        }
        let tokens = u128::from(total) * self.batch_size as u128 * self.sequence_length as u128;
        if tokens > u128::from(MAX_TOKENS) {
            return refuse(format!(
                "a run of {total} steps of `training.batch_size` = `{}` rows of {} tokens: expected at most \
                 {MAX_TOKENS} tokens in all",
                self.batch_size, self.sequence_length
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TrainingConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn contradictions_name_their_keys() {
        for (text, expected) in [
            (
                "tokens = 5\nsteps = 5",
                "`training.tokens` and `training.steps` are both given: choose one",
            ),
            (
                "steps = 5\nepochs = 1.0",
                "`training.steps` and `training.epochs` are both given: choose one",
            ),
            (
                "epochs = 0",
                "`training.epochs` = `0`: expected a number above 0",
            ),
            ("steps = 0", "`training.steps` = `0`: expected at least 1"),
            ("steps = 5\nbatch_size = 0", "`training.batch_size` = `0`"),
            ("steps = 5\nbeta2 = 1.0", "`training.beta2` = `1`"),
            ("steps = 5\nz_loss = -0.1", "`training.z_loss` = `-0.1`"),
            (
                "steps = 5\nlearning_rate = nan",
                "`training.learning_rate` = `NaN`",
            ),
            (
                "steps = 5\nlearning_rate = -1.0",
                "`training.learning_rate` = `-1`: expected a number above 0",
            ),
            (
                "steps = 5\nbatch_size = 9000000000000",
                "`training.batch_size` = `9000000000000`: expected at most",
            ),
            (
                "steps = 5\nsequence_length = 20000000",
                "`training.sequence_length` = `20000000`: expected at most",
            ),
            (
                "tokens = 9000000000000000000",
                "`training.tokens` = `9000000000000000000`: expected at most",
            ),
        ] {
            let error = read(text).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        read("steps = 5").validate().unwrap();
    }

    /// Checks that each bound is the last value that is accepted, and the next one refused.
    #[test]
    fn bounds_are_inclusive() {
        let limits: [(&str, &str, &[&str]); 16] = [
            (
                "tokens",
                "1_000_000_000_000_000_000",
                &["1_000_000_000_000_000_001", "0"],
            ),
            (
                "steps",
                "1_000_000_000_000_000_000",
                &["1_000_000_000_000_000_001", "0"],
            ),
            ("batch_size", "1_048_576", &["1_048_577", "0"]),
            ("sequence_length", "16_777_216", &["16_777_217", "0"]),
            ("accumulation_steps", "1_048_576", &["1_048_577", "0"]),
            (
                "warmup_steps",
                "1_000_000_000_000_000_000",
                &["1_000_000_000_000_000_001"],
            ),
            ("warmup_steps", "0", &[]),
            ("epochs", "1e6", &["1_000_000.5", "0.0", "-1.0"]),
            (
                "minimum_learning_rate_ratio",
                "1.0",
                &["1.0000001", "-0.0000001"],
            ),
            ("decay_fraction", "0.0", &["1.0000001", "-0.0000001"]),
            ("momentum", "0.0", &["1.0", "-0.0000001"]),
            ("beta1", "0.9999999", &["1.0", "-0.0000001"]),
            ("beta2", "0.0", &["1.0", "-0.0000001"]),
            ("epsilon", "1.0", &["1.0000001", "0.0"]),
            ("weight_decay", "0.0", &["-0.0000001", "inf"]),
            ("gradient_clip", "0.0", &["-0.0000001", "inf"]),
        ];
        for (key, last, refused) in limits {
            read(&format!("{key} = {last}")).validate().unwrap();
            for value in refused {
                let said = read(&format!("{key} = {value}")).validate().unwrap_err();
                assert!(
                    said.to_string().contains(&format!("`training.{key}`")),
                    "{said}"
                );
            }
        }
    }

    /// Checks the largest run by hand: 1600 tokens a step and 10¹⁸ in all are 625 · 10¹² steps. A number of tokens that
    /// follows from the epochs has the same bound.
    #[test]
    fn a_run_has_at_most_so_many_tokens() {
        let training = |length: Length| {
            let defaults = crate::TrainingDefaults {
                batch_size: 16,
                sequence_length: 100,
                ..crate::TrainingDefaults::UNUSED
            };
            Training {
                length,
                ..read("warmup_steps = 5").resolve(&defaults)
            }
        };
        training(Length::Steps(625_000_000_000_000))
            .validate()
            .unwrap();
        let said = training(Length::Steps(625_000_000_000_001))
            .validate()
            .unwrap_err();
        assert!(
            said.to_string().contains("`16` rows of 100 tokens"),
            "{said}"
        );
        training(Length::Tokens(MAX_TOKENS)).validate().unwrap();
        let said = training(Length::Tokens(MAX_TOKENS + 1))
            .validate()
            .unwrap_err();
        assert!(
            said.to_string()
                .starts_with("a run of 1000000000000000001 tokens"),
            "{said}"
        );
    }

    /// Checks that a warmup may be as long as the run but no longer, that `accumulation_steps` must divide the rows of
    /// a step, and that the total number of tokens has a maximum.
    #[test]
    fn warmup_parts_and_tokens_must_fit_the_run() {
        let error = |text: &str| {
            let defaults = crate::TrainingDefaults {
                length: Length::Steps(1),
                batch_size: 16,
                sequence_length: 100,
                learning_rate: 1e-3,
                optimizer: crate::OptimizerChoice::Adamw,
                weight_decay: crate::WEIGHT_DECAY,
                padding: 0.0,
                epoch_tokens: 100,
                tokens_at_once: None,
            };
            let training = read(text).resolve(&defaults);
            training.validate().map_err(|e| e.to_string())
        };
        assert_eq!(error("steps = 5\nwarmup_steps = 5"), Ok(()));
        for (text, expected) in [
            (
                "steps = 5\nwarmup_steps = 6",
                "`training.warmup_steps` = `6` is longer than the run of 5 steps",
            ),
            (
                "tokens = 1000\nbatch_size = 2\nwarmup_steps = 6",
                "the run of 5 steps",
            ),
            (
                "steps = 5\nbatch_size = 3\naccumulation_steps = 2",
                "does not divide `training.batch_size` = `3`",
            ),
            ("steps = 900000000000000000", "tokens in all"),
        ] {
            let said = error(text).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
