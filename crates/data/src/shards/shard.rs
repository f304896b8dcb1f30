//! Token shard: the documents of one split of a domain in tokens, memory-mapped.
//!
//! A shard is a safetensors file, so that other tools can read it:
//!
//! | tensor | type | content |
//! |---|---|---|
//! | `tokens` | U16, or U32 for a vocabulary above 65 536 | tokens of all documents, each followed by its end token |
//! | `document_offsets` | U64, documents + 1 | index of each document's first token, and the total number of tokens |
//! | `document_bytes` | U32 | UTF-8 bytes of each document's scored text |
//! | `loss_mask` | U8, only with prompts | 1 if the token is learned and scored |
//! | `document_groups` | U64 | hash of each document's group; not in shards of earlier versions |
//! | `document_files` | U32, only with groups | source file of each document, an index into `sources.json` |
//! | `document_records` | U64, only with groups | line, row or text within the file, from 1; 0 for the whole file |
//!
//! The header's metadata give the kind of the groups (`group_kind`) and, if the groups are the values of a field, its
//! name (`group_field`).

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use tempfile::TempDir;

use crate::shards::layout::{Layout, Origins};
use crate::{DataError, DocumentOrigin, GroupKind, Grouping, HeldoutSplit};

/// Documents of a domain, with the domain's name.
#[derive(Debug, Clone)]
pub struct NamedShard {
    /// Name of the domain.
    pub name: String,
    /// Documents of one split of the domain.
    pub shard: Arc<TokenShard>,
}

/// The documents of one split of a domain, in tokens.
#[derive(Debug)]
pub struct TokenShard {
    path: PathBuf,
    file: File,
    map: Mmap,
    wide: bool,
    tokens: Range<usize>,
    offsets: Range<usize>,
    document_bytes: Range<usize>,
    loss_mask: Option<Range<usize>>,
    origins: Option<Origins>,
    bytes: u64,
    /// SHA-256 of the file from the dataset's manifest; empty if unknown.
    sha256: String,
    original: Option<Original>,
    /// `dev`, `test` or `audit` for each document; computed on first use.
    pub(crate) splits: OnceLock<Vec<HeldoutSplit>>,
}

/// The stored shard of which this one is a retokenized version.
#[derive(Debug)]
struct Original {
    stored: Arc<TokenShard>,
    /// Folder of the retokenized shard's file; removed after the map is closed.
    _folder: TempDir,
}

/// A document of a shard: its tokens, the end token last.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    shard: &'a TokenShard,
    start: usize,
    length: usize,
    /// UTF-8 bytes of the document's scored text.
    pub bytes: u64,
}

