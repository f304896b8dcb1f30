//! Domains of a folder of texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_data::{DataError, DomainConfig, SourceSurvey, survey};
use polymath_finetune::name_of_texts;

use crate::StudyError;
use crate::schema::free_name;

/// Bytes of each domain that are read to count its documents.
const SURVEYED: u64 = 4_000_000;
/// Most domains of a dataset.
const MOST_DOMAINS: usize = 32;
/// Endings of files that hold records, each apart from that of a compressed file.
const RECORDS: [&str; 6] = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"];
/// Files that tell a folder that this program or another tool made.
const MADE: [&str; 6] = [
    ".lock",
    "config.json",
    "dataset.json",
    "report.json",
    "run.toml",
    "tune.toml",
];

/// A domain that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDomain {
    /// Name.
    pub name: String,
    /// Paths for its config.
    pub paths: Vec<String>,
    /// Content.
    pub survey: SourceSurvey,
}

/// Content of a folder of texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundTexts {
    /// Domains of text, all of it learned.
    pub domains: Vec<FoundDomain>,
    /// Conversations, and prompts with responses: niches for a fine-tuning.
    pub niches: Vec<FoundDomain>,
    /// Sentences about what was left out.
    pub notes: Vec<String>,
}

impl FoundTexts {
    /// Looks at a folder: each folder in it is a domain, each file of records is one, and its loose texts are one.
    ///
    /// # Errors
    /// Fails if the folder can't be read.
    pub fn of(folder: &Path) -> Result<Self, StudyError> {
        let mut found = Self::default();
        let mut loose: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in entries(folder)? {
            let is_folder = path.is_dir();
            if is_folder && MADE.iter().any(|mark| path.join(mark).exists()) {
                continue;
            }
            if is_folder || RECORDS.contains(&&*ending(&path)) {
                found.look(vec![shown(&path)])?;
            } else {
                loose.entry(ending(&path)).or_insert(path);
            }
        }
        for ending in loose.keys() {
            let glob = shown(&folder.join(format!("*{ending}")));
            found.look_loose(&glob)?;
        }
        if found.domains.len() > MOST_DOMAINS {
            let whole = shown(folder);
            found.notes.push(format!(
                "`{whole}` has {} parts, more than the {MOST_DOMAINS} domains of a dataset: it is one domain; put parts \
                 together for several",
                found.domains.len()
            ));
            found.domains.clear();
            found.look(vec![whole])?;
        }
        Ok(found)
    }

    /// Adds what the paths hold as a domain or a niche.
    fn look(&mut self, paths: Vec<String>) -> Result<(), StudyError> {
        let domain = DomainConfig {
            paths: paths.clone(),
            ..DomainConfig::default()
        };
        let survey = match survey(&domain, SURVEYED) {
            Ok(survey) if survey.documents > 0 => survey,
            Ok(empty) => {
                let reason = empty.bad.unwrap_or_else(|| "it has no text".into());
                self.notes
                    .push(format!("`{}` is left out: {reason}", paths.join("`, `")));
                return Ok(());
            }
            // Such a folder or file has no text; a file that can't be read is an error.
            Err(error @ (DataError::Config { .. } | DataError::Content { .. })) => {
                self.notes
                    .push(format!("`{}` is left out: {error}", paths.join("`, `")));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let name = self.free_name(name_of_texts(&paths));
        let found = FoundDomain {
            name,
            paths,
            survey,
        };
        match found.survey.has_prompts {
            true => self.niches.push(found),
            false => self.domains.push(found),
        }
        Ok(())
    }

    /// Adds loose texts, which are one domain of several globs.
    fn look_loose(&mut self, glob: &str) -> Result<(), StudyError> {
        let before = self.domains.len();
        self.look(vec![glob.to_owned()])?;
        let is_loose =
            |domain: &&mut FoundDomain| domain.paths.iter().all(|path| path.contains('*'));
        if self.domains.len() == before {
            return Ok(());
        }
        let Some(added) = self.domains.pop() else {
            return Ok(());
        };
        match self.domains.iter_mut().find(is_loose) {
            Some(loose) => loose.merge(added),
            None => self.domains.push(added),
        }
        Ok(())
    }

    fn free_name(&self, name: String) -> String {
        let all = || self.domains.iter().chain(&self.niches);
        free_name(name, |name| all().any(|other| other.name == name))
    }
}

impl FoundDomain {
    fn merge(&mut self, other: Self) {
        self.paths.extend(other.paths);
        let (own, other) = (&mut self.survey, other.survey);
        own.files += other.files;
        own.bytes += other.bytes;
        own.documents += other.documents;
        own.text_bytes += other.text_bytes;
        own.is_estimated |= other.is_estimated;
        own.bad = own.bad.take().or(other.bad);
        for (ending, count) in other.endings {
            *own.endings.entry(ending).or_default() += count;
        }
    }

    /// Describes the domain in a line.
    pub fn line(&self) -> String {
        let SourceSurvey {
            files,
            endings,
            documents,
            text_bytes,
            ..
        } = &self.survey;
        let about = if self.survey.is_estimated {
            "about "
        } else {
            ""
        };
        let endings: Vec<String> = endings
            .iter()
            .map(|(ending, count)| format!("{ending} {count}"))
            .collect();
        let unit = match (self.survey.has_prompts, documents) {
            (true, _) => "prompts with answers",
            (false, 1) => "document",
            (false, _) => "documents",
        };
        format!(
            "{}: {about}{documents} {unit}, {:.2} MB of text, in {files} {} ({})",
            self.name,
            *text_bytes as f64 / 1e6,
            if *files == 1 { "file" } else { "files" },
            endings.join(", ")
        )
    }
}

/// Returns the folder's entries that are not hidden, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StudyError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StudyError::file(folder))? {
        let entry = entry.map_err(StudyError::file(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns a path as a config has it: without `./` at its beginning.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// Returns the ending of a file's name, without that of a compressed file; empty for none.
fn ending(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    let plain = plain.unwrap_or(&name);
    match plain.rfind('.') {
        Some(at) if at > 0 => plain[at..].to_lowercase(),
        _ => String::new(),
    }
}
