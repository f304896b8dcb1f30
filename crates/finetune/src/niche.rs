//! Data of a fine-tuning: opens or prepares the documents of the niche and of the retained domains.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_base::counted;
use polymath_data::{
    Dataset, DatasetDomain, DomainConfig, NamedShard, PreparationProgress, RetokenizedDataset,
    Split, Texts, TokenShard, is_domain_name, prepare_texts_as,
};
use polymath_model::EndTokens;

use crate::lineage::{Lineage, datasets_of};
use crate::retention::GENERATED_DOMAIN;
use crate::{FinetuneConfig, FinetuneError};

/// Domain name of a raw-text niche in runs of earlier versions, and of a niche whose files have no name in common.
const TEXTS: &str = "niche";
/// Maximum length of a niche's name in bytes, since it is also the name of a folder.
const LONGEST_NAME: usize = 64;

/// Returns the domain name of a niche that is given as raw text: the name in the config, or that of an existing run, or
/// that of the file or folder. Appends `-texts` if a retained domain has the same name, or a domain on which the base
/// or one of the base's own bases was trained, so that a report can score both.
pub(crate) fn name_niche(
    config: &FinetuneConfig,
    patterns: &[String],
    retained: Option<&Dataset>,
) -> Result<String, FinetuneError> {
    if let Some(name) = &config.domain {
        return Ok(name.clone());
    }
    // An existing run keeps the name of its niche, even if the config changes.
    if let Ok(found) = Dataset::open(&niche_folder(config))
        && let [only] = found.domain_names()[..]
    {
        return Ok(only.to_owned());
    }
    let taken = retained.map_or_else(Vec::new, Dataset::domain_names);
    new_niche_name(patterns, Some(&config.base), &taken)
}

/// Returns the domain name of a new raw-text niche: that of its file or folder. Appends `-texts` if the name is one of
/// `taken`, or that of a domain on which the base or one of the base's own bases was trained.
///
/// # Errors
/// Fails if the lineage of the base can't be read.
pub fn new_niche_name(
    patterns: &[String],
    base: Option<&Path>,
    taken: &[&str],
) -> Result<String, FinetuneError> {
    let name = name_of_texts(patterns);
    let of_base = base.map(domains_of_base).transpose()?.unwrap_or_default();
    // Text that the base generates may be a domain beside the niche.
    let is_taken = taken.contains(&&*name) || of_base.contains(&name) || name == GENERATED_DOMAIN;
    match is_taken {
        true => Ok(format!("{name}-texts")),
        false => Ok(name),
    }
}

/// Maximum number of bases of bases that are followed. It exceeds the length of any chain of fine-tunings.
const LONGEST_CHAIN: usize = 100;

/// Returns the names of the domains on which a base, its own base and so on were trained. Datasets that no longer exist
/// are left out, since their domains can't be scored beside the niche.
fn domains_of_base(base: &Path) -> Result<BTreeSet<String>, FinetuneError> {
    let mut names = BTreeSet::new();
    let mut checkpoint = Some(base.to_path_buf());
    for _ in 0..LONGEST_CHAIN {
        let Some(from) = checkpoint else { break };
        let from = polymath_train::resolve_checkpoint(&from).unwrap_or(from);
        for dataset in datasets_of(&from)? {
            let found = Dataset::open(&dataset).ok();
            names.extend(
                found
                    .iter()
                    .flat_map(|found| found.domain_names())
                    .map(str::to_owned),
            );
        }
        let lineage = Lineage::of(&from)?;
        checkpoint = lineage.map(|lineage| lineage.checkpoint.unwrap_or(lineage.base));
    }
    Ok(names)
}

/// Returns a domain name for raw text: the name of the file or folder that all patterns refer to, or of the common
/// folder of several files.
pub fn name_of_texts(patterns: &[String]) -> String {
    let address = |pattern: &str| {
        // For a dataset of the hub: its name without owner and revision.
        let name = pattern.strip_prefix("hf://datasets/")?.split('/').nth(1)?;
        Some(PathBuf::from(name.split('@').next().unwrap_or(name)))
    };
    let stems = patterns.iter().map(|pattern| {
        address(pattern).unwrap_or_else(|| {
            let parts = pattern.split('/');
            let named = parts.take_while(|part| !part.contains(['*', '?', '[']));
            PathBuf::from(named.collect::<Vec<_>>().join("/"))
        })
    });
    let common = stems.reduce(|common, path| {
        let both = common.components().zip(path.components());
        let both = both.take_while(|(one, other)| one == other);
        both.map(|(one, _)| one).collect()
    });
    let common = common.unwrap_or_default();
    let path = match common.file_name() {
        Some(_) => common,
        // `.` and `..` get the name of the folder that they lead to.
        None => std::fs::canonicalize(match common.as_os_str().is_empty() {
            true => Path::new("."),
            false => &common,
        })
        .unwrap_or_default(),
    };
    legal(&path)
}