impl TokenShard {
    /// Maps the shard at `path` into memory and checks that its tensors fit together.
    ///
    /// # Errors
    /// Fails if the file can't be read or is not a complete shard.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        polymath_input::refuse_pointer(path)?;
        let file = polymath_base::open(path).map_err(DataError::file("open", path))?;
        // SAFETY: the map is read-only, and shards are never changed in place. They are written under another name
        // and renamed, so a replaced shard stays mapped with its old content. Another program could still truncate
        // the file: `check_length` checks that before each pass.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::file("map", path))?;
        let layout = Layout::read(&map).map_err(|message| DataError::content(path, message))?;
        let mut shard = TokenShard {
            path: path.to_path_buf(),
            file,
            map,
            wide: layout.wide,
            tokens: layout.tokens,
            offsets: layout.offsets,
            document_bytes: layout.document_bytes,
            loss_mask: layout.loss_mask,
            origins: layout.origins,
            bytes: 0,
            sha256: String::new(),
            original: None,
            splits: OnceLock::new(),
        };
        shard
            .check()
            .map_err(|message| DataError::content(path, message))?;
        shard.bytes = (0..shard.documents()).map(|i| shard.bytes_of(i)).sum();
        Ok(shard)
    }

    /// Checks that the offsets start at 0, end at the last token and leave no document empty.
    fn check(&self) -> Result<(), String> {
        let broken =
            "`document_offsets` do not cut `tokens` into documents: prepare the dataset again";
        if self.offset(0) != 0 || self.offset(self.documents()) != self.tokens() {
            return Err(broken.into());
        }
        if (0..self.documents()).any(|i| self.offset(i) >= self.offset(i + 1)) {
            return Err(broken.into());
        }
        if self.documents() > u32::MAX as usize {
            return Err("more than 4 294 967 295 documents in one shard".into());
        }
        Ok(())
    }

    /// Marks this shard, whose file is in `folder`, as a retokenized version of `stored`.
    pub(crate) fn translated_from(self, stored: Arc<TokenShard>, folder: TempDir) -> Self {
        TokenShard {
            original: Some(Original {
                stored,
                _folder: folder,
            }),
            ..self
        }
    }

    /// Sets the SHA-256 of the shard's file.
    pub(crate) fn with_sha256(self, sha256: &str) -> Self {
        TokenShard {
            sha256: sha256.to_owned(),
            ..self
        }
    }

    /// Returns the SHA-256 of the file from the dataset's manifest; empty if unknown.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the shard of the dataset: `self`, or the stored shard of which this one is a retokenized version (the
    /// same documents in the same order).
    pub fn stored(&self) -> &TokenShard {
        self.original
            .as_ref()
            .map_or(self, |original| &original.stored)
    }

    /// Returns true if the tokens of the `index`-th document are the ones that the dataset stores.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn has_stored_tokens(&self, index: usize) -> bool {
        let Some(original) = &self.original else {
            return true;
        };
        let tokens = |document: Document<'_>| {
            let mut tokens = Vec::with_capacity(document.len());
            document.copy_tokens(0..document.len(), &mut tokens);
            tokens
        };
        tokens(self.document(index)) == tokens(original.stored.document(index))
    }

    /// Checks that the file was not truncated since it was opened. Reading a mapped file beyond its end would kill
    /// the process, so callers check before each pass.
    ///
    /// # Errors
    /// Fails if the file was truncated or its length can't be read.
    pub fn check_length(&self) -> Result<(), DataError> {
        let found = self.file.metadata();
        let found = found.map_err(DataError::file("read", &self.path))?.len();
        let expected = self.map.len() as u64;
        if found < expected {
            return Err(DataError::content(
                &self.path,
                format!(
                    "was cut off while it was in use: {found} bytes are left of {expected}; prepare the dataset again"
                ),
            ));
        }
        match &self.original {
            Some(original) => original.stored.check_length(),
            None => Ok(()),
        }
    }

    /// Returns the path of the shard.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of documents in the shard.
    pub fn documents(&self) -> usize {
        self.document_bytes.len() / 4
    }

    /// Returns the number of tokens, including each document's end token.
    pub fn tokens(&self) -> u64 {
        (self.tokens.len() / if self.wide { 4 } else { 2 }) as u64
    }

    /// Returns the number of UTF-8 bytes of the scored text in the shard.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns true if the shard has a loss mask, because some tokens (prompts) are neither learned nor scored.
    pub fn has_loss_mask(&self) -> bool {
        self.loss_mask.is_some()
    }

    /// Returns the `index`-th document.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn document(&self, index: usize) -> Document<'_> {
        let start = self.offset(index);
        Document {
            shard: self,
            start: start as usize,
            length: (self.offset(index + 1) - start) as usize,
            bytes: self.bytes_of(index),
        }
    }

    /// Returns true if the shard stores the group of each document; shards of earlier versions do not.
    pub fn has_groups(&self) -> bool {
        self.stored().origins.is_some()
    }

    /// Returns the group of the `index`-th document, a hash that is the same in every preparation; `None` if the
    /// shard stores no groups. A retokenized shard returns the groups of the stored one.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn group_of(&self, index: usize) -> Option<u64> {
        self.origin_of(index).map(|origin| origin.group)
    }

    /// Returns the group and the source of the `index`-th document; `None` if the shard stores none.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn origin_of(&self, index: usize) -> Option<DocumentOrigin> {
        let stored = self.stored();
        assert!(index < stored.documents(), "a document beyond the last");
        let origins = stored.origins.as_ref()?;
        Some(DocumentOrigin {
            group: stored.wide_at(&origins.groups, index),
            file: stored.narrow_at(&origins.files, index),
            record: stored.wide_at(&origins.records, index),
        })
    }

    /// Returns the kind of the groups; [`GroupKind::Document`] if none are stored.
    pub fn group_kind(&self) -> GroupKind {
        self.grouping().kind
    }

    /// Returns the kind of the groups and the field that names them; [`GroupKind::Document`] if none are stored.
    pub fn grouping(&self) -> Grouping {
        let origins = self.stored().origins.as_ref();
        origins.map_or_else(Grouping::default, |origins| origins.grouping.clone())
    }

    fn offset(&self, index: usize) -> u64 {
        self.wide_at(&self.offsets, index)
    }

    fn bytes_of(&self, index: usize) -> u64 {
        u64::from(self.narrow_at(&self.document_bytes, index))
    }

    /// Reads the `index`-th element of a U64 tensor.
    fn wide_at(&self, tensor: &Range<usize>, index: usize) -> u64 {
        let at = tensor.start + 8 * index;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.map[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Reads the `index`-th element of a U32 tensor.
    fn narrow_at(&self, tensor: &Range<usize>, index: usize) -> u32 {
        let at = tensor.start + 4 * index;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.map[at..at + 4]);
        u32::from_le_bytes(bytes)
    }
}

