//! Sliding-window attention (Beltagy 2020, Jiang 2023) in all or some layers, and its keys in `config.json`.

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::sizes::check_size;

/// Default of `transformers` for a missing `sliding_window`.
pub(crate) const DEFAULT_SIZE: usize = 4096;
/// Default of `transformers` for Qwen's `max_window_layers`.
const DEFAULT_FIRST_LAYER: usize = 28;
const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// Size of the sliding window, and the layers that have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Number of keys that a query attends to, including its own: query i attends to keys j with i − size < j ≤ i.
    pub size: usize,
    /// For each layer, true if it has the window; the other layers attend to all earlier keys.
    pub layers: Vec<bool>,
}

/// Properties of the model whose `config.json` is read.
pub(crate) struct ModelFacts<'a> {
    pub model_type: &'a str,
    /// Number of layers of the model.
    pub layers: usize,
    /// Maximum context length of the model.
    pub context: usize,
}

impl SlidingWindow {
    /// Creates a window of `size` for all layers.
    pub fn everywhere(size: usize, layers: usize) -> Self {
        Self {
            size,
            layers: vec![true; layers],
        }
    }

    /// Returns the number of keys that a query of `layer` attends to; `None` for all.
    pub fn of_layer(&self, layer: usize) -> Option<usize> {
        let slides = self.layers.get(layer).copied().unwrap_or(false);
        slides.then_some(self.size)
    }

    /// Reads the keys of a `config.json`; `None` if no layer has a window.
    pub(crate) fn read(fields: &Fields, place: &ModelFacts) -> Result<Option<Self>, ModelError> {
        let size = match fields.stated("sliding_window") {
            // Null means no window. A missing key means the default of `transformers`.
            None => Some(DEFAULT_SIZE),
            Some(_) => fields.size("sliding_window")?,
        };
        // Qwen has this switch. For Mistral, the window size alone decides.
        let switch = fields.flag("use_sliding_window")?;
        let first = fields.size("max_window_layers")?;
        let kinds = layer_types(fields, place.layers)?;
        let window = match place.model_type {
            "mistral" => {
                let strange = |kinds: &Vec<bool>| kinds.contains(&false);
                if size.is_some() && kinds.as_ref().is_some_and(strange) {
                    let expected = "none: all layers of a Mistral have its `sliding_window`";
                    return fields.refuse("layer_types", expected);
                }
                size.map(|size| Self::everywhere(size, place.layers))
            }
            "qwen2" | "qwen3" => {
                let size = size.filter(|_| switch.unwrap_or(false));
                let layers = kinds.unwrap_or_else(|| {
                    let first = first.unwrap_or(DEFAULT_FIRST_LAYER);
                    let slides = |layer| size.is_some() && layer >= first;
                    (0..place.layers).map(slides).collect()
                });
                match size {
                    _ if !layers.contains(&true) => None,
                    Some(size) => Some(Self { size, layers }),
                    None => {
                        let expected = format!(
                            "`{FULL}` alone, or `use_sliding_window` = true with a `sliding_window`"
                        );
                        return fields.refuse("layer_types", &expected);
                    }
                }
            }
            _ => {
                let slides = kinds.is_some_and(|kinds| kinds.contains(&true));
                return refuse_window(fields, place, slides);
            }
        };
        if let Some(window) = &window {
            check_size("sliding_window", "sliding_window", window.size)
                .map_err(|error| ModelError::content(fields.path(), error.to_string()))?;
        }
        Ok(window)
    }

    /// Adds the window to the fields of a `config.json` of the given `model_type`.
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

/// Fails for a Llama with a window: `transformers` ignores these keys, so the file was probably meant for another
/// model.
fn refuse_window<T>(
    fields: &Fields,
    place: &ModelFacts,
    slides: bool,
) -> Result<Option<T>, ModelError> {
    let expected = "none, as a Llama has no window: a model with one is a `mistral`";
    if slides {
        return fields.refuse("layer_types", expected);
    }
    let is_off = fields.flag("use_sliding_window")? == Some(false);
    match fields.size("sliding_window")? {
        Some(size) if size < place.context && !is_off => fields.refuse("sliding_window", expected),
        _ => Ok(None),
    }
}

/// Reads `layer_types`; returns for each layer whether it has the window.
fn layer_types(fields: &Fields, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let Some(value) = fields.get("layer_types") else {
        return Ok(None);
    };
    let kinds: Option<Vec<bool>> = value.as_array().and_then(|kinds| {
        let slides = |kind: &Value| match kind.as_str() {
            Some(SLIDING) => Some(true),
            Some(FULL) => Some(false),
            _ => None,
        };
        kinds.iter().map(slides).collect()
    });
    match kinds {
        None => {
            let expected = format!("`{FULL}` or `{SLIDING}` for each layer");
            fields.refuse("layer_types", &expected)
        }
        Some(kinds) if kinds.len() != layers => {
            fields.refuse("layer_types", &format!("{layers} layers"))
        }
        Some(kinds) => Ok(Some(kinds)),
    }
}
