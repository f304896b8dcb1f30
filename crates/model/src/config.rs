//! Model configuration: the `[model]` table of a config and the sizes derived from it.

use serde::{Deserialize, Serialize};

use polymath_tokenizer::EndTokens;

use crate::{ModelError, RopeScaling, SlidingWindow, bounds, sizes};

/// The `[model]` table: the sizes and options that a user chooses. All others follow from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchitectureConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads per block.
    pub num_attention_heads: usize,
    /// Number of key/value heads per block (grouped-query attention); default: the number of query heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<usize>,
    /// Width of an attention head; default: `hidden_size / num_attention_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Inner width of the SwiGLU feed-forward layer; default: 8/3 of `hidden_size`, rounded up to a multiple of 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// Maximum context length in tokens; default: the training's sequence length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_position_embeddings: Option<usize>,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// ε of the RMSNorms, which avoids a division by zero.
    #[serde(default = "default_epsilon")]
    pub rms_norm_eps: f64,
    /// True to normalize queries and keys with RMSNorm, as in Qwen3.
    #[serde(default)]
    pub qk_norm: bool,
    /// Sliding-window attention in every layer, as in Mistral: number of tokens that each token attends to, including
    /// itself; default: all tokens before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// True if the output projection shares the weights of the token embedding.
    #[serde(default = "default_tied")]
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights; default: `√(2 / (5·hidden_size))` (Nguyen & Salazar 2019), which is
    /// 0.02 at a width of 1000 and larger for smaller models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializer_range: Option<f64>,
}

pub(crate) fn default_rope_theta() -> f64 {
    10_000.0
}
fn default_epsilon() -> f64 {
    1e-5
}
fn default_tied() -> bool {
    true
}

impl ArchitectureConfig {
    /// Returns a table with this shape and defaults for everything else.
    pub fn of_shape(width: usize, layers: usize, heads: usize) -> Self {
        Self {
            hidden_size: width,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: None,
            head_dim: None,
            intermediate_size: None,
            max_position_embeddings: None,
            rope_theta: default_rope_theta(),
            rms_norm_eps: default_epsilon(),
            qk_norm: false,
            sliding_window: None,
            tie_word_embeddings: default_tied(),
            initializer_range: None,
        }
    }

    /// Returns the table with unset values taken from `resolved`, the result of [`Self::resolve`].
    pub fn filled(&self, resolved: &ModelConfig) -> Self {
        Self {
            num_key_value_heads: Some(resolved.num_key_value_heads),
            head_dim: Some(resolved.head_dim),
            intermediate_size: Some(resolved.intermediate_size),
            max_position_embeddings: Some(resolved.max_position_embeddings),
            initializer_range: Some(resolved.initializer_range),
            ..self.clone()
        }
    }

    /// Derives the complete configuration of a model with `vocab_size` tokens, trained on rows of `sequence_length`
    /// tokens.
    ///
    /// # Errors
    /// Fails if a size is out of range or sizes do not fit together; the error names their keys.
    pub fn resolve(
        &self,
        vocab_size: usize,
        sequence_length: usize,
        ends: EndTokens,
    ) -> Result<ModelConfig, ModelError> {
        self.check_sizes()?;
        let heads = self.num_attention_heads;
        if self.head_dim.is_none() && (heads == 0 || !self.hidden_size.is_multiple_of(heads)) {
            return Err(ModelError::Architecture(format!(
                "`model.num_attention_heads` = {heads} does not divide `model.hidden_size` = {}: choose a divisor, \
                 or give `model.head_dim`",
                self.hidden_size
            )));
        }
        let config = ModelConfig {
            family: Family::Llama,
            qk_norm: self.qk_norm,
            vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self
                .intermediate_size
                .unwrap_or((self.hidden_size * 8).div_ceil(3).next_multiple_of(16)),
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: self.head_dim.unwrap_or(self.hidden_size / heads.max(1)),
            max_position_embeddings: self.max_position_embeddings.unwrap_or(sequence_length),
            rope_theta: self.rope_theta,
            rope_scaling: None,
            attention_bias: false,
            sliding_window: self
                .sliding_window
                .map(|size| SlidingWindow::everywhere(size, self.num_hidden_layers)),
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            initializer_range: self
                .initializer_range
                .unwrap_or((2.0 / (5.0 * self.hidden_size as f64)).sqrt()),
            bos_token_id: ends.begin,
            eos_token_id: ends.end,
            other_eos_token_ids: Vec::new(),
        };
        config.validate()?;
        if sequence_length > config.max_position_embeddings {
            return Err(ModelError::Architecture(format!(
                "`training.sequence_length` = {sequence_length} is longer than `model.max_position_embeddings` = {}: \
                 lower the first or raise the second",
                config.max_position_embeddings
            )));
        }
        Ok(config)
    }

    /// Checks each size on its own before sizes are multiplied or memory is allocated.
    fn check_sizes(&self) -> Result<(), ModelError> {
        let sizes = [
            ("hidden_size", Some(self.hidden_size)),
            ("num_hidden_layers", Some(self.num_hidden_layers)),
            ("num_attention_heads", Some(self.num_attention_heads)),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window),
        ];
        for (key, size) in sizes {
            if let Some(size) = size {
                sizes::check_size(key, &format!("model.{key}"), size)?;
            }
        }
        Ok(())
    }
}

/// Architecture family, which decides the kind of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// RMSNorm, rotary positions and SwiGLU: Llama, Mistral, Qwen2, Qwen3.
    Llama,
    /// LayerNorm, learned positions and a feed-forward layer with GELU and without a gate; biases everywhere except
    /// in the output projection.
    Gpt2,
}

