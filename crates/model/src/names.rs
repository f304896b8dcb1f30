//! Names of parameters, as Hugging Face's Llama has them.

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

/// Returns the block that a parameter is counted to: `layer 007`, or `embedding and head` for what is in no layer.
pub fn block_of(name: &str) -> String {
    match layer_of(name) {
        // Three digits keep the order of the blocks in that of their names.
        Some(layer) => format!("layer {layer:03}"),
        None => "embedding and head".to_owned(),
    }
}
