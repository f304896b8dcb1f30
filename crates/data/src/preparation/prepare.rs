//! Preparation of a dataset from raw text.
//!
//! There are two passes, so that memory does not grow with the corpus. The first pass reads the sources, assigns each
//! document to a split by its content, writes it to a temporary file in the output folder, and drops duplicates. The
//! second pass tokenizes these files on all cores and looks for held-out text in the training split. `dataset.json`
//! is written last: a folder without it is incomplete and is prepared again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use polymath_tokenizer::DocumentEnds;
use tokenizers::Tokenizer;

use crate::preparation::collect::{DocumentForm, collect};
use crate::preparation::collected::Collected;
use crate::preparation::dataset_tokenizer::DatasetTokenizer;
use crate::preparation::encode::{Encoder, Side};
use crate::preparation::overlap::{HeldoutGrams, OverlapScan};
use crate::preparation::questions::copy_questions;
use crate::preparation::sides;
use crate::shards::document_source::{self, DocumentSources};
use crate::sources::files;
use crate::tokenizer::training;
use crate::{
    DataError, Dataset, DomainManifest, EndSources, Manifest, PreparationProgress, PrepareConfig,
    SCHEMA, Split, TargetFolder, TokenizerManifest, read_questions,
};

/// Prepares the dataset that `config` describes. If the output folder already holds this dataset, it is left as it
/// is. If it holds another one, `prepare` fails unless `force` is true; even then the old dataset is replaced only
/// after all sources were read.
///
/// During the run, the output's disk also holds one copy of the text.
///
/// # Errors
/// Fails if the config is not valid, if a source can't be read, if a domain has no documents, or if the disk is full.
pub fn prepare(
    config: &PrepareConfig,
    force: bool,
    progress: &dyn PreparationProgress,
) -> Result<Dataset, DataError> {
    config.validate()?;
    let files = files::find(config)?;
    for domain in config.domains.values() {
        domain
            .questions
            .iter()
            .try_for_each(|path| read_questions(path).map(drop))?;
    }
    let given = config.tokenizer.path.as_deref();
    let given = given.map(|path| DatasetTokenizer::read(path, &config.tokenizer));
    let given = given.transpose()?;
    let source = files::fingerprint(config, &files, given.as_ref().map(|given| &given.ends))?;
    let output = &config.output;
    let earlier = || earlier_source(config, &files, given.as_ref().map(|given| &given.ends));
    if let Some(same) = existing(output, &source, &earlier, force)? {
        return Ok(same);
    }
    let _claimed = TargetFolder::claim(output)?;
    // Another process may have finished the same dataset while this one waited for the lock.
    if let Some(same) = existing(output, &source, &earlier, force)? {
        return Ok(same);
    }

    let end = match &given {
        Some(given) => given
            .tokenizer
            .id_to_token(given.ends.end)
            .unwrap_or_default(),
        None => training::END_OF_TEXT.to_owned(),
    };
    let form = DocumentForm {
        template: given.as_ref().and_then(|given| given.template.as_ref()),
        end: &end,
    };
    let collected = collect(config, &files, form, progress)?;
    let tokenizer = match given {
        Some(given) => given,
        None => DatasetTokenizer::trained(train_tokenizer(config, &collected, progress)?)?,
    };
    clear(output, config)?;
    for (name, files) in &files {
        DocumentSources::of(files).write(&output.join(name))?;
    }
    write(config, source, collected, tokenizer, progress)?;
    Dataset::open(output)
}

/// Returns the fingerprint that earlier versions of Polymath computed for these sources; `None` if it is the same.
/// Those versions read only `.txt`, `.md`, `.jsonl` and `.parquet` files.
fn earlier_source(
    config: &PrepareConfig,
    files: &BTreeMap<String, files::Files>,
    ends: Option<&DocumentEnds>,
) -> Result<Option<String>, DataError> {
    let earlier = files::of_earlier_versions(files);
    let source = earlier.map(|files| files::fingerprint(config, &files, ends));
    source.transpose()
}

/// Returns the dataset in `output` if it is already the requested one, or the one that an earlier version made of the
/// same sources: its fingerprint is then what `earlier` returns.
fn existing(
    output: &Path,
    source: &str,
    earlier: &dyn Fn() -> Result<Option<String>, DataError>,
    force: bool,
) -> Result<Option<Dataset>, DataError> {
    if !output.join("dataset.json").exists() {
        return Ok(None);
    }
    match Dataset::open(output) {
        Ok(found) if found.manifest().source == source => Ok(Some(found)),
        _ if force => Ok(None),
        Ok(found) => {
            let is_earlier = !found.manifest().reads_all_text;
            if is_earlier && earlier()?.as_ref() == Some(&found.manifest().source) {
                tracing::warn!(
                    "`{}` was prepared by an earlier version, which read only `.txt`, `.md`, `.jsonl` and `.parquet` files of \
                     these paths, and is used as it is; `prepare --force` reads the other files too",
                    output.display()
                );
                return Ok(Some(found));
            }
            Err(DataError::content(
                output,
                "holds a dataset made from other text or settings, or by an earlier version: choose another folder, remove this one, or let \
                 `prepare --force` replace it",
            ))
        }
        Err(error) => Err(DataError::content(
            output,
            format!("holds a dataset that is broken ({error}): give `--force` to make it again"),
        )),
    }
}

