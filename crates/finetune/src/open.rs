//! What is checked and opened before a run: the config, the base, the data.

use candle_core::utils::cuda_is_available;
use polymath_data::{Dataset, Progress, Split, TokenShard, fitting_length};
use polymath_model::{ModelConfig, available_memory};
use polymath_train::resolve_checkpoint;

use crate::config::Niche;
use crate::niche::{Reader, choose_niche, prepare_niche};
use crate::retention::{Old, limits, old_domains};
use crate::vocabulary::Extension;
use crate::{
    FinetuneConfig, FinetuneError, Finetuning, HEAD, Moving, adapter, choose_adapter, select,
};

/// Tokens of a row of text without prompts: a base may have a context far beyond what a CPU trains on.
const DEFAULT_SEQUENCE: usize = 256;

impl Finetuning {
    /// Checks the config, and opens the base and the data; raw text is prepared with the base's tokenizer.
    ///
    /// # Errors
    /// Whatever would stop the run later and can be known now.
    pub fn open(
        mut config: FinetuneConfig,
        progress: &dyn Progress,
    ) -> Result<Self, FinetuneError> {
        limits::fill_in_method(&mut config.retention);
        config.training.validate()?;
        config.evaluation.validate()?;
        config.checkpoint.validate()?;
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
        let reader = Reader {
            tokenizer: &tokenizer,
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
            let plan = moved.plan(&model, &config.training, (length, 0.0));
            plan.check_memory(available_memory())?;
        }
        let (dataset, retained) = datasets(&config, reader, &model, progress)?;
        let niche = choose_niche(&config, &dataset)?;
        // What ends the assistant's turns in the data is learned as the end of a text.
        model.add_ends(&dataset.turn_ends(&niche)?);
        let watched = reader.watch((&dataset, &niche), retained.as_ref())?;
        let fingerprint = reader.fingerprint(&dataset)?;
        let train = reader.read(&dataset)?.shard(&niche, Split::Train)?;
        let (sequence_length, fitted) = sequence_length(&config, &model, &train)?;
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
            fingerprint,
            niche,
            watched,
            train,
            sequence_length,
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

/// The data set of the niche and that of the old domains, both of the model's tokenizer.
fn datasets(
    config: &FinetuneConfig,
    reader: Reader,
    model: &ModelConfig,
    progress: &dyn Progress,
) -> Result<(Dataset, Option<Dataset>), FinetuneError> {
    let source = config.niche()?;
    let Reader { tokenizer, ends } = reader;
    let retained = config.retain.as_deref().map(Dataset::open).transpose()?;
    if let Some(retained) = &retained {
        retained.check_fits(tokenizer, ends)?;
    }
    let dataset = match source {
        Niche::Dataset(path) => Dataset::open(path)?,
        Niche::Texts(patterns) => prepare_niche(config, patterns, (tokenizer, model), progress)?,
    };
    dataset.check_fits(tokenizer, ends)?;
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
