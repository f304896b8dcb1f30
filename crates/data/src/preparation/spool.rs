//! Documents on their way through `prepare`, on the disk, so that memory does not grow with the corpus.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::shards::group::Tag;
use crate::sources::document::Part;
use crate::{DataError, DocumentOrigin};

/// A list of documents in an unnamed temporary file; it goes when the process does.
pub(crate) struct Spool {
    folder: PathBuf,
    file: Mutex<BufWriter<File>>,
    /// Number of pushed documents.
    pushed: u64,
    /// A bit for each that is not to be read back; shorter than the list where the rest is.
    dropped: Vec<u64>,
    /// Number of documents that it holds.
    pub(crate) documents: u64,
    /// Bytes of their text.
    pub(crate) bytes: u64,
}

/// A document or a piece of one, as it was pushed.
pub(crate) struct Entry {
    /// Index in the list.
    pub(crate) index: u64,
    /// Text of the document.
    pub(crate) parts: Vec<Part>,
    /// Side, group and source.
    pub(crate) tag: Tag,
    /// True for a further piece of the document before it.
    pub(crate) continues: bool,
    /// True if it is left out.
    pub(crate) dropped: bool,
}

impl Spool {
    /// An empty one in `folder`.
    ///
    /// # Errors
    /// The folder can't be written.
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

    /// Returns an empty one in the same folder.
    ///
    /// # Errors
    /// The folder can't be written.
    pub(crate) fn empty(&self) -> Result<Self, DataError> {
        Self::create(&self.folder)
    }

    /// Appends a document, and returns its index. `continues` marks a piece of the document before it.
    ///
    /// # Errors
    /// A full disk.
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

    /// Leaves the `index`-th document, of `bytes`, out from now on.
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

    /// Calls `each` with every document, in order.
    ///
    /// # Errors
    /// The disk's, and what `each` says.
    pub(crate) fn read(
        &self,
        each: &mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.read_first(u64::MAX, each)
    }

    /// Calls `each` with every document that is not left out, its side, group and source, in order, until it returns
    /// `false`.
    ///
    /// # Errors
    /// The disk's, and what `each` says.
    pub(crate) fn read_kept(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        self.scan(&mut |entry| match entry.dropped {
            true => Ok(true),
            false => each(entry),
        })
    }

    /// Calls `each` with every entry, in order, those that are left out too.
    ///
    /// # Errors
    /// The disk's, and what `each` says.
    pub(crate) fn read_entries(
        &self,
        each: &mut dyn FnMut(Entry) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.scan(&mut |entry| each(entry).map(|()| true))
    }

    /// Calls `each` with the first `most` documents, in order.
    ///
    /// # Errors
    /// The disk's, and what `each` says.
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

    /// Calls `each` with the entries in order, until it returns `false`.
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
        // The next push goes to the end again.
        let end = SeekFrom::End(0);
        file.get_mut().seek(end).map_err(failed)?;
        Ok(())
    }
}

/// Bytes of a document's text.
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

/// Reads an entry but for its index.
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
