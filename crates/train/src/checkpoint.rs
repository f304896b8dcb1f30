//! One checkpoint: what a phase saves of its model, the optimizer, and `state.json` over both.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use polymath_data::{BATCH_RULE, EVALUATION_RULE, HeldoutSplit};
use polymath_model::{sha256_of_bytes, sha256_of_file};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The manifest, written last.
pub(crate) const STATE: &str = "state.json";
/// The optimizer's moments.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
/// Version of `state.json`. Version 1 had no checksum of itself.
pub(crate) const SCHEMA: u32 = 2;

/// Where a run stands; `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Of this file.
    pub schema: u32,
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Of the run.
    pub seed: u64,
    /// What the data were.
    pub data_fingerprint: String,
    /// Rule by which its batches were made, a version of [`polymath_data::BATCH_RULE`]; the first was not recorded.
    #[serde(default = "first_rule")]
    pub batch_rule: u32,
    /// Rule by which the held-out documents of its evaluations were chosen, a version of
    /// [`polymath_data::EVALUATION_RULE`]; the first was not recorded.
    #[serde(default = "first_rule")]
    pub evaluation_rule: u32,
    /// The split of the held-out documents whose scores decide `best`; `None` where they were of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// What wrote it.
    pub program_version: String,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Whether the run was stopped before an evaluation that was due after this step.
    #[serde(default)]
    pub evaluation_due: bool,
    /// Whether it was saved only because the run was stopped: the next checkpoint replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether this was the run's last step.
    pub finished: bool,
    /// SHA-256 of every other file of the folder.
    pub sha256: BTreeMap<String, String>,
    /// SHA-256 of this file's lines but this one and that of `seconds`, which no two runs have in common.
    #[serde(default)]
    pub checksum: String,
}

fn first_rule() -> u32 {
    1
}

impl State {
    /// Before the first step.
    pub(crate) fn fresh(
        seed: u64,
        data_fingerprint: &str,
        chosen_on: Option<HeldoutSplit>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            step: 0,
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

    /// The text of `state.json`, completed by its checksum.
    fn seal(&mut self) -> String {
        self.checksum = checksum(&self.text());
        self.text()
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("the state is numbers and names") + "\n"
    }
}

/// The checksum of a state's text.
fn checksum(text: &str) -> String {
    let counted = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("\"checksum\":") && !line.starts_with("\"seconds\":")
    };
    let lines: Vec<&str> = text.lines().filter(counted).collect();
    sha256_of_bytes(lines.join("\n").as_bytes())
}

/// The version of a state file, read before anything else of it.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After so many steps.
    pub step: u64,
    /// Lower is better.
    pub score: f64,
}

/// A checkpoint on the disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// What its `state.json` says.
    pub state: State,
}

impl Checkpoint {
    /// The file of the optimizer's moments.
    pub(crate) fn optimizer(&self) -> PathBuf {
        self.path.join(OPTIMIZER)
    }
}

/// Checks that a checkpoint's files are those that were saved, and returns what its `state.json` says.
///
/// # Errors
/// A file that is missing or altered, by name; a file that can't be read; a version that this program does not know.
pub fn verify(folder: &Path) -> Result<State, TrainError> {
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
                "`{STATE}` lists `{name}`, which is no file of this folder"
            )));
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

/// Reads a checkpoint's `state.json` and checks it against itself and the folder's name.
fn read_state(folder: &Path) -> Result<State, TrainError> {
    let broken = |message: String| TrainError::Broken {
        path: folder.to_path_buf(),
        message,
    };
    let strange = |error: serde_json::Error| {
        broken(format!(
            "`{STATE}` is not what this program writes: {error}"
        ))
    };
    let text = polymath_files::read(folder.join(STATE)).map_err(unreadable(folder, STATE))?;
    let text = String::from_utf8_lossy(&text);
    let Version { schema } = serde_json::from_str(&text).map_err(strange)?;
    if !(1..=SCHEMA).contains(&schema) {
        return Err(TrainError::Run(format!(
            "the checkpoint `{}` has a `{STATE}` of version {schema}, and this program reads versions 1 to {SCHEMA}: use \
             the version of Polymath that wrote it",
            folder.display()
        )));
    }
    let state: State = serde_json::from_str(&text).map_err(strange)?;
    if schema > 1 && state.checksum != checksum(&text) {
        return Err(broken(format!(
            "`{STATE}` was altered since it was saved (its own checksum differs): take another checkpoint of the run"
        )));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match step_of(&name) {
        Some(step) if step != state.step => Err(broken(format!(
            "its folder is of step {step}, and its `{STATE}` of step {}",
            state.step
        ))),
        _ => Ok(state),
    }
}

/// A file that is not there makes a checkpoint broken; one that can't be read at the moment says nothing about it.
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

/// The step in the name of a checkpoint's folder.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// Whether the checkpoint in `folder` was saved only because the run was stopped.
pub(crate) fn was_stopped(folder: &Path) -> bool {
    read_state(folder).is_ok_and(|state| state.stopped)
}

/// Completes `state` with the digests of what is in `folder`, and writes it there. The caller makes the folder durable.
pub(crate) fn seal(folder: &Path, mut state: State) -> Result<State, TrainError> {
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

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// The file can't be read.
pub fn sha256_of(path: &Path) -> Result<String, TrainError> {
    sha256_of_file(path).map_err(TrainError::file("read", path))
}

/// Returns the split of the held-out documents by whose scores a run's `best` was chosen, as the checkpoint in `folder`
/// records it; `None` where they were all chosen by, or where there is no such record.
pub fn chosen_on(folder: &Path) -> Option<HeldoutSplit> {
    read_state(folder).ok()?.chosen_on
}
