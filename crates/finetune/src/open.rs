//! Opening of a fine-tuning: checks the config, and opens the base and the data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::utils::cuda_is_available;
use polymath_data::{Dataset, PreparationProgress, fitting_length};
use polymath_model::{HEAD, LoraConfig, ModelConfig, TokenizerFiles, available_memory};
use polymath_train::saved_config;

use crate::base::PinnedBase;
use crate::begun::begun_with;
use crate::config::Niche;
use crate::niche::{
    NicheData, RawNiche, TokenReader, choose_niche, name_niche, niche_folder, prepare_niche,
};
use crate::recipe::base_optimizer;
use crate::retention::{RetainedText, RetentionFacts, limits, retained_domains};
use crate::training_defaults::DEFAULT_SEQUENCE;
use crate::tuning::Trained;
use crate::vocabulary::Extension;
use crate::{BaseFacts, FinetuneConfig, FinetuneError, Finetuning, choose_adapter, select};

/// Purpose of opening a run: to train it, or only to inspect it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Train,
    /// Inspect: writes nothing except to a temporary folder.
    Inspect,
}

impl Finetuning {
    /// Checks the config, and opens the base and the data. Prepares raw text with the base's tokenizer.
    ///
    /// # Errors
    /// Fails with every error that can be found before training.
    pub fn open(
        config: FinetuneConfig,
        progress: &dyn PreparationProgress,
    ) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Train, config, progress)
    }

    /// Opens the run as [`Self::open`] does, but writes nothing into the run's folder: raw text is prepared in a
    /// temporary folder. The result can tell the cost of the run, but can't train.
    ///
    /// # Errors
    /// Fails like [`Self::open`].
    pub fn inspect(
        config: FinetuneConfig,
        progress: &dyn PreparationProgress,
    ) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Inspect, config, progress)
    }

    fn open_for(
        purpose: Purpose,
        mut config: FinetuneConfig,
        progress: &dyn PreparationProgress,
    ) -> Result<Self, FinetuneError> {
        let has_begun = complete(&mut config)?;
        let scratch = tempfile::tempdir().map_err(|source| FinetuneError::File {
            path: std::env::temp_dir(),
            source,
        })?;
        let mut opened = OpenedModel::open(&config, scratch.path())?;
        if let (Purpose::Inspect, Some(extension)) = (&purpose, &mut opened.extension) {
            extension.move_to(scratch.path());
        }
        let mut facts = opened.facts()?;
        // Raw text is prepared only if the run fits into memory. The memory of a GPU is not known here.
        if matches!(config.niche()?, Niche::Texts(_)) && !cuda_is_available() {
            opened.check_memory(&config, &facts)?;
        }
        let niche_folder = match purpose {
            Purpose::Train => niche_folder(&config),
            Purpose::Inspect => scratch.path().join("dataset"),
        };
        let (dataset, retained) = datasets(&config, &niche_folder, opened.reader(), progress)?;
        let niche = choose_niche(&config, &dataset)?;
        // A token that ends the assistant's turns in the data also ends a generated text.
        opened.model.add_ends(&dataset.turn_ends(&niche)?);
        let data = NicheData::open(opened.reader(), &dataset, &niche, retained.as_ref())?;
        facts.fitting = data
            .train
            .has_loss_mask()
            .then(|| fitting_length(&data.train, DEFAULT_SEQUENCE, facts.context));
        facts.epoch_tokens = data.train.tokens();
        facts.scored_tokens = config.scored_tokens(&opened.model, &data.watched)?;
        let saved = saved_config::<FinetuneConfig>(&config.run);
        let continues = saved.is_some_and(|saved| {
            config
                .training
                .continue_from(&saved.training, facts.epoch_tokens)
        });
        let resolved = config.resolve(&facts)?;
        let retained_texts = opened.retained_texts(&config, retained.as_ref(), &niche)?;
        let mut finetuning = Self {
            tokenizer: opened.trained_tokenizer(dataset.plain_chat_template(&niche)?),
            retained_texts,
            sequence_length: resolved.training.sequence_length,
            fitted: facts.fitting.is_some() && config.training.sequence_length.is_none(),
            config: resolved,
            facts,
            base: opened.base,
            extension: opened.extension,
            model: opened.model,
            trainable: opened.trainable,
            adapter: opened.adapter,
            dataset,
            retained,
            niche,
            data,
            only_inspected: purpose == Purpose::Inspect,
            _scratch: Arc::new(scratch),
            generated: None,
            padding: 0.0,
            packings: Vec::new(),
        };
        finetuning.measure_padding(&config)?;
        if has_begun {
            // The run keeps what it was begun with: nothing is chosen.
            finetuning.config.choices.clear();
        }
        let base = polymath_model::load_config(&finetuning.base.folder)?;
        finetuning.check_limited_groups(&base)?;
        finetuning.note_chat_template();
        if !finetuning.config.control {
            let shared = finetuning.data.shared_text();
            finetuning.config.choices.extend(shared);
        }
        if continues {
            let kept = finetuning.config.training.kept();
            finetuning.config.choices.push(kept);
        }
        Ok(finetuning)
    }

    /// Tells the user about a chat template that the base lacks and the trained model gets.
    fn note_chat_template(&mut self) {
        let file = |files: &TokenizerFiles| files.get("chat_template.jinja").is_some();
        if file(&self.tokenizer) && !file(&self.base.tokenizer) {
            self.config.choices.push(
                "chat template: lines `role: content`, as the conversations are written, since the base has none; it is \
                 saved with the model"
                    .into(),
            );
        }
    }

    /// Measures the share of padding among the positions of a batch. Padding makes the run longer for the same number
    /// of tokens, so the defaults that depend on the length are resolved again.
    fn measure_padding(&mut self, config: &FinetuneConfig) -> Result<(), FinetuneError> {
        self.measure_rows()?;
        if self.padding > 0.0 {
            self.facts.padding = self.padding;
            self.config = config.resolve(&self.facts)?;
        }
        Ok(())
    }
}

