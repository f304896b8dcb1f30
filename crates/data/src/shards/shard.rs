//! The token shard: one domain's documents on one side of the split, memory-mapped.
//!
//! A shard is a safetensors file, so that any tool can look into it:
//!
//! | tensor | type | |
//! |---|---|---|
//! | `tokens` | U16, or U32 for a vocabulary above 65 536 | every document's tokens and its end-of-text token |
//! | `document_offsets` | U64, documents + 1 | where each document's tokens begin, and where the last ends |
//! | `document_bytes` | U32 | UTF-8 bytes of each document's scored text |
//! | `loss_mask` | U8, only where prompts exist | 1 where the token is learned and scored |
//! | `document_groups` | U64 | the group of each document, a hash; a shard of an earlier version has none |
//! | `document_files` | U32, where there are groups | the file that each document was read from, in `sources.json` |
//! | `document_records` | U64, where there are groups | its line, row or text in the file, from 1; 0: the whole file |
//!
//! The header's metadata say what a group is: `group_kind`, and `group_field` where it is the value of a field.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use tempfile::TempDir;

use crate::shards::layout::{Layout, Origins};
use crate::{DataError, DocumentOrigin, GroupKind, Grouping, HeldoutSplit};

/// The documents of one domain on one side of the split.
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
    /// SHA-256 of the file, as its dataset's manifest has it; empty if unknown.
    sha256: String,
    original: Option<Original>,
    /// The part of each document, once one was asked for.
    pub(crate) splits: OnceLock<Vec<HeldoutSplit>>,
}

/// Stored shard that a retokenized one was made from.
#[derive(Debug)]
struct Original {
    stored: Arc<TokenShard>,
    /// Holds the translated shard's file, which goes after its map.
    _folder: TempDir,
}

/// Document of a shard: its tokens, the end-of-text token last.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    shard: &'a TokenShard,
    start: usize,
    length: usize,
    /// UTF-8 bytes of the text that its scored tokens stand for.
    pub bytes: u64,
}

impl TokenShard {
    /// Maps the shard at `path` and checks that its parts fit together.
    ///
    /// # Errors
    /// A file that can't be read, or is not a whole shard.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        polymath_input::refuse_pointer(path)?;
        let file = polymath_base::open(path).map_err(DataError::file("open", path))?;
        // SAFETY: the map is read-only, and shards are never changed in place: they are written under another name and
        // renamed, so that a shard that is replaced stays mapped as it was. Another program may cut the file off all
        // the same: `check_length` asks before each pass.
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

    /// Offsets start at 0, end at the last token and leave no document empty.
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

    /// Marks the shard, which lies in `folder`, as the documents of `stored` in other tokens.
    pub(crate) fn translated_from(self, stored: Arc<TokenShard>, folder: TempDir) -> Self {
        TokenShard {
            original: Some(Original {
                stored,
                _folder: folder,
            }),
            ..self
        }
    }

    /// Sets the SHA-256 of the file.
    pub(crate) fn with_sha256(self, sha256: &str) -> Self {
        TokenShard {
            sha256: sha256.to_owned(),
            ..self
        }
    }

    /// SHA-256 of the file, as its dataset's manifest has it; empty where it is not known.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The shard of the dataset: this one, or the one that it has the documents of, in the same order, in other tokens.
    pub fn stored(&self) -> &TokenShard {
        self.original
            .as_ref()
            .map_or(self, |original| &original.stored)
    }

    /// Returns true if the `index`-th document has the tokens that the dataset stores.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`].
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

    /// Checks that the file is as long as when it was opened. Reading a mapped file beyond its end would end the
    /// process, so this is asked before each pass.
    ///
    /// # Errors
    /// The file was cut off or can't be asked.
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

    /// Path of the shard.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.document_bytes.len() / 4
    }

    /// Number of tokens, with each document's end-of-text token.
    pub fn tokens(&self) -> u64 {
        (self.tokens.len() / if self.wide { 4 } else { 2 }) as u64
    }

    /// UTF-8 bytes of the scored text.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns true if some tokens (prompts) are neither learned nor scored.
    pub fn has_loss_mask(&self) -> bool {
        self.loss_mask.is_some()
    }

    /// The `index`-th document.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`], as a slice does.
    pub fn document(&self, index: usize) -> Document<'_> {
        let start = self.offset(index);
        Document {
            shard: self,
            start: start as usize,
            length: (self.offset(index + 1) - start) as usize,
            bytes: self.bytes_of(index),
        }
    }

    /// Returns true if the shard stores the group of each document. One of an earlier version does not.
    pub fn has_groups(&self) -> bool {
        self.stored().origins.is_some()
    }

    /// Returns the group of the `index`-th document: a hash that is the same in every preparation. `None` where the
    /// shard stores no groups. Of a translated shard, the stored one's.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`].
    pub fn group_of(&self, index: usize) -> Option<u64> {
        self.origin_of(index).map(|origin| origin.group)
    }

    /// Returns the group and the source of the `index`-th document; `None` where the shard stores none.
    ///
    /// # Panics
    /// Where `index` is not below [`TokenShard::documents`].
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

    /// Returns the kind of the groups; [`GroupKind::Document`] where none are stored.
    pub fn group_kind(&self) -> GroupKind {
        self.grouping().kind
    }

    /// Returns what a group is; documents where none are stored.
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

    /// Reads the `index`-th number of a tensor of U64.
    fn wide_at(&self, tensor: &Range<usize>, index: usize) -> u64 {
        let at = tensor.start + 8 * index;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.map[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Reads the `index`-th number of a tensor of U32.
    fn narrow_at(&self, tensor: &Range<usize>, index: usize) -> u32 {
        let at = tensor.start + 4 * index;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.map[at..at + 4]);
        u32::from_le_bytes(bytes)
    }
}

impl Document<'_> {
    /// Number of its tokens, with the end-of-text token; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a document is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns its `index`-th token.
    ///
    /// # Panics
    /// Where `index` is not below [`Document::len`].
    pub fn token(&self, index: usize) -> u32 {
        let mut token = Vec::with_capacity(1);
        self.copy_tokens(index..index + 1, &mut token);
        token[0]
    }

    /// Appends the tokens in `range` to `to`.
    ///
    /// # Panics
    /// Where `range` does not lie in `0..len()`.
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

    /// The marks of the tokens in `range`, 0 where one is neither learned nor scored; `None` where all are.
    pub(crate) fn marks(&self, range: Range<usize>) -> Option<&[u8]> {
        assert!(range.end <= self.length, "tokens beyond the document's end");
        let mask = self.shard.loss_mask.as_ref()?.start + self.start;
        Some(&self.shard.map[mask + range.start..mask + range.end])
    }

    /// Returns true if its `index`-th token is learned and scored.
    ///
    /// # Panics
    /// Where `index` is not below [`Document::len`].
    pub fn scored(&self, index: usize) -> bool {
        assert!(index < self.length, "a token beyond the document's end");
        match &self.shard.loss_mask {
            Some(mask) => self.shard.map[mask.start + self.start + index] != 0,
            None => true,
        }
    }
}
