//! Reader of a domain's files that assigns each document to a split.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use crate::preparation::collected::Collected;
use crate::preparation::duplicates::{DocumentSize, Duplicates, Place};
use crate::preparation::rule::Rule;
use crate::preparation::spool::length;
use crate::shards::group::Tag;
use crate::sources::bad_records::BadRecords;
use crate::sources::document::{Part, SourceDocument};
use crate::sources::format::{self, Format};
use crate::sources::normalize::normalize;
use crate::{DataError, PreparationProgress, Split};

/// Reader of one domain's files: assigns each document to a split and writes it to that split's temporary file.
pub(super) struct DomainReader<'a> {
    pub(super) progress: &'a dyn PreparationProgress,
    pub(super) number: usize,
    pub(super) duplicates: &'a mut Duplicates,
    pub(super) bad: &'a mut BadRecords,
    /// Text of the token that ends documents.
    pub(super) end: &'a str,
    pub(super) domain: Collected,
    pub(super) rule: Rule,
    /// True if each file is one group, even if it holds many documents.
    pub(super) by_file: bool,
    /// Tag (split hash, group and source) of the current document, or of the current file if it is one group; `None`
    /// before its first piece was kept.
    pub(super) tag: Option<Tag>,
    /// Split that the current document is assigned to.
    pub(super) side: Split,
    /// Index of the current file in the domain's list of files.
    pub(super) file: u32,
    /// True if a piece of the current document was kept.
    pub(super) begun: bool,
    /// Number of documents whose text contains the name of the end token.
    pub(super) with_end: u64,
    pub(super) folded: String,
}

impl DomainReader<'_> {
    /// Reads a file. `side` is the split that the config assigns to the file; if it is `None`, the content of each
    /// document decides.
    pub(super) fn read(
        &mut self,
        path: &Path,
        format: Format,
        side: Option<Split>,
    ) -> Result<(), DataError> {
        self.file = self.domain.manifest.files as u32;
        self.domain.manifest.files += 1;
        self.tag = None;
        let (before, bad_before) = (self.domain.manifest.read, self.bad.count);
        let progress = self.progress;
        let watch = |bytes| progress.advance(bytes);
        format::read(path, format, &watch, &mut |document| match document {
            Ok(document) => self.take(document, side),
            Err(error) => {
                self.domain.manifest.bad_records_dropped += 1;
                self.bad.take(&error);
                Ok(())
            }
        })?;
        // A file without any line or record counts as one empty document.
        if self.domain.manifest.read == before && self.bad.count == bad_before {
            self.domain.manifest.empty_dropped += 1;
        }
        Ok(())
    }

    fn take(&mut self, document: SourceDocument, side: Option<Split>) -> Result<(), DataError> {
        self.domain.manifest.read += 1;
        if document.piece == 0 {
            self.begun = false;
            self.tag = self.tag.filter(|_| self.by_file);
        }
        if document.is_blank() {
            self.domain.manifest.empty_dropped += 1;
            return Ok(());
        }
        if document.piece == 1 {
            self.domain.manifest.cut_documents += 1;
        }
        // All pieces of a long document go to the split of its first piece.
        let tag = self.tag.unwrap_or_else(|| self.tag_of(&document));
        self.tag = Some(tag);
        self.side = side.unwrap_or(match self.rule.holds_out(tag.side) {
            true => Split::Heldout,
            false => Split::Train,
        });
        let tag = tag.at(self.file, document.record);
        let mut own = document.parts.iter().filter(|part| !part.from_template);
        self.with_end += u64::from(own.any(|part| part.text.contains(self.end)));
        let bytes = length(&document.parts);
        let spool = self.domain.spool(self.side);
        let index = spool.push(&document.parts, tag, self.begun)?;
        self.begun = true;
        let place = Place::new(self.side, self.number, index);
        let group = tag.origin.group;
        self.duplicates
            .note(hash(&document.parts), place, DocumentSize { bytes, group })
    }

    pub(super) fn say_end(&self, name: &str) {
        if self.with_end > 0 {
            tracing::warn!(
                "domain `{name}`: the text `{end}` occurs in {}. It is the name of the token that ends a document, but \
                 in text it is learned as letters: if it separates documents, set `separator = \"{end}\"`",
                polymath_base::counted(self.with_end, "document"),
                end = self.end
            );
        }
    }

    /// Returns the tag of a document: split hash, group and source. The hashes are of the value that names the
    /// document's group, or else of its content, so they are the same in every dataset. Copies that differ only in
    /// letter case and white space have the same tag.
    fn tag_of(&mut self, document: &SourceDocument) -> Tag {
        match &document.group {
            Some(value) => Tag::of(value, self.rule.seed),
            None => {
                normalize(&document.text(), &mut self.folded);
                Tag::of(&self.folded, self.rule.seed)
            }
        }
    }
}

/// Returns a hash of the exact content. Only exact copies are duplicates, since letter case matters in some text
/// (molecules, code).
fn hash(parts: &[Part]) -> u64 {
    let mut hasher = Xxh3Default::new();
    for part in parts {
        hasher.update(&(part.text.len() as u64).to_le_bytes());
        hasher.update(&[u8::from(part.scored), u8::from(part.from_template)]);
        hasher.update(part.text.as_bytes());
    }
    hasher.digest()
}
