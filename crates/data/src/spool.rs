//! Documents on their way through `prepare`, on the disk, so that memory does not grow with the corpus.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::DataError;
use crate::source::Part;

/// A list of documents in an unnamed temporary file; it goes when the process does.
pub struct Spool {
    folder: PathBuf,
    file: Mutex<BufWriter<File>>,
    /// How many documents it holds.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

impl Spool {
    /// An empty one in `folder`.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn create(folder: &Path) -> Result<Self, DataError> {
        let file = tempfile::tempfile_in(folder).map_err(DataError::file("write into", folder))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            file: Mutex::new(BufWriter::with_capacity(1 << 18, file)),
            documents: 0,
            bytes: 0,
        })
    }

    /// Appends a document.
    ///
    /// # Errors
    /// A full disk.
    pub fn push(&mut self, parts: &[Part]) -> Result<(), DataError> {
        let file = self.file.get_mut().expect("no reader panicked");
        let mut write = || -> std::io::Result<()> {
            file.write_all(&(parts.len() as u32).to_le_bytes())?;
            for part in parts {
                file.write_all(&[u8::from(part.scored)])?;
                file.write_all(&(part.text.len() as u64).to_le_bytes())?;
                file.write_all(part.text.as_bytes())?;
            }
            Ok(())
        };
        write().map_err(DataError::file("write into", &self.folder))?;
        self.documents += 1;
        self.bytes += parts.iter().map(|part| part.text.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Calls `each` with every document, in order.
    ///
    /// # Errors
    /// The disk's, and what `each` says.
    pub fn read(
        &self,
        each: &mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let failed = |source| DataError::File {
            action: "read back from",
            path: self.folder.clone(),
            source,
        };
        let mut file = self.file.lock().expect("no reader panicked");
        file.flush().map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 18, file.get_ref());
        reader.rewind().map_err(failed)?;
        for _ in 0..self.documents {
            each(read_document(&mut reader).map_err(failed)?)?;
        }
        Ok(())
    }
}

fn read_document(reader: &mut impl Read) -> std::io::Result<Vec<Part>> {
    let mut count = [0; 4];
    reader.read_exact(&mut count)?;
    let mut parts = Vec::new();
    for _ in 0..u32::from_le_bytes(count) {
        let mut head = [0; 9];
        reader.read_exact(&mut head)?;
        let [scored, length @ ..] = head;
        let mut text = vec![0; u64::from_le_bytes(length) as usize];
        reader.read_exact(&mut text)?;
        let text = String::from_utf8(text)
            .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
        parts.push(Part {
            text,
            scored: scored != 0,
        });
    }
    Ok(parts)
}
