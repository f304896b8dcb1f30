//! Names of repositories of the hub.

use std::fmt::{Display, Formatter};

/// A repository of the hub at a branch, tag or commit: `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) revision: String,
}

impl Repository {
    /// Parses `owner/name[@revision]`; `None` if `text` can't be one, such as a path with more slashes.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = path.split_once('/')?;
        let sound = is_segment(owner)
            && is_segment(name)
            && !revision.is_empty()
            && revision.split('/').all(is_segment);
        sound.then(|| Self {
            owner: owner.into(),
            name: name.into(),
            revision: revision.into(),
        })
    }

    /// Returns the name of the repository, `owner/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Returns the branch, tag or commit of the repository.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Returns the same repository at another branch, tag or commit.
    #[must_use]
    pub fn at(self, revision: impl Into<String>) -> Self {
        Self {
            revision: revision.into(),
            ..self
        }
    }
}

impl Display for Repository {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.owner, self.name)?;
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(formatter, "@{revision}"),
        }
    }
}

/// Returns true if a text obeys the hub's rule for names of owners and repositories.
fn is_segment(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    edge(text.chars().next())
        && edge(text.chars().last())
        && !text.contains("..")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Address of files in a dataset repository: `hf://datasets/owner/name[@revision][/which]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFiles {
    /// Repository of the dataset.
    pub repository: Repository,
    /// Selected files: a file, a folder, a glob, a split, or a configuration with or without a split; empty for all
    /// files.
    pub which: String,
}

impl DatasetFiles {
    /// Prefix of the addresses of datasets on the hub.
    pub const SCHEME: &str = "hf://";

    /// Parses an address; `None` if it is not `hf://datasets/owner/name…`.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix(Self::SCHEME)?.strip_prefix("datasets/")?;
        let mut segments = path.split('/');
        let mut repository = format!("{}/{}", segments.next()?, segments.next()?);
        // The only revisions with a `/` are the hub's own: `refs/pr/1`, `refs/convert/parquet`.
        if repository.ends_with("@refs") {
            repository = format!("{repository}/{}/{}", segments.next()?, segments.next()?);
        }
        let which: Vec<&str> = segments.filter(|segment| !segment.is_empty()).collect();
        Some(Self {
            repository: Repository::parse(&repository)?,
            which: which.join("/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that names of repositories are distinguished from paths.
    #[test]
    fn repository_names_are_told_from_paths() {
        for name in ["HuggingFaceTB/SmolLM2-135M", "a/b.c@v1.0", "a/b@refs/pr/3"] {
            assert_eq!(Repository::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(Repository::parse("a/b@main").unwrap().to_string(), "a/b");
        for path in [
            "small", "./small", "../a/b", "a/b/c", "/a/b", "a/", "a/b@", "~/b", "a/..", "a b/c",
        ] {
            assert_eq!(Repository::parse(path), None, "{path}");
        }
    }

    /// Checks that an address is parsed into a repository and the selected files.
    #[test]
    fn an_address_names_a_repository_and_files() {
        let files = DatasetFiles::parse("hf://datasets/o/n@v2/data/*.jsonl").unwrap();
        assert_eq!(files.repository.to_string(), "o/n@v2");
        assert_eq!(files.which, "data/*.jsonl");
        for whole in ["hf://datasets/o/n", "hf://datasets/o/n/"] {
            assert_eq!(DatasetFiles::parse(whole).unwrap().which, "");
        }
        let copy = DatasetFiles::parse("hf://datasets/o/n@refs/convert/parquet/default/train");
        let copy = copy.unwrap();
        assert_eq!(copy.repository.to_string(), "o/n@refs/convert/parquet");
        assert_eq!(copy.which, "default/train");
        for other in [
            "hf://o/n",
            "hf://datasets/o",
            "datasets/o/n",
            "hf://datasets/o/../x",
        ] {
            assert_eq!(DatasetFiles::parse(other), None, "{other}");
        }
    }
}
