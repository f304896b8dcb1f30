//! Text generation with a key/value cache and sampling by temperature, top-k and top-p.

use std::sync::Arc;

use candle_core::Tensor;
use polymath_ops::Segments;

use crate::batch::Prepared;
use crate::initialize::mix;
use crate::network::{Cache, empty_cache};
use crate::{ModelError, Transformer};

/// Settings for sampling the next token.
#[derive(Debug, Clone, Copy)]
pub struct SamplingConfig {
    /// Temperature: 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f64,
    /// Samples only from the `k` most likely tokens; `None`: all.
    pub top_k: Option<usize>,
    /// Samples only from the most likely tokens that make up this share of the probability ([nucleus
    /// sampling](https://arxiv.org/abs/1904.09751), Holtzman 2020); 1: all.
    pub top_p: f64,
    /// Seed; the same seed gives the same text.
    pub seed: u64,
}

/// Iterator over generated tokens. It ends at an end-of-text token or when the context is full.
///
/// ```no_run
/// use candle_core::Device;
/// use polymath_model::*;
///
/// let ops = Ops::fused(Precision::F32);
/// let options = LoadOptions::frozen(&Device::Cpu, ops);
/// let model = load("checkpoints/small/best".as_ref(), &options)?;
/// let sampling = SamplingConfig { temperature: 0.8, top_k: None, top_p: 0.95, seed: 1 };
/// let prompt = [model.config().bos_token_id];
/// for token in Generation::new(&model, &prompt, sampling)?.take(100) {
///     println!("{}", token?);
/// }
/// # Ok::<(), ModelError>(())
/// ```
pub struct Generation<'a> {
    model: &'a Transformer,
    sampling: SamplingConfig,
    cache: Cache,
    pending: Vec<u32>,
    read: usize,
    drawn: u64,
    beginning: Option<RequiredText<'a>>,
}

/// Text that the generated tokens must begin with.
struct RequiredText<'a> {
    /// Bytes of the text that are still to be generated.
    left: Vec<u8>,
    /// Returns the bytes of a token.
    bytes: &'a dyn Fn(u32) -> &'a [u8],
}

impl RequiredText<'_> {
    /// Excludes tokens that do not continue the text; if none does, all stay.
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
    /// Continues `prompt`, which should begin with the model's begin token.
    ///
    /// # Errors
    /// Fails if the prompt is empty or fills the context, or if a sampling setting is out of range.
    pub fn new(
        model: &'a Transformer,
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
        if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
            return refuse(format!(
                "temperature {}: expected 0 or more",
                sampling.temperature
            ));
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return refuse(format!(
                "top-p {}: expected a share above 0, at most 1",
                sampling.top_p
            ));
        }
        if sampling.top_k == Some(0) {
            return refuse("top-k 0: expected at least 1".into());
        }
        Ok(Self {
            model,
            sampling,
            cache: empty_cache(model.config().num_hidden_layers),
            pending: prompt.to_vec(),
            read: 0,
            drawn: 0,
            beginning: None,
        })
    }

    /// Makes the generated text begin with `text`, whichever tokens it takes; `bytes` returns the bytes of a token. So
    /// the trailing spaces of a prompt become part of the next word's token, as in the texts that the model was trained
    /// on.
    #[must_use]
    pub fn beginning_with(mut self, text: &str, bytes: &'a dyn Fn(u32) -> &'a [u8]) -> Self {
        let left = text.as_bytes().to_vec();
        self.beginning = (!left.is_empty()).then_some(RequiredText { left, bytes });
        self
    }

    fn advance(&mut self) -> Result<u32, ModelError> {
        let new = self.pending.len();
        let prepared = Prepared {
            input_ids: Tensor::from_slice(&self.pending, (1, new), self.model.device())?,
            targets: Arc::from([]),
            positions: (self.read as u32..(self.read + new) as u32).collect(),
            segments: Segments::causal(1, new, self.read + new),
        };
        let logits = self.model.next_logits(&prepared, &mut self.cache)?;
        self.read += new;
        let uniform = (mix(self.sampling.seed.wrapping_add(mix(self.drawn))) >> 11) as f64
            / (1u64 << 53) as f64;
        self.drawn += 1;
        let mut logits = logits.to_vec1::<f32>()?;
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
        self.pending = vec![token];
        Ok(token)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<u32, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let config = self.model.config();
        let ended = |pending: &[u32]| matches!(pending, [token] if config.ends(*token));
        if (self.read > 0 && ended(&self.pending))
            || self.read + self.pending.len() > config.max_position_embeddings
        {
            return None;
        }
        match self.advance() {
            Ok(token) if config.ends(token) => None,
            other => Some(other),
        }
    }
}

