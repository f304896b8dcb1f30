//! Raw text to a data set.
//!
//! Two passes, so that memory does not grow with the corpus. The first reads the sources, drops duplicates, decides
//! each document's side by its content, and spools what is kept beside the output. The second tokenizes the spools on
//! all cores and looks for held-out text in the train side. `dataset.json` is written last.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::overlap::{HeldoutGrams, OverlapScan};
use crate::shard_writer::hexadecimal;
use crate::source::{self, Part, SourceDocument};
use crate::spool::Spool;
use crate::{
    DataError, Dataset, DomainConfig, DomainManifest, Manifest, PrepareConfig, Progress, SCHEMA,
    ShardWriter, Split, SplitManifest, TokenizerManifest, read_questions, tokenizer,
};

/// Text that is tokenized at once: enough for all cores, little beside the memory's bound.
const BATCH_BYTES: usize = 16 << 20;

/// One domain after the first pass.
struct Collected {
    train: Spool,
    heldout: Spool,
    manifest: DomainManifest,
}

/// Makes the data set that `config` describes. An output that holds the same data set already is left as it is; one
/// that holds another is refused, unless `force`.
///
/// # Errors
/// A config that contradicts itself; a source that can't be read; a domain with nothing in it; a full disk.
pub fn prepare(
    config: &PrepareConfig,
    force: bool,
    progress: &dyn Progress,
) -> Result<Dataset, DataError> {
    config.validate()?;
    let files = expand_all(config)?;
    let source = fingerprint(config, &files)?;
    let output = &config.output;
    if output.join("dataset.json").is_file() {
        let found = Dataset::open(output);
        if let Ok(found) = found
            && found.manifest().source == source
        {
            return Ok(found);
        }
        if !force {
            return Err(DataError::content(
                output,
                "holds a data set made from other text or settings: choose another `output`, or give `--force` to \
                 replace it",
            ));
        }
        let manifest = output.join("dataset.json");
        fs::remove_file(&manifest).map_err(DataError::file("remove", &manifest))?;
    }
    fs::create_dir_all(output).map_err(DataError::file("make the folder", output))?;

    let collected = collect(config, &files, progress)?;
    let tokenizer = make_tokenizer(config, &collected, progress)?;
    write(config, source, collected, &tokenizer, progress)?;
    Dataset::open(output)
}

/// The files of a domain.
struct Files {
    train: Vec<PathBuf>,
    heldout: Vec<PathBuf>,
}

fn expand_all(config: &PrepareConfig) -> Result<BTreeMap<String, Files>, DataError> {
    let mut all = BTreeMap::new();
    for (name, domain) in &config.domains {
        let key = |key: &str| format!("domains.{name}.{key}");
        let heldout = source::expand(&key("heldout_paths"), &domain.heldout_paths)?;
        let mut train = source::expand(&key("paths"), &domain.paths)?;
        // A file that is named for the held-out side is no training text, even if a glob catches it.
        train.retain(|file| !heldout.contains(file));
        if train.is_empty() {
            return Err(DataError::config(
                key("paths"),
                "only matches files of `heldout_paths`",
            ));
        }
        all.insert(name.clone(), Files { train, heldout });
    }
    Ok(all)
}