/// Removes an earlier dataset, its manifest first, so that a partly removed dataset does not look complete.
fn clear(output: &Path, config: &PrepareConfig) -> Result<(), DataError> {
    let manifest = output.join("dataset.json");
    let Ok(json) = polymath_base::read(&manifest) else {
        return Ok(());
    };
    fs::remove_file(&manifest).map_err(DataError::file("remove", &manifest))?;
    let domains = serde_json::from_slice::<Manifest>(&json).map(|manifest| manifest.domains);
    // A file that can't be removed does no harm: it is replaced later, or its domain is no longer in the manifest.
    for name in domains.unwrap_or_default().into_keys() {
        for file in [
            "train.safetensors",
            "heldout.safetensors",
            "questions.jsonl",
            document_source::FILE,
        ] {
            let _ = fs::remove_file(output.join(&name).join(file));
        }
        // Keeps `sides.json` of domains that are prepared again, so that their split is known even if this run is
        // interrupted.
        if !config.domains.contains_key(&name) {
            let _ = fs::remove_file(output.join(&name).join(sides::FILE));
        }
        let _ = fs::remove_dir(output.join(&name));
    }
    Ok(())
}

fn train_tokenizer(
    config: &PrepareConfig,
    collected: &BTreeMap<String, Collected>,
    progress: &dyn PreparationProgress,
) -> Result<Tokenizer, DataError> {
    progress.begin("training the tokenizer", None);
    // Begins with the smallest domains; the bytes that they can't supply go to the larger ones.
    let mut domains: Vec<&Collected> = collected.values().collect();
    domains.sort_by_key(|domain| domain.train.bytes);
    let mut texts = Vec::new();
    let (mut left, mut bytes) = (config.tokenizer.sample_bytes(), 0);
    for (number, domain) in domains.iter().enumerate() {
        let share = left / (domains.len() - number) as u64;
        let chance = share as f64 / domain.train.bytes.max(1) as f64;
        let (mut index, mut taken) = (0, 0);
        let mut drawn_texts: Vec<String> = Vec::new();
        domain.train.read(&mut |parts| {
            index += 1;
            // Whole documents are drawn at random (seeded), so that they represent all of the domain.
            let drawn = crate::draw::unit(config.seed, 1 << 42 | number as u64, index) < chance;
            if drawn && taken < share {
                drawn_texts.push(parts.iter().map(|part| part.text.as_str()).collect());
                taken += crate::preparation::spool::length(&parts);
            }
            Ok(())
        })?;
        if taken == 0 {
            // No document was drawn, because the documents are long: the beginning of the first one represents the
            // domain.
            domain.train.read_first(1, &mut |parts| {
                let mut text: String = parts.iter().map(|part| part.text.as_str()).collect();
                text.truncate(text.floor_char_boundary(share as usize));
                taken = text.len() as u64;
                drawn_texts.push(text);
                Ok(())
            })?;
        }
        left = left.saturating_sub(taken);
        bytes += training::thin(&mut drawn_texts, share);
        texts.append(&mut drawn_texts);
    }
    let wanted = config.tokenizer.vocab_size();
    let trained = training::train(wanted, texts)?;
    let size = trained.get_vocab_size(true);
    if size < wanted {
        tracing::warn!("the text gives a vocabulary of {size} tokens only, not {wanted}");
    }
    progress.finish(&format!(
        "{size} tokens, from {}",
        polymath_base::bytes_text(bytes)
    ));
    Ok(trained)
}