/// Converts a file's name without its endings, or a folder's name, to a valid domain name.
fn legal(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = match path.is_dir() {
        true => &name,
        false => {
            let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
            let plain = plain.unwrap_or(&name);
            plain.rsplit_once('.').map_or(plain, |(stem, _)| stem)
        }
    };
    let fitting = |letter: char| match letter.is_alphanumeric() || "-_ .".contains(letter) {
        true => letter,
        false => '-',
    };
    let name: String = name.chars().map(fitting).collect();
    let name = name.trim_matches(|letter: char| letter == '.' || letter == '-' || letter == ' ');
    match &name[..name.floor_char_boundary(LONGEST_NAME)] {
        "" => TEXTS.to_owned(),
        name if is_domain_name(name) => name.to_owned(),
        name => format!("{name}-{TEXTS}"),
    }
}

/// Returns the folder of the dataset that is prepared from the niche's raw text. It lies beside the run folder, which
/// is created only after all checks.
pub(crate) fn niche_folder(config: &FinetuneConfig) -> PathBuf {
    let mut output = config.run.clone().into_os_string();
    output.push(".dataset");
    output.into()
}

/// Niche that is given as raw text, and the tokenizer to prepare it with.
pub(crate) struct RawNiche<'a> {
    /// Domain name of the niche.
    pub name: String,
    /// Paths or globs of the text files.
    pub patterns: &'a [String],
    /// Path of the `tokenizer.json`.
    pub tokenizer: &'a Path,
    /// IDs of the tokens that begin and end each document.
    pub ends: EndTokens,
}

/// Prepares the raw text of the niche as a dataset in the folder `output`. Documents begin and end with the tokens that
/// the base's config names.
pub(crate) fn prepare_niche(
    config: &FinetuneConfig,
    output: &Path,
    raw: RawNiche,
    progress: &dyn PreparationProgress,
) -> Result<Dataset, FinetuneError> {
    let texts = Texts {
        output: output.to_path_buf(),
        domain: raw.name,
        paths: raw.patterns.to_vec(),
        tokenizer: raw.tokenizer.to_path_buf(),
        bos_token_id: raw.ends.begin,
        eos_token_id: raw.ends.end,
        heldout_fraction: 0.05,
        seed: 0,
    };
    let domain = DomainConfig {
        extensions: config.extensions.clone(),
        fields: config.fields.clone(),
        pairs: config.pairs,
        separator: config.separator.clone(),
        on_bad_record: config.on_bad_record,
        group: config.group,
        group_field: config.group_field.clone(),
        heldout_groups: config.heldout_groups,
        ..DomainConfig::default()
    };
    Ok(prepare_texts_as(&texts, domain, false, progress)?)
}

pub(crate) fn choose_niche(
    config: &FinetuneConfig,
    dataset: &Dataset,
) -> Result<String, FinetuneError> {
    let names = dataset.domain_names();
    match (&config.domain, &names[..]) {
        (Some(name), _) if names.contains(&name.as_str()) => Ok(name.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (given, _) => {
            let problem = match given {
                Some(name) => format!("`domain` = `{name}` is not in the dataset"),
                None => "the dataset has several domains: name the niche in `domain`".to_owned(),
            };
            Err(FinetuneError::Config(format!(
                "{problem}; it has `{}`",
                names.join("`, `")
            )))
        }
    }
}

/// Reader of datasets for a model, which retokenizes a dataset of the base if the model has additional tokens.
#[derive(Clone, Copy)]
pub(crate) struct TokenReader<'a> {
    /// Path of the `tokenizer.json` of the model to train.
    pub tokenizer: &'a Path,
    /// Path of the base's `tokenizer.json`, which lacks the tokens that the run adds.
    pub base_tokenizer: &'a Path,
    /// IDs of the tokens that begin and end documents.
    pub ends: EndTokens,
}

impl TokenReader<'_> {
    /// Fails unless a dataset was tokenized for this model or for its base.
    pub fn check(self, dataset: &Dataset) -> Result<(), FinetuneError> {
        if dataset.check_fits(self.tokenizer, self.ends).is_err() {
            dataset.check_fits(self.base_tokenizer, self.ends)?;
        }
        Ok(())
    }

    /// Returns the dataset in the tokens of the model, retokenized if necessary.
    pub fn read(self, dataset: &Dataset) -> Result<RetokenizedDataset<'_>, FinetuneError> {
        Ok(dataset.read_by(self.tokenizer, self.ends)?)
    }

    /// Returns a fingerprint of the dataset's documents in the tokens of the model.
    pub fn fingerprint(self, dataset: &Dataset) -> Result<String, FinetuneError> {
        let fingerprint = dataset.fingerprint().to_owned();
        if !self.read(dataset)?.is_translated() {
            return Ok(fingerprint);
        }
        let tokenizer = polymath_train::sha256_of(self.tokenizer)?;
        Ok(format!("{fingerprint}+{tokenizer}"))
    }

    /// Returns the held-out documents on which a run is evaluated: those of the niche first, then of every retained
    /// domain.
    pub fn watch(
        self,
        niche: DatasetDomain,
        retained: Option<&Dataset>,
    ) -> Result<Vec<NamedShard>, FinetuneError> {
        let DatasetDomain {
            dataset,
            name: niche,
        } = niche;
        let heldout =
            |reading: &RetokenizedDataset, name: &str| -> Result<NamedShard, FinetuneError> {
                Ok(NamedShard {
                    name: name.to_owned(),
                    shard: reading.shard(name, Split::Heldout)?,
                })
            };
        let mut watched = vec![heldout(&self.read(dataset)?, niche)?];
        let Some(retained) = retained else {
            return Ok(watched);
        };
        let reading = self.read(retained)?;
        for name in retained.domain_names() {
            if name != niche {
                watched.push(heldout(&reading, name)?);
            } else if retained.fingerprint() != dataset.fingerprint() {
                return Err(FinetuneError::Config(format!(
                    "the niche `{niche}` is also a domain of `retain`, with other documents: rename one of them"
                )));
            }
        }
        Ok(watched)
    }
}

