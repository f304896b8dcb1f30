//! Diagonal empirical Fisher information of the base on a domain, cached in files beside the base.
//!
//! One sample is one row: packed tokens of the domain's training text, in the row length of the run. With g the
//! gradient of the row's summed −ln p, F = Σ g² / Σ tokens over the rows. Since F is per token, ½ΣF(θ − θ₀)²
//! estimates the increase of the loss per token for any row length.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use polymath_base::StagedFolder;
use polymath_base::sha256_of_bytes;
use polymath_data::{BATCH_RULE, Batch, BatchShape, MixturePart, MixtureStream, TokenShard};
use polymath_model::Transformer;
use safetensors::SafeTensors;

use crate::FinetuneError;

/// Version of the format of the cache files. A file of another version is ignored, and its values are measured again.
const FORMAT: &str = "fisher-1";
const DIGEST: &str = "sha256";
const COUNTED: &str = "counted_tokens";

/// Domain, base and sample size from which Fisher information is measured.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Name of the domain on which the Fisher information is measured.
    pub domain: String,
    /// Training documents of the domain.
    pub shard: Arc<TokenShard>,
    /// SHA-256 of the training documents.
    pub data_sha256: String,
    /// SHA-256 of the base's weights.
    pub base_sha256: String,
    /// Number of training tokens of the domain to measure the Fisher information on.
    pub tokens: u64,
    /// Number of tokens in a row.
    pub sequence_length: usize,
}

/// Squared gradients Σ g² of every parameter, summed over rows, and the number of tokens in the rows.
pub struct Squares {
    /// Sum of the rows' squared gradients, by parameter.
    pub sums: BTreeMap<String, Tensor>,
    /// Number of tokens with a loss in all rows.
    pub tokens: u64,
}

impl Squares {
    /// Measures the squared gradients of a model on the rows of the sample. All parameters of the model must be
    /// trainable.
    ///
    /// # Errors
    /// Fails if the model fails; with [`FinetuneError::Stopped`] if `stop` was set.
    pub fn measure(
        model: &Transformer,
        sample: &Sample,
        stop: &AtomicBool,
    ) -> Result<Self, FinetuneError> {
        let part = MixturePart {
            name: sample.domain.clone(),
            shard: sample.shard.clone(),
            weight: 1.0,
        };
        let shape = BatchShape {
            rows: 1,
            sequence_length: sample.sequence_length,
        };
        let stream = MixtureStream::new(vec![part], shape, model.config().bos_token_id, 0)?;
        let mut squares = Self {
            sums: BTreeMap::new(),
            tokens: 0,
        };
        for batch in stream.first_epoch(0).take(sample.rows()) {
            if stop.load(Ordering::SeqCst) {
                return Err(FinetuneError::Stopped);
            }
            squares.tokens += batch.scored_tokens() as u64;
            squares.add(model, &batch)?;
            // Checked right before the next row is read.
            stream.check()?;
        }
        Ok(squares)
    }

    fn add(&mut self, model: &Transformer, row: &Batch) -> Result<(), FinetuneError> {
        let mut gradients = model.loss(row)?.backward()?;
        for (name, parameter) in model.trainable() {
            let Some(gradient) = gradients.remove(parameter) else {
                continue;
            };
            let square = gradient.detach().sqr()?;
            let sum = match self.sums.remove(name) {
                Some(before) => (before + square)?,
                None => square,
            };
            self.sums.insert(name.clone(), sum);
        }
        Ok(())
    }

    /// Returns the Fisher information F of every parameter: the squared gradients divided by the number of tokens.
    ///
    /// # Errors
    /// Fails if a tensor operation on the device fails.
    pub fn mean(&self) -> Result<BTreeMap<String, Tensor>, candle_core::Error> {
        let share = 1.0 / self.tokens.max(1) as f64;
        self.sums
            .iter()
            .map(|(name, sum)| Ok((name.clone(), (sum * share)?)))
            .collect()
    }
}

impl Sample {
    /// Returns the maximum number of rows on which the Fisher information is measured.
    fn rows(&self) -> usize {
        (self.tokens as usize).div_ceil(self.sequence_length).max(1)
    }

