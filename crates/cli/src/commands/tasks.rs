//! Task scores of `evaluate`, as a table, as JSON and as a file of items.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use polymath_base::StagedFile;
use polymath_eval::ItemScore;
use polymath_eval::statistics::Figure;
use polymath_report::ModelScores;
use serde::Serialize;

use crate::failure::Failure;

/// Returns each task's scores under the names of lm-evaluation-harness.
pub fn json(scores: &ModelScores) -> serde_json::Value {
    let tasks: BTreeMap<&str, serde_json::Value> = scores
        .tasks
        .iter()
        .map(|(name, task)| {
            let value = serde_json::json!({
                "items": task.items.len(),
                "items_cut": task.items_cut(),
                "acc": task.accuracy(),
                "acc_norm": task.normalized_accuracy(),
            });
            (name.as_str(), value)
        })
        .collect();
    serde_json::json!(tasks)
}

/// Returns the scores as a table. Empty if there are no tasks.
pub fn table(scores: &ModelScores) -> String {
    if scores.tasks.is_empty() {
        return String::new();
    }
    let share = |figure: Figure| {
        let interval = figure.interval.map_or(String::new(), |[low, high]| {
            format!(" [{:.1}, {:.1}]", low * 100.0, high * 100.0)
        });
        format!("{:.1} %{interval}", figure.value * 100.0)
    };
    let mut text = format!(
        "{:20} {:>8} {:>8} {:>22} {:>22}\n",
        "task", "items", "cut", "acc", "acc_norm"
    );
    for (name, task) in &scores.tasks {
        text += &format!(
            "{name:20} {:>8} {:>8} {:>22} {:>22}\n",
            task.items.len(),
            task.items_cut(),
            share(task.accuracy()),
            task.normalized_accuracy().map_or("–".into(), share),
        );
    }
    text
}

/// File with the model's choice on each task item. Checked before any work is done, and written at the end.
pub struct ItemsFile {
    path: PathBuf,
}

/// Line of the items file: the model's choice on one item.
#[derive(Serialize)]
struct ItemLine<'a> {
    task: &'a str,
    #[serde(flatten)]
    score: &'a ItemScore,
}

impl ItemsFile {
    /// Fails if the items file exists or can't be created.
    pub fn check(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            return Err(Failure::usage(anyhow!(
                "`{}` is already there: name another file with `--items`, or remove this one",
                path.display()
            )));
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Failure::usage(anyhow!(
                "can't write `{}`: there is no folder `{}`",
                path.display(),
                folder.display()
            )));
        }
        Ok(Self {
            path: path.to_path_buf(),
        })
    }

    /// Writes the items of all tasks.
    pub fn write(self, scores: &ModelScores) -> Result<(), Failure> {
        let failed = || format!("can't write `{}`", self.path.display());
        let mut text = String::new();
        for (task, of_task) in &scores.tasks {
            for score in &of_task.items {
                text += &serde_json::to_string(&ItemLine { task, score })?;
                text.push('\n');
            }
        }
        let mut staged = StagedFile::create(&self.path).with_context(failed)?;
        staged
            .file()
            .write_all(text.as_bytes())
            .with_context(failed)?;
        staged.commit_new().with_context(failed)?;
        Ok(())
    }
}
