//! Temporary storage of the documents in `prepare` on disk, so that memory does not grow with the corpus.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::shards::group::Tag;
use crate::sources::document::Part;
use crate::{DataError, DocumentOrigin};

/// Spool: a list of documents in an unnamed temporary file, which the system removes when the process ends.
pub(crate) struct Spool {
    folder: PathBuf,
    file: Mutex<BufWriter<File>>,
    /// Number of appended documents, including removed ones.
    pushed: u64,
    /// Bit set of the removed documents. Documents beyond its end are not removed.
    dropped: Vec<u64>,
    /// Number of documents, without removed ones.
    pub(crate) documents: u64,
    /// Size of the text of these documents in bytes.
    pub(crate) bytes: u64,
}

/// A document, or a piece of one, in a spool.
pub(crate) struct Entry {
    /// Index of the entry in the spool.
    pub(crate) index: u64,
    /// Text of the document, in parts that are scored or not.
    pub(crate) parts: Vec<Part>,
    /// Split hash, group and source of the document.
    pub(crate) tag: Tag,
    /// True if this entry is a further piece of the document in the entry before it.
    pub(crate) continues: bool,
    /// True if the document was removed.
    pub(crate) dropped: bool,
}

impl Spool {
    /// Creates an empty spool (a list of documents in a temporary file) in `folder`.
    ///
    /// # Errors
    /// Fails if `folder` can't be written.
    pub(crate) fn create(folder: &Path) -> Result<Self, DataError> {
        let file = tempfile::tempfile_in(folder).map_err(DataError::file("write into", folder))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            file: Mutex::new(BufWriter::with_capacity(1 << 18, file)),
            pushed: 0,
            dropped: Vec::new(),
            documents: 0,
            bytes: 0,
        })
    }

    /// Creates an empty spool in the same folder.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub(crate) fn empty(&self) -> Result<Self, DataError> {
        Self::create(&self.folder)
    }

    /// Appends a document and returns its index. `continues` is true for a further piece of the previous document.
    ///
    /// # Errors
    /// Fails if the disk is full.
    pub(crate) fn push(
        &mut self,
        parts: &[Part],
        tag: Tag,
        continues: bool,
    ) -> Result<u64, DataError> {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        write_document(file, parts, tag, continues)
            .map_err(DataError::file("write into", &self.folder))?;
        self.documents += 1;
        self.bytes += length(parts);
        self.pushed += 1;
        Ok(self.pushed - 1)
    }

    /// Removes the `index`-th document, whose text has `bytes` bytes; reads skip it from now on.
    pub(crate) fn remove(&mut self, index: u64, bytes: u64) {
        if self.is_dropped(index) {
            return;
        }
        let word = (index / 64) as usize;
        if self.dropped.len() <= word {
            self.dropped.resize(word + 1, 0);
        }
        self.dropped[word] |= 1 << (index % 64);
        self.documents -= 1;
        self.bytes -= bytes;
    }

    fn is_dropped(&self, index: u64) -> bool {
        let word = self.dropped.get((index / 64) as usize);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Calls `each` with every document that was not removed, in order.
    ///
    /// # Errors
    /// Fails if the temporary file can't be read, or if `each` fails.
    pub(crate) fn read(
        &self,
        each: &mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.read_first(u64::MAX, each)
    }

    /// Calls `each` with every entry that was not removed, in order, until it returns `false`.
    ///
    /// # Errors
    /// Fails if the temporary file can't be read, or if `each` fails.
    pub(crate) fn read_kept(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        self.scan(&mut |entry| match entry.dropped {
            true => Ok(true),
            false => each(entry),
        })
    }

    /// Calls `each` with every entry in order, including removed ones.
    ///
    /// # Errors
    /// Fails if the temporary file can't be read, or if `each` fails.
    pub(crate) fn read_entries(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.scan(&mut |entry| each(entry).map(|()| true))
    }

    /// Calls `each` with the first `most` documents that were not removed, in order.
    ///
    /// # Errors
    /// Fails if the temporary file can't be read, or if `each` fails.
    pub(crate) fn read_first(
        &self,
        most: u64,
        each: &mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut left = most.min(self.documents);
        if left == 0 {
            return Ok(());
        }
        self.scan(&mut |entry| {
            if !entry.dropped {
                each(entry.parts)?;
                left -= 1;
            }
            Ok(left > 0)
        })
    }

    /// Calls `each` with every entry in order, including removed ones, until it returns `false`.
    fn scan(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        let failed = |source| DataError::File {
            action: "read back from",
            path: self.folder.clone(),
            source,
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 18, file.get_ref());
        reader.rewind().map_err(failed)?;
        for index in 0..self.pushed {
            let entry = Entry {
                index,
                dropped: self.is_dropped(index),
                ..read_document(&mut reader).map_err(failed)?
            };
            if !each(entry)? {
                break;
            }
        }
        // Moves the file position back to the end for the next `push`.
        let end = SeekFrom::End(0);
        file.get_mut().seek(end).map_err(failed)?;
        Ok(())
    }
}

/// Returns the size of a document's text in bytes.
pub(crate) fn length(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.text.len() as u64).sum()
}

fn write_document(
    file: &mut impl Write,
    parts: &[Part],
    tag: Tag,
    continues: bool,
) -> std::io::Result<()> {
    file.write_all(&[u8::from(continues)])?;
    for number in [tag.side, tag.origin.group, tag.origin.record] {
        file.write_all(&number.to_le_bytes())?;
    }
    file.write_all(&tag.origin.file.to_le_bytes())?;
    file.write_all(&(parts.len() as u32).to_le_bytes())?;
    for part in parts {
        file.write_all(&[u8::from(part.scored), u8::from(part.from_template)])?;
        file.write_all(&(part.text.len() as u64).to_le_bytes())?;
        file.write_all(part.text.as_bytes())?;
    }
    Ok(())
}

fn read_number<const BYTES: usize>(reader: &mut impl Read) -> std::io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    reader.read_exact(&mut bytes).map(|()| bytes)
}

/// Reads an entry of a spool, except for its index.
fn read_document(reader: &mut impl Read) -> std::io::Result<Entry> {
    let [continues] = read_number(reader)?;
    let tag = Tag {
        side: u64::from_le_bytes(read_number(reader)?),
        origin: DocumentOrigin {
            group: u64::from_le_bytes(read_number(reader)?),
            record: u64::from_le_bytes(read_number(reader)?),
            file: u32::from_le_bytes(read_number(reader)?),
        },
    };
    let mut parts = Vec::new();
    for _ in 0..u32::from_le_bytes(read_number(reader)?) {
        let mut head = [0; 10];
        reader.read_exact(&mut head)?;
        let [scored, from_template, length @ ..] = head;
        let mut text = vec![0; u64::from_le_bytes(length) as usize];
        reader.read_exact(&mut text)?;
        let text = String::from_utf8(text)
            .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
        parts.push(Part {
            text,
            scored: scored != 0,
            from_template: from_template != 0,
        });
    }
    Ok(Entry {
        index: 0,
        parts,
        tag,
        continues: continues != 0,
        dropped: false,
    })
}
