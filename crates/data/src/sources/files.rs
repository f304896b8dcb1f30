//! The files of a dataset, and what identifies them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use polymath_hub::DatasetFiles;
use polymath_tokenizer::{DocumentEnds, SETTINGS_FILES};
use sha2::{Digest, Sha256};
use walkdir::DirEntry;
use xxhash_rust::xxh3::Xxh3Default;

use crate::preparation::target_folder::LOCK;
use crate::sources::chat::template_file;
use crate::sources::format;
use crate::sources::notes::count;
use crate::{DataError, DomainConfig, GroupBy, GroupKind, Grouping, PrepareConfig};

/// Goes up when the same sources and settings would give another dataset than before.
const METHOD: u32 = 5;

/// The files of a domain.
pub(crate) struct Files {
    pub(crate) train: Vec<PathBuf>,
    pub(crate) heldout: Vec<PathBuf>,
    /// Files of its folders that are of no kind that is read, by ending.
    pub(crate) others: BTreeMap<String, u64>,
}

impl Files {
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.heldout.iter().chain(&self.train)
    }
}

/// The files of every domain.
///
/// # Errors
/// A pattern that is none, or that matches no file.
pub(crate) fn find(config: &PrepareConfig) -> Result<BTreeMap<String, Files>, DataError> {
    let mut all = BTreeMap::new();
    for (name, domain) in &config.domains {
        let key = |key: &str| format!("domains.{name}.{key}");
        let mut others = BTreeMap::new();
        let heldout = expand(&key("heldout_paths"), &domain.heldout_paths, &mut others)?;
        let mut train = expand(&key("paths"), &domain.paths, &mut others)?;
        // A file that is named for the held-out split is no training text, even if a glob catches it.
        train.retain(|file| !heldout.contains(file));
        if train.is_empty() {
            let message = "only matches files of `heldout_paths`";
            return Err(DataError::config(key("paths"), message));
        }
        let files = Files {
            train,
            heldout,
            others,
        };
        if domain.separator.is_some() && !files.all().any(|path| format::is_text(path)) {
            let message = "none of the domain's files is a `.txt` or `.md`: leave it out";
            return Err(DataError::config(key("separator"), message));
        }
        let records = || files.all().any(|path| format::has_records(path));
        if domain.group_field.is_some() && !records() {
            let message = "none of the domain's files is a `.jsonl` or `.parquet`, which have fields: leave it out";
            return Err(DataError::config(key("group_field"), message));
        }
        if domain.group == Some(GroupBy::Record) && domain.separator.is_none() && !records() {
            let message =
                "none of the domain's files holds records: set a `separator`, or leave it out";
            return Err(DataError::config(key("group"), message));
        }
        all.insert(name.clone(), files);
    }
    Ok(all)
}

impl Files {
    /// Returns what a group is in a domain of these files.
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
        let whole = |path: &&PathBuf| format::is_text(path) && !is_parted;
        let whole = self.all().filter(whole).count();
        match whole {
            0 => GroupKind::Record,
            _ if whole == self.all().count() => GroupKind::File,
            _ => GroupKind::Document,
        }
    }
}

/// The files that a list of files, folders, globs and addresses on the hub names, sorted, without repetitions. Files of
/// folders that are of no kind that is read are counted in `others`.
///
/// # Errors
/// A pattern that is none, or that matches no file, under the config key `key`; what the hub does not give.
fn expand(
    key: &str,
    patterns: &[String],
    others: &mut BTreeMap<String, u64>,
) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let path = Path::new(pattern);
        let found = if pattern.starts_with(DatasetFiles::SCHEME) {
            download(key, pattern)?
        } else if path.is_file() {
            // As it stands: a file's name may hold letters that mean something in a glob.
            vec![path.to_path_buf()]
        } else if path.is_dir() {
            // A folder holds other things too; what a glob names, it means.
            let hidden = |entry: &DirEntry| {
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                hidden || entry.file_type().is_dir() && is_own(entry.path())
            };
            let left_out = RefCell::new(&mut *others);
            let wanted = |file: &Path| {
                let known = format::is_known(file);
                if !known {
                    count(&mut left_out.borrow_mut(), &format::ending(file));
                }
                known
            };
            walk((key, path), &hidden, &wanted)?
        } else if path.is_symlink() {
            return Err(DataError::config(key, lost_link(path)));
        } else {
            matches(key, pattern)?
        };
        if found.is_empty() {
            let message = if path.is_dir() {
                format!("there is no {} in the folder `{pattern}`", format::KINDS)
            } else {
                format!(
                    "`{pattern}` matches no file: give a file, a folder, or a glob such as `texts/**/*.txt`"
                )
            };
            return Err(DataError::config(key, message));
        }
        files.extend(found);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// The files of a dataset on the hub, in its cache.
