//! Pretraining: configuration and run.
//!
//! [`Pretraining::open`] validates everything and opens every path. [`Pretraining::run`] trains. The training loop is
//! in `polymath-train`; this crate sets up the data, the model and the evaluation.
//!
//! ```no_run
//! use polymath_pretrain::{PretrainConfig, Pretraining};
//! use polymath_train::{Launch, Silent};
//!
//! let config: PretrainConfig = toml::from_str(&std::fs::read_to_string("pretrain.toml")?)?;
//! let pretraining = Pretraining::open(config)?;
//! println!("{:.1e} operations", pretraining.plan().flops());
//! let outcome = pretraining.run(&Launch::on(candle_core::Device::Cpu), &mut Silent)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod corpus;
mod cost;
mod error;
mod evaluator;
mod resolve;

pub use config::PretrainConfig;
pub use error::PretrainError;
pub use resolve::{DatasetFacts, ResolvedPretrain, RunSize};

use polymath_data::{Dataset, HeldoutSplit, MixtureShare, MixtureStream, NamedShard, Split};
use polymath_eval::{HeldoutEvaluator, WindowOptions};
use polymath_model::{EndTokens, LoadOptions, ModelConfig, TokenizerFiles, Transformer};
use polymath_train::{
    DiskPlan, EvaluationCounts, Fit, LanguageModel, Launch, Observer, Outcome, Plan, RunFolder,
    TrainingTask, fit, saved_config,
};

use corpus::Corpus;
use evaluator::MixtureEvaluator;

/// A pretraining run that is ready to start: the config is valid, and the dataset is open.
pub struct Pretraining {
    config: ResolvedPretrain,
    facts: DatasetFacts,
    dataset: Dataset,
    tokenizer: TokenizerFiles,
    model: ModelConfig,
    mixture: Vec<MixtureShare>,
    stream: MixtureStream,
}

impl Pretraining {
    /// Checks the config and opens the dataset.
    ///
    /// # Errors
    /// Fails with every error that can be found before training.
    pub fn open(mut config: PretrainConfig) -> Result<Self, PretrainError> {
        config.training.validate()?;
        config.evaluation.validate()?;
        config.checkpoint.validate()?;
        let sequence_length = config
            .training
            .sequence_length
            .unwrap_or(resolve::SEQUENCE_LENGTH);
        let dataset = Dataset::open(&config.dataset)?;
        let mut files = TokenizerFiles::read(&dataset.tokenizer_path())?;
        let tokenizer = &dataset.manifest().tokenizer;
        if files.sha256()? != tokenizer.sha256 {
            return Err(PretrainError::Config(format!(
                "the dataset `{}` is being prepared again: start when it is done",
                dataset.path().display()
            )));
        }
        let corpus = Corpus::open(&dataset, sequence_length)?;
        let mut facts = DatasetFacts {
            vocab_size: tokenizer.vocab_size,
            ends: EndTokens {
                begin: tokenizer.bos_token_id,
                end: tokenizer.eos_token_id,
            },
            epoch_tokens: corpus.tokens_of(&config.mixture),
            padding: 0.0,
        };
        let kept = continue_config(&mut config, facts.epoch_tokens);
        let mut resolved = config.resolve(&facts)?;
        let mut mixture = corpus.mixture(&resolved, facts.padding)?;
        let mut stream = corpus.stream(&mixture, &resolved)?;
        if stream.padding() > 0.0 {
            // Padding leaves fewer tokens than positions, and repetitions are counted in tokens.
            facts.padding = stream.padding();
            resolved = config.resolve(&facts)?;
            mixture = corpus.mixture(&resolved, facts.padding)?;
            stream = corpus.stream(&mixture, &resolved)?;
            // Other shares give another share of padding, on which the number of steps and the warmup depend.
            facts.padding = stream.padding();
            resolved = config.resolve(&facts)?;
        }
        if kept {
            resolved.choices.push(resolved.training.kept());
        }
        let mut model = resolved.architecture.clone();
        // A token that ends the assistant's turns in the data also ends a generated text.
        for share in &mixture {
            model.add_ends(&dataset.turn_ends(&share.name)?);
            files.add_chat_template(dataset.plain_chat_template(&share.name)?);
        }
        Ok(Self {
            config: resolved,
            facts,
            dataset,
            tokenizer: files,
            model,
            mixture,
            stream,
        })
    }

    /// Returns the plan of the run: its size and its cost.
    pub fn plan(&self) -> Plan {
        Plan::new(
            &self.model,
            &self.config.training,
            self.stream.padding(),
            &|_| true,
        )
    }

    /// Returns the disk space of the run's checkpoints.
    pub fn disk(&self) -> DiskPlan {
        let plan = self.plan();
        let (evaluation, kept) = (&self.config.evaluation, &self.config.checkpoint);
        let saved = EvaluationCounts::of(plan.steps, (evaluation, kept), false);
        DiskPlan::new(&plan, false, kept, &self.config.run).at_most(&saved)
    }

