//! The configuration file of `prepare`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polymath_config::toml_key;
use serde::{Deserialize, Serialize};

use crate::{DataError, FieldNames, GroupBy};

/// Maximum of `heldout_groups`. The quota takes groups with the lowest hashes, of which a survey keeps a limited
/// number.
const MOST_GROUPS: u64 = 2000;

/// Maximum size of a vocabulary to train: four times the largest in use.
const MOST_TOKENS: usize = 1 << 20;
/// Names that a domain can't have, each with its other meaning.
const RESERVED: [(&str, &str); 2] = [
    ("mean", "the mean over all domains in scores"),
    (
        "default",
        "every domain without a limit of its own in `retention.limits`",
    ),
];
/// Endings of the dataset's own files, such as `tokenizer.json`, which a domain's name can't have.
const OWN_ENDINGS: [&str; 2] = [".json", ".jinja"];

/// Returns true if a domain can have this name, which is also that of a folder in the dataset.
pub fn is_domain_name(name: &str) -> bool {
    let legal = |letter: char| letter.is_alphanumeric() || "-_ .".contains(letter);
    let is_file = OWN_ENDINGS.iter().any(|end| name.ends_with(end));
    let is_reserved = RESERVED.iter().any(|(reserved, _)| name == *reserved);
    let is_hidden = name.is_empty() || name.starts_with('.');
    !(is_file || is_reserved || is_hidden) && name.chars().all(legal)
}

/// Sources of a dataset and settings of its preparation. The file can also have `on_bad_record` at its top level, for
/// all domains that do not set it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "PrepareFile")]
pub struct PrepareConfig {
    /// Folder of the dataset.
    pub output: PathBuf,
    /// Share of each domain's documents that is held out, chosen by a hash of their content. A small domain holds out
    /// at least this share and at least one or two documents. If a domain has one document only, the end of that
    /// document is held out.
    pub heldout_fraction: f64,
    /// Seed of the split. Another seed holds out other documents.
    pub seed: u64,
    /// Tokenizer, either trained on the text or given.
    pub tokenizer: TokenizerConfig,
    /// Domains by name.
    pub domains: BTreeMap<String, DomainConfig>,
}

/// The file as it is written, with the top-level default for all domains.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrepareFile {
    #[serde(deserialize_with = "polymath_config::folder")]
    output: PathBuf,
    #[serde(default = "default_heldout_fraction")]
    heldout_fraction: f64,
    #[serde(default)]
    seed: u64,
    /// Handling of records that can't be read, for all domains that do not set it.
    on_bad_record: Option<OnBadRecord>,
    #[serde(default)]
    tokenizer: TokenizerConfig,
    domains: BTreeMap<String, DomainConfig>,
}

impl From<PrepareFile> for PrepareConfig {
    fn from(mut file: PrepareFile) -> Self {
        for domain in file.domains.values_mut() {
            domain.on_bad_record = domain.on_bad_record.or(file.on_bad_record);
        }
        Self {
            output: file.output,
            heldout_fraction: file.heldout_fraction,
            seed: file.seed,
            tokenizer: file.tokenizer,
            domains: file.domains,
        }
    }
}

/// Handling of records that can't be read: lines that are not JSON, rows without text, files with an unsupported
/// encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRecord {
    /// Fail, and report the number of such records and the first ten.
    #[default]
    Error,
    /// Skip them, and report their number.
    Skip,
}

/// Form in which a prompt and its response are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairForm {
    /// The prompt, and the response after it, as text.
    #[default]
    Text,
    /// A conversation of the user and the assistant.
    Chat,
}

/// The `[tokenizer]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Size of the byte-level BPE that is trained; default: 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// A `tokenizer.json` to use instead of training one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Token before each document; default: a token with a usual name such as `<s>`, else `eos_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token: Option<String>,
    /// Token that ends each document; default: `<|endoftext|>` or another usual name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token: Option<String>,
    /// Bytes of text that the tokenizer is trained on, the same amount from each domain; default: 24 MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_bytes: Option<u64>,
}

