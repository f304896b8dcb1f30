//! Cache of the distillation teacher: the base's most likely tokens at each position of the pool (the fixed set of rows
//! from which replay draws). They are computed once and stored in the run's folder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polymath_base::StagedFolder;
use polymath_base::sha256_of_bytes;
use polymath_data::{BATCH_RULE, ReplayStream};
use polymath_model::{TopK, Transformer};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::distill::{Pool, row_key};
use crate::FinetuneError;

/// Number of rows in one forward pass of the base.
const AT_ONCE: u64 = 16;
/// Name of the file in the run's folder that holds the stored predictions.
const FILE: &str = "teacher.safetensors";
/// Only key of the cache file's metadata. The safetensors library writes several keys in random order, but the same
/// predictions must give the same file.
const KEY: &str = "key";
/// Separator in the cache file's metadata between the settings of the pool and the SHA-256 of the predictions.
const DIGEST: &str = " sha256 ";

/// Settings of the pool, the fixed set of rows from which replay draws and for which the base's predictions are stored.
pub struct TeacherPool<'a> {
    /// Batch source of the run, which gives the pool's rows.
    pub stream: &'a ReplayStream,
    /// Number of rows in the pool.
    pub rows: u64,
    /// Number of most likely tokens stored at each position.
    pub top_k: usize,
    /// Temperature T by which the base's logits are divided.
    pub temperature: f64,
    /// Fingerprint of everything that determines the predictions: the base, the data and the seed.
    pub fingerprint: String,
}

impl TeacherPool<'_> {
    /// Returns the base's predictions for all rows of the pool. Reads them from the cache file in the folder `run`, or
    /// computes and writes them.
    ///
    /// # Errors
    /// Fails if the base fails; with [`FinetuneError::Stopped`] if `stop` was set.
    pub fn pool(
        &self,
        base: &Transformer,
        run: &Path,
        stop: &AtomicBool,
        say: &mut dyn FnMut(&str),
    ) -> Result<Pool, FinetuneError> {
        let path = run.join(FILE);
        let places = self.places();
        let length = self.stream.replayable(0..1).sequence_length();
        let tokens = self.rows as usize * length;
        match self.read(&path, tokens) {
            Ok(Some(listed)) => return Ok(Pool { places, listed }),
            Ok(None) => {}
            Err(reason) => say(&format!(
                "`{}` is damaged ({reason}): computed again",
                path.display()
            )),
        }
        say(&format!(
            "computing the base's most likely {} tokens for {} rows",
            self.top_k, self.rows
        ));
        let (mut ids, mut probabilities, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for start in (0..self.rows).step_by(AT_ONCE as usize) {
            if stop.load(Ordering::SeqCst) {
                return Err(FinetuneError::Stopped);
            }
            self.stream.check()?;
            let rows = start..self.rows.min(start + AT_ONCE);
            let batch = self.stream.replayable(rows);
            let found = base.likeliest(&batch, self.top_k, self.temperature)?;
            ids.extend_from_slice(&found.ids);
            probabilities.extend_from_slice(&found.probabilities);
            rest.extend_from_slice(&found.rest);
        }
        let listed = TopK {
            k: self.top_k,
            ids: ids.into(),
            probabilities: probabilities.into(),
            rest: rest.into(),
        };
        if let Err(reason) = self.write(&path, &listed) {
            say(&format!(
                "the base's predictions are not kept: can't write `{}`: {reason}",
                path.display()
            ));
        }
        Ok(Pool { places, listed })
    }

    /// Returns, for each row of the pool, the index of its first position in the stored predictions.
    fn places(&self) -> HashMap<super::distill::RowKey, usize> {
        (0..self.rows)
            .map(|row| {
                let batch = self.stream.replayable(row..row + 1);
                (row_key(&batch, 0), row as usize * batch.sequence_length())
            })
            .collect()
    }

    fn key(&self) -> String {
        format!(
            "teacher-1 rule-{BATCH_RULE} {} {} {} {}",
            self.fingerprint, self.rows, self.top_k, self.temperature
        )
    }

    /// Reads the predictions from the cache file, or returns `None` if the file does not exist or has other settings.
    fn read(&self, path: &Path, tokens: usize) -> Result<Option<TopK>, String> {
        let bytes = match polymath_base::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let text = |error: safetensors::SafeTensorError| {
            format!("not a complete safetensors file: {error}")
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(text)?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let known = metadata.get(KEY).and_then(|text| text.rsplit_once(DIGEST));
        let Some((_, expected)) = known.filter(|(key, _)| *key == self.key()) else {
            return Ok(None);
        };
        let file = SafeTensors::deserialize(&bytes).map_err(text)?;
        let words = |name: &str, count: usize| -> Result<Vec<[u8; 4]>, String> {
            let view = file
                .tensor(name)
                .map_err(|_| format!("it lacks `{name}`"))?;
            let (words, _) = view.data().as_chunks::<4>();
            match words.len() == count {
                true => Ok(words.to_vec()),
                false => Err(format!("`{name}` has another length")),
            }
        };
        let numbers = |words: Vec<[u8; 4]>| -> Arc<[f32]> {
            words.into_iter().map(f32::from_le_bytes).collect()
        };
        let ids = words("ids", tokens * self.top_k)?;
        let listed = TopK {
            k: self.top_k,
            ids: ids.into_iter().map(u32::from_le_bytes).collect(),
            probabilities: numbers(words("probabilities", tokens * self.top_k)?),
            rest: numbers(words("rest", tokens)?),
        };
        match expected == digest(&bytes_of(&listed)) {
            true => Ok(Some(listed)),
            false => Err("its SHA-256 differs from what was written".into()),
        }
    }

    fn write(&self, path: &Path, listed: &TopK) -> Result<(), String> {
        let parts = bytes_of(listed);
        let tokens = listed.tokens();
        let both = vec![tokens, listed.k];
        let view = |dtype, shape, at: usize| {
            TensorView::new(dtype, shape, &parts[at]).map_err(|error| error.to_string())
        };
        let tensors = [
            ("ids", view(Dtype::U32, both.clone(), 0)?),
            ("probabilities", view(Dtype::F32, both, 1)?),
            ("rest", view(Dtype::F32, vec![tokens], 2)?),
        ];
        let known = format!("{}{DIGEST}{}", self.key(), digest(&parts));
        let metadata = HashMap::from([(KEY.to_owned(), known)]);
        let staged = StagedFolder::create(path).map_err(|error| error.to_string())?;
        polymath_model::write_safetensors(&staged.path().join(FILE), tensors, Some(metadata))
            .map_err(|error| error.to_string())?;
        staged.commit_file(FILE).map_err(|error| error.to_string())
    }
}

fn bytes_of(listed: &TopK) -> [Vec<u8>; 3] {
    let numbers =
        |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|x| x.to_le_bytes()).collect() };
    [
        listed.ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        numbers(&listed.probabilities),
        numbers(&listed.rest),
    ]
}

fn digest(parts: &[Vec<u8>; 3]) -> String {
    sha256_of_bytes(&parts.concat())
}
