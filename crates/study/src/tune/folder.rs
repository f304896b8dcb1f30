//! Folder of a tuning: its content, whose it is, and which process works in it.

use std::path::{Path, PathBuf};

use polymath_base::{Attempt, Lock};
use serde::{Deserialize, Serialize};

use super::TuneRequest;
use super::request::refused;
use crate::StudyError;

const LOCK: &str = ".lock";
const RECORD: &str = "tune.toml";
const RECORD_HEAD: &str = "\
# What `polymath tune` was asked for. The same command goes on with it; another request needs another folder.\n";

/// Request that a folder was begun with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Name of the niche, chosen when the folder was begun.
    pub domain: String,
    /// SHA-256 of the base, if it is a GGUF file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf_sha256: Option<String>,
    pub request: TuneRequest,
}

/// Paths in the folder of a tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TuneFolder {
    root: PathBuf,
}

impl TuneFolder {
    /// Names the paths in `root`.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Model folder of a base that was a GGUF file.
    pub fn base(&self) -> PathBuf {
        self.root.join("base")
    }

    /// Config of the preparation.
    pub fn prepare_config(&self) -> PathBuf {
        self.root.join("prepare.toml")
    }

    /// Prepared dataset.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Config of the fine-tuning.
    pub fn finetune_config(&self) -> PathBuf {
        self.root.join("finetune.toml")
    }

    /// Folder of the run.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Folder of the report.
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    /// Model folder of a merged adapter.
    pub fn merged(&self) -> PathBuf {
        self.root.join("model")
    }

    /// GGUF file of the tuned model.
    pub fn gguf(&self) -> PathBuf {
        self.root.join(format!("{}.gguf", self.name()))
    }

    /// Ollama's description of the model.
    pub fn modelfile(&self) -> PathBuf {
        self.root.join("Modelfile")
    }

    /// Returns the name of the folder.
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

    /// Returns what the folder was begun with; `None` if it is new or empty.
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

    /// Refuses a folder that holds something else.
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

    /// Makes the folder and locks it for this process.
    ///
    /// # Errors
    /// Fails if the folder can't be written, or another process works in it.
    pub(super) fn claim(&self) -> Result<Lock, StudyError> {
        std::fs::create_dir_all(&self.root).map_err(StudyError::file(&self.root))?;
        let path = self.root.join(LOCK);
        match polymath_base::lock(&path).map_err(StudyError::file(&path))? {
            Attempt::Locked(lock) => {
                polymath_base::clear_leftovers(&self.root).map_err(StudyError::file(&self.root))?;
                Ok(lock)
            }
            Attempt::HeldBy(process) => {
                let process = process.map_or(String::new(), |id| format!(" (process {id})"));
                Err(refused(format!(
                    "another process{process} works in `{}`: wait until it is done, or choose another output folder",
                    self.root.display()
                )))
            }
        }
    }

    /// Returns true if the text is prepared.
    pub(super) fn has_data(&self) -> bool {
        self.data().join("dataset.json").is_file()
    }

    /// Writes what the folder is begun with. Configs of an earlier request are set aside as `.old`, unless the text is
    /// prepared by them.
    pub(super) fn begin(&self, record: &Record) -> Result<(), StudyError> {
        let earlier = [
            (self.prepare_config(), !self.has_data()),
            (self.finetune_config(), true),
        ];
        for (path, _) in earlier
            .iter()
            .filter(|(path, aside)| *aside && path.is_file())
        {
            let aside = path.with_extension("toml.old");
            std::fs::rename(path, &aside).map_err(StudyError::file(path))?;
        }
        write(
            &self.root.join(RECORD),
            &(RECORD_HEAD.to_owned() + &to_toml(record)),
        )
    }
}

impl Record {
    /// Checks that a folder that was begun with `self` can go on with `now`. What no file of the folder depends on yet
    /// may change: before the run begins, how it trains; before the text is prepared, also the text.
    ///
    /// # Errors
    /// Fails if the request has changed in what is fixed, and names the part.
    pub fn check_same(&self, now: &Self, folder: &TuneFolder) -> Result<(), StudyError> {
        let free = self.free_keys(now, folder);
        let Some(key) = polymath_train::changed_key(&to_toml(self), &to_toml(now), &free) else {
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
            "`{}` was begun with {what}: choose another output folder, or remove this one to begin anew",
            folder.root().display()
        )))
    }

    /// Returns the keys of the record that may change.
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

    /// Returns a value of the request as TOML, for a message.
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