/// A `[domains.<name>]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainConfig {
    /// Files, folders or globs. One document is: a text file in UTF-8, with any extension or none; a line of a
    /// `.jsonl` file; a record of a `.json` file; a row of a `.csv`, `.tsv` or `.parquet` file. All but `.parquet`
    /// may be compressed, as `.gz` or `.zst`. Folders are read recursively, without hidden files. Without `paths`, the
    /// domain has only the held-out files of `heldout_paths`: it can be scored, and not trained on.
    pub paths: Vec<String>,
    /// Extensions of the files to read in folders and globs, such as `["py", "rs"]`; default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Field of a record that holds the text; default: `text`, else `prompt` and `response` or `completion`, else
    /// `instruction`, `input` and `output`, else `messages` (a list of `role` and `content`), else `conversations` (a
    /// list of `from` and `value`). With prompts or messages, only the response or the turns of the `assistant` are
    /// learned and scored. A line break separates a prompt from its response, unless one of them has white space
    /// there. Messages are rendered by the chat template next to a given tokenizer; without one, each becomes a line
    /// `role: content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
    /// Names of a record's fields by their meaning, such as `{ prompt = "question", response = "answer" }`. Meanings:
    /// `text`; or `prompt` and `response`; or `instruction`, `input` and `output`; or `messages`, with `role`,
    /// `content` and `tools`; with prompts and messages also `system`. Default: see `text_field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldNames>,
    /// Form of a record with a prompt and its response. `text`: the response after the prompt. `chat`: messages of the
    /// user and the assistant, which the chat template renders like `messages`; a model tuned on them answers in a
    /// chat. Default: `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairForm>,
    /// Maximum tokens of a conversation that a chat template renders. Longer ones are cut after a whole turn of the
    /// assistant, and counted. Default: no limit; the end of a row may split a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_conversation: Option<usize>,
    /// Handling of records that can't be read; default: `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_bad_record: Option<OnBadRecord>,
    /// Separator of the documents in a text file, such as `<|endoftext|>`. The separator and the line breaks around
    /// it are removed. Default: each file is one document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Unit of a group: the documents of a group are in one split, and statistics resample and count them together.
    /// `file`: a file. `record`: a line of `.jsonl`, an element of `.json`, a row of `.csv` or `.parquet`, a text
    /// between separators. `section`: a passage; scores then hold for new passages of the same works. Default:
    /// `record` if the files hold records, else `file`; if there is only one group, or only one is held out,
    /// `section`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupBy>,
    /// Field of the records that names a document's group, such as the work that the document was cut from. All
    /// documents of a group are in one split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Minimum number of held-out groups, at most half of all groups; default: the number that `heldout_fraction`
    /// gives. Half of the held-out groups are in the `test` split, where an interval needs at least 5 groups and the
    /// verdict “kept” at least 15 of equal size: 32 or more are enough for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_groups: Option<u64>,
    /// Files to hold out, instead of a share of `paths`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heldout_paths: Vec<String>,
    /// A `.jsonl` file of questions with exact answers (fields `prompt` and `answer`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<PathBuf>,
}

fn default_heldout_fraction() -> f64 {
    0.05
}

impl TokenizerConfig {
    /// Returns the size of the vocabulary to train.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size.unwrap_or(4096)
    }

    /// Returns the bytes of text that the tokenizer is trained on.
    pub fn sample_bytes(&self) -> u64 {
        self.sample_bytes.unwrap_or(24_000_000)
    }
}

impl PrepareConfig {
    /// Checks every value that can be checked without reading text.
    ///
    /// # Errors
    /// Fails if a value is not valid; the error names its key.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.domains.is_empty() {
            return Err(DataError::config(
                "domains",
                "no domain is given: add `[domains.<name>]` with `paths`",
            ));
        }
        if self.domains.len() > 32 {
            return Err(DataError::config(
                "domains",
                "more than 32 domains: put some together",
            ));
        }
        if !(self.heldout_fraction > 0.0 && self.heldout_fraction < 1.0) {
            let message = format!("`{}` is not a share between 0 and 1", self.heldout_fraction);
            return Err(DataError::config("heldout_fraction", message));
        }
        self.tokenizer.validate()?;
        if self.tokenizer.path.is_none() && self.domains.values().all(DomainConfig::is_only_scored)
        {
            return Err(DataError::config(
                "tokenizer",
                "no domain has training text (`paths`) to train a tokenizer on: give one in `path`",
            ));
        }
        let mut domains = self.domains.iter();
        domains.try_for_each(|(name, domain)| domain.validate(name))
    }
}

