//! Checkpoint: the saved model, the optimizer's state, and the manifest `state.json`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use polymath_base::{sha256_of_bytes, sha256_of_file};
use polymath_data::{BATCH_RULE, EVALUATION_RULE, HeldoutSplit};
use serde::{Deserialize, Serialize};

use crate::{Score, TrainError};

/// File name of the manifest, which is written last.
pub(crate) const STATE: &str = "state.json";
/// Name of the file in a checkpoint that holds the optimizer's state.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
/// Version of the format of `state.json`. Files of version 1 have no checksum of their own text.
pub(crate) const SCHEMA: u32 = 2;

/// State of a run at a checkpoint; the content of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Version of the format of this `state.json`.
    pub schema: u32,
    /// Number of finished optimizer steps.
    pub step: u64,
    /// Total number of optimizer steps of the run; not recorded by earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_steps: Option<u64>,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Fingerprint of the training data.
    pub data_fingerprint: String,
    /// Version of the rule by which batches are made from the data ([`polymath_data::BATCH_RULE`]). Version 1 was not
    /// recorded.
    #[serde(default = "first_rule")]
    pub batch_rule: u32,
    /// Version of the rule that chooses the held-out documents of evaluations ([`polymath_data::EVALUATION_RULE`]).
    /// Version 1 was not recorded.
    #[serde(default = "first_rule")]
    pub evaluation_rule: u32,
    /// Split of the held-out documents whose scores choose `best`; `None` if all documents were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// Version of the program that wrote the checkpoint.
    pub program_version: String,
    /// Step and score of the best evaluation so far.
    pub best: Option<Best>,
    /// True if the run was stopped before the evaluation that was due after this step.
    #[serde(default)]
    pub evaluation_due: bool,
    /// True if the checkpoint was saved only because the run was stopped. The next checkpoint replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// True if all steps of the run are done.
    pub finished: bool,
    /// SHA-256 of every other file in the checkpoint's folder, by name.
    pub sha256: BTreeMap<String, String>,
    /// SHA-256 of this file's lines, except this line and `seconds`, which differs between any two runs.
    #[serde(default)]
    pub checksum: String,
}

fn first_rule() -> u32 {
    1
}

impl RunState {
    /// Returns the state of a run before its first step.
    pub(crate) fn fresh(
        seed: u64,
        data_fingerprint: &str,
        chosen_on: Option<HeldoutSplit>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            step: 0,
            planned_steps: None,
            tokens: 0,
            seconds: 0.0,
            seed,
            data_fingerprint: data_fingerprint.into(),
            batch_rule: BATCH_RULE,
            evaluation_rule: EVALUATION_RULE,
            chosen_on,
            program_version: env!("CARGO_PKG_VERSION").into(),
            best: None,
            evaluation_due: false,
            stopped: false,
            finished: false,
            sha256: BTreeMap::new(),
            checksum: String::new(),
        }
    }

    /// Records that the run has `total` steps in all. A finished run that is extended thereby becomes unfinished.
    pub(crate) fn plan(&mut self, total: u64) {
        self.planned_steps = Some(total);
        self.finished &= self.step >= total;
    }

    /// Fills in the checksum, and returns the text of `state.json`.
    fn seal(&mut self) -> String {
        self.checksum = checksum(&self.text());
        self.text()
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("the state is numbers and names") + "\n"
    }
}

/// Returns the checksum of the text of a `state.json`, computed without the lines that it does not cover.
fn checksum(text: &str) -> String {
    let counted = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("\"checksum\":") && !line.starts_with("\"seconds\":")
    };
    let lines: Vec<&str> = text.lines().filter(counted).collect();
    sha256_of_bytes(lines.join("\n").as_bytes())
}

/// Format version of a `state.json`, which is parsed before the rest of the file.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Step and score of the best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Number of finished steps at the evaluation.
    pub step: u64,
    /// Score of the evaluation.
    pub score: Score,
}