impl Document<'_> {
    /// Returns the number of tokens, including the end token; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a document is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns the `index`-th token of the document.
    ///
    /// # Panics
    /// Panics if `index` is not below [`Document::len`].
    pub fn token(&self, index: usize) -> u32 {
        let mut token = Vec::with_capacity(1);
        self.copy_tokens(index..index + 1, &mut token);
        token[0]
    }

    /// Appends the tokens in `range` to `to`.
    ///
    /// # Panics
    /// Panics if `range` is not within `0..len()`.
    pub fn copy_tokens(&self, range: Range<usize>, to: &mut Vec<u32>) {
        assert!(range.end <= self.length, "tokens beyond the document's end");
        let tokens = &self.shard.map[self.shard.tokens.clone()];
        let (first, last) = (self.start + range.start, self.start + range.end);
        if self.shard.wide {
            let (tokens, _) = tokens[4 * first..4 * last].as_chunks::<4>();
            to.extend(tokens.iter().map(|&token| u32::from_le_bytes(token)));
        } else {
            let (tokens, _) = tokens[2 * first..2 * last].as_chunks::<2>();
            to.extend(
                tokens
                    .iter()
                    .map(|&token| u32::from(u16::from_le_bytes(token))),
            );
        }
    }

    /// Returns the loss mask of the tokens in `range`, 0 for each token that is neither learned nor scored; `None` if
    /// all are scored.
    pub(crate) fn marks(&self, range: Range<usize>) -> Option<&[u8]> {
        assert!(range.end <= self.length, "tokens beyond the document's end");
        let mask = self.shard.loss_mask.as_ref()?.start + self.start;
        Some(&self.shard.map[mask + range.start..mask + range.end])
    }

    /// Returns true if the `index`-th token is learned and scored.
    ///
    /// # Panics
    /// Panics if `index` is not below [`Document::len`].
    pub fn scored(&self, index: usize) -> bool {
        assert!(index < self.length, "a token beyond the document's end");
        match &self.shard.loss_mask {
            Some(mask) => self.shard.map[mask.start + self.start + index] != 0,
            None => true,
        }
    }
}
