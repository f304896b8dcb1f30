//! Folder of a tuning: its layout, the record of its request, and its lock.

use std::path::{Path, PathBuf};

use polymath_base::{Lock, LockAttempt};
use serde::{Deserialize, Serialize};

use super::TuneRequest;
use super::request::refused;
use crate::StudyError;

const LOCK: &str = ".lock";
const RECORD: &str = "tune.toml";
const RECORD_HEAD: &str = "\
# Request of `polymath tune`. The same command continues it; another request needs another folder.\n";

/// Record in the folder of the request that the tuning was begun with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Name of the niche, chosen when the tuning was begun.
    pub domain: String,
    /// SHA-256 of the base's file if it is a GGUF file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf_sha256: Option<String>,
    pub request: TuneRequest,
}

/// Folder of a tuning, and the paths of everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TuneFolder {
    root: PathBuf,
}

impl TuneFolder {
    /// Creates the paths for the folder `root`, without accessing it.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// Returns the tuning's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the model folder for a base that is imported from a GGUF file.
    pub fn base(&self) -> PathBuf {
        self.root.join("base")
    }

    /// Returns the path of the config for preparing the text.
    pub fn prepare_config(&self) -> PathBuf {
        self.root.join("prepare.toml")
    }

    /// Returns the folder of the prepared dataset.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Returns the path of the config for the fine-tuning.
    pub fn finetune_config(&self) -> PathBuf {
        self.root.join("finetune.toml")
    }

    /// Returns the folder of the fine-tuning run.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Returns the folder of the forgetting report.
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    /// Returns the model folder for an adapter merged into its base.
    pub fn merged(&self) -> PathBuf {
        self.root.join("model")
    }

    /// Returns the path of the tuned model's GGUF file.
    pub fn gguf(&self) -> PathBuf {
        self.root.join(format!("{}.gguf", self.name()))
    }

    /// Returns the path of the Modelfile, which describes the model to Ollama.
    pub fn modelfile(&self) -> PathBuf {
        self.root.join("Modelfile")
    }

    /// Returns the name of the tuning's folder.
    pub fn name(&self) -> String {
        let named = match self.root.file_name() {
            Some(name) => Some(name.to_owned()),
            None => {
                let whole = self.root.canonicalize().ok();
                whole.and_then(|whole| whole.file_name().map(ToOwned::to_owned))
            }
        };
        named.map_or("model".into(), |name| name.to_string_lossy().into_owned())
    }

