//! Choice of a model size and a training length that fit a given number of minutes on this machine.

use std::time::{Duration, Instant};

use candle_core::Device;
use polymath_model::{ArchitectureConfig, EndTokens, Implementation, LoadOptions, Ops, Precision};
use polymath_pretrain::{DatasetFacts, PretrainConfig, RunSize};
use toml::Value;

use super::Init;
use crate::schema::Setting;
use crate::{Pace, StudyError};

/// Approximate number of bytes of text per token, for a vocabulary of the default size.
const BYTES_PER_TOKEN: f64 = 3.5;
/// Number of tokens in the default vocabulary.
const VOCABULARY: usize = 4096;
/// Approximate share of the text that is trained on; the rest is held out.
const TRAINED: f64 = 0.95;
/// Share of a run's time that training steps take; the rest is for evaluations and checkpoints.
const STEPPING: f64 = 0.85;
/// Machine speed in floating-point operations per second that the first guess of a size assumes.
const GUESS: f64 = 5e10;
/// Maximum number of rounds of measuring and sizing. Rounds end early once the size no longer changes.
const ROUNDS: usize = 3;
/// Maximum number of rows in a timed step: more rows take longer and are no faster per token.
const ROWS: usize = 8;
/// Duration of the timed steps in each round.
const TIMED: Duration = Duration::from_millis(1500);

/// Device and implementation with which training steps are timed.
pub struct Machine<'a> {
    /// Device to compute on.
    pub device: &'a Device,
    /// Implementation of the operations.
    pub implementation: Implementation,
}

/// Chosen size of a pretraining, and the measurement that it follows from.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainingSize {
    /// Model shape, sequence length, batch rows, learning rate and training tokens.
    pub size: RunSize,
    /// Number of the model's parameters.
    pub parameters: u64,
    /// Approximate number of training tokens in the data.
    pub epoch_tokens: u64,
    /// Measured training speed in tokens per second.
    pub tokens_per_second: f64,
    /// Expected duration of the run in minutes.
    pub minutes: f64,
}

impl Init {
    /// Chooses the size of a pretraining on the found domains that takes about `minutes`, by timing steps of models of
    /// the candidate sizes.
    ///
    /// # Errors
    /// Fails if the model can't be built or trained.
    pub fn size(&self, minutes: f64, machine: &Machine) -> Result<PretrainingSize, StudyError> {
        let bytes: u64 = self
            .found
            .domains
            .iter()
            .map(|domain| domain.survey.text_bytes)
            .sum();
        let epoch_tokens = tokens_of(bytes);
        let seconds = minutes * 60.0 * STEPPING;
        let mut size = RunSize::of(epoch_tokens, GUESS * seconds);
        let mut measured = measure(&size, machine)?;
        for _ in 1..ROUNDS {
            let next = RunSize::of(epoch_tokens, measured.flops * seconds);
            let same = next.model.hidden_size == size.model.hidden_size;
            size = next;
            if same {
                break;
            }
            measured = measure(&size, machine)?;
        }
        // The shape is one of a few: the tokens make up for what is larger or smaller about it.
        let tokens = (measured.tokens_per_second * seconds) as u64;
        let size = size.with_tokens(tokens.min(RunSize::most_tokens(epoch_tokens)));
        Ok(PretrainingSize {
            parameters: measured.parameters,
            epoch_tokens,
            tokens_per_second: measured.tokens_per_second,
            minutes: size.tokens as f64 / measured.tokens_per_second / STEPPING / 60.0,
            size,
        })
    }
}

/// Returns the approximate number of training tokens in `bytes` bytes of text.
fn tokens_of(bytes: u64) -> u64 {
    (bytes as f64 * TRAINED / BYTES_PER_TOKEN) as u64
}

/// Measured training speed of one model.
struct Measured {
    parameters: u64,
    tokens_per_second: f64,
    /// Floating-point operations per second, counting six for each token and each parameter of the layers.
    flops: f64,
}

/// Measures the training speed of a model of this size by timed steps.
fn measure(size: &RunSize, machine: &Machine) -> Result<Measured, StudyError> {
    let config = PretrainConfig::of_size(size, ROWS);
    let facts = DatasetFacts {
        vocab_size: VOCABULARY,
        ends: EndTokens { begin: 0, end: 0 },
        epoch_tokens: size.tokens,
        padding: 0.0,
    };
    let resolved = config.resolve(&facts).map_err(StudyError::refused)?;
    let ops = Ops {
        implementation: machine.implementation,
        precision: Precision::F32,
    };
    let architecture = resolved.architecture().clone();
    let parameters = architecture.parameter_count();
    let mut pace = Pace::new(
        architecture,
        &resolved.training,
        &LoadOptions::trained(machine.device, ops),
        1,
    )?;
    // The first step fills caches and memory pools.
    pace.step()?;
    let begin = Instant::now();
    let mut fastest = f64::INFINITY;
    while begin.elapsed() < TIMED || fastest.is_infinite() {
        fastest = fastest.min(pace.step()?.total());
    }
    let tokens_per_second = pace.tokens() as f64 / fastest;
    Ok(Measured {
        parameters,
        tokens_per_second,
        flops: tokens_per_second * 6.0 * of_layers(&size.model),
    })
}

