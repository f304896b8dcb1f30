//! What is checked and opened before a run: the config, the base, the data.

use std::path::Path;
use std::sync::Arc;

use candle_core::utils::cuda_is_available;
use polymath_data::{Dataset, Progress, Split, TokenShard, fitting_length};
use polymath_model::{HEAD, ModelConfig, available_memory};

use crate::base::PinnedBase;
use crate::config::Niche;
use crate::niche::{Reader, choose_niche, niche_folder, prepare_niche};
use crate::retention::{Old, limits, old_domains};
use crate::vocabulary::Extension;
use crate::{FinetuneConfig, FinetuneError, Finetuning, Moving, choose_adapter, select};

/// Tokens of a row of text without prompts: a base may have a context far beyond what a CPU trains on.
const DEFAULT_SEQUENCE: usize = 256;

/// What a run is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Train,
    /// Nothing is written but into a temporary folder.
    Inspect,
}

impl Finetuning {
    /// Checks the config, and opens the base and the data; raw text is prepared with the base's tokenizer.
    ///
    /// # Errors
    /// Whatever would stop the run later and can be known now.
    pub fn open(config: FinetuneConfig, progress: &dyn Progress) -> Result<Self, FinetuneError> {
        Self::open_for(Purpose::Train, config, progress)
    }

    /// Checks and opens the same without writing anything: raw text is prepared in a temporary folder. What is opened so says
    /// what a run would take, and can't be run.
    ///
    /// # Errors
    /// As [`Self::open`].
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
        let mut moving = select(config.method, config.frozen.as_ref(), &names)?;
        let extension = Extension::open(&config, &base, (&names, &moving))?;
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
            moving.extend(own.map(|(name, _)| name));
        }
        // A tied head that is chosen alone gets weights of its own, and leaves the embedding where it is.
        if moving.contains(HEAD) {
            model.tie_word_embeddings = false;
        }
        let reader = Reader {
            tokenizer: &tokenizer,
            base_tokenizer: &base_tokenizer,
            ends: (model.bos_token_id, model.eos_token_id),
        };
        let moved = Moving {
            names: &moving,
            adapter: adapter.as_ref(),
        };
        // Text is only prepared for what can run; of a GPU's memory nothing is known here.
        if matches!(config.niche()?, Niche::Texts(_)) && !cuda_is_available() {
            // Rows that are fitted to examples are not known yet; most are no longer than those of plain text.
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
        // What ends the assistant's turns in the data is learned as the end of a text.
        model.add_ends(&dataset.turn_ends(&niche)?);
        let data = NicheData::open(reader, &dataset, &niche, retained.as_ref())?;
        let (sequence_length, fitted) = sequence_length(&config, &model, &data.train)?;
        config.training.validate_length(sequence_length)?;
        if fitted {
            config.training.sequence_length = Some(sequence_length);
        }
        let mut old = config.retention.check(
            (retained.as_ref(), &niche),
            &moving,
            (&names, model.vocab_size),
        )?;
        if config.control {
            old = controlled(&config, retained.as_ref(), &niche)?;
        }
        let mut finetuning = Self {
            old,
            config,
            base,
            extension,
            model,
            moving,
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

/// What a run reads of the niche and the watched domains, open from the start: the data sets may be replaced or removed
/// while it runs.
pub(crate) struct NicheData {
    /// Of the niche's data, in the tokens that are trained on.
    pub fingerprint: String,
    /// The niche's training text.
    pub train: Arc<TokenShard>,
    /// Held-out text, the niche's first.
    pub watched: Vec<(String, Arc<TokenShard>)>,
    /// The same as the base reads it.
    pub watched_by_base: Vec<(String, Arc<TokenShard>)>,
}

impl NicheData {
    fn open(
        reader: Reader,
        dataset: &Dataset,
        niche: &str,
        retained: Option<&Dataset>,
    ) -> Result<Self, FinetuneError> {
        let watched = reader.watch((dataset, niche), retained)?;
        let base = Reader {
            tokenizer: reader.base_tokenizer,
            ..reader
        };
        Ok(Self {
            fingerprint: reader.fingerprint(dataset)?,
            train: reader.read(dataset)?.shard(niche, Split::Train)?,
            watched_by_base: match reader.tokenizer == reader.base_tokenizer {
                true => watched.clone(),
                false => base.watch((dataset, niche), retained)?,
            },
            watched,
        })
    }
}

/// Tokens of a row, which the base must have room for, and whether they were chosen so that the niche's examples fit.
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

/// The data set of the niche, made in `niche_folder` if it is raw text, and that of the old domains, both of the model's
/// tokenizer.
fn datasets(
    config: &FinetuneConfig,
    niche_folder: &Path,
    reader: Reader,
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

/// What a control run trains on, in place of the niche.
fn controlled(
    config: &FinetuneConfig,
    retained: Option<&Dataset>,
    niche: &str,
) -> Result<Vec<Old>, FinetuneError> {
    if !config.retention.is_empty() {
        return Err(FinetuneError::Config(
            "`control` trains on what would be retained: leave `[retention]` out".into(),
        ));
    }
    old_domains("control", retained, niche)
}