    /// Reads the record of the request that the folder was begun with; `None` if the folder is new or empty.
    ///
    /// # Errors
    /// Fails if the folder holds something else.
    pub(super) fn record(&self) -> Result<Option<Record>, StudyError> {
        let path = self.root.join(RECORD);
        match polymath_base::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| {
                refused(format!(
                    "`{}` is not a request of this program ({}): choose another output folder",
                    path.display(),
                    error.message()
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.refuse_stranger()?;
                Ok(None)
            }
            Err(error) => Err(StudyError::file(&path)(error)),
        }
    }

    /// Fails if the folder holds something other than a tuning.
    fn refuse_stranger(&self) -> Result<(), StudyError> {
        let shown = self.root.display();
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(refused(format!(
                    "`{shown}` can't be used as a folder ({error}): choose another output folder"
                )));
            }
        };
        for entry in entries {
            let name = entry.map_err(StudyError::file(&self.root))?.file_name();
            if name != LOCK && !polymath_base::is_leftover(&name) {
                return Err(refused(format!(
                    "`{shown}` holds `{}`, which is not of a tuning: choose another output folder",
                    name.to_string_lossy()
                )));
            }
        }
        Ok(())
    }

    /// Creates the folder and locks it for this process.
    ///
    /// # Errors
    /// Fails if the folder can't be written, or another process works in it.
    pub(super) fn claim(&self) -> Result<Lock, StudyError> {
        std::fs::create_dir_all(&self.root).map_err(StudyError::file(&self.root))?;
        let path = self.root.join(LOCK);
        match polymath_base::lock(&path).map_err(StudyError::file(&path))? {
            LockAttempt::Locked(lock) => {
                polymath_base::clear_leftovers(&self.root).map_err(StudyError::file(&self.root))?;
                Ok(lock)
            }
            LockAttempt::HeldBy(process) => {
                let process = process.map_or(String::new(), |id| format!(" (process {id})"));
                Err(refused(format!(
                    "another process{process} works in `{}`: wait until it is done, or choose another output folder",
                    self.root.display()
                )))
            }
        }
    }

    /// Returns true if the dataset is already prepared.
    pub(super) fn has_data(&self) -> bool {
        self.data().join("dataset.json").is_file()
    }

    /// Writes the record of the request. Renames configs of an earlier request to `.old`, except the one that an
    /// existing dataset was prepared with.
    pub(super) fn begin(&self, record: &Record) -> Result<(), StudyError> {
        let mut earlier = vec![self.finetune_config()];
        if !self.has_data() {
            earlier.push(self.prepare_config());
        }
        for path in earlier.iter().filter(|path| path.is_file()) {
            let aside = path.with_extension("toml.old");
            let text = polymath_base::read(path).map_err(StudyError::file(path))?;
            polymath_base::write(&aside, &text).map_err(StudyError::file(&aside))?;
            polymath_base::remove(path).map_err(StudyError::file(path))?;
        }
        write(
            &self.root.join(RECORD),
            &(RECORD_HEAD.to_owned() + &to_toml(record)),
        )
    }
}

impl Record {
    /// Checks that the tuning of this record can continue with the request `now`. Settings that no file depends on yet
    /// may differ: those of the training before the run begins, and also those of the text before it is prepared.
    ///
    /// # Errors
    /// Fails if the request has changed in what is fixed, and names the part.
    pub fn check_same(&self, now: &Self, folder: &TuneFolder) -> Result<(), StudyError> {
        let free = self.free_keys(now, folder);
        // No limits are the default ones.
        let whole = |record: &Self| {
            let mut record = record.clone();
            record.request.limits = record.request.limits();
            to_toml(&record)
        };
        let Some(key) = polymath_train::changed_key(&whole(self), &whole(now), &free) else {
            return Ok(());
        };
        let what = match key.as_str() {
            "gguf_sha256" => format!("another content of the base `{}`", self.request.base),
            key => {
                let key = key.trim_start_matches("request.");
                format!("{key} = {} and not {}", self.value(key), now.value(key))
            }
        };
        Err(refused(format!(
            "`{}` was started with {what}: choose another output folder, or remove this one to start again",
            folder.root().display()
        )))
    }

    /// Returns the keys of the record that may still change.
    fn free_keys(&self, now: &Self, folder: &TuneFolder) -> Vec<&'static str> {
        let mut free = vec!["domain"];
        if folder.run().exists() {
            return free;
        }
        free.extend(["request.method", "request.limits"]);
        let text = |record: &Self| record.request.text_settings(&record.domain);
        if !folder.has_data() {
            free.extend(["request.data", "request.retain", "request.settings"]);
            if !folder.base().exists() {
                free.extend(["request.base", "gguf_sha256"]);
            }
        } else if text(self) == text(now) {
            free.push("request.settings");
        }
        free
    }

    /// Formats a value of the request as TOML for a message.
    fn value(&self, key: &str) -> String {
        let table = toml::Table::try_from(&self.request).unwrap_or_default();
        let mut value = Some(toml::Value::Table(table));
        for part in key.split('.') {
            value = value.and_then(|value| value.get(part).cloned());
        }
        value.map_or("none".into(), |value| value.to_string())
    }
}

fn to_toml(record: &Record) -> String {
    toml::to_string(record).expect("a request is text and numbers")
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), StudyError> {
    polymath_base::write(path, text.as_bytes()).map_err(StudyError::file(path))
}
