//! Self-generated replay, for a base whose training data are not available: text that the base generates, stored as a
//! dataset, and checked for collapse.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use polymath_base::sha256_of_bytes;
use polymath_data::{
    DataError, Dataset, DomainManifest, EndSources, Manifest, SCHEMA, ShardWriter, Split,
    TargetFolder, TokenizerManifest,
};
use polymath_model::{ConversationFrame, DocumentSampler, SampledDocument, Transformer};
use polymath_train::{Observer, sha256_of};

use super::collapse::Diversity;
use crate::FinetuneError;
use crate::durable;

/// Name of the domain of the generated text in its dataset.
pub const DOMAIN: &str = "self";
/// Maximum number of tokens, over all documents that are generated in parallel. Each decoding step reads all weights
/// once for all of these documents, so more of them take less time per token; their key/value caches limit the number.
const TOKENS_AT_ONCE: usize = 16_384;
/// Minimum and maximum number of documents that are generated in parallel.
const AT_ONCE: RangeInclusive<usize> = 8..=64;
/// Number of documents after which generated text is first checked for collapse, so that a base that repeats itself is
/// refused early.
const FIRST_LOOK: usize = 64;
/// Number of random seeds with which generation is attempted before the base is refused as collapsed.
const ATTEMPTS: u64 = 3;
/// Minimum number of generated documents if a quarter of them is held out: gives 20 documents each in the dev and test
/// splits.
pub(super) const FEWEST_DOCUMENTS: usize = 2 * 20 * 4;

/// Difference between the random seeds of two attempts to generate text.
const SEEDS: u64 = 0x9e37_79b9_7f4a_7c15;

/// Part of the generated documents that is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOutPart {
    /// No document is held out.
    None,
    /// Every fourth document is held out.
    Quarter,
    /// All documents are held out.
    All,
}

impl HeldOutPart {
    fn holds(self, document: usize) -> bool {
        match self {
            Self::None => false,
            Self::Quarter => document % 4 == 3,
            Self::All => true,
        }
    }

    fn fraction(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Quarter => 0.25,
            Self::All => 1.0,
        }
    }

    fn fewest_documents(self) -> usize {
        match self {
            Self::None => 1,
            Self::Quarter => FEWEST_DOCUMENTS,
            Self::All => FEWEST_DOCUMENTS / 4,
        }
    }
}

/// Result of generating text with one random seed.
enum Generated {
    Text(Vec<SampledDocument>),
    /// The text has collapsed into repetition; holds the reason.
    Collapsed(String),
}

/// Settings of text that the base generates, and of the dataset in which it is stored.
#[derive(Debug, Clone)]
pub struct SelfReplay {
    /// Folder of the dataset in which the text is stored.
    pub output: PathBuf,
    /// Content of the base's `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// SHA-256 of the base's weights.
    pub base_sha256: String,
    /// Minimum number of tokens to generate.
    pub tokens: u64,
    /// Temperature, maximum length and seed with which a document is sampled.
    pub composition: DocumentSampler,
    /// Tokens that the chat template writes around question and answer, so that a chat model generates conversations;
    /// `None` to sample documents from the begin token on.
    pub frame: Option<ConversationFrame>,
    /// Part of the documents that is not trained on but used to measure forgetting.
    pub held_out: HeldOutPart,
}

impl SelfReplay {
    /// Returns the same settings with `output` as the dataset's folder.
    #[must_use]
    pub fn at(self, output: PathBuf) -> Self {
        Self { output, ..self }
    }

    /// Returns the dataset of generated text. Generates the text unless the dataset already exists.
    ///
    /// # Errors
    /// Fails if the text has collapsed with every seed, the model fails or the folder can't be written; with
    /// [`FinetuneError::Stopped`] if `stop` was set.
    pub fn prepare(
        &self,
        base: &Transformer,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Dataset, FinetuneError> {
        match self.existing() {
            Ok(Some(dataset)) => return Ok(dataset),
            Ok(None) => {}
            Err(reason) => observer.message(&format!("{reason}: generated again")),
        }
        let claimed = TargetFolder::claim(&self.output)?;
        observer.message(&format!(
            "generating {} tokens{} from the base into `{}`",
            self.tokens,
            match self.held_out.fewest_documents() {
                1 => String::new(),
                fewest => format!(
                    ", and at least {} documents,",
                    fewest.next_multiple_of(documents_at_once(self.composition.max_tokens))
                ),
            },
            self.output.display()
        ));
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            let sampler = DocumentSampler {
                seed: self.composition.seed ^ attempt.wrapping_mul(SEEDS),
                ..self.composition
            };
            match self.generate(base, sampler, stop, observer)? {
                Generated::Text(documents) => {
                    self.write(base, &documents, sampler.seed)?;
                    drop(claimed);
                    return Ok(Dataset::open(&self.output)?);
                }
                Generated::Collapsed(found) => {
                    observer.message(&format!(
                        "the text that the base generated with seed {} has collapsed: {found}",
                        sampler.seed
                    ));
                    reason = found;
                }
            }
        }
        Err(FinetuneError::Config(format!(
            "the base repeats itself, so that its text can't stand for what it knows: with {ATTEMPTS} seeds, the text has \
             collapsed (at last: {reason}). Set `retain` to a dataset with text of what is to be retained, or raise \
             `retention.replay.temperature`"
        )))
    }

