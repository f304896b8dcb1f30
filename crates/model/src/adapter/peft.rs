//! PEFT's `adapter_config.json`: the keys that are read, and the values that other keys may have.

use std::path::Path;

use serde_json::Value;

use super::config::{NOT_FOR_GPT2, names};
use super::{LoraConfig, NamedBase};
use crate::ModelError;
use crate::fields::{Fields, is_neutral};

/// Maximum rank; no known model is wider.
const LARGEST_RANK: usize = 1 << 20;

/// Content of an `adapter_config.json`.
pub(super) struct PeftConfig {
    pub base: NamedBase,
    /// LoRA settings without the targets, since the parameter names in the weights file tell exactly which modules
    /// are adapted.
    pub lora: LoraConfig,
    targets: Targets,
}

/// Modules that PEFT would adapt with this config.
#[derive(Default)]
struct Targets {
    /// Ends of the module names; `None` for a regular expression.
    ends: Option<Vec<String>>,
    /// Ends of the names of modules that are excluded from adaptation.
    excluded: Vec<String>,
    /// Indices of the adapted layers; `None` for all layers.
    layers: Option<Vec<u64>>,
}

/// Keys that have no effect with any value: provenance, initialization, training settings, and parameters of options
/// that are off.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    // The initialization of A and B does not matter once they are trained.
    "eva_config",
    "inference_mode",
    // The parameter names in the file tell which layers are adapted.
    "layers_pattern",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "runtime_config",
];
/// Initializations that leave the base unchanged. The others (`pissa`, `olora`, `corda`, `loftq`, `lora_ga`) change it.
const INITIALIZATIONS: &[&str] = &["gaussian", "orthogonal", "eva", "mica"];

impl PeftConfig {
    /// Parses the text of an `adapter_config.json`. Only keys and values that are known to be supported or to have no
    /// effect are accepted.
    ///
    /// # Errors
    /// Fails if a key or value is not supported; the error names the key.
    pub fn read(path: &Path, text: &str) -> Result<Self, ModelError> {
        let fields = Fields::parse(path, text)?;
        if fields.text("peft_type")? != Some("LORA") {
            return fields.refuse("peft_type", "`LORA`");
        }
        let task = fields.text("task_type")?;
        if task.is_some_and(|task| task != "CAUSAL_LM") {
            return fields.refuse("task_type", "`CAUSAL_LM`: an adapter of a language model");
        }
        if fields.flag("fan_in_fan_out")? == Some(true) {
            let message =
                format!("`fan_in_fan_out` is `true`, as it is for a GPT-2, and {NOT_FOR_GPT2}");
            return Err(ModelError::content(path, message));
        }
        check_initialization(&fields)?;
        if fields.text("bias")?.is_some_and(|bias| bias != "none") {
            return fields.refuse("bias", "`none`: biases that were trained are not read");
        }
        let lora = read_lora(&fields)?;
        let targets = Targets::read(&fields)?;
        let base = NamedBase {
            name: fields
                .text("base_model_name_or_path")?
                .unwrap_or_default()
                .to_owned(),
            revision: fields.text("revision")?.map(str::to_owned),
        };
        for (key, value) in fields.unread() {
            if !WITHOUT_EFFECT.contains(&key) && !is_neutral(value) {
                return fields.refuse(key, hint(key));
            }
        }
        Ok(Self {
            base,
            lora,
            targets,
        })
    }

    /// Checks that PEFT would adapt each of these modules with this config, too.
    ///
    /// # Errors
    /// Fails if the config does not select one of the modules.
    pub fn check_targets(&self, path: &Path, modules: &[String]) -> Result<(), ModelError> {
        match modules.iter().find(|module| !self.targets.has(module)) {
            None => Ok(()),
            Some(module) => Err(ModelError::content(
                path,
                format!(
                    "the weights adapt `{module}`, which `target_modules`, `exclude_modules` and `layers_to_transform` \
                     leave out: expected config and weights of one adapter"
                ),
            )),
        }
    }
}

