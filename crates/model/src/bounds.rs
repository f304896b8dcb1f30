//! Limits on the sizes of a model. A `config.json` is untrusted, so nothing is allocated for a size before it is
//! checked.

use crate::sizes::check_size;
use crate::{ModelConfig, ModelError, SlidingWindow};

/// Maximum number of parameters of a model.
const MOST_PARAMETERS: u64 = 1 << 42;

/// Checks the range of every size and the number of parameters.
///
/// # Errors
/// Fails if a size is out of range; the error names its key.
pub(crate) fn check(config: &ModelConfig) -> Result<(), ModelError> {
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_hidden_layers", config.num_hidden_layers),
        ("num_attention_heads", config.num_attention_heads),
        ("num_key_value_heads", config.num_key_value_heads),
        ("head_dim", config.head_dim),
        ("max_position_embeddings", config.max_position_embeddings),
    ];
    for (key, size) in sizes {
        check_size(key, key, size)?;
    }
    for (key, real) in [
        ("rope_theta", config.rope_theta),
        ("rms_norm_eps", config.rms_norm_eps),
    ] {
        if !(real > 0.0 && real.is_finite()) {
            return refuse(format!("`{key}` is {real}: expected a number above 0"));
        }
    }
    let deviation = config.initializer_range;
    if !(deviation >= 0.0 && deviation.is_finite()) {
        return refuse(format!(
            "`initializer_range` is {deviation}: expected 0 or more"
        ));
    }
    let tokens = [
        ("bos_token_id", config.bos_token_id),
        ("eos_token_id", config.eos_token_id),
    ];
    for (key, token) in tokens {
        if token as usize >= config.vocab_size {
            return refuse(format!(
                "`{key}` is {token}: expected a token below `vocab_size` = {}",
                config.vocab_size
            ));
        }
    }
    let parameters = config.parameter_count();
    if parameters > MOST_PARAMETERS {
        return refuse(format!(
            "the sizes make {parameters} parameters: expected at most {MOST_PARAMETERS}"
        ));
    }
    Ok(())
}

impl SlidingWindow {
    /// Checks that the sliding window fits the rest of the config.
    pub(crate) fn validate(&self, config: &ModelConfig) -> Result<(), ModelError> {
        let refuse = |message: String| Err(ModelError::Architecture(message));
        if self.size == 0 {
            return refuse(
                "`sliding_window` is 0: a query sees at least its own key, so it must be at least 1".into(),
            );
        }
        if self.layers.len() != config.num_hidden_layers {
            return refuse(format!(
                "`layer_types` has {} layers, `num_hidden_layers` is {}",
                self.layers.len(),
                config.num_hidden_layers
            ));
        }
        let mixed = self.layers.contains(&false);
        if mixed && !config.qk_norm && !config.attention_bias {
            return refuse(
                "`sliding_window` in some layers only: a Mistral has it in all of them, a Qwen2 or Qwen3 may have it in some"
                    .into(),
            );
        }
        Ok(())
    }
}

fn refuse<T>(message: String) -> Result<T, ModelError> {
    Err(ModelError::Architecture(message))
}
