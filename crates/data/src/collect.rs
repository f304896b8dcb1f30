//! The first pass of `prepare`: sources in, documents on the disk, each on its side of the split, none twice.

use std::collections::BTreeMap;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64_with_seed};

use crate::chat::ChatTemplate;
use crate::duplicates::{Duplicates, Place};
use crate::normalise::normalise;
use crate::record::Records;
use crate::source::{self, Part, SourceDocument};
use crate::sources::Files;
use crate::spool::{Spool, length};
use crate::{DataError, DomainManifest, PrepareConfig, Progress, Split};

/// One domain after the first pass.
pub(crate) struct Collected {
    pub(crate) train: Spool,
    pub(crate) heldout: Spool,
    pub(crate) manifest: DomainManifest,
}

impl Collected {
    fn spool(&mut self, split: Split) -> &mut Spool {
        match split {
            Split::Train => &mut self.train,
            Split::Heldout => &mut self.heldout,
        }
    }
}

/// Reads all sources, messages through the chat `template`; the documents that are kept lie beside `config.output` until they are tokenized.
///
/// # Errors
/// A source that can't be read; a domain that is left with nothing on one side; a full disk.
pub(crate) fn collect(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    template: Option<&ChatTemplate>,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Collected>, DataError> {
    let records = |name: &str| Records {
        text_field: config.domains[name].text_field.as_deref(),
        template,
    };
    for (name, files) in files {
        let mut files = files.all();
        files.try_for_each(|path| source::check(path, records(name)))?;
    }
    let total = files
        .values()
        .flat_map(Files::all)
        .map(|path| size(path))
        .sum();
    progress.begin("reading", Some(total));
    let mut duplicates = Duplicates::create(&config.output)?;
    let mut collected = Vec::new();
    for (number, (name, files)) in files.iter().enumerate() {
        let mut reader = Reader {
            config,
            progress,
            number,
            duplicates: &mut duplicates,
            domain: Collected {
                train: Spool::create(&config.output)?,
                heldout: Spool::create(&config.output)?,
                manifest: DomainManifest::default(),
            },
            side: Split::Train,
            folded: String::new(),
        };
        let records = records(name);
        let named = !files.heldout.is_empty();
        for path in &files.heldout {
            reader.read(path, records, Some(Split::Heldout))?;
        }
        for path in &files.train {
            reader.read(path, records, named.then_some(Split::Train))?;
        }
        collected.push(reader.domain);
    }
    drop_duplicates(duplicates, &mut collected)?;
    let collected: BTreeMap<String, Collected> = files.keys().cloned().zip(collected).collect();
    for (name, domain) in &collected {
        refuse_empty(name, domain, config.heldout_fraction)?;
    }
    progress.finish(&summary(&collected));
    Ok(collected)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn drop_duplicates(duplicates: Duplicates, collected: &mut [Collected]) -> Result<(), DataError> {
    duplicates.find(&mut |duplicate| {
        let place = duplicate.place;
        let domain = &mut collected[place.domain()];
        domain.manifest.duplicates_dropped += 1;
        if duplicate.kept.domain() != place.domain() {
            domain.manifest.duplicates_across_domains += 1;
        }
        domain
            .spool(place.split())
            .remove(place.index(), duplicate.bytes);
    })
}

fn summary(collected: &BTreeMap<String, Collected>) -> String {
    let (mut documents, mut bytes, mut duplicates) = (0, 0, 0);
    for domain in collected.values() {
        documents += domain.train.documents + domain.heldout.documents;
        bytes += domain.train.bytes + domain.heldout.bytes;
        duplicates += domain.manifest.duplicates_dropped;
    }
    let megabytes = bytes as f64 / 1e6;
    format!("{documents} documents, {megabytes:.1} MB of text, {duplicates} duplicates dropped")
}

/// Reads the files of one domain into its spools.
struct Reader<'a> {
    config: &'a PrepareConfig,
    progress: &'a dyn Progress,
    number: usize,
    duplicates: &'a mut Duplicates,
    domain: Collected,
    /// Of the document whose pieces are being read.
    side: Split,
    folded: String,
}

impl Reader<'_> {
    /// `side` is where the config puts the file's documents; `None` where their content decides.
    fn read(
        &mut self,
        path: &Path,
        records: Records,
        side: Option<Split>,
    ) -> Result<(), DataError> {
        self.domain.manifest.files += 1;
        let before = self.domain.manifest.read;
        let progress = self.progress;
        let watch = |bytes| progress.advance(bytes);
        source::read(path, records, &watch, &mut |document| {
            self.take(document, side)
        })?;
        // A file without a line has no document to be counted as empty.
        if self.domain.manifest.read == before {
            self.domain.manifest.empty_dropped += 1;
        }
        Ok(())
    }

    fn take(&mut self, document: SourceDocument, side: Option<Split>) -> Result<(), DataError> {
        self.domain.manifest.read += 1;
        if document.is_blank() {
            self.domain.manifest.empty_dropped += 1;
            return Ok(());
        }
        if document.piece == 1 {
            self.domain.manifest.cut_documents += 1;
        }
        // A huge document's pieces stay together, on the side of the first.
        if document.piece == 0 {
            self.side = side.unwrap_or_else(|| self.side_of(&document));
        }
        let bytes = length(&document.parts);
        let spool = self.domain.spool(self.side);
        let index = spool.push(&document.parts)?;
        let place = Place::new(self.side, self.number, index);
        self.duplicates.note(hash(&document.parts), place, bytes)
    }

    /// The side of a document by its content alone: the same in every data set, whatever else is in it. Copies that
    /// differ in letter case and white space land on the same side.
    fn side_of(&mut self, document: &SourceDocument) -> Split {
        normalise(&document.text(), &mut self.folded);
        let hash = xxh3_64_with_seed(self.folded.as_bytes(), self.config.seed);
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
        if unit < self.config.heldout_fraction {
            Split::Heldout
        } else {
            Split::Train
        }
    }
}

/// Of the exact content: where letter case matters (molecules, code), only true copies are duplicates.
fn hash(parts: &[Part]) -> u64 {
    let mut hasher = Xxh3Default::new();
    for part in parts {
        hasher.update(&(part.text.len() as u64).to_le_bytes());
        hasher.update(&[u8::from(part.scored), u8::from(part.from_template)]);
        hasher.update(part.text.as_bytes());
    }
    hasher.digest()
}

fn refuse_empty(name: &str, domain: &Collected, fraction: f64) -> Result<(), DataError> {
    let found = &domain.manifest;
    let left = |side: &str, mend: &str| {
        let message = format!(
            "no {side} documents: its {} files hold {} documents, of which {} are empty and {} repeat others; {mend}",
            found.files, found.read, found.empty_dropped, found.duplicates_dropped
        );
        Err(DataError::domain(name, message))
    };
    if domain.train.documents == 0 {
        return left("training", "give it more text");
    }
    if domain.heldout.documents == 0 {
        let mend = format!(
            "with `heldout_fraction = {fraction}` that is too few: raise it, give more or shorter documents, or name \
             files in `domains.{name}.heldout_paths`"
        );
        return left("held-out", &mend);
    }
    Ok(())
}
