//! Maximum sizes of a model.

use crate::ModelError;

/// Maximum of each size: larger than in any known model, and small enough that no product of sizes overflows.
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
/// Checks a size from a file or a user. `key` is its name in [`ModelConfig`](crate::ModelConfig), `shown` its name in
/// the user's file.
///
/// # Errors
/// Fails if the size is 0 or above the maximum.
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
