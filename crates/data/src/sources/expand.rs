//! Search for the files of paths, folders, globs and hub addresses.

use std::cell::RefCell;
use std::path::{Component, Path, PathBuf};

use polymath_hub::DatasetFiles;
use walkdir::DirEntry;

use crate::preparation::target_folder::LOCK;
use crate::sources::first_look::FirstLook;
use crate::sources::kind::{self, FileKind, KINDS, conversion, ending, ends, is_usual};
use crate::sources::notes::count;
use crate::sources::record::Records;
use crate::sources::{json_file, table};
use crate::{DataError, DomainConfig, RecordNotes};

/// A search for the files of a domain.
pub(crate) struct Search<'a> {
    /// Configuration key of the paths, for error messages.
    pub(crate) key: String,
    /// File extensions from `extensions`, in lower case; empty for all.
    endings: Vec<String>,
    records: Records<'a>,
    /// Counts of files that are skipped, by reason.
    notes: RefCell<RecordNotes>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(key: String, domain: &'a DomainConfig) -> Self {
        let endings = domain.extensions.iter();
        let endings = endings.map(|end| format!(".{}", end.trim_start_matches('.').to_lowercase()));
        Self {
            key,
            endings: endings.collect(),
            records: Records {
                text_field: domain.text_field.as_deref(),
                fields: domain.fields.as_ref(),
                ..Records::default()
            },
            notes: RefCell::default(),
        }
    }

    /// Returns the files of a list of files, folders, globs and hub addresses, sorted and without repetitions. Adds
    /// the counts of skipped files to `notes`.
    ///
    /// # Errors
    /// Fails if a pattern is not valid or matches no file that can be read, or if the hub fails.
    pub(crate) fn expand(
        self,
        patterns: &[String],
        notes: &mut RecordNotes,
    ) -> Result<Vec<PathBuf>, DataError> {
        let mut files = Vec::new();
        for pattern in patterns {
            files.extend(self.find(pattern)?);
        }
        files.sort();
        files.dedup();
        notes.add(self.notes.into_inner());
        Ok(files)
    }

    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        let path = Path::new(pattern);
        let found = if pattern.starts_with(DatasetFiles::SCHEME) {
            self.download(pattern)?
        } else if path.is_file() {
            // An existing path is used as it is, since file names may contain characters that are special in a glob.
            self.check_named(path)?;
            vec![path.to_path_buf()]
        } else if path.is_dir() {
            self.in_folder(path)?
        } else if path.is_symlink() {
            return Err(self.wrong(lost_link(path)));
        } else {
            self.matches(pattern)?
        };
        match found.is_empty() {
            true => Err(self.wrong(self.nothing(pattern))),
            false => Ok(found),
        }
    }

    fn wrong(&self, message: impl Into<String>) -> DataError {
        DataError::config(&self.key, message)
    }

    /// Returns the error for a path or pattern that gives no file; it lists the files that were skipped.
    fn nothing(&self, pattern: &str) -> String {
        let left_out = self.notes.borrow().lines();
        let mut message = match Path::new(pattern).is_dir() {
            true => format!("there is no {KINDS} in the folder `{pattern}`"),
            false if !left_out.is_empty() => {
                format!("`{pattern}` matches no file of a supported kind")
            }
            false => format!(
                "`{pattern}` matches no file: give a file, a folder, or a glob such as `texts/**/*.txt`"
            ),
        };
        for line in left_out {
            message += &format!("\n  {line}");
        }
        message
    }

    /// Checks a file that is named directly: fails for a file of another program, such as a PDF.
    fn check_named(&self, path: &Path) -> Result<(), DataError> {
        if is_usual(path) {
            return Ok(());
        }
        if let Some(way) = conversion(path) {
            let message = format!(
                "is a `{}` file, which is not supported: {way}",
                ending(path)
            );
            return Err(DataError::content(path, message));
        }
        if FileKind::of(path) == FileKind::Text {
            if kind::is_binary(path)? {
                let message = format!("is not text: expected {KINDS}");
                return Err(DataError::content(path, message));
            }
            self.count_text(path);
        }
        Ok(())
    }

    fn count_text(&self, path: &Path) {
        count(&mut self.notes.borrow_mut().text_files, &ending(path));
    }

    /// Returns true if a file from a folder or glob should be read; counts it as skipped otherwise.
    fn is_wanted(&self, path: &Path) -> Result<bool, DataError> {
        if !self.is_listed(path) {
            count(&mut self.notes.borrow_mut().unlisted_files, &ending(path));
            return Ok(false);
        }
        if let Some(name) = kind::of_tokenizer(path) {
            count(&mut self.notes.borrow_mut().tokenizer_files, name);
            return Ok(false);
        }
        if is_usual(path) {
            return Ok(true);
        }
        let is_other = conversion(path).is_some();
        match FileKind::of(path) {
            FileKind::Text if is_other || kind::is_binary(path)? => {
                count(&mut self.notes.borrow_mut().other_files, &ending(path));
                return Ok(false);
            }
            FileKind::Text => self.count_text(path),
            kind => {
                let look = match kind {
                    FileKind::Json => json_file::first_look(path, self.records)?,
                    FileKind::Table => table::first_look(path, self.records)?,
                    _ => FirstLook::Documents,
                };
                let mut notes = self.notes.borrow_mut();
                match look {
                    FirstLook::Documents => return Ok(true),
                    FirstLook::Recordless => count(&mut notes.recordless_files, &ending(path)),
                    FirstLook::Broken(error) => notes.add_broken(&ending(path), error),
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns true if the file's extension is in `extensions`, or if `extensions` is not set.
    fn is_listed(&self, path: &Path) -> bool {
        self.endings.is_empty() || ends(path, &self.endings)
    }

    /// Returns the files in a folder and its subfolders, without hidden files and without this program's own outputs.
    fn in_folder(&self, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
        let hidden = |entry: &DirEntry| {
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if is_hidden {
                count(&mut self.notes.borrow_mut().hidden, &name.to_string_lossy());
            }
            is_hidden || entry.file_type().is_dir() && is_own(entry.path())
        };
        let found = self.walk(folder, &hidden, &|_| true)?;
        self.wanted(found)
    }

    fn wanted(&self, found: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
        let mut files = Vec::new();
        for path in found {
            if self.is_wanted(&path)? {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Downloads the files of a dataset on the hub; returns their paths in its cache.
    fn download(&self, address: &str) -> Result<Vec<PathBuf>, DataError> {
        let files = DatasetFiles::parse(address).ok_or_else(|| {
            self.wrong(format!(
                "`{address}` names no dataset: expected `hf://datasets/owner/name[@revision][/which]`, where `which` is a file, \
                 a folder, a glob or a split"
            ))
        })?;
        // A hub repository also holds a card and descriptions, so files of other kinds are read only if `extensions`
        // names them.
        let is_known = |name: &str| match self.endings.is_empty() {
            true => is_usual(Path::new(name)),
            false => self.is_listed(Path::new(name)),
        };
        polymath_hub::dataset_files(&files, &is_known)
            .map_err(|error| self.wrong(error.to_string()))
    }

    /// Returns the files in a folder and its subfolders for which `wanted` returns true, without those for which
    /// `hidden` does.
    ///
    /// # Errors
    /// Fails if a folder can't be read, if a link leads to a folder above it, or if a link with the name of a
    /// readable file leads nowhere.
    fn walk(
        &self,
        folder: &Path,
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
                return Err(self.wrong(format!(
                    "`{}` is a link to the folder `{}`, which it is in, so that its files would be read without end: remove the \
                     link, or name the files themselves",
                    path.display(),
                    above.display()
                )));
            }
            let is_meant = || wanted(&path) && is_usual(&path) && self.is_listed(&path);
            match error.into_io_error() {
                _ if path.is_symlink() && !is_meant() => {}
                _ if path.is_symlink() => return Err(self.wrong(lost_link(&path))),
                Some(source) => return Err(DataError::file("read", &path)(source)),
                None => {}
            }
        }
        Ok(files)
    }

    /// Returns the files that a glob matches. Files in hidden folders that the glob does not name are left out,
    /// unless they have an extension such as `.txt` or `.jsonl`.
    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        let mut files = Vec::new();
        for path in self.globbed(pattern)? {
            match hidden_part(pattern, &path).filter(|_| !is_usual(&path)) {
                Some(part) => count(&mut self.notes.borrow_mut().hidden, &part),
                None => files.push(path),
            }
        }
        self.wanted(files)
    }

    fn globbed(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        let no_glob = |error: glob::PatternError| {
            self.wrong(format!("`{pattern}` is not a valid glob: {error}"))
        };
        let Some((before, _)) = pattern.split_once("**") else {
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
            return Ok(files);
        };
        // The glob library would follow circular links endlessly.
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
        let files = self.walk(folder, &|_| false, &wanted)?;
        Ok(files.iter().map(|file| named(file)).collect())
    }
}

/// Returns true if a folder is a dataset or a run of this program, which may have been written into a folder of
/// texts.
fn is_own(folder: &Path) -> bool {
    let mut marks = ["dataset.json", "run.toml", LOCK].iter();
    marks.any(|mark| folder.join(mark).is_file())
}

/// Returns the first hidden folder or file in a matched path, unless the glob names it.
fn hidden_part(pattern: &str, path: &Path) -> Option<String> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let is_named = |name: &str| {
        let mut named = pattern.split('/').filter(|part| part.starts_with('.'));
        named.any(|part| glob::Pattern::new(part).is_ok_and(|part| part.matches(name)))
    };
    let mut hidden = parts.filter(|name| name.starts_with('.') && !is_named(name));
    hidden.next().map(|name| name.into_owned())
}

/// Describes a symbolic link whose target does not exist.
fn lost_link(path: &Path) -> String {
    let target = std::fs::read_link(path).unwrap_or_default();
    let reason = std::fs::metadata(path)
        .err()
        .map_or(String::new(), |error| format!(" ({error})"));
    format!(
        "`{}` is a link to `{}` that leads to no file{reason}: fix or remove it",
        path.display(),
        target.display()
    )
}
