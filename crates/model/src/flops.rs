//! How many floating-point operations a model takes.

use crate::{EMBEDDING, LoraConfig, ModelConfig};

/// Rows that are looked up and no factor of a product, though they are a matrix.
const LOOKED_UP: [&str; 2] = [EMBEDDING, "model.embed_positions.weight"];

impl ModelConfig {
    /// Floating-point operations of training on one token, where the parameters that `moving` names are trained.
    ///
    /// With all of them it is `6·N + 6·layers·heads·head_dim·sequence`: N counts the parameters of matrix products (the
    /// output projection, but not the look-up of embeddings), each of which is used once forward, once for the gradient of
    /// its input and once for its own. Attention is 2 products of `2·sequence·heads·head_dim` forward, twice that
    /// backward, half of it under the causal mask. A parameter that stays needs no gradient of its own, and what lies
    /// before the first one that moves needs none at all.
    pub fn training_flops_per_token(
        &self,
        sequence_length: usize,
        moving: &dyn Fn(&str) -> bool,
    ) -> f64 {
        self.training_flops(sequence_length, moving, None)
    }

    /// The same where only an adapter moves. A target's own weight has no gradient; A and B are two more matrix products,
    /// and A's input needs a gradient only where something moves before it. DoRA's row norms, which are computed once a
    /// batch and not once a token, are left out.
    pub fn adapter_training_flops_per_token(
        &self,
        sequence_length: usize,
        adapter: &LoraConfig,
    ) -> f64 {
        self.training_flops(sequence_length, &|_| false, Some(adapter))
    }

    /// Of the forward pass of a layer's attention on one token: 2 products with the keys that it sees, on average
    /// sequence/2, and w − w²/(2·sequence) of them through a window of w.
    fn attention_flops(&self, layer: usize, sequence_length: usize) -> f64 {
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
        moving: &dyn Fn(&str) -> bool,
        adapter: Option<&LoraConfig>,
    ) -> f64 {
        let mut layers = 0..self.num_hidden_layers;
        let mut moved = false; // whether anything so far moves
        let mut flops = 0.0;
        let mut matrix = |shape: &[usize], moves: bool, moved: bool| {
            let products = 1.0 + f64::from(u8::from(moves)) + f64::from(u8::from(moved));
            flops += 2.0 * products * shape.iter().product::<usize>() as f64;
        };
        let mut mixing = 0.0;
        for (name, shape) in self.parameter_shapes() {
            let moves = moving(&name);
            if shape.len() == 2 && !LOOKED_UP.contains(&name.as_str()) {
                matrix(&shape, moves, moved);
            }
            let module = name.strip_suffix(".weight").unwrap_or(&name);
            if let (Some(adapter), [outputs, inputs]) = (adapter, &shape[..])
                && adapter.adapts(module)
            {
                matrix(&[adapter.rank, *inputs], true, moved);
                matrix(&[*outputs, adapter.rank], true, true);
                moved = true;
            }
            moved |= moves;
            // The attention itself comes before its output projection; what moves in a layer so far is before it.
            if name.ends_with("v_proj.weight") {
                let layer = layers.next().unwrap_or_default();
                mixing +=
                    self.attention_flops(layer, sequence_length) * if moved { 3.0 } else { 1.0 };
            }
        }
        if self.tie_word_embeddings {
            matrix(
                &[self.vocab_size, self.hidden_size],
                moving(EMBEDDING),
                moved,
            );
        }
        flops + mixing
    }
}
