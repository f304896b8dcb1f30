//! Export of a model folder to a GGUF file.

use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use polymath_base::StagedFile;

use super::architecture::Architecture;
use super::parameters::{Stored, layout, reordered_heads, to_pairs};
use super::quantization::{GgufType, store};
use super::vocabulary::Vocabulary;
use super::{config, rotary};
use crate::{ModelConfig, ModelError, ModelSource};

/// Learned positions, which are added to the embeddings. Like llama.cpp's own tools, the export does not quantize
/// them.
const POSITIONS: &str = "model.embed_positions.weight";

/// Options for exporting a model to GGUF.
#[derive(Debug, Clone, Copy)]
pub struct GgufExport<'a> {
    /// Storage type of the matrices.
    pub kind: GgufType,
    /// Chat template of the tokenizer, which is written to the file.
    pub chat_template: Option<&'a str>,
    /// Base of the adapter, if `folder` is one; replaces the base that the adapter names.
    pub base: Option<&'a Path>,
}

/// Writes the model in `folder` as the new GGUF file `file`. An adapter is merged into its base. The content goes to
/// a temporary file, which is synced and renamed. Returns notes for the user, one sentence each.
///
/// # Errors
/// Fails if the file exists, if llama.cpp does not support the family, the tokenizer or the shape, or if the disk is
/// full.
pub fn export_gguf(
    folder: &Path,
    file: &Path,
    options: &GgufExport,
) -> Result<Vec<String>, ModelError> {
    refuse_existing(file)?;
    let source = ModelSource {
        folder,
        base: options.base,
    };
    let config = source.config()?;
    let refuse = |error: ModelError| match error {
        ModelError::Architecture(message) => ModelError::content(folder, message),
        other => other,
    };
    let architecture = Architecture::of(&config).map_err(refuse)?;
    let divisors = rotary::needed(architecture, &config).map_err(refuse)?;
    let tokenizer = source.tokenizer()?;
    let mut vocabulary = Vocabulary::of(&tokenizer, &config, options.chat_template)?;
    let mut notes = std::mem::take(&mut vocabulary.notes);
    notes.extend(fallbacks(&config, options.kind));
    notes.extend(source.unused_content()?);
    let mut keys = vec![
        (
            "general.architecture".to_owned(),
            Value::String(architecture.name().into()),
        ),
        ("general.type".to_owned(), Value::String("model".into())),
        (
            "general.file_type".to_owned(),
            Value::U32(options.kind.file_type()),
        ),
        ("general.quantization_version".to_owned(), Value::U32(2)),
    ];
    keys.extend(config::keys(architecture, &config));
    keys.extend(vocabulary.keys(&config));
    let mut tensors = tensors(folder, &config, architecture, options)?;
    if let Some(divisors) = divisors {
        let divisors = Tensor::new(divisors, &Device::Cpu)?;
        let stored = QTensor::quantize(&divisors, GgmlDType::F32)?;
        tensors.push((rotary::DIVISORS.into(), stored));
    }
    write(file, &keys, &tensors)?;
    Ok(notes)
}

fn refuse_existing(file: &Path) -> Result<(), ModelError> {
    match file.exists() {
        false => Ok(()),
        true => Err(ModelError::content(
            file,
            "is already there: choose another file",
        )),
    }
}

fn is_output(config: &ModelConfig, parameter: &str) -> bool {
    let output = if config.tie_word_embeddings {
        "model.embed_tokens.weight"
    } else {
        "lm_head.weight"
    };
    parameter == output
}

/// Describes the matrices whose type differs from the requested one.
fn fallbacks(config: &ModelConfig, kind: GgufType) -> Option<String> {
    let shapes = config.parameter_shapes();
    let matrices = shapes
        .iter()
        .filter(|(name, shape)| shape.len() == 2 && name != POSITIONS);
    let other: Vec<GgmlDType> = matrices
        .clone()
        .filter(|(name, shape)| kind.falls_back(shape, is_output(config, name)))
        .map(|(name, shape)| kind.of(shape, is_output(config, name)))
        .collect();
    let first = other.first()?;
    Some(format!(
        "the rows of {} of {} matrices are not a whole number of blocks: these are stored in a larger type ({first:?})",
        other.len(),
        matrices.count(),
    ))
}

/// Converts the parameters to their stored type; f32 copies are freed as they are converted.
fn tensors(
    folder: &Path,
    config: &ModelConfig,
    architecture: Architecture,
    options: &GgufExport,
) -> Result<Vec<(String, QTensor)>, ModelError> {
    let source = ModelSource {
        folder,
        base: options.base,
    };
    let mut weights = source.weights()?;
    let mut tensors = Vec::new();
    let layout =
        layout(architecture, config).map_err(|message| ModelError::content(folder, message))?;
    for place in layout {
        let mut parts = Vec::new();
        for (name, shape) in &place.parts {
            let refuse = |message: String| {
                ModelError::content(folder, format!("the parameter `{name}` {message}"))
            };
            let weight = weights
                .remove(name)
                .ok_or_else(|| refuse("is missing".into()))?;
            if weight.dims() != shape {
                return Err(refuse(format!(
                    "has the shape {:?}: `config.json` requires {shape:?}",
                    weight.dims()
                )));
            }
            parts.push(match reordered_heads(architecture, config, name) {
                Some(heads) => to_pairs(&weight, heads)?,
                None => weight,
            });
        }
        let weight = match &parts[..] {
            [alone] => alone.clone(),
            several => Tensor::cat(several, 0)?,
        };
        let stored = store(&weight, type_of(&place, config, options.kind)).map_err(|error| {
            let name = &place.name;
            ModelError::content(
                folder,
                format!("the tensor `{name}` can't be stored: {error}"),
            )
        })?;
        tensors.push((place.name, stored));
    }
    Ok(tensors)
}

/// Returns the storage type of a tensor in the file.
fn type_of(place: &Stored, config: &ModelConfig, kind: GgufType) -> GgmlDType {
    let first = &place.parts[0].0;
    if first == POSITIONS {
        return GgmlDType::F32;
    }
    kind.of(&place.shape(), is_output(config, first))
}

fn write(
    file: &Path,
    keys: &[(String, Value)],
    tensors: &[(String, QTensor)],
) -> Result<(), ModelError> {
    let keys: Vec<(&str, &Value)> = keys.iter().map(|(key, value)| (&key[..], value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (&name[..], tensor))
        .collect();
    let mut staged = StagedFile::create(file).map_err(ModelError::file("write", file))?;
    // Another process may have written the file while this one waited.
    refuse_existing(file)?;
    let mut writer = BufWriter::new(staged.file());
    gguf_file::write(&mut writer, &keys, &tensors)
        .map_err(|error| ModelError::content(file, format!("can't be written: {error}")))?;
    writer.flush().map_err(ModelError::file("write", file))?;
    drop(writer);
    staged
        .commit_new()
        .map_err(ModelError::file("move into place", file))
}
