//! Files of a dataset, and their fingerprint.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use polymath_tokenizer::{DocumentEnds, SETTINGS_FILES};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use crate::sources::chat::template_files;
use crate::sources::expand::Search;
use crate::sources::kind::{FileKind, is_usual};
use crate::{DataError, DomainConfig, GroupBy, GroupKind, Grouping, PrepareConfig, RecordNotes};

/// Version of the way in which datasets are prepared: increased when the same sources and settings begin to give
/// another dataset.
const METHOD: u32 = 8;

/// Source files of a domain.
pub(crate) struct Files {
    pub(crate) train: Vec<PathBuf>,
    pub(crate) heldout: Vec<PathBuf>,
    /// Counts of the files that were skipped.
    pub(crate) notes: RecordNotes,
}

impl Files {
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.heldout.iter().chain(&self.train)
    }
}

/// Returns the files of every domain.
///
/// # Errors
/// Fails if a pattern is not valid or matches no file.
pub(crate) fn find(config: &PrepareConfig) -> Result<BTreeMap<String, Files>, DataError> {
    let mut all = BTreeMap::new();
    for (name, domain) in &config.domains {
        let table = format!("domains.{}", polymath_config::toml_key(name));
        let key = |key: &str| format!("{table}.{key}");
        let mut notes = RecordNotes::default();
        let search = |name: &str| Search::new(key(name), domain);
        let heldout = search("heldout_paths").expand(&domain.heldout_paths, &mut notes)?;
        let mut train = search("paths").expand(&domain.paths, &mut notes)?;
        // A file of `heldout_paths` is not training text, even if a glob of `paths` matches it.
        train.retain(|file| !heldout.contains(file));
        if train.is_empty() && !domain.is_only_scored() {
            let message = "only matches files of `heldout_paths`";
            return Err(DataError::config(key("paths"), message));
        }
        let files = Files {
            train,
            heldout,
            notes,
        };
        if domain.separator.is_some() && !files.all().any(|path| !has_records(path)) {
            let message = "none of the domain's files is a text: leave it out";
            return Err(DataError::config(key("separator"), message));
        }
        let records = || files.all().any(|path| has_records(path));
        if domain.group_field.is_some() && !records() {
            let message = "none of the domain's files is a `.jsonl`, `.json`, `.csv` or `.parquet`, which have fields: leave it out";
            return Err(DataError::config(key("group_field"), message));
        }
        if domain.group == Some(GroupBy::Record) && domain.separator.is_none() && !records() {
            let message =
                "none of the domain's files holds records: set a `separator`, or leave it out";
            return Err(DataError::config(key("group"), message));
        }
        let named = [
            ("fields", domain.fields.is_some()),
            ("text_field", domain.text_field.is_some()),
        ];
        if let Some((name, _)) = named.iter().find(|(_, is_set)| *is_set && !records()) {
            let message =
                "none of the domain's files holds records, which have fields: leave it out";
            return Err(DataError::config(key(name), message));
        }
        all.insert(name.clone(), files);
    }
    Ok(all)
}

fn has_records(path: &Path) -> bool {
    FileKind::of(path).has_records()
}

/// Returns the files of every domain that earlier versions of Polymath would find, which read only `.txt`, `.md`,
/// `.jsonl` and `.parquet`; `None` if there is no difference.
pub(crate) fn of_earlier_versions(
    files: &BTreeMap<String, Files>,
) -> Option<BTreeMap<String, Files>> {
    let usual = |paths: &[PathBuf]| -> Vec<PathBuf> {
        let usual = paths.iter().filter(|path| is_usual(path));
        usual.cloned().collect()
    };
    let earlier = files.iter().map(|(name, files)| {
        let files = Files {
            train: usual(&files.train),
            heldout: usual(&files.heldout),
            notes: RecordNotes::default(),
        };
        (name.clone(), files)
    });
    let earlier: BTreeMap<String, Files> = earlier.collect();
    let count = |files: &BTreeMap<String, Files>| -> usize {
        files.values().map(|files| files.all().count()).sum()
    };
    (count(&earlier) < count(files)).then_some(earlier)
}

impl Files {
    /// Returns the kind of the groups in a domain with these files.
    pub(crate) fn grouping(&self, domain: &DomainConfig) -> Grouping {
        let kind = match (&domain.group_field, domain.group) {
            (Some(field), _) => {
                return Grouping {
                    kind: GroupKind::Field,
                    field: Some(field.clone()),
                };
            }
            (None, Some(GroupBy::File)) => GroupKind::File,
            (None, Some(GroupBy::Record)) => GroupKind::Record,
            (None, Some(GroupBy::Section)) => GroupKind::Section,
            (None, None) => self.usual_groups(domain.separator.is_some()),
        };
        Grouping::of(kind)
    }

    fn usual_groups(&self, is_parted: bool) -> GroupKind {
        let whole = |path: &&PathBuf| !has_records(path) && !is_parted;
        let whole = self.all().filter(whole).count();
        match whole {
            0 => GroupKind::Record,
            _ if whole == self.all().count() => GroupKind::File,
            _ => GroupKind::Document,
        }
    }
}

/// Returns a digest of every file's content and of every setting that affects the dataset. It does not include file
/// names, so that a corpus can be moved.
///
/// # Errors
/// Fails if a file can't be read.
pub(crate) fn fingerprint(
    config: &PrepareConfig,
    files: &BTreeMap<String, Files>,
    ends: Option<&DocumentEnds>,
) -> Result<String, DataError> {
    let mut settings = config.clone();
    settings.output = PathBuf::new();
    settings.tokenizer.path = None;
    for domain in settings.domains.values_mut() {
        domain.paths.clear();
        domain.heldout_paths.clear();
        domain.questions = None;
    }
    let mut digest = Sha256::new();
    digest.update(METHOD.to_le_bytes());
    let json = serde_json::to_vec(&settings);
    digest.update(json.map_err(|error| DataError::config("prepare", error.to_string()))?);
    if let Some(ends) = ends {
        digest.update(format!("\nends {} {}", ends.begin, ends.end));
    }
    let mut add = |role: &str, path: &Path| -> Result<(), DataError> {
        digest.update(format!("\n{role} {:?} ", path.extension()));
        digest.update(content(path)?.to_le_bytes());
        Ok(())
    };
    if let Some(path) = &config.tokenizer.path {
        add("tokenizer", path)?;
        for template in template_files(path)? {
            add("chat template", &template)?;
        }
        // These files name special tokens.
        for name in SETTINGS_FILES {
            let settings = path.with_file_name(name);
            if polymath_input::is_file(&settings)? {
                add(name, &settings)?;
            }
        }
    }
    for (name, files) in files {
        files
            .heldout
            .iter()
            .try_for_each(|path| add("heldout", path))?;
        files.train.iter().try_for_each(|path| add("train", path))?;
        if let Some(path) = &config.domains[name].questions {
            add("questions", path)?;
        }
    }
    Ok(polymath_base::hexadecimal(&digest.finalize()))
}

fn content(path: &Path) -> Result<u128, DataError> {
    let mut hasher = Xxh3Default::new();
    let mut file = polymath_base::open(path).map_err(DataError::file("open", path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(DataError::file("read", path))?;
        if read == 0 {
            return Ok(hasher.digest128());
        }
        hasher.update(&buffer[..read]);
    }
}