    /// Returns a text of all settings that determine the measured values. It is stored in the cache file's metadata.
    fn key(&self, parameters: &[&str]) -> BTreeMap<String, String> {
        BTreeMap::from(
            [
                ("format", FORMAT.to_owned()),
                ("base_sha256", self.base_sha256.clone()),
                ("domain", self.domain.clone()),
                ("data_sha256", self.data_sha256.clone()),
                ("batch_rule", BATCH_RULE.to_string()),
                ("tokens", self.tokens.to_string()),
                ("sequence_length", self.sequence_length.to_string()),
                (
                    "parameters",
                    sha256_of_bytes(parameters.join("\n").as_bytes()),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }

    /// Returns the path in `folder` of the cache file for the squared gradients of this sample.
    fn path(&self, folder: &Path, key: &BTreeMap<String, String>) -> PathBuf {
        let digest = sha256_of_bytes(format!("{key:?}").as_bytes());
        folder.join(format!("{}-{}.safetensors", self.domain, &digest[..16]))
    }
}

/// Reads the squared gradients of `sample` from their cache file in `folder`, or measures and writes them. A damaged
/// file is reported to `say`, and its values are measured again. A failure to write the file is only reported, since
/// the run does not need it.
///
/// # Errors
/// Fails if the model fails; with [`FinetuneError::Stopped`] if `stop` was set.
pub fn cached(
    model: &Transformer,
    sample: &Sample,
    folder: &Path,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Squares, FinetuneError> {
    let names: Vec<&str> = model.trainable().keys().map(String::as_str).collect();
    let key = sample.key(&names);
    let path = sample.path(folder, &key);
    match read(&path, &key, model) {
        Ok(Some(squares)) => return Ok(squares),
        Ok(None) => {}
        Err(reason) => say(&format!(
            "`{}` is damaged ({reason}): measured again",
            path.display()
        )),
    }
    say(&format!(
        "measuring the Fisher information of the base on `{}`, at most {} tokens",
        sample.domain,
        sample.rows() * sample.sequence_length
    ));
    let squares = Squares::measure(model, sample, stop)?;
    if let Err(reason) = write(&path, key, &squares) {
        say(&format!(
            "the Fisher information is not kept: can't write `{}`: {reason}",
            path.display()
        ));
    }
    Ok(squares)
}

/// Reads the squared gradients from the cache file, or returns `None` if the file does not exist or has other settings.
fn read(
    path: &Path,
    key: &BTreeMap<String, String>,
    model: &Transformer,
) -> Result<Option<Squares>, String> {
    let bytes = match polymath_base::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let text =
        |error: safetensors::SafeTensorError| format!("not a complete safetensors file: {error}");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(text)?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    if key
        .iter()
        .any(|(name, value)| metadata.get(name) != Some(value))
    {
        return Ok(None);
    }
    let tokens = metadata.get(COUNTED).and_then(|count| count.parse().ok());
    let tokens = tokens.ok_or_else(|| format!("its metadata lack `{COUNTED}`"))?;
    let file = SafeTensors::deserialize(&bytes).map_err(text)?;
    let mut sums = BTreeMap::new();
    for (name, parameter) in model.trainable() {
        let view = file
            .tensor(name)
            .map_err(|_| format!("it lacks `{name}`"))?;
        if view.shape() != parameter.dims() || view.dtype() != safetensors::Dtype::F32 {
            return Err(format!("`{name}` has another shape or type"));
        }
        let sum = Tensor::from_raw_buffer(
            view.data(),
            candle_core::DType::F32,
            view.shape(),
            model.device(),
        );
        sums.insert(name.clone(), sum.map_err(|error| error.to_string())?);
    }
    let squares = Squares { sums, tokens };
    let found = digest(&squares).map_err(|error| error.to_string())?;
    if metadata.get(DIGEST) != Some(&found) {
        return Err("its SHA-256 differs from what was written".into());
    }
    Ok(Some(squares))
}

/// Returns the SHA-256 of the squared gradients, in the order of the parameters' names.
fn digest(squares: &Squares) -> Result<String, candle_core::Error> {
    let mut bytes = Vec::new();
    for sum in squares.sums.values() {
        for value in sum.flatten_all()?.to_vec1::<f32>()? {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    Ok(sha256_of_bytes(&bytes))
}

fn write(path: &Path, key: BTreeMap<String, String>, squares: &Squares) -> Result<(), String> {
    let mut metadata: HashMap<String, String> = key.into_iter().collect();
    let digest = digest(squares).map_err(|error| error.to_string())?;
    metadata.insert(DIGEST.into(), digest);
    metadata.insert(COUNTED.into(), squares.tokens.to_string());
    let write = || -> Result<(), Box<dyn std::error::Error>> {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        // If two runs write the same file at once, the second one continues without writing.
        let staged = StagedFolder::create(path)?;
        polymath_model::write_safetensors(
            &staged.path().join(FORMAT),
            &squares.sums,
            Some(metadata),
        )?;
        staged.commit_file(FORMAT)?;
        Ok(())
    };
    write().map_err(|error| error.to_string())
}
