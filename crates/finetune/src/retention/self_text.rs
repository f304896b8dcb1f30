//! Use of text that the base generates in a fine-tuning: the settings of the text, the folder that keeps it, and its
//! role as a retained domain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{ChatMessage, Dataset, NamedShard, PromptTemplate, Split};
use polymath_model::{ConversationFrame, DocumentSampler, LoadOptions, TokenizerFiles};
use polymath_train::Training;

use super::replay::check_generated;
use super::self_replay::{DOMAIN, FEWEST_DOCUMENTS, HeldOutPart};
use super::{ReplayConfig, ReplaySource, RetentionConfig, SelfReplay, StartContext};
use crate::{FinetuneError, Finetuning};

/// Minimum and maximum of the default number of tokens to generate. The default is the minimum times a power of two, so
/// that runs of about the same length can share the text.
const TOKENS: (u64, u64) = (6_250, 200_000);
/// Default number of tokens to generate if the text is only scored to measure forgetting, and not replayed.
const MEASURED_TOKENS: u64 = 50_000;
/// Maximum length in tokens of a generated document that is only scored to measure forgetting.
const MEASURED_LENGTH: usize = 256;
/// Placeholder for a question, used to find out what a chat template writes before and after it.
const QUESTION: &str = "POLYMATHQUESTION";

/// Returns the default number of tokens that the base generates: as many as the run replays, within bounds.
pub(crate) fn default_tokens(
    training: &Training,
    total_steps: u64,
    replay: &ReplayConfig,
    holds_out: bool,
) -> u64 {
    let rows = match replay.beside {
        true => replay.share / (1.0 - replay.share),
        false => replay.share,
    } * training.batch_size as f64;
    let length = training.sequence_length as u64;
    let replayed = (rows * total_steps as f64) as u64 * length;
    let fewest = match holds_out {
        true => FEWEST_DOCUMENTS as u64 * length,
        false => 0,
    };
    let mut tokens = TOKENS.0;
    while tokens < replayed.max(fewest) && tokens < TOKENS.1 {
        tokens *= 2;
    }
    tokens.min(TOKENS.1)
}

impl SelfReplay {
    /// Returns the settings of generated text on which the forgetting of models tuned from `base` is measured. All of
    /// its documents are held out.
    ///
    /// # Errors
    /// Fails if `tokens` is 0 or over ten million, or if the base's files can't be read.
    pub fn to_measure(
        base: &Path,
        tokens: u64,
        seed: u64,
        output: PathBuf,
    ) -> Result<Self, FinetuneError> {
        check_generated("tokens to generate", tokens)?;
        let tokenizer = polymath_model::tokenizer_in(base)?;
        let context = polymath_model::load_config(base)?.max_position_embeddings;
        let files = TokenizerFiles::read(&tokenizer)?;
        Ok(Self {
            output,
            tokenizer: files.get("tokenizer.json").unwrap_or_default().to_vec(),
            base_sha256: polymath_model::sha256_of_weights(base)?,
            tokens,
            composition: DocumentSampler {
                temperature: 1.0,
                max_tokens: context.min(MEASURED_LENGTH),
                seed,
            },
            frame: conversation_frame(base)?,
            held_out: HeldOutPart::All,
        })
    }
}

impl RetentionConfig {
    /// Fills in the default number of tokens that the base generates, if the config has text generated.
    pub(crate) fn fill_in_tokens(&mut self, training: &Training, total_steps: u64) {
        let holds_out = self.limits.is_some();
        let generated = self
            .replay
            .as_mut()
            .filter(|replay| replay.source == ReplaySource::Generated);
        if let Some(replay) = generated
            && replay.tokens.is_none()
        {
            let tokens = default_tokens(training, total_steps, replay, holds_out);
            replay.tokens = Some(tokens);
        }
    }
}

