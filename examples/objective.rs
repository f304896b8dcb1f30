//! Custom objective, trained by the same loop as all others: `cargo run --release --example objective [folder]`.
//!
//! Label smoothing (Szegedy 2016) spreads a share ε of each target over the whole vocabulary, so that the model does
//! not become overconfident. The run measures bits per byte as every other run does, which shows the cost of
//! smoothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{D, Device, Tensor, Var};
use candle_nn::ops::log_softmax;
use polymath_data::{
    Batch, BatchShape, Dataset, MixturePart, MixtureStream, NamedShard, NoProgress, Split, prepare,
    synthetic,
};
use polymath_eval::{EvalError, HeldoutEvaluator, WindowOptions};
use polymath_model::{
    EndTokens, IGNORED, LoadOptions, Ops, Precision, TokenizerFiles, Transformer,
};
use polymath_train::{
    CheckpointConfig, Evaluation, EvaluationMetrics, Evaluator, Fit, Interval, LanguageModel,
    Length, Objective, Observer, Outcome, RunFolder, SaveModel, Score, TrainError, TrainingConfig,
    TrainingDefaults, TrainingTask, fit,
};

const DOMAIN: &str = "mathematics";
const SEQUENCE_LENGTH: usize = 128;

/// Label-smoothed cross-entropy: Σ −(1 − ε)·ln p(target) − ε·mean(ln p), over the targets that are not ignored.
pub struct Smoothed<'a> {
    /// Model to train.
    pub model: LanguageModel<'a>,
    /// Share ε of each target that is spread over the vocabulary.
    pub smoothing: f64,
}

impl Objective for Smoothed<'_> {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        let transformer = self.model.transformer;
        let hidden = transformer.hidden_states(batch)?; // (tokens, hidden)
        let counted = (0u32..)
            .zip(&batch.targets)
            .filter(|(_, target)| **target != IGNORED);
        let (places, targets): (Vec<u32>, Vec<u32>) = counted.unzip();
        let count = places.len();
        let places = Tensor::from_vec(places, count, transformer.device())?;
        let targets = Tensor::from_vec(targets, (count, 1), transformer.device())?;
        let hidden = hidden.index_select(&places, 0)?; // (counted, hidden)
        let logits = transformer
            .ops()
            .linear(&hidden, transformer.head(), None)?; // (counted, vocabulary)
        let log_p = log_softmax(&logits, D::Minus1)?;
        let right = log_p.gather(&targets, 1)?.sum_all()?;
        let all = log_p.mean(1)?.sum_all()?;
        Ok(((right * (self.smoothing - 1.0))? - (all * self.smoothing)?)?)
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.model.trainable()
    }
}

impl SaveModel for Smoothed<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        self.model.save(folder)
    }
}

/// Evaluator that measures bits per byte of held-out text. The mean over the domains decides the best checkpoint.
struct Heldout<'a> {
    evaluator: HeldoutEvaluator,
    transformer: &'a Transformer,
}

impl Evaluator for Heldout<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let found = self.evaluator.evaluate(self.transformer, progress);
        found.map_err(|error| match error {
            EvalError::Stopped => TrainError::Stopped,
            other => TrainError::Hook(Box::new(other)),
        })
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
        Score::within(bits_per_byte.values().sum::<f64>() / bits_per_byte.len() as f64)
    }

    fn score_name(&self) -> String {
        "mean".into()
    }
}

/// Observer that prints the measurements during training.
struct Lines;

impl Observer for Lines {
    fn after_evaluation(&mut self, found: &EvaluationMetrics, _best: bool) {
        println!("step {}: {:.3?}", found.step, found.heldout_bits_per_byte);
    }
}

/// Makes a new model of a few thousand parameters with the tokenizer of `dataset`.
pub fn small_model(dataset: &Dataset) -> anyhow::Result<Transformer> {
    let tokenizer = &dataset.manifest().tokenizer;
    let shape = "hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4";
    let ends = EndTokens {
        begin: tokenizer.bos_token_id,
        end: tokenizer.eos_token_id,
    };
    let config = toml::from_str::<polymath_model::ArchitectureConfig>(shape)?.resolve(
        tokenizer.vocab_size,
        SEQUENCE_LENGTH,
        ends,
    )?;
    let ops = Ops::fused(Precision::F32);
    let options = LoadOptions::trained(&Device::Cpu, ops);
    Ok(Transformer::initialize(config, 1, &options)?)
}

