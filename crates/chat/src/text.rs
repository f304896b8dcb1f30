//! Scoring and continuation of plain text, without a conversation.

use std::ops::ControlFlow;

use polymath_model::Batch;

use crate::{ChatError, ChatModel, Engine, Prompt, Request};

/// Log-likelihood of a text under a model, with the text's length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextScore {
    /// Negative log-likelihood, −ln p, summed over the tokens.
    pub nats: f64,
    /// Number of scored tokens.
    pub tokens: u64,
    /// Length of the text in bytes of UTF-8.
    pub bytes: u64,
}

impl TextScore {
    /// Returns the bits per byte, which can be compared between tokenizers.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / (std::f64::consts::LN_2 * self.bytes.max(1) as f64)
    }

    /// Returns the perplexity: exp of the mean −ln p per token.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.tokens.max(1) as f64).exp()
    }
}

impl ChatModel {
    /// Scores every token of a text once. The text is preceded by the begin token. A text that is longer than the
    /// context is scored in windows of the context's length, each without the text before it.
    ///
    /// # Errors
    /// Fails if the text can't be encoded, or the model can't compute.
    pub fn score_text(&self, text: &str) -> Result<TextScore, ChatError> {
        let tokens = self.encode_text(text)?;
        let mut nats = 0.0;
        let last = tokens.len() - 1;
        for begin in (0..last).step_by(self.context()) {
            let end = last.min(begin + self.context());
            let batch = Batch {
                input_ids: tokens[begin..end].to_vec(),
                targets: tokens[begin + 1..=end].to_vec(),
                document_starts: vec![0; end - begin],
                rows: 1,
                domains: vec![0],
            };
            let scores = self.model.score(&batch)?;
            nats += scores.nats.iter().map(|nats| f64::from(*nats)).sum::<f64>();
        }
        Ok(TextScore {
            nats,
            tokens: last as u64,
            bytes: text.len() as u64,
        })
    }

    /// Continues a text, and returns the continuation without the text.
    ///
    /// # Errors
    /// Fails if the text can't be encoded or fills the context, or a setting is out of range.
    pub fn generate_text(&self, prompt: &str, request: &Request) -> Result<String, ChatError> {
        let mut engine = Engine::new(self);
        let answer = engine.answer(Prompt::Text(prompt), request, &mut |_| {
            ControlFlow::Continue(())
        })?;
        Ok(answer.text)
    }
}
