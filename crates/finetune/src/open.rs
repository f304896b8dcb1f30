//! Checks and opens the config, the base and the data of a run.

use std::path::Path;

use candle_core::utils::cuda_is_available;
use polymath_data::{Dataset, Progress, TokenShard, fitting_length};
use polymath_model::{HEAD, ModelConfig, available_memory};

use crate::base::PinnedBase;
use crate::config::Niche;
use crate::niche::{NicheData, TokenReader, choose_niche, niche_folder, prepare_niche};
use crate::retention::{RetainedText, limits, retained_domains};
use crate::tuning::Trained;
use crate::vocabulary::Extension;
use crate::{FinetuneConfig, FinetuneError, Finetuning, choose_adapter, select};

/// Default tokens per row of text without prompts: a base may have a context far beyond what a CPU trains on.
const DEFAULT_SEQUENCE: usize = 256;

/// Purpose of opening a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Train,
    /// Writes nothing outside of a temporary folder.
    Inspect,
}

impl Finetuning {
    /// Checks the config, and opens the base and the data; prepares raw text with the base's tokenizer.
    ///
    /// # Errors
    /// Every error that can be found before training.
    pub fn open(config: FinetuneConfig, progress: &dyn Progress) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Train, config, progress)
    }

    /// Does the same without writing anything: prepares raw text in a temporary folder. The result gives the cost of a
    /// run, but can't be run.
    ///
    /// # Errors
    /// Same as [`Self::open`].
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
        let extension = Extension::open(&config, &base, (&names, &trainable))?;
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
        // A tied head that is selected alone gets its own weights, and leaves the embedding unchanged.
        if trainable.contains(HEAD) {
            model.tie_word_embeddings = false;
        }
        let reader = TokenReader {
            tokenizer: &tokenizer,
            base_tokenizer: &base_tokenizer,
            ends: (model.bos_token_id, model.eos_token_id),
        };
        let moved = Trained {
            names: &trainable,
            adapter: adapter.as_ref(),
        };
        // Raw text is prepared only for a run that fits; the memory of a GPU is unknown here.
        if matches!(config.niche()?, Niche::Texts(_)) && !cuda_is_available() {
            // The length of rows fitted to examples is still unknown; most are no longer than rows of plain text.
            let length = (config.training.sequence_length)
                .unwrap_or(DEFAULT_SEQUENCE)
                .min(model.max_position_embeddings);
            let mut plan = moved.plan(&model, &config.training, (length, 0.0));
            plan.retention_bytes = moved.retention_bytes(&plan, &config, (1, length));
            plan.check_memory(available_memory())?;
        }
        let niche_folder = match purpose {
            Purpose::Train => niche_folder(&config),
            Purpose::Inspect => scratch.path().join("dataset"),
        };
        let (dataset, retained) = datasets(&config, &niche_folder, reader, &model, progress)?;
        let niche = choose_niche(&config, &dataset)?;
        // A token that ends the assistant's turns in the data also ends a generated text.
        model.add_ends(&dataset.turn_ends(&niche)?);
        let data = NicheData::open(reader, &dataset, &niche, retained.as_ref())?;
        let (sequence_length, fitted) = sequence_length(&config, &model, &data.train)?;
        config.training.validate_length(sequence_length)?;
        if fitted {
            config.training.sequence_length = Some(sequence_length);
        }
        let mut retained_texts = config.retention.check(
            (retained.as_ref(), &niche),
            &trainable,
            (&names, model.vocab_size),
        )?;
        if config.control {
            retained_texts = controlled(&config, retained.as_ref(), &niche)?;
        }
        let mut finetuning = Self {
            retained_texts,
            config,
            base,
            extension,
            model,
            trainable,
            adapter,
            dataset,
            retained,
            niche,
            data,
            sequence_length,
            only_inspected: purpose == Purpose::Inspect,
            _scratch: scratch,
            fitted,
            padding: 0.0,
            packings: Vec::new(),
        };
        finetuning.measure_rows()?;
        if finetuning.config.retention.limits.is_some() {
            let total = finetuning.total_steps();
            limits::fill_in_schedule(&mut finetuning.config, total);
        }
        Ok(finetuning)
    }
}

/// Returns the tokens per row, which must fit into the base's context, and true if they were chosen to fit the niche's
/// examples.
fn sequence_length(
    config: &FinetuneConfig,
    model: &ModelConfig,
    niche: &TokenShard,
) -> Result<(usize, bool), FinetuneError> {
    let longest = model.max_position_embeddings;
    match config.training.sequence_length {
        Some(length) if length > longest => Err(FinetuneError::Config(format!(
            "`training.sequence_length` = {length} is longer than the base's context of {longest}"
        ))),
        Some(length) => Ok((length, false)),
        None if niche.has_loss_mask() => {
            let fitting = fitting_length(niche, DEFAULT_SEQUENCE, longest);
            Ok((fitting, true))
        }
        None => Ok((longest.min(DEFAULT_SEQUENCE), false)),
    }
}

/// Returns the dataset of the niche, prepared into `niche_folder` if it is raw text, and the dataset of the retained
/// domains, both in the model's tokens.
fn datasets(
    config: &FinetuneConfig,
    niche_folder: &Path,
    reader: TokenReader,
    model: &ModelConfig,
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
            let made_for = (reader.tokenizer, model);
            prepare_niche(config, niche_folder, patterns, made_for, progress)?
        }
    };
    reader.check(&dataset)?;
    Ok((dataset, retained))
}

/// Returns the data of a control run, in place of the niche.
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
