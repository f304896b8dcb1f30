//! The first pass of `prepare`: sources in, documents on the disk, each on its side of the split, none twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use crate::chat::ChatTemplate;
use crate::duplicates::{Duplicates, Noted, Place};
use crate::group::Tag;
use crate::near_duplicates::{self, Remedy};
use crate::normalise::normalise;
use crate::record::Records;
use crate::sides::{Rule, Sides};
use crate::source::{self, Format, Part, SourceDocument};
use crate::sources::Files;
use crate::spool::{Spool, length};
use crate::{
    DataError, DomainManifest, GroupBy, GroupKind, Grouping, OnBadRecord, PrepareConfig, Progress,
    Split, tail,
};

/// One domain after the first pass.
pub(crate) struct Collected {
    pub(crate) train: Spool,
    pub(crate) heldout: Spool,
    pub(crate) manifest: DomainManifest,
    /// Where its sides are not by the hash alone, what decides them when it is prepared again.
    pub(crate) sides: Option<Sides>,
    /// What a group is.
    pub(crate) grouping: Grouping,
    /// The field that names groups, as the config has it.
    pub(crate) field: Option<String>,
    /// Held-out groups that hold near-duplicates of each other, each with the group that all of them become.
    pub(crate) joined: HashMap<u64, u64>,
}

impl Collected {
    /// A domain without documents, whose spools lie in `folder`.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub(crate) fn create(folder: &Path, grouping: Grouping) -> Result<Self, DataError> {
        Ok(Self {
            train: Spool::create(folder)?,
            heldout: Spool::create(folder)?,
            manifest: DomainManifest::default(),
            sides: None,
            field: grouping.field.clone(),
            grouping,
            joined: HashMap::new(),
        })
    }

    /// Bytes of all its text.
    pub(crate) fn bytes(&self) -> u64 {
        self.train.bytes + self.heldout.bytes
    }

    fn spool(&mut self, split: Split) -> &mut Spool {
        match split {
            Split::Train => &mut self.train,
            Split::Heldout => &mut self.heldout,
        }
    }
}

/// Reads all sources, messages through the chat `template`; `end` is the name of the token that ends documents. The documents that are kept lie beside `config.output` until they are tokenized.
///
/// # Errors
/// A source that can't be read; records that are no documents, unless they are to be skipped; a domain that is left with nothing on one side; a full disk.
pub(crate) fn collect(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    (template, end): (Option<&ChatTemplate>, &str),
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Collected>, DataError> {
    let format = |name: &str| Format {
        records: Records {
            text_field: config.domains[name].text_field.as_deref(),
            group_field: config.domains[name].group_field.as_deref(),
            template,
            notes: None,
        },
        separator: config.domains[name].separator.as_deref(),
    };
    for (name, files) in files {
        let mut files = files.all();
        files.try_for_each(|path| source::check(path, format(name).records))?;
    }
    let total = files
        .values()
        .flat_map(Files::all)
        .map(|path| size(path))
        .sum();
    progress.begin("reading", Some(total));
    let rule = |name: &str| Rule {
        seed: config.seed,
        share: config.heldout_fraction,
        least_groups: config.domains[name].heldout_groups.unwrap_or_default(),
    };
    let mut duplicates = Duplicates::create(&config.output)?;
    let (mut refused, mut skipped) = (BadRecords::default(), BadRecords::default());
    let mut collected = Vec::new();
    for (number, (name, files)) in files.iter().enumerate() {
        let mut reader = Reader {
            progress,
            number,
            duplicates: &mut duplicates,
            bad: match config.domains[name].on_bad_record {
                Some(OnBadRecord::Skip) => &mut skipped,
                _ => &mut refused,
            },
            end,
            domain: Collected::create(&config.output, files.grouping(&config.domains[name]))?,
            rule: rule(name),
            by_file: config.domains[name].group == Some(GroupBy::File),
            tag: None,
            side: Split::Train,
            file: 0,
            begun: false,
            with_end: 0,
            folded: String::new(),
        };
        let notes = RefCell::default();
        let mut format = format(name);
        format.records.notes = Some(&notes);
        let named = !files.heldout.is_empty();
        for path in &files.heldout {
            reader.read(path, format, Some(Split::Heldout))?;
        }
        for path in &files.train {
            reader.read(path, format, named.then_some(Split::Train))?;
        }
        reader.say_end(name);
        let mut domain = reader.domain;
        domain.manifest.notes = notes.into_inner().settled();
        domain.manifest.notes.other_files = files.others.clone();
        collected.push(domain);
    }
    refused.refuse()?;
    skipped.say();
    drop_duplicates(duplicates, &mut collected)?;
    let mut collected: BTreeMap<String, Collected> = files.keys().cloned().zip(collected).collect();
    progress.finish(&summary(&collected));
    let total = collected.values().map(Collected::bytes).sum();
    progress.begin("splitting", Some(total));
    for (name, domain) in &mut collected {
        let bytes = domain.bytes();
        if files[name].heldout.is_empty() {
            let earlier = Sides::read(&config.output, name)?;
            rule(name).settle(name, domain, earlier.as_ref())?;
        } else {
            find_beside_named(name, domain)?;
        }
        refuse_empty(name, domain, config.heldout_fraction)?;
        let of_config = &config.domains[name];
        if of_config.group.is_none() && of_config.group_field.is_none() {
            tail::part_lone_group(domain)?;
        }
        tail::cut_few(domain)?;
        if domain.grouping.kind == GroupKind::Section {
            near_duplicates::find(domain, Remedy::Join)?.keep(domain)?;
        }
        progress.advance(bytes);
    }
    progress.finish(&summary_of_groups(&collected));
    Ok(collected)
}

/// Joins the near-duplicates of a held-out side that the config names, and says how many stand in the training text too.
fn find_beside_named(name: &str, domain: &mut Collected) -> Result<(), DataError> {
    let found = near_duplicates::find(domain, Remedy::Count)?;
    let left = found.documents_in_train;
    domain.manifest.near_duplicates_left = left;
    if left > 0 {
        tracing::warn!(
            "domain `{name}`: {left} documents of `heldout_paths` have near-duplicates in `paths`: scores on them say little of new \
             text"
        );
    }
    found.keep(domain)
}

fn summary_of_groups(collected: &BTreeMap<String, Collected>) -> String {
    let sum = |of: &dyn Fn(&DomainManifest) -> u64| -> u64 {
        collected.values().map(|domain| of(&domain.manifest)).sum()
    };
    let heldout: u64 = collected
        .values()
        .map(|domain| domain.heldout.documents)
        .sum();
    format!(
        "{heldout} documents held out; near-duplicates: {} documents to the train side, {} groups joined, {} left out",
        sum(&|domain| domain.near_duplicates_to_train),
        sum(&|domain| domain.near_duplicates_joined),
        sum(&|domain| domain.near_duplicates_left_out)
    )
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

/// Records that are no documents, or lines that are not what their file should hold.
#[derive(Default)]
pub(crate) struct BadRecords {
    count: u64,
    /// What is wrong with the first of them.
    first: Vec<String>,
}

impl BadRecords {
    /// So many are named.
    const NAMED: usize = 10;

    pub(crate) fn take(&mut self, error: &DataError) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(error.to_string());
        }
    }

    fn refuse(self) -> Result<(), DataError> {
        let Self { count, first } = self;
        match count {
            0 => Ok(()),
            _ => Err(DataError::Records { count, first }),
        }
    }

    /// Refuses lines of a file; `what` says what a line should be.
    pub(crate) fn refuse_lines(self, what: &'static str) -> Result<(), DataError> {
        let Self { count, first } = self;
        match count {
            0 => Ok(()),
            _ => Err(DataError::Lines { count, what, first }),
        }
    }

    fn say(&self) {
        if self.count > 0 {
            let (count, first) = (self.count, &self.first);
            tracing::warn!(
                "{count} records make no document and are left out; the first {}:\n  {}",
                first.len(),
                first.join("\n  ")
            );
        }
    }
}

