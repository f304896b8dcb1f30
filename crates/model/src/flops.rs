//! Number of floating-point operations of training.

use crate::{EMBEDDING, LoraConfig, ModelConfig};

/// Matrices that are only looked up by row and take part in no matrix product.
const LOOKED_UP: [&str; 2] = [EMBEDDING, "model.embed_positions.weight"];

impl ModelConfig {
    /// Returns the floating-point operations of training on one token, where `trainable` selects the trainable
    /// parameters.
    ///
    /// If all are trainable, it is `6·N + 6·layers·heads·head_dim·sequence`. N counts the parameters of matrix products
    /// (including the output projection, excluding the embedding lookup). Each is used once in the forward pass, once
    /// for the gradient of its input and once for its own gradient. Attention takes 2 products of
    /// `2·sequence·heads·head_dim` in the forward pass and twice that in the backward pass, halved by the causal mask.
    /// A frozen parameter needs no gradient of its own, and everything before the first trainable parameter needs none
    /// at all.
    pub fn training_flops_per_token(
        &self,
        sequence_length: usize,
        trainable: &dyn Fn(&str) -> bool,
    ) -> f64 {
        self.training_flops(sequence_length, trainable, None)
    }

    /// Returns the floating-point operations of training on one token if only an adapter is trainable. The adapted
    /// weight has no gradient. A and B are two more matrix products; the input of A needs a gradient only if something
    /// before it is trainable. DoRA's row norms are left out: they are computed once per batch, not once per token.
    pub fn adapter_training_flops_per_token(
        &self,
        sequence_length: usize,
        adapter: &LoraConfig,
    ) -> f64 {
        self.training_flops(sequence_length, &|_| false, Some(adapter))
    }

    /// Returns the floating-point operations of a layer's attention on one token in the forward pass: 2 matrix
    /// products with the visible keys. On average, sequence/2 keys are visible, or w − w²/(2·sequence) with a window
    /// of w.
    pub fn attention_flops(&self, layer: usize, sequence_length: usize) -> f64 {
        let width = (self.num_attention_heads * self.head_dim) as f64;
        let sequence = sequence_length as f64;
        let window = self.sliding_window.as_ref();
        let window = window.and_then(|window| window.of_layer(layer));
        let window = window.map_or(sequence, |window| sequence.min(window as f64));
        4.0 * width * (window - window * window / (2.0 * sequence))
    }

    fn training_flops(
        &self,
        sequence_length: usize,
        trainable: &dyn Fn(&str) -> bool,
        adapter: Option<&LoraConfig>,
    ) -> f64 {
        let mut layers = 0..self.num_hidden_layers;
        let mut needs_gradient = false; // whether anything so far is trainable
        let mut flops = 0.0;
        let mut matrix = |shape: &[usize], moves: bool, needs_gradient: bool| {
            let products = 1.0 + f64::from(u8::from(moves)) + f64::from(u8::from(needs_gradient));
            flops += 2.0 * products * shape.iter().product::<usize>() as f64;
        };
        let mut mixing = 0.0;
        for (name, shape) in self.parameter_shapes() {
            let moves = trainable(&name);
            if shape.len() == 2 && !LOOKED_UP.contains(&name.as_str()) {
                matrix(&shape, moves, needs_gradient);
            }
            let module = name.strip_suffix(".weight").unwrap_or(&name);
            if let (Some(adapter), [outputs, inputs]) = (adapter, &shape[..])
                && adapter.adapts(module)
            {
                matrix(&[adapter.rank, *inputs], true, needs_gradient);
                matrix(&[*outputs, adapter.rank], true, true);
                needs_gradient = true;
            }
            needs_gradient |= moves;
            // In the order of parameters, attention comes after `v_proj` and before its output projection.
            if name.ends_with("v_proj.weight") {
                let layer = layers.next().unwrap_or_default();
                mixing += self.attention_flops(layer, sequence_length)
                    * if needs_gradient { 3.0 } else { 1.0 };
            }
        }
        if self.tie_word_embeddings {
            matrix(
                &[self.vocab_size, self.hidden_size],
                trainable(EMBEDDING),
                needs_gradient,
            );
        }
        flops + mixing
    }
}