/// Completes the config with the defaults with which a resumed run was started and with those of forgetting limits, and
/// checks the values. Returns true if the run has already started.
fn complete(config: &mut FinetuneConfig) -> Result<bool, FinetuneError> {
    let begun = begun_with(&config.run);
    if let Some(begun) = &begun {
        config.keep_defaults_of(begun);
    }
    limits::fill_in_method(&mut config.retention, config.retain.is_some());
    config.training.validate()?;
    config.evaluation.validate()?;
    config.checkpoint.validate()?;
    Ok(begun.is_some())
}

/// Base, tokenizer and trainable parameters of a run, opened before its data.
struct OpenedModel {
    base: PinnedBase,
    /// Names of the base's parameters.
    base_names: Vec<String>,
    trainable: BTreeSet<String>,
    extension: Option<Extension>,
    model: ModelConfig,
    adapter: Option<LoraConfig>,
    tokenizer: PathBuf,
    base_tokenizer: PathBuf,
}

impl OpenedModel {
    /// Opens the base, and selects the parameters to train. If the config adds tokens, writes the extended tokenizer
    /// into the folder `scratch`.
    fn open(config: &FinetuneConfig, scratch: &Path) -> Result<Self, FinetuneError> {
        let base = PinnedBase::open(config)?;
        let base_names = polymath_model::parameter_names(&base.folder)?;
        let mut trainable = select(config.method, config.frozen.as_ref(), &base_names)?;
        let extension = Extension::open(config, &base, &base_names, &trainable)?;
        let base_tokenizer = polymath_model::tokenizer_in(&base.folder)?;
        let (mut model, tokenizer) = match &extension {
            Some(extension) => {
                extension.tokenizer.write(scratch, &extension.model)?;
                let tokenizer = polymath_model::tokenizer_in(scratch)?;
                (extension.model.clone(), tokenizer)
            }
            None => (
                polymath_model::load_config(&base.folder)?,
                base_tokenizer.clone(),
            ),
        };
        let adapter = choose_adapter(config.method, config.lora.as_ref(), &model)?;
        if let Some(lora) = &adapter {
            let own = lora.parameter_shapes(&model).into_iter();
            trainable.extend(own.map(|(name, _)| name));
        }
        // A tied head that is selected alone gets its own weights, and the embedding stays unchanged.
        if trainable.contains(HEAD) {
            model.tie_word_embeddings = false;
        }
        Ok(Self {
            base,
            base_names,
            trainable,
            extension,
            model,
            adapter,
            tokenizer,
            base_tokenizer,
        })
    }