/// A digest of every setting and of every file's name and content.
fn fingerprint(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
) -> Result<String, DataError> {
    let mut digest = Sha256::new();
    let mut settings = config.clone();
    settings.output = PathBuf::new();
    digest.update(serde_json::to_vec(&settings).expect("a config is plain values"));
    let extra = config.tokenizer.path.iter().chain(
        config
            .domains
            .values()
            .filter_map(|domain| domain.questions.as_ref()),
    );
    let sources = files
        .values()
        .flat_map(|files| files.train.iter().chain(&files.heldout));
    for path in sources.chain(extra) {
        let mut hasher = Xxh3Default::new();
        let mut file = fs::File::open(path).map_err(DataError::file("open", path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(DataError::file("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        digest.update(path.to_string_lossy().as_bytes());
        digest.update(hasher.digest128().to_le_bytes());
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// The first pass.
fn collect(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Collected>, DataError> {
    let sizes = files
        .values()
        .flat_map(|files| files.train.iter().chain(&files.heldout));
    let total = sizes
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.len())
        .sum();
    progress.begin("reading", Some(total));
    let mut seen = Seen::default();
    let mut collected = BTreeMap::new();
    for (name, files) in files {
        let mut domain = Collected {
            train: Spool::create(&config.output)?,
            heldout: Spool::create(&config.output)?,
            manifest: DomainManifest::default(),
        };
        // Named held-out files come first: where a train file repeats one of their documents, the train side loses it.
        for (paths, side) in [(&files.heldout, Some(Split::Heldout)), (&files.train, None)] {
            let side = side.or((!files.heldout.is_empty()).then_some(Split::Train));
            for path in paths {
                let mut reader = Reader {
                    config,
                    name,
                    side,
                    seen: &mut seen,
                    domain: &mut domain,
                    last: Split::Train,
                };
                reader.read(path, &config.domains[name])?;
                progress.advance(fs::metadata(path).map_or(0, |file| file.len()));
            }
        }
        refuse_empty(name, &domain)?;
        collected.insert(name.clone(), domain);
    }
    let (documents, bytes) =
        collected
            .values()
            .fold((0, 0), |(documents, bytes), domain: &Collected| {
                (
                    documents + domain.train.documents + domain.heldout.documents,
                    bytes + domain.train.bytes + domain.heldout.bytes,
                )
            });
    progress.finish(&format!(
        "{documents} documents, {:.1} MB of text",
        bytes as f64 / 1e6
    ));
    Ok(collected)
}

/// Which documents have been kept, and by which domain.
#[derive(Default)]
struct Seen {
    everywhere: HashSet<u128>,
    in_domain: HashSet<u128>,
    domain: String,
}

/// Reads the files of one domain into its spools.
struct Reader<'a> {
    config: &'a PrepareConfig,
    name: &'a str,
    side: Option<Split>,
    seen: &'a mut Seen,
    domain: &'a mut Collected,
    last: Split,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, domain: &DomainConfig) -> Result<(), DataError> {
        self.domain.manifest.files += 1;
        source::read(path, domain.text_field.as_deref(), &mut |document| {
            self.take(document)
        })
    }

    fn take(&mut self, document: SourceDocument) -> Result<(), DataError> {
        if document.is_blank() {
            self.domain.manifest.empty_dropped += 1;
            return Ok(());
        }
        let digest = content_hash(&document);
        if self.seen.domain != self.name {
            self.seen.domain = self.name.to_owned();
            self.seen.in_domain.clear();
        }
        if !self.seen.everywhere.insert(digest) {
            self.domain.manifest.duplicates_dropped += 1;
            self.domain.manifest.duplicates_across_domains +=
                u64::from(!self.seen.in_domain.contains(&digest));
            return Ok(());
        }
        self.seen.in_domain.insert(digest);
        let side = match self.side {
            Some(side) => side,
            // A huge document's pieces stay together.
            None if document.continues => self.last,
            None => self.side_of(digest),
        };
        self.domain.manifest.cut_documents += u64::from(document.continues && self.last == side);
        self.last = side;
        match side {
            Split::Train => self.domain.train.push(&document.parts),
            Split::Heldout => self.domain.heldout.push(&document.parts),
        }
    }

    /// The side of a document by its content alone: the same in every data set, whatever else is in it.
    fn side_of(&self, digest: u128) -> Split {
        let unit = crate::draw::unit(self.config.seed, digest as u64, (digest >> 64) as u64);
        if unit < self.config.heldout_fraction {
            Split::Heldout
        } else {
            Split::Train
        }
    }
}

/// A hash of the text with letter case and white space aside, so that trivially changed copies are one document.
fn content_hash(document: &SourceDocument) -> u128 {
    let text = document.text().to_lowercase();
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        folded.push_str(word);
        folded.push(' ');
    }
    xxh3_128(folded.as_bytes())
}

fn refuse_empty(name: &str, domain: &Collected) -> Result<(), DataError> {
    if domain.train.documents == 0 {
        return Err(DataError::domain(
            name,
            format!(
                "nothing to train on: of its {} files, {} documents were empty and {} repeated earlier ones",
                domain.manifest.files,
                domain.manifest.empty_dropped,
                domain.manifest.duplicates_dropped
            ),
        ));
    }
    if domain.heldout.documents == 0 {
        return Err(DataError::domain(
            name,
            format!(
                "no held-out documents: its {} documents are too few for `heldout_fraction`; raise it, cut the \
                 documents smaller, or name `heldout_paths`",
                domain.train.documents
            ),
        ));
    }
    Ok(())
}

fn make_tokenizer(
    config: &PrepareConfig,
    collected: &BTreeMap<String, Collected>,
    progress: &dyn Progress,
) -> Result<Tokenizer, DataError> {
    if let Some(path) = &config.tokenizer.path {
        return tokenizer::open(path);
    }
    let each = config.tokenizer.sample_bytes() / collected.len() as u64;
    let mut texts = Vec::new();
    for (number, domain) in collected.values().enumerate() {
        let share = each as f64 / domain.train.bytes.max(1) as f64;
        let mut index = 0;
        domain.train.read(&mut |parts| {
            index += 1;
            // Whole documents, by a seeded draw for each, so that all of a domain is represented.
            if crate::draw::unit(config.seed, 1 << 42 | number as u64, index) < share {
                texts.push(parts.iter().map(|part| part.text.as_str()).collect());
            }
            Ok(())
        })?;
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    progress.begin("training the tokenizer", None);
    let trained = tokenizer::train(config.tokenizer.vocab_size(), texts)?;
    let size = trained.get_vocab_size(true);
    progress.finish(&format!("{size} tokens, from {:.1} MB", bytes as f64 / 1e6));
    Ok(trained)
}

/// The second pass, and the manifest.
fn write(
    config: &PrepareConfig,
    source: String,
    collected: BTreeMap<String, Collected>,
    tokenizer: &Tokenizer,
    progress: &dyn Progress,
) -> Result<(), DataError> {
    let output = &config.output;
    let path = output.join("tokenizer.json");
    let json = match &config.tokenizer.path {
        // A given tokenizer stays as it is, byte for byte: it is compared by its digest.
        Some(given) => fs::read(given).map_err(DataError::file("read", given))?,
        None => tokenizer
            .to_string(true)
            .map_err(|error| DataError::Tokenizer(error.to_string()))?
            .into_bytes(),
    };
    write_durably(&path, &json)?;
    let (bos_token_id, eos_token_id) = tokenizer::special_tokens(&path, tokenizer)?;
    let vocab_size = tokenizer
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |id| *id as usize + 1);
    let mut encoder = Encoder {
        tokenizer: tokenizer.clone(),
        vocab_size,
        end: eos_token_id,
    };
    // Text that looks like a special token is text.
    encoder.tokenizer.set_encode_special_tokens(true);

    let names: Vec<String> = collected.keys().cloned().collect();
    let mut grams = HeldoutGrams::new(names.len());
    for (number, domain) in collected.values().enumerate() {
        grams.count(number, &domain.heldout)?;
    }
    grams.fill(collected.values().map(|domain| &domain.heldout))?;
    let scan = OverlapScan::new(&grams);

    let total = collected
        .values()
        .map(|domain| domain.train.bytes + domain.heldout.bytes)
        .sum();
    progress.begin("tokenizing", Some(total));
    let mut domains = BTreeMap::new();
    for (number, (name, mut domain)) in collected.into_iter().enumerate() {
        let folder = output.join(&name);
        fs::create_dir_all(&folder).map_err(DataError::file("make the folder", &folder))?;
        for (split, spool) in [
            (Split::Heldout, &domain.heldout),
            (Split::Train, &domain.train),
        ] {
            let seen = |text: &str| {
                if split == Split::Train {
                    scan.look(number, text);
                }
            };
            let written =
                encoder.write(&folder.join(split.file_name()), spool, (&seen, progress))?;
            match split {
                Split::Heldout => domain.manifest.heldout = written,
                Split::Train => domain.manifest.train = written,
            }
        }
        domain.manifest.questions = copy_questions(&config.domains[&name], &folder)?;
        domains.insert(name, domain.manifest);
    }
    progress.finish("done");
    let manifest = Manifest {
        schema: SCHEMA,
        source,
        seed: config.seed,
        heldout_fraction: config.heldout_fraction,
        tokenizer: TokenizerManifest {
            vocab_size,
            sha256: hexadecimal(&Sha256::digest(&json)),
            bos_token_id,
            eos_token_id,
        },
        domains,
        overlaps: scan.result(&names),
    };
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain values");
    write_durably(&output.join("dataset.json"), text.as_bytes())
}

fn copy_questions(config: &DomainConfig, folder: &Path) -> Result<u64, DataError> {
    let Some(path) = &config.questions else {
        return Ok(0);
    };
    let questions = read_questions(path)?;
    let bytes = fs::read(path).map_err(DataError::file("read", path))?;
    write_durably(&folder.join("questions.jsonl"), &bytes)?;
    Ok(questions.len() as u64)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let failed = |source| DataError::File {
        action: "write",
        path: path.to_path_buf(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    crate::shard_writer::readable(file.as_file()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Turns documents into stored tokens.
struct Encoder {
    tokenizer: Tokenizer,
    vocab_size: usize,
    end: u32,
}

/// A document as it is stored.
struct Encoded {
    tokens: Vec<u32>,
    scored: Vec<bool>,
    bytes: u64,
}

impl Encoder {
    fn write(
        &self,
        path: &Path,
        spool: &Spool,
        (look, progress): (&(dyn Fn(&str) + Sync), &dyn Progress),
    ) -> Result<SplitManifest, DataError> {
        let mut writer = ShardWriter::create(path, self.vocab_size)?;
        let mut batch: Vec<Vec<Part>> = Vec::new();
        let mut bytes = 0;
        let mut flush = |batch: &mut Vec<Vec<Part>>, bytes: &mut usize| -> Result<(), DataError> {
            let encoded: Vec<Encoded> = batch
                .par_iter()
                .map(|parts| {
                    let text: String = parts.iter().map(|part| part.text.as_str()).collect();
                    look(&text);
                    self.encode(parts)
                })
                .collect::<Result<_, _>>()?;
            for document in encoded {
                writer.push(&document.tokens, &document.scored, document.bytes)?;
            }
            progress.advance(*bytes as u64);
            batch.clear();
            *bytes = 0;
            Ok(())
        };
        spool.read(&mut |parts| {
            bytes += parts.iter().map(|part| part.text.len()).sum::<usize>();
            batch.push(parts);
            if bytes >= BATCH_BYTES {
                flush(&mut batch, &mut bytes)?;
            }
            Ok(())
        })?;
        flush(&mut batch, &mut bytes)?;
        writer.finish()
    }

    fn encode(&self, parts: &[Part]) -> Result<Encoded, DataError> {
        let mut document = Encoded {
            tokens: Vec::new(),
            scored: Vec::new(),
            bytes: 0,
        };
        let masked = parts.iter().any(|part| !part.scored);
        for part in parts {
            let encoding = self
                .tokenizer
                .encode_fast(part.text.as_str(), false)
                .map_err(|error| DataError::Tokenizer(error.to_string()))?;
            document.tokens.extend(encoding.get_ids());
            if part.scored {
                document.bytes += part.text.len() as u64;
            }
            if masked {
                document.scored.resize(document.tokens.len(), part.scored);
            }
        }
        document.tokens.push(self.end);
        if masked {
            document.scored.push(true);
        }
        Ok(document)
    }
}