/// Runs the second pass of `prepare` (tokenization), and writes the manifest.
fn write(
    config: &PrepareConfig,
    source: String,
    collected: BTreeMap<String, Collected>,
    DatasetTokenizer {
        tokenizer,
        json,
        ends,
        template,
    }: DatasetTokenizer,
    progress: &dyn PreparationProgress,
) -> Result<(), DataError> {
    write_durably(&config.output.join("tokenizer.json"), &json)?;
    let mut encoder = Encoder::new(tokenizer, ends.tokens())?;
    let names: Vec<String> = collected.keys().cloned().collect();
    let mut grams = HeldoutGrams::new(names.len());
    for (number, domain) in collected.values().enumerate() {
        grams.count(number, &domain.heldout)?;
    }
    grams.fill(collected.values().map(|domain| &domain.heldout))?;
    let scan = OverlapScan::new(&grams);
    let mut domains = write_domains(config, &mut encoder, collected, &scan, progress)?;
    copy_questions(config, template.as_ref(), &mut domains)?;
    let manifest = Manifest {
        schema: SCHEMA,
        source,
        reads_all_text: true,
        seed: config.seed,
        heldout_fraction: config.heldout_fraction,
        tokenizer: TokenizerManifest {
            vocab_size: encoder.vocab_size(),
            sha256: polymath_base::sha256_of_bytes(&json),
            bos_token_id: ends.begin,
            eos_token_id: ends.end,
        },
        end_sources: EndSources {
            begin: ends.begin_source,
            end: ends.end_source,
        },
        domains,
        generated: false,
        overlaps: scan.result(&names),
    };
    let path = config.output.join("dataset.json");
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| DataError::content(&path, error.to_string()))?;
    write_durably(&path, text.as_bytes())?;
    sync_folder(&config.output)
}

/// Tokenizes all domains, and searches their training text for held-out text.
fn write_domains(
    config: &PrepareConfig,
    encoder: &mut Encoder,
    collected: BTreeMap<String, Collected>,
    scan: &OverlapScan,
    progress: &dyn PreparationProgress,
) -> Result<BTreeMap<String, DomainManifest>, DataError> {
    let total = collected
        .values()
        .map(|domain| domain.train.bytes + domain.heldout.bytes)
        .sum();
    progress.begin("tokenizing", Some(total));
    let mut domains = BTreeMap::new();
    for (number, (name, domain)) in collected.into_iter().enumerate() {
        if !encoder.is_lossless(&domain.heldout)? {
            tracing::warn!(
                "domain `{name}`: the tokenizer does not give its text back unchanged; bits per byte can't be compared \
                 with those of other tokenizers"
            );
        }
        let folder = config.output.join(&name);
        let look = |text: &str| scan.look(number, text);
        encoder.set_longest_conversation(config.domains[&name].longest_conversation);
        let written = write_domain(encoder, domain, &folder, &look, progress)?;
        say_dropped(&name, &written);
        domains.insert(name, written);
    }
    progress.finish(&format!("{} of text", polymath_base::bytes_text(total)));
    Ok(domains)
}

fn write_domain(
    encoder: &Encoder,
    domain: Collected,
    folder: &PathBuf,
    look: &(dyn Fn(&str) + Sync),
    progress: &dyn PreparationProgress,
) -> Result<DomainManifest, DataError> {
    fs::create_dir_all(folder).map_err(DataError::file("make the folder", folder))?;
    write_sides(folder, &domain)?;
    let path = |split: Split| folder.join(split.file_name());
    let side = |spool| Side {
        spool,
        grouping: &domain.grouping,
        joined: &domain.joined,
    };
    let heldout = side(&domain.heldout);
    let train = Side {
        joined: &HashMap::new(),
        ..side(&domain.train)
    };
    let heldout = encoder.write(&path(Split::Heldout), heldout, &|_| (), progress)?;
    let train = encoder.write(&path(Split::Train), train, look, progress)?;
    sync_folder(folder)?;
    Ok(DomainManifest {
        train,
        heldout,
        group: domain.grouping.kind,
        group_field: domain.grouping.field,
        ..domain.manifest
    })
}

/// Writes `sides.json`, which keeps the split stable when the domain is prepared again; removes the file if the split
/// needs no record.
fn write_sides(folder: &Path, domain: &Collected) -> Result<(), DataError> {
    let path = folder.join(sides::FILE);
    match &domain.sides {
        Some(sides) => {
            let json = serde_json::to_vec(sides);
            let json = json.map_err(|error| DataError::content(&path, error.to_string()))?;
            write_durably(&path, &json)
        }
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DataError::file("remove", &path)(error))
            }
            _ => Ok(()),
        },
    }
}

fn say_dropped(name: &str, written: &DomainManifest) {
    let sides = [&written.train, &written.heldout];
    let turns: u64 = sides.iter().map(|side| side.turns_dropped).sum();
    let conversations: u64 = sides.iter().map(|side| side.conversations_dropped).sum();
    if turns > 0 {
        tracing::warn!(
            "domain `{name}`: {turns} turns of the assistant cut off beyond `longest_conversation`, {conversations} \
             conversations dropped whole"
        );
    }
}

pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    polymath_base::write(path, bytes).map_err(DataError::file("write", path))
}

/// Syncs a folder: without this, the names of new files in it may be lost in a crash even if their contents were
/// synced.
fn sync_folder(folder: &Path) -> Result<(), DataError> {
    if cfg!(unix) {
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(DataError::file("write into", folder))?;
    }
    Ok(())
}