/// Reads the files of one domain into its spools.
struct Reader<'a> {
    progress: &'a dyn Progress,
    number: usize,
    duplicates: &'a mut Duplicates,
    bad: &'a mut BadRecords,
    /// Name of the token that ends documents.
    end: &'a str,
    domain: Collected,
    rule: Rule,
    /// Whether files are the groups that may hold many documents.
    by_file: bool,
    /// Key of the document, or file, that is being read, once a piece of it was kept.
    tag: Option<Tag>,
    /// Its side.
    side: Split,
    /// Number of the file.
    file: u32,
    /// Whether a piece of it was kept.
    begun: bool,
    /// Documents in whose text the end token's name stands.
    with_end: u64,
    folded: String,
}

impl Reader<'_> {
    /// `side` is where the config puts the file's documents; `None` where their content decides.
    fn read(&mut self, path: &Path, format: Format, side: Option<Split>) -> Result<(), DataError> {
        self.file = self.domain.manifest.files as u32;
        self.domain.manifest.files += 1;
        self.tag = None;
        let (before, bad_before) = (self.domain.manifest.read, self.bad.count);
        let progress = self.progress;
        let watch = |bytes| progress.advance(bytes);
        source::read(path, format, &watch, &mut |document| match document {
            Ok(document) => self.take(document, side),
            Err(error) => {
                self.domain.manifest.bad_records_dropped += 1;
                self.bad.take(&error);
                Ok(())
            }
        })?;
        // A file without a line has no document to be counted as empty.
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
        // A huge document's pieces stay together, on the side of the first.
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
            .note(hash(&document.parts), place, Noted { bytes, group })
    }

    fn say_end(&self, name: &str) {
        if self.with_end > 0 {
            tracing::warn!(
                "domain `{name}`: the text `{end}` stands in {} documents. It is the name of the token that ends a document, but \
                 in text it is learnt as letters: if it parts documents, set `separator = \"{end}\"`",
                self.with_end,
                end = self.end
            );
        }
    }

    /// The key of a document by the field that names its group, else by its content: the same in every data set, whatever
    /// else is in it. Copies that differ in letter case and white space have the same.
    fn tag_of(&mut self, document: &SourceDocument) -> Tag {
        match &document.group {
            Some(value) => Tag::of(value, self.rule.seed),
            None => {
                normalise(&document.text(), &mut self.folded);
                Tag::of(&self.folded, self.rule.seed)
            }
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
        let mut message = format!(
            "no {side} documents: its {} files hold {} documents, of which {} are empty and {} repeat others; {mend}",
            found.files, found.read, found.empty_dropped, found.duplicates_dropped
        );
        for line in found.notes.lines() {
            message += &format!("\n  {line}");
        }
        Err(DataError::domain(name, message))
    };
    if domain.train.documents == 0 && domain.heldout.documents == 0 {
        return left("training", "give it more text");
    }
    let mend = format!(
        "a lone document is cut, and `heldout_fraction = {fraction}` of it held out, only where it is plain text of 512 bytes or \
         more: give more documents, or name held-out files in `domains.{name}.heldout_paths`"
    );
    if domain.train.documents == 0 {
        return left("training", &mend);
    }
    if domain.heldout.documents == 0 {
        return left("held-out", &mend);
    }
    Ok(())
}