    /// Returns the configuration with every default filled in, as saved with the run.
    pub fn config(&self) -> &ResolvedPretrain {
        &self.config
    }

    /// Returns sentences for the user, one about each default that was chosen.
    pub fn choices(&self) -> &[String] {
        &self.config.choices
    }

    /// Returns sentences for the user about how well examples with prompts fill rows, one for each domain.
    pub fn packings(&self) -> Vec<String> {
        let packings = self.stream.packings().into_iter();
        packings
            .map(|(name, packing)| format!("{name}: {packing}"))
            .collect()
    }

    /// Returns the share of each domain in the training batches.
    pub fn mixture(&self) -> &[MixtureShare] {
        &self.mixture
    }

    /// Returns the domains that are scored during training: all domains of the dataset, including those outside of
    /// the mixture.
    pub fn watched(&self) -> Vec<&str> {
        self.dataset.domain_names()
    }

    /// Returns the configuration of the model.
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// Trains from the beginning, or resumes from the last checkpoint in the run folder.
    ///
    /// # Errors
    /// Fails if the run folder can't be used, or if training fails.
    pub fn run(
        &self,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, PretrainError> {
        let plan = launch.fit_memory(self.plan())?;
        let mut config = self.config.clone();
        let mut run =
            RunFolder::open_resolving(&config.run, &config.to_toml(), launch.resume, &|saved| {
                self.complete(saved)
            })?;
        let continued = run.lengthen(&config.training, self.stream.padding())?;
        config.training = continued.training;
        run.keep_config(config.to_toml());
        if let Some(outcome) = run.finished_outcome(&self.config.checkpoint)? {
            if let Some(from) = run.resumed() {
                run.mark_best(&from.state)?;
            }
            let shown = run.path().display();
            observer.message(&format!("`{shown}` is finished: nothing left to do"));
            return Ok(outcome);
        }
        self.disk().check()?;
        if let Some(said) = &continued.said {
            observer.message(said);
        }
        run.note_environment(&launch.device)?;
        let ops = launch.ops(self.config.training.precision);
        let transformer = self
            .transformer(&run, &LoadOptions::trained(&launch.device, ops))?
            .with_recompute(plan.recomputes());
        let task = LanguageModel {
            transformer: &transformer,
            tokenizer: self.tokenizer.clone(),
        };
        for said in self.packings().into_iter().chain(plan.memory_choice()) {
            observer.message(&said);
        }
        let mixture = self.mixture.iter();
        let mut heldout = MixtureEvaluator {
            evaluator: self.evaluator()?,
            transformer: &transformer,
            trained: mixture.map(|share| share.name.clone()).collect(),
        };
        let settings = Fit {
            training: &config.training,
            evaluation: &self.config.evaluation,
            evaluate_first: false,
            checkpoint: &self.config.checkpoint,
            seed: self.config.seed,
            data_fingerprint: self.dataset.fingerprint().to_owned(),
            ops,
            stop: &launch.stop,
        };
        Ok(fit(
            &settings,
            &run,
            TrainingTask {
                objective: &task,
                batches: &self.stream,
            },
            &mut heldout,
            observer,
        )?)
    }

    /// Returns a saved config as TOML with every default filled in; `None` if it is invalid.
    fn complete(&self, saved: &str) -> Option<String> {
        let saved: PretrainConfig = toml::from_str(saved).ok()?;
        Some(saved.resolve(&self.facts).ok()?.to_toml())
    }

    /// Initializes the model, or loads it from the checkpoint that the run resumes from.
    fn transformer(
        &self,
        run: &RunFolder,
        options: &LoadOptions,
    ) -> Result<Transformer, PretrainError> {
        let transformer = match run.resumed() {
            Some(from) => polymath_model::load(&from.path, options)?,
            None => Transformer::initialize(self.model.clone(), self.config.seed, options)?,
        };
        Ok(transformer.with_z_loss(self.config.training.z_loss))
    }

    /// Returns the evaluator of all domains of the dataset, including those outside of the mixture.
    fn evaluator(&self) -> Result<HeldoutEvaluator, PretrainError> {
        let shards = self
            .dataset
            .domain_names()
            .into_iter()
            .map(|name| {
                Ok(NamedShard {
                    name: name.to_owned(),
                    shard: self.dataset.shard(name, Split::Heldout)?,
                })
            })
            .collect::<Result<_, PretrainError>>()?;
        let windows = WindowOptions {
            context: Some(self.config.training.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            split: Some(HeldoutSplit::Dev),
        };
        Ok(HeldoutEvaluator::new(shards, windows))
    }
}

/// If the config extends the run in its folder: takes over values of that run for keys that the config does not set,
/// and returns true.
fn continue_config(config: &mut PretrainConfig, epoch_tokens: u64) -> bool {
    let Some(saved) = saved_config::<PretrainConfig>(&config.run) else {
        return false;
    };
    let extends = config.training.continue_from(&saved.training, epoch_tokens);
    if extends && config.model.is_none() {
        config.model = saved.model;
    }
    extends
}
