//! First pass of `prepare`: reads the sources, assigns each document to a split and drops duplicates. The documents
//! go to temporary files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use polymath_base::counted;

use crate::preparation::collected::Collected;
use crate::preparation::duplicates::Duplicates;
use crate::preparation::near_duplicates::{self, Remedy};
use crate::preparation::reader::DomainReader;
use crate::preparation::rule::Rule;
use crate::preparation::sides::Sides;
use crate::preparation::tail;
use crate::sources::bad_records::BadRecords;
use crate::sources::chat::ChatTemplate;
use crate::sources::files::Files;
use crate::sources::format::{self, Format};
use crate::sources::record::Records;
use crate::{
    DataError, DomainConfig, DomainManifest, GroupBy, GroupKind, OnBadRecord, PreparationProgress,
    PrepareConfig, RecordNotes, Split,
};

/// Tokenizer settings that affect the text of documents: the chat template and the end token.
#[derive(Clone, Copy)]
pub(crate) struct DocumentForm<'a> {
    /// Chat template that renders messages; `None` to write them plainly.
    pub template: Option<&'a ChatTemplate>,
    /// Text of the token that ends documents.
    pub end: &'a str,
}

/// Reads all sources. The documents are kept in temporary files in `config.output` until they are tokenized.
///
/// # Errors
/// Fails if a source can't be read, if a record is not valid and `on_bad_record` is `error`, if a domain has an empty
/// split, or if the disk is full.
pub(crate) fn collect(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    form: DocumentForm<'_>,
    progress: &dyn PreparationProgress,
) -> Result<BTreeMap<String, Collected>, DataError> {
    for (name, files) in files {
        let records = format_of(config, name, form).records;
        files
            .all()
            .try_for_each(|path| format::check(path, records))?;
    }
    let mut collected = read(config, files, form, progress)?;
    progress.finish(&summary(&collected));
    let total = collected.values().map(Collected::bytes).sum();
    progress.begin("splitting", Some(total));
    for (name, domain) in &mut collected {
        let bytes = domain.bytes();
        split(config, &files[name], name, domain)?;
        progress.advance(bytes);
    }
    progress.finish(&summary_of_groups(&collected));
    Ok(collected)
}

/// Reads the documents of all sources, without duplicates.
fn read(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    form: DocumentForm<'_>,
    progress: &dyn PreparationProgress,
) -> Result<BTreeMap<String, Collected>, DataError> {
    let total = files
        .values()
        .flat_map(Files::all)
        .map(|path| size(path))
        .sum();
    progress.begin("reading", Some(total));
    let mut duplicates = Duplicates::create(&config.output)?;
    let (mut refused, mut skipped) = (BadRecords::default(), BadRecords::default());
    let mut collected = Vec::new();
    for (number, (name, files)) in files.iter().enumerate() {
        let mut reader = DomainReader {
            progress,
            number,
            duplicates: &mut duplicates,
            bad: match config.domains[name].on_bad_record {
                Some(OnBadRecord::Skip) => &mut skipped,
                _ => &mut refused,
            },
            end: form.end,
            domain: Collected::create(&config.output, files.grouping(&config.domains[name]))?,
            rule: rule(config, name),
            by_file: config.domains[name].group == Some(GroupBy::File),
            tag: None,
            side: Split::Train,
            file: 0,
            begun: false,
            with_end: 0,
            folded: String::new(),
        };
        let notes = RefCell::default();
        let mut format = format_of(config, name, form);
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
        say_unused_keys(name, &config.domains[name], &notes.borrow());
        domain.manifest.notes = notes.into_inner().settled();
        domain.manifest.notes.add(files.notes.clone());
        collected.push(domain);
    }
    refused.refuse()?;
    skipped.say();
    drop_duplicates(duplicates, &mut collected)?;
    Ok(files.keys().cloned().zip(collected).collect())
}

/// Warns about keys of a domain that had no effect on any of its documents.
fn say_unused_keys(name: &str, domain: &DomainConfig, notes: &RecordNotes) {
    if let Some(mark) = domain.separator.as_ref().filter(|_| notes.separators == 0) {
        tracing::warn!(
            "domain `{name}`: its text files do not contain the separator {mark:?}, so that each of them is one document; \
             records of other files are not split by it"
        );
    }
    if domain.longest_conversation.is_some() && notes.templated == 0 {
        tracing::warn!(
            "domain `{name}`: `longest_conversation` has no effect, since no chat template renders its documents"
        );
    }
}

