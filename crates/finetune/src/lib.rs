//! Fine-tuning: trainable parameters, retention, and the run.
//!
//! [`Finetuning::open`] validates everything and opens every path; [`Finetuning::run`] trains. Checkpoint folders are
//! its only connection to pretraining.
//!
//! ```no_run
//! use polymath_data::NoProgress;
//! use polymath_finetune::{FinetuneConfig, Finetuning};
//! use polymath_train::{Launch, Silent};
//!
//! let config: FinetuneConfig = toml::from_str(&std::fs::read_to_string("finetune.toml")?)?;
//! let finetuning = Finetuning::open(config, &NoProgress)?;
//! println!("{} among {:?}", finetuning.niche(), finetuning.watched());
//! let ended = finetuning.run(&Launch::on(candle_core::Device::Cpu), &mut Silent)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod base;
mod config;
mod durable;
mod ending;
mod error;
mod evaluator;
mod lineage;
mod models;
mod niche;
mod open;
pub mod retention;
mod selection;
mod vocabulary;

pub use adapter::choose_adapter;
pub use config::FinetuneConfig;
pub use ending::{Divergence, Ending};
pub use error::FinetuneError;
pub use lineage::{Lineage, Stage, chosen_on};
pub use retention::RetentionConfig;
pub use selection::{FrozenConfig, Method, select};
pub use vocabulary::{VocabularyConfig, tokenizer_of};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{Dataset, DomainManifest, HeldoutSplit, TokenShard};
use polymath_model::{LoraConfig, ModelConfig, TokenizerFiles};
use polymath_train::{
    Fit, LanguageModel, Launch, Observer, Outcome, Plan, RunFolder, TrainingConfig, fit,
    resolve_checkpoint, step_name,
};

use base::PinnedBase;
use open::NicheData;
use retention::{RetentionObjective, Sizes, StartContext};
use tempfile::TempDir;
use vocabulary::Extension;

/// Default peak learning rate.
const LEARNING_RATE: f64 = 3e-4;

/// Trained parameters: those of the model, or of an adapter beside it.
struct Trained<'a> {
    names: &'a BTreeSet<String>,
    adapter: Option<&'a LoraConfig>,
}

impl Trained<'_> {
    /// Returns the plan on rows of `rows.0` positions, of which the share `rows.1` is padding.
    fn plan(&self, model: &ModelConfig, training: &TrainingConfig, rows: (usize, f64)) -> Plan {
        match self.adapter {
            Some(lora) => Plan::of_adapter(model, training, rows, lora),
            None => Plan::new(model, training, rows, &|name| self.names.contains(name)),
        }
    }

    /// Returns the bytes that retention of this number of domains takes, on rows of this length.
    fn retention_bytes(
        &self,
        plan: &Plan,
        config: &FinetuneConfig,
        (retained, sequence_length): (u64, usize),
    ) -> u64 {
        let trained = plan.trainable_parameters;
        config.retention.memory(Sizes {
            base: match self.adapter {
                Some(_) => plan.parameters - trained,
                None => plan.parameters,
            },
            trained,
            retained,
            sequence_length,
        })
    }
}

/// A fine-tuning that is ready to start: the config is valid, base and data are open.
pub struct Finetuning {
    config: FinetuneConfig,
    base: PinnedBase,
    /// Base with new tokens, if any are added.
    extension: Option<Extension>,
    model: ModelConfig,
    trainable: BTreeSet<String>,
    adapter: Option<LoraConfig>,
    dataset: Dataset,
    retained: Option<Dataset>,
    niche: String,
    data: NicheData,
    sequence_length: usize,
    /// True if the row length was chosen to fit the niche's examples.
    fitted: bool,
    /// Share of the positions that is padding.
    padding: f64,
    /// Packing of the examples with prompts, one sentence per domain.
    packings: Vec<String>,
    retained_texts: Vec<retention::RetainedText>,
    /// True if opened by [`Self::inspect`].
    only_inspected: bool,
    /// Temporary folder of data prepared for inspection.
    _scratch: TempDir,
}

impl Finetuning {
    /// Returns the cost of the run. If rows are replayed beside the niche's, it counts the initial share.
    pub fn plan(&self) -> Plan {
        let moved = Trained {
            names: &self.trainable,
            adapter: self.adapter.as_ref(),
        };
        let rows = (self.sequence_length, self.padding);
        let mut plan = moved.plan(&self.model, &self.config.training, rows);
        let retained = self.retained_texts.len() as u64;
        plan.retention_bytes = moved.retention_bytes(&plan, &self.config, (retained, rows.0));
        let replay = self.config.retention.replay.as_ref();
        if let Some(replay) = replay.filter(|replay| replay.beside) {
            let grown = |count: u64| (count as f64 / (1.0 - replay.share)).round() as u64;
            plan.tokens = grown(plan.tokens);
            plan.positions = grown(plan.positions);
        }
        plan
    }

