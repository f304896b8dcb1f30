//! Adapter folders in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::peft::PeftConfig;
use super::{A, Adapter, AdapterBase, LoraConfig, NamedBase};
use crate::ModelError;
use crate::model_folder::write;
use crate::safetensors_file::{SafetensorsFile, write_safetensors};
use crate::weights::{refuse_non_finite, sha256_of_weights, weight_files};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Prefix that PEFT puts before the parameter names of the base.
const PREFIX: &str = "base_model.model.";
/// Key in the metadata of the weights file: PEFT refuses unknown keys in `adapter_config.json`.
const BASE_SHA256: &str = "base_sha256";

/// Returns true if a folder holds an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Writes an adapter into the existing folder `folder`.
///
/// # Errors
/// Fails if a parameter is not finite or a file can't be written.
pub fn save_adapter(folder: &Path, adapter: &Adapter) -> Result<(), ModelError> {
    let lora = &adapter.config;
    let alpha = if lora.alpha.fract() == 0.0 {
        json!(lora.alpha as i64)
    } else {
        json!(lora.alpha)
    };
    refuse_non_finite(adapter.weights.iter())?;
    let named = adapter.base.named();
    let config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": named.name,
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
        "revision": named.revision,
        "target_modules": lora.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": lora.dora,
        "use_rslora": lora.rank_stabilised,
    });
    write(&folder.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    // The metadata has a single entry: the library writes several entries in random order, but equal adapters must
    // give equal files.
    let base = adapter.base.sha256.iter();
    let metadata: HashMap<_, _> = base
        .map(|sha256| (BASE_SHA256.to_owned(), sha256.clone()))
        .collect();
    let named = adapter
        .weights
        .iter()
        .map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor));
    let path = folder.join(WEIGHTS);
    write_safetensors(&path, named, Some(metadata))
        .map_err(|error| ModelError::content(&path, format!("can't be written: {error}")))
}

fn read_config(folder: &Path) -> Result<PeftConfig, ModelError> {
    let path = folder.join(CONFIG);
    PeftConfig::read(&path, &polymath_input::read_text(&path)?)
}

/// Returns the base that an adapter's folder names: a folder, or a model on the hub.
pub fn named_base(folder: &Path) -> Result<NamedBase, ModelError> {
    Ok(read_config(folder)?.base)
}

/// Returns the folder of an adapter's base, or `base` if given, without checking that it is the right base.
///
/// # Errors
/// Fails as [`named_base`] does, or if the folder holds no model.
pub(crate) fn base_folder(folder: &Path, base: Option<&Path>) -> Result<PathBuf, ModelError> {
    let found = match base {
        Some(base) => base.to_path_buf(),
        None => named_base(folder)?.name.into(),
    };
    if weight_files(&found).is_ok() {
        return Ok(found);
    }
    Err(ModelError::content(
        folder,
        format!(
            "is an adapter for the base `{}`, which is not a model folder here: give the base's folder with `--base`",
            found.display()
        ),
    ))
}

/// Reads an adapter. `base` replaces the folder of the base that the adapter names. If the adapter records the
/// SHA-256 of its base, the folder must hold that base.
///
/// # Errors
/// Fails if a file is missing or not in PEFT's format, or if the base is missing or a different model.
pub fn load_adapter(folder: &Path, base: Option<&Path>) -> Result<Adapter, ModelError> {
    let mut adapter = read_adapter(folder)?;
    adapter.base.folder = base_folder(folder, base)?;
    check_base(folder, &adapter.base)?;
    Ok(adapter)
}

/// Reads an adapter without its base. The folder of its base is the one that it names, which may not exist.
///
/// # Errors
/// Fails if a file is missing or not in PEFT's format.
pub fn read_adapter(folder: &Path) -> Result<Adapter, ModelError> {
    let peft = read_config(folder)?;
    let file = SafetensorsFile::open(&folder.join(WEIGHTS))?;
    let sha256 = file
        .metadata()
        .and_then(|metadata| metadata.get(BASE_SHA256).cloned());
    let base = AdapterBase {
        folder: peft.base.name.clone().into(),
        published: None,
        sha256,
    };
    let mut weights = BTreeMap::new();
    for (name, tensor) in file.read_all(file.names())? {
        let own = name.strip_prefix(PREFIX).unwrap_or(&name);
        if weights.insert(own.to_owned(), tensor).is_some() {
            let message = format!("has the parameter `{own}` twice, with `{PREFIX}` and without");
            return Err(ModelError::content(&folder.join(WEIGHTS), message));
        }
    }
    // The parameter names tell exactly which modules are adapted, while `target_modules` may be a regular expression.
    let targets: Vec<String> = weights
        .keys()
        .filter_map(|name| name.strip_suffix(&format!(".{A}")))
        .map(str::to_owned)
        .collect();
    peft.check_targets(&folder.join(CONFIG), &targets)?;
    let config = LoraConfig {
        targets,
        ..peft.lora
    };
    Ok(Adapter {
        config,
        weights,
        base,
    })
}

/// Checks that the base is the one that the adapter was trained on.
fn check_base(folder: &Path, base: &AdapterBase) -> Result<(), ModelError> {
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