fn download(key: &str, address: &str) -> Result<Vec<PathBuf>, DataError> {
    let files = DatasetFiles::parse(address).ok_or_else(|| {
        let message = format!(
            "`{address}` names no dataset: expected `hf://datasets/owner/name[@revision][/which]`, where `which` is a file, \
             a folder, a glob or a split"
        );
        DataError::config(key, message)
    })?;
    polymath_hub::dataset_files(&files, &|name| format::is_known(Path::new(name)))
        .map_err(|error| DataError::config(key, error.to_string()))
}

/// Returns true if a folder is a dataset or a run of this program: a folder of texts may contain what was made from it.
fn is_own(folder: &Path) -> bool {
    let mut marks = ["dataset.json", "run.toml", LOCK].iter();
    marks.any(|mark| folder.join(mark).is_file())
}

/// The files in a folder and below that are `wanted`, without what is `hidden`.
///
/// # Errors
/// A folder that can't be read; a link to a folder above it; a link of a wanted name that leads nowhere.
fn walk(
    (key, folder): (&str, &Path),
    hidden: &dyn Fn(&DirEntry) -> bool,
    wanted: &dyn Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, DataError> {
    let is_hidden = |entry: &DirEntry| entry.depth() > 0 && hidden(entry);
    let mut files = Vec::new();
    let entries = walkdir::WalkDir::new(folder).follow_links(true);
    for entry in entries.into_iter().filter_entry(|entry| !is_hidden(entry)) {
        let error = match entry {
            Ok(entry) => {
                if entry.file_type().is_file() && wanted(entry.path()) {
                    files.push(entry.into_path());
                }
                continue;
            }
            Err(error) => error,
        };
        let path = error.path().unwrap_or(folder).to_path_buf();
        if let Some(above) = error.loop_ancestor() {
            let message = format!(
                "`{}` is a link to the folder `{}`, which it is in, so that its files would be read without end: remove the \
                 link, or name the files themselves",
                path.display(),
                above.display()
            );
            return Err(DataError::config(key, message));
        }
        match error.into_io_error() {
            _ if path.is_symlink() && !wanted(&path) => {}
            _ if path.is_symlink() => return Err(DataError::config(key, lost_link(&path))),
            Some(source) => return Err(DataError::file("read", &path)(source)),
            None => {}
        }
    }
    Ok(files)
}

/// Describes a link that can't be followed.
fn lost_link(path: &Path) -> String {
    let target = std::fs::read_link(path).unwrap_or_default();
    let reason = std::fs::metadata(path)
        .err()
        .map_or(String::new(), |error| format!(" ({error})"));
    format!(
        "`{}` is a link to `{}` that leads to no file{reason}: mend or remove it",
        path.display(),
        target.display()
    )
}

/// The files that a glob matches.
fn matches(key: &str, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let no_glob = |error: glob::PatternError| {
        DataError::config(key, format!("`{pattern}` is no glob: {error}"))
    };
    if let Some((before, _)) = pattern.split_once("**") {
        // The library would follow links round and round.
        let glob = glob::Pattern::new(pattern).map_err(no_glob)?;
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let fixed = &before[..before.find(['*', '?', '[']).unwrap_or(before.len())];
        let folder = match fixed.rfind('/') {
            Some(0) => Path::new("/"),
            Some(end) => Path::new(&fixed[..end]),
            None => Path::new("."),
        };
        let named = |path: &Path| match fixed.contains('/') {
            true => path.to_path_buf(),
            false => path.strip_prefix(".").unwrap_or(path).to_path_buf(),
        };
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let wanted = |path: &Path| glob.matches_path_with(&named(path), options);
        let files = walk((key, folder), &|_| false, &wanted)?;
        return Ok(files.iter().map(|file| named(file)).collect());
    }
    let entries = glob::glob(pattern).map_err(no_glob)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| {
            let path = error.path().to_path_buf();
            DataError::file("read", &path)(error.into())
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// A digest of every file's content and of every setting that shapes the dataset; not of the files' names, so that a
/// corpus can be moved.
///
/// # Errors
/// A file that can't be read.
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
        if let Some(template) = template_file(path)? {
            add("chat template", &template)?;
        }
        // They name special tokens.
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