    /// Returns true if the folder contains a dataset. Its content is checked only when it is opened.
    pub fn exists(&self) -> bool {
        let manifest = Dataset::open(&self.output);
        manifest.is_ok_and(|dataset| dataset.manifest().source == self.source())
    }

    /// Returns a hash of all settings that determine the generated text.
    pub fn source(&self) -> String {
        let (base, tokens, sampler) = (&self.base_sha256, self.tokens, &self.composition);
        let text = match (&self.frame, self.held_out) {
            // Earlier versions had no other settings.
            (None, HeldOutPart::None) => format!("self-1 {base} {tokens} {sampler:?}"),
            (frame, held_out) => format!(
                "self-2 {base} {tokens} {sampler:?} {} {held_out:?}",
                frame.is_some()
            ),
        };
        sha256_of_bytes(text.as_bytes())
    }

    /// Returns the existing dataset of generated text, or `None` if there is none or it was generated with other
    /// settings.
    fn existing(&self) -> Result<Option<Dataset>, FinetuneError> {
        if !self.output.join("dataset.json").is_file() {
            return Ok(None);
        }
        let dataset = Dataset::open(&self.output)?;
        if dataset.manifest().source != self.source() {
            return Ok(None);
        }
        let Some(domain) = dataset.manifest().domains.get(DOMAIN) else {
            return Ok(None);
        };
        for (split, written) in [
            (Split::Train, &domain.train),
            (Split::Heldout, &domain.heldout),
        ] {
            let path = self.shard(split);
            if sha256_of(&path).ok().as_ref() != Some(&written.sha256) {
                return Err(FinetuneError::Config(format!(
                    "`{}` was altered since it was written",
                    path.display()
                )));
            }
        }
        Ok(Some(dataset))
    }

    fn shard(&self, split: Split) -> PathBuf {
        self.output.join(DOMAIN).join(split.file_name())
    }

    fn generate(
        &self,
        base: &Transformer,
        sampler: DocumentSampler,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Generated, FinetuneError> {
        let fewest = self.held_out.fewest_documents();
        let at_once = documents_at_once(sampler.max_tokens);
        let mut documents: Vec<SampledDocument> = Vec::new();
        let mut tokens = 0;
        while tokens < self.tokens || documents.len() < fewest {
            if stop.load(Ordering::SeqCst) {
                return Err(FinetuneError::Stopped);
            }
            observer.preparing("generating text", tokens.min(self.tokens), self.tokens);
            let first = documents.len();
            let numbers = first as u64..(first + at_once) as u64;
            for document in sampler.sample(base, self.frame.as_ref(), numbers)? {
                tokens += document.tokens.len() as u64;
                documents.push(document);
            }
            if first < FIRST_LOOK
                && documents.len() >= FIRST_LOOK
                && let Some(reason) = Diversity::of(&documents).collapse()
            {
                return Ok(Generated::Collapsed(reason));
            }
        }
        observer.preparing("generating text", self.tokens, self.tokens);
        Ok(match Diversity::of(&documents).collapse() {
            Some(reason) => Generated::Collapsed(reason),
            None => Generated::Text(documents),
        })
    }

    /// Writes generated documents as a dataset that `polymath dataset` can read. A truncated document gets no end
    /// token, so that the model does not learn to stop there.
    fn write(
        &self,
        base: &Transformer,
        documents: &[SampledDocument],
        seed: u64,
    ) -> Result<(), FinetuneError> {
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
        let mut heldout = ShardWriter::create(&self.shard(Split::Heldout), config.vocab_size)?;
        for (number, document) in documents.iter().enumerate() {
            let mut text = document.drawn_tokens();
            text.pop_if(|last| *last == config.eos_token_id);
            let text = decoder
                .decode(&text, false)
                .map_err(|error| DataError::Tokenizer(error.to_string()))?;
            let shard = match self.held_out.holds(number) {
                true => &mut heldout,
                false => &mut train,
            };
            shard.push(&document.tokens, &[], text.len() as u64)?;
        }
        let domain = DomainManifest {
            train: train.finish()?,
            heldout: heldout.finish()?,
            read: documents.len() as u64,
            ..DomainManifest::default()
        };
        let found = Manifest {
            schema: SCHEMA,
            source: self.source(),
            reads_all_text: true,
            seed,
            heldout_fraction: self.held_out.fraction(),
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
            generated: true,
            overlaps: Vec::new(),
        };
        let text = serde_json::to_string_pretty(&found).expect("a manifest is numbers and names");
        // The manifest is written last: a folder with a manifest is complete.
        durable::write(&manifest, &(text + "\n"))
    }
}

/// Returns the number of documents to generate in parallel, if each has at most `length` tokens.
fn documents_at_once(length: usize) -> usize {
    (TOKENS_AT_ONCE / length.max(1)).clamp(*AT_ONCE.start(), *AT_ONCE.end())
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> FinetuneError {
    let path = path.to_path_buf();
    move |source| FinetuneError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the number of documents that are generated in parallel: their key/value caches are bounded for any usual
    /// length, and short documents are generated in large groups.
    #[test]
    fn long_documents_are_fewer_at_once() {
        for (length, expected) in [(16, 64), (256, 64), (512, 32), (2048, 8), (8192, 8)] {
            assert_eq!(documents_at_once(length), expected, "{length}");
        }
    }
}
