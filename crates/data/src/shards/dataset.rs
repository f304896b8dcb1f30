//! A prepared dataset, opened read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_tokenizer::EndTokens;
use tokenizers::Tokenizer;

use crate::sources::chat::PLAIN_CHAT_TEMPLATE;
use crate::tokenizer::vocabulary::extends;
use crate::{
    DataError, DomainManifest, Manifest, Question, SCHEMA, Split, SplitManifest, TokenBytes,
    TokenShard, read_questions,
};

/// Name of the tokenizer's file in a dataset folder.
const TOKENIZER: &str = "tokenizer.json";

/// A prepared dataset: `dataset.json`, `tokenizer.json` and `<domain>/{train,heldout}.safetensors`.
///
/// All files are opened once, so a `Dataset` stays valid if its folder is replaced or removed later.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    manifest: Manifest,
    fingerprint: String,
    /// Content of `tokenizer.json`.
    tokenizer: Arc<[u8]>,
    shards: BTreeMap<String, Sides>,
}

/// Open shards of a domain: its training and its held-out split.
#[derive(Debug, Clone)]
struct Sides {
    train: Arc<TokenShard>,
    heldout: Arc<TokenShard>,
}

/// Domain of an open dataset.
#[derive(Debug, Clone, Copy)]
pub struct DatasetDomain<'a> {
    /// Dataset that the domain belongs to.
    pub dataset: &'a Dataset,
    /// Name of the domain in the dataset.
    pub name: &'a str,
}

