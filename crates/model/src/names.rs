//! Names of parameters, as in Hugging Face's Llama.

/// Name of the token embedding, of shape (vocabulary, hidden).
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of the output projection, of shape (vocabulary, hidden); absent if it shares the embedding's weights.
pub const HEAD: &str = "lm_head.weight";

/// Returns the layer of a parameter, from 0; `None` for parameters outside of the layers.
pub fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Returns the block of a parameter: `layer 007`, or `embedding and head` for parameters outside of the layers.
pub fn block_of(name: &str) -> String {
    match layer_of(name) {
        // Three digits make the alphabetical order of the names the order of the blocks.
        Some(layer) => format!("layer {layer:03}"),
        None => "embedding and head".to_owned(),
    }
}
