//! Generation of answers to prompts, with a cache of the tokens that the model has read.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use polymath_model::{Generation, SamplingConfig, StopReason, TokenCache};
use polymath_tokenizer::TextStream;

use crate::model::Encoded;
use crate::stop::StopFilter;
use crate::{ChatError, ChatMessage, ChatModel};

/// Callback that receives each piece of an answer as it is generated. Returning a break ends the answer.
pub type Sink<'s> = &'s mut dyn FnMut(&str) -> ControlFlow<()>;

/// Prompt that a model answers or continues.
#[derive(Debug, Clone, Copy)]
pub enum Prompt<'p> {
    /// Text to continue, without a template.
    Text(&'p str),
    /// Conversation to answer, formatted by the chat template.
    Messages(&'p [ChatMessage]),
}

/// Settings with which a prompt is answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// Sampling settings, such as the temperature.
    pub sampling: SamplingConfig,
    /// Maximum length of the answer in tokens; `None` means until the context is full.
    pub max_tokens: Option<usize>,
    /// Texts at which the answer ends. They are not part of the answer.
    pub stop: Vec<String>,
}

impl Request {
    /// Makes settings without a maximum length and without stop texts.
    pub fn new(sampling: SamplingConfig) -> Self {
        Self {
            sampling,
            max_tokens: None,
            stop: Vec::new(),
        }
    }
}

/// Reason why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The model generated this end token, given by its ID.
    EndToken(u32),
    /// The answer reached this stop text.
    Stop(String),
    /// The answer reached the maximum number of tokens.
    MaxTokens,
    /// Prompt and answer have filled the model's context.
    ContextFull,
    /// The callback that receives the text returned a break.
    Interrupted,
}

/// Generated answer, with the reason why it ended, token counts and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Generated text, without the stop text.
    pub text: String,
    /// Reason why the answer ended.
    pub end: End,
    /// Number of tokens in the prompt.
    pub prompt_tokens: usize,
    /// Number of prompt tokens whose keys and values were in the cache already.
    pub reused_tokens: usize,
    /// Number of generated tokens, without the end token.
    pub tokens: usize,
    /// Time until the first generated token, that is, for reading the prompt.
    pub reading: Duration,
    /// Time from the first generated token to the last.
    pub writing: Duration,
}

impl Answer {
    /// Returns the rate of generation after the first token, in tokens per second, or `None` for fewer than two
    /// tokens.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.writing.as_secs_f64();
        (self.tokens > 1 && seconds > 0.0).then(|| (self.tokens - 1) as f64 / seconds)
    }
}

/// Answers prompts with one model. Tokens that a prompt shares with the beginning of the last prompt and its answer
/// are not computed again.
pub struct Engine<'m> {
    model: &'m ChatModel,
    cache: Option<TokenCache>,
}

impl<'m> Engine<'m> {
    /// Makes an engine with an empty key/value cache.
    pub fn new(model: &'m ChatModel) -> Self {
        Self { model, cache: None }
    }