impl Dataset {
    /// Opens the dataset in the folder `path`, and checks every shard's size against the manifest.
    ///
    /// # Errors
    /// Fails if the folder does not hold a complete and intact dataset.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = path.join("dataset.json");
        let json = polymath_base::read(&file).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DataError::content(
                path,
                "no finished dataset here (`dataset.json` is missing): make one with `polymath prepare`",
            ),
            _ => DataError::File { action: "read", path: file.clone(), source },
        })?;
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| {
            DataError::content(&file, format!("not a dataset's manifest: {error}"))
        })?;
        if manifest.schema != SCHEMA {
            return Err(DataError::content(
                &file,
                format!(
                    "schema {}, expected {SCHEMA}: prepare it again with this program",
                    manifest.schema
                ),
            ));
        }
        let tokenizer = open_tokenizer(&path.join(TOKENIZER), &manifest)?;
        let mut shards = BTreeMap::new();
        for (name, domain) in &manifest.domains {
            let open = |split: Split, expected: &SplitManifest| {
                open_shard(&path.join(name).join(split.file_name()), expected)
            };
            let sides = Sides {
                train: open(Split::Train, &domain.train)?,
                heldout: open(Split::Heldout, &domain.heldout)?,
            };
            shards.insert(name.clone(), sides);
        }
        let dataset = Dataset {
            path: path.to_path_buf(),
            fingerprint: polymath_base::sha256_of_bytes(&json),
            tokenizer,
            manifest,
            shards,
        };
        // `prepare` removes the manifest before all other files and writes it after them. So an unchanged manifest
        // means that all files belong together.
        if polymath_base::read(&file).ok() != Some(json) {
            return Err(DataError::content(
                path,
                "is being prepared again by another process: wait until it is done",
            ));
        }
        tracing::info!(path = %path.display(), domains = dataset.manifest.domains.len(), "dataset");
        Ok(dataset)
    }

    /// Returns the folder of the dataset.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the manifest, which is the content of `dataset.json`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the names of the domains in alphabetical order.
    pub fn domain_names(&self) -> Vec<&str> {
        self.manifest.domains.keys().map(String::as_str).collect()
    }

    /// Returns the shard of a domain's split.
    ///
    /// # Errors
    /// Fails if the dataset does not have the domain.
    pub fn shard(&self, domain: &str, split: Split) -> Result<Arc<TokenShard>, DataError> {
        let Some(sides) = self.shards.get(domain) else {
            return Err(self.unknown(domain));
        };
        Ok(Arc::clone(match split {
            Split::Train => &sides.train,
            Split::Heldout => &sides.heldout,
        }))
    }

    /// Returns the path of the tokenizer that the shards were made with; see also [`Self::tokenizer`].
    pub fn tokenizer_path(&self) -> PathBuf {
        self.path.join(TOKENIZER)
    }

    /// Returns the tokenizer that the shards were made with.
    ///
    /// # Errors
    /// Fails if the file is not a valid tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer, DataError> {
        Ok(polymath_tokenizer::parse(
            &self.tokenizer_path(),
            &self.tokenizer,
        )?)
    }

    /// Returns the table that gives the bytes of text of each token.
    ///
    /// # Errors
    /// Fails as [`Self::tokenizer`] does.
    pub fn token_bytes(&self) -> Result<TokenBytes, DataError> {
        Ok(TokenBytes::of(&self.tokenizer()?))
    }

    /// Returns true if the shards were made with this `tokenizer.json`, byte for byte.
    pub(crate) fn was_made_with(&self, tokenizer: &Path) -> Result<bool, DataError> {
        let bytes = polymath_base::read(tokenizer).map_err(DataError::file("read", tokenizer))?;
        Ok(bytes == *self.tokenizer)
    }

    /// Returns a handle of the domain `name`. Does not check that the dataset has the domain: uses of the handle fail
    /// if not.
    pub fn of_domain<'a>(&'a self, name: &'a str) -> DatasetDomain<'a> {
        DatasetDomain {
            dataset: self,
            name,
        }
    }

    /// Checks that a model can read the shards: they were made with the model's tokenizer, or with one that the model's
    /// tokenizer only adds tokens to, and documents begin and end with the model's tokens `ends`. Tokens of another
    /// tokenizer would be noise to the model, and another end token would teach it not to stop.
    ///
    /// # Errors
    /// Fails if the shards do not fit, or if the tokenizer can't be read.
    pub fn check_fits(&self, tokenizer: &Path, ends: EndTokens) -> Result<(), DataError> {
        let path = tokenizer.display();
        if !self.was_made_with(tokenizer)? && !extends(tokenizer, &self.tokenizer()?)? {
            let message = format!(
                "prepared with another tokenizer than the model's: prepare it again with `tokenizer.path = \"{path}\"`"
            );
            return Err(DataError::content(&self.path, message));
        }
        let found = EndTokens {
            begin: self.manifest.tokenizer.bos_token_id,
            end: self.manifest.tokenizer.eos_token_id,
        };
        if found != ends {
            let message = format!(
                "its documents begin and end with the tokens ({}, {}), the model's with ({}, {}): prepare it again \
                 with `tokenizer.bos_token` and `tokenizer.eos_token` set to the model's",
                found.begin, found.end, ends.begin, ends.end
            );
            return Err(DataError::content(&self.path, message));
        }
        Ok(())
    }

    /// Returns the SHA-256 of the manifest, which contains the digests of the shards and of the tokenizer. Equal
    /// fingerprints mean equal data.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the questions of a domain; empty if it has none.
    ///
    /// # Errors
    /// Fails if the dataset does not have the domain, or if its questions can't be read.
    pub fn questions(&self, domain: &str) -> Result<Vec<Question>, DataError> {
        match self.domain(domain)?.questions {
            0 => Ok(Vec::new()),
            expected => {
                let path = self.path.join(domain).join("questions.jsonl");
                let questions = read_questions(&path)?;
                if questions.len() as u64 != expected {
                    let message = format!(
                        "{} questions, but `dataset.json` says {expected}: prepare the dataset again",
                        questions.len()
                    );
                    return Err(DataError::content(&path, message));
                }
                Ok(questions)
            }
        }
    }

    /// Returns the IDs of the tokens that end the assistant's turns in a domain; empty if it has no conversations.
    ///
    /// # Errors
    /// Fails if the dataset does not have the domain.
    pub fn turn_ends(&self, domain: &str) -> Result<Vec<u32>, DataError> {
        let DomainManifest { train, heldout, .. } = self.domain(domain)?;
        let mut ends = [
            &train.turn_end_token_ids[..],
            &heldout.turn_end_token_ids[..],
        ]
        .concat();
        ends.sort_unstable();
        ends.dedup();
        Ok(ends)
    }

    /// Returns the chat template that writes conversations as those of a domain were written, if they were written
    /// without a template; `None` if the domain has none of them.
    ///
    /// # Errors
    /// Fails if the dataset does not have the domain.
    pub fn plain_chat_template(&self, domain: &str) -> Result<Option<&'static str>, DataError> {
        let written = self.domain(domain)?.notes.plain_conversations;
        Ok((written > 0).then_some(PLAIN_CHAT_TEMPLATE))
    }

    fn domain(&self, name: &str) -> Result<&DomainManifest, DataError> {
        self.manifest
            .domains
            .get(name)
            .ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, domain: &str) -> DataError {
        let message = format!(
            "not in the dataset `{}`, which has `{}`",
            self.path.display(),
            self.domain_names().join("`, `")
        );
        DataError::domain(domain, message)
    }
}

/// Opens a shard and checks its size against the manifest.
fn open_shard(path: &Path, expected: &SplitManifest) -> Result<Arc<TokenShard>, DataError> {
    let shard = TokenShard::open(path)?;
    let found = (shard.documents() as u64, shard.tokens(), shard.bytes());
    if found != (expected.documents, expected.tokens, expected.bytes) {
        return Err(DataError::content(
            path,
            format!(
                "{} documents, {} tokens, {} bytes, but `dataset.json` says {}, {}, {}: prepare the dataset again",
                found.0, found.1, found.2, expected.documents, expected.tokens, expected.bytes
            ),
        ));
    }
    Ok(Arc::new(shard.with_sha256(&expected.sha256)))
}

/// Reads the tokenizer and checks its digest against the manifest.
fn open_tokenizer(path: &Path, manifest: &Manifest) -> Result<Arc<[u8]>, DataError> {
    let bytes = polymath_base::read(path).map_err(DataError::file("read", path))?;
    if polymath_base::sha256_of_bytes(&bytes) != manifest.tokenizer.sha256 {
        return Err(DataError::content(
            path,
            "not the tokenizer that the dataset was prepared with: prepare it again",
        ));
    }
    Ok(bytes.into())
}
