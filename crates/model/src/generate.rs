//! Text generation with a key/value cache.

use crate::initialize::mix;
use crate::network_input::NetworkInput;
use crate::sampling::{draw, penalize};
use crate::{ModelError, SamplingConfig, TokenCache, Transformer};

/// Iterator over generated tokens. It ends at an end token or when the context is full; [`Self::ending`] returns the
/// reason.
///
/// ```no_run
/// use candle_core::Device;
/// use polymath_model::*;
///
/// let ops = Ops::fused(Precision::F32);
/// let options = LoadOptions::frozen(&Device::Cpu, ops);
/// let model = load("checkpoints/small/best".as_ref(), &options)?;
/// let sampling = SamplingConfig { temperature: 0.8, top_p: 0.95, ..SamplingConfig::default() };
/// let prompt = [model.config().bos_token_id];
/// for token in Generation::new(&model, &prompt, sampling)?.take(100) {
///     println!("{}", token?);
/// }
/// # Ok::<(), ModelError>(())
/// ```
pub struct Generation<'a> {
    model: &'a Transformer,
    sampling: SamplingConfig,
    cache: TokenCache,
    /// The prompt and the generated tokens.
    text: Vec<u32>,
    /// Number of the prompt's tokens that were already in the cache.
    reused: usize,
    drawn: u64,
    beginning: Option<RequiredText<'a>>,
    further_ends: Vec<u32>,
    ending: Option<StopReason>,
}

/// Reason why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model predicted this end token.
    EndToken(u32),
    /// The context is full.
    ContextFull,
}

/// Text that the generated tokens must begin with.
struct RequiredText<'a> {
    /// Remaining bytes of the required text.
    left: Vec<u8>,
    /// Function that returns the bytes of a token.
    bytes: &'a dyn Fn(u32) -> &'a [u8],
}

impl RequiredText<'_> {
    /// Excludes tokens that do not continue the text; if no token does, none is excluded.
    fn restrict(&self, logits: &mut [f32]) {
        let goes_on = |token: u32| {
            let bytes = (self.bytes)(token);
            !bytes.is_empty() && (bytes.starts_with(&self.left) || self.left.starts_with(bytes))
        };
        let tokens = 0..logits.len() as u32;
        let (fitting, others): (Vec<u32>, Vec<u32>) = tokens.partition(|token| goes_on(*token));
        if !fitting.is_empty() {
            for token in others {
                logits[token as usize] = f32::NEG_INFINITY;
            }
        }
    }
}

impl<'a> Generation<'a> {
    /// Creates a generation that continues `prompt`, which should begin with the model's begin token.
    ///
    /// # Errors
    /// Fails if the prompt is empty or fills the context, or if a sampling setting is out of range.
    pub fn new(
        model: &'a Transformer,
        prompt: &[u32],
        sampling: SamplingConfig,
    ) -> Result<Self, ModelError> {
        Self::continuing(model, TokenCache::empty(model), prompt, sampling)
    }

    /// Creates a generation like [`Self::new`], but reuses `cache`: only the tokens of `prompt` after its common
    /// beginning with the cached tokens are read. The cache must be of the same model.
    ///
    /// # Errors
    /// Fails as [`Self::new`] does.
    pub fn continuing(
        model: &'a Transformer,
        mut cache: TokenCache,
        prompt: &[u32],
        sampling: SamplingConfig,
    ) -> Result<Self, ModelError> {
        let (context, vocabulary) = (
            model.config().max_position_embeddings,
            model.config().vocab_size,
        );
        let refuse = |message: String| Err(ModelError::Input(message));
        if prompt.is_empty() {
            return refuse("the prompt has no tokens: give at least one".into());
        }
        if prompt.len() >= context {
            return refuse(format!(
                "the prompt has {} tokens: the model's context of {context} leaves no room for more",
                prompt.len()
            ));
        }
        if let Some(token) = prompt.iter().find(|token| **token as usize >= vocabulary) {
            return refuse(format!(
                "token {token} is outside the model's vocabulary of {vocabulary}"
            ));
        }
        sampling.validate()?;
        let reused = cache.keep_common(model, prompt)?;
        Ok(Self {
            model,
            sampling,
            cache,
            text: prompt.to_vec(),
            reused,
            drawn: 0,
            beginning: None,
            further_ends: Vec::new(),
            ending: None,
        })
    }

