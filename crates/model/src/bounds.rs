//! Bounds on the numbers of a shape. A `config.json` is not trusted: nothing is allocated for a number before it is checked.

use crate::{ModelConfig, ModelError};

/// The largest value of each size: above those of any model that is known, and no product of them overflows.
const LARGEST: [(&str, usize); 9] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_hidden_layers", 1 << 12),
    ("num_attention_heads", 1 << 14),
    ("num_key_value_heads", 1 << 14),
    ("head_dim", 1 << 14),
    ("max_position_embeddings", 1 << 30),
    ("sliding_window", 1 << 30),
];
/// The most parameters of a model.
const MOST_PARAMETERS: u64 = 1 << 42;

/// Checks a size that a file or a user gives; `key` is its name in [`ModelConfig`], `shown` the one that the user knows it by.
///
/// # Errors
/// A size of 0, or above the largest.
pub(crate) fn check_size(key: &str, shown: &str, size: usize) -> Result<(), ModelError> {
    let largest = LARGEST.iter().find(|(known, _)| *known == key);
    let largest = largest.map_or(usize::MAX, |(_, largest)| *largest);
    match size {
        0 => Err(ModelError::Architecture(format!(
            "`{shown}` is 0: it must be at least 1"
        ))),
        _ if size > largest => Err(ModelError::Architecture(format!(
            "`{shown}` is {size}: expected at most {largest}"
        ))),
        _ => Ok(()),
    }
}

/// Checks every number of a shape by itself, and the number of parameters.
///
/// # Errors
/// The first key that is out of its range.
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
            "`initializer_range` is {deviation}: expected 0 or a number above"
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

fn refuse<T>(message: String) -> Result<T, ModelError> {
    Err(ModelError::Architecture(message))
}
