//! Weights of a model folder: one safetensors file, or several named by an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use candle_core::Tensor;
use polymath_ops::is_finite;
use serde::Deserialize;

use crate::safetensors_file::{SafetensorsFile, write_safetensors};
use crate::stored::{Stored, stored};
use crate::{Family, HEAD, ModelConfig, ModelError, available_memory};
use polymath_base::{sha256_of_bytes, sha256_of_file};

pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Index file of a model in several files, which gives the file of each parameter.
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the files that hold a model's weights, sorted by name.
///
/// # Errors
/// Fails if there are none, or if the index is not valid or names a missing file.
pub(crate) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let whole = folder.join(WEIGHTS);
    if polymath_input::is_file(&whole)? {
        return Ok(vec![whole]);
    }
    let path = folder.join(INDEX);
    if !polymath_input::is_file(&path)? {
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
    if let Some(name) = names.iter().find(|name| !stays_inside(name)) {
        return Err(ModelError::content(
            &path,
            format!(
                "names `{name}`, which leads out of the folder: expected files beside the index"
            ),
        ));
    }
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(ModelError::content(
            &path,
            format!("names `{}`, which is not there", missing.display()),
        )),
        None => Ok(files),
    }
}

/// Returns true if a file of this name is within the folder: the name is not absolute and has no `..`.
fn stays_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !name.contains('\\')
}

/// Returns a digest that identifies a model's weights: the SHA-256 of `model.safetensors`, or, for several files, that
/// of their digests in order.
///
/// # Errors
/// Fails if there are no weights or a file can't be read.
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

/// Reads the parameters of `config` as f32 on the CPU. In addition to them, memory holds one chunk of a file per
/// thread.
///
/// # Errors
/// Fails if a file is missing or truncated, if a parameter is missing, if a tensor belongs to another architecture,
/// or if a value is not finite.
pub(crate) fn read_weights(
    folder: &Path,
    config: &ModelConfig,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    refuse_too_large(folder, config)?;
    let all = stored(config);
    let mut missing: BTreeSet<usize> = (0..all.len()).collect();
    let places = TensorIndex::of(&all);
    let mut weights = BTreeMap::new();
    let mut unused = UnusedTensors::default();
    let files = weight_files(folder)?;
    for path in &files {
        let file = SafetensorsFile::open(path)?;
        let (mut names, mut tensors) = (Vec::new(), Vec::new());
        for name in file.names() {
            match places.find(&name) {
                Some(at) if missing.remove(&at) => {
                    tensors.push(&all[at]);
                    names.push(name);
                }
                Some(_) => return Err(stored_twice(&name, path)),
                None => unused.add(name, config),
            }
        }
        for (tensor, (_, values)) in tensors.iter().zip(file.read_all(names)?) {
            weights.extend(tensor.split(values)?);
        }
    }
    let place = match &files[..] {
        [whole] => whole,
        _ => folder,
    };
    if let Some(at) = missing.first() {
        let message = format!("the parameter `{}` is missing", all[*at].name);
        return Err(ModelError::content(place, message));
    }
    unused.refuse_own(place, config)?;
    Ok(weights)
}

/// Returns the unused tensors of a folder's files that do not belong to the model itself, such as heads of other
/// tasks.
///
/// # Errors
/// Fails if a file is missing or truncated.
pub(crate) fn unused_tensors(
    folder: &Path,
    config: &ModelConfig,
) -> Result<Vec<String>, ModelError> {
    let all = stored(config);
    let places = TensorIndex::of(&all);
    let mut unused = UnusedTensors::default();
    for path in weight_files(folder)? {
        for name in SafetensorsFile::open(&path)?.names() {
            if places.find(&name).is_none() {
                unused.add(name, config);
            }
        }
    }
    Ok(unused.others)
}

/// Returns true if the file has an output projection with other values than the embedding. Then the two are not tied,
/// even if `config.json` states otherwise, as in `transformers`.
///
/// # Errors
/// Fails if a file can't be read.
pub(crate) fn has_own_head(folder: &Path, config: &ModelConfig) -> Result<bool, ModelError> {
    // Missing or invalid files are reported when the weights are read.
    let Ok(files) = weight_files(folder) else {
        return Ok(false);
    };
    let embedding = stored(config).swap_remove(0);
    let (mut head, mut rows) = (None, None);
    for path in files {
        let Ok(file) = SafetensorsFile::open(&path) else {
            return Ok(false);
        };
        let file = Rc::new(file);
        if file.has(HEAD) {
            head = Some(Rc::clone(&file));
        }
        for name in file.names() {
            if embedding.is_called(&name) {
                rows = Some((Rc::clone(&file), name));
            }
        }
    }
    match (head, rows) {
        (Some(head), Some((file, name))) => Ok(!head.is_same(HEAD, &file, &name)?),
        _ => Ok(false),
    }
}

