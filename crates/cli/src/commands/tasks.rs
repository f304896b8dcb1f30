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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polymath_data::Task;
    use polymath_eval::TaskScores;

    use super::*;

    /// Returns the scores of a task of 16 items, of which 12 are right, 4 by length, and 2 are cut, and of a cloze
    /// task.
    fn scores() -> ModelScores {
        let item = |number: usize, cloze: bool| ItemScore {
            line: 3 + number as u64,
            answer: 1,
            log_likelihoods: vec![-1.5, -0.5],
            greedy: vec![false, true],
            choice: usize::from(number < 12),
            choice_normalized: (!cloze).then_some(usize::from(number < 4)),
            right: number < 12,
            right_normalized: (!cloze).then_some(number < 4),
            tokens_cut: [0, 7, 0, 2].get(number).copied().unwrap_or(0),
        };
        let task = |name: &str, items: usize, cloze: bool| {
            let task = Task {
                name: name.to_owned(),
                path: name.into(),
                items: Vec::new(),
            };
            let items = (0..items).map(|number| item(number, cloze)).collect();
            let task = Arc::new(task);
            (name.to_owned(), TaskScores { task, items })
        };
        ModelScores {
            tasks: [task("sums", 16, false), task("cloze", 20, true)].into(),
            ..ModelScores::default()
        }
    }

    /// Checks every column of the table: each share with its own interval.
    #[test]
    fn the_table_has_the_figures_of_its_columns() {
        let scores = scores();
        let ends = |figure: Figure| {
            let [low, high] = figure.interval.unwrap().map(|end| end * 100.0);
            format!("[{low:.1}, {high:.1}]")
        };
        let sums = &scores.tasks["sums"];
        let by_length = ends(sums.normalized_accuracy().unwrap());
        let of_cloze = ends(scores.tasks["cloze"].accuracy());
        let expected = [
            "task items cut acc acc_norm".to_owned(),
            format!("cloze 20 2 60.0 % {of_cloze} –"),
            format!(
                "sums 16 2 75.0 % {} 25.0 % {by_length}",
                ends(sums.accuracy())
            ),
        ];
        let table = table(&scores);
        let lines: Vec<String> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines, expected);
    }

    /// Checks every key of the JSON and of the file of items.
    #[test]
    fn the_json_has_the_figures_of_its_keys() {
        let scores = scores();
        let found = json(&scores);
        assert_eq!(found["sums"]["acc"]["value"], 0.75);
        assert_eq!(found["sums"]["acc_norm"]["value"], 0.25);
        assert_eq!(found["cloze"]["acc"]["value"], 0.6);
        for (task, acc_norm) in [("sums", false), ("cloze", true)] {
            let found = found[task].as_object().unwrap();
            let keys: Vec<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(keys, ["acc", "acc_norm", "items", "items_cut"]);
            assert_eq!(found["acc_norm"].is_null(), acc_norm);
            let counts = [&found["items"], &found["items_cut"]].map(|count| count.as_u64());
            let items = if task == "sums" { 16 } else { 20 };
            assert_eq!(counts, [Some(items), Some(2)]);
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.jsonl");
        ItemsFile::check(&path).unwrap().write(&scores).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 36);
        assert_eq!(
            lines[25],
            serde_json::json!({
                "task": "sums", "line": 8, "answer": 1, "log_likelihoods": [-1.5, -0.5], "greedy": [false, true], "choice": 1,
                "choice_normalized": 0, "right": true, "right_normalized": false, "tokens_cut": 0
            })
        );
        assert!(lines[0]["choice_normalized"].is_null(), "{}", lines[0]);
        assert!(ItemsFile::check(&path).is_err());
    }
}
