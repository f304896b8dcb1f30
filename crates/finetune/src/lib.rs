//! Fine-tuning: what moves, what is watched, and its run.
//!
//! [`Finetuning::open`] validates everything and opens every path; [`Finetuning::run`] then trains. It meets
//! pretraining in a checkpoint folder only.
//!
//! ```no_run
//! use polymath_data::NoProgress;
//! use polymath_finetune::{FinetuneConfig, Finetuning};
//! use polymath_train::{Launch, Silent};
//!
//! let config: FinetuneConfig = toml::from_str(&std::fs::read_to_string("finetune.toml")?)?;
//! let finetuning = Finetuning::open(config, &NoProgress)?;
//! println!("{} among {:?}", finetuning.niche(), finetuning.watched());
//! let outcome = finetuning.run(&Launch::on(candle_core::Device::Cpu), &mut Silent)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod config;
mod error;
pub mod frontier;
mod lineage;
mod niche;
pub mod retention;
mod scores;
mod selection;
mod sweep;
pub mod transfer;
mod vocabulary;

pub use adapter::choose_adapter;
pub use config::FinetuneConfig;
pub use error::FinetuneError;
pub use lineage::{Lineage, Stage};
pub use retention::RetentionConfig;
pub use selection::{FrozenConfig, Method, select};
pub use vocabulary::VocabularyConfig;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{Dataset, Progress, TokenShard};
use polymath_eval::{HeldoutEvaluator, WindowOptions};
use polymath_model::{
    LoadOptions, LoraConfig, ModelConfig, Ops, Precision, TokenizerFiles, Transformer,
};
use polymath_train::{
    Evaluator, Fit, LanguageModel, Launch, Observer, Outcome, Plan, RunFolder, TrainError, fit,
    resolve_checkpoint,
};

use config::Niche;
use niche::{Reader, choose_niche, prepare_niche};
use retention::{Making, Pressure, Retaining};
use vocabulary::Extension;

/// Peak learning rate, where the config does not say.
const LEARNING_RATE: f64 = 3e-4;
/// Longest row that is chosen by itself: a base may have a context far beyond what a CPU trains on.
const LONGEST_DEFAULT_SEQUENCE: usize = 256;
/// Under limits, a run is evaluated at least so often.
const LOOKS: u64 = 20;
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A fine-tuning that can start: the config is valid, base and data are open.
pub struct Finetuning {
    config: FinetuneConfig,
    base: PathBuf,
    /// The base with new tokens, where any are added.
    extension: Option<Extension>,
    model: ModelConfig,
    moving: BTreeSet<String>,
    adapter: Option<LoraConfig>,
    dataset: Dataset,
    /// Of the niche's data, in the tokens that are trained on.
    fingerprint: String,
    niche: String,
    watched: Vec<(String, Arc<TokenShard>)>,
    sequence_length: usize,
    old: Vec<retention::Old>,
}

impl Finetuning {
    /// Checks the config, and opens the base and the data; raw text is prepared with the base's tokenizer.
    ///
    /// # Errors
    /// Whatever would stop the run later and can be known now.
    pub fn open(
        mut config: FinetuneConfig,
        progress: &dyn Progress,
    ) -> Result<Self, FinetuneError> {
        config.retention = config.retention.with_a_method();
        config.training.validate()?;
        config.evaluation.validate()?;
        config.checkpoint.validate()?;
        let source = config.niche()?;
        let base = resolve_checkpoint(&config.base)?;
        adapter::refuse_adapter_as_base(&base)?;
        let names = polymath_model::parameter_names(&base)?;
        let mut moving = select(config.method, config.frozen.as_ref(), &names)?;
        let extension = Extension::open(&config, &base, (&names, &moving))?;
        let (mut model, tokenizer) = match &extension {
            Some(extension) => (extension.model.clone(), extension.folder.as_path()),
            None => (polymath_model::load_config(&base)?, base.as_path()),
        };
        let tokenizer = polymath_model::tokenizer_in(tokenizer)?;
        let adapter = choose_adapter(config.method, config.lora.as_ref(), &model)?;
        if let Some(lora) = &adapter {
            let own = lora.parameter_shapes(&model).into_iter();
            moving.extend(own.map(|(name, _)| name));
        }
        // A tied head that is chosen alone gets weights of its own, and leaves the embedding where it is.
        if moving.contains(HEAD) {
            model.tie_word_embeddings = false;
        }
        let longest = model.max_position_embeddings;
        let sequence_length = config
            .training
            .sequence_length
            .unwrap_or(longest.min(LONGEST_DEFAULT_SEQUENCE));
        if sequence_length > longest {
            return Err(FinetuneError::Config(format!(
                "`training.sequence_length` = {sequence_length} is longer than the base's context of {longest}"
            )));
        }
        let ends = (model.bos_token_id, model.eos_token_id);
        let retained = config.retain.as_deref().map(Dataset::open).transpose()?;
        if let Some(retained) = &retained {
            retained.check_fits(&tokenizer, ends)?;
        }
        let dataset = match source {
            Niche::Dataset(path) => Dataset::open(path)?,
            Niche::Texts(patterns) => {
                prepare_niche(&config, patterns, (&tokenizer, &model), progress)?
            }
        };
        dataset.check_fits(&tokenizer, ends)?;
        let niche = choose_niche(&config, &dataset)?;
        let reader = Reader {
            tokenizer: &tokenizer,
            ends,
        };
        let watched = reader.watch((&dataset, &niche), retained.as_ref())?;
        let fingerprint = reader.fingerprint(&dataset)?;
        if config.retention.limits.is_some() {
            // A controller that looks a few times only can't keep anything.
            let total = config.training.total_steps(sequence_length);
            let often = (total / LOOKS).max(1);
            config.evaluation.every = config.evaluation.every.min(often);
        }
        let mut old = config.retention.check(
            (retained.as_ref(), &niche),
            &moving,
            (&names, model.vocab_size),
        )?;
        if config.control {
            if !config.retention.is_empty() {
                return Err(FinetuneError::Config(
                    "`control` trains on what would be retained: leave `[retention]` out".into(),
                ));
            }
            old = retention::old_domains("control", retained.as_ref(), &niche)?;
        }
        Ok(Self {
            old,
            config,
            base,
            extension,
            model,
            moving,
            adapter,
            dataset,
            fingerprint,
            niche,
            watched,
            sequence_length,
        })
    }