/// Checkpoint on disk: its folder and the run's state in it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// State of the run, the content of the checkpoint's `state.json`.
    pub state: RunState,
}

impl Checkpoint {
    /// Returns the path of the checkpoint's optimizer state.
    pub(crate) fn optimizer(&self) -> PathBuf {
        self.path.join(OPTIMIZER)
    }
}

/// Checks that a checkpoint's files are unchanged since they were saved, by their SHA-256. Returns the run's state.
///
/// # Errors
/// Fails with the name of a file that is missing, altered or can't be read, or if the checkpoint has a newer version
/// than this program knows.
pub fn verify(folder: &Path) -> Result<RunState, TrainError> {
    verify_files(folder, &|_| true)
}

/// Checks the files of the model in a checkpoint, as [`verify`] does. The optimizer's state is not looked at: only a
/// run that goes on needs it, and a user may remove it, which is two thirds of a checkpoint.
pub(crate) fn verify_model(folder: &Path) -> Result<RunState, TrainError> {
    verify_files(folder, &|name| name != OPTIMIZER)
}

/// Checks those files of a checkpoint for which `is_read` returns true.
fn verify_files(folder: &Path, is_read: &dyn Fn(&str) -> bool) -> Result<RunState, TrainError> {
    let broken = |message: String| TrainError::Broken {
        path: folder.to_path_buf(),
        message,
    };
    let state = read_state(folder)?;
    if !state.sha256.contains_key(OPTIMIZER) {
        return Err(broken(format!("`{STATE}` lists no `{OPTIMIZER}`")));
    }
    for (name, expected) in &state.sha256 {
        let mut parts = Path::new(name).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(broken(format!(
                "`{STATE}` lists `{name}`, which is not a file of this folder"
            )));
        }
        if !is_read(name) {
            continue;
        }
        let path = folder.join(name);
        let found = sha256_of_file(&path).map_err(unreadable(folder, name))?;
        if found != *expected {
            return Err(broken(format!(
                "`{name}` was altered or cut off since it was saved (its SHA-256 differs): take another checkpoint \
                 of the run"
            )));
        }
    }
    Ok(state)
}

