//! The weights of a model folder: one safetensors file, or several that an index names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use crate::digest::{sha256_of_bytes, sha256_of_file};
use crate::safetensors_file::SafetensorsFile;
use crate::stored::stored;
use crate::{Family, ModelConfig, ModelError};

pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Where large models are cut into several files: which parameter is in which.
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold a model's weights, sorted by name.
///
/// # Errors
/// There are none, or the index is broken or names one that is not there.
pub(crate) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let whole = folder.join(WEIGHTS);
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let path = folder.join(INDEX);
    if !path.is_file() {
        return Err(ModelError::content(
            folder,
            format!(
                "has neither `{WEIGHTS}` nor `{INDEX}`: weights in `.bin` or `.pt` are pickled programs and not read; \
                 save the model with `save_pretrained(…, safe_serialization=True)`"
            ),
        ));
    }
    let text = polymath_input::read_json_text(&path)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| ModelError::content(&path, error.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(ModelError::content(
            &path,
            format!("names `{}`, which is not there", missing.display()),
        )),
        None => Ok(files),
    }
}

/// Tells a model's weights apart from all others: the SHA-256 of `model.safetensors`, or, of several files, that of
/// theirs in order.
///
/// # Errors
/// No weights, or a file that can't be read.
pub fn sha256_of_weights(folder: &Path) -> Result<String, ModelError> {
    let digest = |path: &PathBuf| sha256_of_file(path).map_err(ModelError::file("read", path));
    let digests: Vec<String> = weight_files(folder)?
        .iter()
        .map(digest)
        .collect::<Result<_, _>>()?;
    match &digests[..] {
        [whole] => Ok(whole.clone()),
        several => Ok(sha256_of_bytes(several.concat().as_bytes())),
    }
}

/// The parameters that `config` asks for, by our names, as f32 on the CPU. Beside them, memory holds a stretch of a file for each thread.
///
/// # Errors
/// A file that is missing or cut off, a parameter that is in none.
pub(crate) fn read_weights(
    folder: &Path,
    config: &ModelConfig,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let mut missing = stored(config);
    let mut weights = BTreeMap::new();
    let files = weight_files(folder)?;
    for path in &files {
        let file = SafetensorsFile::open(path)?;
        let (mut names, mut tensors) = (Vec::new(), Vec::new());
        for name in file.names() {
            let wanted = missing.iter().position(|tensor| tensor.is_called(&name));
            if let Some(wanted) = wanted {
                tensors.push(missing.remove(wanted));
                names.push(name);
            }
        }
        for (tensor, (_, values)) in tensors.iter().zip(file.read_all(names)?) {
            weights.extend(tensor.split(values)?);
        }
    }
    match missing.first() {
        Some(tensor) => {
            let place = if let [whole] = &files[..] {
                whole
            } else {
                folder
            };
            let message = format!("the parameter `{}` is missing", tensor.name);
            Err(ModelError::content(place, message))
        }
        None => Ok(weights),
    }
}

/// Writes parameters as the file `path` of a model folder, under the names that such a model has there.
///
/// # Errors
/// A parameter that is missing; a file that can't be written.
pub(crate) fn write_weights<N: AsRef<str> + Ord + Display>(
    path: &Path,
    config: &ModelConfig,
    weights: BTreeMap<N, Tensor>,
) -> Result<(), ModelError> {
    // `transformers` reads this to know whose memory layout the file has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = match config.family {
        Family::Llama => safetensors::serialize_to_file(weights, Some(metadata), path),
        Family::Gpt2 => {
            let named = weights.iter();
            let named: BTreeMap<&str, &Tensor> = named
                .map(|(name, tensor)| (name.as_ref(), tensor))
                .collect();
            let mut tensors = BTreeMap::new();
            for tensor in stored(config) {
                let Some(whole) = tensor.join(&named)? else {
                    let missing = tensor.parameters.join("`, `");
                    let message = format!("one of the parameters `{missing}` is missing");
                    return Err(ModelError::content(path, message));
                };
                tensors.insert(tensor.name, whole);
            }
            safetensors::serialize_to_file(tensors, Some(metadata), path)
        }
    };
    written.map_err(|error| ModelError::content(path, format!("can't be written: {error}")))
}