impl Finetuning {
    /// Returns true if the run's forgetting limits apply to text that the base generates, because no dataset of
    /// retained domains is given.
    pub fn is_limited_on_generated_text(&self) -> bool {
        self.is_limited() && self.retained.is_none()
    }

    /// Returns the number of tokens that the base must generate before the first step; 0 if the text already exists.
    pub(crate) fn tokens_to_generate(&self) -> u64 {
        let replays = self.config.retention.replays(ReplaySource::Generated);
        if !replays && !self.is_limited_on_generated_text() {
            return 0;
        }
        let Ok(text) = self.self_replay() else {
            return 0;
        };
        let mut places = self.places(&text).into_iter();
        match places.any(|place| text.clone().at(place).exists()) {
            true => 0,
            false => text.tokens,
        }
    }

    /// Returns the folder of the dataset with the text that the base generated for this run's limits; `None` if the
    /// limits apply to other text, or it has not been generated.
    ///
    /// # Errors
    /// Fails if the base's files can't be read.
    pub fn limited_text(&self) -> Result<Option<PathBuf>, FinetuneError> {
        if !self.is_limited_on_generated_text() {
            return Ok(None);
        }
        let text = self.self_replay()?;
        let mut places = self.places(&text).into_iter();
        Ok(places.find(|place| text.clone().at(place.clone()).exists()))
    }

    /// Returns a sentence for the user about text that the base will generate before the first step, or `None` if it
    /// generates none.
    pub fn generation(&self) -> Option<String> {
        let tokens = self.tokens_to_generate();
        let purpose = match self.is_limited_on_generated_text() {
            true => "on which the limits hold, since `retain` names no text",
            false => "which is replayed",
        };
        (tokens > 0).then(|| format!("text: the base generates {tokens} tokens first, {purpose}"))
    }

    /// Returns this run with the text that its base generates as a retained domain. Fails with
    /// [`FinetuneError::Stopped`] if the run is stopped while the text is generated.
    pub(crate) fn with_generated_text(
        &self,
        context: &mut StartContext,
    ) -> Result<Self, FinetuneError> {
        let dataset = self.generated_text(context)?;
        let mut tuning = self.clone();
        // The base's token IDs come first among those of a model with new tokens.
        let heldout = dataset.shard(DOMAIN, Split::Heldout)?;
        let heldout = NamedShard {
            name: DOMAIN.into(),
            shard: heldout,
        };
        tuning.data.watched.push(heldout.clone());
        tuning.data.watched_by_base.push(heldout);
        tuning.generated = Some(Arc::new(dataset));
        Ok(tuning)
    }

    /// Returns the dataset of text that the base generates. Generates the text unless the dataset already exists.
    pub(super) fn generated_text(
        &self,
        context: &mut StartContext,
    ) -> Result<Dataset, FinetuneError> {
        if let Some(dataset) = &self.generated {
            return Ok(Dataset::clone(dataset));
        }
        let text = self.self_replay()?;
        let places = self.places(&text);
        let found = places
            .iter()
            .find(|place| text.clone().at((*place).clone()).exists());
        let place = found
            .or_else(|| places.iter().find(|place| can_write_beside(place)))
            .unwrap_or(&places[places.len() - 1]);
        let text = text.at(place.clone());
        let options = LoadOptions::frozen(&context.launch.device, context.ops);
        let base = self.load_base(&options)?;
        text.prepare(&base, &context.launch.stop, context.observer)
    }