/// Makes the stream of training batches of one domain.
pub fn batches(dataset: &Dataset) -> anyhow::Result<MixtureStream> {
    let part = MixturePart {
        name: DOMAIN.into(),
        shard: dataset.shard(DOMAIN, Split::Train)?,
        weight: 1.0,
    };
    let shape = BatchShape {
        rows: 8,
        sequence_length: SEQUENCE_LENGTH,
    };
    let bos = dataset.manifest().tokenizer.bos_token_id;
    Ok(MixtureStream::new(vec![part], shape, bos, 1)?)
}

/// Trains a new model on the dataset, with label smoothing of `smoothing`, in the run folder `run`.
pub fn train(dataset: &Dataset, run: &Path, smoothing: f64) -> anyhow::Result<Outcome> {
    let transformer = small_model(dataset)?;
    let objective = Smoothed {
        model: LanguageModel {
            transformer: &transformer,
            tokenizer: TokenizerFiles::read(&dataset.tokenizer_path())?,
        },
        smoothing,
    };
    let domain = NamedShard {
        name: DOMAIN.into(),
        shard: dataset.shard(DOMAIN, Split::Heldout)?,
    };
    let windows = WindowOptions {
        context: Some(SEQUENCE_LENGTH),
        max_tokens: Some(2000),
        ..WindowOptions::default()
    };
    let mut heldout = Heldout {
        evaluator: HeldoutEvaluator::new(vec![domain], windows),
        transformer: &transformer,
    };
    // All other settings have their defaults.
    let training: TrainingConfig = toml::from_str("steps = 60\nbatch_size = 8")?;
    training.validate()?;
    let training = training.resolve(&TrainingDefaults {
        length: Length::Steps(60),
        batch_size: 8,
        sequence_length: SEQUENCE_LENGTH,
        learning_rate: 3e-3,
        optimizer: polymath_train::OptimizerChoice::Adamw,
        weight_decay: polymath_train::WEIGHT_DECAY,
        padding: 0.0,
        epoch_tokens: 0,
        tokens_at_once: None,
    });
    let evaluation = Evaluation {
        every: Interval::Steps(20),
        max_tokens: 2000,
    };
    let settings = Fit {
        training: &training,
        evaluation: &evaluation,
        evaluate_first: true,
        checkpoint: &CheckpointConfig::default().resolve(&evaluation),
        seed: 1,
        data_fingerprint: dataset.fingerprint().to_owned(),
        ops: transformer.ops(),
        stop: &AtomicBool::new(false),
    };
    // The run folder stores this text; a resumed run must have the same. It contains everything that decides the
    // result.
    let resolved = format!(
        "smoothing = {smoothing}\n[training]\n{}",
        toml::to_string(&training)?
    );
    let folder = RunFolder::open(run, &resolved, false)?;
    let batches = batches(dataset)?;
    Ok(fit(
        &settings,
        &folder,
        TrainingTask {
            objective: &objective,
            batches: &batches,
        },
        &mut heldout,
        &mut Lines,
    )?)
}

/// Writes a small synthetic corpus into `folder` and prepares it as a dataset.
pub fn data(folder: &Path) -> anyhow::Result<Dataset> {
    let (raw, output) = (folder.join("raw"), folder.join("data"));
    let size = synthetic::SyntheticConfig {
        seed: 1,
        bytes_per_domain: 200_000,
    };
    synthetic::write(&size, &raw)?;
    Ok(prepare(
        &synthetic::prepare_config(&raw, &output),
        true,
        &NoProgress,
    )?)
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or("demo/objective".into(), PathBuf::from);
    let dataset = data(&folder)?;
    for smoothing in [0.0, 0.1] {
        println!("smoothing {smoothing}");
        train(
            &dataset,
            &folder.join(format!("run-{smoothing}")),
            smoothing,
        )?;
    }
    Ok(())
}
