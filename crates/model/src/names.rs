//! Parameter names, as in Hugging Face's Llama.

/// Parameter of the token embedding, (vocabulary, hidden).
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Parameter of the output projection, (vocabulary, hidden); a model with a tied head has none.
pub const HEAD: &str = "lm_head.weight";

/// Returns the layer that a parameter belongs to, from 0; `None` for those outside the layers.
pub fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Returns the block of a parameter: `layer 007`, or `embedding and head` for parameters outside the layers.
pub fn block_of(name: &str) -> String {
    match layer_of(name) {
        // Three digits make the alphabetical order of the names the order of the blocks.
        Some(layer) => format!("layer {layer:03}"),
        None => "embedding and head".to_owned(),
    }
}