fn read_lora(fields: &Fields) -> Result<LoraConfig, ModelError> {
    let rank = fields.required_size("r")?;
    if !(1..=LARGEST_RANK).contains(&rank) {
        return fields.refuse("r", &format!("a rank from 1 to {LARGEST_RANK}"));
    }
    let Some(alpha) = fields.real("lora_alpha")? else {
        return fields.refuse("lora_alpha", "a number");
    };
    let dropout = fields.real("lora_dropout")?.unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        return fields.refuse("lora_dropout", "a share from 0 to below 1");
    }
    Ok(LoraConfig {
        rank,
        alpha,
        dropout,
        targets: Vec::new(),
        rank_stabilised: fields.flag("use_rslora")?.unwrap_or(false),
        dora: fields.flag("use_dora")?.unwrap_or(false),
    })
}

/// Checks `init_lora_weights`: with some values, PEFT has changed the base's weights.
fn check_initialization(fields: &Fields) -> Result<(), ModelError> {
    match fields.get("init_lora_weights") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if INITIALIZATIONS.contains(&name.as_str()) => Ok(()),
        Some(_) => fields.refuse(
            "init_lora_weights",
            "true, false, `gaussian`, `orthogonal`, `eva` or `mica`. The others change the base's weights before training: \
             save the adapter with PEFT's `path_initial_model_for_weight_conversion`, or merged with `merge_and_unload`",
        ),
    }
}

fn hint(key: &str) -> &'static str {
    match key {
        "modules_to_save" | "trainable_token_indices" | "target_parameters" | "lora_bias" => {
            "none: such parameters are not read; merge the adapter where it was made, with PEFT's `merge_and_unload`"
        }
        "rank_pattern" | "alpha_pattern" => "{}: one rank and one scale for all modules",
        "alora_invocation_tokens" => {
            "null: an adapter that tokens of the text activate is not supported"
        }
        _ => "it unset: this program does not compute it, or does not know it",
    }
}

impl Targets {
    fn read(fields: &Fields) -> Result<Self, ModelError> {
        let list = |key: &str| -> Result<Option<Vec<String>>, ModelError> {
            match fields.get(key) {
                None => Ok(Some(Vec::new())),
                // Either a Python regular expression, or `all-linear`.
                Some(Value::String(_)) => Ok(None),
                Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                    let names = names.iter().filter_map(Value::as_str);
                    Ok(Some(names.map(str::to_owned).collect()))
                }
                Some(_) => fields.refuse(key, "a list of names, or an expression"),
            }
        };
        let ends = list("target_modules")?.filter(|ends| !ends.is_empty());
        let Some(excluded) = list("exclude_modules")? else {
            return fields.refuse("exclude_modules", "a list of names");
        };
        let layers = match fields.get("layers_to_transform") {
            None => None,
            Some(Value::Array(list)) if list.is_empty() => None,
            Some(Value::Array(list)) => list.iter().map(Value::as_u64).collect(),
            Some(one) => one.as_u64().map(|layer| vec![layer]),
        };
        if layers.is_none()
            && fields
                .get("layers_to_transform")
                .is_some_and(|v| !is_neutral(v))
        {
            return fields.refuse("layers_to_transform", "a layer, or a list of layers");
        }
        Ok(Self {
            ends,
            excluded,
            layers,
        })
    }

    fn has(&self, module: &str) -> bool {
        let ends_with = |ends: &[String]| ends.iter().any(|end| names(end, module));
        let named = self.ends.as_deref().is_none_or(ends_with);
        let layer = module
            .split('.')
            .skip_while(|part| *part != "layers")
            .nth(1)
            .and_then(|layer| layer.parse().ok());
        let in_layers = match (&self.layers, layer) {
            (None, _) => true,
            (Some(layers), Some(layer)) => layers.contains(&layer),
            (Some(_), None) => false,
        };
        named && in_layers && !ends_with(&self.excluded)
    }
}
