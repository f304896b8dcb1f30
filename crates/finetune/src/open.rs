//! Opening of a run: checks the config, and opens the base and the data.

use std::path::Path;

use candle_core::utils::cuda_is_available;
use polymath_data::{Dataset, Progress, fitting_length};
use polymath_model::{HEAD, available_memory};

use crate::base::PinnedBase;
use crate::config::Niche;
use crate::niche::{
    NicheData, RawNiche, TokenReader, choose_niche, name_niche, niche_folder, prepare_niche,
};
use crate::resolve::DEFAULT_SEQUENCE;
use crate::retention::{RetainedText, RetentionFacts, limits, retained_domains};
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
    pub fn open(config: FinetuneConfig, progress: &dyn Progress) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Train, config, progress)
    }

    /// Opens the run as [`Self::open`] does, but writes nothing: raw text is prepared in a temporary folder. The
    /// result gives the cost of the run, but can't be run.
    ///
    /// # Errors
    /// Fails like [`Self::open`].
    pub fn inspect(config: FinetuneConfig, progress: &dyn Progress) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Inspect, config, progress)
    }

    fn open_for(
        purpose: Purpose,
        mut config: FinetuneConfig,
        progress: &dyn Progress,
    ) -> Result<Self, FinetuneError> {
        limits::fill_in_method(&mut config.retention);
        config.training.validate()?;
        config.evaluation.validate()?;
        config.checkpoint.validate()?;
        let base = PinnedBase::open(&config)?;
        let names = polymath_model::parameter_names(&base.folder)?;
        let mut trainable = select(config.method, config.frozen.as_ref(), &names)?;
        let extension = Extension::open(&config, &base, &names, &trainable)?;
        let base_tokenizer = polymath_model::tokenizer_in(&base.folder)?;
        let scratch = tempfile::tempdir().map_err(|source| FinetuneError::File {
            path: std::env::temp_dir(),
            source,
        })?;
        let (mut model, tokenizer) = match &extension {
            Some(extension) => {
                extension
                    .tokenizer
                    .write(scratch.path(), &extension.model)?;
                let tokenizer = polymath_model::tokenizer_in(scratch.path())?;
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
        let reader = TokenReader {
            tokenizer: &tokenizer,
            base_tokenizer: &base_tokenizer,
            ends: model.document_ends(),
        };
        let moved = Trained {
            names: &trainable,
            adapter: adapter.as_ref(),
        };
        // The row length that fits the examples is not known yet; mostly it is no longer than the default.
        let mut facts = BaseFacts {
            context: model.max_position_embeddings,
            parameters: model.parameter_count(),
            fitting: None,
            epoch_tokens: 1,
            padding: 0.0,
        };
        // Raw text is prepared only if the run fits into memory. The memory of a GPU is not known here.
        if matches!(config.niche()?, Niche::Texts(_)) && !cuda_is_available() {
            let training = config.training(&facts);
            let length = training.sequence_length;
            let mut plan = moved.plan(&model, &training, 0.0);
            plan.retention_bytes = moved.retention_bytes(&plan, &config.retention, 1, length);
            plan.check_memory(available_memory())?;
        }
        let niche_folder = match purpose {
            Purpose::Train => niche_folder(&config),
            Purpose::Inspect => scratch.path().join("dataset"),
        };
        let (dataset, retained) = datasets(&config, &niche_folder, reader, progress)?;
        let niche = choose_niche(&config, &dataset)?;
        // A token that ends the assistant's turns in the data also ends a generated text.
        model.add_ends(&dataset.turn_ends(&niche)?);
        let data = NicheData::open(reader, &dataset, &niche, retained.as_ref())?;
        facts.fitting = data
            .train
            .has_loss_mask()
            .then(|| fitting_length(&data.train, DEFAULT_SEQUENCE, facts.context));
        facts.epoch_tokens = data.train.tokens();
        let resolved = config.resolve(&facts)?;
        let mut retained_texts = config.retention.check(RetentionFacts {
            retained: retained.as_ref(),
            niche: &niche,
            trainable: &trainable,
            base_names: &names,
            vocabulary: model.vocab_size,
        })?;
        if config.control {
            retained_texts = controlled(&config, retained.as_ref(), &niche)?;
        }
        let mut finetuning = Self {
            retained_texts,
            sequence_length: resolved.training.sequence_length,
            fitted: facts.fitting.is_some() && config.training.sequence_length.is_none(),
            config: resolved,
            facts,
            base,
            extension,
            model,
            trainable,
            adapter,
            dataset,
            retained,
            niche,
            data,
            only_inspected: purpose == Purpose::Inspect,
            _scratch: scratch,
            padding: 0.0,
            packings: Vec::new(),
        };
        finetuning.measure_rows()?;
        if finetuning.padding > 0.0 {
            // Padding makes the run longer for the same number of tokens, and with it all defaults that depend on the
            // length.
            finetuning.facts.padding = finetuning.padding;
            finetuning.config = config.resolve(&finetuning.facts)?;
        }
        Ok(finetuning)
    }
}

/// Returns the dataset of the niche, prepared in `niche_folder` if it is raw text, and the dataset of the retained
/// domains. Both fit the model's tokenizer.
fn datasets(
    config: &FinetuneConfig,
    niche_folder: &Path,
    reader: TokenReader,
    progress: &dyn Progress,
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

/// Returns the retained domains that a control run trains on instead of the niche.
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
