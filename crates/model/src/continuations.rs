//! Greedy continuations of many prompts at once.

use crate::kv_cache::{drop_ended, empty_cache};
use crate::network_input::NetworkInput;
use crate::{ModelError, Transformer};

/// Number of prompts that are continued at once.
const AT_ONCE: usize = 64;

/// Settings of greedy continuations.
#[derive(Debug, Clone)]
pub struct GreedyContinuations {
    /// Maximum number of tokens of a continuation.
    pub max_tokens: usize,
    /// Tokens that end a continuation, in addition to the model's end tokens.
    pub ends: Vec<u32>,
}

/// State of a prompt that is being continued: one row of the batch.
struct Row<'a> {
    /// Index of the prompt among all prompts.
    prompt: usize,
    tokens: &'a [u32],
    /// Token that the model reads next.
    pending: u32,
    ended: bool,
}

impl GreedyContinuations {
    /// Returns the most likely continuation of each prompt, token by token, without the token that ends it. Calls
    /// `progress` with the number of prompts that are done.
    ///
    /// The prompts are read in batches of similar length, each as far as the shortest one of the batch at once. A
    /// continuation does not depend on the other prompts, except for rounding.
    ///
    /// # Errors
    /// Fails if a prompt is empty, or too long for the model's context with its continuation.
    pub fn of(
        &self,
        model: &Transformer,
        prompts: &[Vec<u32>],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let context = model.config().max_position_embeddings;
        let is_unfit =
            |prompt: &&Vec<u32>| prompt.is_empty() || prompt.len() + self.max_tokens > context;
        if let Some(prompt) = prompts.iter().find(is_unfit) {
            return Err(ModelError::Input(format!(
                "a prompt of {} tokens, to be continued by {}: the model's context is {context}",
                prompt.len(),
                self.max_tokens
            )));
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|prompt| prompts[*prompt].len());
        let mut found = vec![Vec::new(); prompts.len()];
        let mut done = 0;
        for batch in order.chunks(AT_ONCE) {
            let row = |prompt: &usize| Row {
                prompt: *prompt,
                tokens: &prompts[*prompt],
                pending: 0,
                ended: false,
            };
            self.batch(model, batch.iter().map(row).collect(), &mut found)?;
            done += batch.len();
            progress(done);
        }
        Ok(found)
    }

    fn batch(
        &self,
        model: &Transformer,
        mut rows: Vec<Row>,
        found: &mut [Vec<u32>],
    ) -> Result<(), ModelError> {
        let config = model.config();
        let mut position = rows.iter().map(|row| row.tokens.len()).min().unwrap_or(0);
        let mut cache = empty_cache(config.num_hidden_layers);
        let read: Vec<u32> = rows
            .iter()
            .flat_map(|row| &row.tokens[..position])
            .copied()
            .collect();
        let mut input = NetworkInput::continuing(&read, rows.len(), 0)?;
        loop {
            let logits = model.next_logits(&input, &mut cache)?.to_vec1::<f32>()?;
            for (row, logits) in rows.iter_mut().zip(logits.chunks(config.vocab_size)) {
                if row.ended {
                    continue;
                }
                if let Some(token) = row.tokens.get(position) {
                    row.pending = *token;
                    continue;
                }
                row.pending = most_likely(logits);
                if config.ends(row.pending) || self.ends.contains(&row.pending) {
                    row.ended = true;
                    continue;
                }
                found[row.prompt].push(row.pending);
                row.ended = found[row.prompt].len() >= self.max_tokens;
            }
            drop_ended(&mut rows, |row| row.ended, &mut cache, model.device())?;
            if rows.is_empty() {
                return Ok(());
            }
            let pending: Vec<u32> = rows.iter().map(|row| row.pending).collect();
            input = NetworkInput::continuing(&pending, rows.len(), position)?;
            position += 1;
        }
    }
}

fn most_likely(logits: &[f32]) -> u32 {
    let best = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, best) as u32
}