    /// What the run would take.
    pub fn plan(&self) -> Plan {
        if let Some(lora) = &self.adapter {
            let training = &self.config.training;
            return Plan::of_adapter(&self.model, training, self.sequence_length, lora);
        }
        Plan::new(
            &self.model,
            &self.config.training,
            self.sequence_length,
            &|name| self.moving.contains(name),
        )
    }

    /// The domain that is tuned for.
    pub fn niche(&self) -> &str {
        &self.niche
    }

    /// The domains that are scored on the way, the niche first.
    pub fn watched(&self) -> Vec<&str> {
        self.watched.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Trains, from the base or from where the run folder stands.
    ///
    /// # Errors
    /// A run folder that can't be used; what training says.
    pub fn run(
        &self,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, FinetuneError> {
        let text = toml::to_string(&self.config).expect("a config that was TOML is TOML");
        let run = RunFolder::open(&self.config.run, &text, launch.resume)?;
        if let Some(extension) = &self.extension {
            extension.write_weights()?;
        }
        self.lineage()?.write(run.path())?;
        let ops = launch.ops(self.config.training.precision()?);
        let transformer = self.transformer(&run, launch, ops)?;
        let Some(retention) = self.start_retention(&mut Making {
            launch,
            ops,
            observer,
        })?
        else {
            let step = run.resumed().map_or(0, |from| from.state.step);
            return Ok(Outcome::Interrupted { step });
        };
        let task = Retaining {
            model: LanguageModel {
                transformer: &transformer,
                tokenizer: self.tokenizer()?,
            },
            penalties: retention.penalties,
            distillation: retention.distillation,
            pressure: retention.pressure.clone(),
        };
        let mut evaluator =
            self.evaluator(&transformer, retention.pressure, (&run, launch, ops))?;
        let settings = Fit {
            training: &self.config.training,
            sequence_length: self.sequence_length,
            learning_rate: self.config.training.learning_rate.unwrap_or(LEARNING_RATE),
            evaluation: &self.config.evaluation,
            evaluate_first: true,
            checkpoint: &self.config.checkpoint,
            seed: self.config.seed,
            data_fingerprint: retention.fingerprint,
            ops,
            stop: &launch.stop,
        };
        Ok(fit(
            &settings,
            &run,
            (&task, &*retention.batches),
            &mut *evaluator,
            observer,
        )?)
    }

    /// Whether the run is finished, with these settings.
    ///
    /// # Errors
    /// It is finished with others.
    pub fn is_done(&self) -> Result<bool, FinetuneError> {
        let run = &self.config.run;
        if !polymath_train::is_finished(run) {
            return Ok(false);
        }
        let text = toml::to_string(&self.config).expect("a config that was TOML is TOML");
        match std::fs::read_to_string(run.join("run.toml")) {
            Ok(saved) if saved == text => Ok(true),
            _ => Err(FinetuneError::Config(format!(
                "`{}` is finished with other settings: remove it, or choose another `output`",
                run.display()
            ))),
        }
    }

    /// The base, or what became of it in the run's best checkpoint, nothing of it moving; in full precision.
    ///
    /// # Errors
    /// What loading says.
    pub fn load_tuned(&self, launch: &Launch, tuned: bool) -> Result<Transformer, FinetuneError> {
        if !tuned {
            let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
            return self.load(&self.base, &options);
        }
        self.load_checkpoint(launch, &self.best()?)
    }

    /// One of the run's checkpoints, nothing of it moving; in full precision.
    ///
    /// # Errors
    /// What loading says.
    pub fn load_checkpoint(
        &self,
        launch: &Launch,
        folder: &Path,
    ) -> Result<Transformer, FinetuneError> {
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        Ok(polymath_model::load_over(
            folder,
            Some(&self.base),
            &options,
        )?)
    }

    /// Has the checkpoint after `share` of the run kept for good, and says which folder it is in.
    pub fn keep_at(&mut self, share: f64) -> PathBuf {
        let total = self.config.training.total_steps(self.sequence_length);
        let step = ((total as f64 * share).round() as u64).max(1);
        let milestones = &mut self.config.checkpoint.milestones;
        if !milestones.contains(&step) {
            milestones.push(step);
        }
        self.config.run.join(polymath_train::step_name(step))
    }

    /// The folder of the run's best checkpoint.
    ///
    /// # Errors
    /// There is none that is whole.
    pub fn best(&self) -> Result<PathBuf, FinetuneError> {
        Ok(resolve_checkpoint(&self.config.run)?)
    }

    /// The folder of the run.
    pub fn run_folder(&self) -> &Path {
        &self.config.run
    }

    /// The base's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What training starts from: the base, with new tokens where any are added.
    fn start(&self) -> &Path {
        self.extension
            .as_ref()
            .map_or(&self.base, |extension| &extension.folder)
    }

    /// The tokenizer of what is trained.
    fn tokenizer(&self) -> Result<TokenizerFiles, FinetuneError> {
        Ok(TokenizerFiles {
            tokenizer: polymath_model::tokenizer_in(self.start())?,
        })
    }

    /// The held-out shards that are watched, as the base reads them.
    fn watched_by_base(&self) -> Result<Vec<(String, Arc<TokenShard>)>, FinetuneError> {
        if self.extension.is_none() {
            return Ok(self.watched.clone());
        }
        let retained = self.config.retain.as_deref();
        let retained = retained.map(Dataset::open).transpose()?;
        let reader = Reader {
            tokenizer: &polymath_model::tokenizer_in(&self.base)?,
            ends: (self.model.bos_token_id, self.model.eos_token_id),
        };
        reader.watch((&self.dataset, &self.niche), retained.as_ref())
    }

    /// The held-out shards that are watched, the niche's first.
    pub fn shards(&self) -> &[(String, Arc<TokenShard>)] {
        &self.watched
    }

    /// Tokens of a row.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// The model that is trained, as the base has it or where the run stands.
    fn transformer(
        &self,
        run: &RunFolder,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Transformer, FinetuneError> {
        let moves = |name: &str| self.moving.contains(name);
        let options = LoadOptions {
            device: launch.device.clone(),
            ops,
            trainable: &moves,
        };
        let resumed = run.resumed().map(|from| from.path.as_path());
        let transformer = match &self.adapter {
            Some(lora) => self.adapted(lora, resumed, &options)?,
            None => self.load(resumed.unwrap_or(self.start()), &options)?,
        };
        Ok(transformer
            .with_z_loss(self.config.training.z_loss)
            .with_recompute(!self.config.training.recompute.is_none()))
    }

    /// Measures the run on the way: inside its limits, where it has some.
    fn evaluator<'a>(
        &'a self,
        transformer: &'a Transformer,
        pressure: Option<Arc<Pressure>>,
        (run, launch, ops): (&RunFolder, &Launch, Ops),
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            half: None,
        };
        match pressure {
            Some(pressure) => self.limited(transformer, pressure, windows, (run, launch, ops)),
            None => Ok(Box::new(Heldout {
                evaluator: HeldoutEvaluator::new(self.watched.clone(), windows),
                transformer,
                niche: &self.niche,
            })),
        }
    }

    /// The weights in `folder`; where the run unties the head and they are tied there, the head starts as the
    /// embedding.
    fn load(&self, folder: &Path, options: &LoadOptions) -> Result<Transformer, FinetuneError> {
        let mut config = polymath_model::load_config(folder)?;
        if config.tie_word_embeddings == self.model.tie_word_embeddings {
            return Ok(polymath_model::load(folder, options)?);
        }
        config.tie_word_embeddings = self.model.tie_word_embeddings;
        let mut weights = polymath_model::load_weights(folder)?;
        let head = weights[EMBEDDING].clone();
        weights.insert(HEAD.to_owned(), head);
        Ok(Transformer::from_weights(config, weights, options)?)
    }

    fn lineage(&self) -> Result<Lineage, FinetuneError> {
        Ok(Lineage {
            base: self.config.base.clone(),
            base_sha256: polymath_model::sha256_of_weights(&self.base)?,
            method: match self.config.control {
                true => format!("{}, control", self.config.method.name()),
                false => self.config.method.name().to_owned(),
            },
            niche: self.niche.clone(),
            dataset: self.dataset.path().to_path_buf(),
            retain: self.config.retain.clone(),
            earlier: Lineage::of(&self.base)?.map_or_else(Vec::new, |before| before.stages()),
        })
    }
}

/// The niche decides the best checkpoint.
struct Heldout<'a> {
    evaluator: HeldoutEvaluator,
    transformer: &'a Transformer,
    niche: &'a str,
}

impl Evaluator for Heldout<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.evaluator
            .evaluate(self.transformer, progress)
            .map_err(|error| TrainError::Hook(Box::new(error)))
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64 {
        bits_per_byte[self.niche]
    }
}