/// Draws a token from the truncated distribution by `uniform` ∈ [0, 1), most likely first; equal logits are ordered by
/// id.
fn draw(logits: &[f32], sampling: &SamplingConfig, uniform: f64) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    // Rounding must not select an excluded token.
    if logits.iter().any(|logit| *logit > f32::NEG_INFINITY) {
        order.retain(|token| logits[*token as usize] != f32::NEG_INFINITY);
    }
    let by_logit = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    if sampling.temperature == 0.0 {
        return order.into_iter().min_by(by_logit).unwrap_or(0);
    }
    let keep = sampling.top_k.unwrap_or(order.len()).min(order.len());
    if keep < order.len() {
        order.select_nth_unstable_by(keep, by_logit);
        order.truncate(keep);
    }
    order.sort_unstable_by(by_logit);
    let highest = f64::from(logits[order[0] as usize]);
    let mut weights: Vec<f64> = order
        .iter()
        .map(|token| ((f64::from(logits[*token as usize]) - highest) / sampling.temperature).exp())
        .collect();
    let nucleus = sampling.top_p * weights.iter().sum::<f64>();
    let mut mass = 0.0;
    let kept = weights.iter().position(|weight| {
        mass += weight;
        mass >= nucleus
    });
    weights.truncate(kept.map_or(weights.len(), |last| last + 1));
    let mut remaining = uniform * weights.iter().sum::<f64>();
    for (token, weight) in order.iter().zip(&weights) {
        remaining -= weight;
        if remaining < 0.0 {
            return *token;
        }
    }
    order[weights.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_k: Option<usize>, top_p: f64) -> SamplingConfig {
        SamplingConfig {
            temperature,
            top_k,
            top_p,
            seed: 0,
        }
    }

    #[test]
    fn truncation_keeps_only_the_likeliest() {
        let logits = [0.0f32, 2.0, 1.0, -1.0];
        for step in 0..100 {
            let uniform = f64::from(step) / 100.0;
            assert_eq!(draw(&logits, &sampling(0.0, None, 1.0), uniform), 1);
            assert_eq!(draw(&logits, &sampling(1.0, Some(1), 1.0), uniform), 1);
            assert_eq!(draw(&logits, &sampling(1.0, None, 0.1), uniform), 1);
            assert!([1, 2].contains(&draw(&logits, &sampling(1.0, Some(2), 1.0), uniform)));
        }
    }

    /// Checks that a required text restricts the draw to tokens that continue it, wholly or in part.
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
            let drawn = draw(&logits, &sampling(1.0, None, 1.0), f64::from(step) / 100.0);
            assert_ne!(drawn, 1);
        }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        // p = softmax(ln 1, ln 3): 1/4 and 3/4.
        let logits = [0.0f32, 3f32.ln()];
        let ones = (0..1000)
            .filter(|step| {
                draw(
                    &logits,
                    &sampling(1.0, None, 1.0),
                    f64::from(*step) / 1000.0,
                ) == 1
            })
            .count();
        assert!((749..=751).contains(&ones), "{ones}");
    }
}