/// Fails if the weights do not fit into memory, before they are read.
fn refuse_too_large(folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let needed = config.parameter_count() * size_of::<f32>() as u64;
    match available_memory() {
        Some(available) if needed > available => Err(ModelError::content(
            folder,
            format!(
                "has weights of {} MB in f32, and {} MB of memory are available: free some, or raise the limit \
                 (`ulimit -v`, the control group's)",
                needed.div_ceil(1_000_000),
                available / 1_000_000
            ),
        )),
        _ => Ok(()),
    }
}

/// Index of a model's tensors by the names that they may have in a file.
struct TensorIndex<'a>(HashMap<&'a str, usize>);

impl<'a> TensorIndex<'a> {
    fn of(all: &'a [Stored]) -> Self {
        let names = all.iter().enumerate();
        Self(
            names
                .flat_map(|(at, tensor)| tensor.names().map(move |name| (name, at)))
                .collect(),
        )
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }
}

/// Returns the error for a tensor that an earlier file, or this one under another name, already has.
fn stored_twice(name: &str, path: &Path) -> ModelError {
    let message = format!(
        "has `{name}`, which the model's files before it have too, so that it is not known which one counts: one of the \
         files is of another model, fetch them again"
    );
    ModelError::content(path, message)
}

/// Unused tensors of a model's files.
#[derive(Default)]
struct UnusedTensors {
    /// Names of tensors that belong to the model's layers.
    own: Vec<String>,
    /// Names of unused tensors that do not belong to the model's layers.
    others: Vec<String>,
}

impl UnusedTensors {
    fn add(&mut self, name: String, config: &ModelConfig) {
        let gpt2 = config.family == Family::Gpt2;
        // Older files contain rotary frequencies and the causal mask, and some contain a head that equals the
        // embedding.
        let is_computed = name.ends_with(".rotary_emb.inv_freq")
            || gpt2 && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
        let is_tied = name == HEAD && config.tie_word_embeddings;
        if is_computed || is_tied {
            return;
        }
        let parts: &[&str] = match config.family {
            Family::Llama => &["model.", "lm_head."],
            Family::Gpt2 => &["transformer.", "h.", "wte.", "wpe.", "ln_f.", "lm_head."],
        };
        match parts.iter().any(|part| name.starts_with(part)) {
            true => self.own.push(name),
            false => self.others.push(name),
        }
    }

    /// Fails if there are unused tensors in the model's layers: without them, the model would compute something else
    /// than it was trained for.
    fn refuse_own(&self, place: &Path, config: &ModelConfig) -> Result<(), ModelError> {
        if self.own.is_empty() {
            return Ok(());
        }
        Err(ModelError::content(
            place,
            format!(
                "has {} that a model of its `config.json` ({} layers) has no place for: {}. Without them it would compute \
                 something else; check `model_type` and the numbers in `config.json`, or remove them from the file",
                counted(self.own.len(), "tensor"),
                config.num_hidden_layers,
                listed(&self.own)
            ),
        ))
    }
}

/// Formats a count with its noun in singular or plural.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Formats a list of names for a message, cut after the first few.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = names.iter().take(SHOWN).map(|name| format!("`{name}`"));
    let mut text = first.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

/// Checks that all values are finite before saving.
///
/// # Errors
/// Fails if a parameter has a NaN or infinite value; the error names it.
pub(crate) fn refuse_non_finite<'a, N: AsRef<str> + 'a>(
    weights: impl Iterator<Item = (N, &'a Tensor)>,
) -> Result<(), ModelError> {
    for (name, tensor) in weights {
        if !is_finite(tensor)? {
            return Err(ModelError::Unsaved(name.as_ref().to_owned()));
        }
    }
    Ok(())
}

/// Writes parameters to the file `path` of a model folder, under the names of the model's family.
///
/// # Errors
/// Fails if a parameter is missing or not finite, or if the file can't be written.
pub(crate) fn write_weights<N: AsRef<str> + Ord + Display>(
    path: &Path,
    config: &ModelConfig,
    weights: BTreeMap<N, Tensor>,
) -> Result<(), ModelError> {
    refuse_non_finite(weights.iter())?;
    // `transformers` requires this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = match config.family {
        Family::Llama => write_safetensors(path, weights, Some(metadata)),
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
            write_safetensors(path, tensors, Some(metadata))
        }
    };
    written.map_err(|error| ModelError::content(path, format!("can't be written: {error}")))
}