impl TokenizerConfig {
    /// Checks the `[tokenizer]` table.
    fn validate(&self) -> Result<(), DataError> {
        if self.path.is_some() && self.vocab_size.is_some() {
            return Err(DataError::config(
                "tokenizer",
                "`path` and `vocab_size` are both given: choose one",
            ));
        }
        let trained_only = self.path.is_none();
        if trained_only && (self.bos_token.is_some() || self.eos_token.is_some()) {
            return Err(DataError::config(
                "tokenizer",
                "`bos_token` and `eos_token` are for a given tokenizer (`path`): a trained one has `<|endoftext|>`",
            ));
        }
        if self.sample_bytes == Some(0) {
            return Err(DataError::config(
                "tokenizer.sample_bytes",
                "`0` leaves nothing to train on",
            ));
        }
        if self.vocab_size() > MOST_TOKENS {
            return Err(DataError::config(
                "tokenizer.vocab_size",
                format!("`{}`: expected at most {MOST_TOKENS}", self.vocab_size()),
            ));
        }
        if self.vocab_size() < 257 {
            return Err(DataError::config(
                "tokenizer.vocab_size",
                "expected at least 257: a byte-level vocabulary has every byte and an end-of-text token",
            ));
        }
        Ok(())
    }
}

impl DomainConfig {
    /// Returns true if the domain has no training text.
    pub(crate) fn is_only_scored(&self) -> bool {
        self.paths.is_empty()
    }

    /// Checks the table of the domain `name`.
    fn validate(&self, name: &str) -> Result<(), DataError> {
        let table = format!("domains.{}", toml_key(name));
        if let Some((_, meaning)) = RESERVED.iter().find(|(reserved, _)| name == *reserved) {
            let message = format!("the name stands for {meaning}: choose another");
            return Err(DataError::config(table, message));
        }
        if !is_domain_name(name) {
            return Err(DataError::config(
                table,
                "a domain's name is also a folder's in the dataset: use letters, digits, `-` and `_`, and no ending such as \
                 `.json`",
            ));
        }
        if self.longest_conversation.is_some_and(|tokens| tokens < 2) {
            return Err(DataError::config(
                format!("{table}.longest_conversation"),
                "expected at least 2 tokens; leave it out to keep conversations whole",
            ));
        }
        if self.separator.as_ref().is_some_and(String::is_empty) {
            return Err(DataError::config(
                format!("{table}.separator"),
                "is empty: give what stands between documents, or leave it out",
            ));
        }
        self.validate_groups(&table)?;
        self.validate_fields(&table)?;
        if self.paths.is_empty() && self.heldout_paths.is_empty() {
            return Err(DataError::config(
                format!("{table}.paths"),
                "no files: give a list of files, folders or globs",
            ));
        }
        Ok(())
    }

    /// Checks the configuration keys that select files and fields.
    fn validate_fields(&self, table: &str) -> Result<(), DataError> {
        let wrong =
            |key: &str, message: &str| Err(DataError::config(format!("{table}.{key}"), message));
        let is_ending = |ending: &String| {
            let ending = ending.trim_start_matches('.');
            !ending.is_empty() && !ending.contains(['/', '*'])
        };
        if let Some(ending) = self.extensions.iter().find(|ending| !is_ending(ending)) {
            let message =
                format!("`{ending}` is not an ending of a file's name: expected one such as `py`");
            return wrong("extensions", &message);
        }
        if self.text_field.is_some() && self.fields.is_some() {
            return wrong(
                "fields",
                "`text_field` and `fields` are both given: choose one",
            );
        }
        match &self.fields {
            Some(fields) => fields.validate(&format!("{table}.fields")),
            None => Ok(()),
        }
    }

    /// Checks the configuration keys that define groups.
    fn validate_groups(&self, table: &str) -> Result<(), DataError> {
        let wrong =
            |key: &str, message: &str| Err(DataError::config(format!("{table}.{key}"), message));
        if self.group.is_some() && self.group_field.is_some() {
            return wrong(
                "group",
                "`group` and `group_field` are both given: choose one",
            );
        }
        if self
            .group_field
            .as_ref()
            .is_some_and(|field| field.is_empty())
        {
            return wrong("group_field", "is empty: name a field, or leave it out");
        }
        let Some(groups) = self.heldout_groups else {
            return Ok(());
        };
        if groups == 0 || groups > MOST_GROUPS {
            let message = format!("expected 1 to {} groups", MOST_GROUPS);
            return wrong("heldout_groups", &message);
        }
        if !self.heldout_paths.is_empty() {
            let message = "`heldout_paths` says what is held out already: leave one of them out";
            return wrong("heldout_groups", message);
        }
        Ok(())
    }
}
