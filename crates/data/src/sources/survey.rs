//! A first look at sources: files, kinds, size, documents, and a sample of their text.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::sources::bad_records::BadRecords;
use crate::sources::expand::Search;
use crate::sources::format::{self, Format};
use crate::sources::kind::ending;
use crate::sources::notes::count;
use crate::sources::record::Records;
use crate::{DataError, DomainConfig, RecordNotes};

/// Bytes of text that are kept as a sample.
const SAMPLE: usize = 20_000;

/// Survey of a domain's sources: files, sizes, documents and a sample, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceSurvey {
    /// Number of files.
    pub files: u64,
    /// Size of the files on disk in bytes.
    pub bytes: u64,
    /// Number of files by extension.
    pub endings: BTreeMap<String, u64>,
    /// Number of documents; estimated from the part that was read if [`Self::is_estimated`].
    pub documents: u64,
    /// Size of the documents' text in bytes; an estimate if [`Self::is_estimated`].
    pub text_bytes: u64,
    /// True if only a part of the sources was read, so that counts are estimates.
    pub is_estimated: bool,
    /// True if documents have prompts, which are read and not learned: conversations, questions with answers.
    pub has_prompts: bool,
    /// Number of records with a prompt and its response among the documents that were read.
    pub pairs: u64,
    /// Sample of the text: the beginnings of documents.
    pub sample: String,
    /// First record that makes no document, with its reason.
    pub bad: Option<String>,
    /// Counts of files and records that are skipped.
    pub notes: RecordNotes,
}

/// Looks at the sources of a domain, as `prepare` would find them, and reads at most about `most_bytes` of them.
///
/// # Errors
/// Fails if a path matches no file, or a file can't be read.
pub fn survey(domain: &DomainConfig, most_bytes: u64) -> Result<SourceSurvey, DataError> {
    let mut found = SourceSurvey::default();
    let search = Search::new("paths".into(), domain);
    let files = search.expand(&domain.paths, &mut found.notes)?;
    for path in &files {
        let metadata = std::fs::metadata(path).map_err(DataError::file("read", path))?;
        found.bytes += metadata.len();
        count(&mut found.endings, &ending(path));
    }
    found.files = files.len() as u64;
    let read_notes = RefCell::new(RecordNotes::default());
    let format = Format {
        records: Records {
            notes: Some(&read_notes),
            text_field: domain.text_field.as_deref(),
            fields: domain.fields.as_ref(),
            ..Records::default()
        },
        separator: domain.separator.as_deref(),
    };
    let (read, stopped) = (Cell::new(0), Cell::new(false));
    // Bytes that were read when the limit was reached. Files are read in chunks, so more documents of them follow.
    let mut enough: Option<u64> = None;
    let watch = |bytes| read.set(read.get() + bytes);
    let mut bad = BadRecords::default();
    for path in &files {
        let done = format::read(path, format, &watch, &mut |document| {
            match document {
                Ok(document) if document.is_blank() => {}
                Ok(document) => {
                    found.documents += u64::from(document.piece == 0);
                    let scored = document.parts.iter().all(|part| part.scored);
                    found.has_prompts |= !scored;
                    let text = document.text();
                    found.text_bytes += text.len() as u64;
                    let room = SAMPLE.saturating_sub(found.sample.len()).min(SAMPLE / 10);
                    found.sample += &text[..text.floor_char_boundary(room)];
                }
                Err(error) => bad.take(&error),
            }
            if enough.is_none() && read.get() > most_bytes {
                enough = Some(read.get());
            }
            match enough.is_some_and(|enough| read.get() > enough) {
                // The reader ends at an error alone.
                true => {
                    stopped.set(true);
                    Err(DataError::config("paths", "enough was read"))
                }
                false => Ok(()),
            }
        });
        match done {
            Err(_) if stopped.get() => break,
            done => done?,
        }
    }
    if stopped.get() {
        let share = found.bytes as f64 / enough.unwrap_or(1).max(1) as f64;
        let whole = |count: u64| (count as f64 * share.max(1.0)) as u64;
        found.is_estimated = true;
        found.documents = whole(found.documents);
        found.text_bytes = whole(found.text_bytes);
    }
    found.bad = bad.first();
    found.pairs = read_notes.into_inner().pairs;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[(&str, String)], most_bytes: u64) -> SourceSurvey {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let domain = DomainConfig {
            paths: vec![folder.path().display().to_string()],
            ..DomainConfig::default()
        };
        survey(&domain, most_bytes).unwrap()
    }

    /// Checks that documents are counted as `prepare` reads them, and estimated if only a part is read.
    #[test]
    fn documents_are_counted_or_estimated() {
        let line =
            |number: usize| format!("{{\"prompt\": \"{number:05}\", \"response\": \"yes\"}}\n");
        let talks: String = (0..40_000).map(line).collect();
        let files = [("a.jsonl", talks), ("b.md", "A note.".into())];
        let whole = look(&files, u64::MAX);
        assert_eq!((whole.files, whole.documents), (2, 40_001));
        assert!(whole.has_prompts && !whole.is_estimated && whole.bad.is_none());
        assert_eq!(whole.endings[".jsonl"], 1);
        assert_eq!(whole.text_bytes, 40_000 * 9 + 7);
        assert!(whole.sample.starts_with("00000\nyes"), "{}", whole.sample);
        let part = look(&files, 200_000);
        assert!(part.is_estimated);
        let off = part.documents as f64 / whole.documents as f64;
        assert!((0.9..1.1).contains(&off), "{off}");
        assert_eq!(part.bytes, whole.bytes);
    }

    /// Checks that the first record that makes no document is named, and the others are counted.
    #[test]
    fn broken_records_are_told() {
        let found = look(
            &[("a.jsonl", "{\"text\": \"x\"}\n{\"body\": 1}\n".into())],
            1000,
        );
        assert_eq!(found.documents, 1);
        assert!(found.bad.unwrap().contains("a.jsonl:2"));
    }
}
