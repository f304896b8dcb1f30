//! Settings, circumstances and learning curve of a run, from its folder.

use std::collections::BTreeMap;
use std::path::Path;

use polymath_report::forgetting::{CurvePoint, Provenance};
use polymath_train::{Environment, RunState};
use toml::Value;

use crate::StudyError;

/// Reads the provenance recorded in the folders of a checkpoint and of its run. It is empty for a model from another
/// program.
///
/// # Errors
/// Fails for a file that exists but can't be read.
pub fn read(checkpoint: &Path) -> Result<Provenance, StudyError> {
    let run = checkpoint.parent().unwrap_or(Path::new("."));
    let config = run.join("run.toml");
    if !polymath_input::exists(&config)? {
        return Ok(Provenance::default());
    }
    let text = polymath_base::read_to_string(&config).map_err(StudyError::file(&config))?;
    let mut settings = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        for (key, value) in polymath_config::values_by_key(&table) {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            settings.insert(key, text);
        }
    }
    let scored = state(checkpoint)?;
    let latest = state(&run.join("latest"))?;
    let last = latest.as_ref().or(scored.as_ref());
    let environment = Environment::of(run);
    Ok(Provenance {
        settings,
        step: scored.as_ref().map(|state| state.step),
        steps: last.map(|state| state.step),
        tokens: last.map(|state| state.tokens),
        seconds: last.map(|state| state.seconds),
        seed: last.map(|state| state.seed),
        version: last.map(|state| state.program_version.clone()),
        begun: environment.as_ref().map(|found| found.begun.clone()),
        machine: environment.map(|found| found.machine),
    })
}

/// Reads the evaluations recorded by a checkpoint's run; empty for a model from another program.
///
/// # Errors
/// Fails for a file that exists but can't be read.
pub fn curve(checkpoint: &Path) -> Result<Vec<CurvePoint>, StudyError> {
    let run = checkpoint.parent().unwrap_or(Path::new("."));
    let metrics = run.join("metrics.jsonl");
    let text = match polymath_input::exists(&metrics)? {
        true => polymath_base::read(&metrics).map_err(StudyError::file(&metrics))?,
        false => Vec::new(),
    };
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice::<CurvePoint>(line).ok())
        .collect())
}

/// Returns a note on a checkpoint whose run has not reached its last step; `None` for any other model.
///
/// # Errors
/// Fails for a file that exists but can't be read.
pub fn unfinished(checkpoint: &Path) -> Result<Option<String>, StudyError> {
    let run = checkpoint.parent().unwrap_or(Path::new("."));
    if !polymath_input::exists(&run.join("run.toml"))? {
        return Ok(None);
    }
    let latest = state(&run.join("latest"))?.filter(|state| !state.finished);
    Ok(latest.map(|state| {
        let of = state
            .planned_steps
            .map_or(String::new(), |planned| format!(" of {planned}"));
        format!(
            "the run `{}` is not finished: it has done step {}{of}, so its learning rate has not come to its end",
            run.display(),
            state.step
        )
    }))
}

/// Reads the training state of a checkpoint; `None` if it has none, or if its format is unknown.
fn state(checkpoint: &Path) -> Result<Option<RunState>, StudyError> {
    let path = checkpoint.join("state.json");
    if !polymath_input::exists(&path)? {
        return Ok(None);
    }
    let bytes = polymath_base::read(&path).map_err(StudyError::file(&path))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that settings are named by their full key, and a folder of a model from elsewhere says nothing.
    #[test]
    fn settings_are_read_by_their_full_key() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("step-000001");
        std::fs::create_dir(&checkpoint).unwrap();
        assert!(read(&checkpoint).unwrap().is_empty());
        assert!(curve(&checkpoint).unwrap().is_empty());
        let text =
            "seed = 3\nmethod = \"full\"\ntexts = [\"a\"]\n[retention.limits]\ndefault = 0.02\n";
        std::fs::write(folder.path().join("run.toml"), text).unwrap();
        let found = read(&checkpoint).unwrap().settings;
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("method", "full"),
            ("retention.limits.default", "0.02"),
            ("seed", "3"),
            ("texts", "[\"a\"]"),
        ];
        assert_eq!(found, expected);
    }

    /// Checks that a run that was stopped before its last step is described, and a finished one is not.
    #[test]
    fn unfinished_runs_are_described() {
        let folder = tempfile::tempdir().unwrap();
        let latest = folder.path().join("latest");
        std::fs::create_dir(&latest).unwrap();
        let write = |finished: bool| {
            let state = serde_json::json!({
                "schema": 2, "step": 52, "planned_steps": 2000, "tokens": 1, "seconds": 1.0, "seed": 1, "best": null,
                "data_fingerprint": "", "program_version": "", "finished": finished, "sha256": {},
            });
            std::fs::write(latest.join("state.json"), state.to_string()).unwrap();
        };
        write(false);
        let checkpoint = folder.path().join("step-000050");
        assert_eq!(
            unfinished(&checkpoint).unwrap(),
            None,
            "a model from elsewhere"
        );
        std::fs::write(folder.path().join("run.toml"), "").unwrap();
        let note = unfinished(&checkpoint).unwrap().unwrap();
        assert!(note.contains("step 52 of 2000"), "{note}");
        write(true);
        assert_eq!(unfinished(&checkpoint).unwrap(), None);
    }
}
