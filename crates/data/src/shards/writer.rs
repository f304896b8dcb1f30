//! Writer of a token shard that does not hold the shard in memory.
//!
//! A safetensors file begins with the sizes of its tensors, which are known only at the end. So each tensor goes to
//! an unnamed temporary file first, and the shard is assembled from these.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use polymath_base::StagedFile;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use crate::shards::layout::{GROUP_FIELD, GROUP_KIND};
use crate::{DataError, DocumentOrigin, Grouping, SplitManifest};

/// Writer that takes documents one by one and writes them as a shard.
pub struct ShardWriter {
    path: PathBuf,
    wide: bool,
    tokens: Spool,
    offsets: Spool,
    document_bytes: Spool,
    loss_mask: Spool,
    masked: bool,
    origins: Option<Origins>,
    written: SplitManifest,
}

/// Temporary files of the documents' groups and sources.
struct Origins {
    grouping: Grouping,
    groups: Spool,
    files: Spool,
    records: Spool,
    seen: HashSet<u64>,
}

impl ShardWriter {
    /// Creates the writer of a shard at `path`, for a vocabulary of `vocab_size` tokens.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn create(path: &Path, vocab_size: usize) -> Result<Self, DataError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut offsets = Spool::create(folder)?;
        offsets.write(&0u64.to_le_bytes())?;
        Ok(ShardWriter {
            path: path.to_path_buf(),
            wide: vocab_size > 1 << 16,
            tokens: Spool::create(folder)?,
            offsets,
            document_bytes: Spool::create(folder)?,
            loss_mask: Spool::create(folder)?,
            masked: false,
            origins: None,
            written: SplitManifest::default(),
        })
    }

    /// Makes the writer store the group and source of each document, which are then appended with
    /// [`Self::push_from`].
    ///
    /// # Errors
    /// Fails if the folder can't be written, or if documents were appended before.
    pub fn with_groups(mut self, grouping: Grouping) -> Result<Self, DataError> {
        if self.written.documents > 0 {
            let message = "groups are stored for all documents or none";
            return Err(DataError::content(&self.path, message));
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        self.origins = Some(Origins {
            grouping,
            groups: Spool::create(folder)?,
            files: Spool::create(folder)?,
            records: Spool::create(folder)?,
            seen: HashSet::new(),
        });
        Ok(self)
    }

    /// Appends a document like [`Self::push`], with its group and its source.
    ///
    /// # Errors
    /// Fails as [`Self::push`] does, or if the writer was not set up with [`Self::with_groups`].
    pub fn push_from(
        &mut self,
        origin: DocumentOrigin,
        tokens: &[u32],
        scored: &[bool],
        bytes: u64,
    ) -> Result<(), DataError> {
        let Some(origins) = &mut self.origins else {
            let message = "a document with a group in a shard that stores none";
            return Err(DataError::content(&self.path, message));
        };
        origins.seen.insert(origin.group);
        self.written.groups = origins.seen.len() as u64;
        origins.groups.write(&origin.group.to_le_bytes())?;
        origins.files.write(&origin.file.to_le_bytes())?;
        origins.records.write(&origin.record.to_le_bytes())?;
        self.append(tokens, scored, bytes)
    }

    /// Appends a document. `tokens` includes the end token. `scored` is the loss mask, one element per token, or
    /// empty if all tokens are scored. `bytes` is the length of the scored text.
    ///
    /// # Errors
    /// Fails if the disk is full, or if the document is empty or too large for a shard.
    pub fn push(&mut self, tokens: &[u32], scored: &[bool], bytes: u64) -> Result<(), DataError> {
        if self.origins.is_some() {
            let message = "a document without a group in a shard that stores them";
            return Err(DataError::content(&self.path, message));
        }
        self.append(tokens, scored, bytes)
    }

    fn append(&mut self, tokens: &[u32], scored: &[bool], bytes: u64) -> Result<(), DataError> {
        let bytes_field = u32::try_from(bytes).map_err(|_| {
            DataError::content(
                &self.path,
                format!("a document of {bytes} bytes is beyond 4 GiB"),
            )
        })?;
        if tokens.is_empty() || !(scored.is_empty() || scored.len() == tokens.len()) {
            return Err(DataError::content(
                &self.path,
                format!(
                    "a document with {} tokens and {} marks",
                    tokens.len(),
                    scored.len()
                ),
            ));
        }
        for &token in tokens {
            if self.wide {
                self.tokens.write(&token.to_le_bytes())?;
            } else {
                let token = u16::try_from(token).map_err(|_| {
                    DataError::content(
                        &self.path,
                        format!("token {token} is outside the vocabulary"),
                    )
                })?;
                self.tokens.write(&token.to_le_bytes())?;
            }
        }
        // The mask is stored from the first document on, since any later document may need it.
        let marks: Vec<u8> = match scored {
            [] => vec![1; tokens.len()],
            marks => marks.iter().map(|&mark| u8::from(mark)).collect(),
        };
        self.masked |= marks.contains(&0);
        self.loss_mask.write(&marks)?;
        self.written.tokens += tokens.len() as u64;
        self.written.documents += 1;
        self.written.bytes += bytes;
        self.offsets.write(&self.written.tokens.to_le_bytes())?;
        self.document_bytes.write(&bytes_field.to_le_bytes())
    }

    /// Assembles the shard, syncs it and renames it into place.
    ///
    /// # Errors
    /// Fails if the disk is full or the folder can't be written.
    pub fn finish(mut self) -> Result<SplitManifest, DataError> {
        let (documents, tokens) = (
            self.written.documents as usize,
            self.written.tokens as usize,
        );
        let token_type = if self.wide { Dtype::U32 } else { Dtype::U16 };
        let mut parts = vec![
            ("document_offsets", Dtype::U64, documents + 1, self.offsets),
            ("document_bytes", Dtype::U32, documents, self.document_bytes),
            ("tokens", token_type, tokens, self.tokens),
        ];
        if self.masked {
            parts.push(("loss_mask", Dtype::U8, tokens, self.loss_mask));
        }
        let mut metadata = None;
        if let Some(origins) = self.origins {
            metadata = Some(described(&origins.grouping));
            parts.push(("document_groups", Dtype::U64, documents, origins.groups));
            parts.push(("document_files", Dtype::U32, documents, origins.files));
            parts.push(("document_records", Dtype::U64, documents, origins.records));
        }
        // Tensors of wider types come first, so that each tensor is aligned to its type.
        parts.sort_by_key(|(_, dtype, ..)| std::cmp::Reverse(dtype.bitsize()));
        let header =
            header(metadata, &parts).map_err(|message| DataError::content(&self.path, message))?;
        let mut spools: Vec<Spool> = parts.into_iter().map(|part| part.3).collect();
        let bytes = spools
            .iter_mut()
            .map(Spool::rewind)
            .collect::<Result<Vec<_>, _>>()?;

        let failed = |source| DataError::File {
            action: "write",
            path: self.path.clone(),
            source,
        };
        let mut staged = StagedFile::create(&self.path).map_err(failed)?;
        let mut digest = Sha256::new();
        let mut sources: Vec<Box<dyn Read>> = vec![Box::new(std::io::Cursor::new(header))];
        sources.extend(
            bytes
                .into_iter()
                .map(|file| Box::new(file) as Box<dyn Read>),
        );
        for mut source in sources {
            copy(&mut source, staged.file(), &mut digest).map_err(failed)?;
        }
        staged.commit().map_err(failed)?;
        self.written.sha256 = polymath_base::hexadecimal(&digest.finalize());
        Ok(self.written)
    }
}

