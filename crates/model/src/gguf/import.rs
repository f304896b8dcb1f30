//! Import of a GGUF file as a model folder.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::{Device, Tensor};
use polymath_base::StagedFolder;
use polymath_ops::is_finite;

use super::MAGIC;
use super::architecture::{Architecture, KNOWN};
use super::config::{self, OtherFacts};
use super::imported_tokenizer::ImportedTokenizer;
use super::metadata::Metadata;
use super::parameters::{OUTPUT, layout, reordered_heads, to_halves};
use super::rotary;
use super::vocabulary::SETTINGS;
use crate::model_folder::TOKENIZER;
use crate::{ModelConfig, ModelError, TokenizerFiles, save_weights};

/// Maximum number of values per byte of a GGUF file (2 bits per weight, not counting scales).
const VALUES_OF_A_BYTE: usize = 4;

/// Converts the GGUF `file`, in any type that Candle reads, to the new Hugging Face folder `folder` with f32 weights,
/// through a temporary folder that is synced and renamed.
///
/// # Errors
/// Fails if the folder exists, if the file is truncated or not GGUF, or if the architecture, the tokenizer or a
/// setting is not supported.
pub fn import_gguf(file: &Path, folder: &Path) -> Result<(), ModelError> {
    refuse_taken(folder)?;
    polymath_input::refuse_pointer(file)?;
    let bytes = polymath_base::read(file).map_err(ModelError::file("read", file))?;
    let content = open(file, &bytes)?;
    let metadata = Metadata {
        path: file,
        architecture: architecture(file, &content)?,
        values: &content.metadata,
    };
    let tokenizer = ImportedTokenizer::of(&metadata)?;
    let facts = OtherFacts {
        vocab_size: tokenizer.vocab_size,
        tied: !content.tensor_infos.contains_key(OUTPUT),
        bos_token_id: tokenizer.bos_token_id,
        eos_token_id: tokenizer.eos_token_id,
        other_eos_token_ids: tokenizer.other_eos_token_ids.clone(),
    };
    let config = config::read(&metadata, facts)?;
    let reader = Reader {
        bytes: &bytes,
        content: &content,
        metadata: &metadata,
    };
    let config = reader.with_scaling(config)?;
    let weights = reader.weights(&config)?;
    let mut files = TokenizerFiles::default();
    files.set(TOKENIZER, tokenizer.tokenizer.into_bytes());
    files.set(SETTINGS, tokenizer.settings.into_bytes());
    into_place(folder, &|beside| {
        save_weights(beside, &config, weights.clone(), &files)
    })
}

fn refuse_taken(folder: &Path) -> Result<(), ModelError> {
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !empty {
        return Err(ModelError::content(
            folder,
            "is already there: choose another folder",
        ));
    }
    Ok(())
}

fn open(file: &Path, bytes: &[u8]) -> Result<Content, ModelError> {
    let refuse = |message: &str| ModelError::content(file, message);
    if !bytes.starts_with(MAGIC) {
        return Err(refuse("is not a GGUF file, which would begin with `GGUF`"));
    }
    if has_no_alignment(bytes) {
        return Err(refuse("`general.alignment` is 0: expected a power of two"));
    }
    Content::read(&mut Cursor::new(bytes)).map_err(|error| {
        refuse(&format!(
            "is not a whole GGUF file of version 2 or 3 with supported types ({}): it may have been cut off \
             while copied",
            first_line(&error)
        ))
    })
}

/// Returns true if the file gives an alignment of 0 bytes. Candle would divide by it and panic.
fn has_no_alignment(bytes: &[u8]) -> bool {
    const KEY: &[u8] = b"general.alignment";
    // After the key come the type's number (8, 16 or 32 bits, signed or unsigned) and the value.
    let is_zero = |rest: &[u8]| {
        let width = match rest
            .first_chunk::<4>()
            .map(|kind| u32::from_le_bytes(*kind))
        {
            Some(0 | 1) => 1,
            Some(2 | 3) => 2,
            Some(4 | 5) => 4,
            _ => return false,
        };
        let value = rest.get(4..4 + width);
        value.is_some_and(|value| value.iter().all(|byte| *byte == 0))
    };
    bytes
        .windows(KEY.len())
        .enumerate()
        .any(|(at, window)| window == KEY && is_zero(&bytes[at + KEY.len()..]))
}

/// Returns the first line of an error. Candle appends its call stack to some messages.
fn first_line(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn architecture(file: &Path, content: &Content) -> Result<Architecture, ModelError> {
    let key = "general.architecture";
    let refuse = |message: String| ModelError::content(file, message);
    let Some(Value::String(name)) = content.metadata.get(key) else {
        return Err(refuse(format!("`{key}` is missing: expected {KNOWN}")));
    };
    Architecture::named(name).ok_or_else(|| {
        refuse(format!(
            "`{key}` is `{name}`, which is not supported: expected {KNOWN}"
        ))
    })
}

/// Reader of a GGUF file's tensors.
struct Reader<'a> {
    bytes: &'a [u8],
    content: &'a Content,
    metadata: &'a Metadata<'a>,
}

