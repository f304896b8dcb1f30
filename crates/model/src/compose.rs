//! Sampling of many independent documents at once from a model.

use std::collections::VecDeque;

use crate::initialize::mix;
use crate::kv_cache::{drop_ended, empty_cache};
use crate::network_input::NetworkInput;
use crate::{ModelError, Transformer};

/// Settings for sampling documents from a model's own distribution.
#[derive(Debug, Clone, Copy)]
pub struct DocumentSampler {
    /// Sampling temperature; 1 is the model's own distribution.
    pub temperature: f64,
    /// Maximum number of tokens of a document, which may also end earlier, at an end token.
    pub max_tokens: usize,
    /// Seed; the same seed gives the same documents.
    pub seed: u64,
}

/// Fixed tokens of a conversation of which the model writes both the question and the answer, as in Magpie ([Xu
/// 2024](https://arxiv.org/abs/2406.08464)).
#[derive(Debug, Clone)]
pub struct ConversationFrame {
    /// Tokens before the question, without the begin token.
    pub before_question: Vec<u32>,
    /// Tokens between question and answer: the end of the user's turn and the beginning of the assistant's.
    pub before_answer: Vec<u32>,
    /// Tokens that end a turn, in addition to the model's end tokens.
    pub ends: Vec<u32>,
}

/// Document that a model wrote, with statistics of its tokens.
#[derive(Debug, Clone, Default)]
pub struct SampledDocument {
    /// Tokens after the begin token, including the end token if the document ended.
    pub tokens: Vec<u32>,
    /// One element for each token: true if it was drawn, false if it belongs to the conversation's frame.
    pub drawn: Vec<bool>,
    /// Sum of −ln p over the drawn tokens, in nats, where p is the distribution at the sampling temperature.
    pub surprise: f64,
    /// Sum of the entropies of these distributions, in nats: the expected value of [`Self::surprise`].
    pub entropy: f64,
}

impl SampledDocument {
    /// Returns the tokens that were drawn.
    pub fn drawn_tokens(&self) -> Vec<u32> {
        let all = self.tokens.iter().zip(&self.drawn);
        all.filter(|(_, drawn)| **drawn)
            .map(|(token, _)| *token)
            .collect()
    }

    fn push(&mut self, token: u32, is_drawn: bool) {
        self.tokens.push(token);
        self.drawn.push(is_drawn);
    }
}

/// State of a document that is being sampled: one row of the batch.
struct Row {
    /// Index of the document among those that are sampled.
    document: usize,
    /// Token that the model reads next.
    pending: u32,
    /// Tokens of the conversation's frame that follow next and are not drawn.
    fixed: VecDeque<u32>,
    /// True while the model writes the question of a conversation.
    asks: bool,
    ended: bool,
}

impl Row {
    fn new(document: usize, begin: u32, frame: Option<&ConversationFrame>) -> Self {
        Self {
            document,
            pending: begin,
            fixed: frame.map_or_else(VecDeque::new, |frame| {
                frame.before_question.iter().copied().collect()
            }),
            asks: frame.is_some(),
            ended: false,
        }
    }
}

impl DocumentSampler {
    /// Samples the documents `first..first + count` in one batch. Returns their tokens after the begin token,
    /// including the end token if the document ended.
    ///
    /// # Errors
    /// Fails if the length exceeds the model's context or the temperature is not above 0.
    pub fn documents(
        &self,
        model: &Transformer,
        first: u64,
        count: usize,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let sampled = self.sample(model, None, first..first + count as u64)?;
        Ok(sampled
            .into_iter()
            .map(|document| document.tokens)
            .collect())
    }

