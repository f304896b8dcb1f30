//! Model together with its tokenizer, chat template and sampling settings, as a conversation needs them.

use polymath_data::{PromptTemplate, TokenBytes};
use polymath_model::{LoadOptions, ModelSource, SamplingConfig, Transformer};
use polymath_tokenizer::TokenizerSettings;
use tokenizers::Tokenizer;

use crate::defaults::unread_settings;
use crate::{ChatError, ChatMessage, default_sampling};

const GENERATION_CONFIG: &str = "generation_config.json";

/// Model with its tokenizer, its chat template and its sampling settings.
pub struct ChatModel {
    pub(crate) name: String,
    pub(crate) model: Transformer,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) token_bytes: TokenBytes,
    template: Option<PromptTemplate>,
    /// IDs of the tokens that end a turn of the chat template, and thereby an answer, in addition to the model's end
    /// tokens.
    pub(crate) turn_ends: Vec<u32>,
    /// Text between an answer and the next message of the user, if the chat template ends turns with text and not with
    /// a token. It ends an answer, too.
    pub(crate) turn_separator: Option<String>,
    /// True if a formatted conversation begins with the begin token; false if the tokenizer's settings say otherwise.
    begins: bool,
    sampling: SamplingConfig,
    /// Settings of the `generation_config.json` that are not read, as `key` = value.
    unread: Vec<String>,
}

impl ChatModel {
    /// Opens a checkpoint folder, or an adapter's folder together with its base: the given base, or else the one that
    /// the adapter's config names.
    ///
    /// # Errors
    /// Fails if the model, the tokenizer, the chat template or the `generation_config.json` can't be read.
    pub fn open(source: ModelSource, options: &LoadOptions) -> Result<Self, ChatError> {
        let model = source.load(options)?;
        let path = source.tokenizer()?;
        let tokenizer = polymath_tokenizer::open(&path)?;
        let config = model.config();
        let template = PromptTemplate::open(&path, &tokenizer, config.document_ends())?;
        let settings = TokenizerSettings::beside(&path)?;
        let named = settings.names.get("eos_token");
        let turn_end = template.as_ref().and_then(PromptTemplate::turn_end);
        let turn_ends = [named.map(|named| named.token.clone()), turn_end];
        let turn_ends = turn_ends.into_iter().flatten();
        let turn_ends = turn_ends.filter_map(|token| tokenizer.token_to_id(&token));
        let own = source.folder.join(GENERATION_CONFIG);
        let settings_file = match own.is_file() {
            true => own,
            false => path.with_file_name(GENERATION_CONFIG),
        };
        Ok(Self {
            name: source.folder.display().to_string(),
            token_bytes: TokenBytes::of(&tokenizer),
            turn_ends: turn_ends.collect(),
            turn_separator: template.as_ref().and_then(PromptTemplate::turn_separator),
            // If the tokenizer's settings say that there is no begin token, the model's training texts began without
            // one.
            begins: !settings.nulls.contains(&"bos_token"),
            sampling: default_sampling(&settings_file)?,
            unread: unread_settings(&settings_file)?,
            model,
            tokenizer,
            template,
        })
    }

    /// Returns the path of the folder as it was given to [`Self::open`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if the model has a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Returns the maximum number of tokens that the model can read.
    pub fn context(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// Returns the sampling settings of the model's `generation_config.json`, or a fallback.
    pub fn default_sampling(&self) -> SamplingConfig {
        self.sampling
    }

    /// Returns the settings of the model's `generation_config.json` that would change an answer in `transformers` and
    /// are not read here, as `key` = value.
    pub fn unread_settings(&self) -> &[String] {
        &self.unread
    }

    /// Returns the text of a token, for messages.
    pub fn token_name(&self, token: u32) -> String {
        let name = self.tokenizer.id_to_token(token);
        name.unwrap_or_else(|| token.to_string())
    }

    /// Formats messages by the chat template, up to the point at which the answer begins.
    ///
    /// # Errors
    /// Fails if there is no template or it rejects the messages.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, ChatError> {
        let Some(template) = &self.template else {
            return Err(ChatError::NoTemplate(self.name.clone()));
        };
        template.prompt(messages).map_err(ChatError::Refused)
    }

    /// Formats messages by the chat template and encodes them. Adds the begin token, as in training, unless the
    /// tokenizer's settings say that there is none. If turns end with text, spaces before the answer are split off, as
    /// [`Self::split_spaces`] does.
    pub(crate) fn encode_messages(&self, messages: &[ChatMessage]) -> Result<Encoded, ChatError> {
        let rendered = self.render(messages)?;
        let (text, spaces) = match self.turn_separator {
            Some(_) => self.split_spaces(&rendered),
            None => (rendered.as_str(), ""),
        };
        let begin = self.model.config().bos_token_id;
        let mut tokens = polymath_tokenizer::encode_prompt(&self.tokenizer, text, begin)?;
        if !self.begins && tokens.len() > 1 && !text.starts_with(&self.token_name(begin)) {
            tokens.remove(0);
        }
        Ok(Encoded {
            tokens,
            spaces: spaces.to_owned(),
        })
    }

    /// Encodes a text to continue, preceded by the begin token.
    pub(crate) fn encode_text(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let begin = self.model.config().bos_token_id;
        let tokens = polymath_tokenizer::encode_prompt(&self.tokenizer, text, begin)?;
        Ok(tokens)
    }

    /// Splits a text to continue into the text without trailing spaces, and these spaces. In training text, a space
    /// belongs to the token of the next word, so the continuation must begin with it. If no token begins with a
    /// space, all of the text is returned first.
    pub(crate) fn split_spaces<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let given = text.trim_end_matches(' ');
        match self.token_bytes.some_begin_with(b" ") {
            true => text.split_at(given.len()),
            false => (text, ""),
        }
    }
}

/// Tokens of a prompt, and spaces at the prompt's end with which the answer must begin.
pub(crate) struct Encoded {
    pub(crate) tokens: Vec<u32>,
    pub(crate) spaces: String,
}
