//! An adapter as PEFT's folder: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::config::NOT_FOR_GPT2;
use super::{A, Adapter, AdapterBase, LoraConfig};
use crate::ModelError;
use crate::checkpoint::write;
use crate::weights::{open, sha256_of_weights, to_tensor, weight_files};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the base.
const PREFIX: &str = "base_model.model.";
/// In the weights' metadata, since PEFT refuses keys in `adapter_config.json` that it does not know.
const BASE_SHA256: &str = "base_sha256";

/// Whether a folder holds an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Writes an adapter into the existing folder `folder`.
///
/// # Errors
/// The file that can't be written.
pub fn save_adapter(folder: &Path, adapter: &Adapter) -> Result<(), ModelError> {
    let lora = &adapter.config;
    let alpha = if lora.alpha.fract() == 0.0 {
        json!(lora.alpha as i64)
    } else {
        json!(lora.alpha)
    };
    let config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": adapter.base.folder,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": lora.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": lora.dora,
        "use_rslora": lora.rank_stabilised,
    });
    write(&folder.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    // One entry and no more: the library writes several in random order, and the same adapter is to be the same file.
    let base = adapter.base.sha256.iter();
    let metadata: HashMap<_, _> = base
        .map(|sha256| (BASE_SHA256.to_owned(), sha256.clone()))
        .collect();
    let named = adapter
        .weights
        .iter()
        .map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor));
    let path = folder.join(WEIGHTS);
    safetensors::serialize_to_file(named, Some(metadata), &path)
        .map_err(|error| ModelError::content(&path, format!("can't be written: {error}")))
}

/// What is read of an `adapter_config.json`. What would change the result and is not computed here is refused.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    #[serde(default)]
    base_model_name_or_path: Option<PathBuf>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl PeftConfig {
    fn refuse_unsupported(&self, path: &Path) -> Result<(), ModelError> {
        if self.peft_type != "LORA" {
            return Err(ModelError::content(
                path,
                format!("`peft_type` is `{}`: expected `LORA`", self.peft_type),
            ));
        }
        if self.rest.get("fan_in_fan_out") == Some(&Value::Bool(true)) {
            let message =
                format!("`fan_in_fan_out` is `true`, as it is for a GPT-2, and {NOT_FOR_GPT2}");
            return Err(ModelError::content(path, message));
        }
        let plain = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text == "none",
            _ => false,
        };
        let unsupported = [
            "alpha_pattern",
            "bias",
            "fan_in_fan_out",
            "layer_replication",
            "lora_bias",
            "modules_to_save",
            "rank_pattern",
        ];
        for key in unsupported {
            if let Some(value) = self.rest.get(key).filter(|value| !plain(value)) {
                return Err(ModelError::content(
                    path,
                    format!("`{key}` is `{value}`, which is not supported: expected it unset"),
                ));
            }
        }
        Ok(())
    }
}

/// Reads an adapter. `base` stands in for the folder that it names as its base; where the adapter knows its base's
/// SHA-256, the folder must hold that base.
///
/// # Errors
/// A file that is missing or not PEFT's; a base that is missing or another one.
pub fn load_adapter(folder: &Path, base: Option<&Path>) -> Result<Adapter, ModelError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(ModelError::file("read", &path))?;
    let peft: PeftConfig = serde_json::from_str(&text)
        .map_err(|error| ModelError::content(&path, error.to_string()))?;
    peft.refuse_unsupported(&path)?;
    let weights_path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&weights_path).map_err(ModelError::file("read", &weights_path))?;
    let mut weights = BTreeMap::new();
    for (name, view) in open(&weights_path, &bytes)?.tensors() {
        let own = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
        weights.insert(own, to_tensor(&weights_path, &view)?);
    }
    let metadata = safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|error| ModelError::content(&weights_path, error.to_string()))?
        .1;
    let base = AdapterBase {
        folder: base
            .map(Path::to_path_buf)
            .or(peft.base_model_name_or_path)
            .unwrap_or_default(),
        sha256: metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(BASE_SHA256).cloned()),
    };
    check_base(folder, &base)?;
    // The names in the file say exactly what is adapted; `target_modules` may be an expression.
    let targets = weights
        .keys()
        .filter_map(|name| name.strip_suffix(&format!(".{A}")))
        .map(str::to_owned)
        .collect();
    let config = LoraConfig {
        rank: peft.r,
        alpha: peft.lora_alpha,
        dropout: peft.lora_dropout,
        targets,
        rank_stabilised: peft.use_rslora,
        dora: peft.use_dora,
    };
    Ok(Adapter {
        config,
        weights,
        base,
    })
}

/// The base is there, and it is the one that the adapter was trained on.
fn check_base(folder: &Path, base: &AdapterBase) -> Result<(), ModelError> {
    if weight_files(&base.folder).is_err() {
        return Err(ModelError::content(
            folder,
            format!(
                "is an adapter for the base `{}`, which is no model folder here: give the base's folder with `--base`",
                base.folder.display()
            ),
        ));
    }
    let Some(expected) = &base.sha256 else {
        return Ok(());
    };
    let found = sha256_of_weights(&base.folder)?;
    if found == *expected {
        return Ok(());
    }
    Err(ModelError::content(
        folder,
        format!(
            "is an adapter for a base whose weights have the SHA-256 `{expected}`, but those of `{}` have `{found}`: \
             give the base that it was trained on",
            base.folder.display()
        ),
    ))
}
