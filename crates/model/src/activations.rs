//! Estimate of the memory that a training step takes beside parameters, gradients and moments: what the forward pass
//! keeps for the backward pass, and what is in memory for a while.

use polymath_ops::{FEED_FORWARD_ROWS, LOGIT_ROWS, Precision, packed_bytes};

use crate::{Family, LoraConfig, ModelConfig};

/// Bytes of an f32.
const FLOAT: u128 = 4;

/// Memory that a training step takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepBytes {
    /// Activations of one layer for one token, which are stored until the layer's backward pass has run.
    pub of_layer: u128,
    /// Inputs of one layer's operations for one token, which are stored until the whole backward pass has run.
    pub inputs: u128,
    /// Input of one layer for one token.
    pub of_input: u128,
    /// Values outside of the layers, such as those of the embedding and the loss, that are stored for one token.
    pub outside: u128,
    /// Temporary values for one token.
    pub passing: u128,
    /// Temporary values for the tokens of one chunk of the feed-forward sublayer.
    pub in_chunk: u128,
    /// Temporary values that do not depend on the number of tokens.
    pub fixed: u128,
    /// Gradient of the head or the embedding, of which several copies exist temporarily.
    pub head: u128,
}

impl StepBytes {
    /// Returns the bytes that `layers` layers take beside `gradients` bytes of gradients, if `tokens` tokens are
    /// computed at once. `recompute` is true if a layer stores only its input.
    ///
    /// Gradients are allocated while the backward pass frees activations, so all of both never exist at the same time.
    pub fn total(&self, layers: u128, tokens: u128, recompute: bool, gradients: u128) -> u128 {
        let (freed, kept) = match recompute {
            false => (layers * self.of_layer, layers * self.inputs),
            true => (self.of_layer + self.inputs, layers * self.of_input),
        };
        // The loss keeps the head's gradient, Candle adds it to zeros; later that of the embedding is added to it.
        let first = tokens * freed + 3 * self.head;
        let last = gradients + 2 * self.head;
        tokens * (kept + self.outside + self.passing)
            + tokens.min(FEED_FORWARD_ROWS as u128) * self.in_chunk
            + self.fixed
            + first.max(last).saturating_sub(gradients)
    }
}

impl ModelConfig {
    /// Estimates what a training step on the CPU takes with products in `precision`. Without an adapter, the embedding
    /// and the head are trained if `trains_head`.
    pub fn step_bytes(
        &self,
        adapter: Option<&LoraConfig>,
        trains_head: bool,
        precision: Precision,
    ) -> StepBytes {
        let widths = Widths::new(self);
        let Widths {
            hidden,
            inner,
            queries,
            projected,
            ..
        } = widths;
        let layers = self.num_hidden_layers.max(1) as u128;
        let in_adapters = adapter.map_or(0, |adapter| self.adapter_numbers(adapter)) / layers;
        let [of_layer, inputs] = self.kept(&widths, in_adapters, precision);
        let vocabulary = self.vocab_size as u128;
        let shares = match adapter {
            Some(adapter) if adapter.dora => projected + 2 * hidden,
            _ => 0,
        };
        let activation_shares = match shares {
            0 => 0,
            _ => 2 * inner + 2 * hidden,
        };
        let packed = packed_bytes(precision) as u128;
        // The head is packed for the forward pass and for the backward pass; a sublayer's weights are joined in f32,
        // and its larger group packed.
        let packed_head = packed * vocabulary * hidden;
        // The logits of a step and those of an evaluation have scratch memory of their own.
        let logits = FLOAT * LOGIT_ROWS as u128 * vocabulary;
        let largest = (hidden * (queries + projected)).max(3 * inner * hidden);
        let weights = (FLOAT + packed) * largest;
        StepBytes {
            of_layer,
            inputs,
            of_input: FLOAT * hidden,
            // The last layer's output, its norm, and the gradient of the hidden states.
            outside: FLOAT * 3 * hidden,
            // The gradients of a layer's input and output, and what lies between the products of attention.
            passing: FLOAT * (4 * hidden + projected + queries + shares),
            in_chunk: FLOAT * (3 * inner + 2 * hidden + activation_shares),
            fixed: packed_head + logits + logits.max(packed_head) + weights,
            head: match trains_head {
                true => FLOAT * vocabulary * hidden,
                false => 0,
            },
        }
    }

    /// Returns the bytes that a layer keeps for each token: until its backward pass has run, and until all have.
    fn kept(&self, widths: &Widths, in_adapters: u128, precision: Precision) -> [u128; 2] {
        let Widths {
            hidden,
            inner,
            queries,
            keys,
            projected,
        } = widths;
        let (heads, key_heads) = (
            self.num_attention_heads as u128,
            self.num_key_value_heads as u128,
        );
        let (norms_of_heads, their_factors) = match self.qk_norm {
            true => (queries + keys, heads + key_heads),
            false => (0, 0),
        };
        // The projections (rotated in place) and the output before its own projection; statistics.
        let attention = projected + queries + norms_of_heads;
        let statistics = heads + 1 + their_factors;
        if self.family == Family::Gpt2 {
            // Every operation's input is a tensor in the graph.
            let attention = 3 * hidden + attention + queries + keys + statistics;
            let feed_forward = 3 * hidden + 2 * inner;
            return [0, FLOAT * (attention + feed_forward + in_adapters)];
        }
        let of_kept = kept_bytes(precision);
        let feed_forward = of_kept * 2 * inner + FLOAT;
        if self.attention_bias {
            // The normed input, rotated queries and keys, and the output are tensors of their own.
            let attention = 3 * hidden + attention + queries + keys + statistics + in_adapters;
            return [feed_forward, FLOAT * (hidden + attention)];
        }
        let attention = of_kept * (attention + in_adapters) + FLOAT * statistics;
        [attention + feed_forward, FLOAT * 2 * hidden]
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

/// Returns the bytes of a number that is kept as the operand of a product of the backward pass.
fn kept_bytes(precision: Precision) -> u128 {
    match precision {
        Precision::F32 | Precision::Tf32 => FLOAT,
        Precision::Bf16 => FLOAT / 2,
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
