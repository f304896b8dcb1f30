//! Selection and download of files of a dataset repository.

use std::path::PathBuf;

use hf_hub::repository::RepoTypeDataset;

use crate::card::CARD;
use crate::error::failure;
use crate::remote::{Listing, Remote, RemoteFile, names_in};
use crate::splits::Splits;
use crate::{DatasetFiles, HubError};

/// Returns the files that an address selects, as sorted paths in the hub's cache; downloads missing ones. If the
/// address names a folder, a split or the whole repository, only files for whose names `is_known` returns true are
/// selected; a file or a glob selects any file. If the hub can't be reached, returns the selected files that are in
/// the cache.
///
/// # Errors
/// Fails if there is no such repository or revision, if access is denied, if the hub can't be reached and the cache
/// is empty, or if no file matches.
pub fn dataset_files(
    files: &DatasetFiles,
    is_known: &dyn Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, HubError> {
    let repository = &files.repository;
    let remote = Remote::<RepoTypeDataset>::open(repository)?;
    let is_text = |name: &str| is_known(name) && !name.ends_with(CARD);
    let refused = |reason: String| failure(repository, reason);
    match remote.list()? {
        Listing::Files(listed) => {
            let names: Vec<String> = listed.iter().map(|file| file.path.clone()).collect();
            let fetch = |names: &[String]| {
                let wanted = listed.iter().filter(|file| names.contains(&file.path));
                remote.fetch(&wanted.cloned().collect::<Vec<RemoteFile>>())
            };
            let card = || -> Result<String, HubError> {
                let card = [CARD.to_owned()];
                match names.contains(&card[0]) {
                    true => Ok(read(fetch(&card)?.join(CARD))),
                    false => Ok(String::new()),
                }
            };
            let chosen = choose(&names, &files.which, &is_text, &card)?.map_err(refused)?;
            let folder = fetch(&chosen)?;
            Ok(chosen.iter().map(|name| folder.join(name)).collect())
        }
        Listing::Cached(folder, reason) => {
            let names = names_in(&folder);
            let card = || Ok(read(folder.join(CARD)));
            let chosen = choose(&names, &files.which, &is_text, &card)?;
            let chosen = chosen
                .map_err(|missing| refused(format!("in the cache, {missing}, and {reason}")))?;
            Ok(chosen.iter().map(|name| folder.join(name)).collect())
        }
    }
}

/// Reads a card as lossy UTF-8, so that file names in other encodings are still found; empty if it can't be read.
fn read(path: PathBuf) -> String {
    let bytes = polymath_base::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the sorted names of the files that `which` selects (a file, folder, glob or split). The card is downloaded
/// only if it may be needed.
fn choose(
    names: &[String],
    which: &str,
    is_known: &dyn Fn(&str) -> bool,
    card: &dyn Fn() -> Result<String, HubError>,
) -> Result<Result<Vec<String>, String>, HubError> {
    let keep = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let kept = names.iter().filter(|name| wanted(name));
        kept.cloned().collect()
    };
    let found = if which.is_empty() {
        keep(is_known)
    } else if which.contains(['*', '?', '[']) {
        let pattern = match Pattern::new(which) {
            Ok(pattern) => pattern,
            Err(reason) => return Ok(Err(reason)),
        };
        // A glob that ends in `**` selects known files only, like a folder.
        let all = which.ends_with("**");
        keep(&|name| pattern.matches(name) && (!all || is_known(name)))
    } else if names.iter().any(|name| name == which) {
        vec![which.to_owned()]
    } else {
        let splits = Splits::new(names, &card()?);
        let folder = format!("{which}/");
        match splits.declared(which) {
            Some(files) => files.into_iter().filter(|name| is_known(name)).collect(),
            None if names.iter().any(|name| name.starts_with(&folder)) => {
                keep(&|name| name.starts_with(&folder) && is_known(name))
            }
            None => {
                let files = splits.by_name(which, is_known);
                if files.is_empty() {
                    return Ok(Err(format!(
                        "the repository has no file, folder or split `{which}`; {}",
                        splits.known(is_known)
                    )));
                }
                files
            }
        }
    };
    if !found.is_empty() {
        return Ok(Ok(found));
    }
    let wanted = if which.is_empty() { "**" } else { which };
    Ok(Err(format!(
        "no file of a supported format matches `{wanted}` (for many datasets in another format, the hub keeps a \
         parquet copy: `@refs/convert/parquet` after the name)"
    )))
}

/// Glob in which `*` does not match `/`.
pub(crate) struct Pattern(glob::Pattern);

impl Pattern {
    /// Parses a glob.
    ///
    /// # Errors
    /// Fails if the text is not a valid glob.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // At the end of a glob, the `glob` crate matches `**` with folders only.
        let whole = match text.strip_suffix("**") {
            Some(folder) => format!("{folder}**/*"),
            None => text.to_owned(),
        };
        glob::Pattern::new(&whole)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a glob: {error}"))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let by_component = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        self.0.matches_with(name, by_component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], which: &str, card: &str) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let known = |name: &str| name.ends_with(".parquet") || name.ends_with(".jsonl");
        choose(&names, which, &known, &|| Ok(card.to_owned())).unwrap()
    }

    /// Checks the selection by a file, a folder, a glob, a split in the card and a split by file names, and the error
    /// that lists the choices.
    #[test]
    fn an_address_selects_files() {
        let names = [
            "README.md",
            "data/test-0.parquet",
            "data/train-0.parquet",
            "more/a.jsonl",
            "more/b.txt",
        ];
        assert_eq!(chosen(&names, "", "").unwrap(), names[1..4]);
        assert_eq!(chosen(&names, "more", "").unwrap(), ["more/a.jsonl"]);
        assert_eq!(chosen(&names, "more/*", "").unwrap(), names[3..]);
        assert_eq!(chosen(&names, "**", "").unwrap(), names[1..4]);
        assert_eq!(chosen(&names, "README.md", "").unwrap(), ["README.md"]);
        assert_eq!(
            chosen(&names, "train", "").unwrap(),
            ["data/train-0.parquet"]
        );
        let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: more/*.jsonl\n---\n";
        assert_eq!(chosen(&names, "train", card).unwrap(), ["more/a.jsonl"]);
        let reason = chosen(&names, "validation", card).unwrap_err();
        assert!(
            reason.contains("`validation`; it has the splits `train`"),
            "{reason}"
        );
        assert!(
            chosen(&names, "*.csv", "")
                .unwrap_err()
                .contains("no file of a supported format matches `*.csv`")
        );
        assert!(
            chosen(&names, "[", "")
                .unwrap_err()
                .contains("is not a glob")
        );
    }
}