/// Returns the approximate number of parameters in the layers of a shape: 12 · width² per layer.
fn of_layers(shape: &ArchitectureConfig) -> f64 {
    12.0 * (shape.hidden_size * shape.hidden_size * shape.num_hidden_layers) as f64
}

impl PretrainingSize {
    /// Returns the config settings for this size, each with its reason.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let size = &self.size;
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let of = |count: usize| count as i64;
        let passes = size.tokens as f64 / self.epoch_tokens.max(1) as f64;
        let model = |key, value: usize| Setting::of(&["model"], key, of(value));
        let training = |key, value: Value| Setting::of(&["training"], key, value);
        let width = model("hidden_size", size.model.hidden_size);
        let tokens = training("tokens", count(size.tokens).into());
        let rate = training("learning_rate", size.learning_rate.into());
        vec![
            width.because(&format!("{:.1} million parameters", self.parameters as f64 / 1e6)),
            model("num_hidden_layers", size.model.num_hidden_layers),
            model("num_attention_heads", size.model.num_attention_heads),
            tokens.because(&format!(
                "{passes:.1} passes over about {} tokens; {} at {:.0} tokens per second, as measured",
                self.epoch_tokens,
                self.time(),
                self.tokens_per_second
            )),
            training("batch_size", of(size.batch_size).into()),
            training("sequence_length", of(size.sequence_length).into()),
            rate.because("suits the width"),
        ]
    }

    /// Returns the run's expected duration in words.
    pub fn time(&self) -> String {
        match self.minutes.round() as u64 {
            0 | 1 => "about a minute".into(),
            minutes => format!("about {minutes} minutes"),
        }
    }

    /// Describes the chosen size in a sentence.
    pub fn line(&self) -> String {
        format!(
            "model: {} wide, {} layers, {:.1} million parameters; {} tokens in {} ({:.0} tokens per second, measured)",
            self.size.model.hidden_size,
            self.size.model.num_hidden_layers,
            self.parameters as f64 / 1e6,
            self.size.tokens,
            self.time(),
            self.tokens_per_second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every setting of a size, and the sentence about it.
    #[test]
    fn a_size_is_told_and_written_whole() {
        let mut size = RunSize::of(1_000_000, 1e12);
        (size.tokens, size.batch_size, size.sequence_length) = (2_500_000, 7, 130);
        size.learning_rate = 0.0015;
        let model = &mut size.model;
        (model.hidden_size, model.num_hidden_layers) = (96, 5);
        model.num_attention_heads = 3;
        let mut sized = PretrainingSize {
            size,
            parameters: 1_260_000,
            epoch_tokens: 1_000_000,
            tokens_per_second: 3456.7,
            minutes: 12.4,
        };
        assert_eq!(
            sized.line(),
            "model: 96 wide, 5 layers, 1.3 million parameters; 2500000 tokens in about 12 minutes (3457 tokens per second, \
             measured)"
        );
        let settings = sized.settings();
        let settings: Vec<(String, String, &str)> = settings
            .iter()
            .map(|setting| {
                let key = format!("{}.{}", setting.table.join("."), setting.key);
                (key, setting.value.to_string(), &*setting.note)
            })
            .collect();
        let setting = |key: &str, value: &str, note| (key.to_owned(), value.to_owned(), note);
        assert_eq!(
            settings,
            [
                setting("model.hidden_size", "96", "1.3 million parameters"),
                setting("model.num_hidden_layers", "5", ""),
                setting("model.num_attention_heads", "3", ""),
                setting(
                    "training.tokens",
                    "2500000",
                    "2.5 passes over about 1000000 tokens; about 12 minutes at 3457 tokens per second, as measured"
                ),
                setting("training.batch_size", "7", ""),
                setting("training.sequence_length", "130", ""),
                setting("training.learning_rate", "0.0015", "suits the width"),
            ]
        );
        let time = |minutes: f64| {
            sized.minutes = minutes;
            sized.time()
        };
        let times = [0.2, 1.4, 1.6, 59.6].map(time);
        let expected = [
            "about a minute",
            "about a minute",
            "about 2 minutes",
            "about 60 minutes",
        ];
        assert_eq!(times, expected);
    }

    /// Checks that 3.5 bytes are a token, of which 95 % are trained on, and that a layer has 12 weights for each square
    /// of the width.
    #[test]
    fn sizes_are_estimated() {
        assert_eq!(tokens_of(3500), 950);
        let mut size = RunSize::of(1_000_000, 1e12);
        (size.model.hidden_size, size.model.num_hidden_layers) = (10, 3);
        assert_eq!(of_layers(&size.model), 3600.0);
    }
}
