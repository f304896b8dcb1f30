//! Self-generated replay, for a base whose training data are not available: text that the base generates, stored as a
//! dataset beside the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use polymath_base::sha256_of_bytes;
use polymath_data::{
    DataError, Dataset, DomainManifest, EndSources, Manifest, SCHEMA, ShardWriter, Split,
    TargetFolder, TokenizerManifest,
};
use polymath_model::{DocumentSampler, Transformer};
use polymath_train::sha256_of;

use crate::FinetuneError;
use crate::durable;

/// Name of the generated domain.
pub const DOMAIN: &str = "self";
/// Number of documents that are generated in parallel.
const AT_ONCE: usize = 32;

/// Settings of the text to generate.
#[derive(Debug, Clone)]
pub struct SelfReplay {
    /// Folder of the dataset.
    pub output: PathBuf,
    /// Content of the base's `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// SHA-256 of the base's weights.
    pub base_sha256: String,
    /// Minimum number of tokens to generate.
    pub tokens: u64,
    /// Sampling settings of a document.
    pub composition: DocumentSampler,
}

impl SelfReplay {
    /// Returns the dataset. Generates it unless it exists already.
    ///
    /// # Errors
    /// Fails if the model fails or the folder can't be written; with [`FinetuneError::Stopped`] if `stop` was set.
    pub fn prepare(
        &self,
        base: &Transformer,
        stop: &AtomicBool,
        say: &mut dyn FnMut(&str),
    ) -> Result<Dataset, FinetuneError> {
        let source = self.source();
        match self.existing(&source) {
            Ok(Some(dataset)) => return Ok(dataset),
            Ok(None) => {}
            Err(reason) => say(&format!("{reason}: generated again")),
        }
        say(&format!(
            "generating {} tokens from the base into `{}`",
            self.tokens,
            self.output.display()
        ));
        let documents = self.generate(base, stop)?;
        self.write(base, &documents, source)?;
        Ok(Dataset::open(&self.output)?)
    }

    /// Returns a hash of all settings that determine the text.
    fn source(&self) -> String {
        let text = format!(
            "self-1 {} {} {:?}",
            self.base_sha256, self.tokens, self.composition
        );
        sha256_of_bytes(text.as_bytes())
    }

    /// Returns the existing dataset, or `None` if there is none or it has other settings.
    fn existing(&self, source: &str) -> Result<Option<Dataset>, FinetuneError> {
        if !self.output.join("dataset.json").is_file() {
            return Ok(None);
        }
        let dataset = Dataset::open(&self.output)?;
        if dataset.manifest().source != source {
            return Ok(None);
        }
        let path = self.shard(Split::Train);
        let expected = dataset.manifest().domains.get(DOMAIN);
        if expected.is_none_or(|domain| sha256_of(&path).ok() != Some(domain.train.sha256.clone()))
        {
            return Err(FinetuneError::Config(format!(
                "`{}` was altered since it was written",
                path.display()
            )));
        }
        Ok(Some(dataset))
    }

    fn shard(&self, split: Split) -> PathBuf {
        self.output.join(DOMAIN).join(split.file_name())
    }

    fn generate(
        &self,
        base: &Transformer,
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<u32>>, FinetuneError> {
        let mut documents = Vec::new();
        let mut tokens = 0;
        while tokens < self.tokens {
            if stop.load(Ordering::SeqCst) {
                return Err(FinetuneError::Stopped);
            }
            let first = documents.len() as u64;
            for document in self.composition.documents(base, first, AT_ONCE)? {
                tokens += document.len() as u64;
                documents.push(document);
            }
        }
        Ok(documents)
    }

    /// Writes the documents as a dataset that `polymath dataset` can read. A truncated document gets no end token, so
    /// that the model does not learn to stop there.
    fn write(
        &self,
        base: &Transformer,
        documents: &[Vec<u32>],
        source: String,
    ) -> Result<(), FinetuneError> {
        let _claimed = TargetFolder::claim(&self.output)?;
        let folder = self.output.join(DOMAIN);
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let manifest = self.output.join("dataset.json");
        if manifest.exists() {
            std::fs::remove_file(&manifest).map_err(failed(&manifest))?;
        }
        let tokenizer = self.output.join("tokenizer.json");
        std::fs::write(&tokenizer, &self.tokenizer).map_err(failed(&tokenizer))?;
        let decoder = polymath_tokenizer::open(&tokenizer).map_err(DataError::from)?;
        let config = base.config();
        let mut train = ShardWriter::create(&self.shard(Split::Train), config.vocab_size)?;
        for document in documents {
            let text = match document.split_last() {
                Some((last, text)) if *last == config.eos_token_id => text,
                _ => document,
            };
            let text = decoder
                .decode(text, false)
                .map_err(|error| DataError::Tokenizer(error.to_string()))?;
            train.push(document, &[], text.len() as u64)?;
        }
        let heldout = ShardWriter::create(&self.shard(Split::Heldout), config.vocab_size)?;
        let domain = DomainManifest {
            train: train.finish()?,
            heldout: heldout.finish()?,
            read: documents.len() as u64,
            ..DomainManifest::default()
        };
        let found = Manifest {
            schema: SCHEMA,
            source,
            reads_all_text: true,
            seed: self.composition.seed,
            heldout_fraction: 0.0,
            tokenizer: TokenizerManifest {
                vocab_size: config.vocab_size,
                sha256: sha256_of_bytes(&self.tokenizer),
                bos_token_id: config.bos_token_id,
                eos_token_id: config.eos_token_id,
            },
            end_sources: EndSources {
                begin: "the base".into(),
                end: "the base".into(),
            },
            domains: BTreeMap::from([(DOMAIN.to_owned(), domain)]),
            overlaps: Vec::new(),
        };
        let text = serde_json::to_string_pretty(&found).expect("a manifest is numbers and names");
        // The manifest is written last: a folder with a manifest is complete.
        durable::write(&manifest, &(text + "\n"))
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> FinetuneError {
    let path = path.to_path_buf();
    move |source| FinetuneError::File { path, source }
}