impl Reader<'_> {
    /// Adds a rotary scaling that is given by a tensor only.
    fn with_scaling(&self, config: ModelConfig) -> Result<ModelConfig, ModelError> {
        if !self.has_divisors() {
            return Ok(config);
        }
        if config.rope_scaling.is_some() {
            return Err(self.metadata.refuse(
                "rope.scaling.factor",
                format!(
                    "is given beside the tensor `{}`: expected one scaling",
                    rotary::DIVISORS
                ),
            ));
        }
        let found = self.tensor(rotary::DIVISORS, &[config.head_dim / 2])?;
        let scaling = rotary::from_divisors(self.metadata, &config, &found.to_vec1::<f32>()?)?;
        Ok(ModelConfig {
            rope_scaling: Some(scaling),
            ..config
        })
    }

    /// Returns true if the file has rotary divisors and its architecture is one for which llama.cpp reads them.
    fn has_divisors(&self) -> bool {
        self.metadata.architecture == Architecture::Llama
            && self.content.tensor_infos.contains_key(rotary::DIVISORS)
    }

    /// Reads every parameter of the model as f32, by its Hugging Face name.
    fn weights(&self, config: &ModelConfig) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let infos = &self.content.tensor_infos;
        // The file may give any number of blocks, but each block has tensors.
        if config.num_hidden_layers > infos.len() {
            return Err(self.metadata.refuse(
                "block_count",
                format!(
                    "is {}, but there are {} tensors",
                    config.num_hidden_layers,
                    infos.len()
                ),
            ));
        }
        let architecture = self.metadata.architecture;
        let mut unknown: BTreeMap<&str, &TensorInfo> =
            infos.iter().map(|(name, info)| (&name[..], info)).collect();
        if self.has_divisors() {
            unknown.remove(rotary::DIVISORS);
        }
        let layout =
            layout(architecture, config).map_err(|message| self.metadata.content(message))?;
        let mut values = 0usize;
        for place in &layout {
            unknown.remove(&place.name[..]);
            let shape = place.shape();
            let count = shape
                .iter()
                .try_fold(1usize, |count, size| count.checked_mul(*size));
            values = values.saturating_add(count.unwrap_or(usize::MAX));
        }
        if let Some(name) = unknown.keys().next() {
            return Err(self.metadata.content(format!(
                "has the tensor `{name}`, which no supported `{}` has",
                architecture.name()
            )));
        }
        if values.div_ceil(VALUES_OF_A_BYTE) > self.bytes.len() {
            return Err(self.metadata.content(format!(
                "has {} bytes, which can't be the {values} parameters that it states: it may have been cut off while \
                 copied",
                self.bytes.len()
            )));
        }
        let mut weights = BTreeMap::new();
        for place in layout {
            let whole = self.tensor(&place.name, &place.shape())?;
            let mut row = 0;
            for (name, shape) in place.parts {
                // The part is copied, so that the whole tensor can be freed.
                let part = match shape[0] == whole.dim(0)? {
                    true => whole.clone(),
                    false => whole.narrow(0, row, shape[0])?.copy()?,
                };
                row += shape[0];
                let weight = match reordered_heads(architecture, config, &name) {
                    Some(heads) => to_halves(&part, heads)?,
                    None => part,
                };
                weights.insert(name, weight);
            }
        }
        Ok(weights)
    }

    /// Reads a tensor of the given shape as f32.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let refuse = |message: String| {
            self.metadata
                .content(format!("the tensor `{name}` {message}"))
        };
        let info = self.content.tensor_infos.get(name);
        let info = info.ok_or_else(|| refuse("is missing".into()))?;
        // The shape is checked before reading, because Candle multiplies the sizes in the file without checks.
        if info.shape.dims() != shape {
            return Err(refuse(format!(
                "has the shape {:?}: the file's own keys require {shape:?}",
                info.shape.dims()
            )));
        }
        let mut reader = Cursor::new(self.bytes);
        let tensor = info
            .read(&mut reader, self.content.tensor_data_offset, &Device::Cpu)
            .and_then(|stored| stored.dequantize(&Device::Cpu))
            .map_err(|error| {
                refuse(format!(
                    "can't be read ({}): the file may have been cut off while copied",
                    first_line(&error)
                ))
            })?;
        if !is_finite(&tensor)? {
            return Err(ModelError::NotFinite {
                path: self.metadata.path.to_path_buf(),
                name: name.to_owned(),
            });
        }
        Ok(tensor)
    }
}

/// Creates a temporary folder, lets `fill` write into it, and renames it to `folder` once everything is on the disk.
fn into_place(
    folder: &Path,
    fill: &dyn Fn(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(ModelError::file("make the folder", parent))?;
    }
    let staged =
        StagedFolder::create(folder).map_err(ModelError::file("make the folder", folder))?;
    fill(staged.path())?;
    refuse_taken(folder)?;
    staged
        .commit_new()
        .map_err(ModelError::file("move into place", folder))
}