    /// Returns the settings of the text that the base generates for this run, to be stored beside the run's folder.
    pub(super) fn self_replay(&self) -> Result<SelfReplay, FinetuneError> {
        let replay = self.config.retention.replay.as_ref();
        let replay = replay.filter(|replay| replay.source == ReplaySource::Generated);
        let holds_out = self.is_limited_on_generated_text();
        let mut output = self.config.run.clone().into_os_string();
        output.push(".replay");
        let tokenizer = self.base.tokenizer.get("tokenizer.json");
        let text = SelfReplay {
            output: output.into(),
            tokenizer: tokenizer.unwrap_or_default().to_vec(),
            base_sha256: self.base.sha256.clone(),
            tokens: replay.map_or(MEASURED_TOKENS, ReplayConfig::tokens),
            composition: DocumentSampler {
                temperature: replay.map_or(1.0, |replay| replay.temperature),
                max_tokens: self.sequence_length,
                seed: self.config.seed,
            },
            frame: None,
            held_out: match holds_out {
                true => HeldOutPart::Quarter,
                false => HeldOutPart::None,
            },
        };
        // A run of an earlier version keeps its text, which has no conversations.
        match !holds_out && text.exists() {
            true => Ok(text),
            false => Ok(SelfReplay {
                frame: conversation_frame(&self.base.folder)?,
                ..text
            }),
        }
    }

    /// Returns the folders in which the generated text may be stored, the preferred one first: beside the base, if the
    /// base is a checkpoint in a run folder of the same owner as this run, so that other runs can share the text; then
    /// beside this run.
    fn places(&self, text: &SelfReplay) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Some(run) = self.base.folder.parent()
            && run.join("run.toml").is_file()
            && has_same_owner(run, &self.config.run)
        {
            let DocumentSampler {
                temperature, seed, ..
            } = text.composition;
            let name = format!(
                "seed-{seed}-temperature-{temperature}-{}",
                &text.source()[..16]
            );
            places.push(run.join("self-replay").join(name));
        }
        places.push(text.output.clone());
        places
    }
}

/// Returns the tokens that a base's chat template writes before and after question and answer. Returns `None` if the
/// base has no chat template, or if the template refuses a question without an answer.
fn conversation_frame(base: &Path) -> Result<Option<ConversationFrame>, FinetuneError> {
    let path = polymath_model::tokenizer_in(base)?;
    let tokenizer = polymath_tokenizer::open(&path).map_err(polymath_data::DataError::from)?;
    let config = polymath_model::load_config(base)?;
    let Some(template) = PromptTemplate::open(&path, &tokenizer, config.document_ends())? else {
        return Ok(None);
    };
    let rendered = template.prompt(&[ChatMessage::new("user", QUESTION)]);
    let Some((before, after)) = rendered
        .as_ref()
        .ok()
        .and_then(|text| text.rsplit_once(QUESTION))
    else {
        tracing::warn!("the chat template takes no question alone: the base generates documents");
        return Ok(None);
    };
    let encode = |text: &str| {
        let encoding = tokenizer.encode_fast(text, false);
        let encoding =
            encoding.map_err(|error| polymath_data::DataError::Tokenizer(error.to_string()))?;
        Ok::<_, FinetuneError>(encoding.get_ids().to_vec())
    };
    let mut before_question = encode(before)?;
    if before_question.first() == Some(&config.bos_token_id) {
        before_question.remove(0);
    }
    let before_answer = encode(after)?;
    let turn_end = template.turn_end();
    let turn_end = turn_end.and_then(|token| tokenizer.token_to_id(&token));
    Ok(Some(ConversationFrame {
        ends: turn_end
            .or(before_answer.first().copied())
            .into_iter()
            .collect(),
        before_question,
        before_answer,
    }))
}

/// Returns true if the folder that will contain `place` exists or can be created, and can be written.
fn can_write_beside(place: &Path) -> bool {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).is_ok() && tempfile::tempfile_in(folder).is_ok()
}

/// Returns true if two folders have the same owner. The second one may not exist yet.
#[cfg(unix)]
fn has_same_owner(folder: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = |path: &Path| path.metadata().ok().map(|found| found.uid());
    let existing = other
        .ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        });
    let other = existing.into_iter().find_map(owner);
    other.is_none() || owner(folder) == other
}

#[cfg(not(unix))]
fn has_same_owner(_: &Path, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests;
