//! What is checked and opened before a run: the config, the base, the data.

use polymath_data::{Dataset, Progress};
use polymath_train::resolve_checkpoint;

use crate::config::Niche;
use crate::niche::{Reader, choose_niche, prepare_niche};
use crate::vocabulary::Extension;
use crate::{
    FinetuneConfig, FinetuneError, Finetuning, HEAD, adapter, choose_adapter, retention, select,
};

/// Longest row that is chosen by itself: a base may have a context far beyond what a CPU trains on.
const LONGEST_DEFAULT_SEQUENCE: usize = 256;
/// Under limits, a run is evaluated at least so often.
const LOOKS: u64 = 20;

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
}