/// Documents that a run reads: the niche's for training, and those of all domains for evaluation. The files are kept
/// open, since the datasets may be replaced or removed during the run.
#[derive(Clone)]
pub(crate) struct NicheData {
    /// Fingerprint of the niche's dataset, in the tokens of the model.
    pub fingerprint: String,
    /// Training documents of the niche, in the tokens of the model.
    pub train: Arc<TokenShard>,
    /// Held-out documents of the niche (first) and of every retained domain, in the tokens of the model.
    pub watched: Vec<NamedShard>,
    /// The same documents as `watched`, in the base's tokens.
    pub watched_by_base: Vec<NamedShard>,
}

impl NicheData {
    /// Opens the documents of a run, in the tokens of the model and in those of the base.
    pub fn open(
        reader: TokenReader,
        dataset: &Dataset,
        niche: &str,
        retained: Option<&Dataset>,
    ) -> Result<Self, FinetuneError> {
        let watched = reader.watch(dataset.of_domain(niche), retained)?;
        let base = TokenReader {
            tokenizer: reader.base_tokenizer,
            ..reader
        };
        Ok(Self {
            fingerprint: reader.fingerprint(dataset)?,
            train: reader.read(dataset)?.shard(niche, Split::Train)?,
            watched_by_base: match reader.tokenizer == reader.base_tokenizer {
                true => watched.clone(),
                false => base.watch(dataset.of_domain(niche), retained)?,
            },
            watched,
        })
    }

    /// Describes the retained domains whose held-out text is also text of the niche, by the hashes of their groups. A
    /// field that names groups says nothing about their text.
    pub fn shared_text(&self) -> Vec<String> {
        let Some((niche, retained)) = self.watched.split_first() else {
            return Vec::new();
        };
        let mut said = Vec::new();
        for domain in retained {
            let held: BTreeSet<u64> = groups(&domain.shard).collect();
            let own = groups(&self.train).chain(groups(&niche.shard));
            let shared: BTreeSet<u64> = own.filter(|group| held.contains(group)).collect();
            if !shared.is_empty() {
                said.push(format!(
                    "`retain`: {} of {} of `{}` also in the text of the niche `{}`, so that what it forgets can't be measured \
                     on them: leave that text out of one of the two",
                    shared.len(),
                    counted(held.len() as u64, "held-out group"),
                    domain.name,
                    niche.name
                ));
            }
        }
        said
    }
}

/// Returns the hash of each document's group; nothing if a field names the groups.
fn groups(shard: &TokenShard) -> impl Iterator<Item = u64> {
    let is_named = shard.grouping().field.is_some();
    let documents = if is_named { 0 } else { shard.documents() };
    (0..documents).filter_map(|index| shard.group_of(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a raw-text niche gets the name of its file or folder, or of the common folder of several files.
    #[test]
    fn texts_name_the_niche() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["notes", "v1.2"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("support.chat.jsonl.gz"), "").unwrap();
        for (patterns, name) in [
            (vec![at("support.chat.jsonl.gz")], "support.chat"),
            (vec![at("notes")], "notes"),
            (vec![at("v1.2/")], "v1.2"),
            (vec![at("notes/**/*.md")], "notes"),
            (vec![at("notes/a.md"), at("notes/b.md")], "notes"),
            (
                vec![at("odd:na*me"), at("notes/*.md")],
                &legal(folder.path()),
            ),
            (vec!["a:b.csv".into()], "a-b"),
            (vec!["hf://datasets/owner/law@main/train".into()], "law"),
            (vec!["…".into()], TEXTS),
            (vec!["mean.txt".into()], "mean-niche"),
            (vec!["chat.json.txt".into()], "chat.json-niche"),
        ] {
            assert_eq!(name_of_texts(&patterns), name, "{patterns:?}");
        }
        let long = name_of_texts(&["é".repeat(99)]);
        assert!(long.len() <= LONGEST_NAME && !long.is_empty());
    }
}