/// Returns the safetensors metadata that describe the groups.
fn described(grouping: &Grouping) -> HashMap<String, String> {
    let kind = (GROUP_KIND.to_owned(), grouping.kind.name().to_owned());
    let field = grouping.field.clone();
    let field = field.map(|field| (GROUP_FIELD.to_owned(), field));
    std::iter::once(kind).chain(field).collect()
}

fn header(
    metadata: Option<HashMap<String, String>>,
    parts: &[(&str, Dtype, usize, Spool)],
) -> Result<Vec<u8>, String> {
    let mut from = 0;
    let mut infos = Vec::new();
    for &(name, dtype, count, _) in parts {
        let to = from + count * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype,
            shape: vec![count],
            data_offsets: (from, to),
        };
        infos.push((name.to_string(), info));
        from = to;
    }
    let metadata = Metadata::new(metadata, infos).map_err(|error| error.to_string())?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| error.to_string())?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}

fn copy(from: &mut dyn Read, to: &mut impl Write, digest: &mut Sha256) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        digest.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}

/// Temporary file that collects the values of one tensor.
struct Spool {
    folder: PathBuf,
    file: BufWriter<File>,
}

impl Spool {
    fn create(folder: &Path) -> Result<Self, DataError> {
        let file = tempfile::tempfile_in(folder).map_err(DataError::file("write into", folder))?;
        Ok(Spool {
            folder: folder.to_path_buf(),
            file: BufWriter::with_capacity(1 << 16, file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file
            .write_all(bytes)
            .map_err(DataError::file("write into", &self.folder))
    }

    fn rewind(&mut self) -> Result<BufReader<File>, DataError> {
        let rewound = self.file.flush().and_then(|()| {
            let mut file = self.file.get_ref().try_clone()?;
            file.rewind()?;
            Ok(file)
        });
        let file = rewound.map_err(DataError::file("write into", &self.folder))?;
        Ok(BufReader::with_capacity(1 << 16, file))
    }
}