/// Complete configuration of a model, which determines its parameters and its computations; stored as Hugging Face's
/// `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Architecture family.
    pub family: Family,
    /// True if queries and keys are normalized (Qwen3).
    pub qk_norm: bool,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward layer (SwiGLU, or GPT-2's GELU).
    pub intermediate_size: usize,
    /// Number of transformer blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads per block.
    pub num_attention_heads: usize,
    /// Number of key/value heads per block.
    pub num_key_value_heads: usize,
    /// Width of an attention head.
    pub head_dim: usize,
    /// Maximum context length in tokens.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies for contexts longer than in pretraining.
    pub rope_scaling: Option<RopeScaling>,
    /// True if the projections to queries, keys and values have biases, as in Qwen2 and GPT-2.
    pub attention_bias: bool,
    /// Sliding window and the layers that have it: all layers of a Mistral, some of a Qwen2 or Qwen3.
    pub sliding_window: Option<SlidingWindow>,
    /// ε of the normalization layers, which avoids a division by zero.
    pub rms_norm_eps: f64,
    /// True if the output projection shares the weights of the token embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// ID of the token before every document.
    pub bos_token_id: u32,
    /// ID of the token that ends every document.
    pub eos_token_id: u32,
    /// Further tokens that end a generated text, such as the end of a chat turn. Within documents they end nothing.
    pub other_eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Returns the tokens that begin and end a document.
    pub fn document_ends(&self) -> EndTokens {
        EndTokens {
            begin: self.bos_token_id,
            end: self.eos_token_id,
        }
    }

    /// Returns true if this token ends a generated text.
    pub fn ends(&self, token: u32) -> bool {
        token == self.eos_token_id || self.other_eos_token_ids.contains(&token)
    }

    /// Returns the tokens that end a generated text.
    pub fn all_ends(&self) -> impl Iterator<Item = u32> {
        [self.eos_token_id]
            .into_iter()
            .chain(self.other_eos_token_ids.iter().copied())
    }

    /// Adds tokens that end a generated text to the configuration.
    pub fn add_ends(&mut self, ends: &[u32]) {
        for end in ends {
            if !self.ends(*end) {
                self.other_eos_token_ids.push(*end);
            }
        }
    }

    /// Checks that every size is in range and that the sizes fit together.
    ///
    /// # Errors
    /// Fails if a size is out of range or two keys contradict each other; the error names them.
    pub fn validate(&self) -> Result<(), ModelError> {
        bounds::check(self)?;
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return Err(ModelError::Architecture(format!(
                "`num_key_value_heads` = {} does not divide `num_attention_heads` = {}",
                self.num_key_value_heads, self.num_attention_heads
            )));
        }
        match self.family {
            Family::Llama if !self.head_dim.is_multiple_of(2) => {
                Err(ModelError::Architecture(format!(
                    "`head_dim` = {} is odd: rotary positions rotate pairs, so it must be even",
                    self.head_dim
                )))
            }
            Family::Gpt2 => self.validate_gpt2(),
            Family::Llama => match &self.sliding_window {
                Some(window) => window.validate(self),
                None => Ok(()),
            },
        }
    }

    /// Checks a GPT-2's settings, including those that it has no field for.
    fn validate_gpt2(&self) -> Result<(), ModelError> {
        let whole = self.num_attention_heads * self.head_dim == self.hidden_size
            && self.num_key_value_heads == self.num_attention_heads;
        if whole && self.attention_bias && !self.qk_norm && self.rope_scaling.is_none() {
            return Ok(());
        }
        Err(ModelError::Architecture(
            "a GPT-2 has as many key/value heads as query heads, which together are `hidden_size` wide, and \
             `attention_bias`; it has neither `qk_norm` nor `rope_scaling`"
                .into(),
        ))
    }

    /// Returns the name and shape of every parameter, in the order of the forward pass. The names are those of Llama
    /// in Hugging Face's files, for a GPT-2 too: GPT-2's own names occur only where its files are read and written.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, intermediate) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let gpt2 = self.family == Family::Gpt2;
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, hidden],
        )];
        if gpt2 {
            let shape = vec![self.max_position_embeddings, hidden];
            shapes.push(("model.embed_positions.weight".to_owned(), shape));
        }
        let mut add = |name: &str, shape: &[usize], biased: bool| {
            shapes.push((format!("{name}.weight"), shape.to_vec()));
            if biased {
                shapes.push((format!("{name}.bias"), vec![shape[0]]));
            }
        };
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: &[usize], biased: bool| {
                add(&format!("model.layers.{layer}.{name}"), shape, biased);
            };
            add("input_layernorm", &[hidden], gpt2);
            add("self_attn.q_proj", &[queries, hidden], self.attention_bias);
            add("self_attn.k_proj", &[keys, hidden], self.attention_bias);
            add("self_attn.v_proj", &[keys, hidden], self.attention_bias);
            add("self_attn.o_proj", &[hidden, queries], gpt2);
            if self.qk_norm {
                add("self_attn.q_norm", &[self.head_dim], false);
                add("self_attn.k_norm", &[self.head_dim], false);
            }
            add("post_attention_layernorm", &[hidden], gpt2);
            if !gpt2 {
                add("mlp.gate_proj", &[intermediate, hidden], false);
            }
            add("mlp.up_proj", &[intermediate, hidden], gpt2);
            add("mlp.down_proj", &[hidden, intermediate], gpt2);
        }
        add("model.norm", &[hidden], gpt2);
        if !self.tie_word_embeddings {
            add("lm_head", &[self.vocab_size, hidden], false);
        }
        shapes
    }

    /// Returns the number of parameters; a tied output projection counts once.
    pub fn parameter_count(&self) -> u64 {
        self.parameter_shapes()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum()
    }
}
