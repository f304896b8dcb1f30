//! Sampling of many independent documents at once from a model.

use candle_core::Tensor;
use polymath_ops::Segments;

use crate::initialize::mix;
use crate::kv_cache::{Cache, empty_cache};
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

/// A document that is being sampled.
struct Row {
    /// Index of the document that is sampled.
    document: usize,
    /// Token that the model reads next.
    pending: u32,
    ended: bool,
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
        let config = model.config();
        if self.max_tokens > config.max_position_embeddings {
            return Err(ModelError::Input(format!(
                "documents of {} tokens: the model's context is {}",
                self.max_tokens, config.max_position_embeddings
            )));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(ModelError::Input(format!(
                "temperature {}: expected a number above 0",
                self.temperature
            )));
        }
        let mut documents = vec![Vec::new(); count];
        let mut rows: Vec<Row> = (0..count)
            .map(|document| Row {
                document,
                pending: config.bos_token_id,
                ended: false,
            })
            .collect();
        let mut cache = empty_cache(config.num_hidden_layers);
        for position in 0..self.max_tokens {
            drop_ended(&mut rows, &mut cache, model)?;
            if rows.is_empty() {
                break;
            }
            let logits = next_logits(model, &rows, position, &mut cache)?;
            for (row, logits) in rows.iter_mut().zip(logits.chunks(config.vocab_size)) {
                if row.ended {
                    continue;
                }
                let uniform = self.uniform(first + row.document as u64, position as u64);
                row.pending = draw(logits, self.temperature, uniform);
                row.ended = row.pending == config.eos_token_id;
                documents[row.document].push(row.pending);
            }
        }
        Ok(documents)
    }

    /// Returns the uniform random number for a position of a document. It does not depend on the other documents.
    fn uniform(&self, document: u64, position: u64) -> f64 {
        let stream = mix(self.seed ^ mix(document));
        (mix(stream.wrapping_add(mix(position))) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Returns the logits `(rows × vocabulary)` after each row's pending token, which is at `position`.
fn next_logits(
    model: &Transformer,
    rows: &[Row],
    position: usize,
    cache: &mut Cache,
) -> Result<Vec<f32>, ModelError> {
    let pending: Vec<u32> = rows.iter().map(|row| row.pending).collect();
    let input = NetworkInput {
        input_ids: Tensor::from_slice(&pending, (rows.len(), 1), model.device())?,
        positions: vec![position as u32; rows.len()].into(),
        segments: Segments::causal(rows.len(), 1, position + 1),
    };
    Ok(model.next_logits(&input, cache)?.to_vec1::<f32>()?)
}

/// Removes ended documents once they are a quarter of the rows. Removing them earlier would cost more, because it
/// copies the cache.
fn drop_ended(
    rows: &mut Vec<Row>,
    cache: &mut Cache,
    model: &Transformer,
) -> Result<(), ModelError> {
    let going: Vec<u32> = (0..rows.len() as u32)
        .filter(|row| !rows[*row as usize].ended)
        .collect();
    if 4 * (rows.len() - going.len()) < rows.len() {
        return Ok(());
    }
    rows.retain(|row| !row.ended);
    if rows.is_empty() {
        return Ok(());
    }
    let going = Tensor::from_slice(&going, going.len(), model.device())?;
    for (layer, kept) in cache
        .iter_mut()
        .zip(empty_cache(model.config().num_hidden_layers))
    {
        let old = std::mem::replace(layer, kept);
        if let (Some(key), Some(value)) = (old.k()?, old.v()?) {
            let key = key.contiguous()?.index_select(&going, 0)?;
            let value = value.contiguous()?.index_select(&going, 0)?;
            layer.append(&key, &value)?;
        }
    }
    Ok(())
}

/// Draws a token from softmax(logits / temperature) by `uniform` ∈ [0, 1), in the order of the token IDs.
fn draw(logits: &[f32], temperature: f64, uniform: f64) -> u32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let masses: Vec<f64> = logits
        .iter()
        .map(|logit| (f64::from(logit - highest) / temperature).exp())
        .collect();
    let mut remaining = uniform * masses.iter().sum::<f64>();
    for (token, mass) in masses.iter().enumerate() {
        remaining -= mass;
        if remaining < 0.0 {
            return token as u32;
        }
    }
    masses.len().saturating_sub(1) as u32
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
            .filter(|step| draw(&logits, 2.0, f64::from(*step) / 1000.0) == 1)
            .count();
        assert!((749..=751).contains(&ones), "{ones}");
    }
}