/// Finishes the split of a domain: decides between training and held-out for each group, and cuts documents if few are
/// held out.
fn split(
    config: &PrepareConfig,
    files: &Files,
    name: &str,
    domain: &mut Collected,
) -> Result<(), DataError> {
    if files.heldout.is_empty() {
        let earlier = Sides::read(&config.output, name)?;
        rule(config, name).settle(name, domain, earlier.as_ref())?;
    } else {
        find_beside_named(name, domain)?;
    }
    refuse_empty(config, name, domain)?;
    let of_config = &config.domains[name];
    if of_config.group.is_none() && of_config.group_field.is_none() {
        tail::part_lone_group(domain)?;
    }
    tail::cut_few(domain)?;
    if domain.grouping.kind == GroupKind::Section {
        near_duplicates::find(domain, Remedy::Join)?.keep(domain)?;
    }
    Ok(())
}

fn format_of<'a>(config: &'a PrepareConfig, name: &str, form: DocumentForm<'a>) -> Format<'a> {
    let domain = &config.domains[name];
    Format {
        records: Records {
            text_field: domain.text_field.as_deref(),
            fields: domain.fields.as_ref(),
            pairs: domain.pairs.unwrap_or_default(),
            group_field: domain.group_field.as_deref(),
            template: form.template,
            notes: None,
        },
        separator: domain.separator.as_deref(),
    }
}

fn rule(config: &PrepareConfig, name: &str) -> Rule {
    Rule {
        seed: config.seed,
        share: config.heldout_fraction,
        least_groups: config.domains[name].heldout_groups.unwrap_or_default(),
    }
}

/// Joins near-duplicates within a held-out split that `heldout_paths` names. Warns about held-out documents with
/// near-duplicates in the training split.
fn find_beside_named(name: &str, domain: &mut Collected) -> Result<(), DataError> {
    let found = near_duplicates::find(domain, Remedy::Count)?;
    let left = found.documents_in_train;
    domain.manifest.near_duplicates_left = left;
    if left > 0 {
        tracing::warn!(
            "domain `{name}`: {} of `heldout_paths` with near-duplicates in `paths`: scores on such text say little of new text",
            counted(left, "document")
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
    let near = [
        (
            sum(&|domain| domain.near_duplicates_to_train),
            "moved to the training split",
        ),
        (
            sum(&|domain| domain.near_duplicates_joined),
            "joined in groups",
        ),
        (sum(&|domain| domain.near_duplicates_left_out), "left out"),
    ];
    let near = near.iter().filter(|(count, _)| *count > 0);
    let near: Vec<String> = near
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let heldout = counted(heldout, "document");
    match near.is_empty() {
        true => format!("{heldout} held out"),
        false => format!("{heldout} held out; near-duplicates: {}", near.join(", ")),
    }
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
            domain.kept_in.insert(duplicate.kept.domain());
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
    let text = polymath_base::bytes_text(bytes);
    format!(
        "{}, {text} of text, {} dropped",
        counted(documents, "document"),
        counted(duplicates, "duplicate")
    )
}

/// Names the other domains that keep copies of a domain's documents; empty if there are none.
fn elsewhere(config: &PrepareConfig, domain: &Collected) -> String {
    let names = config.domains.keys().enumerate();
    let names = names.filter(|(number, _)| domain.kept_in.contains(number));
    let names: Vec<String> = names.map(|(_, name)| format!("`{name}`")).collect();
    match domain.manifest.duplicates_across_domains {
        0 => String::new(),
        copies => format!(" ({copies} of documents of {})", names.join(", ")),
    }
}

fn refuse_empty(config: &PrepareConfig, name: &str, domain: &Collected) -> Result<(), DataError> {
    let fraction = config.heldout_fraction;
    let is_only_scored = config.domains[name].is_only_scored();
    let found = &domain.manifest;
    let left = |side: &str, advice: &str| {
        let mut message = format!(
            "no {side} documents: {} with {} read; left out: {} empty, {} copies of others{}; {advice}",
            counted(found.files, "file"),
            counted(found.read, "document"),
            found.empty_dropped,
            found.duplicates_dropped,
            elsewhere(config, domain)
        );
        for line in found.notes.lines() {
            message += &format!("\n  {line}");
        }
        Err(DataError::domain(name, message))
    };
    if domain.train.documents == 0 && domain.heldout.documents == 0 {
        if found.duplicates_across_domains > 0 {
            return left(
                "training",
                "a text belongs to one domain only: leave it out of the other, or this domain altogether",
            );
        }
        let side = match is_only_scored {
            true => "held-out",
            false => "training",
        };
        return left(side, "give it more text");
    }
    let advice = format!(
        "a lone document is cut, and `heldout_fraction = {fraction}` of it held out, only where it is plain text of 512 bytes or \
         more: give more documents, or name held-out files in `domains.{}.heldout_paths`",
        polymath_config::toml_key(name)
    );
    if domain.train.documents == 0 && !is_only_scored {
        return left("training", &advice);
    }
    if domain.heldout.documents == 0 {
        return left("held-out", &advice);
    }
    Ok(())
}
