//! Search of a folder of texts for domains and niches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_data::{DataError, DomainConfig, SourceSurvey, survey};
use polymath_finetune::name_of_texts;
use polymath_report::bytes;

use crate::StudyError;
use crate::schema::free_name;

/// Number of bytes of each domain that are read to count its documents.
const SURVEYED: u64 = 4_000_000;
/// Maximum number of domains in a dataset.
const MOST_DOMAINS: usize = 32;
/// Extensions of files that hold records, without a second extension of compressed files.
const RECORDS: [&str; 6] = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"];
/// Names of files by which a folder is recognized as the work of this program or of another tool, each with a
/// description of such a folder.
const MADE: [(&str, &str); 7] = [
    ("run.toml", "a run"),
    ("tune.toml", "a tuning"),
    ("dataset.json", "a dataset"),
    ("report.json", "a report"),
    ("config.json", "a model"),
    ("adapter_config.json", "an adapter"),
    (".lock", "a folder in use"),
];
/// Minimum size of the text in bytes for a model to learn something.
const FEWEST_BYTES: u64 = 20_000;
/// Minimum certainty with which the language of a text is named.
const CERTAIN: f64 = 0.8;

/// Domain that was found in a folder of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDomain {
    /// Name of the domain.
    pub name: String,
    /// Paths for the domain's table in the config: files, folders or globs.
    pub paths: Vec<String>,
    /// Numbers and sizes of the domain's files and documents.
    pub survey: SourceSurvey,
}

/// Domains and niches of a folder of texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundTexts {
    /// Domains of plain text, all of which is learned.
    pub domains: Vec<FoundDomain>,
    /// Niches for a fine-tuning: files of conversations, or of prompts with responses.
    pub niches: Vec<FoundDomain>,
    /// Sentences about files and folders that were left out.
    pub notes: Vec<String>,
}

impl FoundTexts {
    /// Searches a folder: each subfolder and each file of records becomes a domain, and all loose text files together
    /// become one.
    ///
    /// # Errors
    /// Fails if the folder can't be read.
    pub fn of(folder: &Path) -> Result<Self, StudyError> {
        let mut found = Self::default();
        let mut loose: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in entries(folder)? {
            let is_folder = path.is_dir();
            if let Some(made) = made(&path) {
                let note = format!("`{}` is left out: it is {made}", shown(&path));
                found.notes.push(note);
                continue;
            }
            if is_folder || RECORDS.contains(&&*ending(&path)) {
                found.look(vec![shown(&path)])?;
            } else {
                loose.entry(ending(&path)).or_insert(path);
            }
        }
        for ending in loose.keys() {
            let literal = glob::Pattern::escape(&shown(folder));
            let glob = Path::new(&literal).join(format!("*{}", glob::Pattern::escape(ending)));
            found.look_loose(&shown(&glob))?;
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
        found.note_small();
        Ok(found)
    }

    /// Adds a note if all text together is too little to learn from.
    fn note_small(&mut self) {
        let all = self.domains.iter().chain(&self.niches);
        let text: u64 = all.map(|domain| domain.survey.text_bytes).sum();
        if (1..FEWEST_BYTES).contains(&text) {
            self.notes.push(format!(
                "all of it is {} of text, from which a model learns next to nothing: from about {} on it can be learned \
                 and reported on",
                bytes(text),
                bytes(FEWEST_BYTES)
            ));
        }
    }

    /// Surveys the paths and adds them as a domain or, if they have prompts, as a niche.
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

    /// Adds the loose text files as one domain, given by several globs.
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

    /// Returns the name of the text's language; `None` if it is not certain, as for code and tables.
    fn language(&self) -> Option<&'static str> {
        let info = whatlang::detect(&self.survey.sample)?;
        (info.is_reliable() && info.confidence() >= CERTAIN).then(|| info.lang().eng_name())
    }

    /// Describes the domain in a line of text.
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
            "{}: {about}{documents} {unit}, {} of text{}, in {files} {} ({})",
            self.name,
            bytes(*text_bytes),
            self.language()
                .map_or_else(String::new, |name| format!(" in {name}")),
            if *files == 1 { "file" } else { "files" },
            endings.join(", ")
        )
    }
}