    /// Returns the model of the engine.
    pub fn model(&self) -> &'m ChatModel {
        self.model
    }

    /// Empties the key/value cache.
    pub fn reset(&mut self) {
        self.cache = None;
    }

    /// Answers a prompt. Passes each piece of the answer to `sink` as soon as its UTF-8 characters are complete.
    ///
    /// # Errors
    /// Fails if the prompt can't be encoded or fills the context, or a setting is out of range.
    pub fn answer(
        &mut self,
        prompt: Prompt,
        request: &Request,
        sink: Sink,
    ) -> Result<Answer, ChatError> {
        if request.stop.iter().any(String::is_empty) {
            return Err(ChatError::Setting(
                "an empty stop text: expected at least one character".into(),
            ));
        }
        let encoded = self.encode(prompt)?;
        let context = self.model.context();
        if encoded.tokens.len() >= context {
            return Err(ChatError::ContextFull {
                tokens: encoded.tokens.len(),
                context,
            });
        }
        let begin = Instant::now();
        let model = self.model;
        let cache = self.cache.take();
        let cache = cache.unwrap_or_else(|| TokenCache::empty(&model.model));
        let bytes = |token| model.token_bytes.bytes(token);
        let mut generation =
            Generation::continuing(&model.model, cache, &encoded.tokens, request.sampling)?
                .beginning_with(&encoded.spaces, &bytes);
        let mut stop = request.stop.clone();
        let (mut separator, mut spaces) = ("", 0);
        if matches!(prompt, Prompt::Messages(_)) {
            generation = generation.ending_at(&model.turn_ends);
            stop.extend(model.turn_separator.clone());
            separator = model.turn_separator.as_deref().unwrap_or("");
            spaces = encoded.spaces.len();
        }
        let mut writer = Writer {
            stream: TextStream::new(&model.tokenizer),
            filter: StopFilter::new(&stop),
            separator,
            spaces,
            sink,
            text: String::new(),
        };
        if let Prompt::Text(_) = prompt {
            // A decoder treats the first token of a text differently, so the prompt is decoded before the
            // continuation.
            for token in &encoded.tokens {
                writer.stream.push(*token);
            }
        }
        let mut answer = Answer {
            text: String::new(),
            end: End::MaxTokens,
            prompt_tokens: encoded.tokens.len(),
            reused_tokens: generation.reused(),
            tokens: 0,
            reading: Duration::ZERO,
            writing: Duration::ZERO,
        };
        answer.end = write_tokens(&mut generation, request, &mut writer, &mut answer)?;
        answer.writing = begin.elapsed().saturating_sub(answer.reading);
        self.cache = Some(generation.into_cache());
        answer.end = writer.finish(answer.end, answer.tokens > 0);
        answer.text = writer.text;
        Ok(answer)
    }

    fn encode(&self, prompt: Prompt) -> Result<Encoded, ChatError> {
        match prompt {
            Prompt::Text(text) => {
                let (given, spaces) = self.model.split_spaces(text);
                Ok(Encoded {
                    tokens: self.model.encode_text(given)?,
                    spaces: spaces.to_owned(),
                })
            }
            Prompt::Messages(messages) => self.model.encode_messages(messages),
        }
    }
}

/// Generates tokens and passes their text on. Returns the reason why the answer ended.
fn write_tokens(
    generation: &mut Generation,
    request: &Request,
    writer: &mut Writer,
    answer: &mut Answer,
) -> Result<End, ChatError> {
    let begin = Instant::now();
    while request.max_tokens.is_none_or(|most| answer.tokens < most) {
        let next = generation.next();
        if answer.tokens == 0 {
            answer.reading = begin.elapsed();
        }
        let Some(token) = next else {
            return Ok(match generation.ending() {
                Some(StopReason::EndToken(token)) => End::EndToken(token),
                _ => End::ContextFull,
            });
        };
        answer.tokens += 1;
        if let Some(end) = writer.push(token?) {
            return Ok(end);
        }
    }
    Ok(End::MaxTokens)
}

/// Output of an answer: decodes generated tokens, looks for stop texts, and passes the text to the callback.
struct Writer<'w, 's> {
    stream: TextStream<'w>,
    filter: StopFilter<'w>,
    /// Text between turns. Its beginning at the end of an answer is not part of the answer.
    separator: &'w str,
    /// Number of spaces of the prompt that are still to be removed from the beginning of the answer.
    spaces: usize,
    sink: Sink<'s>,
    text: String,
}

impl Writer<'_, '_> {
    /// Takes the next generated token. Returns the reason why the answer ends, if it ends with this token.
    fn push(&mut self, token: u32) -> Option<End> {
        let piece = self.stream.push(token);
        let passed = self.filter.push(&piece);
        let sent = self.send(&passed.text);
        match passed.stop {
            Some(stop) => Some(End::Stop(stop)),
            None => sent.is_break().then_some(End::Interrupted),
        }
    }

    /// Passes on the held-back text, up to a stop text if it contains one. Returns the reason why the answer ended.
    fn finish(&mut self, end: End, has_tokens: bool) -> End {
        if !has_tokens || matches!(end, End::Stop(_) | End::Interrupted) {
            return end;
        }
        let passed = self.filter.push(&self.stream.rest());
        // The answer is over, so a break of the receiver has no effect.
        let mut text = passed.text;
        if let Some(stop) = passed.stop {
            let _ = self.send(&text);
            return End::Stop(stop);
        }
        let held = self.filter.take();
        let ends_turn = matches!(end, End::EndToken(_)) && self.separator.starts_with(&held);
        if !ends_turn {
            text += &held;
        }
        let _ = self.send(&text);
        end
    }

    fn send(&mut self, text: &str) -> ControlFlow<()> {
        let blank = text.len() - text.trim_start_matches(' ').len();
        let removed = blank.min(self.spaces);
        self.spaces = match removed == text.len() {
            true => self.spaces - removed,
            false => 0,
        };
        let text = &text[removed..];
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(text);
        (self.sink)(text)
    }
}