    /// Adds tokens that end the generated text.
    #[must_use]
    pub fn ending_at(mut self, tokens: &[u32]) -> Self {
        self.further_ends.extend_from_slice(tokens);
        self
    }

    /// Returns the reason why the generation ended; `None` if it has not ended.
    pub fn ending(&self) -> Option<StopReason> {
        self.ending
    }

    /// Returns the number of the prompt's tokens that were taken from the cache.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// Returns the cache, with all tokens that were read.
    pub fn into_cache(self) -> TokenCache {
        self.cache
    }

    /// Makes the generated text begin with `text`; `bytes` returns the bytes of a token. The tokens may differ from
    /// those that the tokenizer gives for `text`. For example, the spaces at the end of a prompt can become part of
    /// the next word's token, as in the training text.
    #[must_use]
    pub fn beginning_with(mut self, text: &str, bytes: &'a dyn Fn(u32) -> &'a [u8]) -> Self {
        let left = text.as_bytes().to_vec();
        self.beginning = (!left.is_empty()).then_some(RequiredText { left, bytes });
        self
    }

    /// Reads the tokens that are not in the cache and returns the logits of the next one.
    fn read(&mut self) -> Result<Vec<f32>, ModelError> {
        let read = self.cache.tokens().len();
        let pending = &self.text[read..];
        let input = NetworkInput::continuing(pending, 1, read)?;
        let logits = self
            .model
            .next_logits(&input, &mut self.cache.layers)
            .inspect_err(|_| self.cache = TokenCache::empty(self.model))?;
        self.cache.extend(pending);
        Ok(logits.to_vec1::<f32>()?)
    }

    fn advance(&mut self) -> Result<u32, ModelError> {
        let mut logits = self.read()?;
        let uniform = (mix(self.sampling.seed.wrapping_add(mix(self.drawn))) >> 11) as f64
            / (1u64 << 53) as f64;
        self.drawn += 1;
        if self.sampling.repetition_penalty != 1.0 {
            penalize(&mut logits, &self.text, self.sampling.repetition_penalty);
        }
        if let Some(beginning) = &self.beginning {
            beginning.restrict(&mut logits);
        }
        let token = draw(&logits, &self.sampling, uniform);
        if let Some(beginning) = &mut self.beginning {
            let said = (beginning.bytes)(token).len().min(beginning.left.len());
            beginning.left.drain(..said);
            if beginning.left.is_empty() || said == 0 {
                self.beginning = None;
            }
        }
        Ok(token)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<u32, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ending.is_some() {
            return None;
        }
        if self.text.len() > self.model.config().max_position_embeddings {
            self.ending = Some(StopReason::ContextFull);
            return None;
        }
        let token = match self.advance() {
            Ok(token) => token,
            Err(error) => return Some(Err(error)),
        };
        if self.model.config().ends(token) || self.further_ends.contains(&token) {
            self.ending = Some(StopReason::EndToken(token));
            return None;
        }
        self.text.push(token);
        Some(Ok(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a required text restricts the draw to tokens that continue it, completely or in part.
    #[test]
    fn a_required_text_restricts_the_draw() {
        const TOKENS: [&[u8]; 6] = [b"a", b" ", b"  b", b" b", b"", b"   "];
        let bytes = |token: u32| TOKENS[token as usize];
        let allowed = |left: &[u8]| {
            let mut logits = vec![0.0; TOKENS.len()];
            let beginning = RequiredText {
                left: left.to_vec(),
                bytes: &bytes,
            };
            beginning.restrict(&mut logits);
            let open = (0..).zip(logits).filter(|(_, logit)| *logit == 0.0);
            open.map(|(token, _)| token).collect::<Vec<u32>>()
        };
        assert_eq!(allowed(b" "), [1, 2, 3, 5]);
        assert_eq!(allowed(b"  "), [1, 2, 5]);
        assert_eq!(allowed(b"x"), [0, 1, 2, 3, 4, 5]);
        let logits = [1.0, f32::NEG_INFINITY, 0.0];
        for step in 0..=100 {
            let drawn = draw(&logits, &SamplingConfig::default(), f64::from(step) / 100.0);
            assert_ne!(drawn, 1);
        }
    }
}
