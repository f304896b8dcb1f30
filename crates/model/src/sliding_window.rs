//! Attention that sees the last keys only (Beltagy 2020, Jiang 2023), in all layers or some: how `config.json` says so.

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::sizes::check_size;

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

/// The model whose `config.json` is read.
pub(crate) struct Place<'a> {
    pub model_type: &'a str,
    /// Its layers.
    pub layers: usize,
    /// Its longest context.
    pub context: usize,
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

    /// Reads the keys of a `config.json`; `None` where no layer has a window.
    pub(crate) fn read(fields: &Fields, place: &Place) -> Result<Option<Self>, ModelError> {
        let size = match fields.stated("sliding_window") {
            // Null is no window, but none at all is `transformers`' own.
            None => Some(DEFAULT_SIZE),
            Some(_) => fields.size("sliding_window")?,
        };
        // Qwen's switch; Mistral has none, its window alone decides.
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

/// A Llama has no window: `transformers` ignores the keys, and whoever wrote them meant another model.
fn refuse_window<T>(fields: &Fields, place: &Place, slides: bool) -> Result<Option<T>, ModelError> {
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

/// Of each layer, whether `layer_types` gives it a window.
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
