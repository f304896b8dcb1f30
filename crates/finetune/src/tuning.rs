//! Fine-tuning with its config checked and its base and data open, and the cost of running it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{Dataset, DomainManifest, HeldoutSplit, NamedShard};
use polymath_model::{LoraConfig, ModelConfig, TokenizerFiles};
use polymath_train::{DiskPlan, Plan, Training, resolve_checkpoint, step_name};
use tempfile::TempDir;

use crate::base::PinnedBase;
use crate::niche::NicheData;
use crate::retention::{DOMAIN, RetainedText, Sizes};
use crate::vocabulary::Extension;
use crate::{BaseFacts, FinetuneError, Lineage, ResolvedFinetune, RetentionConfig};

/// Parameters that a run trains: a subset of the model's parameters, or those of an adapter.
pub(crate) struct Trained<'a> {
    pub names: &'a BTreeSet<String>,
    pub adapter: Option<&'a LoraConfig>,
}

impl Trained<'_> {
    /// Returns the cost of training these parameters. `padding` is the share of padding among the positions of a batch.
    pub fn plan(&self, model: &ModelConfig, training: &Training, padding: f64) -> Plan {
        match self.adapter {
            Some(lora) => Plan::of_adapter(model, training, padding, lora),
            None => Plan::new(model, training, padding, &|name| self.names.contains(name)),
        }
    }

    /// Returns the bytes of memory that the retention methods take, with `retained` retained domains and rows of
    /// `sequence_length` tokens.
    pub fn retention_bytes(
        &self,
        plan: &Plan,
        retention: &RetentionConfig,
        retained: u64,
        sequence_length: usize,
    ) -> u64 {
        let trained = plan.trainable_parameters;
        retention.memory(Sizes {
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

/// Fine-tuning that is ready to start: the config is valid, and base and data are open.
#[derive(Clone)]
pub struct Finetuning {
    pub(crate) config: ResolvedFinetune,
    /// Properties of base and data from which defaults were chosen.
    pub(crate) facts: BaseFacts,
    pub(crate) base: PinnedBase,
    /// Base with its vocabulary extended by new tokens, if the config adds any.
    pub(crate) extension: Option<Extension>,
    pub(crate) model: ModelConfig,
    pub(crate) trainable: BTreeSet<String>,
    pub(crate) adapter: Option<LoraConfig>,
    pub(crate) dataset: Dataset,
    pub(crate) retained: Option<Dataset>,
    pub(crate) niche: String,
    pub(crate) data: NicheData,
    pub(crate) sequence_length: usize,
    /// True if the row length was chosen to fit the niche's examples.
    pub(crate) fitted: bool,
    /// Share of padding among the positions of a batch.
    pub(crate) padding: f64,
    /// Sentences for the user about how well examples with prompts fill rows, one for each domain.
    pub(crate) packings: Vec<String>,
    pub(crate) retained_texts: Vec<RetainedText>,
    /// True if the run was opened by [`Self::inspect`] and therefore can't train.
    pub(crate) only_inspected: bool,
    /// Temporary folder with data that were prepared for inspection only.
    pub(crate) _scratch: Arc<TempDir>,
    /// Dataset of text that the base generated, once the run has generated or opened it.
    pub(crate) generated: Option<Arc<Dataset>>,
}

impl Finetuning {
    /// Returns the cost of the run. Replayed rows that are added to the niche's rows are counted with their initial
    /// share.
    pub fn plan(&self) -> Plan {
        let mut plan = self.training_plan();
        // A forward pass takes two operations for each parameter. Reading one token of each document at a time, it
        // reaches about half of the rate of training.
        let each = 2.0 * 2.0 * plan.parameters as f64;
        plan.preparation_flops = each * self.tokens_to_generate() as f64;
        plan
    }

    /// Returns the cost of the run without that of generating text with the base. (The amount of text to generate is
    /// known only after reading files.)
    pub(crate) fn training_plan(&self) -> Plan {
        let moved = Trained {
            names: &self.trainable,
            adapter: self.adapter.as_ref(),
        };
        let mut plan = moved.plan(&self.model, &self.config.training, self.padding);
        plan.retention_bytes = moved.retention_bytes(
            &plan,
            &self.config.retention,
            self.retained_texts.len() as u64,
            self.sequence_length,
        );
        let replay = self.config.retention.replay.as_ref();
        if let Some(replay) = replay.filter(|replay| replay.beside) {
            let grown = |count: u64| (count as f64 / (1.0 - replay.share)).round() as u64;
            plan.tokens = grown(plan.tokens);
            plan.positions = grown(plan.positions);
        }
        plan
    }

    /// Returns the disk space that the run's checkpoints take. A run with limits may write one more model at its end.
    pub fn disk(&self) -> DiskPlan {
        let kept = &self.config.checkpoint;
        let mut disk = DiskPlan::new(
            &self.training_plan(),
            self.adapter.is_some(),
            kept,
            &self.config.run,
        );
        disk.checkpoints += u64::from(self.config.retention.limits.is_some());
        disk
    }

    /// Returns the number of optimizer steps of the run.
    pub fn total_steps(&self) -> u64 {
        self.config.training.total_steps(self.padding)
    }

    /// Returns the configuration with every default filled in, as saved with the run.
    pub fn config(&self) -> &ResolvedFinetune {
        &self.config
    }

    /// Returns sentences for the user, one about each default that was chosen.
    pub fn choices(&self) -> &[String] {
        &self.config.choices
    }

    /// Returns sentences for the user about how well examples with prompts fill rows. Empty without such examples.
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

    /// Returns the niche's entry in the dataset's manifest: numbers of read, omitted and held-out documents.
    pub fn niche_manifest(&self) -> Option<&DomainManifest> {
        self.dataset.manifest().domains.get(&self.niche)
    }

    /// Returns the name of the niche.
    pub fn niche(&self) -> &str {
        &self.niche
    }

    /// Returns the names of the domains that are scored during training, the niche first.
    pub fn watched(&self) -> Vec<&str> {
        let watched = self.data.watched.iter();
        let mut names: Vec<&str> = watched.map(|domain| domain.name.as_str()).collect();
        if self.is_limited_on_generated_text() && self.generated.is_none() {
            names.push(DOMAIN);
        }
        names
    }

    /// Makes the checkpoint after the share `share` of the run's steps a milestone, which is never removed. Returns the
    /// folder of that checkpoint.
    pub fn keep_at(&mut self, share: f64) -> PathBuf {
        let total = self.total_steps();
        let step = ((total as f64 * share).round() as u64).max(1);
        let milestones = &mut self.config.checkpoint.milestones;
        if !milestones.contains(&step) {
            milestones.push(step);
        }
        self.config.run.join(step_name(step))
    }

    /// Returns the folder of the run's best checkpoint. If the run has forgetting limits and no model kept them,
    /// returns the checkpoint closest to the limits.
    ///
    /// # Errors
    /// Fails if the run has no complete checkpoint.
    pub fn best(&self) -> Result<PathBuf, FinetuneError> {
        let run = &self.config.run;
        let closest = run.join("closest");
        let only_close =
            !polymath_input::exists(&run.join("best"))? && polymath_input::exists(&closest)?;
        Ok(resolve_checkpoint(if only_close { &closest } else { run })?)
    }

    /// Returns the folder of the run.
    pub fn run_folder(&self) -> &Path {
        &self.config.run
    }

    /// Returns the folder of the base, without links.
    pub fn base(&self) -> &Path {
        &self.base.folder
    }

    /// Returns the path of the base as written in the config.
    pub fn named_base(&self) -> &Path {
        &self.base.named
    }

    /// Returns the SHA-256 of the base's weights.
    pub fn base_sha256(&self) -> &str {
        &self.base.sha256
    }

    /// Checks that the base's weights have not changed since the run was opened.
    ///
    /// # Errors
    /// Fails if the weights are gone or have changed.
    pub fn check_base(&self) -> Result<(), FinetuneError> {
        self.base.check()
    }

    /// Returns the folder of the model that training starts from: the base, or the base extended by new tokens.
    pub(crate) fn start(&self) -> &Path {
        self.extension
            .as_ref()
            .map_or(&self.base.folder, |extension| &extension.folder)
    }

    /// Returns the tokenizer of the trained model.
    pub(crate) fn tokenizer(&self) -> &TokenizerFiles {
        self.extension
            .as_ref()
            .map_or(&self.base.tokenizer, |extension| &extension.tokenizer)
    }

    /// Returns the held-out documents of each scored domain, in the tokens of the trained model; the first domain is
    /// the niche.
    pub fn shards(&self) -> &[NamedShard] {
        &self.data.watched
    }

    /// Returns the number of tokens in a row.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    pub(crate) fn lineage(&self) -> Result<Lineage, FinetuneError> {
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
