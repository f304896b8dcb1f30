//! Search for equal documents in a corpus of any size.
//!
//! A hash set in memory would grow with the corpus. Instead, each document's record goes to one of [`PARTS`]
//! temporary files by its hash, so that equal documents are in the same file; the files are then sorted one at a
//! time. The choice of the copy to keep does not depend on the order of reading: held-out documents first, then by
//! domain and group.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::{DataError, Split};

/// Number of temporary files. A billion documents give 1 GB in each.
const PARTS: usize = 32;
/// Bytes per record in the temporary file.
const RECORD: usize = 32;

/// Position of a document: its split, its domain and its index in the temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// True for the training split. As the first field it sorts held-out documents first, unlike [`Split`].
    train: bool,
    domain: u16,
    index: u64,
}

impl Place {
    pub(crate) fn new(split: Split, domain: usize, index: u64) -> Self {
        Place {
            train: split == Split::Train,
            domain: domain as u16,
            index,
        }
    }

    pub(crate) fn split(self) -> Split {
        if self.train {
            Split::Train
        } else {
            Split::Heldout
        }
    }

    pub(crate) fn domain(self) -> usize {
        self.domain.into()
    }

    pub(crate) fn index(self) -> u64 {
        self.index
    }

    fn to_bits(self) -> u64 {
        u64::from(self.train) << 63 | u64::from(self.domain) << 47 | self.index
    }

    fn from_bits(bits: u64) -> Self {
        Place {
            train: bits >> 63 == 1,
            domain: (bits >> 47) as u16,
            index: bits & ((1 << 47) - 1),
        }
    }
}

/// Document that is a copy of another one and is therefore dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) place: Place,
    pub(crate) bytes: u64,
    pub(crate) kept: Place,
}

/// Size and group of a document, as noted for the search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentSize {
    /// Size of the document's text in bytes.
    pub(crate) bytes: u64,
    /// Group of the document.
    pub(crate) group: u64,
}

/// Record of a document in a temporary file.
struct Record {
    hash: u64,
    place: Place,
    noted: DocumentSize,
}

impl Record {
    /// Sort key: of equal documents the first is kept. Held-out copies come first, then those of earlier domains,
    /// then those of the lowest group, so that the order of reading does not matter.
    fn rank(&self) -> (u64, bool, u16, u64, u64) {
        let Place {
            train,
            domain,
            index,
        } = self.place;
        (self.hash, train, domain, self.noted.group, index)
    }
}

/// Records (hash, position, size and group) of all documents, in temporary files.
pub(crate) struct Duplicates {
    folder: PathBuf,
    parts: Vec<BufWriter<File>>,
}

impl Duplicates {
    pub(crate) fn create(folder: &Path) -> Result<Self, DataError> {
        let parts = (0..PARTS).map(|_| {
            tempfile::tempfile_in(folder).map(|file| BufWriter::with_capacity(1 << 14, file))
        });
        Ok(Duplicates {
            folder: folder.to_path_buf(),
            parts: parts
                .collect::<Result<_, _>>()
                .map_err(DataError::file("write into", folder))?,
        })
    }

    /// Adds the record of a document whose content has the hash `hash`.
    pub(crate) fn note(
        &mut self,
        hash: u64,
        place: Place,
        noted: DocumentSize,
    ) -> Result<(), DataError> {
        let mut record = [0; RECORD];
        let fields = [hash, place.to_bits(), noted.bytes, noted.group];
        for (to, field) in record.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        self.parts[(hash >> 32) as usize % PARTS]
            .write_all(&record)
            .map_err(DataError::file("write into", &self.folder))
    }

    /// Calls `each` with every document that is a copy of a kept one.
    pub(crate) fn find(mut self, each: &mut dyn FnMut(Duplicate)) -> Result<(), DataError> {
        for part in &mut self.parts {
            let mut records =
                read_records(part).map_err(DataError::file("read back from", &self.folder))?;
            records.sort_unstable_by_key(Record::rank);
            for equal in records.chunk_by(|a, b| a.hash == b.hash) {
                for record in &equal[1..] {
                    each(Duplicate {
                        place: record.place,
                        bytes: record.noted.bytes,
                        kept: equal[0].place,
                    });
                }
            }
        }
        Ok(())
    }
}

fn read_records(part: &mut BufWriter<File>) -> std::io::Result<Vec<Record>> {
    part.flush()?;
    let file = part.get_mut();
    let count = file.metadata()?.len() as usize / RECORD;
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let mut fields = [0; 4];
        for field in &mut fields {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes)?;
            *field = u64::from_le_bytes(bytes);
        }
        let [hash, place, bytes, group] = fields;
        records.push(Record {
            hash,
            place: Place::from_bits(place),
            noted: DocumentSize { bytes, group },
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that one of several equal documents is kept: a held-out one if there is any, else the one of the
    /// earliest domain, of the lowest group, with the lowest index.
    #[test]
    fn the_heldout_copy_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut duplicates = Duplicates::create(folder.path()).unwrap();
        let train = |domain, index| Place::new(Split::Train, domain, index);
        let heldout = Place::new(Split::Heldout, 3, 9);
        let mut note = |hash, place, group| {
            let noted = DocumentSize { bytes: 10, group };
            duplicates.note(hash, place, noted).unwrap();
        };
        note(7, train(0, 0), 1);
        note(7, heldout, 2);
        note(8, train(1, 4), 5);
        note(8, train(1, 2), 5);
        note(9, train(1, 3), 0);
        note(6, train(2, 0), 9);
        note(6, train(2, 1), 8);
        let mut found = Vec::new();
        duplicates
            .find(&mut |duplicate| found.push((duplicate.place, duplicate.kept)))
            .unwrap();
        found.sort();
        let expected = [
            (train(0, 0), heldout),
            (train(1, 4), train(1, 2)),
            (train(2, 0), train(2, 1)),
        ];
        assert_eq!(found, expected);
        assert_eq!(Place::from_bits(heldout.to_bits()), heldout);
    }
}