/// Reads a checkpoint's `state.json`, and checks its checksum and that its step matches the folder's name.
pub(crate) fn read_state(folder: &Path) -> Result<RunState, TrainError> {
    let broken = |message: String| TrainError::Broken {
        path: folder.to_path_buf(),
        message,
    };
    let strange = |error: serde_json::Error| {
        broken(format!(
            "`{STATE}` is not in the format of this program: {error}"
        ))
    };
    let text = polymath_base::read(folder.join(STATE)).map_err(unreadable(folder, STATE))?;
    let text = String::from_utf8_lossy(&text);
    let Version { schema } = serde_json::from_str(&text).map_err(strange)?;
    if !(1..=SCHEMA).contains(&schema) {
        return Err(TrainError::Run(format!(
            "the checkpoint `{}` has a `{STATE}` of version {schema}, and this program reads versions 1 to {SCHEMA}: use \
             the version of Polymath that wrote it",
            folder.display()
        )));
    }
    let state: RunState = serde_json::from_str(&text).map_err(strange)?;
    if schema > 1 && state.checksum != checksum(&text) {
        return Err(broken(format!(
            "`{STATE}` was altered since it was saved (its own checksum differs): take another checkpoint of the run"
        )));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match step_of(&name) {
        Some(step) if step != state.step => Err(broken(format!(
            "its folder is named after step {step}, but its `{STATE}` is of step {}",
            state.step
        ))),
        _ => Ok(state),
    }
}

/// Returns a function that converts an I/O error on a checkpoint's file: a missing file means a broken checkpoint, any
/// other error a failed read.
fn unreadable(folder: &Path, name: &str) -> impl FnOnce(std::io::Error) -> TrainError {
    let (folder, name) = (folder.to_path_buf(), name.to_owned());
    move |source| {
        let missing = [
            ErrorKind::NotFound,
            ErrorKind::IsADirectory,
            ErrorKind::NotADirectory,
            ErrorKind::InvalidInput,
        ];
        match missing.contains(&source.kind()) {
            true => TrainError::Broken {
                path: folder,
                message: format!("`{name}` can't be read: {source}"),
            },
            false => TrainError::file("read", &folder.join(name))(source),
        }
    }
}

/// Returns the step in the name of a checkpoint's folder, or `None` for other names.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// Returns true if the checkpoint in `folder` was saved only because the run was stopped.
pub(crate) fn was_stopped(folder: &Path) -> bool {
    read_state(folder).is_ok_and(|state| state.stopped)
}

/// Adds the SHA-256 of all files in `folder` to `state` and writes `state.json` there. The caller syncs the folder to
/// disk.
pub(crate) fn seal(folder: &Path, mut state: RunState) -> Result<RunState, TrainError> {
    state.sha256.clear();
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digest = sha256_of_file(&path).map_err(TrainError::file("read", &path))?;
        state.sha256.insert(name.into_owned(), digest);
    }
    let path = folder.join(STATE);
    std::fs::write(&path, state.seal()).map_err(TrainError::file("write", &path))?;
    Ok(state)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let entries = std::fs::read_dir(folder).map_err(TrainError::file("read", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(TrainError::file("read", folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Returns the SHA-256 of a file in hexadecimal.
///
/// # Errors
/// Fails if the file can't be read.
pub fn sha256_of(path: &Path) -> Result<String, TrainError> {
    sha256_of_file(path).map_err(TrainError::file("read", path))
}

/// Returns the split of the held-out documents whose scores chose a run's `best`, as recorded by the checkpoint in
/// `folder`. Returns `None` if all documents were scored or nothing was recorded.
pub fn chosen_on(folder: &Path) -> Option<HeldoutSplit> {
    read_state(folder).ok()?.chosen_on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> RunState {
        RunState {
            step,
            ..RunState::fresh(7, "data", None)
        }
    }

    /// Checks that a new run has done nothing, and that a finished run is unfinished once it has more steps than it
    /// did.
    #[test]
    fn a_run_is_finished_up_to_its_length() {
        let mut found = state(0);
        assert_eq!((found.step, found.tokens, found.seconds), (0, 0, 0.0));
        assert!(!found.finished && !found.stopped && !found.evaluation_due);
        found.plan(9);
        assert_eq!((found.planned_steps, found.finished), (Some(9), false));
        for (total, finished) in [(4, true), (5, true), (6, false)] {
            let mut found = state(5);
            found.finished = true;
            found.plan(total);
            assert_eq!(found.finished, finished, "{total}");
        }
    }

    /// Checks that a sealed state is read as it was written, that another duration does not break its seal and
    /// another number does, and that the name of its folder and its version are compared.
    #[test]
    fn a_state_is_sealed() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let folder = root.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(STATE), text).unwrap();
            read_state(&folder).map_err(|error| error.to_string())
        };
        let mut sealed = state(5);
        (sealed.tokens, sealed.seconds) = (640, 2.5);
        let text = sealed.seal();
        assert_eq!(write("step-000005", &text), Ok(sealed.clone()));
        assert_eq!(write("copied", &text), Ok(sealed));
        assert!(
            write("step-000006", &text)
                .unwrap_err()
                .contains("named after step 6")
        );
        assert!(write("step-000005", &text.replace("2.5", "9.5")).is_ok());
        let said = write("step-000005", &text.replace("640", "641")).unwrap_err();
        assert!(said.contains("was altered"), "{said}");
        // The first version had no checksum.
        let first = text.replace(&format!("\"schema\": {SCHEMA}"), "\"schema\": 1");
        assert!(write("step-000005", &first.replace("640", "641")).is_ok());
        for version in [0, SCHEMA + 1] {
            let other = format!("\"schema\": {version}");
            let said = write("step-000005", &first.replace("\"schema\": 1", &other)).unwrap_err();
            assert!(said.contains(&format!("of version {version}")), "{said}");
        }
    }
}
