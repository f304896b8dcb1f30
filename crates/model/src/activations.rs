//! Estimate of the memory that a training step takes beside parameters, gradients and moments: what the forward pass
//! keeps for the backward pass, and what is in memory for a while.

use crate::{Family, LoraConfig, ModelConfig};

/// Rows whose logits are in memory at once.
const LOGIT_ROWS: u128 = 512;
/// Rows of the feed-forward sublayer that the backward pass computes at once.
const FEED_FORWARD_ROWS: u128 = 2048;

/// Numbers (of four bytes) that a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepNumbers {
    /// Kept by each layer for each token.
    pub of_layer: u128,
    /// Input of a layer, for each token.
    pub of_input: u128,
    /// Kept outside of the layers for each token.
    pub outside: u128,
    /// In memory for a while, for each token.
    pub passing: u128,
    /// In memory for a while, for the tokens of a chunk of the feed-forward sublayer.
    pub in_chunk: u128,
    /// In memory for a while, for any number of tokens.
    pub fixed: u128,
}

impl StepNumbers {
    /// Returns the numbers that `layers` layers take for so many tokens that are computed at once; `recompute` is true
    /// if a layer keeps only its input.
    pub fn total(&self, layers: u128, tokens: u128, recompute: bool) -> u128 {
        let in_layers = match recompute {
            false => layers * self.of_layer,
            true => layers * self.of_input + self.of_layer,
        };
        tokens * (in_layers + self.outside + self.passing)
            + tokens.min(FEED_FORWARD_ROWS) * self.in_chunk
            + self.fixed
    }
}

impl ModelConfig {
    /// Estimates what a training step on the CPU takes. Without an adapter, the embedding and the head are trained if
    /// `trains_head`.
    pub fn step_numbers(&self, adapter: Option<&LoraConfig>, trains_head: bool) -> StepNumbers {
        let widths = Widths::new(self);
        let Widths {
            hidden,
            inner,
            queries,
            keys,
            projected,
        } = widths;
        let layers = self.num_hidden_layers.max(1) as u128;
        let heads = self.num_attention_heads as u128;
        let in_adapters = adapter.map_or(0, |adapter| self.adapter_numbers(adapter)) / layers;
        let is_fused = self.family != Family::Gpt2 && !self.attention_bias;
        let norms_of_heads = match self.qk_norm {
            true => queries + keys + heads + self.num_key_value_heads as u128,
            false => 0,
        };
        // The input, the projections (rotated in place), the output before its projection, two statistics.
        let mut attention = hidden + projected + queries + heads + 1 + norms_of_heads;
        if !is_fused {
            // The normed input, rotated queries and keys, and the output are tensors of their own.
            attention += 2 * hidden + queries + keys;
        }
        let feed_forward = match self.family {
            Family::Gpt2 => 3 * hidden + 2 * inner,
            _ => hidden + 2 * inner + 1,
        };
        let vocabulary = self.vocab_size as u128;
        // The head is packed for the forward pass and for the backward pass.
        let packed_head = 2 * vocabulary * hidden;
        let head_gradients = if trains_head {
            // The loss keeps the head's gradient; the embedding has one of its own, and the sum is a third.
            3 * vocabulary * hidden
        } else {
            0
        };
        let weights = 2 * hidden * (queries + projected).max(3 * inner);
        let shares = match adapter {
            Some(adapter) if adapter.dora => projected + 2 * hidden,
            _ => 0,
        };
        StepNumbers {
            of_layer: attention + feed_forward + in_adapters,
            of_input: hidden,
            // The last layer's output, its norm, and the gradient of the hidden states.
            outside: 3 * hidden,
            // The gradients of a layer's input and output, and what lies between the products of attention.
            passing: 4 * hidden + projected + queries + shares,
            in_chunk: 3 * inner
                + 2 * hidden
                + if shares > 0 {
                    2 * inner + 2 * hidden
                } else {
                    0
                },
            fixed: packed_head + head_gradients + LOGIT_ROWS * vocabulary + weights,
        }
    }

    /// Numbers that the adapters of all layers keep for each token.
    fn adapter_numbers(&self, adapter: &LoraConfig) -> u128 {
        // In the fused sublayers a branch keeps its narrow values; everything else is computed again. Outside of them
        // it keeps the narrow values, the outputs of W and of the branch, the scaled one and the sums.
        let is_fused = |module: &str| !(self.attention_bias && module.contains("self_attn"));
        let kept = |(module, [outputs, inputs]): (String, [usize; 2])| {
            let rank = adapter.rank as u128;
            if is_fused(&module) {
                return rank;
            }
            let of_output = 4 + u128::from(adapter.dora);
            let of_input = if adapter.dropout > 0.0 { 2 } else { 0 };
            rank + of_output * outputs as u128 + of_input * inputs as u128
        };
        adapter.modules(self).into_iter().map(kept).sum()
    }
}

/// Widths of a layer's tensors.
struct Widths {
    hidden: u128,
    inner: u128,
    queries: u128,
    keys: u128,
    /// Queries, keys and values together.
    projected: u128,
}

impl Widths {
    fn new(model: &ModelConfig) -> Self {
        let queries = (model.num_attention_heads * model.head_dim) as u128;
        let keys = (model.num_key_value_heads * model.head_dim) as u128;
        Self {
            hidden: model.hidden_size as u128,
            inner: model.intermediate_size as u128,
            queries,
            keys,
            projected: queries + 2 * keys,
        }
    }
}