    /// Samples the documents with these numbers in one batch: continuations of the begin token, or conversations in a
    /// `frame`, whose questions take at most half of a document.
    ///
    /// # Errors
    /// Fails if the length exceeds the model's context or the temperature is not above 0.
    pub fn sample(
        &self,
        model: &Transformer,
        frame: Option<&ConversationFrame>,
        numbers: std::ops::Range<u64>,
    ) -> Result<Vec<SampledDocument>, ModelError> {
        self.check(model)?;
        let config = model.config();
        let (first, count) = (numbers.start, (numbers.end - numbers.start) as usize);
        let mut documents = vec![SampledDocument::default(); count];
        let mut rows: Vec<Row> = (0..count)
            .map(|document| Row::new(document, config.bos_token_id, frame))
            .collect();
        let mut cache = empty_cache(config.num_hidden_layers);
        for position in 0..self.max_tokens {
            drop_ended(&mut rows, |row| row.ended, &mut cache, model.device())?;
            if rows.is_empty() {
                break;
            }
            let pending: Vec<u32> = rows.iter().map(|row| row.pending).collect();
            let input = NetworkInput::continuing(&pending, rows.len(), position)?;
            let logits = model.next_logits(&input, &mut cache)?.to_vec1::<f32>()?;
            for (row, logits) in rows.iter_mut().zip(logits.chunks(config.vocab_size)) {
                if row.ended {
                    continue;
                }
                let document = &mut documents[row.document];
                if let Some(token) = row.fixed.pop_front() {
                    row.pending = token;
                    document.push(token, false);
                    continue;
                }
                let uniform = self.uniform(first + row.document as u64, position as u64);
                let drawn = draw(logits, self.temperature, uniform);
                let ends = match frame {
                    Some(frame) => config.ends(drawn.token) || frame.ends.contains(&drawn.token),
                    None => drawn.token == config.eos_token_id,
                };
                let is_long = 2 * document.tokens.len() >= self.max_tokens;
                if let (true, Some(frame)) = (row.asks && (ends || is_long), frame) {
                    row.asks = false;
                    row.fixed = frame.before_answer.iter().copied().collect();
                    row.pending = row.fixed.pop_front().unwrap_or(drawn.token);
                    document.push(row.pending, false);
                    continue;
                }
                row.pending = drawn.token;
                row.ended = ends;
                document.push(drawn.token, true);
                document.surprise += drawn.surprise;
                document.entropy += drawn.entropy;
            }
        }
        Ok(documents)
    }

    fn check(&self, model: &Transformer) -> Result<(), ModelError> {
        let context = model.config().max_position_embeddings;
        if self.max_tokens > context {
            return Err(ModelError::Input(format!(
                "documents of {} tokens: the model's context is {context}",
                self.max_tokens
            )));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(ModelError::Input(format!(
                "temperature {}: expected a number above 0",
                self.temperature
            )));
        }
        Ok(())
    }

    /// Returns the uniform random number in [0, 1) for a position of a document. It does not depend on the other
    /// documents.
    fn uniform(&self, document: u64, position: u64) -> f64 {
        let stream = mix(self.seed ^ mix(document));
        (mix(stream.wrapping_add(mix(position))) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A drawn token, with statistics of the distribution that it was drawn from.
struct Drawn {
    token: u32,
    /// −ln p of the token, in nats.
    surprise: f64,
    /// Entropy of the distribution, in nats.
    entropy: f64,
}

/// Draws a token from softmax(logits / temperature) by `uniform` ∈ [0, 1), in the order of the token IDs.
fn draw(logits: &[f32], temperature: f64, uniform: f64) -> Drawn {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponent = |logit: &f32| f64::from(logit - highest) / temperature;
    let masses: Vec<f64> = logits.iter().map(|logit| exponent(logit).exp()).collect();
    let sum = masses.iter().sum::<f64>();
    let mut remaining = uniform * sum;
    let drawn = masses.iter().position(|mass| {
        remaining -= mass;
        remaining < 0.0
    });
    let token = drawn.unwrap_or(masses.len().saturating_sub(1));
    // H = ln Σe^x − Σ x·e^x / Σe^x; a mass of zero adds nothing.
    let weighted = logits.iter().zip(&masses).filter(|(_, mass)| **mass > 0.0);
    let mean = weighted
        .map(|(logit, mass)| exponent(logit) * mass)
        .sum::<f64>()
        / sum;
    Drawn {
        token: token as u32,
        surprise: sum.ln() - logits.get(token).map_or(0.0, exponent),
        entropy: sum.ln() - mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the frequencies of draws follow the softmax at the temperature.
    #[test]
    fn frequencies_follow_the_softmax() {
        // At temperature 2, e^(ln 9 / 2) = 3, so the probabilities are 1/4 and 3/4.
        let logits = [0.0f32, 9f32.ln()];
        let ones = (0..1000)
            .filter(|step| draw(&logits, 2.0, f64::from(*step) / 1000.0).token == 1)
            .count();
        assert!((749..=751).contains(&ones), "{ones}");
    }

    /// Checks −ln p of the drawn token and the entropy against their definitions.
    #[test]
    fn surprise_and_entropy_are_of_the_distribution() {
        let logits = [0.0f32, 9f32.ln()];
        let entropy = -(0.25 * 0.25f64.ln() + 0.75 * 0.75f64.ln());
        for (uniform, probability) in [(0.1, 0.25f64), (0.9, 0.75)] {
            let drawn = draw(&logits, 2.0, uniform);
            assert!((drawn.surprise + probability.ln()).abs() < 1e-6);
            assert!((drawn.entropy - entropy).abs() < 1e-6);
        }
    }
}