    /// Returns the tokenizer of the trained model, with the files beside it: the base's with the new tokens, and with
    /// this chat template if it has none.
    fn trained_tokenizer(&self, template: Option<&str>) -> TokenizerFiles {
        let extended = self
            .extension
            .as_ref()
            .map(|extension| &extension.tokenizer);
        let mut files = extended.unwrap_or(&self.base.tokenizer).clone();
        files.add_chat_template(template);
        files
    }

    fn reader(&self) -> TokenReader<'_> {
        TokenReader {
            tokenizer: &self.tokenizer,
            base_tokenizer: &self.base_tokenizer,
            ends: self.model.document_ends(),
        }
    }

    /// Returns the properties of the base that determine defaults, before the data are read. Properties of the data
    /// have placeholders: the row length that fits the examples is unknown, but mostly no longer than the default.
    fn facts(&self) -> Result<BaseFacts, FinetuneError> {
        Ok(BaseFacts {
            context: self.model.max_position_embeddings,
            parameters: self.model.parameter_count(),
            optimizer: base_optimizer(&self.base.folder)?,
            fitting: None,
            epoch_tokens: 1,
            scored_tokens: 0,
            padding: 0.0,
        })
    }

    /// Checks the `[retention]` table, and returns the training documents of the retained domains that the run reads.
    fn retained_texts(
        &self,
        config: &FinetuneConfig,
        retained: Option<&Dataset>,
        niche: &str,
    ) -> Result<Vec<RetainedText>, FinetuneError> {
        let texts = config.retention.check(RetentionFacts {
            retained,
            niche,
            trainable: &self.trainable,
            base_names: &self.base_names,
            vocabulary: self.model.vocab_size,
        })?;
        match config.control {
            true => controlled(config, retained, niche),
            false => Ok(texts),
        }
    }

    /// Fails if the run needs more memory than is available.
    fn check_memory(
        &self,
        config: &FinetuneConfig,
        facts: &BaseFacts,
    ) -> Result<(), FinetuneError> {
        let trained = Trained {
            names: &self.trainable,
            adapter: self.adapter.as_ref(),
        };
        let training = config.training(facts);
        let length = training.sequence_length;
        let mut plan = trained.plan(&self.model, &training, 0.0);
        plan.retention_bytes = trained.retention_bytes(&plan, &config.retention, 1, length);
        let available = available_memory();
        Ok(plan.fitted(available).check_memory(available)?)
    }
}

/// Opens the dataset of the niche, which is prepared in `niche_folder` if the niche is raw text, and the dataset of the
/// retained domains. Checks that both have the model's tokens.
fn datasets(
    config: &FinetuneConfig,
    niche_folder: &Path,
    reader: TokenReader,
    progress: &dyn PreparationProgress,
) -> Result<(Dataset, Option<Dataset>), FinetuneError> {
    let source = config.niche()?;
    let retained = config.retain.as_deref().map(Dataset::open).transpose()?;
    if let Some(retained) = &retained {
        reader.check(retained)?;
    }
    let dataset = match source {
        Niche::Dataset(path) => Dataset::open(path)?,
        Niche::Texts(patterns) => {
            let raw = RawNiche {
                name: name_niche(config, patterns, retained.as_ref())?,
                patterns,
                tokenizer: reader.tokenizer,
                ends: reader.ends,
            };
            prepare_niche(config, niche_folder, raw, progress)?
        }
    };
    reader.check(&dataset)?;
    Ok((dataset, retained))
}

/// Returns the training documents of the retained domains, on which a control run trains instead of the niche.
fn controlled(
    config: &FinetuneConfig,
    retained: Option<&Dataset>,
    niche: &str,
) -> Result<Vec<RetainedText>, FinetuneError> {
    if !config.retention.is_empty() {
        return Err(FinetuneError::Config(
            "`control` trains on the retained domains: leave `[retention]` out".into(),
        ));
    }
    retained_domains("control", retained, niche)
}
