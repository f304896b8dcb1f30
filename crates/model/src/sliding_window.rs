//! Attention that sees the last keys only (Beltagy 2020, Jiang 2023), in all layers or some: how `config.json` says so.

use std::path::Path;

use serde_json::{Value, json};

use crate::{ModelConfig, ModelError};

/// What `transformers` takes where a `config.json` lacks `sliding_window`.
pub(crate) const DEFAULT_SIZE: usize = 4096;
/// What it takes of Qwen where there is no `max_window_layers`.
const DEFAULT_FIRST_LAYER: usize = 28;
const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// A window on the keys, and the layers that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Keys that a query sees, its own included: one at i sees those at j with i − size < j ≤ i.
    pub size: usize,
    /// Of each layer, whether it has the window; the others see all keys before.
    pub layers: Vec<bool>,
}

/// What a `config.json` says of it.
pub(crate) struct Fields<'a> {
    pub model_type: &'a str,
    pub sliding_window: Option<usize>,
    /// Qwen's switch; Mistral has none, its window alone decides.
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<&'a [String]>,
    pub num_hidden_layers: usize,
}

impl SlidingWindow {
    /// The same window in each of so many layers.
    pub fn everywhere(size: usize, layers: usize) -> Self {
        Self {
            size,
            layers: vec![true; layers],
        }
    }

    /// The keys that a query of `layer` sees, if not all.
    pub fn of_layer(&self, layer: usize) -> Option<usize> {
        let slides = self.layers.get(layer).copied().unwrap_or(false);
        slides.then_some(self.size)
    }

    /// Checks it against the rest of the config.
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

    /// What is read of a `config.json`; `None` where no layer has a window.
    pub(crate) fn read(path: &Path, fields: &Fields) -> Result<Option<Self>, ModelError> {
        let refuse = |field: &str, value: String, expected: &str| {
            let message = format!("`{field}` = {value} is not supported: expected {expected}");
            Err(ModelError::content(path, message))
        };
        let types = fields.layer_types.map(|types| json!(types).to_string());
        let types = || types.clone().unwrap_or_default();
        match fields.model_type {
            "mistral" => {
                let strange = |types: &[String]| types.iter().any(|kind| kind != SLIDING);
                if fields.sliding_window.is_some() && fields.layer_types.is_some_and(strange) {
                    let expected = "none: all layers of a Mistral have its `sliding_window`";
                    return refuse("layer_types", types(), expected);
                }
                let layers = fields.num_hidden_layers;
                Ok(fields
                    .sliding_window
                    .map(|size| Self::everywhere(size, layers)))
            }
            "qwen2" | "qwen3" => {
                let slides = fields.use_sliding_window.unwrap_or(false);
                let size = fields.sliding_window.filter(|_| slides);
                let layers: Vec<bool> = match fields.layer_types {
                    Some(kinds) if kinds.iter().any(|kind| kind != SLIDING && kind != FULL) => {
                        let expected = format!("`{FULL}` or `{SLIDING}` for each layer");
                        return refuse("layer_types", types(), &expected);
                    }
                    Some(kinds) if kinds.len() != fields.num_hidden_layers => {
                        let expected = format!("{} layers", fields.num_hidden_layers);
                        return refuse("layer_types", types(), &expected);
                    }
                    Some(kinds) => kinds.iter().map(|kind| kind == SLIDING).collect(),
                    None => {
                        let first = fields.max_window_layers.unwrap_or(DEFAULT_FIRST_LAYER);
                        let slides = |layer| size.is_some() && layer >= first;
                        (0..fields.num_hidden_layers).map(slides).collect()
                    }
                };
                match size {
                    _ if !layers.contains(&true) => Ok(None),
                    Some(size) => Ok(Some(Self { size, layers })),
                    None => {
                        let expected = format!(
                            "`{FULL}` alone, or `use_sliding_window` = true with a `sliding_window`"
                        );
                        refuse("layer_types", types(), &expected)
                    }
                }
            }
            _ => Ok(None),
        }
    }

    /// Writes it among the fields of a `config.json` of a `model_type`.
    pub(crate) fn write(&self, model_type: &str, fields: &mut Value) {
        fields["sliding_window"] = self.size.into();
        if model_type == "mistral" {
            return;
        }
        let first = self.layers.iter().position(|slides| *slides);
        let kind = |slides: &bool| if *slides { SLIDING } else { FULL };
        fields["use_sliding_window"] = true.into();
        fields["max_window_layers"] = first.unwrap_or(self.layers.len()).into();
        fields["layer_types"] = self.layers.iter().map(kind).collect();
    }
}