    /// Returns the optimizer steps of the run.
    pub fn total_steps(&self) -> u64 {
        let training = &self.config.training;
        training.total_steps(self.sequence_length, self.padding)
    }

    /// Describes the packing of examples with prompts; empty if there are none.
    pub fn packings(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.fitted {
            said.push(format!(
                "rows of {} tokens, in which the examples of {} fit (`training.sequence_length` sets another length)",
                self.sequence_length, self.niche
            ));
        }
        said.extend_from_slice(&self.packings);
        said
    }

    /// Returns the manifest of the niche: documents read, omitted and held out.
    pub fn niche_manifest(&self) -> Option<&DomainManifest> {
        self.dataset.manifest().domains.get(&self.niche)
    }

    /// Returns the domain of the fine-tuning.
    pub fn niche(&self) -> &str {
        &self.niche
    }

    /// Returns the domains that are scored during training, the niche first.
    pub fn watched(&self) -> Vec<&str> {
        let watched = self.data.watched.iter();
        watched.map(|(name, _)| name.as_str()).collect()
    }

    /// Trains from the base or from the current position of the run folder, and judges the limits, if any. For a
    /// finished run that is resumed, only completes the work of a killed process after the last checkpoint.
    ///
    /// # Errors
    /// A run folder that can't be used; errors of training. A diverging run leaves a note ([`Self::divergence`]).
    pub fn run(
        &self,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Ending, FinetuneError> {
        if self.only_inspected {
            return Err(FinetuneError::Config(
                "this run was opened for inspection only: open it again to train".into(),
            ));
        }
        if !launch.resume {
            self.refuse_unjudged()?;
        }
        launch.check_memory(&self.plan())?;
        let run = RunFolder::open(&self.config.run, &self.resolved(), launch.resume)?;
        let lineage = match run.resumed() {
            Some(from) => self.check_origin(&from.path)?,
            None => self.lineage()?,
        };
        self.base.check()?;
        let outcome = match run.finished_outcome(&self.config.checkpoint)? {
            Some(outcome) => {
                let shown = run.path().display();
                observer.message(&format!("`{shown}` is finished: nothing left to do"));
                outcome
            }
            None => {
                Divergence::clear(run.path())?;
                self.train(&run, lineage, (launch, observer))
                    .inspect_err(|error| Divergence::note(run.path(), error))?
            }
        };
        self.conclude(outcome, &run, (launch, observer))
    }

    /// Trains in an open run folder.
    fn train(
        &self,
        run: &RunFolder,
        lineage: Lineage,
        (launch, observer): (&Launch, &mut dyn Observer),
    ) -> Result<Outcome, FinetuneError> {
        if run.resumed().is_none() {
            lineage.write(run.path())?;
        }
        if let Some(extension) = &self.extension {
            extension.write()?;
        }
        for packing in self.packings() {
            observer.message(&packing);
        }
        let ops = launch.ops(self.config.training.precision()?);
        let transformer = self.transformer(run, launch, ops)?;
        let Some(retention) = self.start_retention(&mut StartContext {
            launch,
            ops,
            observer,
        })?
        else {
            let step = run.resumed().map_or(0, |from| from.state.step);
            return Ok(Outcome::Interrupted { step });
        };
        let task = RetentionObjective {
            model: LanguageModel {
                transformer: &transformer,
                tokenizer: self.tokenizer().clone(),
            },
            penalties: retention.penalties,
            replay_weight: self.config.retention.replay_weight(),
            distillation: retention.distillation,
            controller: retention.controller.clone(),
            lineage: Some(lineage),
        };
        let mut evaluator =
            self.evaluator(&transformer, retention.controller, (run, launch, ops))?;
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
            run,
            (&task, &*retention.batches),
            &mut *evaluator,
            observer,
        )?)
    }

    /// Returns true if the run is finished with these settings, base and data, and its limits are judged.
    ///
    /// # Errors
    /// A run that is finished with other settings.
    pub fn is_done(&self) -> Result<bool, FinetuneError> {
        let Some(state) = polymath_train::finished(&self.config.run) else {
            return Ok(false);
        };
        if !self.is_same()? {
            return Err(self.finished_otherwise());
        }
        self.check_origin(&self.config.run.join(step_name(state.step)))?;
        Ok(self.is_judged())
    }

    /// Checks that a checkpoint of the run came from the current base, tokenizer and data, and returns its lineage.
    ///
    /// # Errors
    /// A checkpoint that came from others.
    pub(crate) fn check_origin(&self, checkpoint: &Path) -> Result<Lineage, FinetuneError> {
        let now = self.lineage()?;
        let saved = checkpoint.join("tokenizer.json");
        // Adapters of earlier versions have none.
        if polymath_input::is_file(&saved)?
            && polymath_train::sha256_of(&saved)? != self.tokenizer().sha256()?
        {
            return Err(FinetuneError::Config(format!(
                "the run `{}` was begun with another tokenizer than that of `base` with the new tokens of `tokenizer`: \
                 `{}` differs from it. Restore what it was begun with, choose another `run`, or remove the run's folder to \
                 begin anew",
                self.config.run.display(),
                saved.display()
            )));
        }
        match Lineage::of(checkpoint)? {
            Some(before) => {
                before.check_same(&now, &self.config.run)?;
                Ok(before)
            }
            None => Ok(now),
        }
    }

    /// Returns true if the run in the folder has these settings.
    fn is_same(&self) -> Result<bool, FinetuneError> {
        let path = self.config.run.join("run.toml");
        match polymath_base::read_to_string(&path) {
            Ok(saved) => Ok(saved == self.resolved()),
            Err(source) => Err(FinetuneError::File { path, source }),
        }
    }

    fn finished_otherwise(&self) -> FinetuneError {
        FinetuneError::Config(format!(
            "`{}` is finished with other settings: remove it, or choose another folder",
            self.config.run.display()
        ))
    }

    /// Returns the config as it is saved with the run.
    fn resolved(&self) -> String {
        toml::to_string(&self.config).expect("a config that was TOML is TOML")
    }

    /// Keeps the checkpoint after `share` of the run permanently, and returns its folder.
    pub fn keep_at(&mut self, share: f64) -> PathBuf {
        let total = self.total_steps();
        let step = ((total as f64 * share).round() as u64).max(1);
        let milestones = &mut self.config.checkpoint.milestones;
        if !milestones.contains(&step) {
            milestones.push(step);
        }
        self.config.run.join(step_name(step))
    }

    /// Returns the folder of the run's best checkpoint, or of the closest one if none was inside the limits.
    ///
    /// # Errors
    /// A run without a complete checkpoint.
    pub fn best(&self) -> Result<PathBuf, FinetuneError> {
        let run = &self.config.run;
        let closest = run.join("closest");
        let only_close =
            !polymath_input::exists(&run.join("best"))? && polymath_input::exists(&closest)?;
        Ok(resolve_checkpoint(if only_close { &closest } else { run })?)
    }

    /// Folder of the run.
    pub fn run_folder(&self) -> &Path {
        &self.config.run
    }

    /// Folder of the base, without links.
    pub fn base(&self) -> &Path {
        &self.base.folder
    }

    /// Path of the base as written in the config.
    pub fn named_base(&self) -> &Path {
        &self.base.named
    }

    /// SHA-256 of the base's weights.
    pub fn base_sha256(&self) -> &str {
        &self.base.sha256
    }

    /// Checks that the base's weights have not changed since the run was opened.
    ///
    /// # Errors
    /// Weights that are gone or have changed.
    pub fn check_base(&self) -> Result<(), FinetuneError> {
        self.base.check()
    }

    /// Returns the folder that training starts from: the base, with new tokens if any are added.
    fn start(&self) -> &Path {
        self.extension
            .as_ref()
            .map_or(&self.base.folder, |extension| &extension.folder)
    }

    /// Returns the tokenizer of the trained model.
    fn tokenizer(&self) -> &TokenizerFiles {
        self.extension
            .as_ref()
            .map_or(&self.base.tokenizer, |extension| &extension.tokenizer)
    }

    /// Held-out shards that are scored, the niche's first.
    pub fn shards(&self) -> &[(String, Arc<TokenShard>)] {
        &self.data.watched
    }

    /// Tokens per row.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    fn lineage(&self) -> Result<Lineage, FinetuneError> {
        Ok(Lineage {
            base: self.config.base.clone(),
            checkpoint: Some(self.base.folder.clone()),
            base_sha256: self.base.sha256.clone(),
            method: match self.config.control {
                true => format!("{}, control", self.config.method.name()),
                false => self.config.method.name().to_owned(),
            },
            niche: self.niche.clone(),
            dataset: self.dataset.path().to_path_buf(),
            dataset_sha256: Some(self.dataset.fingerprint().to_owned()),
            retain: self.config.retain.clone(),
            retain_sha256: self
                .retained
                .as_ref()
                .map(|retained| retained.fingerprint().to_owned()),
            chosen_on: Some(HeldoutSplit::Dev),
            earlier: Lineage::of(&self.base.folder)?
                .map_or_else(Vec::new, |before| before.stages()),
        })
    }
}