/// Describes a folder that a program wrote, such as a run or a dataset, or that holds only such folders. Returns `None`
/// for other folders and for files.
pub(super) fn made(folder: &Path) -> Option<String> {
    let of = |folder: &Path| {
        let mark = MADE.iter().find(|(file, _)| folder.join(file).exists());
        mark.map(|(_, made)| *made)
    };
    if let Some(made) = of(folder) {
        return Some(made.to_owned());
    }
    // A folder that can't be read is an error of the search that follows.
    let inside = entries(folder).ok()?;
    let first = inside.first()?;
    let made = of(first)?;
    let all_made = inside.iter().all(|path| of(path).is_some());
    all_made.then(|| {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        format!("a folder of what was made (`{name}` is {made})")
    })
}

/// Returns the folder's entries that are not hidden, sorted by name.
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

/// Formats a path for a config: without `./` at its beginning.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// Returns the extension of a file's name, ignoring that of a compressed file; empty if it has none.
fn ending(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    let plain = plain.unwrap_or(&name);
    match plain.rfind('.') {
        Some(at) if at > 0 => plain[at..].to_lowercase(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(ending: &str, [files, bytes, documents, text_bytes]: [u64; 4]) -> FoundDomain {
        FoundDomain {
            name: "notes".into(),
            paths: vec![format!("notes/*{ending}")],
            survey: SourceSurvey {
                files,
                bytes,
                documents,
                text_bytes,
                endings: [(ending.to_owned(), files)].into(),
                ..SourceSurvey::default()
            },
        }
    }

    /// Checks every figure of the line about a domain, and that files of two kinds are added up.
    #[test]
    fn a_domain_is_told_and_merged_whole() {
        let mut found = domain(".md", [1, 4_100_000, 1, 4_000_000]);
        assert_eq!(
            found.line(),
            "notes: 1 document, 4.0 MB of text, in 1 file (.md 1)"
        );
        let mut other = domain(".txt", [2, 50, 30, 7_000_000]);
        other.survey.endings.insert(".md".into(), 5);
        (other.survey.is_estimated, other.survey.bad) = (true, Some("line 3".into()));
        found.merge(other);
        assert_eq!(
            found.line(),
            "notes: about 31 documents, 11.0 MB of text, in 3 files (.md 6, .txt 2)"
        );
        assert_eq!(found.paths, ["notes/*.md", "notes/*.txt"]);
        assert_eq!(
            (found.survey.bytes, found.survey.bad.as_deref()),
            (4_100_050, Some("line 3"))
        );
        let mut asked = domain(".jsonl", [1, 1, 1, 900]);
        asked.survey.has_prompts = true;
        asked.survey.bad = Some("line 1".into());
        assert_eq!(
            asked.line(),
            "notes: 1 prompts with answers, 900 B of text, in 1 file (.jsonl 1)"
        );
        asked.merge(found);
        assert_eq!(asked.survey.bad.as_deref(), Some("line 1"));
    }

    /// Checks that the extension of a file is that within a compressed one, in small letters, and that a hidden file or
    /// one without a dot has none.
    #[test]
    fn extensions_are_those_of_the_content() {
        let endings = [
            "a.TXT",
            "a.b.md.gz",
            "a.jsonl.zst",
            "a.gz",
            "README",
            ".profile",
        ];
        let endings = endings.map(|name| ending(&Path::new("x.y").join(name)));
        assert_eq!(endings, [".txt", ".md", ".jsonl", "", "", ""]);
    }

    /// Checks that what this program makes is recognized by its file, and a folder of such folders by the first.
    #[test]
    fn what_was_made_is_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (number, (file, said)) in [
            ("run.toml", "a run"),
            ("tune.toml", "a tuning"),
            ("dataset.json", "a dataset"),
            ("report.json", "a report"),
            ("config.json", "a model"),
            ("adapter_config.json", "an adapter"),
            (".lock", "a folder in use"),
        ]
        .into_iter()
        .enumerate()
        {
            let inner = at(&format!("all/{number}"));
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join(file), "").unwrap();
            assert_eq!(made(&inner).as_deref(), Some(said));
        }
        assert_eq!(
            made(&at("all")).as_deref(),
            Some("a folder of what was made (`0` is a run)")
        );
        std::fs::write(at("all/text.md"), "text").unwrap();
        assert_eq!(made(&at("all")), None);
        std::fs::create_dir(at("empty")).unwrap();
        assert_eq!(made(&at("empty")), None);
    }
}
